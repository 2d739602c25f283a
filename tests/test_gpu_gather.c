/* ctest: labels=unit timeout=120 */
/* Rows by index on a GPU against the CPU: both ways back to the same bits, bad indices.
   SPDX-License-Identifier: MIT */
#include "gpu.h"
#include "gpu_fixture.h"

/* y = x[index], then the gradient of <y, v> added to what x has. */
typedef struct result {
    hk_tensor *y, *grad;
} result;

static result gathered(hk_context *ctx, hk_dtype dtype, hk_shape shape, int64_t count,
                       const int32_t *index, bool twice) {
    hk_tensor *x = hk_require_grad(hk_tensor_keep(numbers(ctx, dtype, shape, "x")));
    hk_tensor *at = hk_constant(ctx, HK_I32, HK_SHAPE(count), index), *y = NULL;
    for (int i = 0; i < 1 + twice; i++) {
        y = hk_gather_rows(x, at);
        must(hk_backward_from(ctx, y, numbers(ctx, dtype, hk_tensor_shape(y), "v")));
    }
    return (result){y, hk_grad(x)};
}

static void compare(hk_dtype dtype, hk_shape shape, int64_t count, const int32_t *index,
                    bool twice) {
    const result got = gathered(gpu, dtype, shape, count, index, twice);
    const result want = gathered(cpu, dtype, shape, count, index, twice);
    assert_alike("y", want.y, got.y, 0);
    assert_alike("gradient", want.grad, got.grad, 0);
    forget();
}

static void few(void **state) {
    (void)state;
    static const int32_t index[] = {4, 0, 4, 6, 4, 1, 0, 3};
    static const hk_shape shapes[] = {
        {1, {7}}, {2, {7, 3}}, {2, {7, 8}}, {2, {7, 200}}, {3, {7, 3, 5}}};
    for (int64_t i = 0; i < COUNT(shapes); i++)
        for (int dtype = HK_F32; dtype <= HK_F64; dtype++)
            for (int twice = 0; twice < 2; twice++)
                compare((hk_dtype)dtype, shapes[i], COUNT(index), index, twice);
    compare(HK_F32, shapes[1], 0, index, false);
    int32_t often[100]; /* one row more often than are added at once */
    for (int i = 0; i < COUNT(often); i++) often[i] = i % 11 ? 5 : i % 7;
    compare(HK_F32, HK_SHAPE(7, 33), COUNT(often), often, true);
}

/* So many looks through the list that it is sorted. */
static void many(void **state) {
    (void)state;
    enum { COUNT_OF = 9000, ROWS = 8000 };
    int32_t *index = malloc(sizeof *index * COUNT_OF);
    assert_non_null(index);
    const hk_random stream = hk_random_stream(7, "index", 0);
    for (int64_t i = 0; i < COUNT_OF; i++) {
        const double u = hk_random_uniform(stream, (uint64_t)i);
        index[i] =
            (int32_t)(i % 5 ? u * u * u * ROWS : i % 3 * (ROWS / 2 - 1)); /* some rows often */
    }
    assert_true((double)COUNT_OF * ROWS > 0x1p26);
    compare(HK_F32, HK_SHAPE(ROWS, 2), COUNT_OF, index, false);
    compare(HK_F64, HK_SHAPE(ROWS, 4), COUNT_OF, index, true);
    free(index);
}

/* Bad ones are nobody's, also where they are sorted. For the CPU they are row 0, which nobody else asks for. */
static void many_and_some_bad(void **state) {
    (void)state;
    enum { COUNT_OF = 9000, ROWS = 8000 };
    static int32_t good[COUNT_OF], bad[COUNT_OF];
    for (int32_t i = 0; i < COUNT_OF; i++) {
        const bool is_bad = i % 100 == 17;
        good[i] = is_bad ? 0 : 1 + i * 31 % (ROWS - 1);
        bad[i] = !is_bad ? good[i] : i % 200 == 17 ? -1 - i : ROWS + i;
    }
    const hk_shape shape = HK_SHAPE(ROWS, 2);
    const result want = gathered(cpu, HK_F32, shape, COUNT_OF, good, false);
    const result got = gathered(gpu, HK_F32, shape, COUNT_OF, bad, false);
    assert_alike("gradient", hk_slice(want.grad, 0, 1, ROWS - 1),
                 hk_slice(got.grad, 0, 1, ROWS - 1), 0);
    for (int i = 0; i < 2; i++) assert_close("row", i, element_get(got.grad, i), 0, 0);
    must(hk_context_wait(gpu));
    assert_int_equal(hk_step_end(gpu), HK_ERR_ARGUMENT);
    expect_error(gpu, HK_ERR_ARGUMENT, "[gather_rows] index", "is outside of 0 to 7999");
    forget();
}

static void bad_indices(void **state) {
    (void)state;
    static const int32_t bad[] = {7, -1, INT32_MAX};
    for (int64_t i = 0; i < COUNT(bad); i++) {
        const int32_t index[] = {2, 6, bad[i], 0};
        const result r = gathered(gpu, HK_F32, HK_SHAPE(7, 3), 4, index, false);
        const double *y = values(r.y);
        for (int k = 0; k < 3; k++) assert_true(y[6 + k] == 0 && y[3 + k] != 0);
        must(hk_context_wait(gpu));
        assert_int_equal(hk_step_end(gpu), HK_ERR_ARGUMENT);
        char text[64];
        snprintf(text, sizeof text, "index %d at position 2 is outside of 0 to 6", (int)bad[i]);
        assert_non_null(strstr(hk_error_message(gpu), text));
        hk_error_clear(gpu);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(few), cmocka_unit_test(many),
                                       cmocka_unit_test(many_and_some_bad),
                                       cmocka_unit_test(bad_indices)};
    return cmocka_run_group_tests(tests, open_both, close_both);
}
