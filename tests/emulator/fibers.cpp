/* fibers.cpp: runs a kernel, block after block, each thread of a block as a fiber.
   SPDX-License-Identifier: MIT

   A fiber runs until it has to wait for others: at a barrier, or for other lanes of its warp. */
#include "checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef __x86_64__
#error "the emulator switches between fibers in x86-64 assembly"
#endif
#include <immintrin.h>

enum { WARP = 32, STACK = 128 << 10, ROOM = MOST_SHARED / PAGE * PAGE + 2 * PAGE };

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;
thread_local unsigned char (*emulated_shared)[];

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

bool set_to(const char *variable, const char *value) {
    const char *text = getenv(variable);
    return text && strcmp(text, value) == 0;
}

void fail(const char *why) {
    fprintf(stderr, "emulator: block (%u, %u, %u), thread (%u, %u, %u): %s\n", blockIdx.x,
            blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, why);
    abort();
}

area stack_area,
    shared_area; /* of a cluster's blocks, each with a page behind it that nothing may touch */

namespace {

enum state { READY, AT_BARRIER, AT_EXCHANGE, AT_CLUSTER, DONE };

struct fiber {
    void *stack;
    uint3 index;
    state at;
    uint64_t value, taken; /* of an exchange */
    unsigned mask, votes;
    int from;
    const void *barrier; /* where a warp's barrier is called; NULL: a shuffle or vote */
} all_fibers[MOST_CLUSTER * MOST_THREADS], *fibers = all_fibers; /* of the block that runs */

unsigned here[MOST_CLUSTER * MOST_THREADS / WARP],
    alive[MOST_CLUSTER * MOST_THREADS / WARP]; /* lanes, by warp */
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

/* The fibers of a warp begin at a multiple of WARP. */
fiber *warp_of(fiber *f) { return all_fibers + (f - all_fibers) / WARP * WARP; }
unsigned *here_of(fiber *f) { return &here[(f - all_fibers) / WARP]; }
unsigned *alive_of(fiber *f) { return &alive[(f - all_fibers) / WARP]; }
unsigned bit_of(fiber *f) { return 1u << (f - all_fibers) % WARP; }

/* Lets the lanes of `mask` go on if all that still live are here. */
void pass_exchange(fiber *warp, unsigned mask) {
    const unsigned lanes = mask & *alive_of(warp);
    unsigned votes = 0;
    if (lanes & ~*here_of(warp) || lanes == 0) return;
    for (int i = 0; i < WARP; i++) {
        if (!(lanes >> i & 1)) continue;
        if (warp[i].mask != mask) fail("lanes of a warp meet with different masks");
        if (!warp[i].barrier != !warp[__builtin_ctz(lanes)].barrier)
            fail("lanes of a warp meet at different calls");
        votes |= (unsigned)(warp[i].value != 0) << i;
    }
    for (int i = 0; i < WARP; i++) {
        if (!(lanes >> i & 1)) continue;
        warp[i].taken =
            lanes >> warp[i].from & 1 ? warp[warp[i].from].value : ~(uint64_t)0; /* NaN */
        warp[i].votes = votes;
        warp[i].at = READY;
    }
    *here_of(warp) &= ~lanes;
    const void *barrier = warp[__builtin_ctz(lanes)].barrier;
    if (barrier) checks_warp_barrier((int)(warp - all_fibers), lanes, barrier);
}

void fiber_main() {
    running->call(running->function, arguments.data());
    self->at = DONE;
    live--;
    pass_barrier();
    *alive_of(self) &= ~bit_of(self);
    for (fiber *f = warp_of(self); f < warp_of(self) + WARP; f++)
        if (*here_of(f) & bit_of(f)) pass_exchange(warp_of(f), f->mask);
    wait(DONE);
}

const bool reverse = set_to("HILLOCK_EMULATED_ORDER", "reverse");
const bool shuffled = set_to("HILLOCK_EMULATED_ORDER", "shuffled");

/* The i-th of n, in an order of choice: by a prime beyond any n, each comes once. */
uint64_t place_of(uint64_t i, uint64_t n) {
    return reverse ? n - 1 - i : shuffled ? (i * 4294967311u + n / 3) % n : i;
}

void start_fibers(dim3 block) {
    for (int i = 0; i < threads; i++) {
        void **top = (void **)(stack_area.begin + (size_t)(fibers - all_fibers + i + 1) * STACK);
        *--top = NULL; /* the stack is as it would be behind a call */
        *--top = (void *)fiber_main;
        top -= 6;
        fibers[i].stack = top;
        fibers[i].at = READY;
        *alive_of(&fibers[i]) |= bit_of(&fibers[i]);
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
        checks_switch((int)(self - all_fibers));
        emulated_switch(&scheduler, self->stack);
        checks_switch(-1);
    }
    return moved;
}

/* Shared memory ends where a page does, but for the bytes that make it a multiple of 16. */
char *room_of(const launch *k, unsigned member) {
    return shared_area.begin + (size_t)(member + 1) * ROOM - PAGE - round_up(k->shared, 16);
}

void check_fence(const launch *k, const char *room) {
    for (size_t i = k->shared; i < round_up(k->shared, 16); i++)
        if (room[i] != (char)0xff) fail("wrote behind the shared memory that the launch asked for");
}

/* A block is about to run, for the first time or again. */
void take_up(const launch *k, unsigned member, uint3 index) {
    fibers = all_fibers + member * MOST_THREADS;
    blockIdx = index;
    emulated_shared = (unsigned char(*)[])room_of(k, member);
}

void start_block(const launch *k) {
    memset(emulated_shared, 0xff, round_up(k->shared, 16));
    start_fibers(k->block);
    checks_block(blockIdx, (int)(fibers - all_fibers), threads, emulated_shared);
}

void run_block(const launch *k, uint3 index) {
    take_up(k, 0, index);
    start_block(k);
    while (live > 0)
        if (!run_fibers()) fail("all threads wait, and not all at the same barrier");
    check_fence(k, (char *)emulated_shared);
}

/* Of a cluster's blocks one runs until all of its threads wait; what is its own is set aside then. */
struct member {
    uint3 index;
    int live, at_barrier;
};
std::vector<member> members;
unsigned member_now;

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
    members.assign(k->cluster, {{0, 0, 0}, threads, 0});
    for (unsigned i = 0; i < k->cluster; i++) {
        members[i].index = {(unsigned)(first + i), 0, 0};
        take_up(k, i, members[i].index);
        start_block(k);
    }
    for (bool lives = true; lives;) {
        bool moved = false;
        lives = false;
        for (unsigned i = 0; i < k->cluster; i++) {
            member_now = (unsigned)place_of(i, k->cluster);
            member &m = members[member_now];
            take_up(k, member_now, m.index);
            live = m.live, at_barrier = m.at_barrier;
            while (run_fibers()) moved = true;
            m.live = live, m.at_barrier = at_barrier;
            lives |= live > 0;
            check_fence(k, (char *)emulated_shared);
        }
        moved |= pass_cluster(k->cluster);
        if (lives && !moved) fail("all threads of a cluster wait, and not all at the same barrier");
    }
    checks_cluster_end(k->cluster);
    members.clear();
}

