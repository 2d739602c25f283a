/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_grad_reduce.c: gradients of sum, mean, var, max, softmax and log-softmax over any axes of
   any layout.
   SPDX-License-Identifier: MIT */
#include "testing.h"

enum { SUM, MEAN, VAR, VAR_BIASED, MAX, SOFTMAX, LOG_SOFTMAX, KINDS };
static const char *const names[KINDS] = {"sum", "mean",    "var",        "var biased",
                                         "max", "softmax", "log_softmax"};

typedef struct reduction {
    int kind, axis;
    unsigned axes;
    bool keep;
    view view;
    hk_shape shape;
} reduction;

static hk_tensor *apply(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const reduction *r = arg;
    hk_tensor *x = view_of(r->view, in[0], r->shape);
    switch (r->kind) {
    case SUM: return hk_sum(x, r->axes, r->keep);
    case MEAN: return hk_mean(x, r->axes, r->keep);
    case VAR: return hk_var(x, r->axes, 1, r->keep);
    case VAR_BIASED: return hk_var(x, r->axes, 0, r->keep);
    case MAX: return hk_max(x, r->axes, r->keep);
    case SOFTMAX: return hk_softmax(x, r->axis);
    default: return hk_log_softmax(x, r->axis);
    }
}

/* Distinct values, 0.01 apart at least, in random order: nothing is near a tie. */
static hk_tensor *distinct(hk_context *ctx, hk_shape shape) {
    enum { MOST_HERE = 512 };
    int64_t order[MOST_HERE];
    double value[MOST_HERE];
    const int64_t n = hk_shape_count(shape);
    assert_true(n <= MOST_HERE);
    hk_random_permutation(hk_random_stream(3, "distinct", 0), n, order);
    for (int64_t i = 0; i < n; i++) value[i] = 0.01 * (double)order[i] - 1;
    return kept(ctx, HK_F64, shape, value);
}

static const hk_shape shapes[] = {
    {0, {0}},
    {1, {7}},
    {2, {3, 5}},
    {3, {3, 1, 5}},
    {4, {3, 2, 1, 5}},
    {5, {2, 1, 3, 1, 3}},
    {6, {2, 3, 1, 2, 1, 3}},
};

static int64_t reduced_count(hk_shape s, unsigned axes) {
    int64_t count = 1;
    for (int a = 0; a < s.rank; a++)
        if (axes >> a & 1) count *= s.dim[a];
    return count;
}

static void every_set_of_axes(void **state) {
    hk_context *ctx = *state;
    int64_t checked = 0;
    for (int64_t s = 0; s < COUNT(shapes); s++)
        for (unsigned axes = 0; axes < 1U << shapes[s].rank; axes++)
            for (int kind = SUM; kind <= MAX; kind++) {
                reduction r = {.kind = kind,
                               .axes = axes == (1U << shapes[s].rank) - 1 ? HK_ALL_AXES : axes,
                               .keep = (axes + (unsigned)kind) % 2,
                               .view = (view)((axes + (unsigned)kind) % VIEWS),
                               .shape = shapes[s]};
                const bool var = kind == VAR || kind == VAR_BIASED;
                if (var && r.view == STRETCHED) r.view = SLICED;
                if (var && reduced_count(r.shape, axes) < 2) continue;
                hk_tensor *x = distinct(ctx, view_source(r.view, r.shape));
                char what[80];
                snprintf(what, sizeof what, "%s, rank %d, axes 0x%x, view %d", names[kind],
                         r.shape.rank, axes, r.view);
                assert_gradient(ctx, what, apply, &r, 1, &x, NULL);
                hk_tensor_destroy(x);
                checked++;
            }
    assert_true(checked > 500);
}

static void softmax_along_every_axis(void **state) {
    hk_context *ctx = *state;
    static const hk_shape softs[] = {
        {1, {2}}, {2, {3, 5}}, {3, {3, 2, 5}}, {4, {3, 2, 7, 2}}, {6, {2, 2, 3, 2, 2, 2}}};
    for (int64_t s = 0; s < COUNT(softs); s++)
        for (int axis = -softs[s].rank; axis < softs[s].rank; axis++)
            for (int v = 0; v < VIEWS; v++) {
                reduction r = {.kind = v % 2 ? SOFTMAX : LOG_SOFTMAX,
                               .axis = axis,
                               .view = (view)v,
                               .shape = softs[s]};
                const bool along_first = axis == 0 || axis == -r.shape.rank;
                if (v == STRETCHED && along_first) r.view = SLICED; /* equal elements: no slope */
                hk_tensor *x =
                    seeded(ctx, HK_F64, view_source(r.view, r.shape), "softmax", -2, 2, 0);
                char what[80];
                snprintf(what, sizeof what, "%s, rank %d, axis %d, view %d", names[r.kind],
                         r.shape.rank, axis, r.view);
                assert_gradient(ctx, what, apply, &r, 1, &x, NULL);
                hk_tensor_destroy(x);
            }
}

