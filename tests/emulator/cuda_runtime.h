/* cuda_runtime.h: a stand-in for NVIDIA's, with which GPU code is compiled for the CPU, to test it without a GPU.
   SPDX-License-Identifier: MIT

   With HILLOCK_CUDA_EMULATED=ON a C++ compiler takes the .cu files as they are. The threads of a block are fibers, so
   barriers and shuffles work; blocks run one after the other; memory of the device cannot be touched by the host. It
   knows what hillock uses of CUDA and nothing else. emulator.cpp does the work; docs/gpu.md tells how to use it. */
#ifndef HK_EMULATED_CUDA_RUNTIME_H
#define HK_EMULATED_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __shared__                                                                                 \
    thread_local /* a block's own: it has its host thread to itself. Goes with `extern`, too */
#define hk__shared                                                                                 \
    (*emulated_shared) /* so that `extern ... hk__shared[]` declares a pointer to it */

/* --- types ------------------------------------------------------------------------------------------------------- */

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define HK_VECTORS(type, name, align1, align2, align4)                                             \
    struct alignas(align2) name##2 {                                                               \
        type x, y;                                                                                 \
    };                                                                                             \
    struct name##3 {                                                                               \
        type x, y, z;                                                                              \
    };                                                                                             \
    struct alignas(align4) name##4 {                                                               \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                        \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
HK_VECTORS(float, float, 4, 8, 16)
HK_VECTORS(double, double, 8, 16, 16)
HK_VECTORS(int, int, 4, 8, 16)
HK_VECTORS(unsigned char, uchar, 1, 2, 4)
HK_VECTORS(long long, longlong, 8, 16, 16)
#undef HK_VECTORS
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

/* --- inside of a kernel ------------------------------------------------------------------------------------------- */

#ifndef EMULATED_CONST /* empty for the emulator itself */
#define EMULATED_CONST const
#endif
extern EMULATED_CONST __thread uint3 threadIdx, blockIdx;
extern EMULATED_CONST __thread dim3 blockDim, gridDim;
static const int warpSize = 32;

void __syncthreads();
static inline void __threadfence_system() {}
/* What every lane of a warp's barrier brings, and takes away: the value of lane `from`, and the lanes whose value is not 0. */
uint64_t emulated_exchange(unsigned mask, uint64_t value, int from, unsigned *votes);
int emulated_lane();

void __syncwarp(unsigned mask = 0xffffffffu);
static inline unsigned __ballot_sync(unsigned mask, int yes) {
    unsigned votes;
    emulated_exchange(mask, yes != 0, emulated_lane(), &votes);
    return votes;
}
static inline int __any_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) != 0; }
static inline int __all_sync(unsigned mask, int yes) { return __ballot_sync(mask, !yes) == 0; }

template <class T> static inline T emulated_shuffle(unsigned mask, T value, int from) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles are of 4 or 8 bytes");
    uint64_t bits = 0;
    unsigned votes;
    memcpy(&bits, &value, sizeof value);
    bits = emulated_exchange(mask, bits, from, &votes);
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T> static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    return emulated_shuffle(mask, value, (emulated_lane() & -width) + (from & (width - 1)));
}
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    const int lane = emulated_lane(), from = lane ^ with;
    return emulated_shuffle(mask, value, (from & -width) <= (lane & -width) ? from : lane);
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const int lane = emulated_lane(), from = lane - (int)by;
    return emulated_shuffle(mask, value, from >= (lane & -width) ? from : lane);
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const int lane = emulated_lane(), from = lane + (int)by;
    return emulated_shuffle(mask, value, from < (lane & -width) + width ? from : lane);
}

template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T value) { *p = value; }
template <class T> static inline void __stcg(T *p, T value) { *p = value; }

static inline float __int_as_float(int i) {
    float f;
    memcpy(&f, &i, sizeof f);
    return f;
}
static inline int __float_as_int(float f) {
    int i;
    memcpy(&i, &f, sizeof i);
    return i;
}
static inline float __uint_as_float(unsigned u) { return __int_as_float((int)u); }
static inline unsigned __float_as_uint(float f) { return (unsigned)__float_as_int(f); }
static inline double __longlong_as_double(long long i) {
    double d;
    memcpy(&d, &i, sizeof d);
    return d;
}
static inline long long __double_as_longlong(double d) {
    long long i;
    memcpy(&i, &d, sizeof i);
    return i;
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }

/* Rounding is to the nearest everywhere, so these are what is written; a product and a sum are never joined (-ffp-contract). */
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float rsqrtf(float a) { return 1.0f / sqrtf(a); }
static inline double rsqrt(double a) { return 1.0 / sqrt(a); }
static inline int __float2int_rn(float a) { return (int)lrintf(a); }
static inline int __float2int_rz(float a) { return (int)a; }

template <class A, class B> static inline auto min(A a, B b) -> decltype(a + b) {
    return b < a ? b : a;
}
template <class A, class B> static inline auto max(A a, B b) -> decltype(a + b) {
    return a < b ? b : a;
}
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

