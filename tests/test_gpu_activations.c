/* ctest: labels=unit,grad timeout=120 */
/* All activations on a GPU against the CPU: values, gradients by input and parameters, forward mode.
   SPDX-License-Identifier: MIT */
#include "activation.h"
#include "activation_fixture.h"
#include "gpu_fixture.h"
#include "hk_layers.h"

/* Values from -100 to 100, dense near 0, and special ones where no sums are made of them. */
static hk_tensor *arguments(hk_context *ctx, hk_dtype dtype, hk_shape shape, bool specials) {
    static const double special[] = {0,        -0.0,      INFINITY, -INFINITY, NAN, 1e30, -1e30,
                                     0x1p-126, -0x1p-126, 3,        -3,        6,   0.5};
    const int64_t n = hk_shape_count(shape);
    double *value = malloc(sizeof *value * (size_t)(n + 1));
    assert_non_null(value);
    const hk_random stream = hk_random_stream(3, "arguments", 0);
    for (int64_t i = 0; i < n; i++) {
        const double u = 2 * hk_random_uniform(stream, (uint64_t)i) - 1;
        value[i] = specials && i < COUNT(special) ? special[i] : i % 2 ? 100 * u * u * u : 5 * u;
    }
    hk_tensor *x = kept(ctx, dtype, shape, value);
    free(value);
    return x;
}

static void expect_equal(const char *name, const char *what, hk_tensor *want, hk_tensor *got,
                         double relative) {
    char text[160];
    snprintf(text, sizeof text, "%s: %s", name, what);
    assert_alike_by(OF_EACH, text, want, got, relative);
}

typedef struct results {
    hk_tensor *y, *gx, *t, *gp[HK_ACTIVATION_MAX_PARAMS];
} results;

/* How parameters are given. */
typedef enum given { NUMBERS, SCALARS, CHANNELS, MIXED, ELEMENTS, GIVEN } given;

static hk_tensor *parameter(hk_context *ctx, hk_dtype dtype, hk_shape x, given how, int k,
                            double value) {
    hk_shape shape = {0, {0}};
    if (how == CHANNELS || (how == MIXED && k % 3 == 1)) {
        shape.rank = x.rank - 1;
        shape.dim[0] = x.dim[1];
        for (int i = 1; i < shape.rank; i++) shape.dim[i] = 1;
    }
    if (how == ELEMENTS) shape = x;
    double *values = malloc(sizeof *values * (size_t)(hk_shape_count(shape) + 1));
    assert_non_null(values);
    for (int64_t i = 0; i < hk_shape_count(shape); i++)
        values[i] = value * (1 + 0.03125 * (double)(i % 5));
    hk_tensor *p = hk_require_grad(kept(ctx, dtype, shape, values));
    free(values);
    return p;
}

/* Value, gradients and tangent, twice backward: the second time gradients are added to. */
static results activation_results(hk_context *ctx, hk_dtype dtype, hk_shape shape,
                                  const hk_activation_spec *spec, given how) {
    results r = {.y = NULL};
    hk_tensor *p[HK_ACTIVATION_MAX_PARAMS] = {NULL}, *of[1 + HK_ACTIVATION_MAX_PARAMS],
              *direction[1 + HK_ACTIVATION_MAX_PARAMS];
    hk_tensor *x = hk_require_grad(arguments(ctx, dtype, shape, how == NUMBERS || how == ELEMENTS));
    hk_tensor *g = seeded(ctx, dtype, shape, "gradient", -1, 1, 0);
    int n = 0;
    of[n] = x;
    direction[n++] = seeded(ctx, dtype, shape, "direction", -1, 1, 0);
    for (int k = 0; k < spec->info->n_params && how != NUMBERS; k++) {
        if (spec->info->params[k].role == HK_PARAM_FIXED || (how == MIXED && k % 3 == 2)) continue;
        p[k] = parameter(ctx, dtype, shape, how, k, spec->value[k]);
        of[n] = p[k];
        direction[n++] = seeded(ctx, dtype, hk_tensor_shape(p[k]), "by", -1, 1, 0);
    }
    r.y = hk_activate_with(x, spec, p);
    r.t = hk_jvp(ctx, r.y, n, of, direction);
    for (int i = 0; i < 2; i++) must(hk_backward_from(ctx, hk_activate_with(x, spec, p), g));
    r.gx = hk_grad(x);
    for (int k = 0; k < spec->info->n_params; k++) r.gp[k] = p[k] ? hk_grad(p[k]) : NULL;
    assert_ok(ctx);
    return r;
}

