/* test_golden_images.c: convolutions, poolings and normalisations against PyTorch, in both forms.
   SPDX-License-Identifier: MIT */
/* ctest: labels=golden timeout=60 devices=cpu,cuda */
#include "golden_check.h"

/* Gates for float, times max(1, |value|).

   LINEAR: inputs of convolutions and pooling are multiples of 1/16 below 8, so products are multiples
   of 1/256, and every sum of them here is a float, whatever the order. Averages are rounded once or
   twice. A wrong element in a sum is off by 1/256 at least.
   NORMS: PyTorch's own float results are within 2e-6 of its double ones, or the file would not have
   been written. The rest of the gate is room for other orders of sums. */
static const double LINEAR = 1e-6, NORMS = 1e-5;

/* --- the settings of each kind ---------------------------------------------------------------- */

typedef struct operands {
    hk_context *ctx;
    golden *g;
    const char *name; /* "conv2d.plain" */
    const double *setting;
    hk_tensor *x, *w, *b; /* HK_NO_BIAS if the file has none */
} operands;

static hk_pair pair(const double *setting) {
    return (hk_pair){(int64_t)setting[0], (int64_t)setting[1]};
}

static hk_conv2d_config conv_config(operands o, bool transposed) {
    return (hk_conv2d_config){.stride = pair(o.setting),
                              .padding = pair(o.setting + 2),
                              .dilation = pair(o.setting + 4),
                              .groups = (int64_t)o.setting[6],
                              .output_padding = transposed ? pair(o.setting + 7) : (hk_pair){0}};
}
static hk_pool2d_config max_config(operands o) {
    return (hk_pool2d_config){.kernel = pair(o.setting),
                              .stride = pair(o.setting + 2),
                              .padding = pair(o.setting + 4),
                              .dilation = pair(o.setting + 6),
                              .ceil_mode = o.setting[8] != 0};
}
static hk_pool2d_config avg_config(operands o) {
    return (hk_pool2d_config){.kernel = pair(o.setting),
                              .stride = pair(o.setting + 2),
                              .padding = pair(o.setting + 4),
                              .ceil_mode = o.setting[6] != 0,
                              .exclude_padding = o.setting[7] != 0};
}
static hk_norm_config norm_config(operands o, double eps) {
    return (hk_norm_config){.eps = eps, .plain = o.w == HK_NO_BIAS};
}

/* --- as operations ---------------------------------------------------------------------------- */

static hk_tensor *conv2d(operands o) {
    const hk_conv2d_config config = conv_config(o, false);
    return hk_conv2d_op(o.x, o.w, o.b, &config);
}
static hk_tensor *conv_transpose2d(operands o) {
    const hk_conv2d_config config = conv_config(o, true);
    return hk_conv_transpose2d_op(o.x, o.w, o.b, &config);
}
static hk_tensor *max_pool2d(operands o) {
    const hk_pool2d_config config = max_config(o);
    return hk_max_pool2d_op(o.x, &config);
}
static hk_tensor *avg_pool2d(operands o) {
    const hk_pool2d_config config = avg_config(o);
    return hk_avg_pool2d_op(o.x, &config);
}
static hk_tensor *adaptive_avg_pool2d(operands o) {
    return hk_adaptive_avg_pool2d_op(o.x, pair(o.setting));
}
static hk_tensor *adaptive_max_pool2d(operands o) {
    return hk_adaptive_max_pool2d_op(o.x, pair(o.setting));
}
static hk_tensor *batch_norm_eval(operands o) {
    return hk_batch_norm_eval_op(o.x, load(o.ctx, o.g, o.name, "mean"),
                                 load(o.ctx, o.g, o.name, "var"), o.w, o.b, o.setting[0]);
}
static hk_tensor *layer_norm(operands o) {
    return hk_layer_norm_op(o.x, (int)o.setting[0], o.w, o.b, o.setting[1]);
}
static hk_tensor *group_norm(operands o) {
    return hk_group_norm_op(o.x, (int64_t)o.setting[0], o.w, o.b, o.setting[1]);
}

/* --- as modules ------------------------------------------------------------------------------- */

static hk_module *conv2d_module(operands o) {
    const hk_conv2d_config config = conv_config(o, false);
    const int64_t *w = hk_tensor_shape(o.w).dim, in = hk_tensor_shape(o.x).dim[1];
    return (o.b == HK_NO_BIAS ? hk_conv2d_no_bias : hk_conv2d)(o.ctx, in, w[0],
                                                               (hk_pair){w[2], w[3]}, &config);
}
static hk_module *conv_transpose2d_module(operands o) {
    const hk_conv2d_config config = conv_config(o, true);
    const int64_t *w = hk_tensor_shape(o.w).dim;
    return (o.b == HK_NO_BIAS ? hk_conv_transpose2d_no_bias : hk_conv_transpose2d)(
        o.ctx, w[0], w[1] * config.groups, (hk_pair){w[2], w[3]}, &config);
}
static hk_module *max_pool2d_module(operands o) {
    const hk_pool2d_config config = max_config(o);
    return hk_max_pool2d(o.ctx, &config);
}
static hk_module *avg_pool2d_module(operands o) {
    const hk_pool2d_config config = avg_config(o);
    return hk_avg_pool2d(o.ctx, &config);
}
static hk_module *adaptive_avg_pool2d_module(operands o) {
    return hk_adaptive_avg_pool2d(o.ctx, pair(o.setting));
}
static hk_module *adaptive_max_pool2d_module(operands o) {
    return hk_adaptive_max_pool2d(o.ctx, pair(o.setting));
}
static hk_module *global_avg_pool_module(operands o) { return hk_global_avg_pool(o.ctx); }
static hk_module *zero_pad2d_module(operands o) {
    const double *s = o.setting;
    return hk_zero_pad2d(o.ctx, (int64_t)s[0], (int64_t)s[1], (int64_t)s[2], (int64_t)s[3]);
}
static hk_module *batch_norm_eval_module(operands o) {
    const hk_norm_config config = norm_config(o, o.setting[0]);
    const hk_shape shape = hk_tensor_shape(o.x);
    hk_module *m =
        shape.rank == 4 ? hk_batch_norm2d(o.ctx, &config) : hk_batch_norm1d(o.ctx, &config);
    assert_int_equal(hk_module_build(m, shape, NULL), HK_OK);
    write_to(m, o.g, o.name, "mean", "running_mean");
    write_to(m, o.g, o.name, "var", "running_var");
    hk_module_train(m, false);
    return m;
}
static hk_module *layer_norm_module(operands o) {
    const hk_norm_config config = norm_config(o, o.setting[1]);
    return hk_layer_norm(o.ctx, (int)o.setting[0], &config);
}
static hk_module *group_norm_module(operands o) {
    const hk_norm_config config = norm_config(o, o.setting[1]);
    return hk_group_norm(o.ctx, (int64_t)o.setting[0], &config);
}

