/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_grad_loss.c: gradients of the losses: every layout, broadcast targets, smoothing, extreme
   logits.
   SPDX-License-Identifier: MIT */
#include "testing.h"

/* --- cross-entropy --------------------------------------------------------------------------- */

typedef struct ce_case {
    double smoothing;
    view view;
    hk_shape shape;
} ce_case;

/* Times 3, so that the gradient that comes in is not 1. */
static hk_tensor *cross_entropy(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const ce_case *c = arg;
    hk_tensor *logits = view_of(c->view, in[0], c->shape);
    hk_tensor *loss = c->smoothing < 0 ? hk_cross_entropy(logits, in[1])
                                       : hk_cross_entropy_smooth(logits, in[1], c->smoothing);
    return hk_scale(loss, 3, 1);
}

static void cross_entropies(void **state) {
    hk_context *ctx = *state;
    static const hk_shape shapes[] = {{2, {1, 2}}, {2, {7, 3}}, {2, {5, 11}}, {2, {3, 33}}};
    static const double smoothing[] = {-1, 0, 0.1, 1};
    const bool skip[] = {false, true};
    for (int64_t k = 0; k < COUNT(shapes) * COUNT(smoothing) * VIEWS; k++) {
        ce_case c = {smoothing[k / VIEWS % COUNT(smoothing)], (view)(k % VIEWS),
                     shapes[k / VIEWS / COUNT(smoothing)]};
        hk_tensor *in[] = {seeded(ctx, HK_F64, view_source(c.view, c.shape), "ce/x", -3, 3, 0),
                           seeded(ctx, HK_I32, HK_SHAPE(c.shape.dim[0]), "ce/labels", 0,
                                  (double)c.shape.dim[1], 0)};
        char what[80];
        snprintf(what, sizeof what, "cross-entropy, %d classes, smoothing %g, view %d",
                 (int)c.shape.dim[1], c.smoothing, c.view);
        assert_gradient(ctx, what, cross_entropy, &c, 2, in, skip);
        hk_tensor_destroy(in[0]);
        hk_tensor_destroy(in[1]);
    }
}

static hk_tensor *two_heads(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_add(hk_cross_entropy(in[0], in[1]),
                  hk_cross_entropy_smooth(hk_mul(in[0], in[0]), in[1], 0.2));
}

static void logits_used_twice(void **state) {
    hk_context *ctx = *state;
    hk_tensor *in[] = {seeded(ctx, HK_F64, HK_SHAPE(5, 3), "twice/x", -2, 2, 0),
                       seeded(ctx, HK_I32, HK_SHAPE(5), "twice/labels", 0, 3, 0)};
    assert_gradient(ctx, "two heads", two_heads, NULL, 2, in, (const bool[]){false, true});
}

/* Logits that an op made, and that others use before or behind the loss: 1 and 2 say so, 0: none. */
static hk_tensor *made_logits(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const int others = *(const int *)arg;
    hk_tensor *logits = hk_scale(in[0], 2, 0), *more = NULL;
    if (others == 1) more = hk_mean(hk_mul(logits, logits), HK_ALL_AXES, false);
    hk_tensor *loss = hk_cross_entropy(logits, in[1]);
    if (others == 2) more = hk_mean(hk_mul(logits, logits), HK_ALL_AXES, false);
    return more ? hk_add(loss, more) : loss;
}

/* A second backward adds the same again, also on a GPU, where the loss's slope may be the gradient itself. */
static void logits_of_an_op(void **state) {
    hk_context *ctx = *state;
    for (int others = 0; others < 3; others++) {
        hk_tensor *in[] = {seeded(ctx, HK_F64, HK_SHAPE(5, 3), "made/x", -2, 2, 0),
                           seeded(ctx, HK_I32, HK_SHAPE(5), "made/labels", 0, 3, 0)};
        assert_gradient(ctx, "made logits", made_logits, &others, 2, in,
                        (const bool[]){false, true});
        hk_require_grad(in[0]);
        hk_zero_grad(in[0]);
        hk_tensor *loss = made_logits(ctx, 2, in, &others);
        must(hk_backward(ctx, loss));
        hk_tensor *once = hk_tensor_keep(hk_scale(hk_grad(in[0]), 2, 0));
        must(hk_backward(ctx, loss));
        assert_true(same_elements(hk_grad(in[0]), once));
        must(hk_step_end(ctx));
    }
}

/* Logits of ±1000: p is 0 or 1 to the bit, and so is the gradient. */
static void extreme_logits(void **state) {
    hk_context *ctx = *state;
    const double x[] = {1000, -1000, 0, -1000, 1000, 0};
    const int32_t labels[] = {0, 0}; /* the first right, the second wrong */
    const double want[] = {0, 0, 0, -.5, .5, 0};
    for (int d = 0; d < 2; d++) {
        hk_tensor *t = hk_require_grad(kept(ctx, d ? HK_F64 : HK_F32, HK_SHAPE(2, 3), x));
        hk_tensor *loss = hk_cross_entropy(t, hk_constant(ctx, HK_I32, HK_SHAPE(2), labels));
        must(hk_backward(ctx, loss));
        assert_close("loss", 0, hk_tensor_item(loss), 1000, 0);
        assert_values("gradient", hk_grad(t), 6, want, 0);
        must(hk_step_end(ctx));
    }
}

