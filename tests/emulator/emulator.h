/* emulator.h: what the parts of the emulator share: fibers.cpp runs a kernel, memory.cpp has the device's memory,
   graphs.cpp captured steps, emulator.cpp is the rest of the runtime.
   SPDX-License-Identifier: MIT */
#ifndef HK_EMULATOR_H
#define HK_EMULATOR_H

#define EMULATED_CONST
#include "cuda_runtime.h"

#include <mutex>
#include <vector>

enum { MOST_THREADS = 1024, MOST_CLUSTER = 8, MOST_SHARED = 227 << 10, PAGE = 4096 };

extern std::recursive_mutex
    emulator_mutex; /* one thing at a time, whatever thread of the host asks */
typedef std::lock_guard<std::recursive_mutex> lock;

/* What kernels declare as hk__shared. */
extern thread_local __align__(16) unsigned char (*emulated_shared)[];

/* A launch, with its arguments. */
struct launch {
    const void *function;
    emulated_call *call;
    dim3 grid, block;
    size_t shared, static_room; /* asked for; left for what the kernel itself declares */
    bool flush;
    unsigned cluster;
    struct alignas(64) chunk {
        char bytes[64];
    };
    std::vector<size_t> sizes;
    std::vector<chunk> values;
    std::vector<size_t> places; /* of arguments in `values` */
};
void run_kernel(const launch *k);

bool set_to(const char *variable, const char *value); /* of the environment */
[[noreturn]] void fail(const char *why);

/* What every call says once a kernel went wrong (HILLOCK_EMULATED_BROKEN). */
cudaError_t stuck();

/* Waits for all streams, whatever is captured; whether that allows to touch the device's memory. */
void finish_all();
cudaError_t may_touch_device();

/* Lets the program at the device's memory, or shuts it out and looks whether something wrote behind an allocation. */
void open_memory();
void shut_memory();
size_t memory_size();
/* Stacks of fibers; what launches ask for as shared memory; all memory that the device has, had or may have. */
struct area {
    char *begin;
    size_t size;
    bool has(const void *p) const { return (size_t)((const char *)p - begin) < size; }
};
extern area stack_area, shared_area, device_area;
bool lies_on_device(const void *p, size_t bytes), is_pinned(const void *p, size_t bytes);
/* Whether it is an address of the host, not pinned. */
bool is_host(uint64_t word);

static inline size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

#endif
