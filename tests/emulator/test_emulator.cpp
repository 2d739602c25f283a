/* test_emulator.cpp: whether the emulator does what a GPU does, and notices what it is there to notice.
   SPDX-License-Identifier: MIT */
#include "emulator_fixture.h"

/* --- kernels ------------------------------------------------------------------------------------------------------ */

static __global__ void sum_block(float *out, const float *in, int n) {
    __shared__ float room[256];
    float *again = (float *)hk__shared;
    const int t = (int)threadIdx.x, i = (int)(blockIdx.x * blockDim.x) + t;
    again[t] = i < n ? in[i] : 0.0f;
    __syncthreads();
    room[t] = again[blockDim.x - 1 - t];
    for (int half = (int)blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) room[t] += room[t + half];
    }
    if (t == 0) out[blockIdx.x] = room[0];
}

static __global__ void lanes(double *joined, int *votes, int *below) {
    const int lane = (int)threadIdx.x % 32;
    double x = threadIdx.x;
    for (int away = 16; away > 0; away /= 2) x += __shfl_xor_sync(0xffffffffu, x, away);
    joined[threadIdx.x] = x;
    below[threadIdx.x] = __shfl_up_sync(0xffffffffu, lane, 3);
    if (lane < 8) /* a part of the warp alone */
        votes[threadIdx.x] = (int)__ballot_sync(0xffu, lane % 2);
    else
        votes[threadIdx.x] = __any_sync(0xffffff00u, lane == 40);
}

static __global__ void shift(float *x) { /* wants a barrier in between */
    const float next = x[(threadIdx.x + 1) % blockDim.x];
    x[threadIdx.x] = next;
}
static __global__ void where(uint3 *at) {
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    at[block * blockDim.x * blockDim.y + threadIdx.x + blockDim.x * threadIdx.y] = {
        blockIdx.x, blockIdx.y * 100 + blockIdx.z, threadIdx.x * 100 + threadIdx.y};
}
static __global__ void half_waits(int *out) {
    if (threadIdx.x < 32) __shfl_sync(0xffffffffu, 1, 0);
    if (threadIdx.x == 40) __shfl_sync(0xffffffffu, 1, 0); /* alone of its warp */
    __syncthreads();
    *out = 1;
}
static __global__ void leave_early(int *out) {
    if (threadIdx.x >= 10) return;
    __syncthreads();
    out[threadIdx.x] = __popc(__ballot_sync(0xffffffffu, 1));
}
static __global__ void nothing() {}
static __global__ void put(float *to, float value, int place) { to[place] = value; }
static __global__ void add(float *to, const float *from) { to[threadIdx.x] += from[threadIdx.x]; }
static __global__ void tiny(float *out, float x) { *out = x * 0.5f; }
static __global__ void overrun(int n) { hk__shared[n] = 1; }
struct holder {
    int64_t n;
    const float *p;
};
static __global__ void held(float *out, holder h) { *out = h.p[h.n]; }

/* Each block tells the next one of its cluster its number. */
static __global__ void tell(int *out) {
    int *mine = (int *)hk__shared;
    const unsigned n = emulated_cluster_size(), rank = emulated_cluster_rank();
    emulated_cluster_barrier();
    if (threadIdx.x == 0) {
        const int number = (int)blockIdx.x;
        emulated_cluster_put(mine, (rank + 1) % n, &number, sizeof number);
    }
    emulated_cluster_barrier();
    out[blockIdx.x * blockDim.x + threadIdx.x] = *mine;
}

/* --- tests ---------------------------------------------------------------------------------------------------------- */

static void test_blocks() {
    enum { N = 1000, BLOCKS = 4 };
    float in[N], out[BLOCKS], *d_in = on_device<float>(N), *d_out = on_device<float>(BLOCKS);
    for (int i = 0; i < N; i++) in[i] = (float)i;
    cudaMemcpyAsync(d_in, in, sizeof in, cudaMemcpyHostToDevice, stream);
    CHECK(run(sum_block, BLOCKS, 256, 1024, d_out, (const float *)d_in, (int)N) == cudaSuccess);
    get(out, d_out, BLOCKS);
    CHECK(out[0] == 255 * 128 && out[1] == 256 * 256 + 255 * 128 &&
          out[3] == 768 * 232 + 231 * 116);
    uint3 at[2 * 3 * 4 * 10 * 2], *d_at = on_device<uint3>(480);
    CHECK(run(where, dim3(2, 3, 4), dim3(10, 2), 0, d_at) == cudaSuccess);
    get(at, d_at, 480);
    for (unsigned i = 0; i < 480; i++) {
        const unsigned b = i / 20, t = i % 20;
        CHECK(at[i].x == b % 2 && at[i].y == b / 2 % 3 * 100 + b / 6 &&
              at[i].z == t % 10 * 100 + t / 10);
    }
    cudaFree(d_in), cudaFree(d_out), cudaFree(d_at);
}

