/* linear_block_kernels.cu: a linear layer's products with its activation in the same launch (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "linear_block_kernels.h"

#include "activation_functions.h"
#include "activation_kernels.h"
#include "gemm_tile.cuh"

namespace { /* each stamp has its own */

/* Called, not spread out: they are large, and stand where many elements are. relu goes without. */
static __device__ __attribute__((noinline)) hk_real value_of(int row, hk_real x,
                                                             const hk_real *param) {
    switch (row) {
#define HK_ACTIVATION(name, ...)                                                                   \
    case HK__ACT_##name:                                                                           \
        return name##_f(x, param);
#include "activations.def"
#undef HK_ACTIVATION
    }
    return x;
}

static __device__ __attribute__((noinline)) hk_real slope_of(int row, hk_real x, hk_real y,
                                                             const hk_real *param) {
    switch (row) {
#define HK_ACTIVATION(name, ...)                                                                   \
    case HK__ACT_##name:                                                                           \
        return name##_d(x, y, param);
#include "activations.def"
#undef HK_ACTIVATION
    }
    return 1;
}

struct value_behind {
    enum { on_result = 1, on_a = 0 };
    hk_real *z;
    int64_t row;
    hk_real param[HK_ACTIVATION_MAX_PARAMS];
    __device__ hk_real result(hk_real total, int64_t at) const {
        if (z) z[at] = total;
        return row == HK__ACT_relu ? relu_f(total, param) : value_of((int)row, total, param);
    }
};

struct slope_before {
    enum { on_result = 0, on_a = 1 };
    const hk_real *x, *y;
    int64_t row;
    hk_real param[HK_ACTIVATION_MAX_PARAMS];
    __device__ hk_real element(hk_real g, hk_real x, hk_real y) const {
        return g * (row == HK__ACT_relu ? relu_d(x, y, param) : slope_of((int)row, x, y, param));
    }
};

template <class Act> static Act make(const hk__linear_block_activation *f) {
    Act act;
    memset((void *)&act, 0, sizeof act);
    act.row = f->row;
    for (int k = 0; k < HK_ACTIVATION_MAX_PARAMS; k++) act.param[k] = (hk_real)f->param[k];
    return act;
}

static void forward(hk_context *ctx, const hk__gpu_product *p,
                    const hk__linear_block_activation *f) {
    value_behind act = make<value_behind>(f);
    act.z = (hk_real *)f->z;
    run_products(ctx, 1, p, act);
}

static void backward(hk_context *ctx, int n, const hk__gpu_product *p,
                     const hk__linear_block_activation *f) {
    slope_before act = make<slope_before>(f);
    act.x = (const hk_real *)f->z;
    act.y = (const hk_real *)f->y;
    run_products(ctx, n, p, act);
}

} /* namespace */

const hk__linear_block_gpu HK_STAMPED(hk__linear_block_gpu) = {forward, backward};
