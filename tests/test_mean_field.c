/* ctest: labels=unit,golden timeout=60 */
/* test_mean_field.c: mean-field theory against arithmetic with 30 digits, tables and closed forms.
   SPDX-License-Identifier: MIT */
#include "activation_fixture.h"
#include "golden_file.h"
#include "hk_mean_field.h"

static double tolerance_of(double want, double relative) { return relative * fabs(want); }

#define assert_near(name, got, want, tolerance)                                                    \
    do {                                                                                           \
        const double got_ = (got), want_ = (want), allowed_ = (tolerance);                         \
        if (!(got_ == want_ || fabs(got_ - want_) <= allowed_))                                    \
            fail_msg("%s: %.17g, not %.17g", name, got_, want_);                                   \
    } while (0)

static hk_activation_spec parsed(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    if (hk_activation_parse(ctx, text, &spec) != HK_OK) fail_msg("%s", hk_error_message(ctx));
    return spec;
}

static int start_context(void **state) {
    *state = context(HK_F32, 1, 1);
    return 0;
}
static int end_context(void **state) {
    assert_ok(*state);
    hk_context_destroy(*state);
    return 0;
}

/* --- expectations at any length -------------------------------------------------------------- */

static void golden_moments(void **state) {
    hk_context *ctx = *state;
    golden g = golden_read("mean_field.txt");
    const golden_entry *q = golden_get(&g, "q");
    double worst = 0;
    int n = 0;
    for (int i = 0; i < g.n; i++) {
        const golden_entry *e = &g.entry[i];
        char name[GOLDEN_NAME];
        snprintf(name, sizeof name, "%s", e->name);
        char *dot = strrchr(name, '.');
        if (!dot) continue;
        const bool signal = strcmp(dot, ".signal") == 0;
        *dot = 0;
        const hk_activation_spec spec = parsed(ctx, name);
        for (int64_t k = 0; k < q->count; k++) {
            const double got = signal ? hk_mean_field_signal(&spec, q->value[k])
                                      : hk_mean_field_slope(&spec, q->value[k]);
            char what[2 * GOLDEN_NAME];
            snprintf(what, sizeof what, "%s at q = %g", e->name, q->value[k]);
            assert_near(what, got, e->value[k], tolerance_of(e->value[k], 1e-12));
            worst = fmax(worst, fabs(got - e->value[k]) / fabs(e->value[k]));
            n++;
        }
    }
    assert_int_equal(n, 14 * 2 * 8);
    print_message("%d moments, off by at most %.2g of each\n", n, worst);
    golden_free(&g);
}

/* A kink just behind a border of the quadrature, before the first node there. */
static void hidden_kinks(void **state) {
    hk_context *ctx = *state;
    const hk_activation_spec at_parameter = parsed(ctx, "hard_tanh:min_val=-2.001:max_val=2.001"),
                             at_row = parsed(ctx, "relu6");
    const double root = 6 / 2.001, inside = erf(2.001 / sqrt(2));
    assert_near("parameter", hk_mean_field_slope(&at_parameter, 1), inside, 1e-14);
    assert_near("row", hk_mean_field_slope(&at_row, root * root), inside / 2, 1e-14);
}

/* At q = 1 they are the moments of hk_activation_expectation, by another quadrature. */
static void at_length_one(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r++) {
        const hk_activation_spec spec = parsed(ctx, activation_text(row));
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        const double second = hk_activation_expectation(&spec, HK_SECOND_MOMENT),
                     slope = hk_activation_expectation(&spec, HK_SLOPE_MOMENT);
        assert_near(row->name, hk_mean_field_signal(&spec, 1), second, 1e-12 * second);
        assert_near(row->name, hk_mean_field_slope(&spec, 1), slope, 1e-12 * slope);
    }
}

/* chi1 = E f'²/E f² of the table of facts, to its ten digits: the factor at q = 1 under the activation's own gain. */
static void chi_of_all_activations(void **state) {
    hk_context *ctx = *state;
    table *t = malloc(sizeof *t);
    assert_non_null(t);
    int n = 0;
    table_open(t, "activations-properties.csv");
    while (table_next(t)) {
        hk_activation_spec spec;
        if (!table_spec(ctx, t->field[0], t->field[1], &spec)) continue;
        if (spec.info->surrogate) continue; /* the table has no slopes of stand-ins */
        const double want = strtod(table_field(t, "chi1"), NULL),
                     gain = hk_activation_gain(ctx, &spec);
        const hk_mean_field field = hk_mean_field_of(&spec, gain * gain, 0);
        char name[128];
        snprintf(name, sizeof name, "%s:%s", t->field[0], t->field[1]);
        const bool pau = strcmp(spec.info->name, "pau") == 0;
        assert_near(name, field.chi, want, (pau ? 1e-4 : 1e-9) * fmax(1, want));
        assert_near(name, field.q, 1, 0);
        assert_int_equal(field.layers, 0);
        n++;
    }
    fclose(t->file);
    free(t);
    assert_true(n >= 40);
}

