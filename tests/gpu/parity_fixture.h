/* parity_fixture.h: one network on the CPU and on the GPU, from equal weights; distances between the two.
   SPDX-License-Identifier: MIT */
#ifndef PARITY_FIXTURE_H
#define PARITY_FIXTURE_H

#include "net_fixture.h"
#include "results.h"

/* --- the networks of mnist_mlp and mnist_cnn --------------------------------------------------------------------- */

static inline hk_module *mlp(hk_context *ctx) {
    return hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 784, 128), hk_activation(ctx, "relu"),
                         hk_linear(ctx, 128, 10));
}

static inline hk_module *convolution(hk_context *ctx, int64_t in, int64_t out, int64_t kernel,
                                     int64_t stride, bool bias) {
    const hk_conv2d_config config = {.stride = {stride, stride},
                                     .padding = {kernel / 2, kernel / 2}};
    return (bias ? hk_conv2d : hk_conv2d_no_bias)(ctx, in, out, (hk_pair){kernel, kernel}, &config);
}
static inline hk_module *relu(hk_context *ctx) { return hk_activation(ctx, "relu"); }
static inline hk_module *halved(hk_context *ctx) {
    return hk_max_pool2d(ctx, &(hk_pool2d_config){.kernel = {2, 2}});
}

static inline hk_module *small(hk_context *ctx) {
    return hk_sequential(ctx, convolution(ctx, 1, 8, 3, 1, true), relu(ctx), halved(ctx),
                         convolution(ctx, 8, 16, 3, 1, true), relu(ctx), halved(ctx),
                         hk_flatten(ctx), hk_linear(ctx, 784, 10));
}

static inline hk_module *lenet(hk_context *ctx) {
    return hk_sequential(ctx, convolution(ctx, 1, 32, 5, 1, true), relu(ctx), halved(ctx),
                         convolution(ctx, 32, 64, 5, 1, true), relu(ctx), halved(ctx),
                         hk_flatten(ctx), hk_linear(ctx, 3136, 512), relu(ctx),
                         hk_linear(ctx, 512, 10));
}

static inline hk_module *residual_block(hk_context *ctx, int64_t in, int64_t out, int64_t stride) {
    hk_module *body = hk_sequential(
        ctx, convolution(ctx, in, out, 3, stride, false), hk_batch_norm2d(ctx, NULL), relu(ctx),
        convolution(ctx, out, out, 3, 1, false), hk_batch_norm2d(ctx, NULL));
    hk_module *shortcut = stride > 1 || in != out
                              ? hk_sequential(ctx, convolution(ctx, in, out, 1, stride, false),
                                              hk_batch_norm2d(ctx, NULL))
                              : NULL;
    return hk_sequential(ctx, hk_residual(ctx, body, shortcut), relu(ctx));
}

static inline hk_module *deep(hk_context *ctx) {
    return hk_sequential(ctx, convolution(ctx, 1, 32, 3, 1, false), hk_batch_norm2d(ctx, NULL),
                         relu(ctx), residual_block(ctx, 32, 32, 2), residual_block(ctx, 32, 32, 1),
                         residual_block(ctx, 32, 64, 2), residual_block(ctx, 64, 64, 1),
                         hk_global_avg_pool(ctx), hk_linear(ctx, 64, 10));
}

typedef struct network {
    const char *name;
    hk_module *(*make)(hk_context *ctx);
} network;
static const network networks[] = {
    {"mlp", mlp}, {"small", small}, {"lenet", lenet}, {"deep", deep}};
enum { NETWORKS = sizeof networks / sizeof *networks };

/* --- a run ------------------------------------------------------------------------------------------------------- */

typedef struct run {
    hk_context *ctx;
    hk_module *net;
    hk_parameters all, buffers;
    hk_optimizer *opt;
    hk_loader *loader, *probe; /* of training; the images in order, whatever was trained before */
} run;

/* MNIST where asked for, else n images of a pattern. */
static inline hk_dataset *pictures(hk_context *ctx, int64_t n) {
    const char *folder = getenv("HILLOCK_MNIST");
    return folder ? hk_mnist(ctx, folder, "train", 10) : patterns(ctx, n, HK_SHAPE(1, 28, 28), 10);
}

