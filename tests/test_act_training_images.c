/* ctest: labels=unit timeout=240 sanitized=slow devices=cpu,cuda emulated=slow */
/* test_act_training_images.c: every activation trains on images: in a small convolutional network
   whose last layer keeps its random weights, the loss can fall only through the activations.
   SPDX-License-Identifier: MIT */
#include "training_fixture.h"

#define GOAL 0.6 /* times the loss of a constant predictor */

static double constant_loss; /* of the best predictor that does not look */
static int networks;         /* trained so far */

/* Mean 0 and deviation 1, as what layers are drawn for. */
static void standardise(void) {
    double sum = 0, square = 0;
    for (int i = 0; i < DIGITS * PIXELS; i++) {
        sum += (double)pixels[i];
        square += (double)pixels[i] * (double)pixels[i];
    }
    const double mean = sum / (DIGITS * PIXELS),
                 deviation = sqrt(square / (DIGITS * PIXELS) - mean * mean);
    for (int i = 0; i < DIGITS * PIXELS; i++)
        pixels[i] = (float)(((double)pixels[i] - mean) / deviation);
}

static int prepare(void **state) {
    if (read_digits(state) != 0) return -1;
    standardise();
    int count[CLASSES] = {0};
    for (int i = 0; i < DIGITS; i++) count[labels[i]]++;
    for (int k = 0; k < CLASSES; k++)
        constant_loss -= count[k] * log((double)count[k] / DIGITS) / DIGITS;
    return 0;
}

/* --- one network ------------------------------------------------------------------------------ */

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

static trial cnn(const char *text) {
    hk_context *ctx = context(HK_F32, 2, 1);
    trial t = trial_of(text, ctx, small(ctx, text), HK_SHAPE(1, SIDE, SIDE));
    scale_last(&t, scale_of_last(ctx, text));
    keep_start(&t);
    return t;
}

/* Batch norm takes away these biases in training, see test_act_images.c: what moves them is noise. */
static bool is_taken_away(const char *text, const char *name) {
    return strstr(text, "bn=on") && strstr(name, ".bias") && !strstr(name, "bn2") &&
           (strstr(name, "fc") || strstr(name, "bn1"));
}

static void check(const char *text) {
    trial t = cnn(text);
    const hk_parameters before = but_the_last(&t);
    const double start = loss_of(&t), loss = train_to(&t, before, 0.01, GOAL * constant_loss);
    if (!(loss < GOAL * constant_loss))
        fail_msg("%s: behind a frozen layer the loss went from %.3f to %.3f; a constant has %.3f",
                 text, start, loss, constant_loss);
    for (int i = 0; i < t.all.count; i++) {
        const char *name = hk_tensor_name(t.all.items[i]);
        const double way = moved(&t, i);
        if (i >= before.count ? way != 0 : !(way > 1e-5 || is_taken_away(text, name)))
            fail_msg("%s: %s has moved by %g", text, name, way);
    }
    networks++;
    end(&t);
}

/* --- every row -------------------------------------------------------------------------------- */

static void every_row(void **state) {
    (void)state;
    const hk_activation_info *row;
    char text[TEXT];
    int rows = 0;
    for (; (row = hk_activation_row(NULL, rows)) != NULL; rows++) {
        specification(row, false, text);
        check(text);
    }
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
    return cmocka_run_group_tests(tests, prepare, NULL);
}
