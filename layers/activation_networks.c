/* activation_networks.c: activations that are small networks: Dynamic ReLU, Meta-ACON, FReLU, mixtures.
   SPDX-License-Identifier: MIT

   x: (n, c) or (n, c, ...), of FReLU (n, c, h, w); what looks at the whole of a sample looks at its mean over the
   axes behind c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "activation_module.h"

/* A row by its name: the rows' numbers are private to activations/. */
static bool is(const hk__activation_state *a, const char *name) {
    return strcmp(a->spec.info->name, name) == 0;
}

/* --- two linear layers on the mean of each channel ---------------------------------------------------------------- */

static hk_status make_linear(hk_module *m, const char *name, int64_t in, int64_t out, bool zero,
                             hk_module **made) {
    hk_shape shape;
    *made = hk_module_adopt(m, name, hk_linear(hk_module_context(m), in, out));
    HK_TRY(hk_module_shape(*made, HK_SHAPE(-1, in), &shape));
    if (zero) (*made)->slots[0].init.kind = HK_INIT_ZERO;
    return HK_OK;
}

static hk_status make_two(hk_module *m, hk__activation_state *a, hk_shape in, int64_t hidden,
                          int64_t out, bool zero) {
    HK_TRY(make_linear(m, "fc1", in.dim[1], hidden, false, &a->fc1));
    return make_linear(m, "fc2", hidden, out, zero, &a->fc2);
}

/* (n, c, ...) -> (n, c): the mean over what is behind c. */
static hk_tensor *pooled(hk_tensor *x) {
    unsigned axes = 0;
    for (int i = 2; i < x->shape.rank; i++) axes |= HK_AXIS(i);
    return axes ? hk_mean(x, axes, false) : x;
}

/* t: (n, c, ...) with 1 behind as often as x has axes. */
static hk_tensor *as_wide_as(hk_tensor *t, const hk_tensor *x) {
    if (!t) return NULL;
    hk_shape shape = t->shape;
    while (shape.rank < x->shape.rank) shape.dim[shape.rank++] = 1;
    return hk_reshape(t, shape);
}

/* --- Dynamic ReLU --------------------------------------------------------------------------------------------------- */

static hk_status dyrelu_build(hk_module *m, hk__activation_state *a, hk_shape in) {
    const int64_t c = in.dim[1], hidden = c / (int64_t)a->spec.value[0];
    return make_two(m, a, in, hidden > 0 ? hidden : 1, is(a, "dyrelu_b") ? 4 * c : 4, true);
}

/* Coefficient i of a1, a2, b1, b2 from θ: (n, c or 1, 4), as start + scale·θ. */
static hk_tensor *coefficient(hk_tensor *theta, int i, double start, double scale, hk_tensor *x) {
    hk_tensor *one = hk_slice(theta, 2, i, 1);
    return as_wide_as(hk_scale(one ? hk_flatten_from(one, 1) : NULL, scale, start), x);
}

static hk_tensor *dyrelu_forward(hk__activation_state *a, hk_tensor *x) {
    hk_tensor *v = hk_forward(a->fc2, hk_activate(hk_forward(a->fc1, pooled(x)), "relu"));
    /* 2σ(v) - 1 = tanh(v/2) */
    hk_tensor *theta = hk_activate(hk_scale(v, 0.5, 0), "tanh");
    if (!theta) return NULL;
    theta = hk_reshape(theta, HK_SHAPE(theta->shape.dim[0], theta->shape.dim[1] / 4, 4));
    hk_tensor *first =
        hk_add(hk_mul(x, coefficient(theta, 0, 1, 1, x)), coefficient(theta, 2, 0, 0.5, x));
    hk_tensor *second =
        hk_add(hk_mul(x, coefficient(theta, 1, 0, 1, x)), coefficient(theta, 3, 0, 0.5, x));
    return hk_where(hk_greater_equal(first, second), first, second); /* a tie is the first's */
}

/* --- Meta-ACON --------------------------------------------------------------------------------------------------------- */

