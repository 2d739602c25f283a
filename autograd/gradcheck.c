/* gradcheck.c: reverse and forward mode against central differences, in double.
   SPDX-License-Identifier: MIT

   With a fixed random v, L(x) = <v, f(x)> has the gradient Jᵀv, which one backward gives and which
   (L(x + h·e) - L(x - h·e))/2h approximates for each element e. Forward mode gives J·u for a random u, checked
   by (f(x + h·u) - f(x - h·u))/2h and by <v, J·u> = <Jᵀv, u>. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hk_random.h"
#include "tape.h"
#include "values.h"

static const double jvp_tolerance = 1e-7, adjoint_tolerance = 1e-10;

typedef struct check {
    hk_context *ctx;
    hk_function *fn;
    void *arg;
    int n;
    hk_tensor *const *in;
    hk_gradcheck_config config;
    hk_gradcheck_result *result;
    double *analytic; /* gradients of all inputs, one after the other */
    double *v;        /* weights of the outputs */
    double *y;        /* the outputs themselves, in memory of the host */
    int64_t outputs;
    hk__mark memory, values, headers;
    int64_t nodes;
} check;

static bool skipped(const check *k, int i) { return k->config.skip && k->config.skip[i]; }

static double direction(int i, int64_t at) {
    const hk_random stream = hk_random_stream(0, "gradcheck/direction", (uint64_t)i);
    return 2 * hk_random_uniform(stream, (uint64_t)at) - 1;
}

/* --- what an evaluation leaves behind is taken back, so that a check needs the memory of one ------------- */

static void remember(check *k) {
    k->memory = hk__arena_mark(&k->ctx->memory);
    k->values = hk__arena_mark(&k->ctx->gpu_memory);
    k->headers = hk__arena_mark(&k->ctx->headers[k->ctx->step % HK_HEADER_RING]);
    k->nodes = k->ctx->tape ? k->ctx->tape->count : 0;
}

static void forget(check *k) {
    hk__arena_rewind(&k->ctx->memory, k->memory);
    hk__arena_rewind(&k->ctx->gpu_memory, k->values);
    hk__arena_rewind(&k->ctx->headers[k->ctx->step % HK_HEADER_RING], k->headers);
    if (k->ctx->tape) k->ctx->tape->count = k->nodes;
}

static hk_tensor *evaluate(check *k) {
    hk_tensor *y = k->fn(k->ctx, k->n, k->in, k->arg);
    if (!y || k->ctx->status != HK_OK) {
        hk_fail(k->ctx, HK_ERR_ARGUMENT, "gradcheck", "the function gave no result");
        return NULL;
    }
    if (y->dtype == HK_F64) return hk_contiguous(y);
    hk_fail(k->ctx, HK_ERR_DTYPE, "gradcheck",
            "the function gives %s; a check needs f64 throughout", hk_dtype_name(y->dtype));
    return NULL;
}

/* L = <v, f(x)> without a tape. */
static double loss(check *k) {
    double total = NAN;
    const bool was = hk_grad_enable(k->ctx, false);
    hk_tensor *y = evaluate(k);
    if (y && hk_shape_count(y->shape) == k->outputs &&
        hk_tensor_read(y, k->y, sizeof *k->y * (size_t)k->outputs) == HK_OK) {
        total = 0;
        for (int64_t i = 0; i < k->outputs; i++) total += k->v[i] * k->y[i];
    }
    hk_grad_enable(k->ctx, was);
    forget(k);
    return total;
}

/* --- the three parts ------------------------------------------------------------------------------------ */

