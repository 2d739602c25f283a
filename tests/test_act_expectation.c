/* ctest: labels=unit,golden timeout=60 */
/* test_act_expectation.c: moments under N(0, 1), gains and counted exponentials of activations.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

/* The table gives ten digits, of its parameters eight. Only pau's kinks, where its denominator
   turns, are no border of the quadrature. */
static bool is_pau(const hk_activation_spec *spec) { return strcmp(spec->info->name, "pau") == 0; }
static double digits(const hk_activation_spec *spec) { return is_pau(spec) ? 1e-4 : 1e-9; }

static void against_table(const table *t, const hk_activation_spec *spec, const char *column,
                          double got, double *worst) {
    const char *text = table_field(t, column);
    if (!*text) return;
    const double want = strtod(text, NULL), scale = fmax(1, fabs(want));
    char name[96];
    snprintf(name, sizeof name, "%s of %s:%s, line", column, spec->info->name, t->field[1]);
    assert_close(name, t->line, got, want, digits(spec) * scale);
    double *most = &worst[is_pau(spec)];
    *most = fmax(*most, fabs(got - want) / scale);
}

static void moments(void **state) {
    hk_context *ctx = *state;
    table *t = malloc(sizeof *t);
    double worst[2] = {0};
    int n = 0;
    table_open(t, "activations-properties.csv");
    while (table_next(t)) {
        hk_activation_spec s;
        if (!table_spec(ctx, t->field[0], t->field[1], &s)) continue;
        against_table(t, &s, "mean_f", hk_activation_expectation(&s, HK_MEAN), worst);
        against_table(t, &s, "E_f2", hk_activation_expectation(&s, HK_SECOND_MOMENT), worst);
        against_table(t, &s, "E_df2", hk_activation_expectation(&s, HK_SLOPE_MOMENT), worst);
        against_table(t, &s, "gain_fwd", hk_activation_gain(ctx, &s), worst);
        n++;
    }
    fclose(t->file);
    free(t);
    assert_int_equal(n, 47);
    print_message("%d rows, off by at most %.2g, pau by %.2g\n", n, worst[0], worst[1]);
}

/* --- exponentials ---------------------------------------------------------------------------- */

/* Blocks that count more than the table: celu keeps x, which its derivative by alpha needs, and so
   does not form f' from y; the step evaluates every stand-in for its slope and then chooses. */
static bool counts_more(const hk_activation_spec *spec) {
    return spec->info->surrogate || strcmp(spec->info->name, "celu") == 0;
}

static void exponentials(void **state) {
    hk_context *ctx = *state;
    table *t = malloc(sizeof *t);
    table_open(t, "activations-properties.csv");
    while (table_next(t)) {
        hk_activation_spec spec;
        if (!table_spec(ctx, t->field[0], t->field[1], &spec)) continue;
        const int forward = atoi(table_field(t, "exp_fwd")),
                  backward = atoi(table_field(t, "exp_bwd"));
        if (hk_activation_exponentials(&spec, false) != forward)
            fail_msg("%s: f has %d exponentials, not %d", spec.info->name,
                     hk_activation_exponentials(&spec, false), forward);
        if (hk_activation_exponentials(&spec, true) != backward + counts_more(&spec))
            fail_msg("%s: f' has %d exponentials, not %d", spec.info->name,
                     hk_activation_exponentials(&spec, true), backward + counts_more(&spec));
    }
    fclose(t->file);
    free(t);
    hk_activation_spec wide;
    must(hk_activation_parse(ctx, "softmax", &wide));
    assert_int_equal(hk_activation_exponentials(&wide, false), 0);
}

/* --- gains ----------------------------------------------------------------------------------- */

