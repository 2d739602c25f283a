/* test_optimizer.c: optimizers as objects: zeroing, steps, groups, clipping, errors, names.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "gpu.h"
#include "optim_fixture.h"

/* cmocka's own takes NaN for equal to anything. */
static void expect_near(double got, double expected) { assert_true(fabs(got - expected) <= 1e-6); }

static float weight(const net *t, int i, int64_t k) { return (float)element_get(t->p[i], k); }

/* --- zeroing and steps ------------------------------------------------------------------------ */

static void zeroed_gradients_count_as_zero(void **state) {
    (void)state;
    for (int flat = 0; flat < 2; flat++) {
        fixture f;
        start(&f, flat);
        hk_sgd_config c = hk_sgd_defaults();
        c.lr = 0.5;
        c.weight_decay = 0.25;
        hk_optimizer *opt = hk_sgd(f.ctx, f.t.params, c);
        assert_non_null(opt);
        for (int i = 0; i < SMALL_SIZES; i++) fill_gradient(&f.t, i, NAN);
        hk_optimizer_zero_grad(opt);
        for (int i = 0; i < SMALL_SIZES; i++) {
            assert_true(f.t.p[i]->grad->clean);
            assert_true(isnan(element_get(f.t.p[i]->grad, 0))); /* marked, not written */
        }
        assert_true(hk_optimizer_grad_norm(opt) == 0);
        for (int i = 0; i < SMALL_SIZES; i++) fill_gradient(&f.t, i, NAN);
        hk_optimizer_zero_grad(opt);
        fill_gradient(&f.t, 1, 2.0F); /* as a backward does that reaches this one alone */
        const float before[] = {weight(&f.t, 0, 1), weight(&f.t, 1, 16), weight(&f.t, 2, 39)};
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        expect_near(weight(&f.t, 0, 1), before[0] * 0.875F);
        expect_near(weight(&f.t, 1, 16), before[1] * 0.875F - 1.0F);
        expect_near(weight(&f.t, 2, 39), before[2] * 0.875F);
        assert_true(element_get(hk_grad(f.t.p[0]), 1) == 0);
        assert_true(element_get(hk_grad(f.t.p[1]), 1) == 2); /* gradients stay */
        finish(&f);
    }
}

static void a_step_counts_and_ages_the_tape(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    hk_optimizer *opt = hk_adam(f.ctx, f.t.params, hk_adam_defaults());
    const uint64_t version = f.ctx->version;
    assert_int_equal(hk_optimizer_steps(opt), 0);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_int_equal(hk_optimizer_steps(opt), 2);
    assert_int_equal(f.ctx->version, version + 2);
    finish(&f);
}

static void in_error_nothing_changes(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    hk_optimizer *opt = hk_adam(f.ctx, f.t.params, hk_adam_defaults());
    new_gradients(&f.t, 1);
    char *w = bytes_at(&f.t, f.t.w), *g = bytes_at(&f.t, f.t.g);
    const uint64_t version = f.ctx->version;
    hk_fail(f.ctx, HK_ERR_IO, "test", "first");
    assert_int_equal(hk_optimizer_step(opt), HK_ERR_IO);
    assert_int_equal(hk_optimizer_set_lr(opt, 1), HK_ERR_IO);
    assert_int_equal(hk_optimizer_clip_norm(opt, 1), HK_ERR_IO);
    assert_int_equal(hk_optimizer_group(opt, f.t.params, 1, 0), HK_ERR_IO);
    assert_true(isnan(hk_optimizer_grad_norm(opt)));
    hk_optimizer_zero_grad(opt);
    assert_null(hk_adam(f.ctx, f.t.params, hk_adam_defaults()));
    assert_false(f.t.p[0]->grad->clean);
    assert_int_equal(hk_optimizer_steps(opt), 0);
    assert_int_equal(f.ctx->version, version);
    expect_error(f.ctx, HK_ERR_IO, "[test] first");
    assert_true(has_bytes(&f.t, f.t.w, w));
    assert_true(has_bytes(&f.t, f.t.g, g));
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_false(has_bytes(&f.t, f.t.w, w));
    free(w);
    free(g);
    finish(&f);
}

/* --- segments and groups ---------------------------------------------------------------------- */

