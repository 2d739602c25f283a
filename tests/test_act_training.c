/* ctest: labels=unit timeout=60 */
/* test_act_training.c: every activation trains: gradients pass through it to the layer before, and
   to its own parameters.
   SPDX-License-Identifier: MIT */
#include "net_fixture.h"

#include "activation_fixture.h"

enum { DIGITS = 1000, PIXELS = 784, HIDDEN = 64, CLASSES = 10, EPOCHS_MOST = 40, TEXT = 96 };

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
        memcpy(pixels, hk_tensor_data(batch.x), sizeof pixels);
        memcpy(labels, hk_tensor_data(batch.y), sizeof labels);
    }
    hk_context_destroy(ctx);
    return have ? 0 : -1;
}

/* --- one network ------------------------------------------------------------------------------ */

typedef struct trial {
    const char *text; /* the activation */
    hk_context *ctx;
    hk_module *net;
    hk_parameters all;
    hk_loader *loader;
    hk_tensor **start; /* copies of all */
} trial;

/* 784-64-10 by `auto`. */
static trial trial_of(const char *text) {
    trial t = {.text = text, .ctx = context(HK_F32, 1, 1)};
    t.net = hk_sequential(t.ctx, hk_linear(t.ctx, PIXELS, HIDDEN), hk_activation(t.ctx, text),
                          hk_linear(t.ctx, HIDDEN, CLASSES));
    assert_int_equal(hk_module_build(t.net, HK_SHAPE(-1, PIXELS), NULL), HK_OK);
    t.all = hk_module_parameters(t.net);
    hk_dataset *digits =
        hk_dataset_from(t.ctx, DIGITS, HK_SHAPE(PIXELS), HK_F32, pixels, labels, CLASSES);
    t.loader = hk_loader_create(digits, &(hk_loader_config){.batch = 50, .shuffle = true});
    assert_ok(t.ctx);
    return t;
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
    hk_module_train(t->net, false);
    const bool recording = hk_grad_enable(t->ctx, false);
    hk_tensor *x = hk_constant(t->ctx, HK_F32, HK_SHAPE(DIGITS, PIXELS), pixels);
    hk_tensor *y = hk_constant(t->ctx, HK_I32, HK_SHAPE(DIGITS), labels);
    const double loss = hk_tensor_item(hk_cross_entropy(hk_forward(t->net, x), y));
    assert_int_equal(hk_step_end(t->ctx), HK_OK);
    hk_grad_enable(t->ctx, recording);
    hk_module_train(t->net, true);
    return loss;
}

/* Trains some of the parameters until the loss is below `goal`, for a while at most; the loss. */
static double train_to(trial *t, hk_parameters some, double goal) {
    hk_adam_config adam = hk_adam_defaults();
    adam.lr = 0.005;
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

/* The farthest that an element of parameter i has come; NaN or infinity if one is not finite. */
static double moved(const trial *t, int i) {
    double most = 0;
    for (int64_t k = 0; k < hk_tensor_count(t->all.items[i]); k++) {
        const double way = fabs(number(t->all.items[i], k) - number(t->start[i], k));
        if (!(way <= most)) most = way;
        if (!isfinite(way)) return NAN;
    }
    return most;
}

/* --- every row -------------------------------------------------------------------------------- */

/* The activation with all of its parameters trained that can be; for each channel if asked. */
static const char *specification(const hk_activation_info *row, bool per_channel, char text[TEXT]) {
    bool can_learn = false, learns = false;
    for (int k = 0; k < row->n_params; k++) {
        can_learn |= row->params[k].role == HK_PARAM_CAN_LEARN;
        learns |= row->params[k].role == HK_PARAM_LEARNS;
    }
    snprintf(text, TEXT, "%s%s%s", activation_text(row), can_learn ? ":learn=yes" : "",
             per_channel && (can_learn || learns) ? ":per=channel" : "");
    return text;
}

/* The last layer keeps its random weights, so the loss can fall only through the activation. */
static void gradients_pass(void **state) {
    (void)state;
    const hk_activation_info *row;
    char text[TEXT];
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        if (activation_needs_images(row)) continue; /* test_act_training_images.c */
        trial t = trial_of(specification(row, false, text));
        const hk_parameters before = {t.all.count - 2, t.all.items};
        float *last = hk_tensor_data(t.all.items[before.count]);
        /* Outputs of softmax add up to 1, so a logit is a mean of 64 weights drawn from N(0, 1/64),
           and no input whatever makes logits differ enough for half the loss. The other rows have
           outputs of about 1 each: with 64 times the weights softmax is like them. */
        if (strcmp(row->name, "softmax") == 0)
            for (int i = 0; i < CLASSES * HIDDEN; i++) last[i] *= HIDDEN;
        keep_start(&t);
        const double start = loss_of(&t), loss = train_to(&t, before, start / 2);
        if (!(loss < start / 2))
            fail_msg("%s: behind a frozen layer the loss went from %.3f to %.3f", text, start,
                     loss);
        for (int i = 0; i < t.all.count; i++) {
            const char *name = hk_tensor_name(t.all.items[i]);
            const double way = moved(&t, i);
            if (i < before.count ? !(way > 1e-5) : way != 0)
                fail_msg("%s: %s has moved by %g", text, name, way);
        }
        end(&t);
    }
}

