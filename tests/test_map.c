/* test_map.c: the driver of element-by-element kernels: strides, broadcasting, adding up, mixed
   types.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "map.h"

static int64_t longest, calls; /* of one thread: what the kernel was called with */

/* out = Σ k·operand_k, from operands of different types. */
static void weigh(int64_t n, void *const *p, const double *param) {
    double *out = p[0];
    const double *a = p[1];
    const float *b = p[2];
    const uint8_t *c = p[3];
    const int32_t *d = p[4];
    for (int64_t i = 0; i < n; i++)
        out[i] = param[0] * a[i] + 2 * (double)b[i] + 3 * c[i] + 4 * d[i];
    longest = n > longest ? n : longest;
    calls++;
}

/* Element i of a tensor whose memory may lie in any order. */
static double element(hk_tensor *t, hk_shape out, int64_t i) {
    int64_t stride[HK_MAX_RANK], at = 0;
    hk__broadcast_strides(t, out, stride);
    for (int a = out.rank - 1; a >= 0; a--) {
        at += i % out.dim[a] * stride[a];
        i /= out.dim[a];
    }
    switch (t->dtype) {
    case HK_F32: return (double)((float *)t->data)[at];
    case HK_F64: return ((double *)t->data)[at];
    case HK_U8: return ((uint8_t *)t->data)[at];
    default: return ((int32_t *)t->data)[at];
    }
}

static const hk_shape shapes[] = {
    {0, {0}},         {1, {1}},          {1, {511}},
    {1, {513}},       {2, {3, 700}},     {2, {700, 3}},
    {3, {5, 1, 300}}, {4, {3, 5, 7, 2}}, {6, {2, 3, 1, 5, 2, 3}},
    {2, {3, 0}},
};

/* Every layout of the output with every layout of the operands, written and added to. */
static void any_strides(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(shapes) * VIEWS * VIEWS * 2; k++) {
        const hk_shape s = shapes[k / 2 / VIEWS / VIEWS];
        const view v = (view)(k / 2 % VIEWS), w = (view)(k / 2 / VIEWS % VIEWS);
        if (w == STRETCHED || (v == STRETCHED && s.rank == 0))
            continue;     /* an output is never stretched */
        hk_shape row = s; /* one operand broadcasts along all axes but the last */
        for (int a = 0; a + 1 < s.rank; a++) row.dim[a] = 1;
        hk_tensor *in[] = {view_of(v, seeded(ctx, HK_F64, view_source(v, s), "a", -9, 9, 1), s),
                           seeded(ctx, HK_F32, row, "b", -9, 9, 1),
                           view_of(w, seeded(ctx, HK_U8, view_source(w, s), "c", 0, 9, 0), s),
                           seeded(ctx, HK_I32, HK_SCALAR, "d", -9, 9, 0)};
        hk_tensor *whole = seeded(ctx, HK_F64, view_source(w, s), "out", -9, 9, 1),
                  *before = hk_tensor_keep(whole);
        hk_tensor *out = view_of(w, whole, s), *old = view_of(w, before, s);
        assert_ok(ctx);
        const double param = 0.5;
        hk__map(ctx, weigh, &param, out, 4, in, k % 2);
        for (int64_t i = 0; i < hk_shape_count(s); i++) {
            const double want = 0.5 * element(in[0], s, i) + 2 * element(in[1], s, i) +
                                3 * element(in[2], s, i) + 4 * element(in[3], s, i) +
                                (k % 2 ? element(old, s, i) : 0);
            assert_close("map", i, element(out, s, i), want, 0);
        }
        if (w == SLICED && s.rank > 0 &&
            hk_tensor_count(whole) > 0) { /* nothing beside the view was touched */
            const int64_t last = hk_tensor_count(whole) - 1, width = whole->shape.dim[s.rank - 1];
            const double *now = host(whole), *was = host(before);
            for (int64_t i = 0; i <= last; i++)
                if (i % width < 2 || i % width == width - 1)
                    assert_close("beside", i, now[i], was[i], 0);
        }
        must(hk_step_end(ctx));
        while (ctx->kept) hk_tensor_destroy(ctx->kept);
    }
}

/* Axes that lie one behind the other become one: a contiguous tensor of any rank is one run. */
static void joins_axes(void **state) {
    hk_context *ctx = *state;
    hk_tensor *in[] = {hk_full(ctx, HK_F64, HK_SHAPE(3, 4, 5, 16), 1),
                       hk_full(ctx, HK_F32, HK_SHAPE(3, 4, 5, 16), 1),
                       hk_full(ctx, HK_U8, HK_SHAPE(3, 4, 5, 16), 1),
                       hk_full(ctx, HK_I32, HK_SHAPE(3, 4, 5, 16), 1)};
    hk_tensor *out = hk_full(ctx, HK_F64, HK_SHAPE(3, 4, 5, 16), 0);
    const double param = 1;
    longest = calls = 0;
    hk__map(ctx, weigh, &param, out, 4, in, false);
    assert_int_equal(longest, 960);
    assert_int_equal(calls, 1);
    in[0] = hk_transpose(in[0], 0, 1); /* the last two axes still lie together */
    in[0]->shape = out->shape;
    longest = calls = 0;
    hk__map(ctx, weigh, &param, out, 4, in, false);
    assert_int_equal(longest, 80);
    assert_int_equal(calls, 12);
    longest = calls =
        0; /* long rows are cut where a tile is full, when something passes through one */
    hk_tensor *wide = hk_full(ctx, HK_F64, HK_SHAPE(2000), 0),
              *one = hk_full(ctx, HK_F64, HK_SCALAR, 1);
    hk_tensor *rest[] = {one, hk_full(ctx, HK_F32, HK_SCALAR, 1), hk_full(ctx, HK_U8, HK_SCALAR, 1),
                         hk_full(ctx, HK_I32, HK_SCALAR, 1)};
    hk__map(ctx, weigh, &param, wide, 4, rest, false);
    assert_in_range(longest, 1, 1024);
    assert_close("wide", 1999, ((double *)host(wide))[1999], 10, 0);
}

static void copies_and_fills(void **state) {
    hk_context *ctx = *state;
    for (int dtype = HK_F32; dtype <= HK_I32; dtype++)
        for (int from = HK_F32; from <= HK_I32; from++) {
            hk_tensor *src = seeded(ctx, (hk_dtype)from, HK_SHAPE(3, 1), "src", 0, 100, 1);
            hk_tensor *dst = seeded(ctx, (hk_dtype)dtype, HK_SHAPE(5, 3, 700), "dst", 0, 100, 1);
            hk_tensor *turned = hk_permute(dst, (const int[]){2, 1, 0});
            hk_tensor *target = hk_slice(turned, 0, 3, 600);
            if (dtype == from)
                hk__copy(ctx, target, hk_broadcast_to(src, HK_SHAPE(600, 3, 5)), false);
            else
                hk__convert(ctx, target, hk_broadcast_to(src, HK_SHAPE(600, 3, 5)));
            for (int64_t i = 0; i < 9000; i += 7)
                assert_close("copy", i, element(target, target->shape, i),
                             element(src, target->shape, i), 0);
            hk__fill(ctx, target, 77);
            for (int64_t i = 0; i < 9000; i += 7)
                assert_close("fill", i, element(target, target->shape, i), 77, 0);
            must(hk_step_end(ctx));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_strides, setup, teardown),
        cmocka_unit_test_setup_teardown(joins_axes, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_and_fills, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
