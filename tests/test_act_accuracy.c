/* ctest: labels=unit timeout=120 devices=cpu,cuda */
/* test_act_accuracy.c: float kernels of every pointwise activation against the double ones: half
   of the points spread over the numbers, half over the representations, so all exponents and both
   signs.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

enum { POINTS = 1 << 17, FEW = 1 << 14, MAX = HK_ACTIVATION_MAX_PARAMS };

/* No denormals: kernels take them for 0. */
static float *spread(void) {
    float *x = malloc(sizeof *x * POINTS);
    assert_non_null(x);
    const hk_random stream = hk_random_stream(3, "accuracy", 0);
    for (int64_t i = 0; i < POINTS; i++) {
        if (i % 2) {
            x[i] = (float)(hk_random_uniform(stream, (uint64_t)i) * 40 - 20);
            continue;
        }
        const uint32_t bits = (uint32_t)hk_random_below(stream, (uint64_t)i, UINT64_C(1) << 32);
        memcpy(&x[i], &bits, sizeof bits);
        if (!isfinite(x[i]) || fabsf(x[i]) < FLT_MIN) x[i] = 0;
    }
    return x;
}

/* f and f' with g = 1 of one specification at n points. */
typedef struct curve {
    hk_tensor *x, *y, *slope;
} curve;

static curve run(hk_context *ctx, hk_dtype dtype, const hk_activation_spec *spec, int64_t n,
                 const float *x) {
    curve c = {.x = hk_tensor_new(ctx, dtype, HK_SHAPE(n))};
    hk_tensor *source = hk_constant(ctx, HK_F32, HK_SHAPE(n), x);
    must(hk_tensor_copy(c.x, source));
    hk_require_grad(c.x);
    c.y = hk_activate_with(c.x, spec, NULL);
    must(hk_backward_from(ctx, c.y, hk_full(ctx, dtype, HK_SHAPE(n), 1)));
    c.slope = hk_grad(c.x);
    return c;
}

static void finish(hk_context *ctx, curve *c) {
    hk_tensor_destroy(c->x);
    must(hk_step_end(ctx));
}

typedef struct worst {
    double f, at; /* in ulp, or relative to max(1, |x|) where that is the gate everywhere */
    double slope, slope_at;
} worst;

static void compare(const hk_activation_spec *spec, const char *isa, int64_t n, const float *x,
                    const curve *got, const curve *want, worst *most) {
    const float *y = host(got->y), *slope = host(got->slope);
    const double *right = host(want->y), *right_slope = host(want->slope);
    const activation_gate gate = activation_gate_of(spec);
    for (int64_t i = 0; i < n; i++) {
        const double at = (double)x[i], error = fabs((double)y[i] - right[i]),
                     slope_error = fabs((double)slope[i] - right_slope[i]);
        const bool beyond = fabs(right[i]) > FLT_MAX; /* infinite in float */
        if (beyond ? !isinf(y[i]) || (y[i] > 0) != (right[i] > 0)
                   : !(error <= activation_allowed(&gate, at, right[i])))
            fail_msg("%s on %s: f(%.9g) is %.9g, not %.9g: off by %.1f ulp", spec->info->name, isa,
                     at, (double)y[i], right[i], error / activation_ulp(right[i]));
        /* At 0 pau has a kink, near it b1·x is a denormal. */
        if (gate.absolute > 0 && fabs(at) < 1e-30) continue;
        if (!(slope_error <= activation_slope_allowed(spec, right_slope[i])))
            fail_msg("%s on %s: f'(%.9g) is %.9g, not %.9g: off by %.3g", spec->info->name, isa, at,
                     (double)slope[i], right_slope[i], slope_error);
        if (slope_error > most->slope) most->slope = slope_error, most->slope_at = at;
        if (beyond || fabs(right[i]) < activation_least(&gate, at)) continue;
        const bool wide = gate.absolute > 0 && gate.from == 0;
        const double unit = wide ? fmax(1, fabs(at)) : activation_ulp(right[i]);
        if (error / unit > most->f && (gate.from == 0 || at >= gate.from))
            most->f = error / unit, most->at = at;
    }
}

