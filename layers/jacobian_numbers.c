/* jacobian_numbers.c: products with J and its transpose, and what can be told from them.
   SPDX-License-Identifier: MIT

   Samples do not meet, so a batch of directions is a direction for each sample, and a product serves all samples. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hk_random.h"
#include "jacobian.h"

/* Elements of all full Jacobians that are held at once. */
static const int64_t held = (int64_t)1 << 24;

static hk_status no_memory(hk_context *ctx) {
    return hk_fail(ctx, HK_ERR_MEMORY, "jacobian", "no memory");
}

/* Of the step: gone with it. */
static double *numbers(hk__study *s, int64_t n) {
    double *at =
        n <= INT64_MAX / 16 ? hk__arena_alloc(&s->ctx->memory, sizeof *at * (size_t)n) : NULL;
    if (!at) (void)no_memory(s->ctx);
    return at;
}

/* --- products with J and its transpose ----------------------------------------------------------------------- */

static hk_tensor *tensor_of(hk__study *s, const hk_tensor *like, const double *value) {
    const hk__mark mark = hk__arena_mark(&s->ctx->scratch);
    hk_tensor *t = hk__empty(s->ctx, like->dtype, like->shape), near = *like;
    near.data = t ? hk__host_room(t) : NULL;
    for (int64_t i = 0; near.data && i < hk_shape_count(like->shape); i++)
        hk__number_put(&near, i, value[i]);
    if (near.data) hk__host_done(t, near.data);
    hk__arena_rewind(&s->ctx->scratch, mark);
    return t;
}

static hk_status read_into(hk__study *s, hk_tensor *t, double *value) {
    const hk__mark mark = hk__arena_mark(&s->ctx->scratch);
    t = t ? hk_contiguous(t) : NULL;
    const hk_tensor near = t ? hk__near(t) : (hk_tensor){.data = NULL};
    for (int64_t i = 0; near.data && i < hk_shape_count(t->shape); i++)
        value[i] = hk__number_at(&near, i);
    hk__arena_rewind(&s->ctx->scratch, mark);
    hk__step_rewind(s->ctx, s->place);
    return s->ctx->status;
}

/* jv = J·v of each sample. */
static hk_status forward_product(hk__study *s, const double *v, double *jv) {
    hk_tensor *direction = tensor_of(s, s->x, v);
    return read_into(s, direction ? hk_jvp(s->ctx, s->y, 1, &s->x, &direction) : NULL, jv);
}

/* Without the hooks of backward passes: this one trains nothing. */
static bool quiet_backward(hk__study *s, hk_tensor *gradient) {
    hk__hooks *hooks = &s->ctx->tape->after;
    hk_hook *first = hooks->first, **end = &first;
    hooks->first = NULL;
    const bool done = hk_backward_from(s->ctx, s->y, gradient) == HK_OK;
    while (*end) end = &(*end)->next;
    *end = hooks->first; /* added meanwhile, by the hook of a gradient */
    hooks->first = first;
    return done;
}

/* ju = Jᵀ·u of each sample. */
static hk_status reverse_product(hk__study *s, const double *u, double *ju) {
    hk_tensor *gradient = tensor_of(s, s->y, u);
    hk_zero_grad(s->x);
    const bool done = gradient && quiet_backward(s, gradient);
    return read_into(s, done ? hk_grad(s->x) : NULL, ju);
}

/* |v|², which is not finite if an element is not. */
static double square_of(int64_t n, const double *v) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i] * v[i];
    return sum;
}

/* Makes one sample's vector one of length 1; what it was. 0 stays 0. */
static double normalise(int64_t n, double *v) {
    double most = 0;
    for (int64_t i = 0; i < n && !isnan(most); i++)
        if (!(fabs(v[i]) <= most)) most = fabs(v[i]);
    if (!(most > 0 && most <= DBL_MAX)) return most;
    for (int64_t i = 0; i < n; i++) v[i] /= most;
    const double size = sqrt(square_of(n, v));
    for (int64_t i = 0; i < n; i++) v[i] /= size;
    return most * size;
}

