/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_act_learn.c: parameters that learn: their gradients for the layer, for each channel and for
   each element, by every way through the kernels, against the oracle in double.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS, LARGEST = 1024 };

typedef enum per { PER_LAYER, PER_CHANNEL, PER_CHANNEL_LEADING, MIXED, PER_ELEMENT, PERS } per;

/* One activation on one shape with parameters of one kind, and what the oracle says of it. */
typedef struct problem {
    hk_activation_spec spec;
    hk_shape shape, own[MAX]; /* of x, of each parameter */
    bool tensor[MAX];         /* which parameters are tensors */
    int64_t n;
    double x[LARGEST], g[LARGEST], w[LARGEST]; /* w: a second use of x, x·w */
    double p[MAX][LARGEST];
    double y[LARGEST], gx[LARGEST], gp[MAX][LARGEST], size[MAX][LARGEST]; /* size: Σ |g·∂f/∂p| */
} problem;

static hk_shape channels_of(hk_shape x, bool leading) {
    hk_shape s = {1, {x.dim[1]}};
    if (leading) s = (hk_shape){2, {1, x.dim[1]}};
    for (int i = 2; i < x.rank; i++) s.dim[s.rank++] = 1;
    return s;
}

static hk_shape parameter_shape(per kind, hk_shape x, int k) {
    switch (kind) {
    case PER_LAYER: return HK_SHAPE(1);
    case PER_CHANNEL: return channels_of(x, false);
    case PER_CHANNEL_LEADING: return channels_of(x, true);
    case MIXED: return k % 2 ? HK_SCALAR : channels_of(x, false);
    default: return x;
    }
}

/* Numbers that float holds exactly, x on a grid between the parameters' so that no point is at a
   kink. */
static void fill(problem *b, const char *text, hk_context *ctx, hk_shape shape, per kind) {
    *b = (problem){.shape = shape, .n = hk_shape_count(shape)};
    assert_true(b->n <= LARGEST);
    must(hk_activation_parse(ctx, text, &b->spec));
    b->spec = activation_in_float(b->spec);
    const hk_random stream = hk_random_stream(5, text, (uint64_t)b->n);
    for (int64_t i = 0; i < b->n; i++) {
        const uint64_t at = (uint64_t)i * 3;
        b->x[i] = (double)hk_random_below(stream, at, 384) / 64 - 3 + 1.0 / 128;
        b->g[i] = (double)hk_random_below(stream, at + 1, 128) / 64 - 1;
        b->w[i] = (double)hk_random_below(stream, at + 2, 128) / 64 - 1;
    }
    for (int k = 0; k < b->spec.info->n_params; k++) {
        const hk_activation_param *p = &b->spec.info->params[k];
        if (p->role == HK_PARAM_FIXED || (p->from > 0 && p->from > b->spec.value[0])) continue;
        b->tensor[k] = true;
        b->own[k] = parameter_shape(kind, shape, k);
        for (int64_t i = 0; i < hk_shape_count(b->own[k]); i++)
            b->p[k][i] = (double)(float)(b->spec.value[k] + (double)((i * 3 + k) % 5) / 32);
    }
}

/* What the oracle says; parameters that are numbers as in spec. */
static void solve(problem *b) {
    for (int64_t i = 0; i < b->n; i++) {
        hk_activation_spec at = b->spec;
        for (int k = 0; k < at.info->n_params; k++)
            if (b->tensor[k]) at.value[k] = b->p[k][broadcast_at(b->own[k], b->shape, i)];
        b->y[i] = hk_activation_value(&at, b->x[i]);
        b->gx[i] = b->g[i] * hk_activation_slope(&at, b->x[i]);
        for (int k = 0; k < at.info->n_params; k++) {
            if (!b->tensor[k]) continue;
            const double d = b->g[i] * hk_activation_param_slope(&at, k, b->x[i]);
            b->gp[k][broadcast_at(b->own[k], b->shape, i)] += d;
            b->size[k][broadcast_at(b->own[k], b->shape, i)] += fabs(d);
        }
    }
}

/* --- one run --------------------------------------------------------------------------------- */

typedef enum mode {
    PLAIN_RUN,
    TWO_STEPS, /* gradients add up */
    X_TWICE,   /* x goes somewhere else too */
    X_FIXED,   /* only the parameters need gradients */
    LAID_OUT,  /* the gradient of y lies transposed in memory */
    TURNED,    /* and y is used transposed */
    MODES
} mode;

static hk_tensor *turned(hk_tensor *t) {
    const int r = hk_tensor_rank(t);
    return r >= 2 ? hk_transpose(t, -1, -2) : t;
}

typedef struct run_result {
    hk_tensor *x, *y, *p[MAX];
} run_result;

static hk_tensor *step_tensor(hk_context *ctx, hk_dtype dtype, hk_shape shape,
                              const double *value) {
    return hk_cast(hk_constant(ctx, HK_F64, shape, value), dtype);
}

