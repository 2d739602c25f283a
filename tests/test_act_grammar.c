/* ctest: labels=unit timeout=60 */
/* test_act_grammar.c: specifications by text: what each says, defaults, starts, and every way to
   be refused.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

/* --- what is understood ---------------------------------------------------------------------- */

static hk_activation_spec parsed(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    if (hk_activation_parse(ctx, text, &spec) != HK_OK)
        fail_msg("'%s': %s", text, hk_error_message(ctx));
    return spec;
}

static void settings(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec = parsed(ctx, "leaky_relu:negative_slope=0.2");
    assert_close("negative_slope", 0, spec.value[0], 0.2, 0);
    assert_true(!spec.learns[0] && !spec.per_channel);
    assert_true(parsed(ctx, "leaky_relu:learn=yes").learns[0]);
    spec = parsed(ctx, "prelu:per=channel:alpha=-5e-1:learn=no");
    assert_close("alpha", 0, spec.value[0], -0.5, 0);
    assert_true(!spec.learns[0] && spec.per_channel);
    spec = parsed(ctx, "prelu:per=channel:learn=no:learn=yes:alpha=1:per=layer:alpha=2");
    assert_close("alpha", 0, spec.value[0], 2, 0); /* the last one counts */
    assert_true(spec.learns[0] && !spec.per_channel);
    spec = parsed(ctx, "softplus:learn=yes:beta=2:threshold=-3");
    assert_true(spec.learns[0] && !spec.learns[1]); /* the threshold has no derivative */
    assert_close("threshold", 0, spec.value[1], -3, 0);
    spec = parsed(ctx, "srelu:t_l=-1:a_r=0.5");
    for (int k = 0; k < 4; k++) assert_true(spec.learns[k]);
    assert_values("srelu", kept(ctx, HK_F64, HK_SHAPE(4), spec.value), 4,
                  (const double[]){-1, 0.2, 1, 0.5}, 0);
}

static void choices_and_counts(void **state) {
    hk_context *ctx = *state;
    static const char *const ste[] = {"none", "identity", "clip", "sigmoid"};
    for (int i = 0; i < 4; i++) {
        char text[32];
        snprintf(text, sizeof text, "step:ste=%s", ste[i]);
        assert_close(text, 0, parsed(ctx, text).value[1], i, 0);
    }
    assert_close("half", 0, parsed(ctx, "glu").value[0], 0, 0);
    assert_close("half", 0, parsed(ctx, "swiglu:half=first").value[0], 1, 0);
    static const struct {
        const char *text;
        int times;
    } wide[] = {{"maxout", 2}, {"maxout:k=255", 255}, {"geglu:half=first", 2}, {"relu", 1}};
    for (int64_t k = 0; k < COUNT(wide); k++) {
        const hk_activation_spec spec = parsed(ctx, wide[k].text);
        assert_int_equal(hk_activation_widens(&spec), wide[k].times);
    }
    /* Hinges beyond S do not exist, whenever S is said. */
    hk_activation_spec spec = parsed(ctx, "apl:S=3:a3=0.5:b3=2");
    for (int k = 1; k < 11; k++) assert_int_equal(spec.learns[k], k <= 3 || (k >= 6 && k <= 8));
    assert_close("b3", 8, spec.value[8], 2, 0);
    spec = parsed(ctx, "apl:S=3:a3=0.5:S=1:a1=0.25");
    assert_close("a1", 1, spec.value[1], 0.25, 0);
    for (int k = 2; k < 11; k++)
        if (k != 6) assert_true(spec.value[k] == 0 && !spec.learns[k]);
}

/* A bare name gives every parameter its default, and trains those that learn. */
static void defaults(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r++) {
        const hk_activation_spec spec =
            parsed(ctx, strcmp(row->name, "mix") == 0 ? "mix:relu+tanh" : row->name);
        assert_ptr_equal(spec.info, row);
        assert_true(!spec.per_channel && spec.init == 0);
        for (int k = 0; k < row->n_params; k++) {
            const bool exists = row->params[k].from == 0 || row->params[k].from <= spec.value[0];
            assert_close(row->params[k].name, k, spec.value[k], exists ? row->params[k].value : 0,
                         0);
            assert_int_equal(spec.learns[k], exists && row->params[k].role == HK_PARAM_LEARNS);
        }
        for (int k = row->n_params; k < HK_ACTIVATION_MAX_PARAMS; k++)
            assert_true(spec.value[k] == 0 && !spec.learns[k]);
        if (row->alias) assert_ptr_equal(parsed(ctx, row->alias).info, row);
    }
    assert_string_equal(parsed(ctx, "custom").info->name, "swish_skip");
    assert_null(hk_activation_row(ctx, -1));
    assert_null(hk_activation_row(ctx, 1000));
    assert_null(hk_activation_row(NULL, 1000));
}

