/* ctest: labels=unit timeout=60 devices=cpu,cuda emulated=slow */
/* test_act_training.c: every activation trains: gradients pass through it to the layer before, and
   to its own parameters.
   SPDX-License-Identifier: MIT */
#include "training_fixture.h"

enum { HIDDEN = 64 };
#define LR 0.005

/* 784-64-10. */
static trial mlp(const char *text) {
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, PIXELS, HIDDEN), hk_activation(ctx, text),
                                   hk_linear(ctx, HIDDEN, CLASSES));
    return trial_of(text, ctx, net, HK_SHAPE(PIXELS));
}

/* --- every row -------------------------------------------------------------------------------- */

/* The last layer keeps its random weights, so the loss can fall only through the activation. */
static void gradients_pass(void **state) {
    (void)state;
    const hk_activation_info *row;
    char text[TEXT];
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        if (activation_needs_images(row)) continue; /* test_act_training_images.c */
        specification(row, false, text);
        trial t = mlp(text);
        const hk_parameters before = but_the_last(&t);
        /* Outputs of softmax add up to 1, so a logit is a mean of 64 weights drawn from N(0, 1/64),
           and no input whatever makes logits differ enough for half the loss. The other rows have
           outputs of about 1 each: with 64 times the weights softmax is like them. */
        if (strcmp(row->name, "softmax") == 0) scale_last(&t, HIDDEN);
        keep_start(&t);
        const double start = loss_of(&t), loss = train_to(&t, before, LR, start / 2);
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
        specification(row, true, text);
        trial t = mlp(text);
        keep_start(&t);
        const double start = loss_of(&t), loss = train_to(&t, t.all, LR, 0.3);
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
    trial t = mlp("step");
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