/* --- the runtime ---------------------------------------------------------------------------------------------------- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorStubLibrary = 34,
    cudaErrorInsufficientDriver = 35,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorUnsupportedPtxVersion = 222,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
};
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

typedef struct emulated_stream *cudaStream_t;
typedef struct emulated_event *cudaEvent_t;
typedef struct emulated_graph *cudaGraph_t;
typedef struct emulated_exec *cudaGraphExec_t;
typedef struct emulated_node *cudaGraphNode_t;

struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount, maxThreadsPerMultiProcessor, l2CacheSize;
    size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
};
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);

enum { cudaHostAllocDefault = 0, cudaHostAllocMapped = 2 };
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemGetInfo(size_t *left, size_t *all);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t);
template <class T> static inline cudaError_t cudaMalloc(T **p, size_t bytes) {
    return cudaMalloc((void **)p, bytes);
}

enum { cudaStreamNonBlocking = 1 };
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaEventDestroy(cudaEvent_t event);

/* Blocks that run at once, side by side along x. Their shared memory must be what the launch asked for, and nothing else. */
unsigned emulated_cluster_rank();
unsigned emulated_cluster_size();
void emulated_cluster_barrier();
/* Writes to where block `rank` has what lies at `own` here. */
void emulated_cluster_put(void *own, unsigned rank, const void *value, size_t size);

/* A launch: `call` runs `function` with arguments that lie apart, as NVIDIA's does. flush: denormals of floats are 0. */
typedef void emulated_call(const void *function, void **arguments);
struct emulated_kernel {
    const void *function;
    emulated_call *call;
    const size_t *sizes; /* of the arguments */
    int arguments;
    bool flush;
    unsigned cluster; /* blocks; 0 as 1 */
};
cudaError_t emulated_launch(const emulated_kernel *kernel, dim3 grid, dim3 block, void **arguments,
                            size_t shared, cudaStream_t stream);

template <class... P, size_t... I>
static void emulated_unpack(void (*kernel)(P...), void **arguments, std::index_sequence<I...>) {
    (void)arguments;
    kernel(*(P *)arguments[I]...);
}
template <class... P> static void emulated_call_of(const void *function, void **arguments) {
    emulated_unpack((void (*)(P...))function, arguments, std::index_sequence_for<P...>());
}
template <class... P>
static cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void **arguments,
                                    size_t shared = 0, cudaStream_t stream = nullptr,
                                    unsigned cluster = 0) {
    static_assert((sizeof(P) + ... + 0) <= 32764, "more arguments than a launch can bring");
    static const size_t sizes[] = {sizeof(P)..., 0};
#ifdef HK_STAMP_f64
    const bool flush = false;
#else
    const bool flush = true;
#endif
    const emulated_kernel k = {
        (const void *)kernel, emulated_call_of<P...>, sizes, sizeof...(P), flush, cluster};
    return emulated_launch(&k, grid, block, arguments, shared, stream);
}

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        uint3 clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};
template <class... P, class... A>
static cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                                      A... argument) {
    const auto launch = [=](P... own) {
        void *arguments[] = {(void *)&own..., nullptr};
        return cudaLaunchKernel(kernel, config->gridDim, config->blockDim, arguments,
                                config->dynamicSmemBytes, config->stream,
                                config->numAttrs ? config->attrs->val.clusterDim.x : 1);
    };
    return launch(argument...);
}
cudaError_t cudaOccupancyMaxActiveClusters(int *n, const void *function,
                                           const cudaLaunchConfig_t *config);

struct cudaFuncAttributes {
    size_t sharedSizeBytes, localSizeBytes;
    int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion;
};
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *function);
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value);
template <class... P>
static inline cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute,
                                               int value) {
    return cudaFuncSetAttribute((const void *)kernel, attribute, value);
}

/* Work of a library, such as a stand-in for cuBLAS, in its place in the stream: run(argument), of which `size` bytes are
   kept. It may touch memory of the device. */
extern "C" __attribute__((visibility("default"))) cudaError_t
emulated_submit(cudaStream_t stream, void (*run)(const void *argument), const void *argument,
                size_t size);

/* --- captured steps ------------------------------------------------------------------------------------------------- */

enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
enum cudaGraphNodeType {
    cudaGraphNodeTypeKernel = 0,
    cudaGraphNodeTypeMemcpy = 1,
    cudaGraphNodeTypeMemset = 2
};
struct cudaKernelNodeParams {
    void *func;
    dim3 gridDim, blockDim;
    unsigned sharedMemBytes;
    void **kernelParams, **extra;
};
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
struct cudaGraphEdgeData;
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus *status,
                                     unsigned long long *id, cudaGraph_t *graph,
                                     const cudaGraphNode_t **last, const cudaGraphEdgeData **edges,
                                     size_t *n);
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n);
cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type);
cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams *params);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *params);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);

#endif
