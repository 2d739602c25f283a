/* ctest: labels=unit timeout=240 sanitized=slow */
/* test_act_training_images.c: every activation trains on images: in a small convolutional network
   whose last layer keeps its random weights, the loss can fall only through the activations.
   SPDX-License-Identifier: MIT */
#include "net_fixture.h"

#include "activation_fixture.h"

enum { DIGITS = 1000, SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10, EPOCHS_MOST = 40, TEXT = 96 };
#define GOAL 0.6 /* times the loss of a constant predictor */

static float pixels[DIGITS * PIXELS];
static int32_t labels[DIGITS];
static double constant_loss; /* of the best predictor that does not look */
static int networks;         /* trained so far */

/* Mean 0 and deviation 1, as what layers are drawn for. */
static void standardise(const float *from) {
    double sum = 0, square = 0;
    for (int i = 0; i < DIGITS * PIXELS; i++) {
        sum += (double)from[i];
        square += (double)from[i] * (double)from[i];
    }
    const double mean = sum / (DIGITS * PIXELS),
                 deviation = sqrt(square / (DIGITS * PIXELS) - mean * mean);
    for (int i = 0; i < DIGITS * PIXELS; i++)
        pixels[i] = (float)(((double)from[i] - mean) / deviation);
}

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
        int count[CLASSES] = {0};
        standardise(hk_tensor_data(batch.x));
        memcpy(labels, hk_tensor_data(batch.y), sizeof labels);
        for (int i = 0; i < DIGITS; i++) count[labels[i]]++;
        for (int k = 0; k < CLASSES; k++)
            constant_loss -= count[k] * log((double)count[k] / DIGITS) / DIGITS;
    }
    hk_context_destroy(ctx);
    return have ? 0 : -1;
}

/* --- one network ------------------------------------------------------------------------------ */

typedef struct trial {
    const char *text; /* the activation */
    hk_context *ctx;
    hk_module *net;
    hk_parameters all, trained; /* trained: all but the last layer's */
    hk_loader *loader;
    hk_tensor **start; /* copies of all */
} trial;

/* conv 3x3x8, act, maxpool 2, conv 3x3x16, act, maxpool 2, linear 10. */
static hk_module *small(hk_context *ctx, const char *text) {
    const hk_conv2d_config same = {.padding = HK_SQUARE(1)};
    const hk_pool2d_config half = {.kernel = HK_SQUARE(2)};
    return hk_sequential(ctx, hk_conv2d(ctx, 1, 8, HK_SQUARE(3), &same), hk_activation(ctx, text),
                         hk_max_pool2d(ctx, &half), hk_conv2d(ctx, 8, 16, HK_SQUARE(3), &same),
                         hk_activation(ctx, text), hk_max_pool2d(ctx, &half), hk_flatten(ctx),
                         hk_linear(ctx, 16 * (SIDE / 4) * (SIDE / 4), CLASSES));
}

/* Where outputs are at most 1, or add up to 1 over 16 channels, logits that random weights make of
   them differ too little for a loss near 0, whatever the input. There the weights are larger. */
static float scale_of_last(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    assert_int_equal(hk_activation_parse(ctx, text, &spec), HK_OK);
    if (strcmp(spec.info->name, "softmax") == 0) return 16;
    return fabs(hk_activation_value(&spec, 1e9)) <= 1 && fabs(hk_activation_value(&spec, -1e9)) <= 1
               ? 4
               : 1;
}

static trial trial_of(const char *text) {
    const hk_shape image = HK_SHAPE(1, SIDE, SIDE);
    trial t = {.text = text, .ctx = context(HK_F32, 2, 1)};
    t.net = small(t.ctx, text);
    if (hk_module_build(t.net, HK_SHAPE(-1, 1, SIDE, SIDE), NULL) != HK_OK)
        fail_msg("%s: %s", text, hk_error_message(t.ctx));
    t.all = hk_module_parameters(t.net);
    t.trained = (hk_parameters){t.all.count - 2, t.all.items};
    hk_dataset *digits = hk_dataset_from(t.ctx, DIGITS, image, HK_F32, pixels, labels, CLASSES);
    t.loader = hk_loader_create(digits, &(hk_loader_config){.batch = 50, .shuffle = true});
    hk_tensor *last = t.all.items[t.trained.count];
    const float scale = scale_of_last(t.ctx, text);
    for (int64_t i = 0; i < hk_tensor_count(last); i++) ((float *)hk_tensor_data(last))[i] *= scale;
    t.start = calloc((size_t)t.all.count, sizeof *t.start);
    assert_non_null(t.start);
    for (int i = 0; i < t.all.count; i++) t.start[i] = hk_tensor_keep(t.all.items[i]);
    assert_ok(t.ctx);
    return t;
}