/* init=NAME gives every parameter its value of that start; the first start is the default. */
static void starts(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    int n = 0;
    for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r++)
        for (int i = 0; i < HK_ACTIVATION_MAX_INITS && row->inits[i].name; i++, n++) {
            char text[64];
            snprintf(text, sizeof text, "%s:init=%s", row->name, row->inits[i].name);
            const hk_activation_spec spec = parsed(ctx, text), plain = parsed(ctx, row->name);
            assert_int_equal(spec.init, i);
            for (int k = 0; k < row->n_params; k++) {
                assert_int_equal(spec.learns[k], plain.learns[k]);
                if (row->params[k].from > spec.value[0]) continue;
                assert_close(text, k, spec.value[k], row->inits[i].value[k], 0);
                if (i == 0) assert_close(text, k, spec.value[k], row->params[k].value, 0);
            }
        }
    assert_true(n > 0);
    /* whatever the order, a setting counts more than the start */
    const hk_activation_spec before = parsed(ctx, "meta_acon:r=2:init=paper");
    assert_close("r", 0, before.value[0], 2, 0);
    assert_int_equal(before.init, 1);
    const hk_activation_spec spec = parsed(ctx, "acon_c:init=paper:p1=2");
    assert_close("p1", 0, spec.value[0], 2, 0);
    assert_close("p2", 0, spec.value[1], 0, 0);
}

/* pau's starts fit what they are named for, on [-3, 3]. */
static void fits(void **state) {
    hk_context *ctx = *state;
    static const struct {
        const char *name;
        double most;
    } fit[] = {{"leaky_relu", 3.5e-2}, {"relu", 3.5e-2}, {"silu", 1.2e-6}, {"tanh", 3.5e-6}};
    for (int64_t k = 0; k < COUNT(fit); k++) {
        char text[32];
        snprintf(text, sizeof text, "pau:init=%s", fit[k].name);
        const hk_activation_spec pau = parsed(ctx, text), target = parsed(ctx, fit[k].name);
        double worst = 0;
        for (double x = -3; x <= 3; x += 1.0 / 128) {
            const double off = fabs(hk_activation_value(&pau, x) - hk_activation_value(&target, x));
            assert_close(text, (int64_t)(x * 128), off, 0, fit[k].most);
            worst = fmax(worst, off);
        }
        assert_true(worst > fit[k].most / 2); /* what is stated is what there is */
    }
}

static void mixtures(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec one;
    const hk_activation_spec mix =
        parsed(ctx, "mix:relu+leaky_relu,negative_slope=0.25+step,ste=clip,clip=2+custom:T=0.5");
    assert_close("T", 0, mix.value[0], 0.5, 0);
    static const char *const names[] = {"relu", "leaky_relu", "step", "swish_skip"};
    for (int i = 0; i < 4; i++) {
        must(hk_activation_candidate(ctx, &mix, i, &one));
        assert_string_equal(one.info->name, names[i]);
        if (i == 1) assert_close("negative_slope", 0, one.value[0], 0.25, 0);
        if (i == 2) assert_close("clip", 0, one.value[2], 2, 0);
    }
    for (int i = 4; i < 7; i++)
        assert_int_equal(hk_activation_candidate(ctx, &mix, i, &one), HK_ERR_NAME);
    assert_ok(ctx); /* the end of a list is no error */
    /* The longest list, of 95 characters. */
    parsed(ctx,
           "mix:sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+"
           "sigmoid+sigmoid");
}

/* --- what is refused ------------------------------------------------------------------------- */

typedef struct refusal {
    const char *text;
    hk_status status;
    const char *words[3];
} refusal;

