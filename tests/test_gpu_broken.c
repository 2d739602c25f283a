/* ctest: labels=unit timeout=60 */
/* A kernel went wrong: from then on every call says so, and nothing else; contexts can be left all the same.
   SPDX-License-Identifier: MIT */
#include "hk_optim.h"
#include "testing.h"

static hk_status add(hk_context *ctx, void *arg) {
    (void)ctx;
    return hk_tensor_add(arg, arg);
}

static void broken(void **state) {
    (void)state;
    need_gpu();
    const hk_context_config config = {.device = HK_CUDA, .threads = 1};
    hk_context *ctx = hk_context_create(&config);
    if (!strstr(hk_context_describe(ctx).isa, "emulated")) skip(); /* nobody breaks a real one */
    hk_tensor *t = hk_tensor_keep(hk_full(ctx, HK_F32, HK_SHAPE(1000), 1));
    for (int i = 0; i < 5; i++) must(hk_step_run(ctx, add, t)); /* the last ones are replayed */
    setenv("HILLOCK_EMULATED_BROKEN", "1", 1);
    assert_non_null(
        hk_full(ctx, HK_F32, HK_SHAPE(10), 1)); /* it is found out when somebody waits */
    assert_int_equal(hk_context_wait(ctx), HK_ERR_DEVICE);
    expect_error(ctx, HK_ERR_DEVICE, "illegal memory access", "a kernel before this failed",
                 "HILLOCK_CUDA_SYNC=1");
    assert_null(hk_tensor_new(ctx, HK_F32, HK_SHAPE(1 << 20)));
    expect_error(ctx, HK_ERR_DEVICE,
                 "illegal memory access"); /* and not that memory is exhausted */
    hk_full(ctx, HK_F32, HK_SHAPE(10), 1);
    expect_error(ctx, HK_ERR_DEVICE, "kernel", "illegal memory access", "HILLOCK_CUDA_SYNC=1");
    assert_int_equal(hk_step_run(ctx, add, t), HK_ERR_DEVICE);
    expect_error(ctx, HK_ERR_DEVICE, "replay", "illegal memory access");
    float value[1000];
    assert_int_equal(hk_tensor_read(t, value, sizeof value), HK_ERR_DEVICE);
    expect_error(ctx, HK_ERR_DEVICE, "illegal memory access");
    hk_context *next = hk_context_create(&config);
    expect_error(next, HK_ERR_DEVICE, "illegal memory access");
    hk_context_destroy(next);
    hk_context_destroy(ctx);
    unsetenv("HILLOCK_EMULATED_BROKEN");
}

/* Where each launch is waited for, the one at fault is named. */
static void named(void **state) {
    (void)state;
    need_gpu();
    setenv("HILLOCK_CUDA_SYNC", "1", 1);
    hk_context *ctx = hk_context_create(&(hk_context_config){.device = HK_CUDA, .threads = 1});
    unsetenv("HILLOCK_CUDA_SYNC");
    if (!strstr(hk_context_describe(ctx).isa, "emulated")) skip();
    hk_tensor *x = hk_exp(hk_full(ctx, HK_F32, HK_SHAPE(10), 1));
    hk_tensor *w = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(10)));
    hk_optimizer *opt = hk_optimizer_by_name(ctx, "sgd", (hk_parameters){1, &w}, 0.1, -1);
    must(hk_optimizer_step(opt));
    setenv("HILLOCK_EMULATED_BROKEN", "1", 1);
    hk_sqrt(hk_log(x));
    expect_error(ctx, HK_ERR_DEVICE, "[log] kernel", "illegal memory access");
    assert_int_equal(hk_tensor_add(w, w), HK_ERR_DEVICE);
    expect_error(ctx, HK_ERR_DEVICE, "[gpu] kernel"); /* no op */
    assert_int_equal(hk_optimizer_step(opt), HK_ERR_DEVICE);
    expect_error(ctx, HK_ERR_DEVICE, "[sgd] kernel");
    hk_context_destroy(ctx);
    unsetenv("HILLOCK_EMULATED_BROKEN");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(broken), cmocka_unit_test(named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
