/* memory.cpp: memory of the emulated device.
   SPDX-License-Identifier: MIT

   All of it lies in one range of addresses that nothing may touch but while the device works. An allocation ends where a
   page does; the page behind it is a fence, and both are full of 0xff at first: NaN, or -1. */
#include "checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <map>

area device_area;

namespace {

enum { FENCE = 256, HUGE = 2 << 20 };
const size_t RANGE = (size_t)64 << 30;

std::map<char *, size_t> device, pinned; /* where each allocation begins, and its bytes */
char *range;
size_t used, top; /* bytes: of allocations; of the range, with all that ever lay there */

char *first_page(char *p) { return (char *)((uintptr_t)p & -(uintptr_t)PAGE); }

bool faults() { /* at a fence */
    static const bool on = set_to("HILLOCK_EMULATED_FAULTS", "1");
    return on;
}

void allow(int access) {
    if (!faults()) {
        mprotect(range, round_up(top, HUGE), access);
        return;
    }
    for (const auto &a : device)
        mprotect(first_page(a.first), (size_t)(a.first + a.second - first_page(a.first)), access);
}

bool make_range() {
    if (range) return true;
    void *p =
        mmap(NULL, RANGE + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    range = (char *)round_up((size_t)p, HUGE);
    device_area = {range, RANGE};
    if (!faults()) madvise(range, RANGE, MADV_HUGEPAGE); /* few pages to shut and open */
    return true;
}

/* The first gap that is large enough. */
char *place_for(size_t bytes) {
    char *place = range;
    for (const auto &a : device) {
        if ((size_t)(first_page(a.first) - place) >= bytes) break;
        place = a.first + a.second + PAGE;
    }
    return (size_t)(place - range) + bytes <= RANGE ? place : NULL;
}

bool lies_in(const std::map<char *, size_t> &where, const void *p, size_t bytes) {
    auto a = where.upper_bound((char *)p);
    return a != where.begin() && (--a, (char *)p + bytes <= a->first + a->second);
}

} /* namespace */

void open_memory() { allow(PROT_READ | PROT_WRITE); }

void shut_memory() {
    for (const auto &a : device)
        for (int i = 0; i < FENCE && !faults(); i++)
            if (a.first[a.second + (size_t)i] != (char)0xff) fail("wrote behind an allocation");
    allow(PROT_NONE);
}

size_t memory_size() {
    const char *text = getenv("HILLOCK_EMULATED_MEMORY");
    return text ? strtoull(text, NULL, 10) : (size_t)4 << 30;
}

bool lies_on_device(const void *p, size_t bytes) { return lies_in(device, p, bytes); }
bool is_pinned(const void *p, size_t bytes) { return lies_in(pinned, p, bytes); }

bool is_host(uint64_t word) {
    unsigned char in_core;
    if (word < 1 << 16 || word >> 47 || word - (uint64_t)range < RANGE ||
        is_pinned((void *)word, 0))
        return false;
    return mincore((void *)(word & -(uint64_t)PAGE), PAGE, &in_core) == 0;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
    lock l(emulator_mutex);
    *all = memory_size();
    *left = *all > used ? *all - used : 0;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t bytes) {
    lock l(emulator_mutex);
    const size_t size = round_up(bytes, 256), pages = round_up(size, PAGE);
    *p = NULL;
    if (stuck() != cudaSuccess) return stuck();
    if (may_touch_device() != cudaSuccess) return cudaErrorStreamCaptureUnsupported;
    if (bytes == 0) return cudaSuccess;
    char *place = used + size <= memory_size() && make_range() ? place_for(pages + PAGE) : NULL;
    if (!place) return cudaErrorMemoryAllocation;
    if ((size_t)(place - range) + pages + PAGE > top) top = (size_t)(place - range) + pages + PAGE;
    used += size;
    device[place + pages - size] = size;
    allow(PROT_READ | PROT_WRITE);
    memset(place, 0xff, faults() ? pages : pages + PAGE);
    allow(PROT_NONE);
    *p = place + pages - size;
    checks_memory(*p, bytes, true);
    return cudaSuccess;
}

cudaError_t cudaFree(void *p) {
    lock l(emulator_mutex);
    if (!p) return cudaSuccess;
    const auto a = device.find((char *)p);
    if (a == device.end()) return cudaErrorInvalidValue;
    if (may_touch_device() != cudaSuccess) return cudaErrorStreamCaptureUnsupported;
    finish_all();
    open_memory();
    memset(p, 0xff, a->second);
    shut_memory();
    used -= a->second;
    checks_memory(p, a->second, false);
    device.erase(a);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
    lock l(emulator_mutex);
    if (may_touch_device() != cudaSuccess) return cudaErrorStreamCaptureUnsupported;
    *p = aligned_alloc(PAGE, round_up(bytes, PAGE));
    if (!*p) return cudaErrorMemoryAllocation;
    memset(*p, 0xff, bytes);
    pinned[(char *)*p] = bytes;
    checks_memory(*p, bytes, true);
    checks_written(*p, bytes);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p) {
    lock l(emulator_mutex);
    if (may_touch_device() != cudaSuccess) return cudaErrorStreamCaptureUnsupported;
    finish_all();
    const auto a = pinned.find((char *)p);
    if (a == pinned.end()) return p ? cudaErrorInvalidValue : cudaSuccess;
    checks_memory(p, a->second, false);
    pinned.erase(a);
    free(p);
    return cudaSuccess;
}
