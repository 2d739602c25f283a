/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_grad_activation.c: gradients of every row of the list of activations, and of their
   parameters.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

typedef struct act_case {
    const hk_activation_spec *spec; /* with learnable parameters as tensors, or: */
    const char *text;
    view view;
    hk_shape shape;
} act_case;

/* in[0] is x, the others are the learnable parameters. */
static hk_tensor *apply(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx;
    const act_case *c = arg;
    hk_tensor *x = view_of(c->view, in[0], c->shape), *params[HK_ACTIVATION_MAX_PARAMS] = {NULL};
    if (c->text) return hk_activate(x, c->text);
    int next = 1;
    for (int k = 0; k < c->spec->info->n_params; k++)
        if (c->spec->learns[k]) params[k] = in[next++];
    assert_int_equal(next, n);
    return hk_activate_with(x, c->spec, params);
}

/* Points of [-3, 3], none so close to a place where the derivative jumps that a difference would
   cross it; a parameter that is such a place moves by up to 0.1. */
static hk_tensor *points(hk_context *ctx, hk_shape shape, const hk_activation_spec *spec) {
    const hk_activation_info *row = spec->info;
    hk_tensor *x = seeded(ctx, HK_F64, shape, "activation", -3, 3, 0);
    double *value = host(x);
    for (int64_t i = 0; i < hk_tensor_count(x); i++) {
        for (int k = 0; k < row->n_kinks; k++)
            if (fabs(value[i] - row->kinks[k]) < 0.02) value[i] = row->kinks[k] + 0.05;
        for (int k = 0; k < row->n_params; k++)
            if (row->params[k].kink && fabs(value[i] - spec->value[k]) < 0.15)
                value[i] = spec->value[k] + 0.2;
    }
    host_done(x, value);
    return x;
}

static const hk_shape shapes[] = {
    {1, {17}}, {2, {7, 5}}, {3, {3, 5, 1}}, {4, {3, 1, 5, 2}}, {6, {2, 1, 3, 1, 2, 2}},
};

static void check_views(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, text, &spec));
    for (int64_t k = 0; k < COUNT(shapes) * VIEWS; k++) {
        act_case c = {.text = text, .view = (view)(k % VIEWS), .shape = shapes[k / VIEWS]};
        const hk_shape source = view_source(c.view, c.shape);
        if (hk_shape_count(source) < 12) continue; /* all of them may lie where the slope is 0 */
        hk_tensor *x = points(ctx, source, &spec);
        char what[128];
        snprintf(what, sizeof what, "%s, rank %d, view %d", text, c.shape.rank, c.view);
        assert_gradient(ctx, what, apply, &c, 1, &x, NULL);
        hk_tensor_destroy(x);
    }
}

/* Every row with its defaults and with other settings; a stand-in for a slope is not that of its
   value. */
static void by_name(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    const char *text;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++)
        if (row->kind == HK_ACTIVATION_POINTWISE && !row->surrogate) check_views(ctx, row->name);
    for (int i = 0; (text = activation_setting(i)) != NULL; i++)
        if (strncmp(text, "step", 4) != 0) check_views(ctx, text);
}

/* Parameters as numbers of the layer, one for each channel (axis 1), one for each element. */
static void parameters(void **state) {
    hk_context *ctx = *state;
    const hk_shape x_shape = {3, {3, 5, 2}};
    static const hk_shape per[] = {{0, {0}},    {1, {1}},       {3, {1, 5, 1}},
                                   {2, {5, 1}}, {3, {3, 5, 2}}, {3, {3, 1, 1}}};
    int learned = 0;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        hk_activation_spec spec;
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        must(hk_activation_parse(ctx, row->name, &spec));
        int n = 0, which[HK_ACTIVATION_MAX_PARAMS];
        for (int p = 0; p < row->n_params; p++) {
            spec.learns[p] = row->params[p].role != HK_PARAM_FIXED &&
                             (row->params[p].from == 0 || row->params[p].from <= spec.value[0]);
            if (spec.learns[p]) which[n++] = p;
        }
        for (int64_t k = 0; n > 0 && k < COUNT(per) * VIEWS; k++) {
            act_case c = {.spec = &spec, .view = (view)(k % VIEWS), .shape = x_shape};
            hk_tensor *in[1 + HK_ACTIVATION_MAX_PARAMS] = {
                points(ctx, view_source(c.view, x_shape), &spec)};
            for (int i = 0; i < n; i++) {
                const hk_activation_param *p = &row->params[which[i]];
                in[1 + i] =
                    seeded(ctx, HK_F64, per[k / VIEWS], p->name, p->value - 0.1, p->value + 0.1, 0);
            }
            char what[80];
            snprintf(what, sizeof what, "%s, parameters %lld, view %d", row->name,
                     (long long)(k / VIEWS), c.view);
            assert_gradient(ctx, what, apply, &c, 1 + n, in, NULL);
            /* The parameters alone, x constant; then x alone. */
            const bool x_fixed[1 + HK_ACTIVATION_MAX_PARAMS] = {true};
            assert_gradient(ctx, what, apply, &c, 1 + n, in, x_fixed);
            bool fixed[1 + HK_ACTIVATION_MAX_PARAMS];
            for (int i = 0; i <= n; i++) fixed[i] = i > 0;
            assert_gradient(ctx, what, apply, &c, 1 + n, in, fixed);
            for (int i = 0; i <= n; i++) hk_tensor_destroy(in[i]);
            learned++;
        }
    }
    assert_true(learned > 0);
}

