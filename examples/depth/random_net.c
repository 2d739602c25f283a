/* random_net.c: deep random networks, measured layer by layer.
   SPDX-License-Identifier: MIT */
#include "random_net.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "elements.h"

static const double root3 = 1.7320508075688772; /* uniform on ±√3 has variance 1 */

/* Numbers of mean 0 and this deviation. */
static hk_tensor *drawn(hk_context *ctx, const char *what, int layer, hk_shape shape, bool uniform,
                        double deviation) {
    char stream[64];
    snprintf(stream, sizeof stream, "depth/%s%d", what, layer);
    const hk_random random = hk_random_stream(hk_context_describe(ctx).seed, stream, 0);
    hk_tensor *t = hk_tensor_new(ctx, HK_F64, shape);
    double *at = elements_take(t);
    for (int64_t i = 0; at && i < hk_tensor_count(t); i++)
        at[i] = deviation * (uniform ? root3 * (2 * hk_random_uniform(random, (uint64_t)i) - 1)
                                     : hk_random_normal(random, (uint64_t)i));
    elements_put(t, at);
    return t;
}

bool random_net_open(random_net *net, hk_context *ctx, int depth, int64_t width, int64_t widest,
                     int64_t samples, bool uniform) {
    *net = (random_net){
        .ctx = ctx, .depth = depth, .width = width, .widest = widest, .samples = samples};
    net->weight = calloc((size_t)depth, sizeof *net->weight);
    net->bias = calloc((size_t)depth, sizeof *net->bias);
    if (!net->weight || !net->bias)
        return hk_fail(ctx, HK_ERR_MEMORY, "depth", "no memory for %d layers", depth) == HK_OK;
    for (int l = 0; l < depth; l++) {
        net->weight[l] =
            drawn(ctx, "weight", l, HK_SHAPE(widest, width), uniform, 1 / sqrt((double)width));
        net->bias[l] = drawn(ctx, "bias", l, HK_SHAPE(widest), uniform, 1);
    }
    return hk_error(ctx) == HK_OK;
}

void random_net_close(random_net *net) {
    for (int l = 0; l < net->depth; l++) {
        if (net->weight) hk_tensor_destroy(net->weight[l]);
        if (net->bias) hk_tensor_destroy(net->bias[l]);
    }
    free(net->weight);
    free(net->bias);
    *net = (random_net){0};
}

/* Each row gets this sum of squares. */
static void normalise(hk_tensor *t, double squares) {
    const int64_t rows = hk_tensor_dim(t, 0), columns = hk_tensor_dim(t, 1);
    double *all = elements_take(t), *at = all;
    for (int64_t r = 0; at && r < rows; r++, at += columns) {
        double sum = 0;
        for (int64_t i = 0; i < columns; i++) sum += at[i] * at[i];
        const double scale = sqrt(squares / sum);
        for (int64_t i = 0; i < columns; i++) at[i] *= scale;
    }
    elements_put(t, all);
}

/* Mean over rows of the sum of squares; NaN without a tensor. */
static double squared_length(hk_tensor *t) {
    const double *at = hk_tensor_values(t);
    if (!at) return NAN;
    double sum = 0;
    for (int64_t i = 0; i < hk_tensor_count(t); i++) sum += at[i] * at[i];
    return sum / (double)hk_tensor_dim(t, 0);
}

/* The first rows of W, or of b. */
static hk_tensor *first(hk_tensor *t, int64_t rows) {
    return hk_tensor_dim(t, 0) == rows ? t : hk_slice(t, 0, 0, rows);
}

static hk_tensor *layer(const random_net *net, int l, hk_module *f, int64_t rows, hk_tensor *z,
                        double weight_deviation, double bias_deviation) {
    hk_tensor *h = hk_scale(hk_forward(f, z), weight_deviation, 0);
    hk_tensor *next = hk_affine(h, first(net->weight[l], rows), HK_NO_BIAS);
    if (bias_deviation == 0) return next;
    return hk_add(next, hk_scale(first(net->bias[l], rows), bias_deviation, 0));
}

static bool run(const random_net *net, hk_module *f, int64_t rows, hk_tensor **z, hk_tensor *end,
                double weight_variance, double bias_variance, double *q, double *g) {
    const double sw = sqrt(weight_variance), sb = sqrt(bias_variance);
    for (int l = 0; l < net->depth; l++) z[l + 1] = layer(net, l, f, rows, z[l], sw, sb);
    const hk_status status = hk_backward_from(net->ctx, z[net->depth], end);
    for (int l = 0; status == HK_OK && l <= net->depth; l++) {
        q[l] = squared_length(z[l]) / (double)rows;
        g[l] = squared_length(l < net->depth ? hk_grad(z[l]) : end);
    }
    return hk_step_end(net->ctx) == HK_OK && status == HK_OK;
}

bool random_net_measure(random_net *net, const char *activation, double weight_variance,
                        double bias_variance, double start, double *q, double *g) {
    hk_context *ctx = net->ctx;
    hk_activation_spec spec;
    hk_module *f = hk_activation(ctx, activation);
    if (!f || hk_activation_parse(ctx, activation, &spec) != HK_OK) return false;
    const int64_t rows = hk_activation_widens(&spec) * net->width;
    const hk_shape shape = HK_SHAPE(net->samples, rows);
    hk_tensor **z = calloc((size_t)net->depth + 1, sizeof *z);
    hk_tensor *x = drawn(ctx, "input", 0, shape, false, 1);
    hk_tensor *end = drawn(ctx, "gradient", 0, shape, false, 1);
    normalise(x, start * (double)rows);
    normalise(end, 1);
    bool ok =
        z && hk_require_grad(x) && end && hk_module_build(f, HK_SHAPE(-1, rows), NULL) == HK_OK;
    if (ok) {
        hk_module_train(f, false); /* rrelu draws nothing */
        z[0] = x;
        ok = run(net, f, rows, z, end, weight_variance, bias_variance, q, g);
    }
    free(z);
    hk_tensor_destroy(x);
    hk_tensor_destroy(end);
    hk_module_destroy(f);
    return ok;
}