/* The same source with the same operations: equal wherever no denormal is near. */
static void same_bits(const char *name, int64_t n, const float *a, const float *b) {
    for (int64_t i = 0; i < n; i++) {
        const bool normal = fabsf(a[i]) >= FLT_MIN || fabsf(b[i]) >= FLT_MIN;
        if (normal && memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s: %.9g with avx2, %.9g with avx512", name, (double)a[i], (double)b[i]);
    }
}

enum { SETS = 3 };

static void sweep(hk_context *reference, hk_context *const *of, hk_activation_spec spec, int64_t n,
                  const float *x, bool told) {
    worst most = {0};
    curve want, got[SETS] = {{.x = NULL}};
    spec = activation_in_float(spec);
    want = run(reference, HK_F64, &spec, n, x);
    for (int s = 0; s < SETS && of[s]; s++) {
        got[s] = run(of[s], HK_F32, &spec, n, x);
        compare(&spec, isa_number(s), n, x, &got[s], &want, &most);
    }
    if (of[2]) {
        same_bits(spec.info->name, n, host(got[1].y), host(got[2].y));
        same_bits(spec.info->name, n, host(got[1].slope), host(got[2].slope));
    }
    if (told)
        print_message("%-13s f %-7.3g %s at %-13.7g  f' %-7.2g at %.7g\n", spec.info->name, most.f,
                      most.f < 1e-5 && most.f > 0 ? "abs" : "ulp", most.at, most.slope,
                      most.slope_at);
    for (int s = 0; s < SETS && of[s]; s++) finish(of[s], &got[s]);
    finish(reference, &want);
}

typedef struct everywhere {
    hk_context *reference, *of[SETS + 1];
    float *x;
} everywhere;

static int open_all(void **state) {
    everywhere *e = calloc(1, sizeof *e);
    e->reference = new_context(1, NULL);
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) e->of[s] = new_context(1, isa);
    e->x = spread();
    *state = e;
    return 0;
}

static int close_all(void **state) {
    everywhere *e = *state;
    hk_context_destroy(e->reference);
    for (int s = 0; e->of[s]; s++) hk_context_destroy(e->of[s]);
    free(e->x);
    free(e);
    return 0;
}

/* The rows with their defaults; one line each: the worst over all instruction sets, on results
   that may not be 0. */
static void every_row(void **state) {
    const everywhere *e = *state;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        hk_activation_spec spec;
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        must(hk_activation_parse(e->reference, row->surrogate ? "step:ste=sigmoid" : row->name,
                                 &spec));
        sweep(e->reference, e->of, spec, POINTS, e->x, true);
    }
}

static void other_settings(void **state) {
    const everywhere *e = *state;
    const char *text;
    for (int i = 0; (text = activation_setting(i)) != NULL; i++) {
        hk_activation_spec spec;
        must(hk_activation_parse(e->reference, text, &spec));
        sweep(e->reference, e->of, spec, FEW, e->x, false);
    }
}

/* Derivatives by parameters, each parameter a tensor of x's shape. */
static void run_parameters(hk_context *ctx, hk_dtype dtype, const hk_activation_spec *spec,
                           const float *x, hk_tensor *p[MAX]) {
    hk_tensor *in = hk_constant(ctx, HK_F32, HK_SHAPE(FEW), x);
    for (int k = 0; k < spec->info->n_params; k++) {
        p[k] = hk_tensor_new(ctx, dtype, HK_SHAPE(FEW));
        hk_tensor *same = hk_full(ctx, dtype, HK_SHAPE(FEW), spec->value[k]);
        must(hk_tensor_copy(p[k], same));
        hk_require_grad(p[k]);
    }
    hk_tensor *y = hk_activate_with(hk_cast(in, dtype), spec, p);
    must(hk_backward_from(ctx, y, hk_full(ctx, dtype, HK_SHAPE(FEW), 1)));
}

static void compare_parameters(const hk_activation_spec *spec, int k, const float *x,
                               hk_tensor *got, hk_tensor *want) {
    const float *value = host(got);
    const double *right = host(want);
    for (int64_t i = 0; i < FEW; i++) {
        /* Far out pau takes the limit for its parameters. */
        if (spec->info->absolute > 0 && fabsf(x[i]) > 0x1p23f) continue;
        if (fabs(right[i]) > FLT_MAX && isinf(value[i])) continue;
        if (!(fabs((double)value[i] - right[i]) <= activation_param_allowed(right[i])))
            fail_msg("%s by %s at %.9g: %.9g, not %.9g", spec->info->name,
                     spec->info->params[k].name, (double)x[i], (double)value[i], right[i]);
    }
}

static void by_parameters(void **state) {
    const everywhere *e = *state;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        hk_activation_spec spec;
        if (row->kind != HK_ACTIVATION_POINTWISE || row->n_params == 0 || row->surrogate) continue;
        must(hk_activation_parse(e->reference, activation_text(row), &spec));
        spec = activation_in_float(spec);
        hk_tensor *want[MAX], *got[MAX];
        run_parameters(e->reference, HK_F64, &spec, e->x, want);
        for (int s = 0; e->of[s]; s++) {
            run_parameters(e->of[s], HK_F32, &spec, e->x, got);
            for (int k = 0; k < row->n_params; k++) {
                compare_parameters(&spec, k, e->x, hk_grad(got[k]), hk_grad(want[k]));
                hk_tensor_destroy(got[k]);
            }
            must(hk_step_end(e->of[s]));
        }
        for (int k = 0; k < row->n_params; k++) hk_tensor_destroy(want[k]);
        must(hk_step_end(e->reference));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(other_settings),
        cmocka_unit_test(by_parameters),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
