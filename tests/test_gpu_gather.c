/* ctest: labels=unit timeout=120 */
/* Rows by index on a GPU against the CPU: both ways back to the same bits, bad indices.
   SPDX-License-Identifier: MIT */
#include "gpu.h"
#include "sides_fixture.h"

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

static void compare(const sides *s, hk_dtype dtype, hk_shape shape, int64_t count,
                    const int32_t *index, bool twice) {
    const result a = gathered(s->gpu, dtype, shape, count, index, twice);
    const result b = gathered(s->cpu, dtype, shape, count, index, twice);
    same("y", a.y, b.y, 0);
    same("gradient", a.grad, b.grad, 0);
    must(hk_step_end(s->gpu));
    must(hk_step_end(s->cpu));
    while (s->gpu->kept) hk_tensor_destroy(s->gpu->kept);
    while (s->cpu->kept) hk_tensor_destroy(s->cpu->kept);
}

static void few(void **state) {
    const sides *s = *state;
    GPU_OR_SKIP(s);
    static const int32_t index[] = {4, 0, 4, 6, 4, 1, 0, 3};
    static const hk_shape shapes[] = {
        {1, {7}}, {2, {7, 3}}, {2, {7, 8}}, {2, {7, 200}}, {3, {7, 3, 5}}};
    for (int64_t i = 0; i < COUNT(shapes); i++)
        for (int dtype = HK_F32; dtype <= HK_F64; dtype++)
            for (int twice = 0; twice < 2; twice++)
                compare(s, (hk_dtype)dtype, shapes[i], COUNT(index), index, twice);
    compare(s, HK_F32, shapes[1], 0, index, false);
    int32_t often[100]; /* one row more often than are added at once */
    for (int i = 0; i < COUNT(often); i++) often[i] = i % 11 ? 5 : i % 7;
    compare(s, HK_F32, HK_SHAPE(7, 33), COUNT(often), often, true);
}

/* So many looks through the list that it is sorted. */
static void many(void **state) {
    const sides *s = *state;
    GPU_OR_SKIP(s);
    enum { COUNT_OF = 9000, ROWS = 8000 };
    int32_t *index = malloc(sizeof *index * COUNT_OF);
    for (int64_t i = 0; i < COUNT_OF; i++) {
        const double u = fabs(number("index", i));
        index[i] =
            (int32_t)(i % 5 ? u * u * u * ROWS : i % 3 * (ROWS / 2 - 1)); /* some rows often */
    }
    assert_true((double)COUNT_OF * ROWS > 0x1p26);
    compare(s, HK_F32, HK_SHAPE(ROWS, 2), COUNT_OF, index, false);
    compare(s, HK_F64, HK_SHAPE(ROWS, 4), COUNT_OF, index, true);
    free(index);
}

static void bad_indices(void **state) {
    const sides *s = *state;
    GPU_OR_SKIP(s);
    static const int32_t bad[] = {7, -1, INT32_MAX};
    for (int64_t i = 0; i < COUNT(bad); i++) {
        const int32_t index[] = {2, 6, bad[i], 0};
        const result r = gathered(s->gpu, HK_F32, HK_SHAPE(7, 3), 4, index, false);
        double *y = elements(r.y);
        for (int k = 0; k < 3; k++) assert_true(y[6 + k] == 0 && y[3 + k] != 0);
        free(y);
        must(hk_context_wait(s->gpu));
        assert_int_equal(hk_step_end(s->gpu), HK_ERR_ARGUMENT);
        char text[64];
        snprintf(text, sizeof text, "index %d at position 2 is outside of 0 to 6", (int)bad[i]);
        assert_non_null(strstr(hk_error_message(s->gpu), text));
        hk_error_clear(s->gpu);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(few), cmocka_unit_test(many),
                                       cmocka_unit_test(bad_indices)};
    return cmocka_run_group_tests(tests, open_sides, close_sides);
}
