/* device.h: the device that a test runs on, and the elements of tensors there.
   SPDX-License-Identifier: MIT

   HILLOCK_TEST_DEVICE=cuda puts every context of a test on the GPU; without one the test is skipped. So a test makes its
   contexts by test_context, and looks at elements and changes them by what stands here and by hk_tensor_read, never by
   pointers from hk_tensor_data. */
#ifndef HK_TEST_DEVICE_H
#define HK_TEST_DEVICE_H

/* clang-format off: cmocka needs these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor.h"
#include "values.h"

enum { TEST_SKIPPED = 77 }; /* what CMakeLists.txt tells ctest */

static inline bool on_gpu(void) {
    const char *device = getenv("HILLOCK_TEST_DEVICE");
    return device && strcmp(device, "cuda") == 0;
}

/* Ends the program as skipped if there is no GPU to test. */
static inline void need_gpu(void) {
    static bool there;
    if (there) return;
    hk_context *ctx = hk_context_create(&(hk_context_config){.device = HK_CUDA, .threads = 1});
    const bool none = hk_error(ctx) == HK_ERR_DEVICE;
    there = hk_error(ctx) == HK_OK;
    if (!there) printf("%s: %s\n", none ? "skipped" : "failed", hk_error_message(ctx));
    hk_context_destroy(ctx);
    if (!there) exit(none ? TEST_SKIPPED : EXIT_FAILURE);
}

/* Whether this runs on an emulated GPU, which is slow: then tests make do with less. */
static inline bool on_emulator(void) {
    static bool asked, emulated;
    if (asked || !on_gpu()) return emulated;
    need_gpu();
    hk_context *ctx = hk_context_create(&(hk_context_config){.device = HK_CUDA, .threads = 1});
    emulated = strstr(hk_context_describe(ctx).isa, "emulated") != NULL;
    hk_context_destroy(ctx);
    asked = true;
    return emulated;
}

/* A context as it is wanted, whatever is under test; on a GPU only if there is one. */
static inline hk_context *open_context(hk_context_config config) {
    if (config.device == HK_CUDA) need_gpu();
    hk_context *ctx = hk_context_create(&config);
    assert_non_null(ctx);
    if (hk_error(ctx) != HK_OK) fail_msg("%s", hk_error_message(ctx));
    return ctx;
}

/* hk_context_create on the device under test. */
static inline hk_context *test_context(const hk_context_config *config) {
    hk_context_config own = config ? *config : (hk_context_config){0};
    if (on_gpu()) {
        need_gpu();
        own.device = HK_CUDA;
    }
    return hk_context_create(&own);
}

/* A copy of all elements, row-major, in one of a few buffers, also after an error. To change a contiguous tensor: change
   the copy, then host_done. */
static inline void *host(hk_tensor *t) {
    static void *buffer[8];
    static int next;
    void **const own = &buffer[next++ % 8];
    const size_t size = (size_t)hk_tensor_count(t) * hk_dtype_size(hk_tensor_dtype(t));
    free(*own);
    *own = malloc(size + 1);
    assert_non_null(t);
    assert_non_null(*own);
    const hk_status before = t->ctx->status;
    t->ctx->status = HK_OK;
    if (hk_tensor_read(t, *own, size) != HK_OK) fail_msg("%s", hk_error_message(t->ctx));
    t->ctx->status = before;
    return *own;
}
static inline void host_done(hk_tensor *t, const void *copy) {
    assert_true(hk_tensor_is_contiguous(t));
    hk__values_write(t->ctx, t->data, copy, (size_t)hk_tensor_count(t) * hk_dtype_size(t->dtype));
}

/* All elements as doubles, row-major, in one of a few buffers. On a GPU far quicker than one by one. */
static inline const double *values(hk_tensor *t) {
    static double *buffer[8];
    static int next;
    double **const out = &buffer[next++ % 8];
    assert_non_null(t);
    const int64_t n = hk_tensor_count(t);
    const size_t size = (size_t)n * hk_dtype_size(hk_tensor_dtype(t));
    void *raw = malloc(size + 1);
    free(*out);
    *out = malloc(sizeof **out * (size_t)(n + 1));
    assert_non_null(raw);
    assert_non_null(*out);
    if (hk_tensor_read(t, raw, size) != HK_OK) fail_msg("%s", hk_error_message(t->ctx));
    for (int64_t i = 0; i < n; i++) switch (hk_tensor_dtype(t)) {
        case HK_F32: (*out)[i] = (double)((const float *)raw)[i]; break;
        case HK_F64: (*out)[i] = ((const double *)raw)[i]; break;
        case HK_U8: (*out)[i] = (double)((const uint8_t *)raw)[i]; break;
        case HK_I32: (*out)[i] = (double)((const int32_t *)raw)[i]; break;
        }
    free(raw);
    return *out;
}

/* Element i of a contiguous tensor, also after an error. */
static inline double element_get(const hk_tensor *t, int64_t i) {
    const hk_status before = t->ctx->status;
    t->ctx->status = HK_OK;
    const double value = hk__element(t, i);
    if (t->ctx->status != HK_OK) fail_msg("%s", hk_error_message(t->ctx));
    t->ctx->status = before;
    return value;
}
static inline void element_put(hk_tensor *t, int64_t i, double value) {
    const float f32 = (float)value;
    const uint8_t u8 = t->dtype == HK_U8 ? (uint8_t)value : 0;
    const int32_t i32 = t->dtype == HK_I32 ? (int32_t)value : 0;
    const void *const from[] = {[HK_F32] = &f32, [HK_F64] = &value, [HK_U8] = &u8, [HK_I32] = &i32};
    const size_t size = hk_dtype_size(t->dtype);
    hk__values_write(t->ctx, (char *)t->data + (size_t)i * size, from[t->dtype], size);
}

/* Whether two contiguous tensors of one shape and type have the same bits. */
static inline bool same_elements(hk_tensor *a, hk_tensor *b) {
    const size_t size = (size_t)hk_tensor_count(a) * hk_dtype_size(hk_tensor_dtype(a));
    assert_true(hk_shape_equal(hk_tensor_shape(a), hk_tensor_shape(b)) && a->dtype == b->dtype);
    return memcmp(host(a), host(b), size) == 0;
}

#endif