/* --- through layers -------------------------------------------------------------------------- */

typedef struct through {
    const char *name;
    double third_q10;           /* σw² = 1/3: q after 10 layers, NaN: none printed */
    double third_chi, root_chi; /* χ₁ of the fixed points of σw² = 1/3 and 2; NaN: none */
    double q10, q50;            /* σw² = 2 */
    double chi, stability;      /* σw² = gain² */
} through;

/* As published, to the digits that are printed. */
static const through rows[] = {
    {"relu", 1.7e-8, 0.1667, NAN, 1, 1, 1, 1},
    {"tanh", NAN, 0.3333, 1.1055, 0.619, 0.618, 1.1778, 0.461},
    {"elu", NAN, 0.3333, NAN, 5.33, 34.1, 1.0359, 0.891},
    {"selu", NAN, 0.6991, NAN, 30.6, 2.9e3, 1.0716, 0.783},
    {"silu", NAN, 0.0833, 0.5, 0.00357, 0, 1.0666, 1.173},
    {"gelu", NAN, 0.0833, 0.5, 0.0293, 0, 1.0720, 1.144},
    {"mish", NAN, 0.12, 0.72, 0.231, 8e-7, 1.0591, 1.076},
    {"hard_swish", NAN, 0.0833, NAN, 0.0021, 0, 1.0813, 1.224},
    {"swish_skip:alpha=0.1:beta=1", NAN, 0.12, NAN, 0.279, 9.5e-7, 1.0509, 1.132},
    {"softsign", NAN, 0.3333, NAN, 0.0846, 0.0795, 1.2440, 0.477},
    {"sigmoid", NAN, 0.0200, 0.101, 0.555, 0.555, 0.1528, 0.106},
};

/* Half a unit of the last of `digits` significant digits; of what is printed as 0, a millionth of a millionth. */
static void printed(const char *name, const char *what, double got, double want, int digits) {
    char text[96];
    if (isnan(want)) return;
    snprintf(text, sizeof text, "%s of %s", what, name);
    const double unit = want == 0 ? 1e-12 : pow(10, floor(log10(fabs(want))) + 1 - digits);
    assert_near(text, got, want, 0.5001 * unit);
}

static double after(const hk_activation_spec *spec, double weights, int layers) {
    double q = 1;
    for (int i = 0; i < layers; i++) q = weights * hk_mean_field_signal(spec, q);
    return q;
}

static void published_table(void **state) {
    hk_context *ctx = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const through *r = &rows[i];
        const hk_activation_spec spec = parsed(ctx, r->name);
        const double gain = hk_activation_gain(ctx, &spec);
        const hk_mean_field third = hk_mean_field_of(&spec, 1.0 / 3, 0),
                            root = hk_mean_field_of(&spec, 2, 0),
                            own = hk_mean_field_of(&spec, gain * gain, 0);
        const bool short_form = r->q50 == 0 || r->q50 < 1e-5 || r->q50 > 1e3;
        printed(r->name, "q after 10 at 1/3", after(&spec, 1.0 / 3, 10), r->third_q10, 2);
        printed(r->name, "chi at 1/3", third.chi, r->third_chi, 3);
        printed(r->name, "q after 10", after(&spec, 2, 10), r->q10, r->q10 == 0.0021 ? 2 : 3);
        printed(r->name, "q after 50", after(&spec, 2, 50), r->q50,
                r->q50 == 8e-7 ? 1
                : short_form   ? 2
                               : 3);
        printed(r->name, "chi at 2", root.chi, r->root_chi, r->root_chi > 1 ? 5 : 3);
        printed(r->name, "chi at its gain", own.chi, r->chi, r->chi < 1 ? 4 : 5);
        printed(r->name, "stability", own.stability, r->stability, r->stability < 1 ? 3 : 4);
    }
}

/* --- what becomes of signals ----------------------------------------------------------------- */

typedef struct fate {
    const char *name;
    double weights, biases;
    double q, chi, stability; /* NaN: not checked */
    bool settles;             /* within 10,000 layers */
} fate;

