/* zero_pad.c: zeros around the images of a batch.
   SPDX-License-Identifier: MIT */
#include "module.h"

/* Rows and columns on a side, at most: sums of sizes cannot overflow. */
enum { WIDEST = 1 << 30 };

typedef struct zero_pad {
    int64_t top, bottom, left, right;
} zero_pad;

static hk_status check_rank(const hk_module *m, hk_shape in) {
    char text[160];
    if (in.rank < 0 || in.rank == 4) return HK_OK;
    return hk_fail(m->object.ctx, HK_ERR_SHAPE, "zero_pad2d", "%s takes (n, c, h, w), not %s",
                   hk__place_of(m), hk__shape_pattern(in, text, sizeof text));
}

static hk_status zero_pad_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    const zero_pad *pad = state;
    HK_TRY(check_rank(m, in));
    *out = in.rank < 0 ? HK_SHAPE(-1, -1, -1, -1) : in;
    if (out->dim[2] >= 0) out->dim[2] += pad->top + pad->bottom;
    if (out->dim[3] >= 0) out->dim[3] += pad->left + pad->right;
    return HK_OK;
}

static hk_tensor *zero_pad_forward(hk_module *m, void *state, hk_tensor *x) {
    const zero_pad *pad = state;
    if (check_rank(m, x->shape) != HK_OK) return NULL;
    const int64_t before[] = {0, 0, pad->top, pad->left}, after[] = {0, 0, pad->bottom, pad->right};
    return hk_pad(x, before, after, 0);
}

static const hk_module_class zero_pad_class = {.name = "zero_pad2d",
                                               .state_size = sizeof(zero_pad),
                                               .shape = zero_pad_shape,
                                               .forward = zero_pad_forward,
                                               .passes_on = true};

hk_module *hk_zero_pad2d(hk_context *ctx, int64_t top, int64_t bottom, int64_t left,
                         int64_t right) {
    const zero_pad pad = {top, bottom, left, right};
    const int64_t sides[] = {top, bottom, left, right};
    for (int i = 0; i < 4; i++)
        if (sides[i] < 0 || sides[i] > WIDEST) {
            hk_fail(ctx, HK_ERR_ARGUMENT, "zero_pad2d",
                    "a side gets from 0 to %d rows or columns, not %lld", WIDEST,
                    (long long)sides[i]);
            return NULL;
        }
    return hk_module_create(ctx, &zero_pad_class, &pad);
}
