/* test_value_shape.c: where each element goes, and which results are views.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

#include "tensor.h"

/* Element i of shape s as an index for each axis, and back through strides of another shape. */
static void index_of(hk_shape s, int64_t i, int64_t *index) {
    for (int a = s.rank - 1; a >= 0; a--) {
        index[a] = i % s.dim[a];
        i /= s.dim[a];
    }
}
static int64_t place_of(hk_shape s, const int64_t *index) {
    int64_t at = 0;
    for (int a = 0; a < s.rank; a++) at = at * s.dim[a] + index[a];
    return at;
}

/* Values 0, 1, 2, ... of every type, seen through a view. */
static hk_tensor *numbered(hk_context *ctx, hk_dtype dtype, view v, hk_shape s) {
    double value[256];
    const hk_shape source = view_source(v, s);
    assert_true(hk_shape_count(source) <= 256);
    for (int i = 0; i < 256; i++) value[i] = i;
    return view_of(v, kept(ctx, dtype, source, value), s);
}

static void permutations(void **state) {
    hk_context *ctx = *state;
    static const int orders[][4] = {
        {0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}, {2, -1, 0, 1}, {0, 2, 1, -1}};
    const hk_shape s = {4, {2, 3, 1, 5}};
    for (int64_t k = 0; k < COUNT(orders) * VIEWS * 4; k++) {
        hk_tensor *x = numbered(ctx, (hk_dtype)(k % 4), (view)(k / 4 % VIEWS), s);
        const int *order = orders[k / 4 / VIEWS];
        hk_tensor *y = hk_permute(x, order);
        assert_ok(ctx);
        assert_ptr_not_equal(y, x);
        const double *from = values(x), *to = values(y);
        for (int64_t i = 0; i < 30; i++) {
            int64_t at[4], source[4];
            index_of(hk_tensor_shape(y), i, at);
            for (int a = 0; a < 4; a++) source[(order[a] + 4) % 4] = at[a];
            assert_close("permute", i, to[i], from[place_of(s, source)], 0);
        }
        to = values(hk_transpose(x, 0, -1));
        for (int64_t i = 0; i < 30; i++) {
            int64_t at[4];
            index_of((hk_shape){4, {5, 3, 1, 2}}, i, at);
            const int64_t source[4] = {at[3], at[1], at[2], at[0]};
            assert_close("transpose", i, to[i], from[place_of(s, source)], 0);
        }
        must(hk_step_end(ctx));
    }
}

static void reshapes(void **state) {
    hk_context *ctx = *state;
    const hk_shape s = {3, {2, 3, 5}};
    for (int64_t k = 0; k < VIEWS * 4; k++) {
        hk_tensor *x = numbered(ctx, (hk_dtype)(k % 4), (view)(k / 4), s);
        double from[30];
        memcpy(from, values(x), sizeof from);
        hk_tensor *y = hk_reshape(x, HK_SHAPE(-1, 10));
        assert_shape(y, HK_SHAPE(3, 10));
        assert_values("reshape", y, 30, from, 0);
        assert_shape(hk_flatten_from(x, 1), HK_SHAPE(2, 15));
        assert_shape(hk_flatten_from(x, -1), HK_SHAPE(2, 3, 5));
        assert_values("flatten", hk_flatten_from(x, 0), 30, from, 0);
        assert_values("contiguous", hk_contiguous(x), 30, from, 0);
        /* Views where the layout allows: the same memory; copies elsewhere. */
        assert_int_equal(y->data == x->data, hk_tensor_is_contiguous(x));
        assert_int_equal(hk_contiguous(x) == x, hk_tensor_is_contiguous(x));
        assert_true(hk_tensor_is_contiguous(y));
        must(hk_step_end(ctx));
    }
    const double one = 7;
    hk_tensor *scalar = kept(ctx, HK_F32, HK_SCALAR, &one);
    assert_shape(hk_flatten_from(scalar, 0), HK_SHAPE(1));
    assert_shape(hk_reshape(scalar, HK_SHAPE(1, 1, -1)), HK_SHAPE(1, 1, 1));
    assert_shape(hk_reshape(hk_reshape(scalar, HK_SHAPE(1)), HK_SCALAR), HK_SCALAR);
    assert_shape(hk_reshape(hk_tensor_new(ctx, HK_F32, HK_SHAPE(0, 3)), HK_SHAPE(-1, 3)),
                 HK_SHAPE(0, 3));
}

static void slices(void **state) {
    hk_context *ctx = *state;
    const hk_shape s = {3, {4, 3, 5}};
    for (int64_t k = 0; k < VIEWS * 4; k++) {
        hk_tensor *x = numbered(ctx, (hk_dtype)(k % 4), (view)(k / 4), s);
        double from[60];
        memcpy(from, values(x), sizeof from);
        for (int axis = 0; axis < 3; axis++)
            for (int64_t start = 0; start <= s.dim[axis]; start++) {
                hk_tensor *y = hk_slice(x, axis - (k % 2 ? 3 : 0), start, s.dim[axis] - start);
                assert_ok(ctx);
                assert_int_equal(hk_tensor_dim(y, axis), s.dim[axis] - start);
                const double *to = values(y);
                for (int64_t i = 0; i < hk_tensor_count(y); i++) {
                    int64_t at[3];
                    index_of(hk_tensor_shape(y), i, at);
                    at[axis] += start;
                    assert_close("slice", i, to[i], from[place_of(s, at)], 0);
                }
            }
        hk_tensor *part[3];
        const int64_t sizes[] = {3, 0, 2};
        must(hk_split(x, -1, 3, sizes, part));
        assert_shape(part[1], HK_SHAPE(4, 3, 0));
        assert_values("split and joined", hk_concat(3, part, 2), 60, from, 0);
        must(hk_step_end(ctx));
    }
}

