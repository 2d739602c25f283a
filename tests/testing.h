/* testing.h: what the tests share: contexts, seeded tensors, views, comparisons that fail on NaN.
   SPDX-License-Identifier: MIT */
#ifndef HK_TESTING_H
#define HK_TESTING_H

#include "device.h"

#include "hk_activations.h"
#include "hk_autograd.h"
#include "hk_random.h"

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof *(array)))

/* Ends a macro that defines a function, so that its use ends in a semicolon like other lines. */
#define WANTS_SEMICOLON struct hk_semicolon

enum { MOST = 1 << 14 }; /* elements of the largest tensor that tests compute plainly */

/* --- comparisons ----------------------------------------------------------------------------- */

/* Equal infinities are close; NaN is close to nothing, and a NaN tolerance allows nothing. */
static inline bool is_close(double got, double want, double tolerance) {
    return got == want || fabs(got - want) <= tolerance;
}

static inline void close_text(char *text, size_t size, const char *name, int64_t i, double got,
                              double want, double tolerance) {
    snprintf(text, size, "%.90s[%lld] is %.17g, not %.17g: off by %.3g, allowed %.3g", name,
             (long long)i, got, want, fabs(got - want), tolerance);
}

#define assert_close(name, i, got, want, tolerance)                                                \
    do {                                                                                           \
        const double got_ = (got), want_ = (want), allowed_ = (tolerance);                         \
        char text_[512];                                                                           \
        if (is_close(got_, want_, allowed_)) break;                                                \
        close_text(text_, sizeof text_, name, (int64_t)(i), got_, want_, allowed_);                \
        fail_msg("%s", text_);                                                                     \
    } while (0)

#define assert_nan(name, i, got)                                                                   \
    do {                                                                                           \
        const double got_ = (got);                                                                 \
        if (!isnan(got_)) fail_msg("%s[%lld] is %g, not NaN", name, (long long)(i), got_);         \
    } while (0)

#define assert_ok(ctx)                                                                             \
    do {                                                                                           \
        if (hk_error(ctx) != HK_OK) fail_msg("%s", hk_error_message(ctx));                         \
    } while (0)

