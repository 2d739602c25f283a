/* gemm_kernels.cu: matrix products of gemm_tile.cuh as they are. Stamped (stamp.h).
   SPDX-License-Identifier: MIT */
#include "gemm_tile.cuh"

namespace { /* each stamp has its own */

static void run(hk_context *ctx, int n, const hk__gpu_product *p) {
    run_products(ctx, n, p, no_activation());
}

} /* namespace */

const hk__gemm_gpu HK_STAMPED(hk__gemm_gpu) = {run};