/* --- losses of two tensors ------------------------------------------------------------------- */

enum { MSE, L1, HUBER, HUBER_WIDE, BCE, LOSSES };
static const char *const names[LOSSES] = {"mse", "l1", "huber", "huber, wide", "bce"};

static hk_tensor *loss_of(int kind, hk_tensor *x, hk_tensor *target) {
    switch (kind) {
    case MSE: return hk_mse(x, target);
    case L1: return hk_l1(x, target);
    case HUBER: return hk_huber(x, target, 0.55);
    case HUBER_WIDE: return hk_huber(x, target, 50);
    default: return hk_bce_with_logits(x, target);
    }
}

typedef struct pair_case {
    int kind;
    view view[2];
    hk_shape shape[2];
} pair_case;

static hk_tensor *pair_loss(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const pair_case *c = arg;
    return hk_scale(loss_of(c->kind, view_of(c->view[0], in[0], c->shape[0]),
                            view_of(c->view[1], in[1], c->shape[1])),
                    5, 0);
}

static void losses_of_two(void **state) {
    hk_context *ctx = *state;
    static const hk_shape cases[][2] = {
        {{0, {0}}, {0, {0}}},       {{1, {7}}, {1, {7}}},
        {{2, {3, 5}}, {2, {3, 5}}}, {{2, {3, 5}}, {1, {5}}},
        {{2, {3, 1}}, {2, {1, 5}}}, {{2, {3, 5}}, {0, {0}}},
        {{1, {5}}, {3, {2, 3, 5}}}, {{6, {1, 2, 1, 3, 1, 2}}, {6, {2, 1, 1, 3, 1, 1}}},
    };
    for (int64_t k = 0; k < LOSSES * COUNT(cases) * VIEWS; k++) {
        const int64_t s = k / VIEWS % COUNT(cases);
        pair_case c = {(int)(k / VIEWS / COUNT(cases)),
                       {(view)(k % VIEWS), (view)((k + s) % VIEWS)},
                       {cases[s][0], cases[s][1]}};
        /* Differences are multiples of 0.1 and 0.03: never 0, nor the 0.55 where Huber bends. */
        const bool bce = c.kind == BCE;
        hk_tensor *in[] = {
            seeded(ctx, HK_F64, view_source(c.view[0], c.shape[0]), "loss/x", -2, 2, 0.1),
            seeded(ctx, HK_F64, view_source(c.view[1], c.shape[1]), "loss/t", bce ? 0 : -2.03,
                   bce ? 1 : 2, 0.1)};
        char what[80];
        snprintf(what, sizeof what, "%s, shapes %lld, views %d and %d", names[c.kind], (long long)s,
                 c.view[0], c.view[1]);
        assert_gradient(ctx, what, pair_loss, &c, 2, in, NULL);
        hk_tensor_destroy(in[0]);
        hk_tensor_destroy(in[1]);
    }
}

/* l1 at equal values gives 0, Huber's slope is d up to δ and ±δ beyond, BCE's is σ(x) - t
   without overflow. */
static void exact_slopes(void **state) {
    hk_context *ctx = *state;
    const double x[] = {1, 3, -2, 0.25}, t[] = {1, 1, -1.5, 0};
    const double l1[] = {0, .25, -.25, .25}, huber[] = {0, .25, -.125, .0625};
    const double logits[] = {0, 1000, -1000, 1000}, target[] = {.5, 1, 0, 0},
                 bce[] = {0, 0, 0, .25};
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
        hk_tensor *a = hk_require_grad(kept(ctx, dtype, HK_SHAPE(4), x)),
                  *b = kept(ctx, dtype, HK_SHAPE(4), t);
        must(hk_backward(ctx, hk_l1(a, b)));
        assert_values("l1", hk_grad(a), 4, l1, 0);
        hk_zero_grad(a);
        must(hk_backward(ctx, hk_huber(a, b, 1)));
        assert_values("huber", hk_grad(a), 4, huber, 0);
        hk_tensor *z = hk_require_grad(kept(ctx, dtype, HK_SHAPE(4), logits));
        must(hk_backward(ctx, hk_bce_with_logits(z, kept(ctx, dtype, HK_SHAPE(4), target))));
        assert_values("bce", hk_grad(z), 4, bce, 0);
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cross_entropies, setup, teardown),
        cmocka_unit_test_setup_teardown(logits_of_an_op, setup, teardown),
        cmocka_unit_test_setup_teardown(logits_used_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(extreme_logits, setup, teardown),
        cmocka_unit_test_setup_teardown(losses_of_two, setup, teardown),
        cmocka_unit_test_setup_teardown(exact_slopes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
