/* parity_ops.c: every operation, activation and optimizer on the GPU against the CPU: forward, backward and forward mode,
   in float and in double.
   SPDX-License-Identifier: MIT */
/* ctest: labels=gpu timeout=240 */
#include "activation_fixture.h"
#include "gpu_fixture.h"
#include "hk_image_ops.h"
#include "hk_optim.h"
#include "ops_fixture.h"
#include "results.h"

/* --- distances --------------------------------------------------------------------------------------------------- */

static double worst;

/* The largest error relative to max(1, |want|); wants and gots of one type. */
static void compare(const char *what, hk_tensor *want, hk_tensor *got) {
    if (!want || !got) fail_msg("%s: there is no result", what);
    assert_true(hk_shape_equal(hk_tensor_shape(want), hk_tensor_shape(got)));
    assert_int_equal(hk_tensor_dtype(want), hk_tensor_dtype(got));
    const double *w = values(want), *g = values(got);
    for (int64_t i = 0; i < hk_tensor_count(want); i++) {
        const double error = w[i] == g[i] ? 0 : fabs(g[i] - w[i]) / fmax(1, fabs(w[i]));
        if (!(error <= worst)) worst = error;
    }
}

/* Floats are added up in another order on a GPU, and exponentials of sums feel that. */
static double limit_of(hk_dtype dtype) { return dtype == HK_F64 ? 1e-12 : 1e-5; }

/* --- one function of some tensors -------------------------------------------------------------------------------- */

enum { INPUTS = 5 };
typedef struct outcome {
    hk_tensor *y, *tangent, *grad[INPUTS];
} outcome;

static outcome results_of(hk_context *ctx, hk_function *fn, void *arg, int n, hk_tensor **in,
                          const bool *skip, bool none) {
    outcome r = {.y = NULL};
    hk_tensor *of[INPUTS], *direction[INPUTS];
    int some = 0;
    for (int i = 0; i < n && !none; i++) {
        if (skip[i]) continue;
        of[some] = hk_require_grad(in[i]);
        direction[some++] =
            seeded(ctx, hk_tensor_dtype(in[i]), hk_tensor_shape(in[i]), "direction", -1, 1, 0);
    }
    r.y = fn(ctx, n, in, arg);
    assert_ok(ctx);
    if (none) return r;
    r.tangent = hk_jvp(ctx, r.y, some, of, direction);
    hk_tensor *v = seeded(ctx, hk_tensor_dtype(r.y), hk_tensor_shape(r.y), "weights", -1, 1, 0);
    must(hk_backward_from(ctx, r.y, v));
    assert_ok(ctx);
    for (int i = 0; i < n; i++) r.grad[i] = skip[i] ? NULL : hk_grad(in[i]);
    return r;
}

static void compare_outcomes(const char *name, const outcome *want, const outcome *got) {
    compare(name, want->y, got->y);
    if (want->tangent) compare(name, want->tangent, got->tangent);
    for (int i = 0; i < INPUTS; i++)
        if (want->grad[i]) compare(name, want->grad[i], got->grad[i]);
}

static void operations(void **state) {
    (void)state;
    for (int64_t k = 0; k < 2 * COUNT(rows); k++) {
        const row *r = &rows[k / 2];
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        outcome o[2];
        for (int c = 0; c < 2; c++) {
            hk_tensor *in[3];
            const bool *skip = inputs(c ? gpu : cpu, dtype, r, in);
            o[c] = results_of(c ? gpu : cpu, r->fn, NULL, r->n, in, skip, r->none);
        }
        worst = 0;
        compare_outcomes(r->name, &o[0], &o[1]);
        char what[64];
        snprintf(what, sizeof what, "%s in %s", r->name, hk_dtype_name(dtype));
        /* cast goes through float in both */
        note("operations", what, worst, r->other ? 1e-5 : limit_of(dtype));
        forget();
    }
}

/* --- images ------------------------------------------------------------------------------------------------------ */

typedef struct image_row {
    const char *name;
    hk_function *fn;
    int n;
    hk_shape in[INPUTS];
} image_row;

