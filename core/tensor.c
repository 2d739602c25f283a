/* tensor.c: tensors, who owns them, and what may be asked of them.
   SPDX-License-Identifier: MIT */
#include "tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#include "map.h"
#include "values.h"

/* --- making --------------------------------------------------------------------------------------- */

hk_status hk__check(hk_context *ctx, const hk_tensor *t, const char *where) {
    if (ctx->status != HK_OK) return ctx->status;
    if (t->ctx != ctx)
        return hk_fail(ctx, HK_ERR_DEVICE, where,
                       "a tensor of another context; copy it with hk_tensor_copy");
    if (t->step == 0 || t->step == ctx->step) return HK_OK;
    return hk_fail(
        ctx, HK_ERR_STALE, where,
        "%s belongs to step %llu, which ended %llu step(s) ago; copy what must outlive a "
        "step with hk_tensor_keep",
        t->name ? t->name : "a tensor", (unsigned long long)t->step,
        (unsigned long long)(ctx->step - t->step));
}

static bool legal(hk_context *ctx, const char *where, hk_dtype dtype, hk_shape shape) {
    if (!ctx || ctx->status != HK_OK) return false;
    if (hk_dtype_size(dtype) == 0) {
        hk_fail(ctx, HK_ERR_DTYPE, where, "%d is no element type", (int)dtype);
        return false;
    }
    if (shape.rank < 0 || shape.rank > HK_MAX_RANK) {
        hk_fail(ctx, HK_ERR_SHAPE, where, "rank %d; ranks are from 0 to %d", shape.rank,
                HK_MAX_RANK);
        return false;
    }
    if (hk_shape_count(shape) < 0) {
        char text[160];
        hk_fail(ctx, HK_ERR_SHAPE, where, "no tensor can have shape %s",
                hk_shape_text(shape, text, sizeof text));
        return false;
    }
    return true;
}

static size_t bytes_of(hk_dtype dtype, hk_shape shape) {
    return (size_t)hk_shape_count(shape) * hk_dtype_size(dtype);
}

static hk_tensor *out_of_memory(hk_context *ctx, const char *where, hk_dtype dtype,
                                hk_shape shape) {
    char text[160], left[96] = "";
    if (HK_ON_GPU(ctx)) hk__gpu_memory_text(ctx, left, sizeof left);
    hk_fail(ctx, HK_ERR_MEMORY, where, "no memory for a tensor %s of %s, %.1f MiB%s%s",
            hk_shape_text(shape, text, sizeof text), hk_dtype_name(dtype),
            (double)bytes_of(dtype, shape) / 0x1p20, *left ? " on the GPU: " : "", left);
    return NULL;
}

hk_tensor *hk__header(hk_context *ctx, hk_dtype dtype, hk_shape shape) {
    if (!legal(ctx, "tensor", dtype, shape)) return NULL;
    hk_tensor *t = hk__arena_alloc(&ctx->headers[ctx->step % HK_HEADER_RING], sizeof *t);
    if (!t) return out_of_memory(ctx, "tensor", dtype, shape);
    *t = (hk_tensor){.ctx = ctx, .dtype = dtype, .shape = shape, .step = ctx->step};
    hk__contiguous_strides(shape, t->stride);
    return t;
}

hk_tensor *hk__empty(hk_context *ctx, hk_dtype dtype, hk_shape shape) {
    hk_tensor *t = hk__header(ctx, dtype, shape);
    if (!t) return NULL;
    t->data = hk__arena_alloc(hk__values_arena(ctx), bytes_of(dtype, shape));
    return t->data ? t : out_of_memory(ctx, "tensor", dtype, shape);
}

hk_tensor *hk__view(hk_tensor *t) {
    hk_tensor *v = hk__header(t->ctx, t->dtype, t->shape);
    if (!v) return NULL;
    v->data = t->data;
    memcpy(v->stride, t->stride, sizeof v->stride);
    v->name = t->name;
    return v;
}

