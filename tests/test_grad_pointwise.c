/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_grad_pointwise.c: gradients of operations element by element: broadcasting, views, one
   tensor used twice, and what the header promises at kinks.
   SPDX-License-Identifier: MIT */
#include "testing.h"

typedef hk_tensor *one_fn(hk_tensor *a);
typedef hk_tensor *two_fn(hk_tensor *a, hk_tensor *b);

static hk_tensor *clamped(hk_tensor *a) { return hk_clamp(a, -0.75, 0.85); }
static hk_tensor *scaled(hk_tensor *a) { return hk_scale(a, -1.5, 0.25); }

/* The grids of a and b never meet, so nothing lies near a kink at a = b; nor do a's values at 0. */
typedef struct two_row {
    const char *name;
    two_fn *fn;
    double low_a, low_b, high, grid;
    bool picks; /* one operand gets nothing where the other wins: needs several elements */
} two_row;
static const two_row twos[] = {
    {"add", hk_add, -2, -2, 2, 0, false},
    {"sub", hk_sub, -2, -2, 2, 0, false},
    {"mul", hk_mul, -2, -2, 2, 0, false},
    {"div", hk_div, -2, 0.5, 2, 0, false},
    {"pow", hk_pow, 0.4, -2, 2.5, 0, false},
    {"maximum", hk_maximum, -2, -1.97, 2, 0.1, true},
    {"minimum", hk_minimum, -2, -1.97, 2, 0.1, true},
};

typedef struct one_row {
    const char *name;
    one_fn *fn;
    double low, high, grid;
} one_row;
static const one_row ones[] = {
    {"neg", hk_neg, -2, 2, 0},   {"abs", hk_abs, -1.95, 2, 0.1}, {"exp", hk_exp, -2, 2, 0},
    {"log", hk_log, 0.3, 2, 0},  {"sqrt", hk_sqrt, 0.3, 2, 0},   {"clamp", clamped, -1.2, 1.2, 0.1},
    {"scale", scaled, -2, 2, 0},
};

static const hk_shape pairs[][2] = {
    {{0, {0}}, {0, {0}}},
    {{1, {1}}, {1, {1}}},
    {{2, {3, 5}}, {2, {3, 5}}},
    {{3, {2, 3, 5}}, {1, {5}}},
    {{1, {5}}, {3, {2, 3, 5}}},
    {{2, {7, 1}}, {2, {1, 5}}},
    {{0, {0}}, {2, {3, 5}}},
    {{2, {3, 5}}, {0, {0}}},
    {{3, {7, 1, 3}}, {2, {5, 1}}},
    {{4, {3, 1, 1, 3}}, {3, {5, 1, 3}}},
    {{5, {1, 3, 1, 2, 1}}, {5, {3, 3, 1, 1, 5}}},
    {{6, {1, 3, 1, 2, 1, 3}}, {6, {2, 1, 3, 1, 2, 1}}},
};

static const hk_shape shapes[] = {
    {0, {0}},
    {1, {1}},
    {1, {7}},
    {2, {3, 5}},
    {3, {3, 1, 5}},
    {4, {1, 3, 5, 2}},
    {5, {2, 1, 3, 1, 3}},
    {6, {1, 3, 2, 1, 1, 3}},
};

typedef struct shown {
    one_fn *one;
    two_fn *two;
    view view[2];
    hk_shape shape[2];
} shown;

static hk_tensor *apply(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx;
    const shown *s = arg;
    hk_tensor *a = view_of(s->view[0], in[0], s->shape[0]);
    return n == 1 ? s->one(a) : s->two(a, view_of(s->view[1], in[1], s->shape[1]));
}