static void joins(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < VIEWS * 4; k++)
        for (int axis = 0; axis < 3; axis++) {
            hk_tensor *part[3];
            hk_shape out = {3, {2, 3, 5}};
            for (int i = 0; i < 3; i++) {
                hk_shape s = {3, {2, 3, 5}};
                s.dim[axis] = i + 1;
                part[i] = hk_tensor_keep(numbered(ctx, (hk_dtype)(k % 4), (view)(k / 4), s));
            }
            out.dim[axis] = 6;
            hk_tensor *y = hk_concat(3, part, axis);
            assert_shape(y, out);
            const double *to = values(y);
            for (int64_t i = 0; i < hk_tensor_count(y); i++) {
                int64_t at[3];
                index_of(out, i, at);
                const int which = at[axis] == 0 ? 0 : at[axis] < 3 ? 1 : 2;
                at[axis] -= which == 2 ? 3 : which;
                hk_shape own = out;
                own.dim[axis] = which + 1;
                double v[64];
                must(hk_tensor_read(hk_cast(part[which], HK_F64), v, sizeof v));
                assert_close("concat", i, to[i], v[place_of(own, at)], 0);
            }
            hk_tensor *same[] = {part[1], part[1]};
            y = hk_stack(2, same, axis);
            assert_int_equal(hk_tensor_dim(y, axis), 2);
            assert_int_equal(hk_tensor_rank(y), 4);
            for (int i = 0; i < 2; i++) {
                hk_tensor *back = hk_reshape(hk_slice(y, axis, i, 1), hk_tensor_shape(part[1]));
                assert_values("stack", back, hk_tensor_count(part[1]), values(part[1]), 0);
            }
            must(hk_step_end(ctx));
        }
    hk_tensor *scalars[] = {hk_full(ctx, HK_F32, HK_SCALAR, 3), hk_full(ctx, HK_F32, HK_SCALAR, 4)};
    assert_values("stack", hk_stack(2, scalars, -1), 2, (const double[]){3, 4}, 0);
}

static void broadcasts_and_pads(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < VIEWS * 4; k++) {
        const hk_dtype dtype = (hk_dtype)(k % 4);
        const hk_shape s = {2, {3, 1}}, wide = {3, {2, 3, 5}}, x_shape = {2, {3, 5}};
        hk_tensor *x = numbered(ctx, dtype, (view)(k / 4), s), *y = hk_broadcast_to(x, wide);
        assert_ptr_equal(y->data, x->data);
        const double *from = values(x), *to = values(y);
        for (int i = 0; i < 30; i++)
            assert_close("broadcast_to", i, to[i], from[broadcast_at(s, wide, i)], 0);
        x = numbered(ctx, dtype, (view)(k / 4), x_shape);
        const int64_t before[] = {1, 0}, after[] = {0, 2};
        y = hk_pad(x, before, after, 9);
        assert_shape(y, HK_SHAPE(4, 7));
        from = values(x);
        to = values(y);
        for (int i = 0; i < 28; i++)
            assert_close("pad", i, to[i], i < 7 || i % 7 > 4 ? 9 : from[(i / 7 - 1) * 5 + i % 7],
                         0);
        must(hk_step_end(ctx));
    }
}

static void gathers(void **state) {
    hk_context *ctx = *state;
    const int32_t at[] = {3, 0, 3, 1};
    for (int64_t k = 0; k < VIEWS * 4; k++) {
        hk_tensor *x = numbered(ctx, (hk_dtype)(k % 4), (view)(k / 4), (hk_shape){3, {4, 2, 3}});
        hk_tensor *index = hk_transpose(hk_constant(ctx, HK_I32, HK_SHAPE(2, 2), at), 0, 1);
        hk_tensor *y = hk_gather_rows(x, index);
        assert_shape(y, HK_SHAPE(2, 2, 2, 3));
        const double *from = values(x), *to = values(y);
        const int rows[] = {3, 3, 0, 1}; /* the index is transposed */
        for (int i = 0; i < 24; i++)
            assert_close("gather_rows", i, to[i], from[rows[i / 6] * 6 + i % 6], 0);
        must(hk_step_end(ctx));
    }
    hk_tensor *none = hk_gather_rows(hk_full(ctx, HK_F32, HK_SHAPE(4, 2), 1),
                                     hk_tensor_new(ctx, HK_I32, HK_SHAPE(0)));
    assert_shape(none, HK_SHAPE(0, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(permutations, setup, teardown),
        cmocka_unit_test_setup_teardown(reshapes, setup, teardown),
        cmocka_unit_test_setup_teardown(slices, setup, teardown),
        cmocka_unit_test_setup_teardown(joins, setup, teardown),
        cmocka_unit_test_setup_teardown(broadcasts_and_pads, setup, teardown),
        cmocka_unit_test_setup_teardown(gathers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
