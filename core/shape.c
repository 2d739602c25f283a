/* shape.c: shapes and strides.
   SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "tensor.h"

int64_t hk_shape_count(hk_shape shape) {
    if (shape.rank < 0 || shape.rank > HK_MAX_RANK) return -1;
    int64_t count = 1;
    bool empty = false;
    for (int i = 0; i < shape.rank; i++) {
        if (shape.dim[i] < 0) return -1;
        if (shape.dim[i] == 0)
            empty = true;
        else if (count > INT64_MAX / 16 / shape.dim[i])
            return -1; /* 16: bytes fit as well */
        else
            count *= shape.dim[i];
    }
    return empty ? 0 : count;
}

bool hk_shape_equal(hk_shape a, hk_shape b) {
    if (a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

const char *hk_shape_text(hk_shape shape, char *buffer, size_t size) {
    size_t used = 0;
    if (size == 0) return buffer;
    buffer[0] = 0;
    if (shape.rank < 0 || shape.rank > HK_MAX_RANK) {
        snprintf(buffer, size, "(rank %d)", shape.rank);
        return buffer;
    }
    for (int i = 0; i <= shape.rank && used < size; i++) {
        const char *before = i == 0 ? "(" : i < shape.rank ? ", " : "";
        const int n =
            i < shape.rank
                ? snprintf(buffer + used, size - used, "%s%lld", before, (long long)shape.dim[i])
                : snprintf(buffer + used, size - used, "%s)", shape.rank == 0 ? "(" : "");
        used += n > 0 ? (size_t)n : 0;
    }
    return buffer;
}

void hk__contiguous_strides(hk_shape shape, int64_t *stride) {
    int64_t step = 1;
    for (int i = shape.rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= shape.dim[i];
    }
}

bool hk__is_contiguous(const hk_tensor *t) {
    int64_t step = 1;
    for (int i = t->shape.rank - 1; i >= 0; i--) {
        if (t->shape.dim[i] != 1 && t->stride[i] != step) return false;
        step *= t->shape.dim[i];
    }
    return true;
}

bool hk__broadcast(hk_shape a, hk_shape b, hk_shape *out) {
    hk_shape s = {.rank = a.rank > b.rank ? a.rank : b.rank};
    for (int i = 0; i < s.rank; i++) {
        const int ia = a.rank - s.rank + i, ib = b.rank - s.rank + i;
        const int64_t da = ia >= 0 ? a.dim[ia] : 1, db = ib >= 0 ? b.dim[ib] : 1;
        if (da != db && da != 1 && db != 1) return false;
        s.dim[i] = da == 1 ? db : da;
    }
    *out = s;
    return true;
}

void hk__broadcast_strides(const hk_tensor *t, hk_shape shape, int64_t *stride) {
    for (int i = 0; i < shape.rank; i++) {
        const int own = t->shape.rank - shape.rank + i;
        stride[i] = own < 0 || t->shape.dim[own] == 1 ? 0 : t->stride[own];
    }
}

int hk__axis(hk_context *ctx, const char *where, int axis, int rank) {
    const int from_front = axis < 0 ? axis + rank : axis;
    if (from_front >= 0 && from_front < rank) return from_front;
    hk_fail(ctx, HK_ERR_ARGUMENT, where, "axis %d does not exist in a tensor of rank %d", axis,
            rank);
    return -1;
}