static void groups_cut_segments_and_keep_state(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    hk_sgd_config c = {.lr = 1, .momentum = 0.5};
    hk_optimizer *opt = hk_sgd(f.ctx, f.t.params, c);
    assert_int_equal(opt->n_segments, 1);
    for (int i = 0; i < SMALL_SIZES; i++) fill_gradient(&f.t, i, 1);
    assert_int_equal(hk_optimizer_step(opt), HK_OK); /* every buffer is 1 now */
    hk_tensor *middle[] = {f.t.p[1]};
    const hk_parameters one = {1, middle};
    assert_int_equal(hk_optimizer_group(opt, one, 0.5, 0), HK_OK);
    assert_int_equal(opt->n_segments, 3);
    const float before[] = {weight(&f.t, 0, 2), weight(&f.t, 1, 16), weight(&f.t, 2, 0)};
    assert_int_equal(hk_optimizer_step(opt), HK_OK); /* buffers are 1.5 */
    expect_near(weight(&f.t, 0, 2), before[0] - 1.5F);
    expect_near(weight(&f.t, 1, 16), before[1] - 0.75F);
    expect_near(weight(&f.t, 2, 0), before[2] - 1.5F);
    assert_int_equal(hk_optimizer_group(opt, f.t.params, 1, 0), HK_OK); /* the last one wins */
    assert_int_equal(opt->n_segments, 1);
    const float later = weight(&f.t, 1, 16);
    assert_int_equal(hk_optimizer_step(opt), HK_OK); /* buffers are 1.75 */
    expect_near(weight(&f.t, 1, 16), later - 1.75F);

    assert_int_equal(hk_optimizer_group(opt, (hk_parameters){0}, 1, 0), HK_ERR_ARGUMENT);
    expect_error(f.ctx, HK_ERR_ARGUMENT, "none of the group's 0 parameters");
    assert_int_equal(hk_optimizer_group(opt, one, NAN, 0), HK_ERR_ARGUMENT);
    expect_error(f.ctx, HK_ERR_ARGUMENT, "a group's factor is nan");
    assert_int_equal(hk_optimizer_group(opt, one, 1, -1), HK_ERR_ARGUMENT);
    expect_error(f.ctx, HK_ERR_ARGUMENT, "a group's weight decay is -1");
    finish(&f);
}

/* Tensors with storage of their own are never joined, even where they happen to follow each other.
   */
static void neighbours_are_joined_in_buffers_alone(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    hk_optimizer *joined = hk_sgd(f.ctx, f.t.params, hk_sgd_defaults());
    assert_int_equal(joined->n_segments, 1);
    f.t.p[1]->storage = f.t.w; /* as if */
    hk_optimizer *apart = hk_sgd(f.ctx, f.t.params, hk_sgd_defaults());
    f.t.p[1]->storage = NULL;
    assert_int_equal(apart->n_segments, 3);
    hk_tensor *backwards[] = {f.t.p[2], f.t.p[1], f.t.p[0]};
    hk_optimizer *reversed =
        hk_sgd(f.ctx, (hk_parameters){SMALL_SIZES, backwards}, hk_sgd_defaults());
    assert_int_equal(reversed->n_segments, 3);
    finish(&f);
}

/* --- clipping --------------------------------------------------------------------------------- */

static void norms(void **state) {
    (void)state;
    for (int flat = 0; flat < 2; flat++) {
        fixture f;
        start(&f, flat);
        hk_optimizer *opt = hk_sgd(f.ctx, f.t.params, (hk_sgd_config){.lr = 1});
        for (int i = 0; i < SMALL_SIZES; i++) fill_gradient(&f.t, i, (float)(i + 1));
        const double norm = sqrt(3 * 1 + 17 * 4 + 40 * 9);
        assert_true(fabs(hk_optimizer_grad_norm(opt) - norm) < 1e-12 * norm);
        const float before = weight(&f.t, 2, 7);
        assert_int_equal(hk_optimizer_clip_norm(opt, 2), HK_OK);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        expect_near(weight(&f.t, 2, 7), before - 3 * 2 / norm);
        assert_true(fabs(hk_optimizer_grad_norm(opt) - norm) < 1e-12 * norm);
        finish(&f);
    }
}

static void norms_that_are_not_finite(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    hk_optimizer *opt = hk_sgd(f.ctx, f.t.params, (hk_sgd_config){.lr = 1});
    new_gradients(&f.t, 1);
    assert_int_equal(hk_optimizer_clip_norm(opt, 1), HK_OK);
    const float before = weight(&f.t, 0, 0);
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        element_put(hk_grad(f.t.p[1]), 4, bad[i]);
        hk_status status = hk_optimizer_step(opt);
        if (on_gpu()) { /* found there, and reported at the end of the step */
            assert_int_equal(status, HK_OK);
            assert_int_equal(hk_context_wait(f.ctx), HK_OK);
            status = hk_step_end(f.ctx);
        }
        assert_int_equal(status, HK_ERR_NONFINITE);
        expect_error(
            f.ctx, HK_ERR_NONFINITE,
            "[sgd] cannot clip by norm: element 4 of the gradient of 1.weight (17) is not");
    }
    assert_true(weight(&f.t, 0, 0) == before);
    finish(&f);
}

