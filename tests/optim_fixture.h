/* optim_fixture.h: parameters with gradients for the optimizer's tests, as a module has them or
   loose.
   SPDX-License-Identifier: MIT */
#ifndef HK_OPTIM_FIXTURE_H
#define HK_OPTIM_FIXTURE_H

#include "device.h"

#include "hk_random.h"
#include "optimizer.h"
#include "tape.h"

enum { MAX_PARAMS = 8 };

typedef struct net {
    hk_context *ctx;
    hk_dtype dtype;
    hk_tensor *p[MAX_PARAMS];
    hk_parameters params;
    bool flat;
    char *w, *g; /* flat only */
    int64_t bytes;
} net;

static inline int64_t count_of(const hk_tensor *t) { return hk_shape_count(t->shape); }

/* Places tensors in one buffer the way modules do: each on a 64-byte line, gaps zero. */
static inline void place_flat(net *t, int n, const int64_t *sizes) {
    const int64_t size = (int64_t)hk_dtype_size(t->dtype);
    for (int i = 0; i < n; i++) t->bytes += (sizes[i] * size + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
    t->w = hk__values_alloc(t->ctx, (size_t)t->bytes, true);
    t->g = hk__values_alloc(t->ctx, (size_t)t->bytes, true);
    assert_non_null(t->w);
    assert_non_null(t->g);
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        char name[24];
        snprintf(name, sizeof name, "%d.weight", i);
        t->p[i] = hk__kept_header(t->ctx, t->dtype, HK_SHAPE(sizes[i]), name);
        assert_non_null(t->p[i]);
        t->p[i]->grad = hk__kept_header(t->ctx, t->dtype, HK_SHAPE(sizes[i]), name);
        assert_non_null(t->p[i]->grad);
        t->p[i]->requires = true;
        t->p[i]->data = t->w + at;
        t->p[i]->grad->data = t->g + at;
        at += (sizes[i] * size + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
    }
}

static inline hk_context *context_of(int threads, hk_dtype dtype, const char *isa) {
    const hk_context_config config = {
        .threads = threads, .dtype = dtype, .isa = isa, .no_blas = true};
    hk_context *ctx = test_context(&config);
    assert_non_null(ctx);
    return ctx;
}

/* All elements of t at once: one by one a GPU takes long. */
static inline void put_all(hk_tensor *t, const double *v) {
    const int64_t n = count_of(t);
    char *bytes = malloc((size_t)n * sizeof(double) + 1);
    assert_non_null(bytes);
    for (int64_t k = 0; k < n; k++) {
        const float f = (float)v[k];
        if (t->dtype == HK_F64)
            memcpy(bytes + 8 * k, &v[k], sizeof v[k]);
        else
            memcpy(bytes + 4 * k, &f, sizeof f);
    }
    hk__values_write(t->ctx, t->data, bytes, (size_t)n * hk_dtype_size(t->dtype));
    free(bytes);
}

static inline void get_all(const hk_tensor *t, double *v) {
    const int64_t n = count_of(t);
    char *bytes = malloc((size_t)n * sizeof(double) + 1);
    assert_non_null(bytes);
    hk__values_read(t->ctx, bytes, t->data, (size_t)n * hk_dtype_size(t->dtype));
    for (int64_t k = 0; k < n; k++) {
        float f;
        memcpy(&f, bytes + 4 * k, sizeof f);
        v[k] = (double)f;
        if (t->dtype == HK_F64) memcpy(&v[k], bytes + 8 * k, sizeof v[k]);
    }
    free(bytes);
}

/* Random normal weights; gradients are for new_gradients. */
static inline void net_make(net *t, hk_context *ctx, hk_dtype dtype, bool flat, int n,
                            const int64_t *sizes) {
    assert_true(n <= MAX_PARAMS);
    *t = (net){.ctx = ctx, .dtype = dtype, .flat = flat};
    if (flat) place_flat(t, n, sizes);
    for (int i = 0; i < n; i++) {
        if (!flat) t->p[i] = hk_require_grad(hk_tensor_new(ctx, dtype, HK_SHAPE(sizes[i])));
        assert_non_null(t->p[i]);
        const hk_random stream = hk_random_stream(1, "weights", (uint64_t)i);
        double *v = malloc((size_t)(sizes[i] + 1) * sizeof *v);
        assert_non_null(v);
        for (int64_t k = 0; k < sizes[i]; k++)
            v[k] = (double)(float)hk_random_normal(stream, (uint64_t)k);
        put_all(t->p[i], v);
        free(v);
    }
    t->params = (hk_parameters){n, t->p};
}

/* The optimizer, if any, goes first: hk_optimizer_destroy or hk_context_destroy after this. */
static inline void net_free(net *t) {
    for (int i = 0; t->flat && i < t->params.count; i++) {
        hk__kept_free(t->p[i]->grad);
        hk__kept_free(t->p[i]);
    }
    hk__values_free(t->ctx, t->w);
    hk__values_free(t->ctx, t->g);
}

/* Gradients of very different sizes, from 1e-9 to 30, some exactly zero; equal in f32 and f64. */
static inline void new_gradients(net *t, uint64_t step) {
    for (int i = 0; i < t->params.count; i++) {
        const hk_random sign = hk_random_stream(step, "gradients", (uint64_t)i);
        const hk_random scale = hk_random_stream(step, "scales", (uint64_t)i);
        hk_tensor *grad = hk_grad(t->p[i]);
        assert_non_null(grad);
        double *v = malloc((size_t)(count_of(grad) + 1) * sizeof *v);
        assert_non_null(v);
        for (int64_t k = 0; k < count_of(grad); k++) {
            const double s = pow(10, 10.5 * hk_random_uniform(scale, (uint64_t)k) - 9);
            const double g = s * hk_random_normal(sign, (uint64_t)k);
            v[k] = k % 11 == 5 ? 0 : (double)(float)g;
        }
        put_all(grad, v);
        free(v);
    }
}

/* Everything the parameters hold, one after the other, as doubles; the caller frees it. */
static inline double *snapshot(const net *t, int64_t *count) {
    int64_t total = 0;
    for (int i = 0; i < t->params.count; i++) total += count_of(t->p[i]);
    double *all = malloc((size_t)total * sizeof *all);
    assert_non_null(all);
    int64_t at = 0;
    for (int i = 0; i < t->params.count; at += count_of(t->p[i++])) get_all(t->p[i], all + at);
    if (count) *count = total;
    return all;
}

/* In an array laid out as the weights are, bytes between parameters must be zero. */
static inline void check_gaps(const net *t, const char *base) {
    const int64_t size = (int64_t)hk_dtype_size(t->dtype);
    for (int i = 0; i < t->params.count; i++) {
        const char *start = base + ((char *)t->p[i]->data - t->w);
        const int64_t used = count_of(t->p[i]) * size;
        char gap[HK_ALIGN] = {0};
        const int64_t bytes = (HK_ALIGN - used % HK_ALIGN) % HK_ALIGN;
        hk__values_read(t->ctx, gap, start + used, (size_t)bytes);
        for (int64_t b = 0; b < bytes; b++) assert_int_equal(gap[b], 0);
    }
}

/* The bytes of all weights or of all gradients; the caller frees them. */
static inline char *bytes_at(const net *t, const char *base) {
    char *copy = malloc((size_t)t->bytes);
    assert_non_null(copy);
    hk__values_read(t->ctx, copy, base, (size_t)t->bytes);
    return copy;
}

static inline bool has_bytes(const net *t, const char *base, const char *bytes) {
    char *now = bytes_at(t, base);
    const bool equal = memcmp(now, bytes, (size_t)t->bytes) == 0;
    free(now);
    return equal;
}

/* --- a context with three small parameters ---------------------------------------------------- */

static const int64_t small_sizes[] = {3, 17, 40};
enum { SMALL_SIZES = sizeof small_sizes / sizeof *small_sizes };

typedef struct fixture {
    hk_context *ctx;
    net t;
} fixture;

static inline void start(fixture *f, bool flat) {
    f->ctx = context_of(2, HK_F32, NULL);
    assert_int_equal(hk_error(f->ctx), HK_OK);
    net_make(&f->t, f->ctx, HK_F32, flat, SMALL_SIZES, small_sizes);
}

static inline void finish(fixture *f) {
    net_free(&f->t);
    hk_context_destroy(f->ctx);
}

static inline void expect_error(hk_context *ctx, hk_status status, const char *part) {
    if (hk_error(ctx) != status || !strstr(hk_error_message(ctx), part))
        print_message("got %s: %s\n", hk_status_name(hk_error(ctx)), hk_error_message(ctx));
    assert_int_equal(hk_error(ctx), status);
    assert_non_null(strstr(hk_error_message(ctx), part));
    hk_error_clear(ctx);
}

static inline void fill_gradient(const net *t, int i, float value) {
    hk_tensor *grad = hk_grad(t->p[i]);
    assert_non_null(grad);
    for (int64_t k = 0; k < count_of(grad); k++) element_put(grad, k, (double)value);
}

#endif