area new_area(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) fail("no memory for stacks");
    return {(char *)p, size};
}

void make_stacks() {
    const int most = MOST_CLUSTER * MOST_THREADS;
    stack_area = new_area((size_t)most * STACK);
    shared_area = new_area((size_t)MOST_CLUSTER * ROOM);
    for (int i = 0; i < most; i++) mprotect(stack_area.begin + (size_t)i * STACK, PAGE, PROT_NONE);
    for (int i = 1; i <= MOST_CLUSTER; i++)
        mprotect(shared_area.begin + (size_t)i * ROOM - PAGE, PAGE, PROT_NONE);
}

} /* namespace */

void run_kernel(const launch *k) {
    if (!stack_area.begin) make_stacks();
    const unsigned mode = _mm_getcsr();
    if (k->flush) _mm_setcsr(mode | 0x8040);
    running = k;
    arguments.clear();
    for (size_t place : k->places) arguments.push_back((char *)k->values.data() + place);
    threads = (int)(k->block.x * k->block.y * k->block.z);
    blockDim = k->block;
    gridDim = k->grid;
    const uint64_t x = k->grid.x, y = k->grid.y, blocks = x * y * k->grid.z;
    open_memory();
    checks_begin(k);
    for (uint64_t i = 0; k->cluster > 1 && i < blocks / k->cluster; i++)
        run_cluster(k, place_of(i, blocks / k->cluster) * k->cluster);
    for (uint64_t i = 0; k->cluster <= 1 && i < blocks; i++) {
        const uint64_t b = place_of(i, blocks);
        run_block(k, {(unsigned)(b % x), (unsigned)(b / x % y), (unsigned)(b / x / y)});
    }
    checks_end();
    shut_memory();
    if (k->flush) _mm_setcsr(mode);
}

void __syncthreads() {
    self->at = AT_BARRIER;
    at_barrier++;
    pass_barrier();
    if (self->at == AT_BARRIER) wait(AT_BARRIER);
    checks_barrier(__builtin_return_address(0));
}

unsigned emulated_cluster_rank() { return members.empty() ? 0 : member_now; }
unsigned emulated_cluster_size() { return members.empty() ? 1 : (unsigned)members.size(); }
void emulated_cluster_barrier() {
    wait(AT_CLUSTER);
    checks_cluster_barrier(__builtin_return_address(0));
}

void emulated_cluster_put(void *own, unsigned rank, const void *value, size_t size) {
    const uint64_t place = (uint64_t)((char *)own - (char *)emulated_shared);
    if (rank >= members.size() || place + size > running->shared)
        fail("wrote to another block's memory that the launch did not ask for");
    if ((rank == member_now ? live : members[rank].live) == 0)
        fail("wrote to the memory of a block that is gone");
    char *there = room_of(running, rank) + place;
    checks_put((int)rank * MOST_THREADS, there, size);
    memcpy(there, value, size);
}

int emulated_lane() { return (int)(self - all_fibers) % WARP; }

static void exchange(unsigned mask, uint64_t value, int from, const void *barrier) {
    if (!(mask >> emulated_lane() & 1)) fail("a lane is not in its own mask");
    self->at = AT_EXCHANGE;
    self->mask = mask;
    self->value = value;
    self->from = from & (WARP - 1);
    self->barrier = barrier;
    *here_of(self) |= bit_of(self);
    pass_exchange(warp_of(self), mask);
    if (self->at == AT_EXCHANGE) wait(AT_EXCHANGE);
}

uint64_t emulated_exchange(unsigned mask, uint64_t value, int from, unsigned *votes) {
    exchange(mask, value, from, NULL);
    *votes = self->votes;
    return self->taken;
}

/* Of these calls it alone orders what lanes read and write. */
void __syncwarp(unsigned mask) { exchange(mask, 0, 0, __builtin_return_address(0)); }
