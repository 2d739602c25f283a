/* test_units_nets.c: statistics of units against plain loops over every value.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include "net_fixture.h"

#include "hk_units.h"
#include "module.h"

/* --- plain loops ---------------------------------------------------------------------------------------------- */

enum { MOST = 1 << 17 };

/* Every input and output of one activation, as (image, unit, position). */
typedef struct record {
    int64_t images, units, positions;
    double z[MOST], h[MOST];
} record;

static void keep(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m;
    record *r = arg;
    const hk_shape shape = hk_tensor_shape(y);
    r->units = shape.dim[1];
    r->positions = hk_shape_count(shape) / shape.dim[0] / shape.dim[1];
    for (int64_t i = 0; i < hk_shape_count(shape); i++) {
        const int64_t at = r->images * r->units * r->positions + i;
        assert_true(at < MOST);
        r->z[at] = number(x, i);
        r->h[at] = number(y, i);
    }
    r->images += shape.dim[0];
}

/* The specification with the parameters of channel k as they are. */
static hk_activation_spec spec_of(hk_context *ctx, hk_module *net, const char *activation,
                                  const char *module, int64_t k) {
    hk_activation_spec spec;
    assert_int_equal(hk_activation_parse(ctx, activation, &spec), HK_OK);
    for (int p = 0; p < spec.info->n_params; p++) {
        if (!spec.learns[p]) continue;
        char name[64];
        snprintf(name, sizeof name, "%s.%s", module, spec.info->params[p].name);
        const hk_tensor *t = hk_module_find(net, name);
        assert_non_null(t);
        spec.value[p] = number(t, hk_shape_count(t->shape) > 1 ? k : 0);
    }
    return spec;
}

/* What is known of f' from a scan of its own, with no help from kinks. */
typedef struct facts {
    double largest, peak, slope;
} facts;

enum { SCAN = 8001 };

static facts facts_of(const hk_activation_spec *spec) {
    static double z[SCAN], d[SCAN];
    facts f = {0, INFINITY, 1e-6};
    int zeros = 0;
    for (int i = 0; i < SCAN; i++) {
        z[i] = (i - SCAN / 2) / 400.0 + 1e-7;
        d[i] = fabs(hk_activation_slope(spec, z[i]));
        zeros += d[i] == 0;
        if (d[i] > f.largest) f.largest = d[i];
    }
    for (int i = SCAN - 1; i >= 0; i--)
        if (d[i] >= (1 - 1e-9) * f.largest) f.peak = z[i];
    if (zeros > 10) f.slope = 0;
    return f;
}

static void assert_near(const char *what, const char *activation, int64_t k, double got,
                        double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s, unit %d: %s is %.17g, not %.17g", activation, (int)k, what, got, want);
}

static void compare(hk_context *ctx, hk_module *net, const char *activation, const char *module,
                    const record *r, const hk_units *units, int place, double tolerance) {
    const hk_units_layer *l = hk_units_layer_at(units, place);
    const int64_t n = r->images * r->positions, across = r->units * r->positions;
    int64_t dead = 0, zero = 0, saturated = 0, left_units = 0, right_units = 0, dead_positions = 0;
    double zeros_all = 0, sizes = 0, deviations = 0;
    facts f = {0};
    assert_int_equal(l->units, r->units);
    assert_int_equal(l->positions, r->positions);
    for (int64_t k = 0; k < r->units; k++) {
        const hk_activation_spec spec = spec_of(ctx, net, activation, module, k);
        if (k == 0 || strstr(activation, "per=channel")) f = facts_of(&spec);
        double mean = 0, square = 0, size = 0, low = INFINITY, high = -INFINITY, steepest = 0;
        int64_t zeros = 0, left = 0, right = 0;
        for (int64_t p = 0; p < r->positions; p++) {
            double here = 0;
            for (int64_t i = 0; i < r->images; i++) {
                const int64_t at = i * across + k * r->positions + p;
                const double h = r->h[at], d = fabs(hk_activation_slope(&spec, r->z[at]));
                mean += h / (double)n;
                size += fabs(h) / (double)n;
                low = fmin(low, h), high = fmax(high, h), here = fmax(here, d);
                zeros += h == 0;
                left += d < 0.05 * f.largest && r->z[at] < f.peak;
                right += d < 0.05 * f.largest && r->z[at] >= f.peak;
            }
            dead_positions += here <= f.slope;
            steepest = fmax(steepest, here);
        }
        for (int64_t i = 0; i < r->images; i++)
            for (int64_t p = 0; p < r->positions; p++) {
                const double d = r->h[i * across + k * r->positions + p] - mean;
                square += d * d / (double)n;
            }
        const hk_unit *u = hk_units_at(units, place, k);
        const double scale = tolerance * (fabs(low) + fabs(high));
        assert_near("mean", activation, k, u->mean, mean, scale);
        assert_near("std", activation, k, u->std, sqrt(square), scale);
        assert_near("min", activation, k, u->min, low, 0);
        assert_near("max", activation, k, u->max, high, 0);
        assert_near("max_slope", activation, k, u->max_slope, steepest, 16 * tolerance);
        assert_near("dead", activation, k, u->dead, steepest <= f.slope, 0);
        assert_near("zero", activation, k, u->zero, zeros == n, 0);
        assert_near("left", activation, k, u->saturated_left, (double)left > 0.95 * (double)n, 0);
        assert_near("right", activation, k, u->saturated_right, (double)right > 0.95 * (double)n,
                    0);
        dead += steepest <= f.slope, zero += zeros == n, zeros_all += (double)zeros;
        saturated += (double)(left + right) > 0.95 * (double)n;
        left_units += u->saturated_left, right_units += u->saturated_right;
        sizes += size, deviations += sqrt(square);
    }
    assert_near("dead", activation, -1, (double)l->dead, (double)dead, 0);
    assert_near("zero", activation, -1, (double)l->zero, (double)zero, 0);
    assert_near("saturated", activation, -1, (double)l->saturated, (double)saturated, 0);
    assert_int_equal(l->saturated_left, left_units);
    assert_int_equal(l->saturated_right, right_units);
    assert_int_equal(l->dead_positions, r->positions > 1 ? dead_positions : 0);
    assert_near("zero share", activation, -1, l->zero_share, zeros_all / (double)(n * r->units),
                1e-12);
    double scores = 0, mean_free = 0;
    for (int64_t k = 0; k < r->units; k++) {
        scores += hk_units_at(units, place, k)->score;
        mean_free += hk_units_at(units, place, k)->score_mean_free;
    }
    if (sizes > 0) assert_near("score", activation, -1, scores / (double)r->units, 1, 1e-12);
    if (deviations > 0)
        assert_near("score", activation, -1, mean_free / (double)r->units, 1, 1e-12);
}

