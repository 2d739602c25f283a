/* faults.c: faults to plant on purpose.
   SPDX-License-Identifier: MIT */
#include "faults.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../common/elements.h"

/* --- modules with a fault --------------------------------------------------------------------- */

/* Hands on a copy without a gradient. */
static hk_tensor *detached_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)state;
    hk_context *ctx = hk_module_context(m);
    const bool was = hk_grad_enable(ctx, false);
    hk_tensor *copy = hk_scale(x, 1, 0);
    hk_grad_enable(ctx, was);
    return copy;
}

static hk_tensor *logarithm_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m, (void)state;
    return hk_log(x); /* of activations that are 0 or below */
}

/* y = x·|x|, with a wrong derivative: half of it, or with the wrong sign. */
static hk_status square_forward(hk_op_call *c) {
    return (c->out[0] = hk_mul(c->in[0], hk_abs(c->in[0]))) ? HK_OK : hk_error(c->ctx);
}

static hk_status square_backward(hk_op_call *c) {
    const double factor = *(const double *)c->attr;
    return hk_op_add_grad(c, 0, hk_mul(c->gout[0], hk_scale(hk_abs(c->in[0]), factor, 0)));
}

static const hk_op square_op = {"signed_square", square_forward, square_backward, NULL};

static hk_tensor *square_module_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m;
    return x ? hk_apply(&square_op, state, sizeof(double), 1, &x, 1, NULL) : NULL;
}

static hk_status same_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)m, (void)state;
    *out = in;
    return HK_OK;
}

static const hk_module_class detached_class = {
    .name = "detached", .shape = same_shape, .forward = detached_forward};
static const hk_module_class logarithm_class = {
    .name = "logarithm", .shape = same_shape, .forward = logarithm_forward};
static const hk_module_class square_class = {.name = "signed_square",
                                             .state_size = sizeof(double),
                                             .shape = same_shape,
                                             .forward = square_module_forward};

hk_module *fault_module(hk_context *ctx, const fault *f) {
    const double half = 1, negative = -2; /* 2 is right */
    switch (f ? f->code : -1) {
    case FAULT_DETACHED: return hk_module_create(ctx, &detached_class, NULL);
    case FAULT_LOGARITHM: return hk_module_create(ctx, &logarithm_class, NULL);
    case FAULT_WRONG_FACTOR: return hk_module_create(ctx, &square_class, &half);
    case FAULT_WRONG_SIGN: return hk_module_create(ctx, &square_class, &negative);
    case FAULT_EVALUATION: return hk_dropout(ctx, 0.2);
    default: return NULL;
    }
}

hk_module *fault_output(hk_context *ctx, const fault *f) {
    switch (f ? f->code : -1) {
    case FAULT_SOFTMAX: return hk_activation(ctx, "softmax");
    case FAULT_SIGMOID: return hk_activation(ctx, "sigmoid");
    case FAULT_RELU: return hk_activation(ctx, "relu");
    default: return NULL;
    }
}

/* --- data ------------------------------------------------------------------------------------- */

/* Indices of the digits that are used, in order; how many. */
static int64_t choose(const fault *f, const digits *d, int64_t *order) {
    int64_t n = 0;
    if (fault_is(f, FAULT_SORTED)) {
        for (int c = 0; c < d->classes; c++)
            for (int64_t i = 0; i < d->count; i++)
                if (d->labels[i] == c) order[n++] = i;
        return n;
    }
    for (int64_t i = 0; i < d->count; i++)
        if (!fault_is(f, FAULT_CLASS_MISSING) || d->labels[i] != 3) order[n++] = i;
    return n;
}

