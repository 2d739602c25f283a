/* shape_ops.c: operations that move elements and compute nothing: views, joins, padding, rows by index.
   SPDX-License-Identifier: MIT

   The backward of a view writes through the same view of the input's gradient; the forward mode of any of
   these is the operation itself, applied to the direction. */
#include <string.h>

#include "tape.h"

/* A view of t with other sizes and strides, `offset` elements further on. */
static hk_tensor *look(hk_tensor *t, hk_shape shape, const int64_t *stride, int64_t offset) {
    hk_tensor *v = hk__view(t);
    if (!v) return NULL;
    v->shape = shape;
    memcpy(v->stride, stride, sizeof *stride * (size_t)shape.rank);
    v->data = (char *)t->data + offset * (int64_t)hk_dtype_size(t->dtype);
    return v;
}

/* gin seen through a view += g. */
static hk_status add_through(hk_op_call *c, hk_tensor *seen, hk_tensor *g) {
    if (!seen || !g) return c->ctx->status;
    hk__copy(c->ctx, seen, g, true);
    return c->ctx->status;
}

/* --- contiguous --------------------------------------------------------------------------------------- */

static hk_status copy_forward(hk_op_call *c) {
    if (!hk_op_output(c, 0, c->in[0]->dtype, c->in[0]->shape)) return c->ctx->status;
    hk__copy(c->ctx, c->out[0], c->in[0], false);
    return c->ctx->status;
}
static hk_status copy_backward(hk_op_call *c) { return hk_op_add_grad(c, 0, c->gout[0]); }
static hk_status copy_jvp(hk_op_call *c) { return hk_op_add_tangent(c, 0, c->tin[0]); }
static const hk_op contiguous_op = {"contiguous", copy_forward, copy_backward, copy_jvp};

hk_tensor *hk_contiguous(hk_tensor *x) {
    if (x && hk__check(x->ctx, x, "contiguous") == HK_OK && hk__is_contiguous(x)) return x;
    return HK_APPLY_PLAIN(&contiguous_op, x);
}

/* --- reshape -------------------------------------------------------------------------------------------- */

/* t's elements in order, under another shape; a copy only if t is not contiguous. */
static hk_tensor *reshaped(hk_tensor *t, hk_shape shape) {
    hk_tensor *flat = hk_contiguous(t);
    hk_tensor *v = flat ? hk__header(t->ctx, t->dtype, shape) : NULL;
    if (v) v->data = flat->data, v->name = t->name;
    return v;
}

static hk_status reshape_forward(hk_op_call *c) {
    hk_shape shape = *(const hk_shape *)c->attr;
    char text[160], from[160];
    const int64_t count = hk_shape_count(c->in[0]->shape);
    int open = -1;
    int64_t known = 1;
    for (int i = 0; i < shape.rank && i < HK_MAX_RANK; i++) {
        if (shape.dim[i] == -1 && open < 0)
            open = i;
        else if (shape.dim[i] <= 0 || known > INT64_MAX / shape.dim[i])
            known = 0; /* hk_shape_count judges */
        else
            known *= shape.dim[i];
    }
    if (open >= 0 && known > 0 && count % known == 0) shape.dim[open] = count / known;
    if (hk_shape_count(shape) != count)
        return hk_fail(c->ctx, HK_ERR_SHAPE, "reshape", "%s does not fill %s",
                       hk__tensor_text(c->in[0], from, sizeof from),
                       hk_shape_text(shape, text, sizeof text));
    c->out[0] = reshaped(c->in[0], shape);
    return c->ctx->status;
}
static hk_status reshape_backward(hk_op_call *c) {
    return hk__hand_grad(c, 0, reshaped(c->gout[0], c->in[0]->shape));
}
static hk_status reshape_jvp(hk_op_call *c) {
    return hk_op_add_tangent(c, 0, reshaped(c->tin[0], c->out[0]->shape));
}
static const hk_op reshape_op = {"reshape", reshape_forward, reshape_backward, reshape_jvp};

hk_tensor *hk_reshape(hk_tensor *x, hk_shape shape) { return HK_APPLY(&reshape_op, &shape, x); }

hk_tensor *hk_flatten_from(hk_tensor *x, int axis) {
    if (!x) return NULL;
    const int first =
        x->shape.rank == 0 && axis == 0 ? 0 : hk__axis(x->ctx, "flatten", axis, x->shape.rank);
    if (first < 0) return NULL;
    hk_shape shape = {.rank = first + 1};
    shape.dim[first] = 1;
    for (int i = 0; i < x->shape.rank; i++) {
        if (i < first)
            shape.dim[i] = x->shape.dim[i];
        else
            shape.dim[first] *= x->shape.dim[i];
    }
    return hk_reshape(x, shape);
}

