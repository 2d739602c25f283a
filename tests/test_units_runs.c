/* test_units_runs.c: one round of units, run in different ways, and what it leaves alone.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

#include "hk_units.h"
#include "module.h"

static hk_module *mixed_net(hk_context *ctx) {
    const hk_conv2d_config pad = {.padding = {2, 2}};
    const hk_pool2d_config halves = {.kernel = {2, 2}};
    hk_module *net = hk_sequential(
        ctx, hk_conv2d(ctx, 1, 5, (hk_pair){5, 5}, &pad), hk_activation(ctx, "relu"),
        hk_max_pool2d(ctx, &halves), hk_conv2d_no_bias(ctx, 5, 6, (hk_pair){3, 3}, NULL),
        hk_batch_norm2d(ctx, NULL), hk_activation(ctx, "prelu:per=channel"), hk_dropout2d(ctx, 0.3),
        hk_flatten(ctx), hk_linear(ctx, 6 * 5 * 5, 150), hk_batch_norm1d(ctx, NULL),
        hk_activation(ctx, "gelu"), hk_dropout(ctx, 0.5), hk_linear(ctx, 150, 40),
        hk_activation(ctx, "maxout"), hk_linear(ctx, 40, 30), hk_activation(ctx, "rrelu"),
        hk_linear(ctx, 30, 20), hk_activation(ctx, "dyrelu_a"), hk_linear(ctx, 20, 4));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1, 14, 14), NULL), HK_OK);
    return net;
}

/* Equal bits: NaN equals NaN. */
static bool same(double a, double b) { return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

static void assert_same(const hk_units *a, const hk_units *b) {
    assert_int_equal(hk_units_count(a), hk_units_count(b));
    for (int i = 0; i < hk_units_count(a); i++) {
        const hk_units_layer *x = hk_units_layer_at(a, i), *y = hk_units_layer_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_true(x->units == y->units && x->samples == y->samples && x->dead == y->dead);
        assert_true(x->dead_positions == y->dead_positions && x->quiet == y->quiet);
        assert_true(x->dormant == y->dormant && x->constant == y->constant);
        assert_true(same(x->zero_share, y->zero_share));
        for (int64_t k = 0; k < x->units; k++) {
            const hk_unit *u = hk_units_at(a, i, k), *v = hk_units_at(b, i, k);
            const bool equal = same(u->mean, v->mean) && same(u->std, v->std) &&
                               same(u->min, v->min) && same(u->max, v->max) &&
                               same(u->max_slope, v->max_slope) && same(u->score, v->score) &&
                               same(u->score_mean_free, v->score_mean_free);
            if (!equal) fail_msg("%s, unit %d differs", x->name, (int)k);
        }
    }
}

static void add_batches(hk_units *units, hk_tensor *images, int64_t batch) {
    hk_context *ctx = hk_tensor_context(images);
    for (int64_t i = 0; i < hk_tensor_dim(images, 0); i += batch) {
        assert_int_equal(hk_units_add(units, hk_slice(images, 0, i, batch)), HK_OK);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    assert_int_equal(hk_units_end(units), HK_OK);
}

/* 100 images at once are 10 of 10, and 2 threads are 1, all to the bit. */
static void batches_and_threads(void **state) {
    (void)state;
    hk_context *ctx[2] = {context(HK_F32, 1, 3), context(HK_F32, 2, 3)};
    hk_units *units[2][2];
    for (int t = 0; t < 2; t++) {
        hk_module *net = mixed_net(ctx[t]);
        hk_tensor *x = hk_tensor_keep(normal(ctx[t], "x", HK_SHAPE(100, 1, 14, 14)));
        for (int k = 0; k < 2; k++) {
            units[t][k] = hk_units_create(net, NULL);
            add_batches(units[t][k], x, k == 0 ? 100 : 10);
        }
        assert_int_equal(hk_units_count(units[t][0]), 6);
        assert_same(units[t][0], units[t][1]);
    }
    assert_same(units[0][0], units[1][0]);
    assert_true(on_gpu() || hk__pool_parallel_regions(ctx[1]->pool) > 0);
    const hk_units *u = units[0][0];
    assert_int_equal(hk_units_layer_at(u, 3)->dead, -1); /* maxout */
    assert_int_equal(hk_units_layer_at(u, 3)->units, 40);
    assert_int_equal(hk_units_layer_at(u, 5)->dead, -1); /* a network */
    assert_true(hk_units_layer_at(u, 4)->dead >= 0);     /* random in training, not here */
    assert_int_equal(hk_units_layer_at(u, 3)->quiet, 0); /* of the 80 before it */
    hk_context_destroy(ctx[0]);
    hk_context_destroy(ctx[1]);
}

/* --- what is left alone -------------------------------------------------------------------------------------------- */

static void look_at_modes(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)x, (void)y;
    int *calls = arg;
    hk_context *ctx = hk_module_context(m);
    assert_false(hk_module_is_training(m));
    assert_false(hk_buffers_enabled(ctx));
    assert_false(hk_grad_enable(ctx, false));
    ++*calls;
}

/* While it runs nothing is recorded, trained or moved; before and after, everything is as it was. */
static void modes_inside(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 3);
    hk_module *net = mixed_net(ctx), *frozen = hk_module_child_at(net, 4);
    hk_module_train(frozen, false);
    hk_units *units = hk_units_create(net, NULL);
    int calls = 0;
    hk_hook *hook = hk_hook_forward(hk_module_child_at(net, 6), look_at_modes, &calls);
    assert_int_equal(hk_units_add(units, normal(ctx, "x", HK_SHAPE(3, 1, 14, 14))), HK_OK);
    assert_int_equal(calls, 1);
    hk_hook_remove(hook);
    assert_true(hk_buffers_enabled(ctx));
    assert_true(hk_grad_enable(ctx, true));
    assert_false(hk_module_is_training(frozen));
    for (int i = 0; i < hk_module_child_count(net); i++)
        assert_true(i == 4 || hk_module_is_training(hk_module_child_at(net, i)));
    /* No hook is left on: what is fused stays so. */
    for (int i = 0; i < hk_module_child_count(net); i++)
        assert_false(hk__is_hooked(hk_module_child_at(net, i)));
    hk_context_destroy(ctx);
}

