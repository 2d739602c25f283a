/* ctest: labels=unit timeout=60 */
/* A GPU without cuBLAS: one clear error where it is needed, and small products all the same.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"

static void missing(void **state) {
    (void)state;
    hk_context *ctx = gpu;
    const hk_context_info info = hk_context_describe(ctx);
    assert_false(info.has_blas);
    assert_non_null(strstr(info.blas, "none: HILLOCK_CUBLAS is /nowhere/libcublas.so"));
    assert_ok(ctx); /* nobody needed it yet */
    hk_tensor *x = numbers(ctx, HK_F32, HK_SHAPE(3, 5000), "x"),
              *w = numbers(ctx, HK_F32, HK_SHAPE(5000, 2), "w");
    assert_null(hk_matmul(x, w));
    expect_error(ctx, HK_ERR_DEVICE, "[product] no cuBLAS", "/nowhere/libcublas.so");
    hk_tensor *small = numbers(ctx, HK_F32, HK_SHAPE(4, 4), "small");
    assert_non_null(hk_matmul(small, small));
    must(hk_step_end(ctx));
}

static void tf32_is_told(void **state) {
    (void)state;
    assert_false(hk_context_describe(gpu).tf32);
    hk_context *ctx =
        open_context((hk_context_config){.device = HK_CUDA, .threads = 1, .tf32 = true});
    assert_true(hk_context_describe(ctx).tf32);
    hk_context_destroy(ctx);
    setenv("HILLOCK_TF32", "1", 1);
    ctx = open_context((hk_context_config){.device = HK_CUDA, .threads = 1});
    assert_true(hk_context_describe(ctx).tf32);
    hk_context_destroy(ctx);
    unsetenv("HILLOCK_TF32");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(missing), cmocka_unit_test(tf32_is_told)};
    setenv("HILLOCK_CUBLAS", "/nowhere/libcublas.so", 1);
    return cmocka_run_group_tests(tests, open_both, close_both);
}