static const fate fates[] = {
    /* Straight pieces: q' is c·q, so signals die, stay wherever they are, or grow. */
    {"relu", 1.9, 0, 0, 0.95, 0.95, true},
    {"relu", 2, 0, 1, 1, 1, true},
    {"relu", 2.1, 0, INFINITY, 1.05, 1.05, true},
    {"relu", 1, 0.25, 0.5, 0.5, 0.5, true},
    {"identity", 0.5, 2, 4, 0.5, 0.5, true},
    {"relu", 1.98, 0.04, 4, 0.99, 0.99, true},
    {"leaky_relu:negative_slope=0.5", 1.6, 0, 1, 1, 1, true},
    /* Slower than any power of a number below 1: at σw² = 1, tanh's q is about 1/2n after n layers. */
    {"tanh", 1, 0, 0, 1, 1, false},
    {"tanh", 0.99, 0, 0, 0.99, 0.99, true},
    {"hard_tanh", 1, 0, 0, 1, 1, false},
    /* Growth slower than any power of a number above 1. */
    {"elu", 2, 0, INFINITY, 1, 1, false},
    {"softplus", 2, 0, INFINITY, 1, 1, false},
    {"selu", 2, 0, INFINITY, 1.0507009873554805 * 1.0507009873554805,
     1.0507009873554805 * 1.0507009873554805, true},
    {"selu", 1, 0, 1, 1.071574992, NAN, true},
    /* Under the gain of relu, silu and its like fall to where they are straight lines. */
    {"silu", 2, 0, 0, 0.5, 0.5, true},
    {"gelu", 2, 0, 0, 0.5, 0.5, true},
    /* No weights; weights without biases behind a function that is 0 at 0. */
    {"tanh", 0, 0.3, 0.3, 0, 0, true},
    {"tanh", 0, 0, 0, 0, 0, true},
    /* A constant square: whatever comes in, q' is σw²/2. */
    {"step:value_at_zero=1", 3, 0, 1.5, 0, 0, true},
};

static void fates_of_signals(void **state) {
    hk_context *ctx = *state;
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++) {
        const fate *f = &fates[i];
        const hk_activation_spec spec = parsed(ctx, f->name);
        const hk_mean_field got = hk_mean_field_of(&spec, f->weights, f->biases);
        char name[128];
        snprintf(name, sizeof name, "%s, %g, %g", f->name, f->weights, f->biases);
        assert_near(name, got.q, f->q, isinf(f->q) ? 0 : 1e-12 * f->q);
        if (!isnan(f->chi)) assert_near(name, got.chi, f->chi, 1e-8);
        if (!isnan(f->stability)) assert_near(name, got.stability, f->stability, 1e-8);
        if ((got.layers >= 0) != f->settles) fail_msg("%s: %d layers", name, got.layers);
    }
}

/* q is a fixed point, the number of layers is that of a plain loop, stability its derivative by differences. */
static void fixed_points(void **state) {
    hk_context *ctx = *state;
    static const char *const names[] = {"tanh",      "softsign", "sigmoid",
                                        "hard_tanh", "relu6",    "selu"};
    for (int i = 0; i < 6; i++) {
        const hk_activation_spec spec = parsed(ctx, names[i]);
        const double weights = 1.7, biases = 0.05;
        const hk_mean_field f = hk_mean_field_of(&spec, weights, biases);
        if (isinf(f.q)) continue;
        assert_near(names[i], weights * hk_mean_field_signal(&spec, f.q) + biases, f.q,
                    1e-12 * f.q);
        double q = 1;
        int layers = 0;
        for (; fabs(q - f.q) > 1e-9 * f.q; layers++)
            q = weights * hk_mean_field_signal(&spec, q) + biases;
        assert_int_equal(layers, f.layers);
        const double h = 1e-4 * f.q, up = hk_mean_field_signal(&spec, f.q + h),
                     down = hk_mean_field_signal(&spec, f.q - h);
        assert_near(names[i], f.stability, weights * (up - down) / (2 * h), 1e-7);
        assert_near(names[i], f.chi, weights * hk_mean_field_slope(&spec, f.q), 1e-13);
        assert_near(names[i], f.depth_scale, -1 / log(f.chi), 1e-12 * fabs(f.depth_scale));
        assert_true((f.depth_scale > 0) == (f.chi < 1));
    }
}

/* Small fixed points, where the derivative of E f² is a difference of nearly equal numbers. */
static void small_fixed_points(void **state) {
    hk_context *ctx = *state;
    const hk_activation_spec silu = parsed(ctx, "silu"), sigmoid = parsed(ctx, "sigmoid");
    const hk_mean_field a = hk_mean_field_of(&silu, 1, 1e-8);
    /* q' = q/4 + 1e-8 + O(q²) */
    assert_near("silu", a.q, 4e-8 / 3, 1e-14);
    assert_near("silu", a.stability, 0.25, 1e-6);
    /* E f² = 1/4 + q/16 + O(q²), f'(0) = 1/4. */
    const hk_mean_field b = hk_mean_field_of(&sigmoid, 1e-12, 0);
    assert_near("sigmoid", b.q, 2.5e-13, 1e-24);
    assert_near("sigmoid", b.stability, 1e-12 / 16, 1e-21);
    assert_near("sigmoid", b.chi, 1e-12 / 16, 1e-22);
}