static void test_warps() {
    double joined[64], *d_joined = on_device<double>(64);
    int votes[64], below[64], *d_votes = on_device<int>(64), *d_below = on_device<int>(64);
    CHECK(run(lanes, 1, 64, 0, d_joined, d_votes, d_below) == cudaSuccess);
    get(joined, d_joined, 64), get(votes, d_votes, 64), get(below, d_below, 64);
    for (int i = 0; i < 64; i++) {
        CHECK(joined[i] == (i < 32 ? 31 * 16 : 31 * 16 + 32 * 32));
        CHECK(votes[i] == (i % 32 < 8 ? 0xaa : 0));
        CHECK(below[i] == (i % 32 < 3 ? i % 32 : i % 32 - 3));
    }
    int left[10];
    CHECK(run(leave_early, 1, 64, 0, d_votes) == cudaSuccess);
    get(left, d_votes, 10);
    CHECK(left[0] == 10 && left[9] == 10);
    CHECK(signal_of([=] { run(half_waits, 1, 64, 0, d_votes), cudaStreamSynchronize(stream); }) ==
          SIGABRT);
    cudaFree(d_joined), cudaFree(d_votes), cudaFree(d_below);
}

static void test_clusters() {
    int got[6 * 40], *p = on_device<int>(6 * 40);
    CHECK(run_cluster(tell, 3, 6, 40, sizeof(int), p) == cudaSuccess);
    get(got, p, 6 * 40);
    for (int i = 0; i < 6 * 40; i++) CHECK(got[i] == i / 40 / 3 * 3 + (i / 40 + 2) % 3);
    const cudaError_t wrong = cudaErrorInvalidValue;
    CHECK(run_cluster(tell, 3, 7, 40, sizeof(int), p) == wrong);
    CHECK(run_cluster(tell, 3, dim3(6, 2), 40, sizeof(int), p) == wrong);
    CHECK(run_cluster(tell, 9, 9, 40, sizeof(int), p) == wrong);
    cudaFree(p);
}

static void test_memory() {
    float *p = on_device<float>(64), value = 0.0f;
    get(&value, p + 63, 1);
    CHECK(value != value); /* never written */
    CHECK(signal_of([=] { p[0] = 1.0f; }) == SIGSEGV);
    CHECK(signal_of([=] { run(put, 1, 1, 0, p, 1.0f, 63), cudaStreamSynchronize(stream); }) == 0);
    const bool faults = getenv("HILLOCK_EMULATED_FAULTS") != NULL;
    CHECK(signal_of([=] { run(put, 1, 1, 0, p, 1.0f, 64), cudaStreamSynchronize(stream); }) ==
          (faults && !HK_EMULATED_CHECKS ? SIGSEGV : SIGABRT));
    CHECK(signal_of([=] {
              run(held, 1, 1, 0, p, holder{64, p});
              float got;
              get(&got, p, 1);
              if (got == got) abort(); /* a number */
          }) == (HK_EMULATED_CHECKS ? SIGABRT
                 : faults           ? SIGSEGV
                                    : 0));
    CHECK(signal_of([=] { run(overrun, 1, 1, 100, 100), cudaStreamSynchronize(stream); }) ==
          SIGABRT);
    CHECK(signal_of([=] { run(overrun, 1, 1, 100, 99), cudaStreamSynchronize(stream); }) == 0);
    CHECK(cudaMemcpyAsync(p, &value, 4, cudaMemcpyDeviceToHost, stream) == cudaErrorInvalidValue);
    CHECK(cudaMemsetAsync(p + 60, 0, 32, stream) == cudaErrorInvalidValue);
    size_t left, all, less;
    cudaMemGetInfo(&left, &all);
    void *most, *more;
    CHECK(cudaMalloc(&most, all + 1) == cudaErrorMemoryAllocation && !most);
    CHECK(cudaMalloc(&more, 1000) == cudaSuccess);
    cudaMemGetInfo(&less, &all);
    CHECK(left - less == 1024);
    cudaFree(more), cudaFree(p);
}

