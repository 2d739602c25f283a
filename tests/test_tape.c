/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_tape.c: recording, reverse and forward mode, what they refuse, and the guard against NaN.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "tape.h"

static hk_tensor *weight(hk_context *ctx, double value, const char *name) {
    return hk_tensor_set_name(hk_require_grad(kept(ctx, HK_F64, HK_SCALAR, &value)), name);
}

static double gradient(hk_tensor *t) { return hk_tensor_item(hk_grad(t)); }

static void chain_rule(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w"), *v = weight(ctx, 2, "v"),
              *unused = weight(ctx, 1, "unused");
    hk_tensor *square = hk_mul(w, w), *product = hk_mul(square, v);
    hk_tensor *loss = hk_add(product, hk_add(square, w)); /* w²v + w² + w: a diamond */
    assert_null(hk_grad(product));
    must(hk_backward(ctx, loss));
    assert_close("w", 0, gradient(w), 2 * 3 * 2 + 2 * 3 + 1, 0);
    assert_close("v", 0, gradient(v), 9, 0);
    assert_close("unused", 0, gradient(unused), 0, 0);
    assert_close("square", 0, gradient(square), 3, 0); /* intermediates, until the step ends */
    assert_close("loss", 0, gradient(loss), 1, 0);
    must(hk_backward(ctx, product)); /* another result of the same tape: kept gradients add up */
    assert_close("w", 1, gradient(w), 19 + 12, 0);
    assert_close("square", 1, gradient(square), 2, 0);
    must(hk_step_end(ctx));
    must(hk_backward(ctx, hk_mul(v, v)));
    assert_close("v", 1, gradient(v), 18 + 4, 0);
    hk_zero_grad(v);
    assert_close("v", 2, gradient(v), 0, 0);
    assert_close("w", 2, gradient(w), 31, 0);
    must(hk_step_end(ctx));
}

/* 20,000 operations deep: no recursion, no limit. */
static void deep(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 1, "w"), *y = w;
    for (int i = 0; i < 20000; i++) y = hk_scale(y, i % 2 ? 2 : 0.5, 0.25);
    must(hk_backward(ctx, y));
    assert_close("w", 0, gradient(w), 1, 0);
    assert_int_equal(ctx->tape->count, 20000);
    must(hk_step_end(ctx));
    assert_int_equal(ctx->tape->count, 0);
}

/* --- what is refused ------------------------------------------------------------------------- */

static void stale_handles(void **state) {
    hk_context *ctx = *state;
    static const int ages[] = {1, 2, 15, 16};
    for (int64_t k = 0; k < COUNT(ages); k++) {
        hk_tensor *w = weight(ctx, 3, "w"), *y = hk_tensor_set_name(hk_mul(w, w), "y");
        for (int i = 0; i < ages[k]; i++) {
            (void)hk_exp(w); /* other steps make tensors of their own */
            must(hk_step_end(ctx));
        }
        char age[64];
        snprintf(age, sizeof age, "ended %d step(s) ago", ages[k]);
        for (int use = 0; use < 8; use++) {
            switch (use) {
            case 0: assert_null(hk_add(y, w)); break;
            case 1: assert_null(hk_tensor_keep(y)); break;
            case 2: assert_null(hk_tensor_data(y)); break;
            case 3: assert_nan("item", 0, hk_tensor_item(y)); break;
            case 4: assert_int_equal(hk_backward(ctx, y), HK_ERR_STALE); break;
            case 5: assert_null(hk_softmax(y, 0)); break;
            case 6: assert_null(hk_stack(2, (hk_tensor *[]){w, y}, 0)); break;
            default: assert_int_equal(hk_tensor_copy(w, y), HK_ERR_STALE);
            }
            if (!strstr(hk_error_message(ctx), age))
                fail_msg("no '%s' in '%s'", age, hk_error_message(ctx));
            expect_error(ctx, HK_ERR_STALE, "y belongs to step", "hk_tensor_keep");
        }
    }
}