static const refusal refusals[] = {
    {"rleu", HK_ERR_NAME, {"unknown activation 'rleu'", "there are: identity, ", ", relu, "}},
    {"", HK_ERR_NAME, {"unknown activation ''", "identity", "sigmoid"}},
    {"Relu", HK_ERR_NAME, {"'Relu'", "tanh", "prelu"}},
    {"relu ", HK_ERR_NAME, {"'relu '", "tanh", "prelu"}},
    {" relu", HK_ERR_NAME, {"' relu'", "tanh", "prelu"}},
    {"relu,at_zero=1", HK_ERR_NAME, {"'relu,at_zero=1'"}},
    /* settings */
    {"relu:", HK_ERR_NAME, {"relu has no setting ''", "there are: at_zero"}},
    {"relu:slope=1", HK_ERR_NAME, {"relu has no setting 'slope=1'", "at_zero"}},
    {"relu:at_zer=1", HK_ERR_NAME, {"relu has no setting 'at_zer=1'", "at_zero"}},
    {"relu:at_zeros=1", HK_ERR_NAME, {"relu has no setting 'at_zeros=1'", "at_zero"}},
    {"relu6:a=1", HK_ERR_NAME, {"relu6 has no setting 'a=1'", "there are: none"}},
    {"prelu:beta=1",
     HK_ERR_NAME,
     {"'beta=1'", "there are: alpha, learn=yes|no, per=layer|channel"}},
    {"prelu::alpha=1", HK_ERR_NAME, {"prelu has no setting ''", "alpha"}},
    {"custom:p=1",
     HK_ERR_NAME,
     {"swish_skip has no setting 'p=1'", "alpha, beta, learn=yes|no, per=layer|channel"}},
    /* learn, per and init where they make no sense */
    {"relu:learn=no", HK_ERR_NAME, {"relu has no setting 'learn=no'", "at_zero"}},
    {"relu:per=channel", HK_ERR_NAME, {"relu has no setting 'per=channel'", "at_zero"}},
    {"rrelu:learn=yes", HK_ERR_NAME, {"'learn=yes'", "there are: lower, upper"}},
    {"softmax:per=layer", HK_ERR_NAME, {"softmax has no setting", "there are: none"}},
    {"mix:relu+tanh:learn=no", HK_ERR_NAME, {"'learn=no'", "there are: T"}},
    {"prelu:per=row", HK_ERR_NAME, {"'per=row'", "learn=yes|no, per=layer|channel"}},
    {"prelu:per", HK_ERR_NAME, {"'per'", "learn=yes|no, per=layer|channel"}},
    {"prelu:learn=maybe", HK_ERR_NAME, {"'learn=maybe'", "learn=yes|no, per=layer|channel"}},
    {"prelu:init=paper",
     HK_ERR_NAME,
     {"'init=paper'", "there are: alpha, learn=yes|no, per=layer|channel"}},
    {"acon_c:init=none",
     HK_ERR_NAME,
     {"'init=none'", "p1, p2, beta, init=silu|paper, learn=yes|no, per=layer|channel"}},
    {"pau:init", HK_ERR_NAME, {"'init'", "b4, init=leaky_relu|relu|silu|tanh"}},
    /* hinges beyond S */
    {"apl:a3=1",
     HK_ERR_NAME,
     {"'a3=1'", "there are: S, a1, a2, b1, b2, init=relu|paper, learn=yes|no, per=layer|channel"}},
    {"apl:S=1:b2=1", HK_ERR_NAME, {"'b2=1'", "there are: S, a1, b1, init=relu|paper"}},
    {"apl:b5=1:S=5", HK_ERR_NAME, {"'b5=1'", "S, a1, a2, b1, b2"}},
    /* values */
    {"prelu:alpha", HK_ERR_ARGUMENT, {"prelu: alpha must be a number", "not ''"}},
    {"prelu:alpha=", HK_ERR_ARGUMENT, {"alpha must be a number", "not ''"}},
    {"prelu:alpha=x", HK_ERR_ARGUMENT, {"alpha must be a number", "not 'x'"}},
    {"prelu:alpha=1x", HK_ERR_ARGUMENT, {"prelu", "not '1x'"}},
    {"prelu:alpha=1=2", HK_ERR_ARGUMENT, {"prelu", "not '1=2'"}},
    {"prelu:alpha=nan", HK_ERR_ARGUMENT, {"prelu", "not 'nan'"}},
    {"prelu:alpha=inf", HK_ERR_ARGUMENT, {"prelu", "not 'inf'"}},
    {"prelu:alpha=1e999", HK_ERR_ARGUMENT, {"prelu", "not '1e999'"}},
    {"prelu:alpha=1:alpha", HK_ERR_ARGUMENT, {"prelu", "not ''"}},
    {"relu:at_zero=1.5", HK_ERR_ARGUMENT, {"relu: at_zero must be a number from 0 to 1"}},
    {"relu:at_zero=-0.5", HK_ERR_ARGUMENT, {"at_zero", "from 0 to 1", "not '-0.5'"}},
    {"elu:alpha=0", HK_ERR_ARGUMENT, {"elu: alpha must be a number above 0, not '0'"}},
    {"elu:alpha=-1", HK_ERR_ARGUMENT, {"above 0, not '-1'"}},
    {"celu:alpha=0", HK_ERR_ARGUMENT, {"celu: alpha must be a number above 0"}},
    {"softplus:beta=0", HK_ERR_ARGUMENT, {"softplus: beta must be a number above 0"}},
    {"step:k=0", HK_ERR_ARGUMENT, {"step: k must be a number above 0"}},
    {"step:clip=-1", HK_ERR_ARGUMENT, {"step: clip must be a number above 0"}},
    {"mix:relu+tanh:T=0", HK_ERR_ARGUMENT, {"mix: T must be a number above 0"}},
    /* choices and counts */
    {"step:ste=1", HK_ERR_ARGUMENT, {"ste must be one of none|identity|clip|sigmoid, not '1'"}},
    {"step:ste=", HK_ERR_ARGUMENT, {"one of none|identity|clip|sigmoid, not ''"}},
    {"step:ste=none|identity", HK_ERR_ARGUMENT, {"not 'none|identity'"}},
    {"glu:half=third", HK_ERR_ARGUMENT, {"glu: half must be one of second|first, not 'third'"}},
    {"prelu:alpha= 1", HK_ERR_ARGUMENT, {"alpha must be a number, not ' 1'"}},
    {"prelu:alpha=0x1p2", HK_ERR_ARGUMENT, {"alpha must be a number, not '0x1p2'"}},
    {"maxout:k=1", HK_ERR_ARGUMENT, {"maxout: k must be a whole number from 2 to 255, not '1'"}},
    {"maxout:k=2.5", HK_ERR_ARGUMENT, {"a whole number from 2 to 255, not '2.5'"}},
    {"maxout:k=256", HK_ERR_ARGUMENT, {"a whole number from 2 to 255, not '256'"}},
    {"apl:S=0", HK_ERR_ARGUMENT, {"apl: S must be a whole number from 1 to 5, not '0'"}},
    {"apl:S=6", HK_ERR_ARGUMENT, {"from 1 to 5, not '6'"}},
    {"dyrelu_b:r=0", HK_ERR_ARGUMENT, {"r must be a whole number from 1 to 1024"}},
    {"meta_acon:r=1.5", HK_ERR_ARGUMENT, {"r must be a whole number"}},
    /* pairs */
    {"hard_tanh:min_val=1", HK_ERR_ARGUMENT, {"min_val must be below max_val, not 1 and 1"}},
    {"hard_tanh:max_val=-2", HK_ERR_ARGUMENT, {"min_val must be below max_val, not -1 and -2"}},
    {"rrelu:lower=0.5:upper=0.25", HK_ERR_ARGUMENT, {"lower must be at most upper, not 0.5 and"}},
    /* mixtures */
    {"mix", HK_ERR_ARGUMENT, {"mix needs a list", "95 characters", "mix:relu+tanh+silu"}},
    {"mix:", HK_ERR_ARGUMENT, {"mix needs a list", "mix:relu+tanh+silu"}},
    {"mix:relu", HK_ERR_ARGUMENT, {"two candidates or more, not 'relu'", "mix:relu+tanh"}},
    {"mix:relu+", HK_ERR_ARGUMENT, {"two candidates or more, not 'relu+'"}},
    {"mix:+relu", HK_ERR_NAME, {"unknown activation ''", "there are"}},
    {"mix:relu++tanh", HK_ERR_NAME, {"unknown activation ''", "there are"}},
    {"mix:relu+none", HK_ERR_NAME, {"unknown activation 'none'", "there are", "gelu"}},
    {"mix:relu+elu,learn=yes", HK_ERR_ARGUMENT, {"own parameters are not learned"}},
    {"mix:relu+prelu,per=channel", HK_ERR_ARGUMENT, {"own parameters are not learned"}},
    {"mix:relu+rrelu", HK_ERR_ARGUMENT, {"mix: rrelu cannot be mixed"}},
    {"mix:relu+step", HK_ERR_ARGUMENT, {"mix: step cannot be mixed"}},
    {"mix:relu+softmax", HK_ERR_ARGUMENT, {"mix: softmax cannot be mixed"}},
    {"mix:relu+dyrelu_a", HK_ERR_ARGUMENT, {"mix: dyrelu_a cannot be mixed"}},
    {"mix:relu+mix", HK_ERR_ARGUMENT, {"mix needs a list"}},
    {"mix:relu+elu,alpha=0", HK_ERR_ARGUMENT, {"elu: alpha must be a number above 0"}},
    {"mix:relu+tanh:k=2", HK_ERR_NAME, {"mix has no setting 'k=2'", "there are: T"}},
    {"mix:sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+sigmoid+"
     "softsign",
     HK_ERR_ARGUMENT,
     {"up to 95 characters"}},
};