static hk_status not_finite(hk__study *s, int64_t sample) {
    return hk_fail(s->ctx, HK_ERR_NONFINITE, "jacobian",
                   "the Jacobian at sample %lld is not finite; look for NaN or infinity among the "
                   "parameters of %s",
                   (long long)sample, hk__place_of(s->m));
}

static double *gaussian(hk__study *s, const char *name) {
    const hk_random stream = hk_random_stream(s->ctx->config.seed + s->config.seed, name, 0);
    double *v = numbers(s, s->n * s->in);
    for (int64_t i = 0; v && i < s->n * s->in; i++) v[i] = hk_random_normal(stream, (uint64_t)i);
    for (int64_t i = 0; v && i < s->n; i++) (void)normalise(s->in, v + i * s->in);
    return v;
}

/* --- the spectral norm ---------------------------------------------------------------------------------------- */

/* Power iteration turns v towards JᵀJv, and forgets where it has been. Golub and Kahan 1965 keep of all rounds two numbers
   each, with which J is a bidiagonal matrix in the space that the rounds have seen: its largest singular value is never less
   than what power iteration has by then, and comes as near in a few rounds as that in dozens. */
typedef struct bidiagonal {
    double *diagonal, *above; /* round k of sample i at k·n + i */
    double *size, *change; /* of each sample: the estimate, and by how much it moved, relatively */
} bidiagonal;

/* The largest eigenvalue of BᵀB, a tridiagonal matrix, between bounds: all pivots of BᵀB - x are below 0 if and only if x is
   above it. */
static double largest_of(const bidiagonal *b, int64_t sample, int64_t n, int rounds) {
    double scale = 0, high = 0, low = 0;
    for (int k = 0; k < rounds; k++)
        scale = fmax(scale, fmax(b->diagonal[k * n + sample], b->above[k * n + sample]));
    if (!(scale > 0)) return 0;
    for (int k = 0; k < rounds; k++) {
        const double d = b->diagonal[k * n + sample] / scale, e = b->above[k * n + sample] / scale;
        low = fmax(low, d * d);
        high = fmax(high, (d + e) * (d + e) * 2);
    }
    for (int i = 0; i < 60 && low < high; i++) {
        const double x = (low + high) / 2;
        double pivot = -1, cross = 0;
        for (int k = 0; k < rounds && pivot < 0; k++) {
            const double d = b->diagonal[k * n + sample] / scale,
                         e = b->above[k * n + sample] / scale; /* above d, from the round before */
            pivot = d * d + e * e - x - (k > 0 ? cross * cross * e * e / pivot : 0);
            cross = d;
        }
        *(pivot < 0 ? &high : &low) = x;
    }
    return scale * sqrt(low);
}

/* Whether it is as good as asked for. If changes fall like a geometric series, the last two tell what all others will add
   up to: where the largest singular values are close to each other, more than the last. */
static bool update(const hk__study *s, double *size, double *change, double now) {
    const double moved = now > 0 ? fabs(now - *size) / now : 0, ratio = moved / *change;
    const double noise = s->x->dtype == HK_F64 ? 4 * DBL_EPSILON : 4 * (double)FLT_EPSILON;
    *size = now;
    *change = moved;
    return moved <= fmax(1e-3 * s->config.tolerance, noise) ||
           (moved <= s->config.tolerance && ratio < 1 &&
            moved * ratio <= s->config.tolerance * (1 - ratio));
}

/* y = product - factor·before, then made of length 1; its length. */
static double next_direction(int64_t n, const double *product, double factor, double *y) {
    for (int64_t i = 0; i < n; i++) y[i] = product[i] - factor * y[i];
    return normalise(n, y);
}

/* Round k: u = (J·v - e·u)/d, then v = (Jᵀ·u - d·v)/e. */
static hk_status bidiagonal_round(hk__study *s, const bidiagonal *b, int k, double *v, double *u,
                                  double *product, bool *settled) {
    double *d = b->diagonal + k * s->n, *e = b->above + k * s->n;
    HK_TRY(forward_product(s, v, product));
    *settled = true;
    for (int64_t i = 0; i < s->n; i++) {
        d[i] = next_direction(s->out, product + i * s->out, e[i], u + i * s->out);
        if (!isfinite(d[i])) return not_finite(s, i);
        *settled &= update(s, &b->size[i], &b->change[i], largest_of(b, i, s->n, k + 1));
    }
    HK_TRY(reverse_product(s, u, product));
    for (int64_t i = 0; i < s->n; i++) {
        e[s->n + i] = next_direction(s->in, product + i * s->in, d[i], v + i * s->in);
        if (!isfinite(e[s->n + i])) return not_finite(s, i);
    }
    return HK_OK;
}