/* Just above the critical point a sequence needs far more than 10,000 layers; where it leads is known all the same:
   q' = σw²(q - 2q² + 17q³/3 - ...) of tanh. */
static void slow_fixed_point(void **state) {
    hk_context *ctx = *state;
    const hk_activation_spec tanh_spec = parsed(ctx, "tanh");
    const double above = 1e-4, q = above / 2 * (1 + (17.0 / 12 - 1) * above);
    const hk_mean_field f = hk_mean_field_of(&tanh_spec, 1 + above, 0);
    assert_near("q", f.q, q, 1e-6 * q);
    assert_near("fixed", (1 + above) * hk_mean_field_signal(&tanh_spec, f.q), f.q, 1e-13 * f.q);
    assert_near("stability", f.stability, 1 - above, 1e-7);
    assert_int_equal(f.layers, -1);
}

/* Depth scales: exact ones, and what stands for them at χ₁ = 1 and 0. */
static void depth_scales(void **state) {
    hk_context *ctx = *state;
    const hk_activation_spec relu = parsed(ctx, "relu"), step = parsed(ctx, "step");
    assert_near("vanishing", hk_mean_field_of(&relu, 2 * exp(-0.1), 0).depth_scale, 10, 1e-9);
    assert_near("exploding", hk_mean_field_of(&relu, 2 * exp(0.1), 0).depth_scale, -10, 1e-9);
    assert_true(isinf(hk_mean_field_of(&relu, 2, 0).depth_scale));
    assert_near("no slope", hk_mean_field_of(&step, 2, 0).depth_scale, 0, 0);
}

/* --- one's own activations, and what is refused ---------------------------------------------- */

static double wave(double x, const double *p) { return sin(p[0] * x); }
static double wave_slope(double x, const double *p) { return p[0] * cos(p[0] * x); }
static void wave_params(double x, const double *p, double *d) { d[0] = x * cos(p[0] * x); }
static double square(double x, const double *p) { return (void)p, x * x; }
static double square_slope(double x, const double *p) { return (void)p, 2 * x; }
static double bump(double x, const double *p) { return (void)p, 3 * exp(-x * x); }
static double bump_slope(double x, const double *p) { return (void)p, -6 * x * exp(-x * x); }

static void own_activations(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info info = {
        .name = "wave",
        .formula = "sin(w x)",
        .derivative = "w cos(w x)",
        .n_params = 1,
        .params = {{.name = "w", .value = 1.5, .low = -10, .high = 10}}};
    const hk_activation_functions waves = {wave, wave_slope, wave_params};
    assert_int_equal(hk_activation_define(ctx, &info, &waves), HK_OK);
    /* E sin² = (1 - e^(-2w²q))/2, E w²cos² = w²(1 + e^(-2w²q))/2. */
    const hk_activation_spec spec = parsed(ctx, "wave:w=2");
    for (double q = 0.01; q < 20; q *= 3) {
        assert_near("signal", hk_mean_field_signal(&spec, q), (1 - exp(-8 * q)) / 2, 1e-12);
        assert_near("slope", hk_mean_field_slope(&spec, q), 2 * (1 + exp(-8 * q)), 1e-12);
    }
    /* q' = q² times 3: from 1 it explodes, below 1/3 it dies: here σw² = 1/3 holds q = 1 still. */
    const hk_activation_info of_square = {.name = "sq", .formula = "x^2", .derivative = "2x"};
    const hk_activation_functions squares = {square, square_slope, NULL};
    assert_int_equal(hk_activation_define(ctx, &of_square, &squares), HK_OK);
    const hk_activation_spec sq = parsed(ctx, "sq");
    const hk_mean_field up = hk_mean_field_of(&sq, 0.34, 0), down = hk_mean_field_of(&sq, 0.33, 0);
    assert_near("explodes", up.q, INFINITY, 0);
    assert_true(isnan(up.chi));
    assert_near("dies", down.q, 0, 0);
    assert_near("dies", down.chi, 0, 1e-250);
    /* A q' that falls where q grows: lengths go to and fro, and settle. */
    const hk_activation_info of_bump = {
        .name = "bump", .formula = "3e^-xx", .derivative = "-6xe^-xx"};
    const hk_activation_functions bumps = {bump, bump_slope, NULL};
    assert_int_equal(hk_activation_define(ctx, &of_bump, &bumps), HK_OK);
    const hk_activation_spec b = parsed(ctx, "bump");
    const hk_mean_field to_and_fro = hk_mean_field_of(&b, 100, 0),
                        settled = hk_mean_field_of(&b, 0.1, 0);
    /* E f² = 9/sqrt(1 + 4q). */
    assert_near("bump", hk_mean_field_signal(&b, 2), 3, 1e-12);
    assert_near("bump", settled.q, 0.9 / sqrt(1 + 4 * settled.q), 1e-12);
    assert_near("bump", to_and_fro.q, 900 / sqrt(1 + 4 * to_and_fro.q), 1e-8);
}

