/* stamped_math.c: compiled once for each instruction set, as the library's kernels are.
   SPDX-License-Identifier: MIT */
#include "stamped_math.h"

#include "real_math.h"

#ifdef HK_STAMP_f64
const math_kernels math_f64 = {{0}}; /* the reference is libm itself */
#else

static inline float tail(float x) {
    float limited, density;
    return real_normal_tail(x, &limited, &density);
}

#define MATH_LOOP(name, call)                                                                      \
    static void name(int64_t n, const float *x, float *y) {                                        \
        for (int64_t i = 0; i < n; i++) y[i] = call(x[i]);                                         \
    }
MATH_LOOP(loop_exp, real_exp_down)
MATH_LOOP(loop_expm1, real_expm1_down)
MATH_LOOP(loop_tanh, real_tanh)
MATH_LOOP(loop_log1p, real_log1p)
MATH_LOOP(loop_tail, tail)

const math_kernels HK_STAMPED(math) = {{loop_exp, loop_expm1, loop_tanh, loop_log1p, loop_tail}};
#endif
