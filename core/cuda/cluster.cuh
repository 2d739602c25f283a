/* cluster.cuh: blocks of a launch that run at once and write into each other's shared memory (sm_90 and later).
   SPDX-License-Identifier: MIT */
#ifndef HK_CLUSTER_CUH
#define HK_CLUSTER_CUH

#include <string.h>

#include "launch.cuh"

enum { HK__CLUSTER_MOST = 8 }; /* blocks: what every such GPU can do */

/* Whether the context's GPU has clusters, and the code that it runs: PTX of an older one may do for a new GPU. */
static inline bool hk__clusters(const hk_context *ctx) {
    return ctx->gpu->capability >= 90 && ctx->gpu->code >= 90;
}

/* --- inside of a kernel, which older GPUs get without a body ------------------------------------------------------ */

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/* This block's number in its cluster, and the cluster's blocks. */
static __device__ inline unsigned hk__cluster_rank(void) {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
static __device__ inline unsigned hk__cluster_size(void) {
    unsigned size;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
}

/* All threads of the cluster come here before any goes on, and then see what others have put. The first call, before
   the first hk__cluster_put, also sees to it that all blocks are there. */
static __device__ inline void hk__cluster_barrier(void) {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

/* Writes to where another block has what lies at `own` here, in shared memory. */
static __device__ inline uint32_t hk__cluster_place(const void *own, unsigned rank) {
    uint32_t place;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(place)
                 : "r"((uint32_t)__cvta_generic_to_shared(own)), "r"(rank));
    return place;
}
static __device__ inline void hk__cluster_put(float *own, unsigned rank, float value) {
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(hk__cluster_place(own, rank)), "f"(value)
                 : "memory");
}
static __device__ inline void hk__cluster_put(double *own, unsigned rank, double value) {
    asm volatile("st.shared::cluster.f64 [%0], %1;" ::"r"(hk__cluster_place(own, rank)), "d"(value)
                 : "memory");
}

#elif defined(HK_EMULATED_CUDA_RUNTIME_H)

static inline unsigned hk__cluster_rank(void) { return emulated_cluster_rank(); }
static inline unsigned hk__cluster_size(void) { return emulated_cluster_size(); }
static inline void hk__cluster_barrier(void) { emulated_cluster_barrier(); }
template <class T> static inline void hk__cluster_put(T *own, unsigned rank, T value) {
    emulated_cluster_put(own, rank, &value, sizeof value);
}

#else

static __device__ inline unsigned hk__cluster_rank(void) { return 0; }
static __device__ inline unsigned hk__cluster_size(void) { return 1; }
static __device__ inline void hk__cluster_barrier(void) {}
template <class T> static __device__ inline void hk__cluster_put(T *, unsigned, T) {}

#endif

/* --- launching ---------------------------------------------------------------------------------------------------- */

/* Blocks of `block` threads, `cluster` of them in each cluster. */
static inline cudaLaunchConfig_t hk__cluster_config(hk_context *ctx, unsigned cluster, dim3 grid,
                                                    dim3 block, size_t shared,
                                                    cudaLaunchAttribute *attribute) {
    cudaLaunchConfig_t config;
    memset((void *)&config, 0, sizeof config);
    memset((void *)attribute, 0, sizeof *attribute);
    attribute->id = cudaLaunchAttributeClusterDimension;
    attribute->val.clusterDim.x = cluster;
    attribute->val.clusterDim.y = attribute->val.clusterDim.z = 1;
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = ctx->gpu->stream;
    config.attrs = attribute;
    config.numAttrs = 1;
    return config;
}

/* How many clusters the GPU runs at once; 0: none. */
template <class... P>
static int hk__clusters_at_once(hk_context *ctx, unsigned cluster, dim3 block, size_t shared,
                                void (*kernel)(P...)) {
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config =
        hk__cluster_config(ctx, cluster, cluster, block, shared, &attribute);
    int n = 0;
    if (cudaOccupancyMaxActiveClusters(&n, (const void *)kernel, &config) == cudaSuccess) return n;
    (void)cudaGetLastError();
    return 0;
}

/* HK_LAUNCH for clusters. */
#define HK_LAUNCH_CLUSTERS(ctx, cluster, grid, block, shared, ...)                                 \
    HK__LAUNCH_CLUSTERS_NAMED(ctx, cluster, grid, block, shared, __VA_ARGS__)
#define HK__LAUNCH_CLUSTERS_NAMED(ctx, cluster, grid, block, shared, kernel, ...)                  \
    hk__launch_clusters(ctx, #kernel, cluster, grid, block, shared, kernel, __VA_ARGS__)

template <class... P>
static void hk__launch_clusters(hk_context *ctx, const char *name, unsigned cluster, dim3 grid,
                                dim3 block, size_t shared, void (*kernel)(P...),
                                typename hk__same<P>::type... argument) {
    if (!hk__launch_begin(ctx, name, (const void *)kernel, grid, block, shared)) return;
    hk__launch_argument(ctx, &cluster, sizeof cluster);
    const int each[] = {
        (hk__launch_argument(ctx, &argument, __is_empty(P) ? 0 : sizeof argument), 0)...};
    (void)each;
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config =
        hk__cluster_config(ctx, cluster, grid, block, shared, &attribute);
    hk__launch_end(ctx, name, cudaLaunchKernelEx(&config, kernel, argument...));
}

#endif
