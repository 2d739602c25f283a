/* conv_direct.cuh: convolutions of images of one channel with small kernels.
   SPDX-License-Identifier: MIT

   A tile has little to sum there, and its columns share nothing. Here a thread has 2 x 2 places of the output: it reads
   what their windows cover once, keeps it in registers, and goes through the weights of some output channels, which lie in
   shared memory. What becomes of the sums, the job says (conv_gather.cuh). */
#ifndef HK_CONV_DIRECT_CUH
#define HK_CONV_DIRECT_CUH

#include "conv_gather.cuh"

enum { HK__DIRECT_THREADS = 128, HK__DIRECT_ROWS = 8 };

template <class Job, int K>
static __global__ void __launch_bounds__(HK__DIRECT_THREADS) hk__conv_direct(const Job job) {
    constexpr int ROWS = HK__DIRECT_ROWS, SIDE = K + 1;
    __shared__ __align__(16) hk_real w[K * K * ROWS];
    __shared__ hk_real
        sums[ROWS * 4]
            [HK__DIRECT_THREADS]; /* each thread's own: places of an array that is not unrolled */
    const int first = blockIdx.y * ROWS;
    for (int i = threadIdx.x; i < K * K * ROWS; i += HK__DIRECT_THREADS)
        w[i] = first + i % ROWS < job.m ? job.a[(first + i % ROWS) * K * K + i / ROWS] : (hk_real)0;
    __syncthreads();

    const typename Job::Part part = job.part_of(0, 0);
    const unsigned column = 4 * (blockIdx.x * HK__DIRECT_THREADS + threadIdx.x);
    if (column >= part.columns) return;
    const hk__conv_at at = job.at(part, column);
    const int y = at.y + part.y.start, x = at.x + part.x.start;
    const hk_real *image = job.b + at.image * job.b_image;
    hk_real seen[SIDE][SIDE], sum[ROWS][4] = {};
#pragma unroll
    for (int i = 0; i < SIDE; i++)
#pragma unroll
        for (int j = 0; j < SIDE; j++) {
            const bool inside = (unsigned)(y + i) < (unsigned)job.rows.source &&
                                (unsigned)(x + j) < (unsigned)job.cols.source;
            seen[i][j] = inside ? image[(y + i) * job.cols.source + x + j] : (hk_real)0;
        }
#pragma unroll
    for (int t = 0; t < K * K; t++) {
        hk_real weight[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r += 4) hk__conv_four(w + t * ROWS + r, weight + r);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                sum[r][k] = hk__conv_fma(weight[r], seen[t / K + k / 2][t % K + k % 2], sum[r][k]);
    }
#pragma unroll
    for (int i = 0; i < ROWS * 4; i++) sums[i][threadIdx.x] = sum[i / 4][i % 4];
    const typename Job::Spot spot = job.spot(part, column);
#pragma unroll 1
    for (int r = 0; r < ROWS && first + r < job.m; r++) {
        hk_real four[4];
#pragma unroll
        for (int k = 0; k < 4; k++) four[k] = sums[r * 4 + k][threadIdx.x];
        job.put(part, spot, first + r, four);
    }
}

/* Whether it is made for c, and launched. Job: of quads. */
template <class Job>
static bool hk__conv_launch_direct(hk_context *ctx, const hk__conv *c, const Job *job) {
#ifdef HK_STAMP_f64
    (void)ctx, (void)c, (void)job;
    return false;
#else
    if (!hk__conv_is_direct(c)) return false;
    const int64_t quads = job->images * (c->oh / 2) * (c->ow / 2);
    const dim3 grid(hk__grid(quads, HK__DIRECT_THREADS, 1),
                    (unsigned)hk__conv_parts_of(c->oc, HK__DIRECT_ROWS));
    if (c->kh == 3)
        HK_LAUNCH(ctx, grid, HK__DIRECT_THREADS, 0, (hk__conv_direct<Job, 3>), *job);
    else
        HK_LAUNCH(ctx, grid, HK__DIRECT_THREADS, 0, (hk__conv_direct<Job, 5>), *job);
    return true;
#endif
}

#endif