static void check_activation(const char *text, hk_dtype dtype, hk_shape shape, given how) {
    hk_activation_spec spec;
    must(hk_activation_parse(cpu, text, &spec));
    char name[128];
    snprintf(name, sizeof name, "%s, %s, rank %d, parameters given %d", text, hk_dtype_name(dtype),
             shape.rank, how);
    const results want = activation_results(cpu, dtype, shape, &spec, how);
    const results got = activation_results(gpu, dtype, shape, &spec, how);
    const double relative = dtype == HK_F64 ? 1e-12 : same_bits() ? 0 : 1e-5;
    expect_equal(name, "y", want.y, got.y, relative);
    expect_equal(name, "gradient of x", want.gx, got.gx, relative);
    expect_equal(name, "tangent", want.t, got.t, relative);
    for (int k = 0; k < spec.info->n_params; k++) {
        if (!want.gp[k]) continue;
        expect_equal(name, spec.info->params[k].name, want.gp[k], got.gp[k],
                     dtype == HK_F64 ? 1e-10 : 1e-4);
    }
    forget();
}

static void test_activations(void **state) {
    (void)state;
    static const hk_shape of[] = {
        {1, {4101}}, {4, {3, 4, 5, 8}}, {2, {6, 10}}, {3, {2, 3, 37}}, {2, {0, 3}}};
    for (int i = 0; i < HK__ACT_COUNT; i++)
        for (int d = 0; d < 2; d++)
            for (int s = 0; s < COUNT(of); s++)
                for (int how = 0; how < GIVEN; how++) {
                    const hk_activation_info *row = hk_activation_row(NULL, i);
                    if (how != NUMBERS && row->n_params == 0) continue;
                    if ((how == CHANNELS || how == MIXED) && of[s].rank < 2) continue;
                    check_activation(activation_text(row), d ? HK_F64 : HK_F32, of[s], (given)how);
                }
    for (int i = 0; activation_setting(i); i++)
        check_activation(activation_setting(i), HK_F32, of[1], SCALARS);
}

/* --- as modules: random ones, functions of a row, small networks --------------------------------------------------- */

typedef struct run {
    hk_module *m;
    hk_tensor *x, *y;
} run;

/* Two steps in training, so that gradients are added to and buffers move. */
static run run_module(hk_context *ctx, const char *text, hk_shape shape, const run *from) {
    run r = {.m = hk_activation(ctx, text)};
    if (!r.m || hk_module_build(r.m, shape, NULL) != HK_OK)
        fail_msg("%s: %s", text, hk_error_message(ctx));
    const hk_parameters p = hk_module_parameters(r.m);
    for (int i = 0; i < p.count; i++) {
        if (from)
            must(hk_tensor_copy(p.items[i], hk_module_parameters(from->m).items[i]));
        else
            for (int64_t k = 0; k < hk_tensor_count(p.items[i]); k++)
                element_put(p.items[i], k,
                            element_get(p.items[i], k) + 0.25 * sin(3.0 * (double)k + i));
    }
    r.x = hk_require_grad(seeded(ctx, HK_F32, shape, text, -2, 2, 0));
    for (int step = 0; step < 2; step++) {
        r.y = hk_forward(r.m, r.x);
        if (!r.y) fail_msg("%s: %s", text, hk_error_message(ctx));
        hk_tensor *g = seeded(ctx, HK_F32, hk_tensor_shape(r.y), "gradient", -1, 1, 0);
        must(hk_backward_from(ctx, r.y, g));
        if (step == 0) must(hk_step_end(ctx));
    }
    return r;
}

static void check_module(const char *text, hk_shape shape) {
    const run want = run_module(cpu, text, shape, NULL), got = run_module(gpu, text, shape, &want);
    char name[128];
    snprintf(name, sizeof name, "module %s, rank %d", text, shape.rank);
    expect_equal(name, "y", want.y, got.y, 1e-5);
    expect_equal(name, "gradient of x", hk_grad(want.x), hk_grad(got.x), 1e-4);
    const hk_parameters p = hk_module_parameters(want.m), q = hk_module_parameters(got.m);
    for (int i = 0; i < p.count; i++)
        expect_equal(name, hk_tensor_name(p.items[i]), hk_grad(p.items[i]), hk_grad(q.items[i]),
                     1e-4);
    hk_module_destroy(want.m);
    hk_module_destroy(got.m);
    forget();
}

static void test_modules(void **state) {
    (void)state;
    static const hk_shape of[] = {{2, {5, 12}}, {4, {3, 12, 3, 5}}, {4, {2, 4, 4, 4}}};
    static const char *const more[] = {"maxout:k=3",         "maxout:k=4",        "glu:half=first",
                                       "prelu:per=channel",  "apl:per=channel",   "meta_acon:bn=on",
                                       "softplus:learn=yes", "acon_c:per=channel"};
    for (int s = 0; s < COUNT(of); s++) {
        for (int i = 0; i < HK__ROW_COUNT; i++) {
            const hk_activation_info *row = hk_activation_row(NULL, i);
            if (activation_needs_images(row) && of[s].rank != 4) continue;
            check_module(activation_text(row), of[s]);
        }
        for (int i = 0; i < COUNT(more); i++)
            if (of[s].dim[1] == 12 || strcmp(more[i], "maxout:k=3") != 0)
                check_module(more[i], of[s]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_modules),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