/* With the last layer too, and a parameter for each channel. */
static void everything_trains(void **state) {
    (void)state;
    const hk_activation_info *row;
    char text[TEXT];
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        if (activation_needs_images(row)) continue;
        trial t = trial_of(specification(row, true, text));
        keep_start(&t);
        const double start = loss_of(&t), loss = train_to(&t, t.all, 0.3);
        if (!(loss < 0.3)) fail_msg("%s: the loss went from %.3f to %.3f", text, start, loss);
        for (int i = 0; i < t.all.count; i++) {
            const double way = moved(&t, i);
            if (!(way > 1e-5))
                fail_msg("%s: %s has moved by %g", text, hk_tensor_name(t.all.items[i]), way);
        }
        end(&t);
    }
}

/* Where parameters start, by the specification of activations. */
static void starts(void **state) {
    (void)state;
    static const struct {
        const char *name, *param;
        double value;
    } cases[] = {
        {"step", "value_at_zero", 1},
        {"step", "clip", 1},
        {"step", "k", 1},
        {"step", "ste", 0},
        {"hard_tanh", "min_val", -1},
        {"hard_tanh", "max_val", 1},
        {"relu", "at_zero", 0},
        {"elu", "alpha", 1},
        {"celu", "alpha", 1},
        {"rrelu", "lower", 1 / 8.0},
        {"rrelu", "upper", 1 / 3.0},
        {"leaky_relu", "negative_slope", 0.01},
        {"softplus", "beta", 1},
        {"softplus", "threshold", 20},
        {"prelu", "alpha", 0.25},
        {"swish", "beta", 1},
        {"swish_skip", "alpha", 0.1},
        {"swish_skip", "beta", 1},
        {"apl", "S", 2},
        {"apl", "a1", 0},
        {"apl", "a2", 0},
        {"srelu", "t_l", 0},
        {"srelu", "a_l", 0.2},
        {"srelu", "t_r", 1},
        {"srelu", "a_r", 1},
        {"acon_a", "beta", 1},
        {"acon_b", "p", 0.25},
        {"acon_b", "beta", 1},
        {"acon_c", "p1", 1},
        {"acon_c", "p2", 0},
        {"acon_c", "beta", 1},
        {"pau", "a0", 0.033582613},
        {"pau", "a1", 0.50500909},
        {"pau", "a2", 1.6513596},
        {"pau", "a3", 2.004578},
        {"pau", "a4", 0.92796822},
        {"pau", "a5", 0.15154275},
        {"pau", "b1", 8.8705424e-05},
        {"pau", "b2", 3.9693394},
        {"pau", "b3", 6.442017e-05},
        {"pau", "b4", 0.30007393},
        {"maxout", "k", 2},
        {"glu", "half", 0},
        {"dyrelu_a", "r", 4},
        {"dyrelu_b", "r", 4},
        {"meta_acon", "r", 16},
        {"meta_acon", "bn", 0},
        {"frelu", "gamma", 1},
        {"mix:relu+tanh", "T", 1},
    };
    hk_context *ctx = context(HK_F32, 1, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hk_activation_spec spec;
        int k = 0;
        assert_int_equal(hk_activation_parse(ctx, cases[i].name, &spec), HK_OK);
        while (k < spec.info->n_params && strcmp(spec.info->params[k].name, cases[i].param)) k++;
        if (k == spec.info->n_params || spec.value[k] != cases[i].value)
            fail_msg("%s: %s does not start at %g", cases[i].name, cases[i].param, cases[i].value);
    }
    hk_context_destroy(ctx);
}

/* Unless a stand-in for its slope is asked for. */
static void step_refuses(void **state) {
    (void)state;
    trial t = trial_of("step");
    hk_optimizer *opt = hk_adam(t.ctx, t.all, hk_adam_defaults());
    hk_batch batch;
    assert_true(hk_loader_next(t.loader, &batch));
    assert_true(isnan(train_step(t.ctx, t.net, opt, &batch)));
    expect_error(t.ctx, HK_ERR_GRADIENT, "choose a stand-in, step:ste=identity|clip|sigmoid");
    end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_pass),
        cmocka_unit_test(everything_trains),
        cmocka_unit_test(starts),
        cmocka_unit_test(step_refuses),
    };
    return cmocka_run_group_tests(tests, read_digits, NULL);
}