static const hk_conv2d_config strided = {.stride = {2, 1}, .padding = {1, 2}};
FN(conv2d, hk_conv2d_op(in[0], in[1], in[2], &strided));
FN(conv_transpose2d, hk_conv_transpose2d_op(in[0], in[1], in[2], &strided));
FN(depthwise, hk_conv2d_op(in[0], in[1], in[2], &(hk_conv2d_config){.groups = 3}));
FN(max_pool2d, hk_max_pool2d_op(in[0], &(hk_pool2d_config){.kernel = {3, 2}, .stride = {2, 2}}));
FN(avg_pool2d, hk_avg_pool2d_op(in[0], &(hk_pool2d_config){.kernel = {3, 2}, .padding = {1, 1}}));
FN(adaptive_max_pool2d, hk_adaptive_max_pool2d_op(in[0], (hk_pair){3, 2}));
FN(adaptive_avg_pool2d, hk_adaptive_avg_pool2d_op(in[0], (hk_pair){3, 2}));
FN(batch_norm_eval, hk_batch_norm_eval_op(in[0], in[1], hk_abs(in[2]), in[3], in[4], 1e-1));
FN(layer_norm, hk_layer_norm_op(in[0], 3, in[1], in[2], 1e-5));
FN(group_norm, hk_group_norm_op(in[0], 3, in[1], in[2], 1e-5));

#define IMAGES                                                                                     \
    {                                                                                              \
        4, { 3, 3, 7, 6 }                                                                          \
    }
#define CHANNELS                                                                                   \
    {                                                                                              \
        1, { 3 }                                                                                   \
    }
static const image_row image_rows[] = {
    {"conv2d", f_conv2d, 3, {IMAGES, {4, {5, 3, 3, 3}}, {1, {5}}}},
    {"conv_transpose2d", f_conv_transpose2d, 3, {IMAGES, {4, {3, 5, 3, 3}}, {1, {5}}}},
    {"depthwise conv2d", f_depthwise, 3, {IMAGES, {4, {3, 1, 3, 3}}, CHANNELS}},
    {"max_pool2d", f_max_pool2d, 1, {IMAGES}},
    {"avg_pool2d", f_avg_pool2d, 1, {IMAGES}},
    {"adaptive_max_pool2d", f_adaptive_max_pool2d, 1, {IMAGES}},
    {"adaptive_avg_pool2d", f_adaptive_avg_pool2d, 1, {IMAGES}},
    {"batch_norm_eval", f_batch_norm_eval, 5, {IMAGES, CHANNELS, CHANNELS, CHANNELS, CHANNELS}},
    {"layer_norm", f_layer_norm, 3, {IMAGES, {3, {3, 7, 6}}, {3, {3, 7, 6}}}},
    {"group_norm", f_group_norm, 3, {IMAGES, CHANNELS, CHANNELS}},
};

static void images(void **state) {
    (void)state;
    static const bool skip[INPUTS] = {false};
    for (int64_t k = 0; k < 2 * COUNT(image_rows); k++) {
        const image_row *r = &image_rows[k / 2];
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        outcome o[2];
        for (int c = 0; c < 2; c++) {
            hk_tensor *in[INPUTS];
            for (int i = 0; i < r->n; i++) {
                char name[64];
                snprintf(name, sizeof name, "%s/%d", r->name, i);
                in[i] = seeded(c ? gpu : cpu, dtype, r->in[i], name, -2, 2, 0);
            }
            o[c] = results_of(c ? gpu : cpu, r->fn, NULL, r->n, in, skip, false);
        }
        worst = 0;
        compare_outcomes(r->name, &o[0], &o[1]);
        char what[64];
        snprintf(what, sizeof what, "%s in %s", r->name, hk_dtype_name(dtype));
        note("images", what, worst, limit_of(dtype));
        forget();
    }
}

/* --- activations: the gates that the CPU's kernels are held to, against the CPU in double ------------------------- */

static hk_tensor *activated(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    return hk_activate_with(in[0], arg, NULL);
}