/* Weights of very different sizes and large biases, so that each category has units. */
static void stretch(hk_module *net, const char *weight, const char *bias, int64_t units) {
    hk_tensor *w = hk_module_find(net, weight), *b = hk_module_find(net, bias);
    const int64_t n = hk_tensor_count(w) / units;
    for (int64_t k = 0; k < units; k++) {
        static const double factors[5] = {1, 8, 0.01, 1, 0.5}, shifts[5] = {0, 0, 0, -25, 12};
        for (int64_t i = k * n; i < (k + 1) * n; i++)
            element_put(w, i, number(w, i) * factors[k % 5]);
        element_put(b, k, shifts[k % 5] + number(b, k));
    }
}

/* width > 0: images of 2 channels, 5 high; else vectors, to 23 or -width units. */
static void against_loops(hk_dtype dtype, const char *activation, int width, double tolerance) {
    const bool images = width > 0;
    const int n_units = images ? 7 : width < 0 ? -width : 23;
    hk_context *ctx = context(dtype, 2, 5);
    const hk_conv2d_config pad = {.padding = {1, 1}};
    hk_module *act = hk_activation(ctx, activation);
    hk_module *net =
        images ? hk_sequential(ctx, hk_conv2d(ctx, 2, n_units, (hk_pair){3, 3}, &pad), act)
               : hk_sequential(ctx, hk_linear(ctx, 6, n_units), act);
    const hk_shape item = images ? HK_SHAPE(-1, 2, 5, width) : HK_SHAPE(-1, 6);
    assert_int_equal(hk_module_build(net, item, NULL), HK_OK);
    stretch(net, "0.weight", "0.bias", n_units);
    const hk_parameters own = hk_module_parameters_of(act, HK_OF_ACTIVATIONS);
    for (int p = 0; p < own.count; p++)
        for (int64_t k = 0; k < hk_tensor_count(own.items[p]); k++)
            element_put(own.items[p], k, number(own.items[p], k) + 0.02 * (double)k);
    record *r = calloc(1, sizeof *r);
    assert_non_null(r);
    hk_units *units = hk_units_create(net, NULL);
    hk_hook_forward(act, keep, r);
    for (int b = 0; b < 3; b++) {
        hk_shape shape = item;
        shape.dim[0] = 7 + b;
        char name[8];
        snprintf(name, sizeof name, "x%d", b);
        assert_int_equal(hk_units_add(units, normal(ctx, name, shape)), HK_OK);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    assert_int_equal(hk_units_end(units), HK_OK);
    compare(ctx, net, activation, "1", r, units, 0, tolerance);
    free(r);
    hk_context_destroy(ctx);
}

/* Every pointwise activation, also with parameters for each channel where it can learn any. */
static void every_activation(void **state) {
    (void)state;
    int seen = 0;
    for (int i = 0;; i++) {
        const hk_activation_info *info = hk_activation_row(NULL, i);
        if (!info) break;
        if (info->kind != HK_ACTIVATION_POINTWISE) continue;
        against_loops(HK_F64, info->name, 0, 1e-12);
        against_loops(HK_F64, info->name, 9, 1e-12);
        against_loops(HK_F32, info->name, i % 2 * 9, 2e-6);
        seen++;
        bool learns = false;
        for (int p = 0; p < info->n_params; p++) learns |= info->params[p].role != HK_PARAM_FIXED;
        if (!learns) continue;
        char text[64];
        snprintf(text, sizeof text, "%s:learn=yes:per=channel", info->name);
        against_loops(HK_F64, text, 0, 1e-12);
        against_loops(HK_F64, text, 9, 1e-12);
        against_loops(HK_F32, text, i % 2 * 9, 2e-6);
    }
    assert_true(seen > 25);
}

/* More positions than a tile takes, and more units than a task does, by a few. */
static void large_layers(void **state) {
    (void)state;
    against_loops(HK_F64, "prelu:per=channel", -150, 1e-12);
    against_loops(HK_F32, "prelu:per=channel", -150, 2e-6);
    against_loops(HK_F32, "tanh", -150, 2e-6);
    static const char *const activations[] = {"relu", "gelu", "tanh", "swish:per=channel"};
    for (int i = 0; i < 4; i++) {
        against_loops(HK_F64, activations[i], 107, 1e-12);
        against_loops(HK_F32, activations[i], 107, 2e-6);
    }
}

/* A user's function, called on one thread. */
static double wave(double x, const double *p) { return p[0] * sin(x); }
static double wave_slope(double x, const double *p) { return p[0] * cos(x); }
static void wave_params(double x, const double *p, double *d) { (void)p, d[0] = sin(x); }

static void own_activation(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 2, 1);
    const hk_activation_info info = {.name = "wave",
                                     .formula = "a sin(x)",
                                     .derivative = "a cos(x)",
                                     .n_params = 1,
                                     .params = {{.name = "a", .value = 2, .low = 0.5, .high = 4}}};
    const hk_activation_functions functions = {wave, wave_slope, wave_params};
    assert_int_equal(hk_activation_define(ctx, &info, &functions), HK_OK);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 1, 2), hk_activation(ctx, "wave"));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1), NULL), HK_OK);
    for (int k = 0; k < 2; k++) {
        element_put(hk_module_find(net, "0.weight"), k, k == 0 ? 0.01 : 1);
        element_put(hk_module_find(net, "0.bias"), k, k == 0 ? 1.5707963267948966 : 0);
    }
    hk_units *units = hk_units_create(net, NULL);
    const double x[3] = {-1, 0.5, 2};
    assert_int_equal(hk_units_add(units, hk_constant(ctx, HK_F64, HK_SHAPE(3, 1), x)), HK_OK);
    assert_int_equal(hk_units_end(units), HK_OK);
    assert_true(fabs(hk_units_at(units, 0, 1)->max_slope - 2 * cos(0.5)) < 1e-15);
    assert_true(fabs(hk_units_at(units, 0, 0)->max_slope - 2 * sin(0.02)) < 1e-15);
    assert_int_equal(hk_units_layer_at(units, 0)->saturated, 1);
    assert_int_equal(hk_units_layer_at(units, 0)->dead, 0);
    hk_context_destroy(ctx);
}

