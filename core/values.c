/* values.c: memory for the elements of tensors.
   SPDX-License-Identifier: MIT */
#include "values.h"

#include <string.h>

#include "gpu.h"

void *hk__values_alloc(hk_context *ctx, size_t bytes, bool zero) {
    return HK_ON_GPU(ctx) ? hk__gpu_alloc(ctx, bytes, zero) : hk__alloc(bytes, zero);
}

void hk__values_free(hk_context *ctx, void *p) {
    if (HK_ON_GPU(ctx))
        hk__gpu_free(ctx, p);
    else
        hk__free(p);
}

hk__arena *hk__values_arena(hk_context *ctx) {
    return HK_ON_GPU(ctx) ? &ctx->gpu_memory : &ctx->memory;
}

void hk__values_zero(hk_context *ctx, void *to, size_t bytes) {
    if (HK_ON_GPU(ctx))
        hk__gpu_zero(ctx, to, bytes);
    else
        memset(to, 0, bytes);
}

void hk__values_copy(hk_context *ctx, void *to, const void *from, size_t bytes) {
    if (HK_ON_GPU(ctx))
        hk__gpu_copy(ctx, to, from, bytes);
    else
        memcpy(to, from, bytes);
}

void hk__values_write(hk_context *ctx, void *to, const void *from, size_t bytes) {
    if (HK_ON_GPU(ctx))
        hk__gpu_write(ctx, to, from, bytes);
    else
        memcpy(to, from, bytes);
}

void hk__values_read(hk_context *ctx, void *to, const void *from, size_t bytes) {
    if (HK_ON_GPU(ctx))
        hk__gpu_read(ctx, to, from, bytes);
    else
        memcpy(to, from, bytes);
}