/* --- permute ---------------------------------------------------------------------------------------------- */

typedef struct order_attr {
    int axis[HK_MAX_RANK];
} order_attr;

static hk_tensor *permuted(hk_tensor *t, const int *axis) {
    hk_shape shape = {.rank = t->shape.rank};
    int64_t stride[HK_MAX_RANK];
    for (int i = 0; i < shape.rank; i++) {
        shape.dim[i] = t->shape.dim[axis[i]];
        stride[i] = t->stride[axis[i]];
    }
    return look(t, shape, stride, 0);
}
static hk_status permute_forward(hk_op_call *c) {
    c->out[0] = permuted(c->in[0], ((const order_attr *)c->attr)->axis);
    return c->ctx->status;
}
static hk_status permute_backward(hk_op_call *c) {
    const order_attr *order = c->attr;
    order_attr back;
    for (int i = 0; i < c->in[0]->shape.rank; i++) back.axis[order->axis[i]] = i;
    return hk_op_add_grad(c, 0, permuted(c->gout[0], back.axis));
}
static hk_status permute_jvp(hk_op_call *c) {
    return hk_op_add_tangent(c, 0, permuted(c->tin[0], ((const order_attr *)c->attr)->axis));
}
static const hk_op permute_op = {"permute", permute_forward, permute_backward, permute_jvp};

hk_tensor *hk_permute(hk_tensor *x, const int *order) {
    if (!x || hk__check(x->ctx, x, "permute") != HK_OK) return NULL;
    order_attr attr = {{0}};
    unsigned seen = 0;
    for (int i = 0; i < x->shape.rank; i++) {
        attr.axis[i] = hk__axis(x->ctx, "permute", order[i], x->shape.rank);
        if (attr.axis[i] < 0) return NULL;
        if (seen >> attr.axis[i] & 1) {
            hk_fail(x->ctx, HK_ERR_ARGUMENT, "permute", "axis %d is named twice", order[i]);
            return NULL;
        }
        seen |= 1u << attr.axis[i];
    }
    return HK_APPLY(&permute_op, &attr, x);
}

hk_tensor *hk_transpose(hk_tensor *x, int axis_a, int axis_b) {
    if (!x || hk__check(x->ctx, x, "transpose") != HK_OK) return NULL;
    const int a = hk__axis(x->ctx, "transpose", axis_a, x->shape.rank);
    const int b = a < 0 ? -1 : hk__axis(x->ctx, "transpose", axis_b, x->shape.rank);
    if (b < 0) return NULL;
    order_attr attr;
    for (int i = 0; i < HK_MAX_RANK; i++) attr.axis[i] = i == a ? b : i == b ? a : i;
    return HK_APPLY(&permute_op, &attr, x);
}

/* --- slice -------------------------------------------------------------------------------------------------- */

typedef struct slice_attr {
    int axis;
    int64_t start, length;
} slice_attr;

static hk_tensor *sliced(hk_tensor *t, const slice_attr *s) {
    hk_shape shape = t->shape;
    shape.dim[s->axis] = s->length;
    return look(t, shape, t->stride, s->start * t->stride[s->axis]);
}
static hk_status slice_forward(hk_op_call *c) {
    c->out[0] = sliced(c->in[0], c->attr);
    return c->ctx->status;
}
static hk_status slice_backward(hk_op_call *c) {
    hk__grad_settle(c->gin[0]); /* what lies outside of the slice gets nothing */
    return add_through(c, sliced(c->gin[0], c->attr), c->gout[0]);
}
static hk_status slice_jvp(hk_op_call *c) {
    return hk_op_add_tangent(c, 0, sliced(c->tin[0], c->attr));
}
static const hk_op slice_op = {"slice", slice_forward, slice_backward, slice_jvp};

hk_tensor *hk_slice(hk_tensor *x, int axis, int64_t start, int64_t length) {
    if (!x || hk__check(x->ctx, x, "slice") != HK_OK) return NULL;
    const int a = hk__axis(x->ctx, "slice", axis, x->shape.rank);
    if (a < 0) return NULL;
    const int64_t size = x->shape.dim[a];
    if (start < 0 || length < 0 || start > size || length > size - start) {
        char text[160];
        hk_fail(x->ctx, HK_ERR_SHAPE, "slice", "%lld elements from %lld on leave axis %d of %s",
                (long long)length, (long long)start, a, hk__tensor_text(x, text, sizeof text));
        return NULL;
    }
    const slice_attr attr = {a, start, length};
    return HK_APPLY(&slice_op, &attr, x);
}