/* --- in company ------------------------------------------------------------------------------ */

#define FN(name, expr)                                                                             \
    static hk_tensor *name(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {              \
        (void)ctx, (void)n, (void)arg;                                                             \
        hk_tensor *x = in[0];                                                                      \
        return (expr);                                                                             \
    }                                                                                              \
    WANTS_SEMICOLON
FN(centred, hk_sub(x, hk_mean(x, HK_AXIS(0), true)));
FN(normalised, hk_div(hk_sub(x, hk_mean(x, HK_AXIS(1), true)),
                      hk_sqrt(hk_scale(hk_var(x, HK_AXIS(1), 0, true), 1, 1e-3))));
FN(share, hk_div(hk_exp(x), hk_sum(hk_exp(x), HK_AXIS(1), true)));
FN(max_and_var, hk_mul(hk_max(x, HK_AXIS(0), false), hk_var(x, HK_AXIS(0), 1, false)));
FN(attention, hk_mul(x, hk_softmax(x, 0)));
FN(twice_summed, hk_sum(hk_sum(hk_mul(x, x), HK_AXIS(0), false), HK_AXIS(0), true));
FN(entropy, hk_sum(hk_mul(hk_softmax(x, 1), hk_log_softmax(x, 1)), HK_AXIS(1), false));

static void used_several_times(void **state) {
    hk_context *ctx = *state;
    hk_function *const all[] = {centred,   normalised,   share,  max_and_var,
                                attention, twice_summed, entropy};
    hk_tensor *x = distinct(ctx, HK_SHAPE(3, 5));
    for (int64_t k = 0; k < COUNT(all); k++) {
        char what[64];
        snprintf(what, sizeof what, "several times, number %lld", (long long)k);
        assert_gradient(ctx, what, all[k], NULL, 1, &x, NULL);
    }
}

/* --- ties of max, empty sums: exact values --------------------------------------------------- */

static void ties_share_equally(void **state) {
    hk_context *ctx = *state;
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
        const double x[] = {1, 3, 3, 2, 5, 5, 5, 5, -1, -2, -3, -4};
        const double rows[] = {0, .5, .5, 0, .25, .25, .25, .25, 1, 0, 0, 0};
        const double all[] = {0, 0, 0, 0, .25, .25, .25, .25, 0, 0, 0, 0};
        hk_tensor *t = hk_require_grad(kept(ctx, dtype, HK_SHAPE(3, 4), x));
        hk_tensor *y = hk_max(t, HK_AXIS(1), false);
        must(hk_backward_from(ctx, y, hk_full(ctx, dtype, HK_SHAPE(3), 1)));
        assert_values("rows", hk_grad(t), 12, rows, 0);
        double direction[12], along[3] = {0};
        for (int i = 0; i < 12; i++) {
            direction[i] = i % 5;
            along[i / 4] += rows[i] * direction[i];
        }
        hk_tensor *v = kept(ctx, dtype, HK_SHAPE(3, 4), direction);
        assert_values("along", hk_jvp(ctx, y, 1, &t, &v), 3, along, 0);
        hk_zero_grad(t);
        must(hk_backward(ctx, hk_max(t, HK_ALL_AXES, false)));
        assert_values("all", hk_grad(t), 12, all, 0);
        must(hk_step_end(ctx));
    }
}

static void empty_sums(void **state) {
    hk_context *ctx = *state;
    hk_tensor *none = hk_require_grad(hk_tensor_new(ctx, HK_F64, HK_SHAPE(0, 3)));
    hk_tensor *some = hk_require_grad(seeded(ctx, HK_F64, HK_SHAPE(3), "some", 1, 2, 0));
    hk_tensor *y = hk_mul(hk_sum(none, HK_AXIS(0), false), some);
    assert_shape(y, HK_SHAPE(3));
    must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
    assert_values("some", hk_grad(some), 3, (const double[]){0, 0, 0}, 0);
    assert_int_equal(hk_tensor_count(hk_grad(none)), 0);
    must(hk_step_end(ctx));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_set_of_axes, setup, teardown),
        cmocka_unit_test_setup_teardown(softmax_along_every_axis, setup, teardown),
        cmocka_unit_test_setup_teardown(used_several_times, setup, teardown),
        cmocka_unit_test_setup_teardown(ties_share_equally, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_sums, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