hk_tensor *hk__kept_header(hk_context *ctx, hk_dtype dtype, hk_shape shape, const char *name) {
    if (!legal(ctx, "tensor", dtype, shape)) return NULL;
    hk_tensor *t = calloc(1, sizeof *t);
    char *copy = name ? strdup(name) : NULL;
    if (!t || (name && !copy)) {
        free(t);
        free(copy);
        return out_of_memory(ctx, "tensor", dtype, shape);
    }
    *t = (hk_tensor){.ctx = ctx, .dtype = dtype, .shape = shape, .name = copy, .own_name = copy};
    hk__contiguous_strides(shape, t->stride);
    return t;
}

void hk__kept_free(hk_tensor *t) {
    if (!t) return;
    if (t->hooks) hk__hooks_free(&t->hooks->list);
    free(t->hooks);
    if (t->storage) hk__values_free(t->ctx, t->storage);
    free(t->own_name);
    free(t);
}

hk_tensor *hk_tensor_new(hk_context *ctx, hk_dtype dtype, hk_shape shape) {
    hk_tensor *t = hk__kept_header(ctx, dtype, shape, NULL);
    if (!t) return NULL;
    t->storage = t->data = hk__values_alloc(ctx, bytes_of(dtype, shape), true);
    if (!t->data) {
        hk__kept_free(t);
        return out_of_memory(ctx, "tensor_new", dtype, shape);
    }
    t->next = ctx->kept;
    if (ctx->kept) ctx->kept->previous = t;
    ctx->kept = t;
    return t;
}

hk_tensor *hk_tensor_from(hk_context *ctx, hk_dtype dtype, hk_shape shape, const void *data) {
    hk_tensor *t = hk_tensor_new(ctx, dtype, shape);
    if (t && data) hk__values_write(ctx, t->data, data, bytes_of(dtype, shape));
    return t;
}

hk_tensor *hk_tensor_keep(hk_tensor *t) {
    if (!t || hk__check(t->ctx, t, "tensor_keep") != HK_OK) return NULL;
    hk_tensor *kept = hk_tensor_new(t->ctx, t->dtype, t->shape);
    if (kept) hk__copy(t->ctx, kept, t, false);
    return kept;
}

void hk_tensor_destroy(hk_tensor *t) {
    if (!t || t->step != 0) return;
    if (!t->previous && t->ctx->kept != t)
        return; /* a parameter or a gradient: its owner frees it */
    if (t->previous)
        t->previous->next = t->next;
    else
        t->ctx->kept = t->next;
    if (t->next) t->next->previous = t->previous;
    hk__kept_free(t->grad);
    hk__kept_free(t);
}

hk_tensor *hk_full(hk_context *ctx, hk_dtype dtype, hk_shape shape, double value) {
    hk_tensor *t = hk__empty(ctx, dtype, shape);
    if (t) hk__fill(ctx, t, value);
    return t;
}

hk_tensor *hk_constant(hk_context *ctx, hk_dtype dtype, hk_shape shape, const void *data) {
    hk_tensor *t = hk__empty(ctx, dtype, shape);
    if (!t || bytes_of(dtype, shape) == 0) return t;
    if (data) {
        hk__values_write(ctx, t->data, data, bytes_of(dtype, shape));
        return t;
    }
    hk_fail(ctx, HK_ERR_ARGUMENT, "constant", "no data was given");
    return NULL;
}

/* --- facts ----------------------------------------------------------------------------------------- */

hk_context *hk_tensor_context(const hk_tensor *t) { return t ? t->ctx : NULL; }
hk_dtype hk_tensor_dtype(const hk_tensor *t) { return t ? t->dtype : HK_F32; }
hk_shape hk_tensor_shape(const hk_tensor *t) { return t ? t->shape : HK_SCALAR; }
int hk_tensor_rank(const hk_tensor *t) { return t ? t->shape.rank : 0; }
int64_t hk_tensor_count(const hk_tensor *t) { return t ? hk_shape_count(t->shape) : 0; }
bool hk_tensor_is_contiguous(const hk_tensor *t) { return t && hk__is_contiguous(t); }
const char *hk_tensor_name(const hk_tensor *t) { return t && t->name ? t->name : ""; }

const char *hk__tensor_text(const hk_tensor *t, char *buffer, size_t size) {
    char shape[96];
    hk_shape_text(t->shape, shape, sizeof shape);
    snprintf(buffer, size, "%s%s%s", t->name ? t->name : "", t->name ? " " : "", shape);
    return buffer;
}

