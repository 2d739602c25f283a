/* parity_steps.c: steps that are captured and replayed do what eager ones do; runs repeat to the bit; memory of a GPU is
   taken in the first two steps, and a lack of it is an error like others; how many launches a step has.
   SPDX-License-Identifier: MIT */
/* ctest: labels=gpu timeout=240 */
#include "parity_fixture.h"

#include "gpu.h"

/* --- replayed against eager -------------------------------------------------------------------------------------- */

static hk_module *with_dropout(hk_context *ctx) {
    return hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 784, 64), hk_activation(ctx, "gelu"),
                         hk_dropout(ctx, 0.3), hk_linear(ctx, 64, 10));
}
static const network dropped = {"mlp with dropout", with_dropout};

/* Weights after some steps by Adam with a cosine schedule; how many steps were replayed. */
static uint64_t trained(const network *of, bool no_graph, int64_t steps, uint64_t *replayed) {
    run r = {.ctx = open_context((hk_context_config){
                 .device = HK_CUDA, .seed = 3, .threads = 1, .no_graph = no_graph})};
    r.net = of->make(r.ctx);
    assert_int_equal(hk_module_build(r.net, HK_SHAPE(-1, 1, 28, 28), NULL), HK_OK);
    r.all = hk_module_parameters(r.net);
    r.opt = hk_adam(r.ctx, r.all, hk_adam_defaults());
    const hk_schedule cosine = {.kind = HK_COSINE, .total = steps + 10};
    assert_int_equal(hk_optimizer_schedule(r.opt, &cosine), HK_OK);
    r.loader = hk_loader_create(patterns(r.ctx, 16 * 20, HK_SHAPE(1, 28, 28), 10),
                                &(hk_loader_config){.batch = 16, .shuffle = true});
    assert_ok(r.ctx);
    run_steps(&r, steps);
    *replayed = hk_context_describe(r.ctx).replayed;
    if (!no_graph && *replayed == 0) print_message("not replayed: %s\n", hk_step_why(r.ctx));
    const uint64_t print = fingerprint(r.all);
    run_end(&r);
    return print;
}

static void replayed_equals_eager(void **state) {
    (void)state;
    const network *const of[] = {&dropped, &networks[1]};
    for (int i = 0; i < 2; i++) {
        const int64_t steps = full() || i == 0 ? 50 : 8;
        uint64_t none, some;
        const uint64_t eager = trained(of[i], true, steps, &none),
                       replayed = trained(of[i], false, steps, &some);
        assert_int_equal(none, 0);
        /* The first four at most, and one where an epoch begins: there are 20 steps in one. */
        note("steps that were not replayed", of[i]->name, (double)(steps - (int64_t)some), 6);
        note("replayed and eager differ", of[i]->name, replayed != eager, 0);
    }
}

static void runs_repeat(void **state) {
    (void)state;
    for (int i = 0; i < (full() ? NETWORKS : 2); i++) {
        uint64_t replayed;
        const int64_t steps = full() ? 50 : 4;
        const uint64_t once = trained(&networks[i], false, steps, &replayed);
        note("two runs differ", networks[i].name,
             once != trained(&networks[i], false, steps, &replayed), 0);
    }
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static void no_memory_is_an_error(void **state) {
    (void)state;
    hk_context *ctx = open_context((hk_context_config){.device = HK_CUDA, .seed = 1});
    const int64_t huge = (int64_t)1 << 44; /* more than any GPU has */
    assert_null(hk_tensor_new(ctx, HK_F32, HK_SHAPE(huge)));
    const char *text = hk_error_message(ctx);
    print_message("%s\n", text);
    assert_int_equal(hk_error(ctx), HK_ERR_MEMORY);
    assert_non_null(strstr(text, "GiB"));
    hk_error_clear(ctx);
    assert_null(hk_full(ctx, HK_F32, HK_SHAPE(huge), 1)); /* of a step */
    print_message("%s\n", hk_error_message(ctx));
    assert_int_equal(hk_error(ctx), HK_ERR_MEMORY);
    hk_error_clear(ctx);
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(1000), 2);
    assert_true(hk_tensor_item(hk_sum(hk_mul(x, x), HK_ALL_AXES, false)) == 4000);
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_context_destroy(ctx);
}

