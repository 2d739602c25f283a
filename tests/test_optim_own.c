/* test_optim_own.c: optimizers with one's own rule: by elements, on threads; by whole parameters.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "optim_fixture.h"

/* Lion (Chen et al. 2023): the sign of a blend of momentum and gradient. */
typedef struct lion {
    float beta1, beta2;
} lion;

static void lion_update(const hk_optimizer_update *u) {
    const lion *h = u->hyper;
    float *w = u->w, *m = u->state[0];
    const float *g = u->g;
    for (int64_t i = 0; i < u->n; i++) {
        const float c = h->beta1 * m[i] + (1 - h->beta1) * g[i];
        const float sign = (float)((c > 0) - (c < 0));
        m[i] = h->beta2 * m[i] + (1 - h->beta2) * g[i];
        w[i] -= (float)u->lr * (sign + (float)u->weight_decay * w[i]);
    }
}

static double *train_lion(int threads, double max_value, int64_t *count) {
    static const int64_t large[] = {30011, 300, 20007};
    hk_context *ctx = context_of(threads, HK_F32, NULL);
    net t;
    net_make(&t, ctx, HK_F32, true, 3, large);
    hk_optimizer_class cls = {.name = "lion",
                              .n_state = 1,
                              .hyper_size = sizeof(lion),
                              .update = lion_update,
                              .elementwise = true};
    lion hyper = {0.9F, 0.99F};
    hk_optimizer *opt = hk_optimizer_create(ctx, &cls, t.params, 0.01, 0.1, &hyper);
    assert_non_null(opt);
    memset(&cls, 0, sizeof cls); /* both were copied */
    memset(&hyper, 0, sizeof hyper);
    assert_string_equal(hk_optimizer_name(opt), "lion");
    assert_int_equal(hk_optimizer_clip_value(opt, max_value), HK_OK);
    const uint64_t before = hk__pool_parallel_regions(ctx->pool);
    for (uint64_t step = 1; step <= 3; step++) {
        new_gradients(&t, step);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
    }
    assert_int_equal(hk__pool_parallel_regions(ctx->pool) - before,
                     threads > 1 && !on_gpu() ? 3 : 0); /* with a GPU on copies, alone */
    double *w = snapshot(&t, count);
    check_gaps(&t, t.w);
    net_free(&t);
    hk_context_destroy(ctx);
    return w;
}

static void own_elementwise_rule(void **state) {
    (void)state;
    int64_t count;
    double *one = train_lion(1, 0, &count), *two = train_lion(2, 0, &count);
    assert_memory_equal(one, two, (size_t)count * sizeof *one);
    double *clipped = train_lion(2, 1e-3, &count);
    assert_memory_not_equal(one, clipped, (size_t)count * sizeof *one);
    free(one);
    free(two);
    free(clipped);
}

/* A rule that needs whole parameters: a step of length lr·‖w‖ against the gradient. */
typedef struct call_log {
    int calls;
    int64_t n[8], t[8];
    double norm[8];
} call_log;

static void whole_update(const hk_optimizer_update *u) {
    call_log *log = *(call_log *const *)u->hyper;
    float *w = u->w;
    const float *g = u->g;
    double ww = 0, gg = 0;
    for (int64_t i = 0; i < u->n; i++) {
        ww += (double)w[i] * w[i];
        gg += (double)g[i] * g[i];
    }
    log->n[log->calls] = u->n;
    log->t[log->calls] = u->t;
    log->norm[log->calls++] = sqrt(gg);
    for (int64_t i = 0; i < u->n; i++) w[i] -= (float)(u->lr * sqrt(ww / gg)) * g[i];
}

static void own_rule_on_whole_parameters(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    call_log log = {0};
    call_log *const hyper = &log;
    const hk_optimizer_class cls = {
        .name = "scaled", .hyper_size = sizeof hyper, .update = whole_update};
    hk_optimizer *opt = hk_optimizer_create(f.ctx, &cls, f.t.params, 0.1, 0, &hyper);
    for (int i = 0; i < SMALL_SIZES; i++) fill_gradient(&f.t, i, 3);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_int_equal(hk_optimizer_clip_value(opt, 1), HK_OK);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_int_equal(log.calls, 2 * SMALL_SIZES);
    for (int i = 0; i < 2 * SMALL_SIZES; i++) {
        assert_int_equal(log.n[i], small_sizes[i % SMALL_SIZES]);
        assert_int_equal(log.t[i], 1 + i / SMALL_SIZES);
        const double expected =
            sqrt((double)small_sizes[i % SMALL_SIZES]) * (i < SMALL_SIZES ? 3 : 1);
        assert_true(fabs(log.norm[i] - expected) < 1e-12);
    }
    check_gaps(&f.t, f.t.w);
    finish(&f);
}

static void bad_classes(void **state) {
    (void)state;
    fixture f;
    start(&f, true);
    hk_optimizer_class cls = {.name = "lion", .n_state = 4, .update = lion_update};
    assert_null(hk_optimizer_create(f.ctx, NULL, f.t.params, 1, 0, NULL));
    expect_error(f.ctx, HK_ERR_ARGUMENT, "a class needs a name and an update");
    assert_null(hk_optimizer_create(f.ctx, &cls, f.t.params, 1, 0, NULL));
    expect_error(f.ctx, HK_ERR_ARGUMENT, "[lion] n_state is 4");
    cls.update = NULL;
    assert_null(hk_optimizer_create(f.ctx, &cls, f.t.params, 1, 0, NULL));
    expect_error(f.ctx, HK_ERR_ARGUMENT, "a class needs a name and an update");
    finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_elementwise_rule),
        cmocka_unit_test(own_rule_on_whole_parameters),
        cmocka_unit_test(bad_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
