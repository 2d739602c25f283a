/* golden_check.h: what golden tests share: ways to compute, comparisons with a golden file.
   SPDX-License-Identifier: MIT */
#ifndef HK_GOLDEN_CHECK_H
#define HK_GOLDEN_CHECK_H

#include "golden_file.h"

/* The ways to compute: reference, and every instruction set with and without OpenBLAS. */
typedef struct way {
    hk_context_config config;
    double tolerance;
} way;
static const way ways[] = {
    {{.dtype = HK_F64}, 1e-10},
    {{.isa = "base", .no_blas = true}, 1e-5},
    {{.isa = "avx2", .no_blas = true}, 1e-5},
    {{.isa = "avx512", .no_blas = true}, 1e-5},
    {{.threads = 2}, 1e-5},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* A context of that way; NULL if this processor has no such instructions. A GPU's kernels do not depend on them. */
static inline hk_context *start(const way *w) {
    if (on_gpu() && w->config.isa) return NULL;
    hk_context *ctx = test_context(&w->config);
    assert_non_null(ctx);
    if (hk_error(ctx) == HK_OK) return ctx;
    assert_int_equal(hk_error(ctx), HK_ERR_DEVICE);
    hk_context_destroy(ctx);
    return NULL;
}

enum { GOLDEN_FULL = 2 * GOLDEN_NAME }; /* room for PREFIX.NAME */

static int checked; /* tensors and scalars compared */

static inline void check_value(const char *name, int64_t i, double got, double wanted,
                               double tolerance) {
    const double limit = tolerance * fmax(1, fabs(wanted));
    if (fabs(got - wanted) <= limit) return;
    fail_msg("%s[%lld]: %.17g, PyTorch has %.17g", name, (long long)i, got, wanted);
}

/* t, which may be NULL after an error, against the entry NAME or PREFIX.NAME. */
static inline void check(golden *g, const char *prefix, const char *name, hk_tensor *t,
                         double tolerance) {
    char full[GOLDEN_FULL];
    snprintf(full, sizeof full, "%s%s%s", prefix, *prefix ? "." : "", name);
    const golden_entry *e = golden_get(g, full);
    if (!t) fail_msg("%s: there is no result", full);
    assert_true(hk_shape_equal(hk_tensor_shape(t), e->shape));
    const void *got = host(t);
    const bool wide = hk_tensor_dtype(t) == HK_F64;
    for (int64_t i = 0; i < e->count; i++)
        check_value(full, i, wide ? ((const double *)got)[i] : (double)((const float *)got)[i],
                    e->value[i], tolerance);
    checked++;
}

/* A kept tensor of the context's type that requires a gradient; i32 for labels. */
static inline hk_tensor *load(hk_context *ctx, golden *g, const char *prefix, const char *name) {
    char full[GOLDEN_FULL];
    snprintf(full, sizeof full, "%s%s%s", prefix, *prefix ? "." : "", name);
    const golden_entry *e = golden_get(g, full);
    if (strcmp(name, "labels") == 0) {
        hk_tensor *t = hk_tensor_new(ctx, HK_I32, e->shape);
        int32_t *label = host(t);
        for (int64_t i = 0; i < e->count; i++) label[i] = (int32_t)e->value[i];
        host_done(t, label);
        return t;
    }
    hk_tensor *wide = hk_tensor_from(ctx, HK_F64, e->shape, e->value);
    hk_tensor *t = hk_tensor_new(ctx, ctx->config.dtype, e->shape);
    assert_int_equal(hk_tensor_copy(t, hk_cast(wide, ctx->config.dtype)), HK_OK);
    hk_tensor_destroy(wide);
    return hk_require_grad(t);
}

static inline bool has(golden *g, const char *prefix, const char *name) {
    char full[GOLDEN_FULL];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    return golden_seek(g, full) != NULL;
}

/* A parameter or buffer of the module becomes what the file has. */
static inline void write_to(hk_module *m, golden *g, const char *prefix, const char *name,
                            const char *target) {
    hk_context *ctx = hk_module_context(m);
    hk_tensor *value = load(ctx, g, prefix, name), *to = hk_module_find(m, target);
    assert_ok(ctx);
    assert_true(hk_shape_equal(hk_tensor_shape(to), hk_tensor_shape(value)));
    assert_int_equal(hk_tensor_copy(to, value), HK_OK);
}

/* The next case of a kind, at entry *at or behind, found by its settings; PREFIX of its names. */
static inline bool next_case(const golden *g, const char *kind, int *at, char prefix[GOLDEN_NAME]) {
    for (; *at < g->n; ++*at) {
        const char *full = g->entry[*at].name, *end = strstr(full, ".settings");
        const size_t length = strlen(kind);
        if (!end || strncmp(full, kind, length) != 0 || full[length] != '.') continue;
        snprintf(prefix, GOLDEN_NAME, "%.*s", (int)(end - full), full);
        return true;
    }
    return false;
}

#endif
