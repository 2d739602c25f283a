/* values.h: memory for the elements of tensors: the GPU's where the context has one, else the host's.
   SPDX-License-Identifier: MIT */
#ifndef HK_VALUES_H
#define HK_VALUES_H

#include "context.h"

HK_BEGIN_DECLS

/* 64-byte aligned. NULL when exhausted: the caller says for what. */
void *hk__values_alloc(hk_context *ctx, size_t bytes, bool zero);
void hk__values_free(hk_context *ctx, void *p);
/* The step's. */
hk__arena *hk__values_arena(hk_context *ctx);

void hk__values_zero(hk_context *ctx, void *to, size_t bytes);
/* Between places in this memory that do not overlap. */
void hk__values_copy(hk_context *ctx, void *to, const void *from, size_t bytes);
/* From and to memory of the host. On a GPU reading waits for all that was asked for before. */
void hk__values_write(hk_context *ctx, void *to, const void *from, size_t bytes);
void hk__values_read(hk_context *ctx, void *to, const void *from, size_t bytes);

HK_END_DECLS
#endif
