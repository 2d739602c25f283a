/* net_fixture.h: contexts, small data sets and whole training runs for the tests of networks.
   SPDX-License-Identifier: MIT */
#ifndef HK_NET_FIXTURE_H
#define HK_NET_FIXTURE_H

#include "device.h"

#include "hk_activations.h"
#include "hk_data.h"
#include "hk_layers.h"
#include "hk_optim.h"
#include "hk_random.h"

/* --- contexts and errors -------------------------------------------------------------------- */

static inline hk_context *context(hk_dtype dtype, int threads, uint64_t seed) {
    const hk_context_config config = {.dtype = dtype, .threads = threads, .seed = seed};
    hk_context *ctx = test_context(&config);
    assert_non_null(ctx);
    assert_string_equal(hk_error_message(ctx), "");
    return ctx;
}

static inline void assert_ok(hk_context *ctx) {
    assert_string_equal(hk_error_message(ctx), "");
    assert_int_equal(hk_error(ctx), HK_OK);
}

/* The sticky error is `status`, its message holds `part`; clears it. */
static inline void expect_error(hk_context *ctx, hk_status status, const char *part) {
    if (hk_error(ctx) != status || !strstr(hk_error_message(ctx), part))
        print_message("wanted %s with '%s', got %s: %s\n", hk_status_name(status), part,
                      hk_status_name(hk_error(ctx)), hk_error_message(ctx));
    assert_int_equal(hk_error(ctx), status);
    assert_non_null(strstr(hk_error_message(ctx), part));
    hk_error_clear(ctx);
}

/* --- numbers -------------------------------------------------------------------------------- */

static inline double number(const hk_tensor *t, int64_t i) { return element_get(t, i); }

/* Step tensor of the context's type with normal draws. */
static inline hk_tensor *normal(hk_context *ctx, const char *stream, hk_shape shape) {
    hk_tensor *t = hk_full(ctx, ctx->config.dtype, shape, 0);
    const hk_random random = hk_random_stream(7, stream, 0);
    void *own = t ? host(t) : NULL;
    for (int64_t i = 0; t && i < hk_tensor_count(t); i++) {
        const double z = hk_random_normal(random, (uint64_t)i);
        if (t->dtype == HK_F64)
            ((double *)own)[i] = z;
        else
            ((float *)own)[i] = (float)z;
    }
    if (t) host_done(t, own);
    return t;
}

/* FNV-1a over the bytes of all parameters, in order. */
static inline uint64_t fingerprint(hk_parameters params) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (int p = 0; p < params.count; p++) {
        hk_tensor *t = params.items[p];
        const unsigned char *bytes = host(t);
        const int64_t n = hk_tensor_count(t) * (int64_t)hk_dtype_size(t->dtype);
        for (int64_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
    }
    return hash;
}

/* --- a data set and a training run ---------------------------------------------------------- */

/* n images of `item` bytes around one of `classes` patterns each. */
static inline hk_dataset *patterns(hk_context *ctx, int64_t n, hk_shape item, int classes) {
    const int64_t count = hk_shape_count(item);
    uint8_t *pixels = malloc((size_t)(n * count));
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    assert_non_null(pixels);
    assert_non_null(labels);
    const hk_random pattern = hk_random_stream(3, "pattern", 0);
    const hk_random noise = hk_random_stream(3, "noise", 0);
    for (int64_t i = 0; i < n; i++) {
        labels[i] = (int32_t)(i % classes);
        for (int64_t k = 0; k < count; k++) {
            const uint64_t at = (uint64_t)(labels[i] * count + k);
            const uint64_t own = hk_random_below(noise, (uint64_t)(i * count + k), 128);
            pixels[i * count + k] = (uint8_t)(hk_random_below(pattern, at, 128) + own);
        }
    }
    hk_dataset *ds = hk_dataset_from(ctx, n, item, HK_U8, pixels, labels, classes);
    free(pixels);
    free(labels);
    return ds;
}

/* in - hidden[0] - hidden[1] - classes, with an activation and dropout (if p > 0) after each. */
typedef struct recipe {
    int64_t in, hidden[2];
    int classes;
    const char *activation, *optimizer, *isa;
    double p;
    int64_t items, batch;
    int steps, threads;
    bool no_blas;
    uint64_t seed;
} recipe;

static inline hk_module *recipe_net(hk_context *ctx, const recipe *r) {
    hk_module *members[8] = {hk_flatten(ctx)};
    int n = 1;
    int64_t width = r->in;
    for (int i = 0; i < 2 && r->hidden[i] > 0; i++) {
        members[n++] = hk_linear(ctx, width, r->hidden[i]);
        members[n++] = hk_activation(ctx, r->activation ? r->activation : "relu");
        if (r->p > 0) members[n++] = hk_dropout(ctx, r->p);
        width = r->hidden[i];
    }
    members[n++] = hk_linear(ctx, width, r->classes);
    return hk_sequential_n(ctx, n, members);
}

static inline hk_context *recipe_context(const recipe *r) {
    const hk_context_config config = {
        .threads = r->threads, .seed = r->seed, .isa = r->isa, .no_blas = r->no_blas};
    hk_context *ctx = test_context(&config);
    assert_non_null(ctx);
    return ctx;
}

/* One step as every program writes it; the loss. */
static inline double train_step(hk_context *ctx, hk_module *net, hk_optimizer *opt,
                                const hk_batch *batch) {
    hk_optimizer_zero_grad(opt);
    hk_tensor *loss = hk_cross_entropy(hk_forward(net, batch->x), batch->y);
    const double value = hk_tensor_item(loss);
    if (hk_backward(ctx, loss) || hk_optimizer_step(opt) || hk_step_end(ctx)) return NAN;
    return value;
}

#endif