/* --- errors ----------------------------------------------------------------------------------- */

static void bad_parameters(void **state) {
    (void)state;
    fixture f;
    start(&f, false);
    const hk_sgd_config c = hk_sgd_defaults();
    assert_null(hk_sgd(f.ctx, (hk_parameters){0}, c));
    expect_error(f.ctx, HK_ERR_ARGUMENT, "[sgd] there are no parameters to optimize");
    hk_tensor *list[] = {f.t.p[0], NULL};
    assert_null(hk_sgd(f.ctx, (hk_parameters){2, list}, c));
    expect_error(f.ctx, HK_ERR_ARGUMENT, "parameter 1 of 2 is NULL");
    list[1] = hk_tensor_set_name(hk_tensor_new(f.ctx, HK_F32, HK_SHAPE(2, 3)), "plain");
    assert_null(hk_sgd(f.ctx, (hk_parameters){2, list}, c));
    expect_error(f.ctx, HK_ERR_GRADIENT, "parameter 1, plain (2, 3), has no gradient");
    list[1] = f.t.p[0];
    assert_null(hk_sgd(f.ctx, (hk_parameters){2, list}, c));
    expect_error(f.ctx, HK_ERR_ARGUMENT, "listed twice, as 0 and 1");
    hk_context *other = context_of(1, HK_F32, NULL);
    assert_null(hk_sgd(other, f.t.params, c));
    expect_error(other, HK_ERR_DEVICE, "another context");
    hk_context_destroy(other);
    assert_null(hk_sgd(NULL, f.t.params, c));
    finish(&f);
}

static void expect_bad_sgd(fixture *f, hk_sgd_config c, const char *part) {
    assert_null(hk_sgd(f->ctx, f->t.params, c));
    expect_error(f->ctx, HK_ERR_ARGUMENT, part);
}

static void expect_bad_adam(fixture *f, hk_adam_config c, const char *part) {
    assert_null(hk_adam(f->ctx, f->t.params, c));
    expect_error(f->ctx, HK_ERR_ARGUMENT, part);
    assert_null(hk_adamw(f->ctx, f->t.params, c));
    expect_error(f->ctx, HK_ERR_ARGUMENT, part);
}

static void expect_bad_rmsprop(fixture *f, hk_rmsprop_config c, const char *part) {
    assert_null(hk_rmsprop(f->ctx, f->t.params, c));
    expect_error(f->ctx, HK_ERR_ARGUMENT, part);
}

static void bad_settings(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    expect_bad_sgd(&f, (hk_sgd_config){.lr = NAN}, "[sgd] the rate is nan; it must be finite");
    expect_bad_sgd(&f, (hk_sgd_config){.lr = -1}, "the rate is -1");
    expect_bad_sgd(&f, (hk_sgd_config){.lr = INFINITY}, "the rate is inf");
    expect_bad_sgd(&f, (hk_sgd_config){.momentum = 1}, "momentum is 1; it must be in [0, 1)");
    expect_bad_sgd(&f, (hk_sgd_config){.momentum = NAN}, "momentum is nan");
    expect_bad_sgd(&f, (hk_sgd_config){.dampening = -0.5}, "dampening is -0.5");
    expect_bad_sgd(&f, (hk_sgd_config){.weight_decay = -1}, "weight decay is -1");
    expect_bad_sgd(&f, (hk_sgd_config){.nesterov = true}, "nesterov needs momentum");
    expect_bad_sgd(&f, (hk_sgd_config){.nesterov = true, .momentum = 0.9, .dampening = 0.1},
                   "no dampening");
    hk_adam_config adam = hk_adam_defaults();
    adam.beta1 = 1;
    expect_bad_adam(&f, adam, "beta1 is 1; it must be in [0, 1)");
    adam = hk_adam_defaults();
    adam.beta2 = -0.1;
    expect_bad_adam(&f, adam, "beta2 is -0.1");
    adam = hk_adam_defaults();
    adam.eps = 0;
    expect_bad_adam(&f, adam, "eps is 0; it must be finite and at least 1.2e-38");
    hk_rmsprop_config rms = hk_rmsprop_defaults();
    rms.alpha = 1;
    expect_bad_rmsprop(&f, rms, "alpha is 1");
    rms = hk_rmsprop_defaults();
    rms.eps = NAN;
    expect_bad_rmsprop(&f, rms, "eps is nan");
    rms = hk_rmsprop_defaults();
    rms.momentum = 2;
    expect_bad_rmsprop(&f, rms, "momentum is 2");

    hk_optimizer *opt = hk_sgd(f.ctx, f.t.params, hk_sgd_defaults());
    assert_int_equal(hk_optimizer_set_lr(opt, NAN), HK_ERR_ARGUMENT);
    expect_error(f.ctx, HK_ERR_ARGUMENT, "the rate is nan");
    assert_int_equal(hk_optimizer_clip_norm(opt, -1), HK_ERR_ARGUMENT);
    expect_error(f.ctx, HK_ERR_ARGUMENT, "max_norm is -1");
    assert_int_equal(hk_optimizer_clip_value(opt, NAN), HK_ERR_ARGUMENT);
    expect_error(f.ctx, HK_ERR_ARGUMENT, "max_value is nan");
    assert_true(hk_optimizer_lr(opt) == 0.01);
    finish(&f);
}