static hk_status spectral_norm(hk__study *s) {
    hk_jacobian *r = s->result;
    const int64_t n = s->n, rounds = (s->config.iterations + (int64_t)1) * n;
    double *v = gaussian(s, "jacobian/start"), *u = numbers(s, n * s->out),
           *product = numbers(s, n * (s->in > s->out ? s->in : s->out));
    const bidiagonal b = {numbers(s, rounds), numbers(s, rounds), numbers(s, n), numbers(s, n)};
    HK_TRY(s->ctx->status);
    s->place = hk__step_mark(s->ctx);
    memset(u, 0, sizeof *u * (size_t)(n * s->out));
    for (int64_t i = 0; i < n; i++) b.above[i] = b.size[i] = b.change[i] = 0;
    while (!r->converged && r->iterations < s->config.iterations) {
        HK_TRY(bidiagonal_round(s, &b, r->iterations, v, u, product, &r->converged));
        r->iterations++;
    }
    r->norm_min = r->norm_max = b.size[0];
    for (int64_t i = 0; i < n; i++) {
        r->norm += b.size[i] / (double)n;
        r->norm_min = fmin(r->norm_min, b.size[i]);
        r->norm_max = fmax(r->norm_max, b.size[i]);
    }
    return HK_OK;
}

/* --- the mean square ------------------------------------------------------------------------------------------ */

static void signs(hk__study *s, int probe, double *u) {
    const hk_random stream =
        hk_random_stream(s->ctx->config.seed + s->config.seed, "jacobian/probe", (uint64_t)probe);
    uint32_t bits = 0;
    for (int64_t i = 0; i < s->n * s->out; i++, bits >>= 1) {
        if (i % 32 == 0) bits = hk_random_bits(stream, (uint64_t)i / 32);
        u[i] = bits & 1 ? 1 : -1;
    }
}

/* The error is that of the mean over these samples: what probes of one sample differ by, not what samples do. */
static hk_status mean_square(hk__study *s) {
    const int probes = s->config.probes;
    double *u = numbers(s, s->n * s->out), *v = numbers(s, s->n * s->in),
           *square = numbers(s, s->n * probes);
    if (!u || !v || !square) return s->ctx->status;
    s->place = hk__step_mark(s->ctx);
    for (int p = 0; p < probes; p++) {
        signs(s, p, u);
        HK_TRY(reverse_product(s, u, v));
        for (int64_t i = 0; i < s->n; i++) {
            square[i * probes + p] = square_of(s->in, v + i * s->in) / (double)s->out;
            if (!isfinite(square[i * probes + p])) return not_finite(s, i);
        }
    }
    double total = 0, variance = 0;
    for (int64_t i = 0; i < s->n; i++) {
        double mean = 0, spread = 0;
        for (int p = 0; p < probes; p++) mean += square[i * probes + p] / probes;
        for (int p = 0; p < probes; p++)
            spread += (square[i * probes + p] - mean) * (square[i * probes + p] - mean);
        total += mean;
        variance += probes > 1 ? spread / (probes - 1) / probes : NAN;
    }
    s->result->mean_square = total / (double)s->n;
    s->result->mean_square_error = sqrt(variance) / (double)s->n;
    return HK_OK;
}

/* --- the full spectrum ---------------------------------------------------------------------------------------- */

