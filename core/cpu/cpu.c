/* cpu.c: what this processor offers.
   SPDX-License-Identifier: MIT */
#include "cpu.h"

#ifdef __linux__
#include <sched.h>
#endif
#include <unistd.h>

hk__stamp hk__cpu_best_stamp(void) {
#if HK_X86_STAMPS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("fma"))
        return HK__STAMP_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return HK__STAMP_avx2;
#endif
    return HK__STAMP_base;
}

const char *hk__stamp_name(hk__stamp stamp) {
    static const char *const names[HK__STAMPS] = {[HK__STAMP_base] = "base",
                                                  [HK__STAMP_avx2] = "avx2",
                                                  [HK__STAMP_avx512] = "avx512",
                                                  [HK__STAMP_f64] = "f64"};
    return (unsigned)stamp < HK__STAMPS ? names[stamp] : "?";
}

int hk__cpu_count(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