static void end(trial *t) {
    free(t->start);
    hk_context_destroy(t->ctx);
}

/* Of all digits, in evaluation mode. */
static double loss_of(trial *t) {
    hk_module_train(t->net, false);
    const bool recording = hk_grad_enable(t->ctx, false);
    hk_tensor *x = hk_constant(t->ctx, HK_F32, HK_SHAPE(DIGITS, 1, SIDE, SIDE), pixels);
    hk_tensor *y = hk_constant(t->ctx, HK_I32, HK_SHAPE(DIGITS), labels);
    const double loss = hk_tensor_item(hk_cross_entropy(hk_forward(t->net, x), y));
    assert_int_equal(hk_step_end(t->ctx), HK_OK);
    hk_grad_enable(t->ctx, recording);
    hk_module_train(t->net, true);
    return loss;
}

/* Trains all but the last layer until the loss is below `goal`, for a while at most; the loss. */
static double train_to(trial *t, double goal) {
    hk_adam_config adam = hk_adam_defaults();
    adam.lr = 0.01;
    hk_optimizer *opt = hk_adam(t->ctx, t->trained, adam);
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

/* Batch norm takes away these biases in training, see test_act_images.c: what moves them is noise. */
static bool is_taken_away(const char *text, const char *name) {
    return strstr(text, "bn=on") && strstr(name, ".bias") && !strstr(name, "bn2") &&
           (strstr(name, "fc") || strstr(name, "bn1"));
}

static void check(const char *text) {
    trial t = trial_of(text);
    const double start = loss_of(&t), loss = train_to(&t, GOAL * constant_loss);
    if (!(loss < GOAL * constant_loss))
        fail_msg("%s: behind a frozen layer the loss went from %.3f to %.3f; a constant has %.3f",
                 text, start, loss, constant_loss);
    for (int i = 0; i < t.all.count; i++) {
        const char *name = hk_tensor_name(t.all.items[i]);
        const double way = moved(&t, i);
        if (i >= t.trained.count ? way != 0 : !(way > 1e-5 || is_taken_away(text, name)))
            fail_msg("%s: %s has moved by %g", text, name, way);
    }
    networks++;
    end(&t);
}

/* --- every row -------------------------------------------------------------------------------- */

/* The activation with all of its parameters trained that can be; for each channel if asked. */
static const char *specification(const hk_activation_info *row, bool per_channel, char text[TEXT]) {
    bool can_learn = false, learns = false;
    for (int k = 0; k < row->n_params; k++) {
        can_learn |= row->params[k].role == HK_PARAM_CAN_LEARN;
        learns |= row->params[k].role == HK_PARAM_LEARNS;
    }
    if (per_channel && !can_learn && !learns) return NULL;
    snprintf(text, TEXT, "%s%s%s", activation_text(row), can_learn ? ":learn=yes" : "",
             per_channel ? ":per=channel" : "");
    return text;
}

static void every_row(void **state) {
    (void)state;
    const hk_activation_info *row;
    char text[TEXT];
    int rows = 0;
    for (; (row = hk_activation_row(NULL, rows)) != NULL; rows++)
        check(specification(row, false, text));
    assert_true(rows > 0 && networks == rows);
}

static void per_channel(void **state) {
    (void)state;
    const hk_activation_info *row;
    char text[TEXT];
    const int before = networks;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++)
        if (specification(row, true, text)) check(text);
    assert_true(networks > before);
}

static void settings(void **state) {
    (void)state;
    static const char *const more[] = {"meta_acon:r=2:bn=on", "frelu:init=relu", "maxout:k=3",
                                       "glu:half=first"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) check(more[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(per_channel),
        cmocka_unit_test(settings),
    };
    return cmocka_run_group_tests(tests, read_digits, NULL);
}
