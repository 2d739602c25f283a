/* training_fixture.h: 1,000 digits, and trials that train a network on them: for the tests that every activation trains.
   SPDX-License-Identifier: MIT */
#ifndef HK_TRAINING_FIXTURE_H
#define HK_TRAINING_FIXTURE_H

#include "net_fixture.h"

#include "activation_fixture.h"

enum { DIGITS = 1000, SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10, EPOCHS_MOST = 40, TEXT = 96 };

static float pixels[DIGITS * PIXELS];
static int32_t labels[DIGITS];

/* The first 1,000 training images of MNIST. */
static int read_digits(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_dataset *mnist = hk_mnist(ctx, HK_SOURCE_DIR "/data/mnist", "train", CLASSES);
    hk_loader *loader = hk_loader_create(mnist, &(hk_loader_config){.batch = DIGITS});
    hk_batch batch;
    const bool have = hk_loader_next(loader, &batch);
    assert_ok(ctx);
    if (have) {
        memcpy(pixels, host(batch.x), sizeof pixels);
        memcpy(labels, host(batch.y), sizeof labels);
    }
    hk_context_destroy(ctx);
    return have ? 0 : -1;
}

typedef struct trial {
    const char *text; /* the activation */
    hk_context *ctx;
    hk_module *net;
    hk_shape item; /* of an input */
    hk_parameters all;
    hk_loader *loader;
    hk_tensor **start; /* copies of all */
} trial;

/* A network, built by `auto`, and the digits in batches of 50. */
static trial trial_of(const char *text, hk_context *ctx, hk_module *net, hk_shape item) {
    trial t = {.text = text, .ctx = ctx, .net = net, .item = item};
    hk_shape input = {.rank = item.rank + 1, .dim[0] = -1};
    for (int i = 0; i < item.rank; i++) input.dim[i + 1] = item.dim[i];
    if (hk_module_build(net, input, NULL) != HK_OK) fail_msg("%s: %s", text, hk_error_message(ctx));
    t.all = hk_module_parameters(net);
    hk_dataset *digits = hk_dataset_from(ctx, DIGITS, item, HK_F32, pixels, labels, CLASSES);
    t.loader = hk_loader_create(digits, &(hk_loader_config){.batch = 50, .shuffle = true});
    assert_ok(ctx);
    return t;
}

/* All but the last layer's. */
static hk_parameters but_the_last(const trial *t) {
    return (hk_parameters){t->all.count - 2, t->all.items};
}

static void scale_last(const trial *t, float scale) {
    hk_tensor *last = t->all.items[t->all.count - 2];
    float *w = host(last);
    for (int64_t i = 0; i < hk_tensor_count(last); i++) w[i] *= scale;
    host_done(last, w);
}

static void keep_start(trial *t) {
    t->start = calloc((size_t)t->all.count, sizeof *t->start);
    assert_non_null(t->start);
    for (int i = 0; i < t->all.count; i++) t->start[i] = hk_tensor_keep(t->all.items[i]);
    assert_ok(t->ctx);
}

static void end(trial *t) {
    free(t->start);
    hk_context_destroy(t->ctx);
}

/* Of all digits, in evaluation mode. */
static double loss_of(trial *t) {
    hk_shape shape = {.rank = t->item.rank + 1, .dim[0] = DIGITS};
    for (int i = 0; i < t->item.rank; i++) shape.dim[i + 1] = t->item.dim[i];
    hk_module_train(t->net, false);
    const bool recording = hk_grad_enable(t->ctx, false);
    hk_tensor *x = hk_constant(t->ctx, HK_F32, shape, pixels);
    hk_tensor *y = hk_constant(t->ctx, HK_I32, HK_SHAPE(DIGITS), labels);
    const double loss = hk_tensor_item(hk_cross_entropy(hk_forward(t->net, x), y));
    assert_int_equal(hk_step_end(t->ctx), HK_OK);
    hk_grad_enable(t->ctx, recording);
    hk_module_train(t->net, true);
    return loss;
}

/* Trains some of the parameters by Adam until the loss is below `goal`, for a while at most; the loss. */
static double train_to(trial *t, hk_parameters some, double lr, double goal) {
    hk_adam_config adam = hk_adam_defaults();
    adam.lr = lr;
    hk_optimizer *opt = hk_adam(t->ctx, some, adam);
    assert_ok(t->ctx);
    double loss = NAN;
    for (int epoch = 0; epoch < EPOCHS_MOST && !(loss < goal); epoch++) {
        hk_batch batch;
        while (hk_loader_next(t->loader, &batch))
            if (isnan(train_step(t->ctx, t->net, opt, &batch))) break;
        if (hk_error(t->ctx) != HK_OK) fail_msg("%s: %s", t->text, hk_error_message(t->ctx));
        loss = loss_of(t);
    }
    return loss;
}

/* The farthest that an element of parameter i has come; NaN if one is not finite. */
static double moved(const trial *t, int i) {
    double most = 0;
    for (int64_t k = 0; k < hk_tensor_count(t->all.items[i]); k++) {
        const double way = fabs(number(t->all.items[i], k) - number(t->start[i], k));
        if (!isfinite(way)) return NAN;
        most = fmax(most, way);
    }
    return most;
}

/* Whether the activation has parameters that can be trained; `text`: it, with all of them trained, for each channel if
   asked. */
static bool specification(const hk_activation_info *row, bool per_channel, char text[TEXT]) {
    bool can_learn = false, learns = false;
    for (int k = 0; k < row->n_params; k++) {
        can_learn |= row->params[k].role == HK_PARAM_CAN_LEARN;
        learns |= row->params[k].role == HK_PARAM_LEARNS;
    }
    snprintf(text, TEXT, "%s%s%s", activation_text(row), can_learn ? ":learn=yes" : "",
             per_channel && (can_learn || learns) ? ":per=channel" : "");
    return can_learn || learns;
}

#endif