static uint64_t train(bool looking, uint64_t *buffers) {
    hk_context *ctx = context(HK_F32, 2, 11);
    hk_module *net = mixed_net(ctx);
    hk_dataset *ds = patterns(ctx, 64, HK_SHAPE(1, 14, 14), 4);
    hk_loader *loader = hk_loader_create(ds, &(hk_loader_config){.batch = 16, .shuffle = true});
    hk_optimizer *opt = hk_adam(ctx, hk_module_parameters(net), hk_adam_defaults());
    assert_ok(ctx);
    hk_units *units = looking ? hk_units_create(net, NULL) : NULL;
    hk_batch batch;
    for (int step = 0; step < 12; step++) {
        if (!hk_loader_next(loader, &batch)) assert_true(hk_loader_next(loader, &batch));
        if (looking) assert_int_equal(hk_units_add(units, batch.x), HK_OK);
        assert_true(hk_module_is_training(net));
        assert_true(isfinite(train_step(ctx, net, opt, &batch)));
        if (looking) assert_int_equal(hk_units_end(units), HK_OK);
    }
    *buffers = fingerprint(hk_module_buffers(net));
    const uint64_t print = fingerprint(hk_module_parameters(net));
    hk_context_destroy(ctx);
    return print;
}

/* In the middle of each step, before forward. */
static void training_stays_the_same(void **state) {
    (void)state;
    uint64_t with, without;
    assert_true(train(true, &with) == train(false, &without));
    assert_true(with == without);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_and_threads),
        cmocka_unit_test(modes_inside),
        cmocka_unit_test(training_stays_the_same),
    };
    return cmocka_run_group_tests_name("runs of units", tests, NULL, NULL);
}