#define must(call)                                                                                 \
    do {                                                                                           \
        const hk_status status_ = (call);                                                          \
        if (status_ != HK_OK) fail_msg("%s: %s", #call, hk_status_name(status_));                  \
    } while (0)

/* The sticky error is `status` and its message holds every word; then it is cleared. */
#define expect_error(ctx, status, ...)                                                             \
    do {                                                                                           \
        static const char *const words_[] = {__VA_ARGS__};                                         \
        if (hk_error(ctx) != (status))                                                             \
            fail_msg("%s instead of %s: '%s'", hk_status_name(hk_error(ctx)),                      \
                     hk_status_name(status), hk_error_message(ctx));                               \
        for (size_t w_ = 0; w_ < sizeof words_ / sizeof *words_; w_++)                             \
            if (!strstr(hk_error_message(ctx), words_[w_]))                                        \
                fail_msg("no '%s' in '%s'", words_[w_], hk_error_message(ctx));                    \
        hk_error_clear(ctx);                                                                       \
    } while (0)

/* --- contexts and tensors -------------------------------------------------------------------- */

static inline hk_context *new_context(int threads, const char *isa) {
    hk_context *ctx = test_context(&(hk_context_config){.threads = threads, .isa = isa, .seed = 1});
    assert_non_null(ctx);
    assert_ok(ctx);
    return ctx;
}

/* The instruction sets of this machine, one after the other; NULL behind the last. One on a GPU. */
static inline const char *isa_number(int i) {
    static const char *const names[] = {"base", "avx2", "avx512"};
    if (i >= (on_gpu() ? 1 : 3)) return NULL; /* a GPU's kernels are the same for all */
    hk_context *ctx = test_context(&(hk_context_config){.threads = 1, .isa = names[i]});
    const bool have = ctx && hk_error(ctx) == HK_OK;
    hk_context_destroy(ctx);
    return have ? names[i] : NULL;
}

/* cmocka setup and teardown: one thread, the best instruction set. */
static inline int setup(void **state) {
    *state = new_context(1, NULL);
    return 0;
}
static inline int teardown(void **state) {
    hk_context_destroy(*state);
    return 0;
}

static inline hk_tensor *kept(hk_context *ctx, hk_dtype dtype, hk_shape shape,
                              const double *value) {
    hk_tensor *t = hk_tensor_new(ctx, dtype, shape);
    assert_ok(ctx);
    void *own = host(t);
    for (int64_t i = 0; i < hk_tensor_count(t); i++) switch (dtype) {
        case HK_F32: ((float *)own)[i] = (float)value[i]; break;
        case HK_F64: ((double *)own)[i] = value[i]; break;
        case HK_U8: ((uint8_t *)own)[i] = (uint8_t)value[i]; break;
        case HK_I32: ((int32_t *)own)[i] = (int32_t)value[i]; break;
        }
    host_done(t, own);
    return t;
}

/* Uniform in [low, high), from `name` alone. With grid > 0 values are low + a multiple of it, so
   that two tensors on shifted grids never come near each other: gradients are checked away from
   kinks. */
static inline hk_tensor *seeded(hk_context *ctx, hk_dtype dtype, hk_shape shape, const char *name,
                                double low, double high, double grid) {
    const int64_t n = hk_shape_count(shape);
    double *value = malloc(sizeof *value * (size_t)(n + 1));
    assert_non_null(value);
    const hk_random stream = hk_random_stream(7, name, 0);
    for (int64_t i = 0; i < n; i++) {
        const double u = hk_random_uniform(stream, (uint64_t)i) * (high - low);
        value[i] = low + (grid > 0 ? grid * floor(u / grid) : u);
    }
    hk_tensor *t = kept(ctx, dtype, shape, value);
    free(value);
    return t;
}

static inline void assert_values(const char *name, hk_tensor *t, int64_t n, const double *want,
                                 double tolerance) {
    const double *got = values(t);
    assert_int_equal(hk_tensor_count(t), n);
    for (int64_t i = 0; i < n; i++) assert_close(name, i, got[i], want[i], tolerance);
}

static inline void assert_shape(hk_tensor *t, hk_shape want) {
    char got[96], text[96];
    if (!t || !hk_shape_equal(hk_tensor_shape(t), want))
        fail_msg("shape %s, not %s", hk_shape_text(hk_tensor_shape(t), got, sizeof got),
                 hk_shape_text(want, text, sizeof text));
}

/* Where element i of `out` comes from in a tensor of shape `own` that broadcasts to it. */
static inline int64_t broadcast_at(hk_shape own, hk_shape out, int64_t i) {
    int64_t at = 0, step = 1;
    for (int a = out.rank - 1; a >= 0; a--) {
        const int mine = a - (out.rank - own.rank);
        if (mine >= 0) {
            if (own.dim[mine] != 1) at += i % out.dim[a] * step;
            step *= own.dim[mine];
        }
        i /= out.dim[a];
    }
    return at;
}

/* --- views: a tensor of shape s that lies in memory in some other way ------------------------ */

typedef enum view { PLAIN, TRANSPOSED, SLICED, PERMUTED, STRETCHED, VIEWS } view;

/* The shape of the tensor that the view looks at. */
static inline hk_shape view_source(view v, hk_shape s) {
    hk_shape source = s;
    const int r = s.rank;
    if (v == TRANSPOSED && r >= 2) {
        source.dim[r - 1] = s.dim[r - 2];
        source.dim[r - 2] = s.dim[r - 1];
    } else if (v == SLICED && r >= 1) {
        source.dim[r - 1] += 3;
        if (r >= 2) source.dim[0] += 1;
    } else if (v == PERMUTED) {
        for (int i = 0; i < r; i++) source.dim[i] = s.dim[r - 1 - i];
    } else if (v == STRETCHED && r >= 1)
        source.dim[0] = 1;
    return source;
}

static inline hk_tensor *view_of(view v, hk_tensor *t, hk_shape s) {
    const int r = s.rank, reversed[] = {r - 1, r - 2, r - 3, r - 4, r - 5, r - 6};
    switch (v) {
    case TRANSPOSED: return r >= 2 ? hk_transpose(t, -1, -2) : t;
    case SLICED:
        if (r >= 1) t = hk_slice(t, -1, 2, s.dim[r - 1]);
        return r >= 2 ? hk_slice(t, 0, 1, s.dim[0]) : t;
    case PERMUTED: return r >= 1 ? hk_permute(t, reversed) : t;
    case STRETCHED: return hk_broadcast_to(t, s);
    default: return t;
    }
}

/* --- gradients ------------------------------------------------------------------------------- */

/* Reverse and forward mode of fn by hk_gradcheck with its defaults. */
static inline void assert_gradient(hk_context *ctx, const char *what, hk_function *fn, void *arg,
                                   int n, hk_tensor *const *in, const bool *skip) {
    const hk_gradcheck_config config = {.skip = skip};
    hk_gradcheck_result result;
    if (hk_gradcheck(ctx, fn, arg, n, in, &config, &result) != HK_OK)
        fail_msg("%s: %s", what, result.message);
    must(hk_step_end(ctx));
}

#endif
