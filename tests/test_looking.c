/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_looking.c: training with all hooks, statistics, a flow and the NaN guard gives the same weights to the bit, and
   allocates nothing in steady steps.
   SPDX-License-Identifier: MIT */
#include "flow_fixture.h"

#include "allocation_fixture.h"

/* --- everything that looks -------------------------------------------------------------------------------- */

static int64_t looked; /* hooks that were called */
static double total;   /* of what they saw, so that nothing is left out */

static void look(hk_tensor *t) {
    if (t && (t->dtype == HK_F32 || t->dtype == HK_F64)) total += hk_tensor_stats(t).l2;
    looked++;
}

static void see_grad(hk_tensor *t, hk_tensor *grad, void *arg) {
    (void)arg;
    look(t);
    look(grad);
}

static void see(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)arg;
    look(x);
    look(y);
    if (y && y->requires) assert_non_null(hk_hook_grad(y, see_grad, NULL));
}

static void see_end(hk_context *ctx, void *arg) {
    assert_non_null(ctx);
    look(arg);
}

static void hook_everything(hk_module *m) {
    assert_non_null(hk_hook_before(m, see, NULL));
    assert_non_null(hk_hook_forward(m, see, NULL));
    for (int i = 0; i < hk_module_child_count(m); i++) hook_everything(hk_module_child_at(m, i));
}

/* --- networks ---------------------------------------------------------------------------------------------- */

static hk_module *mlp(hk_context *ctx) {
    return hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 100, 40), hk_activation(ctx, "relu"),
                         hk_dropout(ctx, 0.3), hk_linear(ctx, 40, 30), hk_activation(ctx, "prelu"),
                         hk_linear(ctx, 30, 5));
}

static hk_module *cnn(hk_context *ctx) {
    const hk_pool2d_config two = {.kernel = {2, 2}};
    const hk_conv2d_config same_size = {.padding = {1, 1}};
    hk_module *body = hk_sequential(ctx, hk_conv2d(ctx, 6, 6, HK_SQUARE(3), &same_size),
                                    hk_batch_norm2d(ctx, NULL), hk_activation(ctx, "gelu"));
    return hk_sequential(ctx, hk_conv2d(ctx, 1, 6, HK_SQUARE(3), NULL), hk_activation(ctx, "silu"),
                         hk_max_pool2d(ctx, &two), hk_residual(ctx, body, NULL),
                         hk_dropout2d(ctx, 0.2), hk_flatten(ctx), hk_linear(ctx, 96, 5));
}

typedef struct training {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_loader *loader;
    hk_dataset *data;
} training;

static training begin(hk_module *(*make)(hk_context *), int threads) {
    training t = {.ctx = context(HK_F32, threads, 5)};
    t.net = make(t.ctx);
    assert_int_equal(hk_module_build(t.net, HK_SHAPE(-1, 1, 10, 10), NULL), HK_OK);
    t.opt = hk_adam(t.ctx, hk_module_parameters(t.net), hk_adam_defaults());
    t.data = patterns(t.ctx, 200, HK_SHAPE(1, 10, 10), 5);
    t.loader = hk_loader_create(t.data, &(hk_loader_config){.batch = 40, .shuffle = true});
    return t;
}

/* An epoch, with a look at some items in evaluation mode before every second step. */
static void epoch(const training *t) {
    hk_batch batch;
    while (hk_loader_next(t->loader, &batch)) {
        if (batch.index % 2) {
            const bool was = hk_grad_enable(t->ctx, false);
            hk_module_train(t->net, false);
            assert_non_null(hk_forward(t->net, batch.x));
            hk_module_train(t->net, true);
            hk_grad_enable(t->ctx, was);
        }
        assert_true(isfinite(train_step(t->ctx, t->net, t->opt, &batch)));
    }
    assert_string_equal(hk_error_message(t->ctx), "");
}

static void nothing(const hk_flow_record *r, void *arg) {
    assert_non_null(r);
    (*(int *)arg)++;
}