/* --- every case in both forms ----------------------------------------------------------------- */

/* How float may differ, and how many cases the file has at least. */
#define KIND(name, ...)                                                                            \
    { #name, name, name##_module, __VA_ARGS__ }
static const struct {
    const char *name;
    hk_tensor *(*op)(operands o); /* NULL if there is none */
    hk_module *(*module)(operands o);
    const double *tolerance;
    int least;
} kinds[] = {
    KIND(conv2d, &LINEAR, 16),
    KIND(conv_transpose2d, &LINEAR, 7),
    KIND(max_pool2d, &LINEAR, 8),
    KIND(avg_pool2d, &LINEAR, 8),
    KIND(adaptive_avg_pool2d, &LINEAR, 4),
    KIND(adaptive_max_pool2d, &LINEAR, 4),
    {"global_avg_pool", NULL, global_avg_pool_module, &LINEAR, 2},
    {"zero_pad2d", NULL, zero_pad2d_module, &LINEAR, 2},
    KIND(batch_norm_eval, &NORMS, 2),
    KIND(layer_norm, &NORMS, 3),
    KIND(group_norm, &NORMS, 4),
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static hk_tensor *load_if(hk_context *ctx, golden *g, const char *prefix, const char *name) {
    return has(g, prefix, name) ? load(ctx, g, prefix, name) : HK_NO_BIAS;
}

/* The module with the file's weights, whose gradients then take the operands' place. */
static hk_tensor *run_module(size_t kind, operands *o) {
    hk_module *m = kinds[kind].module(*o);
    hk_tensor *y = hk_forward(m, o->x); /* builds it, if it is not */
    assert_ok(o->ctx);
    if (o->w == HK_NO_BIAS && o->b == HK_NO_BIAS) return y;
    if (o->w != HK_NO_BIAS) write_to(m, o->g, o->name, "w", "weight");
    if (o->b != HK_NO_BIAS) write_to(m, o->g, o->name, "b", "bias");
    if (o->w != HK_NO_BIAS) o->w = hk_module_find(m, "weight");
    if (o->b != HK_NO_BIAS) o->b = hk_module_find(m, "bias");
    assert_int_equal(hk_step_end(o->ctx), HK_OK);
    return hk_forward(m, o->x);
}

static void check_case(golden *g, const way *w, size_t kind, bool as_module, const char *name,
                       const double *setting) {
    hk_context *ctx = start(w);
    if (!ctx) return;
    const double tolerance = w->config.dtype == HK_F64 ? w->tolerance : *kinds[kind].tolerance;
    operands o = {.ctx = ctx,
                  .g = g,
                  .name = name,
                  .setting = setting,
                  .x = load(ctx, g, name, "x"),
                  .w = load_if(ctx, g, name, "w"),
                  .b = load_if(ctx, g, name, "b")};
    hk_tensor *y = as_module ? run_module(kind, &o) : kinds[kind].op(o);
    assert_ok(ctx);
    check(g, name, "y", y, tolerance);
    assert_int_equal(hk_backward_from(ctx, y, load(ctx, g, name, "v")), HK_OK);
    check(g, name, "dx", hk_grad(o.x), tolerance);
    if (o.w != HK_NO_BIAS) check(g, name, "dw", hk_grad(o.w), tolerance);
    if (o.b != HK_NO_BIAS) check(g, name, "db", hk_grad(o.b), tolerance);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

static void every_case(bool as_module) {
    golden g = golden_read("images.txt");
    char name[GOLDEN_NAME], prefix[GOLDEN_FULL];
    for (size_t k = 0; k < KINDS; k++) {
        if (!as_module && !kinds[k].op) continue;
        int cases = 0;
        for (int at = 0; next_case(&g, kinds[k].name, &at, name); at++, cases++) {
            g.entry[at].used = true;
            for (int w = 0; w < WAYS; w++)
                check_case(&g, &ways[w], k, as_module, name, g.entry[at].value);
        }
        if (cases < kinds[k].least) fail_msg("%s: %d cases", kinds[k].name, cases);
        snprintf(prefix, sizeof prefix, "%s.", kinds[k].name);
        golden_all_used(&g, prefix);
    }
    golden_free(&g);
}

static void operations(void **state) {
    (void)state;
    every_case(false);
}

static void modules(void **state) {
    (void)state;
    every_case(true);
}

static int report(void **state) {
    (void)state;
    print_message("%d results compared with PyTorch's\n", checked);
    return checked > 400 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations),
        cmocka_unit_test(modules),
    };
    return cmocka_run_group_tests(tests, NULL, report);
}
