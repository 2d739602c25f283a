/* allocation_fixture.h: malloc and its kin, replaced by ones that count and can fail. Once in a program.
   SPDX-License-Identifier: MIT

   That needs glibc, whose own are reached as __libc_..., and no sanitizer, which replaces them as well: HK_REPLACED says
   whether it was done. */
#ifndef HK_ALLOCATION_FIXTURE_H
#define HK_ALLOCATION_FIXTURE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HK_REPLACED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HK_REPLACED 0
#endif
#endif
#if !defined(HK_REPLACED) && defined(__GLIBC__)
#define HK_REPLACED 1
#elif !defined(HK_REPLACED)
#define HK_REPLACED 0
#endif

static atomic_llong allocations, live;                /* asked for; handed out and not freed */
static atomic_llong fail_at = -1;                     /* the number of the allocation that fails */
__attribute__((unused)) static atomic_bool and_after; /* and all behind it */
__attribute__((unused)) static atomic_llong failures;

#if HK_REPLACED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);
void *aligned_alloc(size_t alignment, size_t size);

static bool fails(void) {
    const long long n = atomic_fetch_add(&allocations, 1), at = atomic_load(&fail_at);
    if (at < 0 || n < at || (n > at && !atomic_load(&and_after))) return false;
    atomic_fetch_add(&failures, 1);
    errno = ENOMEM;
    return true;
}
static void *handed_out(void *p) {
    if (p) atomic_fetch_add(&live, 1);
    return p;
}
void *malloc(size_t size) { return fails() ? NULL : handed_out(__libc_malloc(size)); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : handed_out(__libc_calloc(n, size)); }
void *aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : handed_out(__libc_memalign(alignment, size));
}
void *realloc(void *p, size_t size) {
    if (fails()) return NULL;
    void *q = __libc_realloc(p, size);
    if (!p && q) atomic_fetch_add(&live, 1);
    return q;
}
void free(void *p) {
    if (p) atomic_fetch_sub(&live, 1);
    __libc_free(p);
}
#endif

#endif