/* A tensor that shows b->x through the view, whose backward puts every element in its place. */
static hk_tensor *source_of(hk_context *ctx, hk_dtype dtype, const problem *b, view v) {
    if (v == PLAIN) return kept(ctx, dtype, b->shape, b->x);
    hk_tensor *source = hk_require_grad(hk_tensor_new(ctx, dtype, view_source(v, b->shape)));
    must(hk_backward_from(ctx, view_of(v, source, b->shape),
                          step_tensor(ctx, dtype, b->shape, b->x)));
    hk_tensor *x = hk_tensor_keep(hk_grad(source));
    hk_tensor_destroy(source);
    must(hk_step_end(ctx));
    return x;
}

static run_result forward_backward(hk_context *ctx, hk_dtype dtype, const problem *b, mode m,
                                   view v) {
    run_result r = {.x = source_of(ctx, dtype, b, v)};
    if (m != X_FIXED) hk_require_grad(r.x);
    for (int k = 0; k < b->spec.info->n_params; k++)
        if (b->tensor[k]) r.p[k] = hk_require_grad(kept(ctx, dtype, b->own[k], b->p[k]));
    for (int step = 0; step < (m == TWO_STEPS ? 2 : 1); step++) {
        if (step > 0) must(hk_step_end(ctx));
        hk_tensor *x = v == PLAIN ? r.x : view_of(v, r.x, b->shape),
                  *g = step_tensor(ctx, dtype, b->shape, b->g);
        hk_tensor *y = r.y = hk_activate_with(x, &b->spec, r.p);
        if (m == X_TWICE) y = hk_add(y, hk_mul(x, step_tensor(ctx, dtype, b->shape, b->w)));
        if (m == LAID_OUT) g = turned(hk_contiguous(turned(g)));
        if (m == TURNED) {
            y = turned(y);
            g = turned(g);
        }
        must(hk_backward_from(ctx, y, g));
    }
    return r;
}

static void forget(hk_context *ctx, run_result *r) {
    must(hk_step_end(ctx));
    hk_tensor_destroy(r->x);
    for (int k = 0; k < MAX; k++) hk_tensor_destroy(r->p[k]);
}

/* What runs, for messages. */
typedef struct where {
    const problem *b;
    const char *isa;
    hk_dtype dtype;
    per kind;
    mode m;
    view v;
} where;

static void compare(const where *w, const char *what, int64_t i, double got, double want,
                    double allowed) {
    char shape[64];
    if (is_close(got, want, allowed)) return;
    fail_msg("%s on %s, shape %s, parameters %d, mode %d, view %d: %s[%d] is %.17g, not %.17g; "
             "allowed %.3g",
             w->b->spec.info->name, w->dtype == HK_F64 ? "f64" : w->isa,
             hk_shape_text(w->b->shape, shape, sizeof shape), w->kind, w->m, w->v, what, (int)i,
             got, want, allowed);
}

static void check_run(hk_context *ctx, const where *w) {
    const problem *b = w->b;
    const double unit = w->dtype == HK_F64 ? 1e-13 : 1e-6, times = w->m == TWO_STEPS ? 2 : 1;
    run_result r = forward_backward(ctx, w->dtype, b, w->m, w->v);
    const double *y = values(r.y);
    for (int64_t i = 0; i < b->n; i++)
        compare(w, "y", i, y[i], b->y[i], unit * fmax(1, fabs(b->y[i])));
    if (w->m != X_FIXED) {
        hk_tensor *grad = hk_grad(r.x);
        const double *gx = values(w->v == PLAIN ? grad : view_of(w->v, grad, b->shape));
        for (int64_t i = 0; i < b->n; i++) {
            const double want = times * b->gx[i] + (w->m == X_TWICE ? b->g[i] * b->w[i] : 0);
            compare(w, "gradient of x", i, gx[i], want, 4 * unit * fmax(1, fabs(want)));
        }
    }
    for (int k = 0; k < b->spec.info->n_params; k++) {
        if (!b->tensor[k]) continue;
        const double *gp = values(hk_grad(r.p[k]));
        for (int64_t i = 0; i < hk_shape_count(b->own[k]); i++)
            compare(w, b->spec.info->params[k].name, i, gp[i], times * b->gp[k][i],
                    2 * times * unit * fmax(1, b->size[k][i]));
    }
    forget(ctx, &r);
}

/* --- the tests ------------------------------------------------------------------------------- */

static const hk_shape shapes[] = {{2, {7, 5}},          {2, {33, 17}},
                                  {3, {3, 5, 17}},      {4, {3, 5, 7, 3}}, /* 21 in a row */
                                  {4, {2, 3, 1, 5}},                       /* too few */
                                  {4, {2, 17, 17, 1}},  {1, {37}},
                                  {2, {1, 1}},          {4, {1, 2, 16, 16}},
                                  {5, {2, 3, 2, 3, 4}}, {6, {2, 3, 1, 2, 3, 4}}};

/* NULL for rows without a parameter that can be trained, and those that are not pointwise. */
static const char *learnable(const hk_activation_info *row) {
    static char text[64];
    bool any = false;
    for (int k = 0; k < row->n_params; k++) any |= row->params[k].role != HK_PARAM_FIXED;
    if (row->kind != HK_ACTIVATION_POINTWISE || !any) return NULL;
    snprintf(text, sizeof text, "%s", activation_text(row));
    return text;
}