static void refused_backwards(void **state) {
    hk_context *ctx = *state, *far = new_context(1, NULL);
    hk_tensor *w = weight(ctx, 3, "w"), *y = hk_mul(w, w);
    hk_tensor *two = hk_broadcast_to(y, HK_SHAPE(2)),
              *constant = hk_full(ctx, HK_F64, HK_SCALAR, 1);
    assert_int_equal(hk_backward(ctx, NULL), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "[backward]", "no tensor");
    assert_int_equal(hk_backward(ctx, two), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[backward]", "one element", "(2)");
    assert_int_equal(hk_backward(ctx, hk_exp(constant)), HK_ERR_GRADIENT);
    expect_error(ctx, HK_ERR_GRADIENT, "[backward]", "requires a gradient");
    assert_int_equal(hk_backward_from(ctx, two, constant), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[backward]", "(2)", "()");
    assert_int_equal(hk_backward_from(ctx, y, hk_cast(constant, HK_F32)), HK_ERR_SHAPE);
    hk_error_clear(ctx);
    assert_int_equal(hk_backward_from(ctx, y, NULL), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "[backward]");
    assert_int_equal(hk_backward(far, y), HK_ERR_DEVICE);
    expect_error(far, HK_ERR_DEVICE, "another context");
    assert_int_equal(hk_backward(NULL, y), HK_ERR_MEMORY);
    must(hk_backward(ctx, y)); /* nothing of that did harm */
    assert_close("w", 0, gradient(w), 6, 0);
    ctx->version++; /* as an optimizer's step does */
    assert_int_equal(hk_backward(ctx, y), HK_ERR_GRADIENT);
    expect_error(ctx, HK_ERR_GRADIENT, "mul was computed before the last optimizer step");
    assert_null(hk_jvp(ctx, y, 1, &w, &constant));
    expect_error(ctx, HK_ERR_GRADIENT, "mul was computed before the last optimizer step");
    must(hk_backward(ctx, hk_mul(w, w)));
    must(hk_step_end(ctx));
    assert_null(hk_require_grad(hk_full(ctx, HK_F32, HK_SCALAR, 1)));
    expect_error(ctx, HK_ERR_GRADIENT, "[require_grad]", "step tensor");
    assert_null(hk_require_grad(hk_tensor_new(ctx, HK_U8, HK_SCALAR)));
    expect_error(ctx, HK_ERR_GRADIENT, "[require_grad]", "u8");
    assert_ptr_equal(hk_require_grad(w), w);
    assert_null(hk_require_grad(NULL));
    assert_null(hk_grad(NULL));
    hk_zero_grad(NULL);
    assert_ok(ctx);
    hk_context_destroy(far);
}

static void recording_off(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w");
    assert_true(hk_grad_enable(ctx, false));
    hk_tensor *y = hk_exp(hk_mul(w, w));
    assert_int_equal(ctx->tape->count, 0);
    assert_false(hk_grad_enable(ctx, false));
    assert_int_equal(hk_backward(ctx, y), HK_ERR_GRADIENT);
    expect_error(ctx, HK_ERR_GRADIENT, "recording was off");
    assert_false(hk_grad_enable(ctx, true));
    must(hk_backward(ctx, hk_mul(y, w))); /* y is a constant now */
    assert_close("w", 0, gradient(w), exp(9), 0);
    assert_int_equal(ctx->tape->count, 1);
    assert_false(hk_grad_enable(NULL, true));
    must(hk_step_end(ctx));
}

/* --- forward mode alone ---------------------------------------------------------------------- */

static void directions(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w"), *v = weight(ctx, 2, "v"),
              *unused = weight(ctx, 1, "unused");
    hk_tensor *y = hk_add(hk_mul(hk_mul(w, w), v), hk_scale(w, 5, 0));
    hk_tensor *x[] = {w, v}, *one = hk_full(ctx, HK_F64, HK_SCALAR, 1),
              *half = hk_full(ctx, HK_F64, HK_SCALAR, .5);
    hk_tensor *u[] = {one, half};
    assert_close("both", 0, hk_tensor_item(hk_jvp(ctx, y, 2, x, u)), 2 * 3 * 2 + 5 + 9 * .5, 0);
    assert_close("v", 0, hk_tensor_item(hk_jvp(ctx, y, 1, x + 1, u)), 9, 0);
    assert_close("w", 0, hk_tensor_item(hk_jvp(ctx, y, 1, x, u + 1)), 8.5, 0);
    assert_close("none", 0, hk_tensor_item(hk_jvp(ctx, y, 1, &unused, u)), 0, 0);
    assert_close("none", 1, hk_tensor_item(hk_jvp(ctx, y, 0, NULL, NULL)), 0, 0);
    assert_int_equal(ctx->tape->count, 4); /* it records nothing itself */
    must(hk_backward(ctx, y));
    assert_close("w", 1, gradient(w), 17, 0);
    hk_tensor *wide = hk_full(ctx, HK_F64, HK_SHAPE(2), 1),
              *constant = kept(ctx, HK_F64, HK_SCALAR, &(double){1});
    assert_null(hk_jvp(ctx, y, 1, x, &wide));
    expect_error(ctx, HK_ERR_SHAPE, "[jvp]", "(2)", "w ()");
    assert_null(hk_jvp(ctx, y, 1, &constant, u));
    expect_error(ctx, HK_ERR_SHAPE, "[jvp]", "require a gradient");
    assert_null(hk_jvp(ctx, NULL, 1, x, u));
    expect_error(ctx, HK_ERR_ARGUMENT, "[jvp]");
    must(hk_step_end(ctx));
}

/* --- the guard ------------------------------------------------------------------------------- */

static void guard_forward(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x =
        hk_tensor_set_name(kept(ctx, HK_F64, HK_SHAPE(3), (const double[]){1, 2, -1}), "x");
    assert_non_null(hk_log(x)); /* off: NaN is a value like others */
    assert_ok(ctx);
    hk_nan_guard(ctx, true);
    assert_null(hk_exp(hk_neg(hk_log(x))));
    expect_error(ctx, HK_ERR_NONFINITE, "[log]", "forward", "(3)", "element 2");
    hk_tensor *turned =
        hk_transpose(hk_concat(2,
                               (hk_tensor *[]){hk_reshape(x, HK_SHAPE(1, 3)),
                                               hk_full(ctx, HK_F64, HK_SHAPE(1, 3), 0)},
                               0),
                     0, 1);
    assert_null(hk_div(hk_full(ctx, HK_F64, HK_SHAPE(3, 2), 1), turned));
    expect_error(ctx, HK_ERR_NONFINITE, "[div]", "(3, 2)", "element 1");
    /* 1e200² overflows inside of var: var is to blame, not the product that it is made of. */
    assert_null(hk_var(kept(ctx, HK_F64, HK_SHAPE(2), (const double[]){1e200, -1e200}), HK_ALL_AXES,
                       0, false));
    expect_error(ctx, HK_ERR_NONFINITE, "[var]", "forward");
    assert_non_null(hk_less(x, hk_neg(x))); /* masks are no numbers */
    hk_nan_guard(ctx, false);
    assert_non_null(hk_log(x));
    hk_nan_guard(NULL, true);
    must(hk_step_end(ctx));
}

static void guard_backward(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = hk_require_grad(kept(ctx, HK_F64, HK_SHAPE(2), (const double[]){4, 0}));
    hk_tensor_set_name(w, "layer.weight"); /* after its gradient was made */
    hk_nan_guard(ctx, true);
    hk_tensor *loss = hk_sum(hk_scale(hk_sqrt(w), 3, 0), HK_ALL_AXES, false);
    assert_int_equal(hk_backward(ctx, loss), HK_ERR_NONFINITE);
    expect_error(ctx, HK_ERR_NONFINITE, "[sqrt]", "backward", "layer.weight (2)", "element 1");
    must(hk_step_end(ctx));
    hk_nan_guard(ctx, false);
    hk_zero_grad(w);
    must(hk_backward(ctx, hk_sum(hk_sqrt(w), HK_ALL_AXES, false)));
    assert_values("w", hk_grad(w), 2, (const double[]){.25, INFINITY}, 0);
    must(hk_step_end(ctx));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chain_rule, setup, teardown),
        cmocka_unit_test_setup_teardown(deep, setup, teardown),
        cmocka_unit_test_setup_teardown(stale_handles, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_backwards, setup, teardown),
        cmocka_unit_test_setup_teardown(recording_off, setup, teardown),
        cmocka_unit_test_setup_teardown(directions, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_forward, setup, teardown),
        cmocka_unit_test_setup_teardown(guard_backward, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