static void refused(void **state) {
    hk_context *ctx = *state;
    const hk_activation_spec relu = parsed(ctx, "relu"), softmax = parsed(ctx, "softmax"),
                             frelu = parsed(ctx, "frelu"), mix = parsed(ctx, "mix:relu+tanh");
    const hk_activation_spec *const none[] = {&softmax, &frelu, &mix, NULL};
    for (int i = 0; i < 4; i++) {
        assert_true(isnan(hk_mean_field_signal(none[i], 1)));
        assert_true(isnan(hk_mean_field_slope(none[i], 1)));
        const hk_mean_field f = hk_mean_field_of(none[i], 1, 0);
        assert_true(isnan(f.q) && isnan(f.chi) && isnan(f.stability) && isnan(f.depth_scale));
        assert_int_equal(f.layers, -1);
    }
    const double bad[] = {-1, NAN, -INFINITY, INFINITY};
    for (int i = 0; i < 4; i++) {
        assert_true(isnan(hk_mean_field_signal(&relu, bad[i])));
        assert_true(isnan(hk_mean_field_slope(&relu, bad[i])));
        assert_true(isnan(hk_mean_field_of(&relu, bad[i], 0).q));
        assert_true(isnan(hk_mean_field_of(&relu, 1, bad[i]).q));
    }
}

/* --- the page -------------------------------------------------------------------------------- */

/* Four digits; what rounds to 0 or is endless by name. */
static const char *short_number(double x, char *text) {
    if (isinf(x))
        snprintf(text, 16, "%s∞", x < 0 ? "-" : "");
    else
        snprintf(text, 16, "%.4g", x);
    return text;
}

/* One line of the table in docs/gradient-flow.md. */
static void row_of(const hk_activation_spec *spec, double gain, char line[512]) {
    const hk_mean_field own = hk_mean_field_of(spec, gain * gain, 0),
                        relu = hk_mean_field_of(spec, 2, 0),
                        torch = hk_mean_field_of(spec, 1.0 / 3, 0);
    const double cell[] = {gain * gain, own.chi,          own.stability,    own.depth_scale,
                           relu.q,      relu.chi,         relu.depth_scale, torch.q,
                           torch.chi,   torch.depth_scale};
    int used = snprintf(line, 512, "| `%s` |", spec->info->name);
    for (size_t i = 0; i < sizeof cell / sizeof *cell; i++) {
        char text[16];
        used += snprintf(line + used, 512 - (size_t)used, " %s |", short_number(cell[i], text));
    }
}

/* The page has this table; a difference prints what it should be. */
static void documented(void **state) {
    hk_context *ctx = *state;
    static char page[1 << 16];
    FILE *file = fopen(HK_SOURCE_DIR "/docs/gradient-flow.md", "r");
    assert_non_null(file);
    page[fread(page, 1, sizeof page - 1, file)] = 0;
    fclose(file);
    const hk_activation_info *row;
    int missing = 0;
    for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r++) {
        char line[512];
        if (row->kind != HK_ACTIVATION_POINTWISE || row->surrogate) continue;
        const hk_activation_spec spec = parsed(ctx, row->name);
        row_of(&spec, hk_activation_gain(ctx, &spec), line);
        if (strstr(page, line)) continue;
        print_message("%s\n", line);
        missing++;
    }
    if (missing > 0) fail_msg("%d lines are not in docs/gradient-flow.md", missing);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, start_context, end_context)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(golden_moments),   TEST(hidden_kinks),
        TEST(at_length_one),    TEST(chi_of_all_activations),
        TEST(published_table),  TEST(fates_of_signals),
        TEST(fixed_points),     TEST(small_fixed_points),
        TEST(slow_fixed_point), TEST(depth_scales),
        TEST(own_activations),  TEST(refused),
        TEST(documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