static void two_operands(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(twos) * COUNT(pairs) * VIEWS; k++) {
        const two_row *r = &twos[k / VIEWS / COUNT(pairs)];
        const int64_t p = k / VIEWS % COUNT(pairs);
        const view v = (view)(k % VIEWS), w = (view)((k + p) % VIEWS);
        const hk_shape from[] = {view_source(v, pairs[p][0]), view_source(w, pairs[p][1])};
        if (r->picks && hk_shape_count(from[0]) * hk_shape_count(from[1]) < 10) continue;
        shown s = {.two = r->fn, .view = {v, w}, .shape = {pairs[p][0], pairs[p][1]}};
        hk_tensor *in[] = {seeded(ctx, HK_F64, from[0], "left", r->low_a, r->high, r->grid),
                           seeded(ctx, HK_F64, from[1], "right", r->low_b, r->high, r->grid)};
        char what[80];
        snprintf(what, sizeof what, "%s, shapes %lld, views %d and %d", r->name, (long long)p, v,
                 w);
        assert_gradient(ctx, what, apply, &s, 2, in, NULL);
        hk_tensor_destroy(in[0]);
        hk_tensor_destroy(in[1]);
    }
}

static void one_operand(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(ones) * COUNT(shapes) * VIEWS; k++) {
        const one_row *r = &ones[k / VIEWS / COUNT(shapes)];
        const hk_shape shape = shapes[k / VIEWS % COUNT(shapes)];
        shown s = {.one = r->fn, .view = {(view)(k % VIEWS)}, .shape = {shape}};
        hk_tensor *x =
            seeded(ctx, HK_F64, view_source(s.view[0], shape), "one/x", r->low, r->high, r->grid);
        char what[80];
        snprintf(what, sizeof what, "%s, rank %d, view %d", r->name, shape.rank, s.view[0]);
        assert_gradient(ctx, what, apply, &s, 1, &x, NULL);
        hk_tensor_destroy(x);
    }
}

/* --- where: every operand broadcast in turn -------------------------------------------------- */

static hk_tensor *choose(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_where(in[0], hk_transpose(in[1], 0, 1), in[2]);
}

static void where_broadcasts(void **state) {
    hk_context *ctx = *state;
    static const hk_shape cases[][3] = {
        {{2, {3, 5}}, {2, {5, 3}}, {2, {3, 5}}}, {{1, {5}}, {2, {5, 3}}, {2, {3, 5}}},
        {{2, {3, 5}}, {2, {5, 1}}, {1, {5}}},    {{2, {3, 1}}, {2, {1, 1}}, {2, {3, 5}}},
        {{2, {3, 5}}, {2, {5, 3}}, {0, {0}}},    {{3, {3, 3, 5}}, {2, {5, 1}}, {2, {3, 1}}},
    };
    const bool skip[] = {true, false, false};
    for (int64_t k = 0; k < COUNT(cases); k++) {
        hk_tensor *in[] = {seeded(ctx, HK_U8, cases[k][0], "where/cond", 0, 2, 0),
                           seeded(ctx, HK_F64, cases[k][1], "where/a", -2, 2, 0),
                           seeded(ctx, HK_F64, cases[k][2], "where/b", -2, 2, 0)};
        assert_gradient(ctx, "where", choose, NULL, 3, in, skip);
    }
}

/* --- one tensor used several times ----------------------------------------------------------- */

#define FN(name, expr)                                                                             \
    static hk_tensor *name(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {              \
        (void)ctx, (void)n, (void)arg;                                                             \
        hk_tensor *x = in[0];                                                                      \
        return (expr);                                                                             \
    }                                                                                              \
    WANTS_SEMICOLON
FN(square, hk_mul(x, x));
FN(doubled, hk_add(x, x));
FN(power, hk_pow(x, x));
FN(with_itself, hk_maximum(x, hk_transpose(x, 0, 1)));
FN(quotient, hk_div(hk_transpose(x, 0, 1), hk_add(x, hk_mul(x, x))));
FN(broadcast_of_itself, hk_mul(hk_slice(x, 0, 0, 1), hk_sub(x, hk_slice(x, 1, 2, 1))));
FN(deep, hk_exp(hk_sub(hk_mul(x, hk_log(x)), hk_sqrt(hk_add(x, hk_mul(x, x))))));

static void used_several_times(void **state) {
    hk_context *ctx = *state;
    hk_function *const all[] = {square, doubled, power, with_itself, quotient, broadcast_of_itself,
                                deep};
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 3), "several", 0.5, 2, 0);
    for (int64_t k = 0; k < COUNT(all); k++) {
        char what[64];
        snprintf(what, sizeof what, "several times, number %lld", (long long)k);
        assert_gradient(ctx, what, all[k], NULL, 1, &x, NULL);
    }
}