static void gates(void **state) {
    (void)state;
    static const bool skip[INPUTS] = {false};
    const hk_activation_info *info;
    for (int i = 0; (info = hk_activation_row(NULL, i)) != NULL; i++) {
        hk_activation_spec spec;
        if (info->kind == HK_ACTIVATION_NETWORK) continue; /* parity of networks */
        must(hk_activation_parse(cpu, activation_text(info), &spec));
        spec = activation_in_float(spec);
        outcome o[2];
        hk_tensor *x[2];
        for (int c = 0; c < 2; c++) {
            /* Floats, in both. */
            hk_tensor *in = seeded(cpu, HK_F32, HK_SHAPE(64, 48), "gates", -20, 20, 0);
            x[c] = hk_tensor_new(c ? gpu : cpu, c ? HK_F32 : HK_F64, HK_SHAPE(64, 48));
            const double *of = values(in);
            for (int e = 0; e < 64 * 48; e++) element_put(x[c], e, of[e]);
            o[c] = results_of(c ? gpu : cpu, activated, &spec, 1, &x[c], skip, false);
        }
        const double *at = values(x[0]), *want = values(o[0].y), *got = values(o[1].y);
        const activation_gate gate = activation_gate_of(&spec);
        double most = 0, slope = 0;
        for (int e = 0; e < hk_tensor_count(o[0].y); e++) {
            const double allowed = info->kind == HK_ACTIVATION_POINTWISE
                                       ? activation_allowed(&gate, at[e], want[e])
                                       : 1e-5 * fmax(1, fabs(want[e]));
            const double part = got[e] == want[e] ? 0 : fabs(got[e] - want[e]) / allowed;
            if (!(part <= most)) most = part;
        }
        want = values(o[0].grad[0]), got = values(o[1].grad[0]);
        for (int e = 0; e < 64 * 48; e++) {
            const double allowed = info->kind == HK_ACTIVATION_POINTWISE
                                       ? activation_slope_allowed(&spec, want[e])
                                       : 1e-5 * fmax(1, fabs(want[e]));
            const double part = got[e] == want[e] ? 0 : fabs(got[e] - want[e]) / allowed;
            if (!(part <= slope)) slope = part;
        }
        note("share of the gate, forward", info->name, most, 1);
        note("share of the gate, backward", info->name, slope, 1);
        forget();
    }
}

/* --- optimizers -------------------------------------------------------------------------------------------------- */

static void optimizers(void **state) {
    (void)state;
    static const char *const names[] = {"sgd", "momentum", "adam", "adamw", "rmsprop"};
    for (int64_t k = 0; k < 2 * COUNT(names); k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        hk_tensor *p[2][2];
        worst = 0;
        for (int c = 0; c < 2; c++) {
            hk_context *ctx = c ? gpu : cpu;
            p[c][0] = hk_require_grad(seeded(ctx, dtype, HK_SHAPE(37, 11), "p0", -1, 1, 0));
            p[c][1] = hk_require_grad(seeded(ctx, dtype, HK_SHAPE(5), "p1", -1, 1, 0));
            hk_optimizer *opt =
                hk_optimizer_by_name(ctx, names[k / 2], (hk_parameters){2, p[c]}, 0.05, 0.01);
            assert_ok(ctx);
            must(hk_optimizer_clip_norm(opt, 3));
            for (int s = 0; s < 10; s++) {
                hk_optimizer_zero_grad(opt);
                hk_tensor *y =
                    hk_sum(hk_mul(p[c][0], hk_mul(p[c][0], p[c][0])), HK_ALL_AXES, false);
                must(hk_backward(ctx, hk_add(y, hk_sum(hk_exp(p[c][1]), HK_ALL_AXES, false))));
                must(hk_optimizer_step(opt));
                must(hk_step_end(ctx));
            }
            hk_optimizer_destroy(opt);
        }
        for (int i = 0; i < 2; i++) compare(names[k / 2], p[0][i], p[1][i]);
        char what[64];
        snprintf(what, sizeof what, "%s in %s", names[k / 2], hk_dtype_name(dtype));
        note("optimizers", what, worst, limit_of(dtype));
        forget();
    }
}

int main(int argc, char **argv) {
    need_gpu();
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations),
        cmocka_unit_test(images),
        cmocka_unit_test(gates),
        cmocka_unit_test(optimizers),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
