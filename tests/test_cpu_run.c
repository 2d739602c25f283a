/* test_cpu_run.c: in a build with CUDA too, a run on the CPU loads nothing of CUDA, and a missing GPU is one clear error.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,gpu timeout=60 */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "hk_autograd.h"

/* Whether a library whose name holds `name` is in this process. */
static bool is_loaded(const char *name) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    bool found = false;
    if (!maps) return false;
    while (!found && fgets(line, sizeof line, maps)) {
        const char *file = strrchr(line, '/');
        found = file && strstr(file, name);
    }
    fclose(maps);
    return found;
}

static void nothing_is_loaded(void **state) {
    (void)state;
    assert_true(is_loaded("libc.so") || !is_loaded("")); /* it can tell, where there are maps */
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1});
    assert_int_equal(hk_error(ctx), HK_OK);
    assert_false(is_loaded("libcuda"));
    assert_false(is_loaded("libcublas"));
    hk_context_destroy(ctx);
}

static void no_gpu_is_an_error(void **state) {
    (void)state;
    hk_context *ctx = hk_context_create(&(hk_context_config){.device = HK_CUDA});
    assert_non_null(ctx);
    if (hk_error(ctx) == HK_OK) {
        hk_context_destroy(ctx);
        skip(); /* there is one */
    }
    assert_int_equal(hk_error(ctx), HK_ERR_DEVICE);
    assert_non_null(strstr(hk_error_message(ctx), HK_WITH_CUDA ? "no GPU can be used" : "no CUDA"));
    assert_null(strchr(hk_error_message(ctx), '\n'));
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_loaded),
        cmocka_unit_test(no_gpu_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