static hk_status make_norm(hk_module *m, const char *name, hk_module *norm, hk_shape in,
                           hk_module **made) {
    hk_shape shape;
    *made = hk_module_adopt(m, name, norm);
    return hk_module_shape(*made, in, &shape);
}

static hk_status meta_acon_build(hk_module *m, hk__activation_state *a, hk_shape in) {
    const int64_t c = in.dim[1], r = (int64_t)a->spec.value[0];
    const bool paper = a->spec.init == 1;
    const hk_init p1 = {.kind = HK_INIT_CONSTANT, .value = paper ? 0 : 1, .normal = paper};
    const hk_init p2 = {.kind = HK_INIT_CONSTANT, .normal = paper};
    a->params[0] = hk__activation_parameter(m, "p1", true, in, p1);
    a->params[1] = hk__activation_parameter(m, "p2", true, in, p2);
    HK_TRY(hk_error(hk_module_context(m)));
    const int64_t hidden = c / r > r ? c / r : r;
    HK_TRY(make_two(m, a, in, hidden, c, false));
    if (a->spec.value[1] == 0) return HK_OK;
    hk_context *ctx = hk_module_context(m);
    HK_TRY(make_norm(m, "bn1", hk_batch_norm1d(ctx, NULL), HK_SHAPE(-1, hidden), &a->bn1));
    return make_norm(m, "bn2", hk_batch_norm1d(ctx, NULL), HK_SHAPE(-1, c), &a->bn2);
}

/* Batch norm would speak of a tensor that the user never saw. */
static hk_status enough_samples(const hk_module *m, const hk__activation_state *a,
                                const hk_tensor *x) {
    if (!a->bn1 || !m->training || x->shape.rank < 1 || x->shape.dim[0] != 1) return HK_OK;
    return hk_fail(x->ctx, HK_ERR_ARGUMENT, a->spec.info->name,
                   "%s: with bn=on a batch must have 2 samples or more in training, not 1: use "
                   "bn=off or larger batches",
                   hk__place_of(m));
}

static hk_tensor *meta_acon_forward(const hk_module *m, hk__activation_state *a, hk_tensor *x) {
    hk_activation_spec acon;
    if (enough_samples(m, a, x) != HK_OK) return NULL;
    hk_tensor *v = hk_forward(a->fc1, pooled(x));
    v = hk_forward(a->fc2, a->bn1 ? hk_forward(a->bn1, v) : v);
    if (a->bn2) v = hk_forward(a->bn2, v);
    hk_tensor *params[HK_ACTIVATION_MAX_PARAMS] = {a->params[0], a->params[1],
                                                   as_wide_as(hk_activate(v, "sigmoid"), x)};
    if (!params[2] || hk_activation_parse(x->ctx, "acon_c", &acon) != HK_OK) return NULL;
    return hk_activate_with(x, &acon, params);
}

/* --- FReLU ------------------------------------------------------------------------------------------------------------- */

static hk_status check_image(const hk_module *m, const hk__activation_state *a, hk_shape in) {
    char text[160];
    if (in.rank < 0 || in.rank == 4) return HK_OK;
    return hk_fail(m->object.ctx, HK_ERR_SHAPE, a->spec.info->name,
                   "%s takes images, (n, channels, height, width), not %s", hk__place_of(m),
                   hk__shape_pattern(in, text, sizeof text));
}

/* The scale of the convolution's weights does not matter to T, as batch norm divides by it, but small ones turn
   faster by the same steps. */
static hk_status frelu_build(hk_module *m, hk__activation_state *a, hk_shape in) {
    hk_context *ctx = hk_module_context(m);
    const int64_t c = in.dim[1];
    const hk_conv2d_config each = {.padding = HK_SQUARE(1), .groups = c};
    hk_shape shape;
    a->conv = hk_module_adopt(m, "conv", hk_conv2d_no_bias(ctx, c, c, HK_SQUARE(3), &each));
    HK_TRY(hk_module_shape(a->conv, in, &shape));
    a->conv->slots[0].init = (hk_init){.kind = HK_INIT_CONSTANT, .normal = 0.01};
    HK_TRY(make_norm(m, "bn", hk_batch_norm2d(ctx, NULL), shape, &a->bn1));
    a->bn1->slots[0].init.value = a->spec.value[0];
    return HK_OK;
}