int64_t hk_tensor_dim(const hk_tensor *t, int axis) {
    if (!t) return 0;
    const int i = hk__axis(t->ctx, "tensor_dim", axis, t->shape.rank);
    return i < 0 ? 0 : t->shape.dim[i];
}

hk_tensor *hk_tensor_set_name(hk_tensor *t, const char *name) {
    if (!t) return NULL;
    if (t->step != 0) {
        t->name = name;
        return t;
    }
    char *copy = name ? strdup(name) : NULL;
    if (name && !copy) {
        hk_fail(t->ctx, HK_ERR_MEMORY, "tensor_set_name", "no memory for the name");
        return NULL;
    }
    free(t->own_name);
    t->name = t->own_name = copy;
    if (t->grad) t->grad->name = copy;
    return t;
}

/* --- elements ---------------------------------------------------------------------------------------- */

void *hk_tensor_data(hk_tensor *t) {
    if (!t || hk__check(t->ctx, t, "tensor_data") != HK_OK) return NULL;
    if (hk__is_contiguous(t)) return t->data;
    hk_fail(t->ctx, HK_ERR_SHAPE, "tensor_data",
            "the tensor is a view with gaps or in another order; use hk_contiguous first");
    return NULL;
}

static hk_status check_size(const hk_tensor *t, size_t size, const char *where) {
    const size_t need = bytes_of(t->dtype, t->shape);
    if (size >= need) return HK_OK;
    char text[160];
    return hk_fail(t->ctx, HK_ERR_ARGUMENT, where, "%s needs %zu bytes, not %zu",
                   hk__tensor_text(t, text, sizeof text), need, size);
}

hk_status hk_tensor_read(hk_tensor *t, void *out, size_t size) {
    if (!t) return HK_ERR_ARGUMENT;
    HK_TRY(hk__check(t->ctx, t, "tensor_read"));
    HK_TRY(check_size(t, size, "tensor_read"));
    if (hk__is_contiguous(t)) {
        hk__values_read(t->ctx, out, t->data, bytes_of(t->dtype, t->shape));
        return t->ctx->status;
    }
    if (t->ctx->gpu) { /* put in order there first */
        hk_tensor *whole = hk__empty(t->ctx, t->dtype, t->shape);
        if (!whole) return t->ctx->status;
        hk__copy(t->ctx, whole, t, false);
        hk__values_read(t->ctx, out, whole->data, bytes_of(t->dtype, t->shape));
        return t->ctx->status;
    }
    hk_tensor target = {.ctx = t->ctx, .data = out, .dtype = t->dtype, .shape = t->shape};
    hk__contiguous_strides(target.shape, target.stride);
    hk__copy(t->ctx, &target, t, false);
    return t->ctx->status;
}

hk_status hk_tensor_write(hk_tensor *t, const void *data, size_t size) {
    if (!t) return HK_ERR_ARGUMENT;
    HK_TRY(hk__check(t->ctx, t, "tensor_write"));
    HK_TRY(check_size(t, size, "tensor_write"));
    if (t->step != 0 || !hk__is_contiguous(t))
        return hk_fail(t->ctx, HK_ERR_ARGUMENT, "tensor_write", "only kept tensors can be written");
    hk__values_write(t->ctx, t->data, data, bytes_of(t->dtype, t->shape));
    return t->ctx->status;
}

double hk__element(const hk_tensor *t, int64_t i) {
    union {
        float f32;
        double f64;
        uint8_t u8;
        int32_t i32;
    } value = {.f64 = 0};
    const size_t size = hk_dtype_size(t->dtype);
    hk__values_read(t->ctx, &value, (const char *)t->data + (size_t)i * size, size);
    if (t->ctx->status == HK_OK) switch (t->dtype) {
        case HK_F32: return (double)value.f32;
        case HK_F64: return value.f64;
        case HK_U8: return (double)value.u8;
        case HK_I32: return (double)value.i32;
        }
    return (double)__builtin_nanf("");
}