static uint64_t trained(hk_module *(*make)(hk_context *), int threads, bool watched) {
    training t = begin(make, threads);
    const hk_parameters all = hk_module_parameters(t.net);
    int reports = 0;
    looked = 0;
    if (watched) {
        hook_everything(t.net);
        for (int i = 0; i < all.count; i++)
            assert_non_null(hk_hook_grad(all.items[i], see_grad, NULL));
        assert_non_null(hk_hook_backward(t.ctx, see_end, all.items[0]));
        assert_non_null(
            hk_flow_create(t.net, &(hk_flow_config){.report = nothing, .arg = &reports}));
        hk_nan_guard(t.ctx, true);
    }
    for (int e = 0; e < 3; e++) epoch(&t);
    assert_int_equal(reports, watched ? 14 : 0);
    assert_int_equal(looked > 15 * all.count, watched);
    const uint64_t bits = fingerprint(all) ^ fingerprint(hk_module_buffers(t.net));
    hk_context_destroy(t.ctx);
    return bits;
}

static void same_weights(void **state) {
    (void)state;
    hk_module *(*const makes[])(hk_context *) = {mlp, cnn};
    for (int k = 0; k < 2; k++) {
        const uint64_t plain = trained(makes[k], 1, false);
        for (int threads = 1; threads <= 2; threads++)
            assert_true(trained(makes[k], threads, true) == plain);
        assert_true(trained(makes[k], 2, false) == plain);
    }
    assert_true(isfinite(total) && total > 0);
}

/* --- memory ------------------------------------------------------------------------------------------------- */

static void steady_steps(void **state) {
    (void)state;
    if (!HK_REPLACED || on_gpu()) skip();
    hk_module *(*const makes[])(hk_context *) = {mlp, cnn};
    for (int k = 0; k < 2; k++)
        for (int every = 0; every < 4; every += 3) {
            training t = begin(makes[k], 2);
            int reports = 0;
            const hk_flow_config config = {.every = every, .report = nothing, .arg = &reports};
            hk_flow *flow = hk_flow_create(t.net, &config);
            if (every == 0) { /* alone, the flow lets the other steps run fused */
                hook_everything(t.net);
                assert_non_null(hk_hook_grad(hk_module_parameters(t.net).items[0], see_grad, NULL));
                assert_non_null(hk_hook_backward(t.ctx, see_end, NULL));
            }
            for (int e = 0; e < 4; e++) {
                atomic_store(&allocations, 0);
                epoch(&t);
                hk_flow_finish(flow);
                const int count = atomic_load(&allocations);
                if (e == 0) assert_true(count > 0); /* the counter counts */
                if (e > 1 && count > 0) fail_msg("epoch %d allocates %d times", e, count);
            }
            assert_true(reports >= (every ? 7 : 20));
            hk_context_destroy(t.ctx);
        }
}

static void each_allocation_fails_once(void **state) {
    (void)state;
    if (!HK_REPLACED || on_gpu()) skip();
    training t = begin(mlp, 1);
    int reports = 0, n = 0;
    const hk_flow_config config = {.report = nothing, .arg = &reports};
    for (;; n++) {
        const int before = atomic_load(&live);
        atomic_store(&allocations, 0);
        atomic_store(&fail_at, n);
        hk_flow *flow = hk_flow_create(t.net, &config);
        atomic_store(&fail_at, -1);
        if (flow) {
            hk_flow_destroy(flow);
            break;
        }
        assert_int_equal(hk_error(t.ctx), HK_ERR_MEMORY);
        hk_error_clear(t.ctx);
        /* The hooks of a tensor keep the head of their list, with the tensor. */
        const int heads = atomic_load(&live) - before;
        assert_true(heads >= 0 && heads <= 1);
        epoch(&t); /* nothing is left behind that could be called */
    }
    assert_true(n > 30);
    assert_int_equal(reports, 0);
    hk_context_destroy(t.ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_weights),
        cmocka_unit_test(steady_steps),
        cmocka_unit_test(each_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