/* J·u of y, which is on the tape. */
static hk_status tangent_of(check *k, hk_tensor *y, double *tangent) {
    const size_t room = sizeof(hk_tensor *) * ((size_t)k->n + 1);
    hk_tensor **x = hk__arena_alloc(&k->ctx->memory, room),
              **u = hk__arena_alloc(&k->ctx->memory, room);
    if (!x || !u) return hk_fail(k->ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
    int used = 0;
    for (int i = 0; i < k->n; i++) {
        if (skipped(k, i)) continue;
        const int64_t count = hk_shape_count(k->in[i]->shape);
        double *along = malloc(sizeof *along * (size_t)(count + 1));
        if (!along) return hk_fail(k->ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
        for (int64_t e = 0; e < count; e++) along[e] = direction(i, e);
        u[used] = hk_constant(k->ctx, HK_F64, k->in[i]->shape, along);
        free(along);
        if (!u[used]) return k->ctx->status;
        x[used++] = k->in[i];
    }
    hk_tensor *t = hk_jvp(k->ctx, y, used, x, u);
    if (!t) return k->ctx->status;
    return hk_tensor_read(t, tangent, sizeof *tangent * (size_t)k->outputs);
}

/* One forward, one backward: the gradients. The direction J·u is handed out. */
static hk_status analytic_part(check *k, double **tangent) {
    hk_tensor *y = evaluate(k);
    if (!y) return k->ctx->status;
    k->outputs = hk_shape_count(y->shape);
    k->v = malloc(sizeof *k->v * (size_t)(k->outputs + 1));
    k->y = malloc(sizeof *k->y * (size_t)(k->outputs + 1));
    *tangent = malloc(sizeof **tangent * (size_t)(k->outputs + 1));
    if (!k->v || !k->y || !*tangent)
        return hk_fail(k->ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
    const hk_random stream = hk_random_stream(0, "gradcheck/v", 0);
    for (int64_t i = 0; i < k->outputs; i++)
        k->v[i] = 2 * hk_random_uniform(stream, (uint64_t)i) - 1;
    HK_TRY(hk_backward_from(k->ctx, y, hk_constant(k->ctx, HK_F64, y->shape, k->v)));
    double *at = k->analytic;
    for (int i = 0; i < k->n; i++) {
        if (skipped(k, i)) continue;
        const int64_t count = hk_shape_count(k->in[i]->shape);
        HK_TRY(hk_tensor_read(hk_grad(k->in[i]), at, sizeof *at * (size_t)count));
        at += count;
    }
    return k->config.skip_jvp ? HK_OK : tangent_of(k, y, *tangent);
}

/* Also behind an error, so that inputs are what they were. */
static void put(check *k, double *to, const double *from, int64_t count) {
    const hk_status status = k->ctx->status;
    k->ctx->status = HK_OK;
    hk__values_write(k->ctx, to, from, sizeof *to * (size_t)count);
    if (status != HK_OK) k->ctx->status = status;
}

static double loss_with(check *k, hk_tensor *in, int64_t element, double value) {
    put(k, (double *)in->data + element, &value, 1);
    return loss(k);
}

/* By element e of an input, which is x. */
static double central_difference(check *k, hk_tensor *in, int64_t e, double x, double h) {
    const double step = h * (fabs(x) > 1 ? fabs(x) : 1);
    const double above = x + step, below = x - step;
    const double up = loss_with(k, in, e, above), down = loss_with(k, in, e, below);
    put(k, (double *)in->data + e, &x, 1);
    return (up - down) / (above - below); /* the step as it came out in floating point */
}

static void judge(check *k, int input, int64_t count, const double *analytic,
                  const double *numeric) {
    hk_gradcheck_result *r = k->result;
    double largest = 0;
    for (int64_t e = 0; e < count; e++)
        if (!(fabs(numeric[e]) <= largest)) largest = fabs(numeric[e]);
    if (!(largest <= r->largest)) r->largest = largest;
    if (!(largest >= k->config.vacuous) && r->ok) {
        r->ok = false;
        snprintf(r->message, sizeof r->message,
                 "input %d: the largest derivative is %g: a check of nothing proves nothing", input,
                 largest);
    }
    for (int64_t e = 0; e < count; e++) {
        const double a = analytic[e], n = numeric[e];
        hk_gradcheck_element el = {.input = input,
                                   .index = e,
                                   .analytic = a,
                                   .numeric = n,
                                   .error = fabs(a - n),
                                   .tolerance = k->config.rtol * fmax(fabs(a), fabs(n)) +
                                                k->config.atol * largest};
        el.ok = el.error <= el.tolerance &&
                isfinite(el.error); /* an infinite one makes both infinite */
        r->elements++;
        r->failed += !el.ok;
        if (k->config.report) k->config.report(k->config.report_arg, &el);
        /* The first that is no number stays the worst. */
        if (r->elements == 1 || (isfinite(r->worst.error) &&
                                 !(el.error * r->worst.tolerance <= r->worst.error * el.tolerance)))
            r->worst = el;
    }
}

static hk_status numeric_part(check *k) {
    const double *analytic = k->analytic;
    for (int i = 0; i < k->n; i++) {
        if (skipped(k, i)) continue;
        const int64_t count = hk_shape_count(k->in[i]->shape);
        double *numeric = malloc(sizeof *numeric * (size_t)(2 * count + 1)), *x = numeric + count;
        if (!numeric) return hk_fail(k->ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
        hk__values_read(k->ctx, x, k->in[i]->data, sizeof *x * (size_t)count);
        for (int64_t e = 0; e < count && k->ctx->status == HK_OK; e++)
            numeric[e] = central_difference(k, k->in[i], e, x[e], k->config.h);
        if (k->ctx->status == HK_OK) judge(k, i, count, analytic, numeric);
        analytic += count;
        free(numeric);
        if (k->ctx->status != HK_OK) return k->ctx->status;
    }
    return HK_OK;
}

/* Elements of all inputs that are not skipped, one after the other, from or to memory of the host. */
static void move_inputs(check *k, bool write, double *all) {
    for (int i = 0; i < k->n; i++) {
        if (skipped(k, i)) continue;
        const int64_t count = hk_shape_count(k->in[i]->shape);
        if (write)
            put(k, k->in[i]->data, all, count);
        else
            hk__values_read(k->ctx, all, k->in[i]->data, sizeof *all * (size_t)count);
        all += count;
    }
}

/* Moves every input by h·u, evaluates, and puts the inputs back. */
static bool evaluate_moved(check *k, double h, double *out) {
    int64_t total = 0, at = 0;
    for (int i = 0; i < k->n; i++) total += skipped(k, i) ? 0 : hk_shape_count(k->in[i]->shape);
    double *saved = malloc(sizeof *saved * (size_t)(2 * total + 1)), *moved = saved + total;
    if (!saved) return false;
    move_inputs(k, false, saved);
    for (int i = 0; i < k->n; i++)
        for (int64_t e = 0; !skipped(k, i) && e < hk_shape_count(k->in[i]->shape); e++, at++)
            moved[at] = saved[at] + h * direction(i, e);
    const bool was = hk_grad_enable(k->ctx, false);
    move_inputs(k, true, moved);
    hk_tensor *y = evaluate(k);
    const bool done = y && hk_tensor_read(y, out, sizeof *out * (size_t)k->outputs) == HK_OK;
    hk_grad_enable(k->ctx, was);
    forget(k);
    move_inputs(k, true, saved);
    free(saved);
    return done;
}

static hk_status jvp_part(check *k, const double *tangent) {
    hk_gradcheck_result *r = k->result;
    double forward = 0, reverse = 0, scale = 0, largest = 0, worst = 0;
    for (int64_t i = 0; i < k->outputs; i++) forward += k->v[i] * tangent[i];
    const double *a = k->analytic;
    for (int i = 0; i < k->n; i++) {
        if (skipped(k, i)) continue;
        for (int64_t e = 0; e < hk_shape_count(k->in[i]->shape); e++, a++) {
            reverse += *a * direction(i, e);
            scale += fabs(*a * direction(i, e));
        }
    }
    r->adjoint_error = fabs(forward - reverse) / (scale > 0 ? scale : 1);
    double *up = malloc(sizeof *up * (size_t)(2 * k->outputs + 1)),
           *down = up ? up + k->outputs : NULL;
    if (!up) return hk_fail(k->ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
    if (evaluate_moved(k, k->config.h, up) && evaluate_moved(k, -k->config.h, down))
        for (int64_t i = 0; i < k->outputs; i++) {
            const double numeric = (up[i] - down[i]) / (2 * k->config.h),
                         error = fabs(numeric - tangent[i]);
            if (!(fabs(numeric) <= largest)) largest = fabs(numeric);
            if (!(error <= worst)) worst = error;
        }
    free(up);
    /* Gradients count as well: along u they may cancel, and the noise of the difference stays. */
    if (!(r->largest <= largest)) largest = r->largest;
    r->jvp_error = worst / (largest > 0 ? largest : 1);
    if (r->ok && !(r->adjoint_error <= adjoint_tolerance && r->jvp_error <= jvp_tolerance)) {
        r->ok = false;
        snprintf(r->message, sizeof r->message,
                 "forward mode: directional difference off by %.3g, <u,Jv> from <Jᵀu,v> by %.3g "
                 "(relative)",
                 r->jvp_error, r->adjoint_error);
    }
    return k->ctx->status;
}

/* --- the whole ------------------------------------------------------------------------------------------- */

static hk_status prepare(check *k, bool *added) {
    int64_t total = 0;
    for (int i = 0; i < k->n; i++) {
        hk_tensor *x = k->in[i];
        added[i] = false;
        if (!x) return hk_fail(k->ctx, HK_ERR_ARGUMENT, "gradcheck", "input %d is NULL", i);
        if (skipped(k, i)) continue;
        HK_TRY(hk__check(k->ctx, x, "gradcheck"));
        if (x->step != 0 || x->dtype != HK_F64 || !hk__is_contiguous(x))
            return hk_fail(k->ctx, HK_ERR_DTYPE, "gradcheck", "input %d is no kept f64 tensor", i);
        added[i] = !x->requires;
        if (!hk_require_grad(x)) return k->ctx->status;
        hk_zero_grad(x);
        total += hk_shape_count(x->shape);
    }
    k->analytic = malloc(sizeof *k->analytic * (size_t)(total + 1));
    return k->analytic ? HK_OK : hk_fail(k->ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
}

static hk_status run(check *k) {
    double *tangent = NULL;
    remember(k);
    hk_status status = analytic_part(k, &tangent);
    forget(k);
    if (status == HK_OK) status = numeric_part(k);
    if (status == HK_OK && !k->config.skip_jvp) status = jvp_part(k, tangent);
    free(tangent);
    return status;
}

static void restore(check *k, const bool *added) {
    for (int i = 0; i < k->n; i++) {
        hk_tensor *x = k->in[i];
        if (!x || skipped(k, i)) continue;
        hk_zero_grad(x);
        if (!added[i]) continue;
        hk__kept_free(x->grad);
        x->grad = NULL;
        x->requires = false;
    }
}

hk_status hk_gradcheck(hk_context *ctx, hk_function *fn, void *arg, int n, hk_tensor *const *in,
                       const hk_gradcheck_config *config, hk_gradcheck_result *result) {
    if (!ctx) return HK_ERR_MEMORY;
    hk_gradcheck_result own;
    check k = {
        .ctx = ctx, .fn = fn, .arg = arg, .n = n, .in = in, .result = result ? result : &own};
    if (config) k.config = *config;
    if (k.config.h == 0) k.config.h = 6e-6;
    if (k.config.rtol == 0) k.config.rtol = 1e-7;
    if (k.config.atol == 0) k.config.atol = 1e-8;
    if (k.config.vacuous == 0) k.config.vacuous = 1e-3;
    *k.result = (hk_gradcheck_result){.ok = true, .message = "ok"};
    bool *added = calloc((size_t)n + 1, sizeof *added);
    if (!added) return hk_fail(ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
    const bool was = hk_grad_enable(ctx, true), buffers_off = ctx->buffers_off;
    ctx->buffers_off = true;
    hk_status status = prepare(&k, added);
    if (status == HK_OK) status = run(&k);
    restore(&k, added);
    ctx->buffers_off = buffers_off;
    hk_grad_enable(ctx, was);
    free(added);
    free(k.analytic);
    free(k.v);
    free(k.y);
    if (status != HK_OK) {
        k.result->ok = false;
        snprintf(k.result->message, sizeof k.result->message, "%.250s", hk_error_message(ctx));
        return status;
    }
    if (k.result->failed > 0) {
        const hk_gradcheck_element *w = &k.result->worst;
        k.result->ok = false;
        snprintf(k.result->message, sizeof k.result->message,
                 "%lld of %lld derivatives are off; worst: input %d element %lld: backward %.12g, "
                 "difference "
                 "%.12g",
                 (long long)k.result->failed, (long long)k.result->elements, w->input,
                 (long long)w->index, w->analytic, w->numeric);
    }
    return k.result->ok ? HK_OK : HK_ERR_CHECK;
}