double hk_tensor_item(hk_tensor *t) {
    const double none = (double)__builtin_nanf("");
    if (!t || hk__check(t->ctx, t, "tensor_item") != HK_OK) return none;
    if (hk_shape_count(t->shape) != 1) {
        char text[160];
        hk_fail(t->ctx, HK_ERR_SHAPE, "tensor_item", "%s has not one element",
                hk__tensor_text(t, text, sizeof text));
        return none;
    }
    return hk__element(t, 0);
}

const void *hk_tensor_values(hk_tensor *t) {
    if (!t || hk__check(t->ctx, t, "tensor_values") != HK_OK) return NULL;
    if (!t->ctx->gpu && hk__is_contiguous(t)) return t->data;
    const size_t size = bytes_of(t->dtype, t->shape);
    void *copy = hk__arena_alloc(&t->ctx->memory, size);
    if (!copy) hk_fail(t->ctx, HK_ERR_MEMORY, "tensor_values", "no memory for %zu bytes", size);
    return copy && hk_tensor_read(t, copy, size) == HK_OK ? copy : NULL;
}

const void *hk__host_view(hk_tensor *t) {
    if (!HK_ON_GPU(t->ctx)) return t->data;
    void *copy = hk__scratch(t->ctx, bytes_of(t->dtype, t->shape));
    if (copy) hk__values_read(t->ctx, copy, t->data, bytes_of(t->dtype, t->shape));
    return t->ctx->status == HK_OK ? copy : NULL;
}

void *hk__host_room(hk_tensor *t) {
    return HK_ON_GPU(t->ctx) ? hk__scratch(t->ctx, bytes_of(t->dtype, t->shape)) : t->data;
}

void hk__host_done(hk_tensor *t, const void *room) {
    if (room != t->data) hk__values_write(t->ctx, t->data, room, bytes_of(t->dtype, t->shape));
}

hk_tensor hk__near(hk_tensor *t) {
    hk_tensor view = *t;
    view.data = (void *)(uintptr_t)hk__host_view(t);
    return view;
}

/* Between a GPU and another context: by way of the host's memory, in the source's type. */
static hk_status copy_across(hk_tensor *dst, hk_tensor *src) {
    hk_context *ctx = dst->ctx;
    const size_t bytes = bytes_of(src->dtype, src->shape);
    hk_tensor *here = hk__empty(ctx, src->dtype, src->shape);
    void *host = malloc(bytes ? bytes : 1);
    if (host && here && hk_tensor_read(src, host, bytes) == HK_OK) {
        hk__values_write(ctx, here->data, host, bytes);
        if (dst->dtype == src->dtype)
            hk__copy(ctx, dst, here, false);
        else
            hk__convert(ctx, dst, here);
    } else if (host && src->ctx->status != HK_OK) {
        hk_fail(ctx, src->ctx->status, "tensor_copy", "the source: %s", src->ctx->message);
    } else {
        hk_fail(ctx, HK_ERR_MEMORY, "tensor_copy", "no memory for %zu bytes", bytes);
    }
    free(host);
    return ctx->status;
}

hk_status hk_tensor_copy(hk_tensor *dst, hk_tensor *src) {
    if (!dst || !src) return HK_ERR_ARGUMENT;
    HK_TRY(hk__check(dst->ctx, dst, "tensor_copy"));
    if (hk__check(src->ctx, src, "tensor_copy") != HK_OK)
        return hk_fail(dst->ctx, src->ctx->status, "tensor_copy", "the source: %s",
                       src->ctx->message);
    char a[160], b[160];
    if (dst->step != 0)
        return hk_fail(dst->ctx, HK_ERR_ARGUMENT, "tensor_copy", "the target is no kept tensor");
    if (!hk_shape_equal(dst->shape, src->shape))
        return hk_fail(dst->ctx, HK_ERR_SHAPE, "tensor_copy", "shapes differ: %s from %s",
                       hk__tensor_text(dst, a, sizeof a), hk__tensor_text(src, b, sizeof b));
    if (dst->ctx != src->ctx && (dst->ctx->gpu || src->ctx->gpu)) return copy_across(dst, src);
    if (dst->dtype == src->dtype)
        hk__copy(dst->ctx, dst, src, false);
    else
        hk__convert(dst->ctx, dst, src);
    return dst->ctx->status;
}