/* --- promises at kinks: exact values, reverse and forward ------------------------------------ */

/* Gradients of Σ fn(a, b) and the direction for (1, 2), element by element. */
static void exact(hk_context *ctx, hk_dtype dtype, const char *name,
                  hk_tensor *(*fn)(hk_tensor *, hk_tensor *), int64_t n, const double *a,
                  const double *b, const double *want_a, const double *want_b) {
    hk_tensor *in[] = {kept(ctx, dtype, HK_SHAPE(n), a), kept(ctx, dtype, HK_SHAPE(n), b)};
    hk_require_grad(in[0]);
    hk_require_grad(in[1]);
    hk_tensor *y = fn(in[0], in[1]);
    must(hk_backward_from(ctx, y, hk_full(ctx, dtype, HK_SHAPE(n), 1)));
    assert_values(name, hk_grad(in[0]), n, want_a, 1e-7);
    assert_values(name, hk_grad(in[1]), n, want_b, 1e-7);
    hk_tensor *v[] = {hk_full(ctx, dtype, HK_SHAPE(n), 1), hk_full(ctx, dtype, HK_SHAPE(n), 2)};
    const double *t = values(hk_jvp(ctx, y, 2, in, v));
    for (int64_t i = 0; i < n; i++) assert_close(name, i, t[i], want_a[i] + 2 * want_b[i], 2e-7);
    must(hk_step_end(ctx));
    hk_tensor_destroy(in[0]);
    hk_tensor_destroy(in[1]);
}

static hk_tensor *abs_of(hk_tensor *a, hk_tensor *b) {
    return hk_add(hk_abs(a), hk_scale(b, 0, 0));
}
static hk_tensor *clamp_of(hk_tensor *a, hk_tensor *b) {
    return hk_add(hk_clamp(a, -1, 2), hk_scale(b, 0, 0));
}

static void exact_at_kinks(void **state) {
    hk_context *ctx = *state;
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
#define TRY(fn, ...)                                                                               \
    do {                                                                                           \
        const double v_[4][4] = {__VA_ARGS__};                                                     \
        exact(ctx, dtype, #fn, fn, 4, v_[0], v_[1], v_[2], v_[3]);                                 \
    } while (0)
        TRY(hk_maximum, {1, 2, -3, 0.0}, {1, 1, -1, -0.0}, {.5, 1, 0, .5}, {.5, 0, 1, .5});
        TRY(hk_minimum, {1, 2, -3, 0.0}, {1, 1, -1, -0.0}, {.5, 0, 1, .5}, {.5, 1, 0, .5});
        TRY(abs_of, {0, -0.0, 2, -2}, {0}, {0, 0, 1, -1}, {0});
        TRY(clamp_of, {-1, 2, -1.5, 2.5}, {0}, {1, 1, 0, 0}, {0});
        /* b = 0: nothing flows to a; a = 0 <= b: nothing to b. Integer powers of negative
           numbers are fine for a. */
        TRY(hk_pow, {0, 0, 3, 0}, {0, 2, 0, 1}, {0, 0, 0, 1}, {0, 0, log(3), 0});
#undef TRY
        const double minus = -2, three = 3;
        hk_tensor *base = hk_require_grad(kept(ctx, dtype, HK_SCALAR, &minus));
        must(hk_backward(ctx, hk_pow(base, kept(ctx, dtype, HK_SCALAR, &three))));
        assert_close("d(-2)^3", 0, hk_tensor_item(hk_grad(base)), 12, 1e-6);
        const double zero = 0;
        hk_tensor *root = hk_require_grad(kept(ctx, dtype, HK_SCALAR, &zero));
        must(hk_backward(ctx, hk_sqrt(root)));
        assert_close("d sqrt(0)", 0, hk_tensor_item(hk_grad(root)), INFINITY, 0);
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_operands, setup, teardown),
        cmocka_unit_test_setup_teardown(one_operand, setup, teardown),
        cmocka_unit_test_setup_teardown(where_broadcasts, setup, teardown),
        cmocka_unit_test_setup_teardown(used_several_times, setup, teardown),
        cmocka_unit_test_setup_teardown(exact_at_kinks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