hk_dataset *fault_dataset(hk_context *ctx, const fault *f, const digits *d) {
    const size_t size = (size_t)hk_shape_count(d->item), most = (size_t)d->count;
    int64_t *order = malloc(most * sizeof *order), *other = malloc(most * sizeof *other);
    float *pixels = malloc(most * size * sizeof *pixels);
    int32_t *labels = malloc(most * sizeof *labels);
    hk_dataset *made = NULL;
    if (order && other && pixels && labels) {
        const int64_t n = choose(f, d, order);
        const hk_random random = hk_random_stream(11, "faults", 0);
        hk_random_permutation(random, n, other);
        for (int64_t i = 0; i < n; i++) {
            memcpy(pixels + (size_t)i * size, d->pixels + (size_t)order[i] * size,
                   size * sizeof *pixels);
            labels[i] = d->labels[order[fault_is(f, FAULT_LABELS_SHUFFLED) ? other[i] : i]];
        }
        for (size_t i = 0; fault_is(f, FAULT_NOISE) && i < (size_t)n * size; i++)
            pixels[i] = (float)hk_random_uniform(random, i);
        if (fault_is(f, FAULT_NAN_INPUT)) pixels[(size_t)(n / 2) * size + size / 2] = NAN;
        made = hk_dataset_from(ctx, n, d->item, HK_F32, pixels, labels, d->classes);
    } else {
        hk_fail(ctx, HK_ERR_MEMORY, "faults", "no memory for the digits");
    }
    free(order);
    free(other);
    free(pixels);
    free(labels);
    return made;
}

/* Seven tenths of the rows are lost. */
static hk_tensor *blanked(hk_tensor *x) {
    hk_shape shape = hk_tensor_shape(x);
    const int64_t lost = shape.dim[2] * 7 / 10;
    hk_shape zeros = shape;
    zeros.dim[2] = lost;
    hk_tensor *parts[] = {hk_full(hk_tensor_context(x), hk_tensor_dtype(x), zeros, 0),
                          hk_slice(x, 2, lost, shape.dim[2] - lost)};
    return hk_concat(2, parts, 2);
}

hk_tensor *fault_inputs(const fault *f, hk_tensor *x) {
    switch (f ? f->code : -1) {
    case FAULT_ZERO_INPUT: return hk_scale(x, 0, 0);
    case FAULT_BYTES: return hk_scale(x, 255, 0);
    case FAULT_BLANK: return blanked(x);
    default: return x;
    }
}

/* Each sample gets the label of its neighbour. */
hk_tensor *fault_labels(const fault *f, hk_tensor *y) {
    if (!fault_is(f, FAULT_LABELS_ROLLED)) return y;
    const int64_t n = hk_tensor_count(y);
    const int32_t *from = hk_tensor_values(y);
    int32_t *to = malloc((size_t)n * sizeof *to + 1);
    for (int64_t i = 0; from && to && i < n; i++) to[i] = from[(i + 1) % n];
    hk_tensor *copy =
        from && to ? hk_constant(hk_tensor_context(y), HK_I32, HK_SHAPE(n), to) : NULL;
    free(to);
    return copy;
}

/* --- weights ---------------------------------------------------------------------------------- */

static void fill(hk_tensor *t, double factor, double value) {
    float *w = elements_take(t);
    for (int64_t i = 0; w && i < hk_tensor_count(t); i++)
        w[i] = (float)((double)w[i] * factor + value);
    elements_put(t, w);
}

void fault_weights(patient *p) {
    const fault *f = p->plan.fault;
    const hk_parameters all = hk_module_parameters(p->net);
    for (int i = 0; f && i < all.count; i++) {
        hk_tensor *t = all.items[i];
        const bool weight = hk_tensor_rank(t) >= 2, second = i == 3;
        if (weight && f->code == FAULT_EQUAL_WEIGHTS) fill(t, 0, 0.01);
        if (weight && f->code == FAULT_SMALL_WEIGHTS) fill(t, 0.02, 0);
        if (weight && f->code == FAULT_LARGE_WEIGHTS) fill(t, 20, 0);
        if (second && f->code == FAULT_DEAD) fill(t, 0, -50);
        if (second && f->code == FAULT_SATURATED) fill(t, 0, 20);
    }
}

/* --- the list --------------------------------------------------------------------------------- */

static void high(patient_plan *p) { p->lr = strcmp(p->optimizer, "adam") == 0 ? 1 : 30; }
static void low(patient_plan *p) { p->lr = strcmp(p->optimizer, "adam") == 0 ? 1e-8 : 1e-6; }
static void saturating(patient_plan *p) { p->activation = "tanh"; }
static void relus(patient_plan *p) { p->activation = "relu"; }
static void sigmoids(patient_plan *p) {
    p->activation = "sigmoid";
    p->net = "mlp";
    p->depth = p->depth < 8 ? 8 : p->depth;
    p->optimizer = "sgd";
    p->lr = 0.1;
}
static void residuals(patient_plan *p) {
    p->net = "residual";
    p->depth = p->depth < 24 ? 24 : p->depth;
    p->activation = "relu";
}

