/* hk_tensor.h: arrays of up to six dimensions.
   SPDX-License-Identifier: MIT

   Two owners. A *step* tensor, the result of any operation, belongs to the current step of its context
   and is gone after hk_step_end: never free it, copy what must live on with hk_tensor_keep. A *kept*
   tensor (hk_tensor_new, hk_tensor_from, hk_tensor_keep, parameters of modules) lives until
   hk_tensor_destroy or the end of its context or module. A step tensor used after its step is reported
   as HK_ERR_STALE for 16 steps; later use is undefined.

   Every function takes NULL for a tensor and passes it through as NULL (or 0). */
#ifndef HK_TENSOR_H
#define HK_TENSOR_H

#include "hk_context.h"

HK_BEGIN_DECLS

enum { HK_MAX_RANK = 6 };

/* Sizes, outermost first, row-major: the last one is contiguous. Rank 0 is a scalar. */
typedef struct hk_shape {
    int rank;
    int64_t dim[HK_MAX_RANK];
} hk_shape;

/* HK_SHAPE(64, 784) is an hk_shape; C only (in C++ write hk_shape{2, {64, 784}}). */
#define HK_SHAPE(...)                                                                              \
    ((hk_shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})
#define HK_SCALAR ((hk_shape){0, {0}})

/* Number of elements; -1 if a size is negative or the product overflows. */
HK_API int64_t hk_shape_count(hk_shape shape);
HK_API bool hk_shape_equal(hk_shape a, hk_shape b);
/* "(64, 784)" into buffer; returns buffer. */
HK_API const char *hk_shape_text(hk_shape shape, char *buffer, size_t size);

typedef struct hk_tensor hk_tensor;

/* Kept tensors: zeros; a copy of `data` (row-major, of that dtype); a contiguous copy of any tensor.
   Owned by the caller until hk_tensor_destroy or the end of the context. NULL and a sticky error if
   the shape is bad or memory is exhausted. */
HK_API hk_tensor *hk_tensor_new(hk_context *ctx, hk_dtype dtype, hk_shape shape);
HK_API hk_tensor *hk_tensor_from(hk_context *ctx, hk_dtype dtype, hk_shape shape, const void *data);
HK_API hk_tensor *hk_tensor_keep(hk_tensor *t);
HK_API void hk_tensor_destroy(hk_tensor *t); /* kept tensors only; others are left alone */

/* Step tensors: every element = value; a copy of `data`. */
HK_API hk_tensor *hk_full(hk_context *ctx, hk_dtype dtype, hk_shape shape, double value);
HK_API hk_tensor *hk_constant(hk_context *ctx, hk_dtype dtype, hk_shape shape, const void *data);

/* Facts. A negative axis counts from the end. */
HK_API hk_context *hk_tensor_context(const hk_tensor *t);
HK_API hk_dtype hk_tensor_dtype(const hk_tensor *t);
HK_API hk_shape hk_tensor_shape(const hk_tensor *t);
HK_API int hk_tensor_rank(const hk_tensor *t);
HK_API int64_t hk_tensor_dim(const hk_tensor *t, int axis);
HK_API int64_t hk_tensor_count(const hk_tensor *t);
HK_API bool hk_tensor_is_contiguous(const hk_tensor *t);

/* A name for messages and logs; the text is copied for kept tensors and must outlive the step for
   step tensors. "" if it has none. Returns t. */
HK_API hk_tensor *hk_tensor_set_name(hk_tensor *t, const char *name);
HK_API const char *hk_tensor_name(const hk_tensor *t);

/* The elements. hk_tensor_data is NULL with an error if t is not contiguous (a transposed or sliced
   view: keep it first); of a tensor on a GPU it is an address there, which the host cannot read. hk_tensor_read copies all of them, row-major, of t's dtype, to `out`, which
   holds `size` bytes; hk_tensor_write is the reverse, for kept contiguous tensors. hk_tensor_item is
   the value of a tensor with one element, as a double (NaN and an error otherwise). */
HK_API void *hk_tensor_data(hk_tensor *t);
HK_API HK_WARN_UNUSED hk_status hk_tensor_read(hk_tensor *t, void *out, size_t size);
HK_API HK_WARN_UNUSED hk_status hk_tensor_write(hk_tensor *t, const void *data, size_t size);
HK_API double hk_tensor_item(hk_tensor *t);
/* The elements, row-major, where the host can read them: in place if t is contiguous and in the host's memory, else a
   copy that lives until the end of the step. */
HK_API const void *hk_tensor_values(hk_tensor *t);

/* dst = src, element by element; equal shapes, dtypes and layouts may differ; dst is a kept tensor.
   The only way from one context to another. */
HK_API HK_WARN_UNUSED hk_status hk_tensor_copy(hk_tensor *dst, hk_tensor *src);

/* dst += src, element by element; equal shapes and dtypes; dst is a kept tensor of floats. So a sum over steps, such as
   that of their losses, needs no reading in each of them. */
HK_API HK_WARN_UNUSED hk_status hk_tensor_add(hk_tensor *dst, hk_tensor *src);

HK_END_DECLS
#endif
