/* maxout_kernels.c: the loops of maxout (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "maxout_kernels.h"

#include <stdbool.h>

#include "real.h"

/* With k and the step as constants the compiler makes vector code. */
#define HK_USUAL(call, r)                                                                          \
    do {                                                                                           \
        if ((r).step == 2 && (r).k == 2 && (r).apart == 1)                                         \
            call(((hk__maxout_run){(r).n, 2, 2, 1}));                                              \
        else if ((r).step == 3 && (r).k == 3 && (r).apart == 1)                                    \
            call(((hk__maxout_run){(r).n, 3, 3, 1}));                                              \
        else if ((r).step == 4 && (r).k == 4 && (r).apart == 1)                                    \
            call(((hk__maxout_run){(r).n, 4, 4, 1}));                                              \
        else                                                                                       \
            call(r);                                                                               \
    } while (0)

static inline void value_of(hk__maxout_run r, const hk_real *restrict z, hk_real *restrict y,
                            uint8_t *restrict winner) {
    for (int64_t o = 0; o < r.n; o++) {
        hk_real most = z[o * r.step];
        int32_t which = 0;
        for (int64_t i = 1; i < r.k; i++) {
            const hk_real v = z[o * r.step + i * r.apart];
            const bool takes = !(v <= most) & (most == most);
            most = takes ? v : most;
            which = takes ? (int32_t)i : which;
        }
        y[o] = most;
        winner[o] = (uint8_t)which;
    }
}

static inline void spread_of(hk__maxout_run r, hk_real *restrict z, const hk_real *restrict g,
                             const uint8_t *restrict winner) {
    for (int64_t o = 0; o < r.n; o++)
        for (int64_t i = 0; i < r.k; i++) z[o * r.step + i * r.apart] = i == winner[o] ? g[o] : 0;
}

static void value(hk__maxout_run run, const void *z, void *y, uint8_t *winner) {
#define HK_CALL(r) value_of(r, z, y, winner)
    HK_USUAL(HK_CALL, run);
#undef HK_CALL
}

static void spread(hk__maxout_run run, void *z, const void *g, const uint8_t *winner) {
#define HK_CALL(r) spread_of(r, z, g, winner)
    HK_USUAL(HK_CALL, run);
#undef HK_CALL
}

static void pick(hk__maxout_run r, const void *from, void *to, const uint8_t *winner) {
    const hk_real *z = from;
    hk_real *y = to;
    for (int64_t o = 0; o < r.n; o++) y[o] = z[o * r.step + winner[o] * r.apart];
}

const hk__maxout_kernels HK_STAMPED(hk__maxout) = {value, spread, pick};