static void test_arguments() {
    float *p = on_device<float>(4), on_host = 0.0f, value;
    (void)!freopen("/dev/null", "w", stderr);
    CHECK(run(held, 1, 1, 0, p, holder{0, &on_host}) == cudaErrorIllegalAddress);
    CHECK(cudaGetLastError() == cudaErrorIllegalAddress && cudaGetLastError() == cudaSuccess);
    CHECK(run(put, 1, 1025, 0, p, 1.0f, 0) == cudaErrorInvalidConfiguration);
    CHECK(run(put, 0, 1, 0, p, 1.0f, 0) == cudaErrorInvalidConfiguration);
    CHECK(run(put, 1, 1, 50000, p, 1.0f, 0) == cudaErrorInvalidValue);
    CHECK(cudaFuncSetAttribute(put, cudaFuncAttributeMaxDynamicSharedMemorySize, 50000) ==
          cudaSuccess);
    CHECK(run(put, 1, 1, 50000, p, 1.0f, 0) == cudaSuccess);
    CHECK(run(tiny, 1, 1, 0, p, 1.2e-38f) == cudaSuccess);
    get(&value, p, 1);
    CHECK(value == 0.0f); /* half of it is a denormal */
    cudaFree(p);
}

static void library(const void *argument) { *(float *)*(void *const *)argument += 100.0f; }

static void test_capture() {
    float *p = on_device<float>(2), *q = on_device<float>(2), value[2];
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
    cudaMemsetAsync(p, 0, 8, stream);
    run(put, 1, 1, 0, q, 1.0f, 0), run(put, 1, 1, 0, q, 2.0f, 1);
    for (int i = 0; i < 3; i++) run(add, 1, 2, 0, p, (const float *)q);
    void *to = p;
    CHECK(emulated_submit(stream, library, &to, sizeof to) == cudaSuccess);
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    get(value, p, 2);
    CHECK(value[0] != value[0]); /* nothing ran yet */
    CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
    CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
    get(value, p, 2);
    CHECK(value[0] == 103.0f && value[1] == 6.0f);

    cudaGraphNode_t nodes[7];
    cudaKernelNodeParams params = {};
    size_t n = 7;
    int foreign = 0, set = 0;
    CHECK(cudaGraphGetNodes(graph, nodes, &n) == cudaSuccess && n == 7);
    for (size_t i = 0; i < n; i++) {
        cudaGraphNodeType type;
        cudaGraphNodeGetType(nodes[i], &type);
        if (type != cudaGraphNodeTypeKernel) continue;
        if (cudaGraphKernelNodeGetParams(nodes[i], &params) != cudaSuccess) {
            foreign++;
        } else if (params.func == (void *)put && set++ == 0) {
            float ten = 10.0f;
            int place = 1;
            void *arguments[] = {&q, &ten, &place};
            params.kernelParams = arguments;
            CHECK(cudaGraphExecKernelNodeSetParams(exec, nodes[i], &params) == cudaSuccess);
        }
    }
    CHECK(foreign == 1 && set == 2);
    cudaGraphLaunch(exec, stream);
    get(value, p, 2);
    CHECK(value[0] == 103.0f && value[1] == 30.0f);
    cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaFree(p), cudaFree(q);
}