static void refused(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(refusals); k++) {
        const refusal *r = &refusals[k];
        hk_activation_spec spec;
        const hk_status status = hk_activation_parse(ctx, r->text, &spec);
        if (status != r->status || hk_error(ctx) != r->status)
            fail_msg("'%s' is %s, not %s: %s", r->text, hk_status_name(status),
                     hk_status_name(r->status), hk_error_message(ctx));
        for (int w = 0; w < 3 && r->words[w]; w++)
            if (!strstr(hk_error_message(ctx), r->words[w]))
                fail_msg("'%s': no '%s' in '%s'", r->text, r->words[w], hk_error_message(ctx));
        hk_error_clear(ctx);
    }
}

/* An unknown name lists all that there are. */
static void all_names_are_listed(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    const hk_activation_info *row;
    assert_int_equal(hk_activation_parse(ctx, "?", &spec), HK_ERR_NAME);
    for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r++) {
        char word[64];
        snprintf(word, sizeof word, "%s %s%s", r == 0 ? ":" : ",", row->name,
                 hk_activation_row(ctx, r + 1) ? "," : "");
        if (!strstr(hk_error_message(ctx), word)) fail_msg("%s is not listed", row->name);
    }
    /* An error stays until it is cleared. */
    assert_int_equal(hk_activation_parse(ctx, "relu", &spec), HK_ERR_NAME);
    hk_error_clear(ctx);
    must(hk_activation_parse(ctx, "relu", &spec));
}

static void nothing_at_all(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    assert_int_equal(hk_activation_parse(ctx, NULL, &spec), HK_ERR_NAME);
    hk_error_clear(ctx);
    assert_int_equal(hk_activation_parse(NULL, "relu", &spec), HK_ERR_MEMORY);
    assert_null(hk_activate(NULL, "relu"));
    assert_null(hk_activate(hk_full(ctx, HK_F32, HK_SHAPE(2), 1), "no such"));
    expect_error(ctx, HK_ERR_NAME, "no such");
    static const char *const networks[] = {"mix:relu+tanh", "dyrelu_a", "meta_acon"};
    for (int64_t k = 0; k < COUNT(networks); k++) {
        assert_null(hk_activate(hk_full(ctx, HK_F32, HK_SHAPE(2, 2), 1), networks[k]));
        expect_error(ctx, HK_ERR_ARGUMENT, "small network", "hk_activation(ctx, ");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(settings, setup, teardown),
        cmocka_unit_test_setup_teardown(choices_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(starts, setup, teardown),
        cmocka_unit_test_setup_teardown(fits, setup, teardown),
        cmocka_unit_test_setup_teardown(mixtures, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(all_names_are_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_at_all, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
