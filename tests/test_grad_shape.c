/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_grad_shape.c: gradients of operations that move elements: views of views, joins, padding,
   rows.
   SPDX-License-Identifier: MIT */
#include "testing.h"

typedef struct move {
    int kind, a, b;
    int64_t start, length;
    const int *order;
    view view;
    hk_shape shape, to;
} move;

enum { RESHAPE, FLATTEN, TRANSPOSE, PERMUTE, SLICE, BROADCAST, PAD, CONTIGUOUS };

static hk_tensor *apply(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const move *m = arg;
    hk_tensor *x = view_of(m->view, in[0], m->shape);
    int64_t before[HK_MAX_RANK] = {0}, after[HK_MAX_RANK] = {0};
    if (m->kind == PAD) before[m->a] = m->start, after[m->b] = m->length;
    switch (m->kind) {
    case RESHAPE: return hk_reshape(x, m->to);
    case FLATTEN: return hk_flatten_from(x, m->a);
    case TRANSPOSE: return hk_transpose(x, m->a, m->b);
    case PERMUTE: return hk_permute(x, m->order);
    case SLICE: return hk_slice(x, m->a, m->start, m->length);
    case BROADCAST: return hk_broadcast_to(x, m->to);
    case PAD: return hk_pad(x, before, after, 0.5);
    default: return hk_neg(hk_contiguous(x)); /* x itself is no result */
    }
}

static void check(hk_context *ctx, move m) {
    hk_tensor *x = seeded(ctx, HK_F64, view_source(m.view, m.shape), "shape", -2, 2, 0);
    char what[80];
    snprintf(what, sizeof what, "kind %d, rank %d, a %d, b %d, view %d", m.kind, m.shape.rank, m.a,
             m.b, m.view);
    assert_gradient(ctx, what, apply, &m, 1, &x, NULL);
    hk_tensor_destroy(x);
}

static void one_input(void **state) {
    hk_context *ctx = *state;
    const hk_shape cube = {3, {2, 3, 5}}, six = {6, {2, 1, 3, 2, 1, 3}};
    static const hk_shape to[] = {
        {1, {30}}, {1, {-1}}, {2, {5, 6}}, {3, {-1, 1, 10}}, {6, {1, 5, 1, 3, -1, 1}}};
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {-1, 1, 0}};
    static const int order6[] = {5, 0, 3, 1, 4, 2};
    for (int v = 0; v < VIEWS; v++) {
        const move base = {.view = (view)v, .shape = cube};
        for (int64_t k = 0; k < COUNT(to); k++) {
            move m = base;
            m.kind = RESHAPE, m.to = to[k];
            check(ctx, m);
        }
        for (int a = -3; a < 3; a++) {
            move m = base;
            m.kind = FLATTEN, m.a = a;
            check(ctx, m);
            for (int b = -3; b < 3; b++) {
                m.kind = TRANSPOSE, m.b = b;
                check(ctx, m);
            }
        }
        for (int64_t k = 0; k < COUNT(orders); k++) {
            move m = base;
            m.kind = PERMUTE, m.order = orders[k];
            check(ctx, m);
        }
        check(ctx, (move){.kind = PERMUTE, .order = order6, .view = (view)v, .shape = six});
        check(ctx, (move){.kind = CONTIGUOUS, .view = (view)v, .shape = cube});
        check(ctx, (move){.kind = CONTIGUOUS, .view = (view)v, .shape = six});
        for (int a = 0; a < 3; a++)
            for (int64_t start = 0; start < cube.dim[a]; start++) {
                move m = base;
                m.kind = SLICE, m.a = a, m.start = start, m.length = (cube.dim[a] - start + 1) / 2;
                check(ctx, m);
                m.kind = PAD, m.b = (a + 1) % 3;
                check(ctx, m);
            }
    }
}

static void broadcasts(void **state) {
    hk_context *ctx = *state;
    static const hk_shape cases[][2] = {
        {{0, {0}}, {3, {2, 3, 5}}},
        {{1, {1}}, {1, {7}}},
        {{1, {5}}, {2, {3, 5}}},
        {{2, {3, 1}}, {3, {2, 3, 5}}},
        {{3, {1, 3, 1}}, {6, {2, 1, 3, 2, 3, 1}}},
        {{2, {3, 5}}, {2, {3, 5}}},
    };
    for (int64_t k = 0; k < COUNT(cases); k++)
        for (int v = 0; v < VIEWS; v++)
            check(ctx,
                  (move){
                      .kind = BROADCAST, .view = (view)v, .shape = cases[k][0], .to = cases[k][1]});
}