/* From closed forms, or from the moment of what the activation is made of. */
static void gains(void **state) {
    hk_context *ctx = *state;
    const double pi = 3.14159265358979323846, relu_variance = 0.5 - 1 / (2 * pi);
    const struct {
        const char *text;
        double moment;
    } cases[] = {
        {"softmax", 1},
        {"log_softmax", 1},
        {"maxout", 1}, /* the largest of two normal numbers has E y² = 1 */
        {"maxout:k=3", 1 + sqrt(3) / (2 * pi)},
        {"maxout:k=4", 1 + sqrt(3) / pi},
        {"bilinear", 1},
        {"reglu", 0.5},
        {"glu", 0.2933790359},
        {"geglu", 0.4252214826},
        {"swiglu:half=first", 0.3557755198},
        {"dyrelu_a", 0.5},
        {"dyrelu_b:r=2", 0.5},
        {"meta_acon", 0.2889964968}, /* swish with beta = σ(0) */
        {"frelu", 1},                /* like the largest of two, however they hang together */
        {"frelu:init=relu", 0.5},
        {"frelu:gamma=0.5", 0.625},
        {"mix:identity+identity", 1},
        {"mix:identity+relu", (2 + 2 * 0.5 / sqrt(relu_variance)) / 4},
        {"mix:relu+relu+relu", 1},
    };
    for (int64_t k = 0; k < COUNT(cases); k++) {
        hk_activation_spec spec;
        must(hk_activation_parse(ctx, cases[k].text, &spec));
        /* A mixture's moment is by the trapezium rule, which a kink costs h²/12 of its jump, h =
           1/64. */
        const bool mixture = strncmp(cases[k].text, "mix", 3) == 0;
        assert_close(cases[k].text, 0, hk_activation_gain(ctx, &spec), 1 / sqrt(cases[k].moment),
                     mixture ? 2e-5 : 1e-9);
    }
    assert_ok(ctx);
}

/* Every row has one: positive, and 1/sqrt(E f²) where that is defined. */
static void every_row_has_a_gain(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r++) {
        hk_activation_spec spec;
        must(hk_activation_parse(ctx, activation_text(row), &spec));
        const double gain = hk_activation_gain(ctx, &spec),
                     second = hk_activation_expectation(&spec, HK_SECOND_MOMENT);
        if (!(gain > 0.1 && gain < 10)) fail_msg("the gain of %s is %g", row->name, gain);
        if (row->kind == HK_ACTIVATION_POINTWISE)
            assert_close(row->name, 0, gain, 1 / sqrt(second), 1e-14);
        else
            assert_nan(row->name, 0, second);
    }
    assert_ok(ctx);
}

/* --- quadrature ------------------------------------------------------------------------------ */

/* Kinks anywhere, also where parameters put them, must not cost digits: moments of straight pieces
   in closed form. */
static void kinks_cost_nothing(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    const double low = -0.7123, high = 1.0457;
    must(hk_activation_parse(ctx, "hard_tanh:min_val=-0.7123:max_val=1.0457", &spec));
    const double below = 0.5 * erfc(-low / sqrt(2)), above = 0.5 * erfc(high / sqrt(2));
    const double phi_low = exp(-low * low / 2) / sqrt(2 * 3.14159265358979323846),
                 phi_high = exp(-high * high / 2) / sqrt(2 * 3.14159265358979323846);
    assert_close("mean", 0, hk_activation_expectation(&spec, HK_MEAN),
                 low * below + high * above + phi_low - phi_high, 1e-14);
    assert_close("slope", 0, hk_activation_expectation(&spec, HK_SLOPE_MOMENT), 1 - below - above,
                 1e-14);
    assert_close("second", 0, hk_activation_expectation(&spec, HK_SECOND_MOMENT),
                 low * low * below + high * high * above + (1 - below - above) + low * phi_low -
                     high * phi_high,
                 1e-14);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(moments, setup, teardown),
        cmocka_unit_test_setup_teardown(exponentials, setup, teardown),
        cmocka_unit_test_setup_teardown(gains, setup, teardown),
        cmocka_unit_test_setup_teardown(every_row_has_a_gain, setup, teardown),
        cmocka_unit_test_setup_teardown(kinks_cost_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