static hk_tensor *frelu_forward(const hk_module *m, hk__activation_state *a, hk_tensor *x) {
    if (check_image(m, a, x->shape) != HK_OK) return NULL;
    return hk_maximum(x, hk_forward(a->bn1, hk_forward(a->conv, x)));
}

/* --- mixtures ------------------------------------------------------------------------------------------------------------ */

static hk_status mix_build(hk_module *m, hk__activation_state *a) {
    hk_context *ctx = hk_module_context(m);
    hk_activation_spec one;
    int n = 0;
    while (hk_activation_candidate(ctx, &a->spec, n, &one) == HK_OK) n++;
    a->candidates = calloc((size_t)n, sizeof *a->candidates);
    a->mean = calloc((size_t)n, sizeof *a->mean);
    a->deviation = calloc((size_t)n, sizeof *a->deviation);
    if (!a->candidates || !a->mean || !a->deviation)
        return hk_fail(ctx, HK_ERR_MEMORY, "mix", "no memory");
    a->n_candidates = n;
    for (int k = 0; k < n; k++) {
        HK_TRY(hk_activation_candidate(ctx, &a->spec, k, &a->candidates[k]));
        const double mean = hk_activation_expectation(&a->candidates[k], HK_MEAN);
        const double second = hk_activation_expectation(&a->candidates[k], HK_SECOND_MOMENT);
        a->mean[k] = mean;
        a->deviation[k] = sqrt(second - mean * mean);
        if (!(a->deviation[k] > 1e-6))
            return hk_fail(ctx, HK_ERR_ARGUMENT, "mix", "%s is a constant: it cannot be normalised",
                           a->candidates[k].info->name);
    }
    a->logits = hk_module_parameter(m, "logits", HK_SHAPE(n), (hk_init){.kind = HK_INIT_CONSTANT});
    return hk_error(ctx);
}

static hk_tensor *mix_forward(hk__activation_state *a, hk_tensor *x) {
    hk_tensor *weight = hk_softmax(hk_scale(a->logits, 1 / a->spec.value[0], 0), 0), *y = NULL;
    for (int k = 0; k < a->n_candidates; k++) {
        hk_tensor *f = hk_activate_with(x, &a->candidates[k], NULL);
        f = hk_scale(f, 1 / a->deviation[k], -a->mean[k] / a->deviation[k]);
        f = hk_mul(f, hk_slice(weight, 0, k, 1));
        y = k == 0 ? f : hk_add(y, f);
    }
    return y;
}

/* --- all of them ----------------------------------------------------------------------------------------------------------- */

hk_status hk__network_build(hk_module *m, hk__activation_state *a, hk_shape in) {
    if (is(a, "mix")) return mix_build(m, a);
    if (is(a, "frelu")) HK_TRY(check_image(m, a, in));
    if (in.rank < 2 || in.dim[1] < 1)
        return hk_fail(
            hk_module_context(m), HK_ERR_SHAPE, a->spec.info->name,
            "%s: the number of channels (axis 1) must be known: call hk_module_build with the "
            "input's shape",
            hk__place_of(m));
    if (is(a, "frelu")) return frelu_build(m, a, in);
    return is(a, "meta_acon") ? meta_acon_build(m, a, in) : dyrelu_build(m, a, in);
}

hk_tensor *hk__network_forward(const hk_module *m, hk__activation_state *a, hk_tensor *x) {
    if (is(a, "mix")) return mix_forward(a, x);
    if (is(a, "frelu")) return frelu_forward(m, a, x);
    return is(a, "meta_acon") ? meta_acon_forward(m, a, x) : dyrelu_forward(a, x);
}
