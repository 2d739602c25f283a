/* sides_fixture.h: the same done on the GPU and on the CPU, and compared.
   SPDX-License-Identifier: MIT */
#ifndef HK_SIDES_FIXTURE_H
#define HK_SIDES_FIXTURE_H

#include "context.h"
#include "testing.h"

typedef struct sides {
    hk_context *gpu, *cpu; /* gpu NULL: there is none, and the test is skipped */
} sides;

static inline int open_sides(void **state) {
    static sides s;
    s.gpu = hk_context_create(&(hk_context_config){.device = HK_CUDA, .threads = 1, .seed = 1});
    s.cpu = hk_context_create(&(hk_context_config){.threads = 1, .seed = 1});
    if (hk_error(s.gpu) == HK_ERR_DEVICE) {
        hk_context_destroy(s.gpu);
        s.gpu = NULL;
    }
    *state = &s;
    return 0;
}

static inline int close_sides(void **state) {
    const sides *s = *state;
    hk_context_destroy(s->gpu);
    hk_context_destroy(s->cpu);
    return 0;
}

#define GPU_OR_SKIP(s)                                                                             \
    do {                                                                                           \
        if (!(s)->gpu) skip();                                                                     \
        assert_ok((s)->gpu);                                                                       \
    } while (0)

/* Numbers from -1 to 1 that depend on name and index alone. */
static inline double number(const char *name, int64_t i) {
    return 2 * hk_random_uniform(hk_random_stream(7, name, 0), (uint64_t)i) - 1;
}

/* A tensor of the step, since an emulated GPU is slow with many that are kept. */
static inline hk_tensor *numbers(hk_context *ctx, hk_dtype dtype, hk_shape shape,
                                 const char *name) {
    const int64_t n = hk_shape_count(shape);
    double *v = malloc(sizeof *v * (size_t)(n + 1));
    for (int64_t i = 0; i < n; i++) v[i] = number(name, i);
    for (int64_t i = 0; dtype == HK_F32 && i < n; i++) {
        const float f = (float)v[i];
        memcpy((char *)v + 4 * i, &f, sizeof f);
    }
    hk_tensor *t = hk_constant(ctx, dtype, shape, v);
    assert_ok(ctx);
    free(v);
    return t;
}

/* Elements as doubles, in order; the caller frees them. */
static inline double *elements(hk_tensor *t) {
    const int64_t n = hk_tensor_count(t);
    hk_tensor *wide = hk_tensor_dtype(t) == HK_F64 ? t : hk_cast(t, HK_F64);
    double *v = malloc(sizeof *v * (size_t)(n + 1));
    assert_non_null(wide);
    must(hk_tensor_read(wide, v, sizeof *v * (size_t)n));
    return v;
}

/* Each element within tolerance · (largest + 1); tolerance 0: the same bits. */
static inline void same(const char *name, hk_tensor *gpu, hk_tensor *cpu, double tolerance) {
    assert_non_null(gpu);
    assert_non_null(cpu);
    assert_true(hk_shape_equal(hk_tensor_shape(gpu), hk_tensor_shape(cpu)));
    double *a = elements(gpu), *b = elements(cpu), largest = 1;
    for (int64_t i = 0; i < hk_tensor_count(cpu); i++) largest = fmax(largest, fabs(b[i]));
    for (int64_t i = 0; i < hk_tensor_count(cpu); i++) {
        if (isnan(b[i]))
            assert_nan(name, i, a[i]);
        else
            assert_close(name, i, a[i], b[i], tolerance * largest);
    }
    free(a);
    free(b);
}

#endif