/* Neither in eager steps, whose last batch of an epoch is smaller, nor in replayed ones. */
static void nothing_is_taken_after_two_steps(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int eager = 0; eager < 2; eager++) {
            run r = run_begin(HK_CUDA, HK_F32, 1, &networks[i], 8 * 2 + 3, 8, "adam", 0.001);
            uint64_t then = 0;
            for (int s = 1; s <= 12; s++) {
                if (eager) {
                    (void)run_gradients(&r);
                    assert_int_equal(hk_optimizer_step(r.opt), HK_OK);
                    assert_int_equal(hk_step_end(r.ctx), HK_OK);
                } else {
                    run_steps(&r, 1);
                }
                if (s == 2) then = hk__gpu_allocations(r.ctx);
                if (s > 2 && hk__gpu_allocations(r.ctx) != then)
                    fail_msg("%s: step %d takes memory", networks[i].name, s);
            }
            assert_true(then > 0);
            run_end(&r);
        }
}

/* --- launches ---------------------------------------------------------------------------------------------------- */

/* A step with the sum of the losses that programs keep. */
typedef struct summed {
    run r;
    hk_tensor *sum;
} summed;

static hk_status summed_step(hk_context *ctx, void *arg) {
    const summed *s = arg;
    hk_batch batch;
    if (!hk_loader_next(s->r.loader, &batch) && !hk_loader_next(s->r.loader, &batch))
        return HK_ERR_STATE;
    hk_optimizer_zero_grad(s->r.opt);
    hk_tensor *loss = hk_cross_entropy(hk_forward(s->r.net, batch.x), batch.y);
    if (hk_tensor_add(s->sum, loss) || hk_backward(ctx, loss)) return hk_error(ctx);
    return hk_optimizer_step(s->r.opt);
}

/* Of a replayed step: what docs/performance.md lists. */
static void launches_of_a_step(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int network;
        const char *optimizer;
        double norm; /* gradients are clipped to it; 0: they are not */
        double most;
    } cases[] = {{"mlp, momentum", 0, "momentum", 0, 9},
                 {"mlp, adam", 0, "adam", 0, 9},
                 {"mlp, adam, clipped", 0, "adam", 1, 10},
                 {"small, adam", 1, "adam", 0, 16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        summed s = {.r = run_begin(HK_CUDA, HK_F32, 1, &networks[cases[i].network], 64 * 6, 64,
                                   cases[i].optimizer, 0.001)};
        s.sum = hk_tensor_new(s.r.ctx, HK_F32, HK_SCALAR);
        assert_non_null(s.sum);
        if (cases[i].norm > 0)
            assert_int_equal(hk_optimizer_clip_norm(s.r.opt, cases[i].norm), HK_OK);
        uint64_t before = 0;
        for (int step = 0; step < 5; step++) {
            before = hk__gpu_launch_count(s.r.ctx);
            if (hk_step_run(s.r.ctx, summed_step, &s) != HK_OK)
                fail_msg("%s", hk_error_message(s.r.ctx));
        }
        assert_int_equal(hk_context_describe(s.r.ctx).replayed, 1);
        note("launches of a step", cases[i].name, (double)(hk__gpu_launch_count(s.r.ctx) - before),
             cases[i].most);
        run_end(&s.r);
    }
}

int main(int argc, char **argv) {
    need_gpu();
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replayed_equals_eager), cmocka_unit_test(runs_repeat),
        cmocka_unit_test(no_memory_is_an_error), cmocka_unit_test(nothing_is_taken_after_two_steps),
        cmocka_unit_test(launches_of_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