static hk_tensor *composed(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    hk_tensor *x = in[0];
    return hk_mul(x, hk_activate(hk_add(hk_activate(x, "tanh"), hk_scale(x, 0.5, 0)), "sigmoid"));
}

static void used_several_times(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 5), "composed", -2, 2, 0);
    assert_gradient(ctx, "composed", composed, NULL, 1, &x, NULL);
}

/* At a kink itself: what the blocks say, and what the oracle in double says. */
static void slopes_at_kinks(void **state) {
    hk_context *ctx = *state;
    static const struct {
        const char *text;
        double at, want;
    } cases[] = {{"identity", 0, 1},
                 {"relu", 0, 0},
                 {"relu:at_zero=0.5", 0, 0.5},
                 {"relu:at_zero=1", 0, 1},
                 {"leaky_relu", 0, 0.01},
                 {"leaky_relu:negative_slope=0.5", 0, 0.5},
                 {"prelu", 0, 0.25},
                 {"prelu:alpha=-1", 0, -1},
                 {"rrelu", 0, 11.0 / 48},
                 {"elu", 0, 1},
                 {"elu:alpha=0.5", 0, 0.5},
                 {"celu:alpha=0.5", 0, 1},
                 {"selu", 0, 1.7580993408473768600},
                 {"relu6", 0, 0},
                 {"relu6", 6, 0},
                 {"hard_tanh", -1, 0},
                 {"hard_tanh", 1, 0},
                 {"hard_tanh:min_val=-2:max_val=0.5", 0.5, 0},
                 {"hard_sigmoid", -3, 0},
                 {"hard_sigmoid", 3, 0},
                 {"hard_swish", -3, 0},
                 {"hard_swish", 3, 1},
                 {"softsign", 0, 1},
                 {"softplus:threshold=1", 1, 0.7310585786300048792}, /* only beyond is it 1 */
                 {"apl:S=1:a1=0.5:b1=-1", -1, 0}, /* the hinge is flat at its knot */
                 {"apl:S=1:a1=0.5:b1=0", 0, 0},
                 {"srelu:t_l=-1:t_r=2:a_r=3", 2, 3},
                 {"srelu:t_l=-1:t_r=2:a_r=3", -1, 0.2},
                 {"srelu:t_l=1:t_r=1:a_r=3", 1, 3}, /* the right piece wins */
                 {"tanh", 0, 1},
                 {"sigmoid", 0, 0.25},
                 {"gelu", 0, 0.5},
                 {"mish", 0, 0.6}};
    for (int64_t k = 0; k < 2 * COUNT(cases); k++) {
        const double at = cases[k / 2].at, want = cases[k / 2].want;
        const double both[] = {at, at == 0 ? -0.0 : at};
        hk_tensor *t = hk_require_grad(kept(ctx, k % 2 ? HK_F64 : HK_F32, HK_SHAPE(2), both));
        hk_tensor *y = hk_activate(t, cases[k / 2].text);
        must(hk_backward_from(ctx, y, hk_full(ctx, hk_tensor_dtype(t), HK_SHAPE(2), 1)));
        assert_values(cases[k / 2].text, hk_grad(t), 2, (const double[]){want, want},
                      k % 2 ? 3e-16 : 2e-7);
        hk_activation_spec spec;
        must(hk_activation_parse(ctx, cases[k / 2].text, &spec));
        assert_close(cases[k / 2].text, 0, hk_activation_slope(&spec, at), want, 3e-16);
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters, setup, teardown),
        cmocka_unit_test_setup_teardown(used_several_times, setup, teardown),
        cmocka_unit_test_setup_teardown(slopes_at_kinks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
