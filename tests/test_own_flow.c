/* test_own_flow.c: the example of looking into one's own training works, and is short.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

#include "../examples/own/own_flow.c"

enum { STEPS = 8, EVERY = 4, DEAD = 3 };

typedef struct line {
    long long step;
    char name[16];
    double grad, ratio;
} line;

/* What the flow must say of a step, by hand: a hook's norms of the gradients. */
static double norms[STEPS + 1][8];
static int step;

static void note_norms(hk_context *ctx, void *arg) {
    (void)ctx;
    const hk_parameters *all = arg;
    step++;
    for (int i = 0; i < all->count; i++)
        norms[step][i] = hk_tensor_stats(hk_grad(all->items[i])).l2;
}

/* Units of the first layer that are never above 0. */
static int dead_by_hand(hk_module *net, hk_loader *loader) {
    bool alive[20] = {false};
    hk_batch batch;
    while (hk_loader_next(loader, &batch)) {
        hk_tensor *z =
            hk_forward(hk_module_child_at(net, 1), hk_forward(hk_module_child_at(net, 0), batch.x));
        for (int64_t i = 0; i < hk_tensor_count(z); i++) alive[i % 20] |= number(z, i) > 0;
        assert_int_equal(hk_step_end(hk_module_context(net)), HK_OK);
    }
    int dead = 0;
    for (int i = 0; i < 20; i++) dead += !alive[i];
    return dead;
}

static void prints_what_happens(void **state) {
    (void)state;
    const recipe r = {
        .in = 36, .hidden = {20, 16}, .classes = 5, .activation = "relu", .threads = 1, .seed = 3};
    hk_context *ctx = recipe_context(&r);
    hk_module *net = recipe_net(ctx, &r);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1, 6, 6), NULL), HK_OK);
    hk_parameters all = hk_module_parameters(net);
    for (int i = 0; i < DEAD; i++) element_put(hk_module_find(net, "1.bias"), 5 * i, -100);
    hk_dataset *data = patterns(ctx, STEPS * 32, HK_SHAPE(1, 6, 6), 5);
    const hk_loader_config config = {.batch = 32};
    hk_loader *train = hk_loader_create(data, &config), *probe = hk_loader_create(data, &config);
    hk_optimizer *opt = hk_sgd(ctx, all, hk_sgd_defaults());
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_non_null(hk_hook_backward(ctx, note_norms, &all));
    const hk_flow_config flow = {.every = EVERY, .report = print_flow, .arg = file};
    assert_non_null(hk_flow_create(net, &flow));
    hk_batch batch;
    while (hk_loader_next(train, &batch)) assert_true(train_step(ctx, net, opt, &batch) > 0);
    if (print_dead_units(net, probe, file)) fail_msg("%s", hk_error_message(ctx));
    const int dead_first = dead_by_hand(net, probe);
    assert_true(dead_first >= DEAD && dead_first < 20);
    assert_ok(ctx);

    rewind(file);
    for (int k = 0; k < STEPS / EVERY; k++)
        for (int i = 0; i < all.count; i++) {
            line l;
            assert_int_equal(fscanf(file, " step %lld %15s |gradient| %lf |update|/|weight| %lf",
                                    &l.step, l.name, &l.grad, &l.ratio),
                             4);
            assert_int_equal(l.step, 1 + k * EVERY);
            assert_string_equal(l.name, hk_tensor_name(all.items[i]));
            assert_true(fabs(l.grad - norms[l.step][i]) <= 1e-3 * norms[l.step][i]);
            assert_true(l.ratio > 1e-6 || (k == 0 && isnan(l.ratio))); /* biases start at 0 */
        }
    const int units[] = {20, 16};
    for (int i = 0; i < 2; i++) {
        int name, dead, of;
        assert_int_equal(
            fscanf(file, " layer %d (relu): %d of %d units are dead", &name, &dead, &of), 3);
        assert_int_equal(name, 2 + 2 * i);
        assert_int_equal(of, units[i]);
        if (i == 0) assert_int_equal(dead, dead_first);
    }
    fclose(file);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_what_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
