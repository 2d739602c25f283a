/* gpu_fixture.h: the same done on the CPU and on the GPU, and compared.
   SPDX-License-Identifier: MIT */
#ifndef HK_GPU_FIXTURE_H
#define HK_GPU_FIXTURE_H

#include "testing.h"

static hk_context *cpu, *gpu;

/* cmocka setup and teardown, of a test or of all. */
static inline int open_both(void **state) {
    (void)state;
    cpu = open_context((hk_context_config){.threads = 1, .seed = 1});
    gpu = open_context((hk_context_config){.device = HK_CUDA, .threads = 1, .seed = 1});
    return 0;
}
static inline int close_both(void **state) {
    (void)state;
    hk_context_destroy(cpu);
    hk_context_destroy(gpu);
    return 0;
}

/* Ends the step of both, and forgets their kept tensors. */
static inline void forget(void) {
    must(hk_step_end(cpu));
    must(hk_step_end(gpu));
    while (cpu->kept) hk_tensor_destroy(cpu->kept);
    while (gpu->kept) hk_tensor_destroy(gpu->kept);
}

/* Whether the CPU's kernels use a fused multiply-add, as a GPU's do: then floats have the same bits. */
static inline bool same_bits(void) { return cpu->stamp != HK__STAMP_base; }

/* As seeded from -1 to 1, but a tensor of the step: an emulated GPU is slow with many that are kept. */
static inline hk_tensor *numbers(hk_context *ctx, hk_dtype dtype, hk_shape shape,
                                 const char *name) {
    const int64_t n = hk_shape_count(shape);
    const hk_random stream = hk_random_stream(7, name, 0);
    double *value = malloc(sizeof *value * (size_t)(n + 1));
    assert_non_null(value);
    for (int64_t i = 0; i < n; i++) value[i] = 2 * hk_random_uniform(stream, (uint64_t)i) - 1;
    hk_tensor *t = hk_cast(hk_constant(ctx, HK_F64, shape, value), dtype);
    assert_ok(ctx);
    free(value);
    return t;
}

/* What tolerances are shares of, if that is more than 1: the largest finite element of all, or each element itself. */
typedef enum measure { OF_LARGEST, OF_EACH } measure;

/* Shapes and types agree, and there is NaN where the other has NaN, an infinity where it has that one, and else no more
   than `tolerance` between them; 0: no difference. */
static inline void assert_alike_by(measure of, const char *name, hk_tensor *want, hk_tensor *got,
                                   double tolerance) {
    assert_non_null(want);
    assert_non_null(got);
    assert_true(hk_shape_equal(hk_tensor_shape(want), hk_tensor_shape(got)));
    assert_int_equal(hk_tensor_dtype(want), hk_tensor_dtype(got));
    const double *w = values(want), *g = values(got);
    double most = 1;
    for (int64_t i = 0; i < hk_tensor_count(want); i++)
        if (isfinite(w[i]) && fabs(w[i]) > most) most = fabs(w[i]);
    for (int64_t i = 0; i < hk_tensor_count(want); i++) {
        const double size = of == OF_LARGEST ? most : isfinite(w[i]) ? fmax(1, fabs(w[i])) : 1;
        if (!(isnan(w[i]) && isnan(g[i]))) assert_close(name, i, g[i], w[i], tolerance * size);
    }
}
static inline void assert_alike(const char *name, hk_tensor *want, hk_tensor *got,
                                double tolerance) {
    assert_alike_by(OF_LARGEST, name, want, got, tolerance);
}

#endif