/* What may not be done while a stream is captured; `relaxed` allows allocations. The capture is lost then. */
template <class Act> static bool is_refused(cudaStreamCaptureMode mode, Act act) {
    cudaGraph_t graph;
    cudaStreamBeginCapture(stream, mode);
    const bool refused = act() == cudaErrorStreamCaptureUnsupported;
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    CHECK(ended == (refused ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
    CHECK(!graph == refused);
    cudaGraphDestroy(graph);
    cudaGetLastError();
    return refused;
}

static void test_refused_in_capture() {
    const cudaStreamCaptureMode relaxed = cudaStreamCaptureModeRelaxed,
                                strict = cudaStreamCaptureModeThreadLocal;
    float *p = on_device<float>(4), *pinned, own[4] = {0};
    void *q = NULL;
    cudaHostAlloc((void **)&pinned, sizeof own, cudaHostAllocDefault);
    CHECK(is_refused(relaxed, [] { return cudaStreamSynchronize(stream); }));
    CHECK(is_refused(relaxed, [] { return cudaDeviceSynchronize(); }));
    CHECK(is_refused(strict, [&q] { return cudaMalloc(&q, 4); }));
    CHECK(!is_refused(relaxed, [&q] { return cudaMalloc(&q, 4); }) && q);
    CHECK(is_refused(strict, [q] { return cudaFree(q); }));
    CHECK(!is_refused(relaxed, [q] { return cudaFree(q); }));
    const cudaMemcpyKind in = cudaMemcpyHostToDevice, out = cudaMemcpyDeviceToHost;
    CHECK(is_refused(relaxed, [=] { return cudaMemcpyAsync(p, own, 16, in, stream); }));
    CHECK(is_refused(relaxed, [=] { return cudaMemcpyAsync((void *)own, p, 16, out, stream); }));
    CHECK(!is_refused(relaxed, [=] { return cudaMemcpyAsync(p, pinned, 16, in, stream); }));
    CHECK(!is_refused(relaxed, [=] { return cudaMemcpyAsync(pinned, p, 16, out, stream); }));
    cudaFreeHost(pinned), cudaFree(p);
}

/* What a GPU of a capability does not launch. */
static void test_limits() {
    const auto runs = [](dim3 grid, dim3 block) {
        return cudaLaunchKernel(nothing, grid, block, NULL, 0, stream);
    };
    const auto asks = [](int shared) {
        return cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
    };
    const cudaError_t wrong = cudaErrorInvalidConfiguration;
    CHECK(runs(dim3(1, 65535, 1), 1) == cudaSuccess && runs(dim3(1, 65536, 1), 1) == wrong);
    CHECK(runs(dim3(1, 1, 65536), 1) == wrong && runs(dim3(0x80000000u, 1, 1), 1) == wrong);
    CHECK(runs(1, dim3(1, 1, 65)) == wrong && runs(1, dim3(33, 32, 1)) == wrong);
    CHECK(asks(227 << 10) == cudaSuccess && asks((227 << 10) + 1) == cudaErrorInvalidValue);
    setenv("HILLOCK_EMULATED_CAPABILITY", "86", 1);
    CHECK(asks(99 << 10) == cudaSuccess && asks((99 << 10) + 1) == cudaErrorInvalidValue);
    cudaDeviceProp about;
    CHECK(cudaGetDeviceProperties(&about, 0) == cudaSuccess && about.major == 8);
    CHECK(about.sharedMemPerBlockOptin == 99 << 10 && about.maxThreadsPerMultiProcessor == 1536);
    CHECK(run_cluster(nothing, 2, 2, 1, 0) == cudaErrorInvalidValue); /* none before sm_90 */
    unsetenv("HILLOCK_EMULATED_CAPABILITY");
    cudaGetLastError();
}

/* A missing barrier gives another result in another order. */
static void test_race(const char *order) {
    float x[4] = {0, 1, 2, 3}, *p = on_device<float>(4);
    cudaMemcpyAsync(p, x, sizeof x, cudaMemcpyHostToDevice, stream);
    run(shift, 1, 4, 0, p);
    get(x, p, 4);
    const bool first = !order || strcmp(order, "forward") == 0;
    CHECK((x[3] == 1.0f) == first); /* thread 0 came first */
    cudaFree(p);
}

/* What is put off takes the bytes of pinned memory as they are then, as a GPU does. */
static void test_late(bool late) {
    float *pinned, *p = on_device<float>(1), value;
    cudaHostAlloc((void **)&pinned, sizeof *pinned, cudaHostAllocDefault);
    *pinned = 1.0f;
    cudaMemcpyAsync(p, pinned, sizeof *pinned, cudaMemcpyHostToDevice, stream);
    *pinned = 2.0f;
    get(&value, p, 1);
    CHECK(value == (late ? 2.0f : 1.0f));
    cudaFreeHost(pinned), cudaFree(p);
}

int main() {
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    test_blocks();
    test_warps();
    test_clusters();
    test_memory();
    test_capture();
    test_refused_in_capture();
    test_limits();
    if (!HK_EMULATED_CHECKS)
        test_race(getenv("HILLOCK_EMULATED_ORDER")); /* there it ends the program */
    test_late(getenv("HILLOCK_EMULATED_LATE") != NULL);
    test_arguments();
    cudaStreamDestroy(stream);
    return failures != 0;
}