static inline run run_begin(hk_device device, hk_dtype dtype, uint64_t seed, const network *of,
                            int64_t images, int64_t batch, const char *optimizer, double lr) {
    run r = {.ctx =
                 open_context((hk_context_config){.device = device, .dtype = dtype, .seed = seed})};
    r.net = of->make(r.ctx);
    if (hk_module_build(r.net, HK_SHAPE(-1, 1, 28, 28), NULL) != HK_OK)
        fail_msg("%s: %s", of->name, hk_error_message(r.ctx));
    r.all = hk_module_parameters(r.net);
    r.buffers = hk_module_buffers(r.net);
    r.opt = hk_optimizer_by_name(r.ctx, optimizer, r.all, lr, -1);
    hk_dataset *all = pictures(r.ctx, images);
    r.loader = hk_loader_create(all, &(hk_loader_config){.batch = batch, .shuffle = true});
    r.probe = hk_loader_create(all, &(hk_loader_config){.batch = batch});
    assert_ok(r.ctx);
    return r;
}
static inline void run_end(const run *r) { hk_context_destroy(r->ctx); }

/* `to` gets the weights and statistics of `from`. */
static inline void give_weights(const run *to, const run *from) {
    const hk_parameters lists[][2] = {{to->all, from->all}, {to->buffers, from->buffers}};
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < lists[l][0].count; i++) {
            hk_tensor *source = lists[l][1].items[i], *target = lists[l][0].items[i];
            if (hk_tensor_dtype(source) == hk_tensor_dtype(target)) {
                assert_int_equal(hk_tensor_copy(target, source), HK_OK);
                continue;
            }
            const double *all = values(source); /* float to double */
            for (int64_t k = 0; k < hk_tensor_count(source); k++) element_put(target, k, all[k]);
        }
}

static inline hk_batch run_batch(const run *r, hk_loader *loader) {
    hk_batch batch;
    while (!hk_loader_next(loader, &batch)) assert_ok(r->ctx);
    return batch;
}

/* Forward and backward on the next images in order, without a step of the optimizer; the loss. */
static inline double run_gradients(const run *r) {
    const hk_batch batch = run_batch(r, r->probe);
    hk_optimizer_zero_grad(r->opt);
    hk_tensor *loss = hk_cross_entropy(hk_forward(r->net, batch.x), batch.y);
    const double value = hk_tensor_item(loss);
    assert_int_equal(hk_backward(r->ctx, loss), HK_OK);
    assert_int_equal(hk_step_end(r->ctx), HK_OK);
    return value;
}

/* Steps as programs do them: captured and replayed where that goes. */
static inline hk_status run_step(hk_context *ctx, void *arg) {
    const run *r = arg;
    hk_batch batch;
    if (!hk_loader_next(r->loader, &batch) && !hk_loader_next(r->loader, &batch))
        return HK_ERR_STATE;
    hk_optimizer_zero_grad(r->opt);
    const hk_status status =
        hk_backward(ctx, hk_cross_entropy(hk_forward(r->net, batch.x), batch.y));
    return status ? status : hk_optimizer_step(r->opt);
}
static inline void run_steps(run *r, int64_t steps) {
    for (int64_t s = 0; s < steps; s++)
        if (hk_step_run(r->ctx, run_step, r) != HK_OK) fail_msg("%s", hk_error_message(r->ctx));
}

/* ‖a - b‖ and ‖b‖ of two tensors of floats or doubles, wherever they lie. */
static inline void apart(hk_tensor *a, hk_tensor *b, double *distance, double *size) {
    const double *x = values(a), *y = values(b);
    double d = 0, s = 0;
    for (int64_t i = 0; i < hk_tensor_count(a); i++) {
        d += (x[i] - y[i]) * (x[i] - y[i]);
        s += y[i] * y[i];
    }
    *distance = sqrt(d);
    *size = sqrt(s);
}

/* Over all parameters. */
static inline double weights_apart(const run *a, const run *b) {
    double squares = 0;
    for (int i = 0; i < a->all.count; i++) {
        double distance, size;
        apart(a->all.items[i], b->all.items[i], &distance, &size);
        squares += distance * distance;
    }
    return sqrt(squares);
}

#endif