hk_status hk_split(hk_tensor *x, int axis, int n, const int64_t *sizes, hk_tensor **parts) {
    for (int i = 0; i < n; i++) parts[i] = NULL;
    if (!x) return HK_ERR_ARGUMENT;
    HK_TRY(hk__check(x->ctx, x, "split"));
    const int a = hk__axis(x->ctx, "split", axis, x->shape.rank);
    if (a < 0) return x->ctx->status;
    int64_t start = 0;
    for (int i = 0; i < n; start += sizes[i++]) {
        parts[i] = hk_slice(x, a, start, sizes[i]);
        if (!parts[i]) return x->ctx->status;
    }
    if (start == x->shape.dim[a]) return HK_OK;
    return hk_fail(x->ctx, HK_ERR_SHAPE, "split", "the sizes add up to %lld, axis %d has %lld",
                   (long long)start, a, (long long)x->shape.dim[a]);
}

/* --- broadcast ------------------------------------------------------------------------------------------------ */

static hk_tensor *stretched(hk_tensor *t, hk_shape shape) {
    int64_t stride[HK_MAX_RANK];
    hk__broadcast_strides(t, shape, stride);
    return look(t, shape, stride, 0);
}
static hk_status broadcast_forward(hk_op_call *c) {
    const hk_shape *shape = c->attr;
    hk_shape common;
    char text[160], from[160];
    if (hk_shape_count(*shape) < 0 || !hk__broadcast(c->in[0]->shape, *shape, &common) ||
        !hk_shape_equal(common, *shape))
        return hk_fail(c->ctx, HK_ERR_SHAPE, "broadcast_to", "%s does not broadcast to %s",
                       hk__tensor_text(c->in[0], from, sizeof from),
                       hk_shape_text(*shape, text, sizeof text));
    c->out[0] = stretched(c->in[0], *shape);
    return c->ctx->status;
}
static hk_status broadcast_jvp(hk_op_call *c) {
    return hk_op_add_tangent(c, 0, stretched(c->tin[0], c->out[0]->shape));
}
static const hk_op broadcast_op = {"broadcast_to", broadcast_forward, copy_backward, broadcast_jvp};

hk_tensor *hk_broadcast_to(hk_tensor *x, hk_shape shape) {
    return HK_APPLY(&broadcast_op, &shape, x);
}

/* --- concat: parts side by side along an axis ------------------------------------------------------------------- */

/* The place of part i inside a whole. */
static hk_tensor *place_of(hk_op_call *c, hk_tensor *whole, int i) {
    slice_attr s = {.axis = *(const int *)c->attr};
    for (int k = 0; k < i; k++) s.start += c->in[k]->shape.dim[s.axis];
    s.length = c->in[i]->shape.dim[s.axis];
    return sliced(whole, &s);
}
static hk_status concat_forward(hk_op_call *c) {
    const int axis = *(const int *)c->attr;
    hk_shape shape = c->in[0]->shape;
    for (int i = 1; i < c->n_in; i++) {
        hk_shape other = c->in[i]->shape;
        if (c->in[i]->dtype != c->in[0]->dtype)
            return hk_fail(c->ctx, HK_ERR_DTYPE, c->op->name,
                           "element types differ: %s and %s; use hk_cast",
                           hk_dtype_name(c->in[0]->dtype), hk_dtype_name(c->in[i]->dtype));
        if (other.rank != shape.rank)
            return hk__shapes_differ(c, "ranks differ", c->in[0], c->in[i]);
        const int64_t length = other.dim[axis];
        other.dim[axis] = shape.dim[axis];
        if (!hk_shape_equal(other, shape))
            return hk__shapes_differ(c, "sizes differ outside of the axis", c->in[0], c->in[i]);
        shape.dim[axis] += length;
    }
    if (!hk_op_output(c, 0, c->in[0]->dtype, shape)) return c->ctx->status;
    for (int i = 0; i < c->n_in; i++) {
        hk_tensor *place = place_of(c, c->out[0], i);
        if (place) hk__copy(c->ctx, place, c->in[i], false);
    }
    return c->ctx->status;
}
static hk_status concat_backward(hk_op_call *c) {
    for (int i = 0; i < c->n_in; i++)
        if (hk_op_needs(c, i)) HK_TRY(hk_op_add_grad(c, i, place_of(c, c->gout[0], i)));
    return c->ctx->status;
}
static hk_status concat_jvp(hk_op_call *c) {
    bool accumulate;
    hk_tensor *tout = hk__tangent_target(c, 0, &accumulate);
    if (!tout) return c->ctx->status;
    hk__fill(c->ctx, tout, 0);
    for (int i = 0; i < c->n_in; i++)
        if (c->tin[i]) HK_TRY(add_through(c, place_of(c, tout, i), c->tin[i]));
    return c->ctx->status;
}
static const hk_op concat_op = {"concat", concat_forward, concat_backward, concat_jvp};

