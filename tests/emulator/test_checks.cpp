/* test_checks.cpp: whether the checked build of the emulator notices what compute-sanitizer does, and nothing else.
   SPDX-License-Identifier: MIT

   Kernels come in pairs: `wrong` says which of the two a template is. SHOW=1 shows what is told of the wrong ones. */
#include "emulator_fixture.h"

enum { THREADS = 64 };
static int *ints;      /* THREADS * 4, all written */
static int *fresh;     /* as many, none written */
static float *odd;     /* 6 */
static int *flag_here; /* pinned */

extern "C" void emulated_memory(const void *p, size_t bytes, int live);

static __device__ int next() { return (int)(threadIdx.x + 1) % (int)blockDim.x; }

/* --- races --------------------------------------------------------------------------------------------------------- */

/* A read behind a write, in shared memory of both kinds. */
template <bool wrong> static __global__ void read_static(int *out) {
    __shared__ int room[THREADS];
    room[threadIdx.x] = (int)threadIdx.x;
    if (!wrong) __syncthreads();
    if (threadIdx.x > 0) out[threadIdx.x] = room[threadIdx.x - 1];
}
template <bool wrong> static __global__ void read_dynamic(int *out) {
    int *room = (int *)hk__shared;
    room[threadIdx.x] = (int)threadIdx.x;
    if (!wrong) __syncthreads();
    if (threadIdx.x > 0) out[threadIdx.x] = room[threadIdx.x - 1];
}
/* A write behind reads. */
template <bool wrong> static __global__ void write_after(int *x) {
    __shared__ int room[THREADS];
    room[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    const int mine = room[next()];
    if (!wrong) __syncthreads();
    room[threadIdx.x] = mine;
}
/* Many read, one of them writes. */
template <bool wrong> static __global__ void write_one(int *x) {
    x[threadIdx.x + 1] = x[0];
    if (!wrong) __syncthreads();
    if (threadIdx.x == THREADS - 1) x[0] = 1;
}
/* Two blocks: nothing orders them, and each byte counts. */
template <bool wrong> static __global__ void blocks_write(int *x) {
    unsigned char *bytes = (unsigned char *)x;
    __syncthreads();
    bytes[wrong ? threadIdx.x : threadIdx.x + blockIdx.x * blockDim.x] = 1;
}
template <bool wrong> static __global__ void blocks_read(int *x) {
    if (blockIdx.x == 1 && threadIdx.x == 0) x[0] = 1;
    __syncthreads();
    if (blockIdx.x == 0 && threadIdx.x == 5) x[1] = x[wrong ? 0 : 1];
}
/* A shuffle orders nothing, a warp's barrier what its lanes do, and no other warp's. */
template <bool wrong> static __global__ void warp_orders(int *x) {
    int *room = (int *)hk__shared;
    room[threadIdx.x] = 1;
    if (wrong)
        (void)__shfl_sync(0xffffffffu, 1, 0);
    else
        __syncwarp();
    x[threadIdx.x] = room[threadIdx.x ^ 3];
}
template <bool wrong> static __global__ void warps_apart(int *x) {
    int *room = (int *)hk__shared;
    room[threadIdx.x] = 1;
    __syncwarp();
    x[threadIdx.x] = room[threadIdx.x ^ (wrong ? 32 : 3)];
}
template <bool wrong> static __global__ void half_warps(int *x) {
    int *room = (int *)hk__shared;
    room[threadIdx.x] = 1;
    __syncwarp(threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u);
    x[threadIdx.x] = room[threadIdx.x ^ (wrong ? 16 : 3)];
}
/* Several write, and mean it. */
template <bool wrong> static __global__ void flags(int *pinned) {
    if (wrong)
        *pinned = 1;
    else
        *(volatile int *)pinned = 1;
}

/* --- clusters ------------------------------------------------------------------------------------------------------- */

template <bool wrong> static __global__ void cluster_read(int *out) {
    int *mine = (int *)hk__shared;
    const int value = 3;
    emulated_cluster_barrier();
    if (threadIdx.x == 0) emulated_cluster_put(mine, 1 - emulated_cluster_rank(), &value, 4);
    if (!wrong) emulated_cluster_barrier();
    if (wrong) __syncthreads();
    if (threadIdx.x == 1 && emulated_cluster_rank() == 1) out[blockIdx.x] = *mine;
    emulated_cluster_barrier();
}
/* The other block may not have begun when the write comes. */
template <bool wrong> static __global__ void cluster_begins(int *out) {
    const int value = 3;
    if (!wrong) emulated_cluster_barrier();
    if (threadIdx.x == 0)
        emulated_cluster_put((int *)hk__shared, 1 - emulated_cluster_rank(), &value, 4);
    emulated_cluster_barrier();
    if (threadIdx.x == 0) out[blockIdx.x] = *(int *)hk__shared;
}
/* The other block may be gone when the write comes. */
template <bool wrong> static __global__ void cluster_ends(int *out) {
    emulated_cluster_barrier();
    if (threadIdx.x == 0)
        emulated_cluster_put((int *)hk__shared, 1 - emulated_cluster_rank(), out ? &warpSize : NULL,
                             4);
    if (!wrong) emulated_cluster_barrier();
}

/* --- what memory holds, where it ends ------------------------------------------------------------------------------- */

template <bool wrong> static __global__ void unwritten(int *out, int *f) {
    if (!wrong) f[threadIdx.x] = 1;
    out[threadIdx.x] = f[threadIdx.x];
}
/* What the block before wrote is no value for this one. */
template <bool wrong> static __global__ void unwritten_shared(int *out) {
    __shared__ int room[THREADS];
    if (!wrong || blockIdx.x == 0) room[threadIdx.x] = 1;
    out[threadIdx.x + blockIdx.x * THREADS] = room[threadIdx.x];
}
template <bool wrong> static __global__ void beyond(float *x) { x[wrong ? 6 : 5] = 1.0f; }
template <bool wrong> static __global__ void before(int *out) {
    int *room = (int *)hk__shared;
    out[threadIdx.x] = 0;
    room[(int)threadIdx.x - wrong] = 0;
}
template <bool wrong> static __global__ void misaligned(int *x) {
    int4 *four = (int4 *)(x + (wrong ? 2 : 4));
    *four = make_int4(0, 0, 0, 0);
}
template <bool wrong> static __global__ void beyond_static(int *x) {
    __shared__ int room[8];
    if (threadIdx.x < (wrong ? 9 : 8)) room[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x < 8) x[threadIdx.x] = room[threadIdx.x];
}
int of_the_host[4];
template <bool wrong> static __global__ void to_host(int *x) {
    if (threadIdx.x == 0) (wrong ? of_the_host : x)[1] = 1;
}
/* 40 KiB of its own, and what the launch asks for. */
static __global__ void much(int *out) {
    __shared__ int room[10 << 10];
    for (int i = (int)threadIdx.x; i < 10 << 10; i += THREADS) room[i] = i;
    out[threadIdx.x] = room[threadIdx.x];
}

/* --- tests ---------------------------------------------------------------------------------------------------------- */

#define NOTICES(kernel, blocks, shared, ...)                                                       \
    do {                                                                                           \
        CHECK(signal_of([] { run(kernel<true>, blocks, THREADS, shared, __VA_ARGS__); }) ==        \
              SIGABRT);                                                                            \
        CHECK(signal_of([] { run(kernel<false>, blocks, THREADS, shared, __VA_ARGS__); }) == 0);   \
    } while (0)
#define NOTICES_IN_CLUSTERS(kernel)                                                                \
    do {                                                                                           \
        CHECK(signal_of([] { run_cluster(kernel<true>, 2, 4, THREADS, 4, ints); }) == SIGABRT);    \
        CHECK(signal_of([] { run_cluster(kernel<false>, 2, 4, THREADS, 4, ints); }) == 0);         \
    } while (0)

int main() {
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    ints = on_device<int>(4 * THREADS), fresh = on_device<int>(4 * THREADS),
    odd = on_device<float>(6);
    cudaHostAlloc((void **)&flag_here, sizeof *flag_here, cudaHostAllocMapped);
    cudaMemsetAsync(ints, 0, 4 * THREADS * sizeof *ints, stream);
    NOTICES(read_static, 1, 0, ints);
    NOTICES(read_dynamic, 1, 4 * THREADS, ints);
    NOTICES(write_after, 1, 0, ints);
    NOTICES(write_one, 1, 0, ints);
    NOTICES(blocks_write, 2, 0, ints);
    NOTICES(blocks_read, 2, 0, ints);
    NOTICES(warp_orders, 1, 4 * THREADS, ints);
    NOTICES(warps_apart, 1, 4 * THREADS, ints);
    NOTICES(half_warps, 1, 4 * THREADS, ints);
    NOTICES(flags, 1, 0, flag_here);
    NOTICES_IN_CLUSTERS(cluster_read);
    NOTICES_IN_CLUSTERS(cluster_begins);
    NOTICES_IN_CLUSTERS(cluster_ends);
    NOTICES(unwritten, 1, 0, ints, fresh);
    NOTICES(unwritten_shared, 2, 0, ints);
    CHECK(signal_of([] { run(beyond<true>, 1, 1, 0, odd); }) == SIGABRT);
    CHECK(signal_of([] { run(beyond<false>, 1, 1, 0, odd); }) == 0);
    NOTICES(before, 1, 4 * THREADS, ints);
    CHECK(signal_of([] { run(misaligned<true>, 1, 1, 0, ints); }) == SIGABRT);
    CHECK(signal_of([] { run(misaligned<false>, 1, 1, 0, ints); }) == 0);
    NOTICES(beyond_static, 1, 0, ints);
    NOTICES(to_host, 1, 0, ints);
    CHECK(signal_of([] { run(much, 1, THREADS, 8 << 10, ints); }) == 0);
    CHECK(signal_of([] { run(much, 1, THREADS, (8 << 10) + 4, ints); }) == SIGABRT);
    CHECK(signal_of([] { emulated_memory(ints, 64, 0), run(write_one<false>, 1, 1, 0, ints); }) ==
          SIGABRT);
    return failures != 0;
}