/* --- several inputs -------------------------------------------------------------------------- */

typedef struct joining {
    bool stack;
    int axis;
} joining;

/* The parts, the middle one as a transposed view. */
static hk_tensor *join(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx;
    const joining *j = arg;
    hk_tensor *part[3] = {in[0], hk_transpose(in[1], 0, 1), n > 2 ? in[2] : NULL};
    return j->stack ? hk_stack(n, part, j->axis) : hk_concat(n, part, j->axis);
}

static void joins(void **state) {
    hk_context *ctx = *state;
    for (int axis = -3; axis < 3; axis++) {
        const int a = axis < 0 ? axis + 3 : axis;
        hk_tensor *in[3];
        for (int i = 0; i < 3; i++) {
            hk_shape s = {3, {2, 3, 5}};
            s.dim[a] = 2 * i + 1;
            if (i == 1) s = (hk_shape){3, {s.dim[1], s.dim[0], s.dim[2]}}; /* as join turns it */
            char name[32];
            snprintf(name, sizeof name, "join/%d", i);
            in[i] = seeded(ctx, HK_F64, s, name, -2, 2, 0);
        }
        joining j = {false, axis};
        assert_gradient(ctx, "concat of three", join, &j, 3, in, NULL);
        assert_gradient(ctx, "concat of two", join, &j, 2, in, NULL);
    }
    for (int axis = -4; axis < 4; axis++) {
        hk_tensor *in[] = {seeded(ctx, HK_F64, HK_SHAPE(2, 3, 1), "stack/0", -2, 2, 0),
                           seeded(ctx, HK_F64, HK_SHAPE(3, 2, 1), "stack/1", -2, 2, 0),
                           seeded(ctx, HK_F64, HK_SHAPE(2, 3, 1), "stack/2", -2, 2, 0)};
        joining j = {true, axis};
        assert_gradient(ctx, "stack", join, &j, 3, in, NULL);
    }
}

static hk_tensor *gather(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const move *m = arg;
    return hk_gather_rows(view_of(m->view, in[0], m->shape), in[1]);
}

static void gathers(void **state) {
    hk_context *ctx = *state;
    const double at[] = {2, 0, 2, 1, 2, 0}; /* row 2 three times, row 3 never */
    static const hk_shape index[] = {{0, {0}}, {1, {6}}, {2, {3, 2}}, {3, {1, 3, 2}}};
    static const hk_shape from[] = {{1, {4}}, {2, {4, 5}}, {3, {4, 3, 2}}};
    const bool skip[] = {false, true};
    for (int64_t k = 0; k < COUNT(index) * COUNT(from) * VIEWS; k++) {
        move m = {.view = (view)(k % VIEWS), .shape = from[k / VIEWS % COUNT(from)]};
        hk_tensor *in[] = {seeded(ctx, HK_F64, view_source(m.view, m.shape), "gather", -2, 2, 0),
                           kept(ctx, HK_I32, index[k / VIEWS / COUNT(from)], at)};
        assert_gradient(ctx, "gather_rows", gather, &m, 2, in, skip);
        hk_tensor_destroy(in[0]);
        hk_tensor_destroy(in[1]);
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
#define LIST(...) ((hk_tensor *[]){__VA_ARGS__})
FN(concat_itself, hk_concat(2, LIST(x, x), 0));
FN(stack_itself, hk_stack(3, LIST(x, x, x), 1));
FN(with_its_transpose, hk_mul(x, hk_transpose(x, 0, 1)));
FN(overlapping, hk_add(hk_slice(x, 0, 0, 2), hk_slice(x, 0, 1, 2)));
FN(joined_slices, hk_concat(2, LIST(hk_slice(x, 1, 1, 2), hk_slice(x, 1, 0, 2)), 0));
FN(views_of_views,
   hk_slice(hk_transpose(hk_slice(hk_reshape(hk_transpose(x, 0, 1), HK_SHAPE(9)), 0, 1, 8), 0, 0),
            0, 2, 3));
FN(stretched_products, hk_mul(hk_broadcast_to(hk_slice(x, 0, 1, 1), HK_SHAPE(3, 3)), x));
FN(flattened_square, hk_mul(hk_flatten_from(x, 0), hk_reshape(x, HK_SHAPE(-1))));
FN(returned_as_it_is, hk_contiguous(hk_mul(hk_contiguous(x), hk_reshape(x, HK_SHAPE(3, 3)))));

static hk_tensor *split_and_joined(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    hk_tensor *part[3];
    const int64_t sizes[] = {1, 0, 2};
    if (hk_split(in[0], -1, 3, sizes, part) != HK_OK) return NULL;
    return hk_concat(3, LIST(part[2], part[1], hk_mul(part[0], part[0])), 1);
}

static void used_several_times(void **state) {
    hk_context *ctx = *state;
    hk_function *const all[] = {concat_itself,      stack_itself,     with_its_transpose,
                                overlapping,        joined_slices,    views_of_views,
                                stretched_products, flattened_square, returned_as_it_is,
                                split_and_joined};
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 3), "several", -2, 2, 0);
    for (int64_t k = 0; k < COUNT(all); k++) {
        char what[64];
        snprintf(what, sizeof what, "several times, number %lld", (long long)k);
        assert_gradient(ctx, what, all[k], NULL, 1, &x, NULL);
    }
}