/* Where f' is 0 on a stretch, all that is not 0 passes, however faint; where it grows without end nothing is saturated. */
static double faint(double x, const double *p) { return (void)p, x > 0 ? 1e-7 * x : 0; }
static double faint_slope(double x, const double *p) { return (void)p, x > 0 ? 1e-7 : 0; }
static double cube(double x, const double *p) { return (void)p, x * x * x; }
static double cube_slope(double x, const double *p) { return (void)p, 3 * x * x; }

static void limits_of_slopes(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    const hk_activation_functions functions[2] = {{faint, faint_slope, NULL},
                                                  {cube, cube_slope, NULL}};
    const char *names[2] = {"faint", "cube"};
    for (int i = 0; i < 2; i++) {
        const hk_activation_info info = {
            .name = names[i], .formula = "f", .derivative = "d", .kinks = {0}, .n_kinks = 1};
        assert_int_equal(hk_activation_define(ctx, &info, &functions[i]), HK_OK);
        hk_module *net = hk_activation(ctx, names[i]);
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2), NULL), HK_OK);
        hk_units *units = hk_units_create(net, NULL);
        const double x[2] = {0.001, -0.001};
        assert_int_equal(hk_units_add(units, hk_constant(ctx, HK_F64, HK_SHAPE(1, 2), x)), HK_OK);
        assert_int_equal(hk_units_end(units), HK_OK);
        assert_int_equal(hk_units_layer_at(units, 0)->dead, i == 0 ? 1 : 0);
        assert_int_equal(hk_units_layer_at(units, 0)->saturated, i == 0 ? 1 : 0);
    }
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_activation),
        cmocka_unit_test(large_layers),
        cmocka_unit_test(own_activation),
        cmocka_unit_test(limits_of_slopes),
    };
    return cmocka_run_group_tests_name("units against loops", tests, NULL, NULL);
}