/* The same by the grammar, which knows learn=yes for these alone. */
static bool grammar_lets_learn(hk_context *ctx, const hk_activation_info *row) {
    hk_activation_spec spec;
    char text[64];
    snprintf(text, sizeof text, "%s:learn=yes", row->name);
    const bool can = hk_activation_parse(ctx, text, &spec) == HK_OK;
    hk_error_clear(ctx);
    return can;
}

/* All ways through on one context; views where the way differs. */
static void all_modes(hk_context *ctx, const char *isa, hk_dtype dtype, const problem *b,
                      per kind) {
    for (int m = 0; m < MODES; m++)
        for (int v = 0; v < STRETCHED; v++)
            if (v == PLAIN || (b->shape.rank >= 2 && (m == PLAIN_RUN || m == X_TWICE)))
                check_run(ctx, &(where){b, isa, dtype, kind, (mode)m, (view)v});
}

static void against_the_oracle(void **state) {
    (void)state;
    hk_context *of[4] = {NULL};
    const char *isa_of[4] = {NULL};
    for (int s = 0; (isa_of[s] = isa_number(s)) != NULL; s++) of[s] = new_context(1, isa_of[s]);
    problem *b = malloc(sizeof *b);
    const hk_activation_info *row;
    int n = 0, rows = 0;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        const char *text = learnable(row);
        rows += grammar_lets_learn(of[0], row);
        for (int64_t s = 0; text && s < COUNT(shapes); s++, n++)
            for (int kind = 0; kind < PERS; kind++) {
                if (shapes[s].rank < 2 && kind != PER_LAYER && kind != PER_ELEMENT) continue;
                fill(b, text, of[0], shapes[s], (per)kind);
                solve(b);
                all_modes(of[0], "", HK_F64, b, (per)kind);
                for (int i = 0; of[i]; i++) all_modes(of[i], isa_of[i], HK_F32, b, (per)kind);
            }
    }
    assert_true(rows > 0 && n == rows * COUNT(shapes));
    free(b);
    for (int i = 0; of[i]; i++) hk_context_destroy(of[i]);
}

/* A vector as long as the channels that belongs to another axis is not one for each channel. */
static void other_axes(void **state) {
    hk_context *ctx = *state;
    static const struct {
        hk_shape own;
        int64_t size; /* of every axis of x, but the last is 17 */
    } cases[] = {{{1, {17}}, 3},   {{2, {3, 1}}, 3},    {{4, {3, 1, 1, 1}}, 3}, {{3, {1, 3, 1}}, 3},
                 {{2, {2, 1}}, 2}, {{3, {2, 2, 1}}, 2}, {{4, {2, 2, 1, 1}}, 2}};
    problem *b = malloc(sizeof *b);
    for (int64_t s = 0; s < COUNT(cases); s++) {
        const int64_t d = cases[s].size;
        fill(b, "swish_skip", ctx, (hk_shape){4, {d, d, d, 17}}, PER_CHANNEL);
        b->own[0] = cases[s].own;
        for (int64_t i = 0; i < hk_shape_count(b->own[0]); i++) b->p[0][i] = 0.125 + (double)i / 32;
        solve(b);
        all_modes(ctx, "best", HK_F32, b, PER_CHANNEL);
        all_modes(ctx, "", HK_F64, b, PER_CHANNEL);
    }
    free(b);
}

/* Some parameters are tensors, the others numbers. */
static void tensors_and_numbers(void **state) {
    hk_context *ctx = *state;
    problem *b = malloc(sizeof *b);
    for (int which = 0; which < 2 * PERS; which++) {
        fill(b, "acon_b:p=0.5:beta=1.5", ctx, (hk_shape){4, {3, 5, 7, 3}}, (per)(which / 2));
        b->tensor[which % 2] = false;
        solve(b);
        all_modes(ctx, "best", HK_F32, b, (per)(which / 2));
    }
    free(b);
}

/* No elements: no error, and gradients of 0. */
static void empty(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, "prelu", &spec));
    static const hk_shape own[] = {{1, {1}}, {1, {3}}};
    for (int64_t s = 0; s < COUNT(own); s++) {
        hk_tensor *x = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(0, 3))),
                  *alpha =
                      hk_require_grad(kept(ctx, HK_F32, own[s], (const double[]){0.5, 0.5, 0.5}));
        hk_tensor *y = hk_activate_with(x, &spec, &alpha);
        assert_shape(y, HK_SHAPE(0, 3));
        must(hk_backward_from(ctx, y, hk_full(ctx, HK_F32, HK_SHAPE(0, 3), 1)));
        assert_values("alpha", hk_grad(alpha), own[s].dim[0], (const double[]){0, 0, 0}, 0);
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_oracle),
        cmocka_unit_test_setup_teardown(other_axes, setup, teardown),
        cmocka_unit_test_setup_teardown(tensors_and_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(empty, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