/* A slice that nothing is taken from must leave the rest of the gradient zero, not unwritten. */
static void untouched_parts_are_zero(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F64, HK_SHAPE(2, 3), "untouched", 1, 2, 0));
    hk_tensor *y = hk_exp(x); /* an intermediate: its gradient comes from the step's memory */
    hk_tensor *loss = hk_sum(hk_slice(y, 1, 2, 1), HK_ALL_AXES, false);
    must(hk_backward(ctx, loss));
    const double *g = values(hk_grad(y));
    for (int i = 0; i < 6; i++) assert_close("slice", i, g[i], i % 3 == 2, 0);
    const int32_t one = 1;
    y = hk_exp(x);
    hk_tensor *row = hk_gather_rows(y, hk_constant(ctx, HK_I32, HK_SHAPE(1), &one));
    must(hk_backward(ctx, hk_sum(row, HK_ALL_AXES, false)));
    g = values(hk_grad(y));
    for (int i = 0; i < 6; i++) assert_close("rows", i, g[i], i / 3 == 1, 0);
    must(hk_step_end(ctx));
}

/* A reshape hands its gradient on without a copy, but not where another op adds to it. */
static void gradients_of_a_reshape(void **state) {
    hk_context *ctx = *state;
    for (int used = 0; used < 2; used++) {
        hk_tensor *x = hk_require_grad(seeded(ctx, HK_F64, HK_SHAPE(2, 3), "reshape", 1, 2, 0));
        hk_tensor *wide = hk_scale(x, 2, 0), *square = hk_mul(wide, wide);
        hk_tensor *flat = hk_reshape(wide, HK_SHAPE(6)), *sum = hk_sum(flat, HK_ALL_AXES, false);
        if (used) sum = hk_add(sum, hk_sum(square, HK_ALL_AXES, false));
        must(hk_backward(ctx, sum));
        for (int64_t i = 0; i < 6; i++) {
            const double slope = used ? 1 + 2 * element_get(wide, i) : 1;
            assert_close("flat", i, element_get(hk_grad(flat), i), 1, 0);
            assert_close("wide", i, element_get(hk_grad(wide), i), slope, 0);
            assert_close("x", i, element_get(hk_grad(x), i), 2 * slope, 0);
        }
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_input, setup, teardown),
        cmocka_unit_test_setup_teardown(broadcasts, setup, teardown),
        cmocka_unit_test_setup_teardown(joins, setup, teardown),
        cmocka_unit_test_setup_teardown(gathers, setup, teardown),
        cmocka_unit_test_setup_teardown(used_several_times, setup, teardown),
        cmocka_unit_test_setup_teardown(untouched_parts_are_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(gradients_of_a_reshape, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