static void no_optimizer(void **state) {
    (void)state;
    assert_int_equal(hk_optimizer_step(NULL), HK_ERR_ARGUMENT);
    assert_int_equal(hk_optimizer_set_lr(NULL, 1), HK_ERR_ARGUMENT);
    assert_int_equal(hk_optimizer_group(NULL, (hk_parameters){0}, 1, 0), HK_ERR_ARGUMENT);
    assert_int_equal(hk_optimizer_schedule(NULL, NULL), HK_ERR_ARGUMENT);
    assert_int_equal(hk_optimizer_clip_norm(NULL, 1), HK_ERR_ARGUMENT);
    assert_int_equal(hk_optimizer_clip_value(NULL, 1), HK_ERR_ARGUMENT);
    assert_int_equal(hk_optimizer_steps(NULL), 0);
    assert_true(hk_optimizer_lr(NULL) == 0);
    assert_true(hk_optimizer_grad_norm(NULL) == 0);
    assert_string_equal(hk_optimizer_name(NULL), "");
    hk_optimizer_zero_grad(NULL);
    hk_optimizer_destroy(NULL);
}

/* --- names ------------------------------------------------------------------------------------ */

static void by_name(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double lr, decay;
    } rows[] = {
        {"sgd", 0.01, 0},       {"momentum", 0.01, 0}, {"adam", 0.001, 0},
        {"adamw", 0.001, 0.01}, {"rmsprop", 0.01, 0},
    };
    fixture f;
    start(&f, true);
    assert_int_equal(hk_optimizer_count(), 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(hk_optimizer_row(i), rows[i].name);
        hk_optimizer *opt = hk_optimizer_by_name(f.ctx, rows[i].name, f.t.params, -1, -1);
        assert_non_null(opt);
        assert_string_equal(hk_optimizer_name(opt), rows[i].name);
        assert_true(hk_optimizer_lr(opt) == rows[i].lr);
        assert_true(opt->groups[0].weight_decay == rows[i].decay);
        opt = hk_optimizer_by_name(f.ctx, rows[i].name, f.t.params, 0.5, 0.25);
        assert_true(hk_optimizer_lr(opt) == 0.5);
        assert_true(opt->groups[0].weight_decay == 0.25);
        hk_optimizer_destroy(opt);
    }
    assert_null(hk_optimizer_row(-1));
    assert_null(hk_optimizer_row(5));
    assert_null(hk_optimizer_by_name(f.ctx, "adm", f.t.params, -1, -1));
    expect_error(f.ctx, HK_ERR_NAME,
                 "[optimizer] unknown optimizer 'adm'; there are: sgd, momentum, adam, adamw, "
                 "rmsprop");
    assert_null(hk_optimizer_by_name(f.ctx, NULL, f.t.params, -1, -1));
    expect_error(f.ctx, HK_ERR_NAME, "unknown optimizer '(null)'");
    assert_null(hk_optimizer_by_name(f.ctx, "adam", f.t.params, NAN, -1));
    expect_error(f.ctx, HK_ERR_ARGUMENT, "[adam] the rate is nan");
    finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_gradients_count_as_zero),
        cmocka_unit_test(a_step_counts_and_ages_the_tape),
        cmocka_unit_test(in_error_nothing_changes),
        cmocka_unit_test(groups_cut_segments_and_keep_state),
        cmocka_unit_test(neighbours_are_joined_in_buffers_alone),
        cmocka_unit_test(norms),
        cmocka_unit_test(norms_that_are_not_finite),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(bad_settings),
        cmocka_unit_test(no_optimizer),
        cmocka_unit_test(by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