/* J, or its transpose if that has fewer rows, of `group` samples from `first` on: a unit vector for each row. */
static hk_status full_jacobians(hk__study *s, int64_t first, int64_t group, double *unit,
                                double *row, double *j) {
    const bool by_output = s->out <= s->in;
    const int64_t rows = by_output ? s->out : s->in, cols = by_output ? s->in : s->out;
    for (int64_t k = 0; k < rows; k++) {
        memset(unit, 0, sizeof *unit * (size_t)(s->n * rows));
        for (int64_t i = 0; i < s->n; i++) unit[i * rows + k] = 1;
        HK_TRY((by_output ? reverse_product : forward_product)(s, unit, row));
        for (int64_t i = 0; i < group; i++)
            memcpy(j + (i * rows + k) * cols, row + (first + i) * cols, sizeof *j * (size_t)cols);
    }
    return HK_OK;
}

static int falling(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* values: each sample's, falling; sorts them all. */
static void describe_spectrum(hk__study *s, double *values) {
    hk_jacobian *r = s->result;
    const double zero = s->x->dtype == HK_F64 ? 1e-14 : 1e-7;
    for (int64_t i = 0; i < s->n; i++) {
        const double *one = values + i * r->count;
        int64_t last = r->count - 1;
        while (last > 0 && !(one[last] > zero * one[0])) last--;
        if (one[0] > 0) r->condition = fmax(r->condition, one[0] / one[last]);
    }
    const int64_t n = s->n * r->count;
    qsort(values, (size_t)n, sizeof *values, falling);
    r->largest = values[0];
    r->smallest = values[n - 1];
    r->median = (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static hk_status full_spectrum(hk__study *s, double *spectrum) {
    const int64_t count = s->in < s->out ? s->in : s->out, longer = s->in + s->out - count;
    const int64_t most = held / (count * longer), group = most < 1 ? 1 : most < s->n ? most : s->n;
    double *j = numbers(s, group * count * longer), *unit = numbers(s, s->n * count),
           *row = numbers(s, s->n * longer), *values = numbers(s, s->n * count);
    if (!j || !unit || !row || !values) return s->ctx->status;
    s->place = hk__step_mark(s->ctx);
    for (int64_t first = 0; first < s->n; first += group) {
        const int64_t here = s->n - first < group ? s->n - first : group;
        HK_TRY(full_jacobians(s, first, here, unit, row, j));
        for (int64_t i = 0; i < here; i++) {
            const hk_status status = hk_singular_values(count, longer, j + i * count * longer,
                                                        values + (first + i) * count);
            if (status == HK_ERR_MEMORY) return no_memory(s->ctx);
            if (status != HK_OK) return not_finite(s, first + i);
        }
    }
    if (spectrum) memcpy(spectrum, values, sizeof *values * (size_t)(s->n * count));
    s->result->count = count;
    describe_spectrum(s, values);
    return HK_OK;
}

/* --- the spectral radius -------------------------------------------------------------------------------------- */

/* |J^k v|^(1/k) from k to 2k: what a start adds to the first k steps has gone. */
static hk_status spectral_radius(hk__study *s) {
    const int half = s->config.iterations;
    double *v = gaussian(s, "jacobian/radius"), *u = numbers(s, s->n * s->out),
           *growth = numbers(s, s->n);
    if (!v || !u || !growth) return s->ctx->status;
    s->place = hk__step_mark(s->ctx);
    for (int64_t i = 0; i < s->n; i++) growth[i] = 0;
    for (int k = 0; k < 2 * half; k++) {
        HK_TRY(forward_product(s, v, u));
        memcpy(v, u, sizeof *v * (size_t)(s->n * s->in));
        for (int64_t i = 0; i < s->n; i++) {
            const double size = normalise(s->in, v + i * s->in);
            if (!isfinite(size)) return not_finite(s, i);
            if (k >= half || size == 0) growth[i] += log(size);
        }
    }
    s->result->radius = 0;
    for (int64_t i = 0; i < s->n; i++) s->result->radius += exp(growth[i] / half) / (double)s->n;
    return HK_OK;
}

hk_status hk__study_measure(hk__study *s, double *spectrum) {
    HK_TRY(spectral_norm(s));
    HK_TRY(mean_square(s));
    if (s->config.radius && s->in == s->out) HK_TRY(spectral_radius(s));
    const bool full = s->in <= s->config.full_up_to && s->out <= s->config.full_up_to;
    return full ? full_spectrum(s, spectrum) : HK_OK;
}
