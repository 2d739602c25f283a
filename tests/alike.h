/* alike.h: tensors of a CPU and a GPU that must hold the same.
   SPDX-License-Identifier: MIT */
#ifndef HK_ALIKE_H
#define HK_ALIKE_H

#include "gpu_pair.h"

/* NaN where the other has NaN, the same infinities, else `tolerance` times 1 + the largest finite element apart. */
static inline void assert_alike(const char *name, hk_tensor *want, hk_tensor *got,
                                double tolerance) {
    assert_ok(cpu);
    assert_ok(gpu);
    assert_non_null(want);
    assert_non_null(got);
    assert_true(hk_shape_equal(hk_tensor_shape(want), hk_tensor_shape(got)));
    assert_int_equal(hk_tensor_dtype(want), hk_tensor_dtype(got));
    const int64_t n = hk_tensor_count(want);
    const hk_shape all = HK_SHAPE(n);
    const double *w = host(hk_cast(hk_reshape(want, all), HK_F64)),
                 *g = host(hk_cast(hk_reshape(got, all), HK_F64));
    double most = 1;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(w[i]) && fabs(w[i]) > most) most = fabs(w[i]);
    for (int64_t i = 0; i < n; i++)
        if (!(isnan(w[i]) && isnan(g[i]))) assert_close(name, i, g[i], w[i], tolerance * most);
}

#endif