/* The context that a list of tensors shares, NULL if a member is NULL or the list is empty. */
static hk_context *context_of(int n, hk_tensor *const *parts) {
    for (int i = 0; i < n; i++)
        if (!parts[i]) return NULL;
    return n > 0 ? parts[0]->ctx : NULL;
}

hk_tensor *hk_concat(int n, hk_tensor *const *parts, int axis) {
    hk_context *ctx = context_of(n, parts);
    if (!ctx || hk__check(ctx, parts[0], "concat") != HK_OK) return NULL;
    const int a = hk__axis(ctx, "concat", axis, parts[0]->shape.rank);
    return a < 0 ? NULL : hk_apply(&concat_op, &a, sizeof a, n, parts, 1, NULL);
}

hk_tensor *hk_stack(int n, hk_tensor *const *parts, int axis) {
    hk_context *ctx = context_of(n, parts);
    if (!ctx || hk__check(ctx, parts[0], "stack") != HK_OK) return NULL;
    const int rank = parts[0]->shape.rank, a = hk__axis(ctx, "stack", axis, rank + 1);
    if (a < 0) return NULL;
    if (rank == HK_MAX_RANK) {
        hk_fail(ctx, HK_ERR_SHAPE, "stack", "the result would have more than %d axes", HK_MAX_RANK);
        return NULL;
    }
    hk_tensor **wide = hk__arena_alloc(&ctx->memory, sizeof *wide * (size_t)n);
    if (!wide) hk_fail(ctx, HK_ERR_MEMORY, "stack", "no memory for the list");
    for (int i = 0; wide && i < n; i++) {
        hk_shape shape = parts[i]->shape;
        if (!hk_shape_equal(shape, parts[0]->shape)) {
            char left[160], right[160];
            hk_fail(ctx, HK_ERR_SHAPE, "stack", "shapes differ: %s and %s",
                    hk__tensor_text(parts[0], left, sizeof left),
                    hk__tensor_text(parts[i], right, sizeof right));
            return NULL;
        }
        memmove(shape.dim + a + 1, shape.dim + a, sizeof *shape.dim * (size_t)(rank - a));
        shape.dim[a] = 1;
        shape.rank++;
        wide[i] = hk_reshape(parts[i], shape);
    }
    return wide ? hk_concat(n, wide, a) : NULL;
}

/* --- pad -------------------------------------------------------------------------------------------------------- */

typedef struct pad_attr {
    int64_t before[HK_MAX_RANK], after[HK_MAX_RANK];
    double value;
} pad_attr;

/* The part of the padded tensor that is x. */
static hk_tensor *inside(const hk_op_call *c, hk_tensor *whole) {
    const pad_attr *pad = c->attr;
    int64_t offset = 0;
    for (int i = 0; i < whole->shape.rank; i++) offset += pad->before[i] * whole->stride[i];
    return look(whole, c->in[0]->shape, whole->stride, offset);
}
static hk_status pad_forward(hk_op_call *c) {
    const pad_attr *pad = c->attr;
    hk_shape shape = c->in[0]->shape;
    for (int i = 0; i < shape.rank; i++) {
        if (pad->before[i] < 0 || pad->after[i] < 0)
            return hk_fail(c->ctx, HK_ERR_ARGUMENT, "pad", "padding of axis %d is negative", i);
        if (pad->before[i] > INT64_MAX / 4 || pad->after[i] > INT64_MAX / 4)
            return hk_fail(c->ctx, HK_ERR_ARGUMENT, "pad",
                           "padding of axis %d is larger than memory", i);
        shape.dim[i] += pad->before[i] + pad->after[i];
    }
    if (!hk_op_output(c, 0, c->in[0]->dtype, shape)) return c->ctx->status;
    hk__fill(c->ctx, c->out[0], pad->value);
    hk_tensor *x = inside(c, c->out[0]);
    if (x) hk__copy(c->ctx, x, c->in[0], false);
    return c->ctx->status;
}
static hk_status pad_backward(hk_op_call *c) { return hk_op_add_grad(c, 0, inside(c, c->gout[0])); }
static hk_status pad_jvp(hk_op_call *c) {
    bool accumulate;
    hk_tensor *tout = hk__tangent_target(c, 0, &accumulate);
    if (!tout) return c->ctx->status;
    hk__fill(c->ctx, tout, 0);
    return add_through(c, inside(c, tout), c->tin[0]);
}
static const hk_op pad_op = {"pad", pad_forward, pad_backward, pad_jvp};

hk_tensor *hk_pad(hk_tensor *x, const int64_t *before, const int64_t *after, double value) {
    if (!x) return NULL;
    pad_attr attr = {.value = value};
    memcpy(attr.before, before, sizeof *before * (size_t)x->shape.rank);
    memcpy(attr.after, after, sizeof *after * (size_t)x->shape.rank);
    return HK_APPLY(&pad_op, &attr, x);
}
