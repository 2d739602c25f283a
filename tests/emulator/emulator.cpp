/* emulator.cpp: runs GPU code on the CPU, to find what is wrong in it where there is no GPU.
   SPDX-License-Identifier: MIT

   It is strict where a GPU is not: memory of the device is out of the host's reach but while a kernel runs, fresh memory
   holds NaN, what lies behind an allocation faults, addresses of the host among a kernel's arguments are an error.
     HILLOCK_EMULATED_ORDER=reverse or shuffled   of blocks and threads, so that what needs a barrier and has none shows
     HILLOCK_EMULATED_LATE=1                      work is put off until the host waits for it, as on a busy GPU
     HILLOCK_EMULATED_MEMORY=BYTES                of the device; 4 GiB if not given */
#include "cuda_runtime.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#ifndef __x86_64__
#error "the emulator switches between fibers in x86-64 assembly"
#endif
#include <immintrin.h>

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

namespace {

enum {
    WARP = 32,
    MOST_THREADS = 1024,
    STACK = 64 << 10,
    PAGE = 4096,
    MOST_SHARED = 163 << 10,
    MOST_CLUSTER = 8,
    FENCE = 1024
};

std::recursive_mutex mutex; /* one thing at a time, whatever thread of the host asks */
typedef std::lock_guard<std::recursive_mutex> lock;

bool set_to(const char *variable, const char *value) {
    const char *text = getenv(variable);
    return text && strcmp(text, value) == 0;
}

[[noreturn]] void fail(const char *why) {
    fprintf(stderr, "emulator: block (%u, %u, %u), thread (%u, %u, %u): %s\n", blockIdx.x,
            blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, why);
    abort();
}

/* --- memory ----------------------------------------------------------------------------------------------------- */

std::map<char *, size_t> device, pinned; /* where each allocation begins, and its bytes */
size_t used;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
char *first_page(char *p) { return (char *)((uintptr_t)p & -(uintptr_t)PAGE); }

size_t capacity() {
    const char *text = getenv("HILLOCK_EMULATED_MEMORY");
    return text ? strtoull(text, NULL, 10) : (size_t)4 << 30;
}

/* While a kernel runs, its first touch of an allocation opens that one: to open them all each time would take longer than
   most kernels do. */
std::vector<char *> touched;
struct sigaction segv_before;

void protect(char *at, int access) {
    mprotect(first_page(at), (size_t)(at + device[at] - first_page(at)), access);
}

void on_touch(int, siginfo_t *info, void *) {
    char *const at = (char *)info->si_addr;
    auto a = device.upper_bound(at);
    if (a == device.end() || first_page(a->first) > at) /* not in the page that it begins in */
        a = a != device.begin() && at < std::prev(a)->first + std::prev(a)->second ? std::prev(a)
                                                                                   : device.end();
    if (a == device.end() || std::find(touched.begin(), touched.end(), a->first) != touched.end()) {
        sigaction(SIGSEGV, &segv_before, NULL); /* happens again, and ends the program */
        return;
    }
    touched.push_back(a->first);
    protect(a->first, PROT_READ | PROT_WRITE);
}

void open_device() {
    struct sigaction action = {};
    action.sa_sigaction = on_touch;
    action.sa_flags = SA_SIGINFO;
    touched.reserve(1024);
    sigaction(SIGSEGV, &action, &segv_before);
}

void close_device() {
    sigaction(SIGSEGV, &segv_before, NULL);
    for (char *at : touched) protect(at, PROT_NONE);
    touched.clear();
}

bool lies_in(const std::map<char *, size_t> &where, const void *p, size_t bytes) {
    auto a = where.upper_bound((char *)p);
    return a != where.begin() && (--a, (char *)p + bytes <= a->first + a->second);
}

bool is_host(uint64_t word) {
    unsigned char in_core;
    void *const p = (void *)(word & -(uint64_t)PAGE);
    if (word < 1 << 16 || word >> 47 || lies_in(device, (void *)word, 0) ||
        lies_in(pinned, (void *)word, 0))
        return false;
    return mincore(p, PAGE, &in_core) == 0;
}

} /* namespace */

cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
    lock l(mutex);
    *all = capacity();
    *left = *all > used ? *all - used : 0;
    return cudaSuccess;
}

