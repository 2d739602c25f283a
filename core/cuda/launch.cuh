/* launch.cuh: launching kernels, and what most of them are made of.
   SPDX-License-Identifier: MIT

   Kernels and the functions that launch them are C with templates where C would have macros. Nothing throws, and
   nothing of the C++ library is linked. */
#ifndef HK_LAUNCH_CUH
#define HK_LAUNCH_CUH

#include <cuda_runtime.h>

#include "gpu.h"

struct hk__gpu {
    cudaStream_t stream;
    int multiprocessors, capability; /* 90 for sm_90 */
    int code; /* what the code that runs was written for: 80 for PTX of sm_80, on any GPU */
    size_t shared_most; /* bytes of shared memory that a block may ask for */
    bool sync;          /* HILLOCK_CUDA_SYNC=1: waits behind each launch */
    const char *op;
    uint64_t hash; /* of all launches since hk__gpu_launches */
    const char *why_eager;
    bool capturing;

    double cells[HK__GPU_CELLS], *device_cells;
    bool cells_changed;
    int cells_taken;
    cudaGraphNode_t
        setter;  /* of a step that is being captured: the last node that set the cells, */
    int setters; /* and how many did */

    hk__gpu_flag *flag; /* in host memory that kernels can write to */
    void *staging;      /* pinned, for writes */
    size_t staging_used;

    uint64_t allocations, launches; /* so far */
    struct hk__late
        *late; /* memory that was given back while a step was captured, which still uses it */
    struct hk__cublas *blas; /* opened at first use */
    char name[160];
};

/* Whether a call of CUDA's went well; if not, that is the sticky error. */
bool hk__gpu_ok(hk_context *ctx, cudaError_t error, const char *what);
/* Frees what could not be freed while a step was captured. */
void hk__gpu_free_late(hk_context *ctx);

/* Before and behind a launch: whether it may go ahead; what came of it, with the kernel's name. */
bool hk__launch_begin(hk_context *ctx, const char *kernel, const void *function, dim3 grid,
                      dim3 block, size_t shared);
void hk__launch_argument(hk_context *ctx, const void *bytes, size_t size);
void hk__launch_end(hk_context *ctx, const char *kernel, cudaError_t error);

template <class T> struct hk__same { typedef T type; };

/* HK_LAUNCH(ctx, grid, block, shared, kernel, arguments...): runs it on the context's stream. */
#define HK_LAUNCH(ctx, grid, block, shared, ...)                                                   \
    HK__LAUNCH_NAMED(ctx, grid, block, shared, __VA_ARGS__)
#define HK__LAUNCH_NAMED(ctx, grid, block, shared, kernel, ...)                                    \
    hk__launch(ctx, #kernel, grid, block, shared, kernel, __VA_ARGS__)

template <class... P>
static void hk__launch(hk_context *ctx, const char *name, dim3 grid, dim3 block, size_t shared,
                       void (*kernel)(P...), typename hk__same<P>::type... argument) {
    if (!hk__launch_begin(ctx, name, (const void *)kernel, grid, block, shared)) return;
    /* A struct without members has a byte that nobody sets. */
    const int each[] = {
        (hk__launch_argument(ctx, &argument, __is_empty(P) ? 0 : sizeof argument), 0)...};
    (void)each;
    void *arguments[] = {(void *)&argument...};
    hk__launch_end(ctx, name,
                   cudaLaunchKernel(kernel, grid, block, arguments, shared, ctx->gpu->stream));
}

/* Blocks of `block` threads for n elements, `each` to a thread. */
static inline unsigned hk__grid(int64_t n, int64_t block, int64_t each) {
    const int64_t blocks = (n + block * each - 1) / (block * each);
    return (unsigned)(blocks > 0x7fffffff ? 0x7fffffff : blocks);
}

/* The shared memory that a launch asks for: of one name, whatever its type. */
extern __shared__ __align__(16) unsigned char hk__shared[];
#define HK_SHARED(type, name) type *const name = (type *)hk__shared

/* n elements that are read and written at once; as many as 16 bytes hold, if nothing is said. */
template <class T, int n = 16 / (int)sizeof(T)>
struct alignas(n * sizeof(T) < 16 ? n * sizeof(T) : 16) hk__vector {
    static constexpr int lanes = n;
    T v[n];
};

enum { HK__WARP = 32 };

/* Over a warp, or teams of `size` lanes in it (a power of two), in a fixed order; every lane gets the result. */
template <class T, class Join>
static __device__ inline T hk__warp_join(T x, Join join, int size = HK__WARP) {
    for (int away = size / 2; away > 0; away /= 2)
        x = join(x, __shfl_xor_sync(0xffffffffu, x, away));
    return x;
}

/* Over a block of whole warps, at most 1024 threads; every thread gets the result. room: 32 T in shared memory, which
   may be used again by the next call. */
template <class T, class Join>
static __device__ inline T hk__block_join(T x, Join join, T none, T *room) {
    const int lane = threadIdx.x % HK__WARP, warp = threadIdx.x / HK__WARP;
    x = hk__warp_join(x, join);
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = lane < (int)(blockDim.x / HK__WARP) ? room[lane] : none;
    return hk__warp_join(x, join);
}

struct hk__add {
    template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};
/* NaN wins. */
struct hk__larger {
    template <class T> __device__ T operator()(T a, T b) const { return b > a || b != b ? b : a; }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    __device__ float operator()(float a, float b) const {
        asm("max.NaN.f32 %0, %1, %2;" : "=f"(a) : "f"(a), "f"(b));
        return a;
    }
#endif
};

/* Notes that element `place` is `value` and not within 0 to limit - 1. The host looks while kernels run, so `packed` must
   not get there before the rest. */
static __device__ inline void hk__raise_flag(hk__gpu_flag *flag, int32_t what, int64_t place,
                                             int32_t value, int64_t limit) {
    volatile hk__gpu_flag *const to = flag; /* of several threads, any may win */
    to->what = what;
    to->limit = limit;
    __threadfence_system();
    to->packed = (uint64_t)1 << 63 | (uint64_t)(place & 0x7fffffff) << 32 | (uint32_t)value;
}

#endif
