/* conv_gpu.h: convolutions on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_CONV_GPU_H
#define HK_CONV_GPU_H

#include "conv.h"

HK_BEGIN_DECLS

/* As in conv.h, with all memory on the device. A gradient g may be that of a 2 x 2 max pooling's output behind, with its
   winners (to->winner). Errors are sticky. */
typedef struct hk__conv_gpu {
    void (*forward)(hk_context *ctx, const hk__conv *c, const void *x, const void *w,
                    const void *bias, void *y);
    void (*backward)(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to);
} hk__conv_gpu;

HK_GPU_TABLES(hk__conv_gpu, hk__conv_gpu);

HK_END_DECLS
#endif