/* An allocation ends where a page does that nothing may touch. */
cudaError_t cudaMalloc(void **p, size_t bytes) {
    lock l(mutex);
    const size_t size = round_up(bytes, 256), pages = round_up(size, PAGE);
    *p = NULL;
    if (bytes == 0) return cudaSuccess;
    if (used + size > capacity()) return cudaErrorMemoryAllocation;
    char *base = (char *)mmap(NULL, pages + PAGE, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return cudaErrorMemoryAllocation;
    mprotect(base, pages, PROT_READ | PROT_WRITE);
    memset(base, 0xff, pages);
    mprotect(base, pages, PROT_NONE);
    used += size;
    device[base + pages - size] = size;
    *p = base + pages - size;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p) {
    lock l(mutex);
    if (!p) return cudaSuccess;
    const auto a = device.find((char *)p);
    if (a == device.end()) return cudaErrorInvalidValue;
    cudaDeviceSynchronize();
    used -= a->second;
    munmap(first_page(a->first), round_up(a->second, PAGE) + PAGE);
    device.erase(a);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
    lock l(mutex);
    *p = aligned_alloc(PAGE, round_up(bytes, PAGE));
    if (!*p) return cudaErrorMemoryAllocation;
    memset(*p, 0xff, bytes);
    pinned[(char *)*p] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p) {
    lock l(mutex);
    cudaDeviceSynchronize();
    pinned.erase((char *)p);
    free(p);
    return cudaSuccess;
}

/* --- a block: fibers ---------------------------------------------------------------------------------------------- */

alignas(16) thread_local unsigned char hk__shared[MOST_SHARED + FENCE];

/* Keeps the registers that a call must keep on this stack, and takes up what runs on the other. */
extern "C" void emulated_switch(void **from, void *to);
asm(R"(
    .text
    .type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulated_switch, . - emulated_switch
)");

namespace {

enum state { READY, AT_BARRIER, AT_EXCHANGE, AT_CLUSTER, DONE };

struct fiber {
    void *stack;
    uint3 index;
    state at;
    uint64_t value, taken; /* of an exchange */
    unsigned mask, votes;
    int from;
} all_fibers[MOST_CLUSTER * MOST_THREADS], *fibers = all_fibers; /* of the block that runs */

struct launch {
    const void *function;
    emulated_call *call;
    dim3 grid, block;
    size_t shared;
    bool flush;
    unsigned cluster;
    struct alignas(64) chunk {
        char bytes[64];
    };
    std::vector<size_t> sizes;
    std::vector<chunk> values;
    std::vector<size_t> places; /* of arguments in `values` */
};

char *stacks;
void *scheduler;
fiber *self;
int threads, live, at_barrier;
const launch *running;
std::vector<void *> arguments;

void wait(state at) {
    self->at = at;
    emulated_switch(&self->stack, scheduler);
}

void pass_barrier() {
    if (at_barrier < live || live == 0) return;
    at_barrier = 0;
    for (int i = 0; i < threads; i++)
        if (fibers[i].at == AT_BARRIER) fibers[i].at = READY;
}

/* Lets the lanes of `mask` go on if all that still live are here. */
void pass_exchange(fiber *warp, unsigned mask) {
    unsigned votes = 0;
    const int lanes = (int)(fibers + threads - warp) < WARP ? (int)(fibers + threads - warp) : WARP;
    for (int i = 0; i < lanes; i++) {
        if (!(mask >> i & 1) || warp[i].at == DONE) continue;
        if (warp[i].at != AT_EXCHANGE) return;
        if (warp[i].mask != mask) fail("lanes of a warp meet with different masks");
        votes |= (unsigned)(warp[i].value != 0) << i;
    }
    for (int i = 0; i < lanes; i++) {
        if (!(mask >> i & 1) || warp[i].at != AT_EXCHANGE) continue;
        const int from = warp[i].from;
        const bool there = from < lanes && mask >> from & 1 && warp[from].at != DONE;
        warp[i].taken = there ? warp[from].value : ~(uint64_t)0; /* NaN */
        warp[i].votes = votes;
    }
    for (int i = 0; i < lanes; i++)
        if (mask >> i & 1 && warp[i].at == AT_EXCHANGE) warp[i].at = READY;
}

fiber *warp_of(fiber *f) { return fibers + (f - fibers) / WARP * WARP; }

void fiber_main() {
    running->call(running->function, arguments.data());
    self->at = DONE;
    live--;
    pass_barrier();
    fiber *warp = warp_of(self);
    for (fiber *f = warp; f < warp + WARP && f < fibers + threads; f++)
        if (f->at == AT_EXCHANGE) pass_exchange(warp, f->mask);
    wait(DONE);
}

/* The i-th of n, in an order of choice: by a prime beyond any n, each comes once. */
uint64_t place_of(uint64_t i, uint64_t n) {
    static const bool reverse = set_to("HILLOCK_EMULATED_ORDER", "reverse");
    static const bool shuffled = set_to("HILLOCK_EMULATED_ORDER", "shuffled");
    return reverse ? n - 1 - i : shuffled ? (i * 4294967311u + n / 3) % n : i;
}

void start_fibers(dim3 block) {
    for (int i = 0; i < threads; i++) {
        void **top = (void **)(stacks + (size_t)(fibers - all_fibers + i + 1) * STACK);
        *--top = NULL; /* the stack is as it would be behind a call */
        *--top = (void *)fiber_main;
        top -= 6;
        fibers[i].stack = top;
        fibers[i].at = READY;
        fibers[i].index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    }
    live = threads;
    at_barrier = 0;
}

/* Each fiber that can, for a while. Whether there was one. */
bool run_fibers() {
    bool moved = false;
    for (int i = 0; i < threads; i++) {
        self = &fibers[place_of((uint64_t)i, (uint64_t)threads)];
        if (self->at != READY) continue;
        moved = true;
        threadIdx = self->index;
        emulated_switch(&scheduler, self->stack);
    }
    return moved;
}

void check_fence(const launch *k) {
    for (int i = 0; i < FENCE; i++)
        if (hk__shared[k->shared + i] != 0xff)
            fail("wrote behind the shared memory that the launch asked for");
}

void run_block(const launch *k) {
    memset(hk__shared, 0xff, k->shared + FENCE);
    start_fibers(k->block);
    while (live > 0)
        if (!run_fibers()) fail("all threads wait, and not all at the same barrier");
    check_fence(k);
}

/* Of a cluster's blocks one runs until all of its threads wait; what is its own is set aside then. */
struct member {
    uint3 index;
    int live, at_barrier;
    std::vector<unsigned char> shared;
};
std::vector<member> members;
unsigned member_now;

void take_up(unsigned i) {
    const member &m = members[member_now = i];
    fibers = all_fibers + i * MOST_THREADS;
    blockIdx = m.index;
    live = m.live;
    at_barrier = m.at_barrier;
    memcpy(hk__shared, m.shared.data(), m.shared.size());
}

void set_aside() {
    member &m = members[member_now];
    m.live = live;
    m.at_barrier = at_barrier;
    memcpy(m.shared.data(), hk__shared, m.shared.size());
}

/* All that live wait for the whole cluster: they go on. */
bool pass_cluster(unsigned blocks) {
    bool waits = false;
    for (unsigned b = 0; b < blocks; b++)
        for (int i = 0; i < threads; i++) {
            const state at = all_fibers[b * MOST_THREADS + i].at;
            if (at != AT_CLUSTER && at != DONE) return false;
            waits |= at == AT_CLUSTER;
        }
    for (unsigned b = 0; b < blocks; b++)
        for (int i = 0; i < threads; i++)
            if (all_fibers[b * MOST_THREADS + i].at == AT_CLUSTER)
                all_fibers[b * MOST_THREADS + i].at = READY;
    return waits;
}

void run_cluster(const launch *k, uint64_t first) {
    members.assign(k->cluster, {{0, 0, 0}, threads, 0, {}});
    for (unsigned i = 0; i < k->cluster; i++) {
        members[i].index = {(unsigned)(first + i), 0, 0};
        members[i].shared.assign(k->shared + FENCE, 0xff);
        take_up(i);
        start_fibers(k->block);
    }
    for (bool lives = true; lives;) {
        bool moved = false;
        lives = false;
        for (unsigned i = 0; i < k->cluster; i++) {
            take_up((unsigned)place_of(i, k->cluster));
            while (run_fibers()) moved = true;
            lives |= live > 0;
            check_fence(k);
            set_aside();
        }
        moved |= pass_cluster(k->cluster);
        if (lives && !moved) fail("all threads of a cluster wait, and not all at the same barrier");
    }
    members.clear();
    fibers = all_fibers;
}

void make_stacks() {
    const int most = MOST_CLUSTER * MOST_THREADS;
    stacks = (char *)mmap(NULL, (size_t)most * STACK, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) fail("no memory for stacks");
    for (int i = 0; i < most; i++) mprotect(stacks + (size_t)i * STACK, PAGE, PROT_NONE);
}

void run_kernel(const launch *k) {
    if (!stacks) make_stacks();
    const unsigned mode = _mm_getcsr();
    if (k->flush) _mm_setcsr(mode | 0x8040);
    running = k;
    arguments.clear();
    for (size_t place : k->places) arguments.push_back((char *)k->values.data() + place);
    threads = (int)(k->block.x * k->block.y * k->block.z);
    blockDim = k->block;
    gridDim = k->grid;
    const uint64_t x = k->grid.x, y = k->grid.y, blocks = x * y * k->grid.z;
    open_device();
    for (uint64_t i = 0; k->cluster > 1 && i < blocks / k->cluster; i++)
        run_cluster(k, place_of(i, blocks / k->cluster) * k->cluster);
    for (uint64_t i = 0; k->cluster <= 1 && i < blocks; i++) {
        const uint64_t b = place_of(i, blocks);
        blockIdx = {(unsigned)(b % x), (unsigned)(b / x % y), (unsigned)(b / x / y)};
        run_block(k);
    }
    close_device();
    if (k->flush) _mm_setcsr(mode);
}

} /* namespace */

void __syncthreads() {
    self->at = AT_BARRIER;
    at_barrier++;
    pass_barrier();
    if (self->at == AT_BARRIER) wait(AT_BARRIER);
}

unsigned emulated_cluster_rank() { return members.empty() ? 0 : member_now; }
unsigned emulated_cluster_size() { return members.empty() ? 1 : (unsigned)members.size(); }
void emulated_cluster_barrier() { wait(AT_CLUSTER); }

void emulated_cluster_put(void *own, unsigned rank, const void *value, size_t size) {
    const uint64_t place = (uint64_t)((unsigned char *)own - hk__shared);
    if (rank >= members.size() || place + size > members[rank].shared.size() - FENCE)
        fail("wrote to another block's memory that the launch did not ask for");
    memcpy(rank == member_now ? own : members[rank].shared.data() + place, value, size);
}

int emulated_lane() { return (int)(self - fibers) % WARP; }

uint64_t emulated_exchange(unsigned mask, uint64_t value, int from, unsigned *votes) {
    if (!(mask >> emulated_lane() & 1)) fail("a lane is not in its own mask");
    self->at = AT_EXCHANGE;
    self->mask = mask;
    self->value = value;
    self->from = from;
    pass_exchange(warp_of(self), mask);
    if (self->at == AT_EXCHANGE) wait(AT_EXCHANGE);
    *votes = self->votes;
    return self->taken;
}

/* --- streams ---------------------------------------------------------------------------------------------------------- */

/* Something that a stream does: a kernel, or a function of the host. */
struct emulated_node {
    cudaGraphNodeType type;
    bool foreign; /* a library's: its parameters cannot be asked for */
    launch kernel;
    std::function<void()> work;
};
struct emulated_graph {
    std::vector<emulated_node *> nodes;
};
struct emulated_exec {
    std::vector<emulated_node *> originals;
    std::vector<emulated_node> nodes;
};
struct emulated_stream {
    emulated_graph *capture;
    std::vector<emulated_node> put_off;
};
struct emulated_event {
    timespec at;
};

namespace {

std::set<emulated_stream *> streams;
std::map<const void *, size_t> shared_of;
cudaError_t last_error;

cudaError_t result(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

void run(const emulated_node &node) {
    if (node.work) {
        open_device();
        node.work();
        close_device();
    } else {
        run_kernel(&node.kernel);
    }
}

void catch_up(emulated_stream *stream) {
    for (const emulated_node &node : stream->put_off) run(node);
    stream->put_off.clear();
}

cudaError_t submit(cudaStream_t stream, emulated_node &&node) {
    static const bool late = set_to("HILLOCK_EMULATED_LATE", "1");
    if (stream->capture)
        stream->capture->nodes.push_back(new emulated_node(node));
    else if (late)
        stream->put_off.push_back(node);
    else
        run(node);
    return cudaSuccess;
}

emulated_node host_node(cudaGraphNodeType type, std::function<void()> work) {
    return {type, false, {}, work};
}

bool keep_arguments(launch *k, void **arguments) {
    size_t place = 0;
    k->places.clear();
    for (size_t size : k->sizes) {
        k->places.push_back(place);
        place += round_up(size, sizeof(launch::chunk));
    }
    k->values.assign(place / sizeof(launch::chunk), {});
    for (size_t i = 0; i < k->sizes.size(); i++) {
        memcpy((char *)k->values.data() + k->places[i], arguments[i], k->sizes[i]);
        for (size_t at = 0; at + 8 <= k->sizes[i]; at += 8) {
            uint64_t word;
            memcpy(&word, (char *)arguments[i] + at, sizeof word);
            if (!is_host(word)) continue;
            fprintf(stderr,
                    "emulator: byte %zu of a kernel's argument %zu begins an address of the "
                    "host's: %#llx\n",
                    at, i, (unsigned long long)word);
            return false;
        }
    }
    return true;
}

} /* namespace */

cudaError_t emulated_launch(const emulated_kernel *kernel, dim3 grid, dim3 block, void **arguments,
                            size_t shared, cudaStream_t stream) {
    lock l(mutex);
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (threads == 0 || threads > MOST_THREADS || block.z > 64 || grid.x == 0 ||
        grid.x > 0x7fffffff || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535)
        return result(cudaErrorInvalidConfiguration);
    const auto allowed = shared_of.find(kernel->function);
    if (kernel->cluster > 1 && (kernel->cluster > MOST_CLUSTER || grid.x % kernel->cluster != 0 ||
                                grid.y != 1 || grid.z != 1))
        return result(cudaErrorInvalidValue);
    if (shared > (allowed == shared_of.end() ? 48 << 10 : allowed->second))
        return result(cudaErrorInvalidValue);
    emulated_node node = {cudaGraphNodeTypeKernel, false, {}, nullptr};
    node.kernel.function = kernel->function;
    node.kernel.call = kernel->call;
    node.kernel.grid = grid;
    node.kernel.block = block;
    node.kernel.shared = shared;
    node.kernel.flush = kernel->flush;
    node.kernel.cluster = kernel->cluster;
    node.kernel.sizes.assign(kernel->sizes, kernel->sizes + kernel->arguments);
    if (!keep_arguments(&node.kernel, arguments)) return result(cudaErrorIllegalAddress);
    return submit(stream, std::move(node));
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int value) {
    lock l(mutex);
    if (value < 0 || value > MOST_SHARED) return result(cudaErrorInvalidValue);
    shared_of[function] = (size_t)value;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int *n, const void *, const cudaLaunchConfig_t *) {
    *n = 2;
    return cudaSuccess;
}

cudaError_t emulated_submit(cudaStream_t stream, void (*function)(const void *),
                            const void *argument, size_t size) {
    lock l(mutex);
    const std::vector<char> kept((const char *)argument, (const char *)argument + size);
    emulated_node node = host_node(cudaGraphNodeTypeKernel, [=] { function(kept.data()); });
    node.foreign = true;
    return submit(stream, std::move(node));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
    lock l(mutex);
    if (width == 0 || height == 0) return cudaSuccess;
    const bool into = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool out_of = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (lies_in(device, to, (height - 1) * to_pitch + width) != into ||
        lies_in(device, from, (height - 1) * from_pitch + width) != out_of)
        return result(cudaErrorInvalidValue);
    const auto copy = [=](const void *source) {
        for (size_t i = 0; i < height; i++)
            memcpy((char *)to + i * to_pitch, (const char *)source + i * from_pitch, width);
    };
    /* From memory that is not pinned, the bytes are taken at once. */
    if (!out_of && !lies_in(pinned, from, width)) {
        const std::vector<char> taken((const char *)from,
                                      (const char *)from + (height - 1) * from_pitch + width);
        return submit(stream, host_node(cudaGraphNodeTypeMemcpy, [=] { copy(taken.data()); }));
    }
    return submit(stream, host_node(cudaGraphNodeTypeMemcpy, [=] { copy(from); }));
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream) {
    lock l(mutex);
    if (!lies_in(device, to, bytes)) return result(cudaErrorInvalidValue);
    return submit(stream, host_node(cudaGraphNodeTypeMemset, [=] { memset(to, byte, bytes); }));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    lock l(mutex);
    *stream = new emulated_stream();
    streams.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    lock l(mutex);
    if (stream->capture) return result(cudaErrorStreamCaptureUnsupported);
    catch_up(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    lock l(mutex);
    catch_up(stream);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
    lock l(mutex);
    for (emulated_stream *stream : streams) catch_up(stream);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = new emulated_event();
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    lock l(mutex);
    return submit(stream, host_node(cudaGraphNodeTypeMemset,
                                    [=] { clock_gettime(CLOCK_MONOTONIC, &event->at); }));
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaDeviceSynchronize(); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    *milliseconds = 1e3f * (float)(to->at.tv_sec - from->at.tv_sec) +
                    1e-6f * (float)(to->at.tv_nsec - from->at.tv_nsec);
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

/* --- captured steps --------------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    lock l(mutex);
    if (stream->capture) return result(cudaErrorStreamCaptureUnsupported);
    stream->capture = new emulated_graph();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    lock l(mutex);
    *graph = stream->capture;
    stream->capture = NULL;
    return *graph ? cudaSuccess : result(cudaErrorStreamCaptureUnsupported);
}

/* In no order that a program may rely on, as CUDA's. */
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
    const size_t all = graph->nodes.size(), room = nodes ? *n : 0;
    *n = all;
    for (size_t i = 0; i < room && i < all; i++) nodes[i] = graph->nodes[all - 1 - i];
    return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type) {
    *type = node->type;
    return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams *params) {
    if (node->foreign) return result(cudaErrorInvalidDeviceFunction);
    launch *k = &node->kernel;
    *params = {(void *)k->function, k->grid, k->block, (unsigned)k->shared, NULL, NULL};
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = new emulated_exec();
    (*exec)->originals = graph->nodes;
    for (const emulated_node *node : graph->nodes) (*exec)->nodes.push_back(*node);
    return cudaSuccess;
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *params) {
    lock l(mutex);
    for (size_t i = 0; i < exec->nodes.size(); i++) {
        if (exec->originals[i] != node) continue;
        launch *k = &exec->nodes[i].kernel;
        if (k->function != params->func) return result(cudaErrorInvalidValue);
        k->grid = params->gridDim;
        k->block = params->blockDim;
        k->shared = params->sharedMemBytes;
        return keep_arguments(k, params->kernelParams) ? cudaSuccess
                                                       : result(cudaErrorIllegalAddress);
    }
    return result(cudaErrorInvalidValue);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    lock l(mutex);
    for (const emulated_node &node : exec->nodes) submit(stream, emulated_node(node));
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    if (!graph) return cudaErrorInvalidValue;
    for (emulated_node *node : graph->nodes) delete node;
    delete graph;
    return cudaSuccess;
}

/* --- the device -------------------------------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *number) {
    *number = 0;
    return cudaSuccess;
}

/* Few multiprocessors, so that loops over more blocks than fit come about with small tensors. */
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "emulated");
    const char *capability = getenv("HILLOCK_EMULATED_CAPABILITY");
    p->major = capability ? atoi(capability) / 10 : 9;
    p->minor = capability ? atoi(capability) % 10 : 0;
    p->multiProcessorCount = 4;
    p->maxThreadsPerMultiProcessor = 2048;
    p->l2CacheSize = 1 << 20;
    p->totalGlobalMem = capacity();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = MOST_SHARED;
    p->sharedMemPerMultiprocessor = 164 << 10;
    return cudaSuccess;
}

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidDeviceFunction: return "invalid device function";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    default: return "unknown error";
    }
}