static const fault faults[] = {
    {"nan-input", "not_finite", "one pixel of one image is NaN", NULL, FAULT_NAN_INPUT},
    {"logarithm", "not_finite", "the logarithm of activations that may be 0", NULL,
     FAULT_LOGARITHM},
    {"no-step", "no_update", "hk_optimizer_step is never called", NULL, FAULT_NO_STEP},
    {"not-zeroed", "not_zeroed", "hk_optimizer_zero_grad is never called", NULL, FAULT_NOT_ZEROED},
    {"wrong-factor", "wrong_derivative", "an operation's backward has half the derivative", NULL,
     FAULT_WRONG_FACTOR},
    {"wrong-sign", "wrong_derivative", "an operation's backward has the wrong sign", NULL,
     FAULT_WRONG_SIGN},
    {"detached", "untouched", "a module hands on a copy without a gradient", NULL, FAULT_DETACHED},
    {"frozen", "frozen", "the optimizer does not have the first layer", NULL, FAULT_FROZEN},
    {"evaluation", "evaluation_mode", "dropout, trained in evaluation mode", NULL,
     FAULT_EVALUATION},
    {"softmax", "output_activation", "softmax before cross-entropy", NULL, FAULT_SOFTMAX},
    {"sigmoid", "output_activation", "sigmoid before cross-entropy", NULL, FAULT_SIGMOID},
    {"relu", "output_activation", "relu before cross-entropy", NULL, FAULT_RELU},
    {"zero-input", "no_information", "all pixels are 0", NULL, FAULT_ZERO_INPUT},
    {"noise", "no_information", "images of noise", NULL, FAULT_NOISE},
    {"sorted", "one_class_batches", "digits in the order of their classes, not shuffled", NULL,
     FAULT_SORTED},
    {"rolled-labels", "labels_out_of_step", "each image has the label of the next", NULL,
     FAULT_LABELS_ROLLED},
    {"shuffled-labels", "labels_out_of_step", "labels are shuffled, images are not", NULL,
     FAULT_LABELS_SHUFFLED},
    {"no-threes", "class_missing", "there is no 3 among the digits", NULL, FAULT_CLASS_MISSING},
    {"bytes", "input_scale", "pixels from 0 to 255", NULL, FAULT_BYTES},
    {"blank", "constant_features", "seven tenths of each image are lost", NULL, FAULT_BLANK},
    {"equal-weights", "symmetric", "all weights start with the same value", NULL,
     FAULT_EQUAL_WEIGHTS},
    {"small-weights", "initialisation", "initial weights are 50 times too small", NULL,
     FAULT_SMALL_WEIGHTS},
    {"large-weights", "initialisation", "initial weights are 20 times too large", NULL,
     FAULT_LARGE_WEIGHTS},
    {"dead", "dead", "biases of the second layer start at -50, before relu", relus, FAULT_DEAD},
    {"saturated", "saturated", "biases of the second layer start at 20, before tanh", saturating,
     FAULT_SATURATED},
    {"vanishing", "vanishing", "eight or more layers of sigmoid, trained by SGD", sigmoids,
     FAULT_VANISHING},
    {"exploding", "exploding", "24 residual blocks without a norm", residuals, FAULT_EXPLODING},
    {"rate-high", "rate_high", "a rate of 30 (Adam: 1)", high, FAULT_RATE_HIGH},
    {"rate-low", "rate_low", "a rate of 1e-6 (Adam: 1e-8)", low, FAULT_RATE_LOW},
};

const fault *fault_at(int i) {
    return i >= 0 && i < (int)(sizeof faults / sizeof *faults) ? &faults[i] : NULL;
}

const fault *fault_find(const char *name) {
    for (int i = 0; fault_at(i); i++)
        if (strcmp(fault_at(i)->name, name) == 0) return fault_at(i);
    return NULL;
}
