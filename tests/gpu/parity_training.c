/* parity_training.c: training on the CPU and on the GPU from equal weights: one step, before and after training; the
   first losses; how far rounding takes runs apart.
   SPDX-License-Identifier: MIT */
/* ctest: labels=gpu timeout=240 */
#include "parity_fixture.h"

/* Loss and every parameter's gradient of one batch from equal weights. */
static void compare_step(const run *cpu, const run *gpu, const char *of) {
    const double want = run_gradients(cpu), got = run_gradients(gpu);
    double worst = 0, all = 0;
    for (int i = 0; i < cpu->all.count; i++) {
        double distance, size;
        apart(hk_grad(gpu->all.items[i]), hk_grad(cpu->all.items[i]), &distance, &size);
        all += size * size;
        assert_true(isfinite(distance));
        if (size > 0 && !(distance / size <= worst)) worst = distance / size;
    }
    assert_true(all > 0);
    note("loss of one step", of, fabs(got - want) / fabs(want), 1e-5);
    note("gradients of one step", of, worst, 1e-4);
}

static void one_step(const network *of) {
    const int64_t images = full() ? 6400 : 32, batch = full() ? 64 : 4;
    const int64_t steps_of_epoch = full() ? (getenv("HILLOCK_MNIST") ? 938 : 100) : 3;
    run gpu = run_begin(HK_CUDA, HK_F32, 1, of, images, batch, "momentum", 0.01);
    run cpu = run_begin(HK_CPU, HK_F32, 1, of, images, batch, "momentum", 0.01);
    static const int epochs[] = {0, 1, 5};
    for (int i = 0, done = 0; i < 3; done = epochs[i++]) {
        char what[64];
        snprintf(what, sizeof what, "%s after %d epochs", of->name, epochs[i]);
        run_steps(&gpu, (epochs[i] - done) * steps_of_epoch);
        give_weights(&cpu, &gpu);
        hk_loader_rewind(gpu.loader), hk_loader_rewind(cpu.loader);
        compare_step(&cpu, &gpu, what);
    }
    run_end(&gpu), run_end(&cpu);
}

static void one_step_mlp(void **state) { (void)state, one_step(&networks[0]); }
static void one_step_small(void **state) { (void)state, one_step(&networks[1]); }
static void one_step_lenet(void **state) { (void)state, one_step(&networks[2]); }
static void one_step_deep(void **state) { (void)state, one_step(&networks[3]); }

static void first_losses(void **state) {
    (void)state;
    const int64_t steps = full() ? 100 : 8, batch = full() ? 64 : 16;
    run gpu = run_begin(HK_CUDA, HK_F32, 2, &networks[0], batch * steps, batch, "momentum", 0.01);
    run cpu = run_begin(HK_CPU, HK_F32, 2, &networks[0], batch * steps, batch, "momentum", 0.01);
    give_weights(&gpu, &cpu);
    double worst = 0;
    for (int64_t s = 0; s < steps; s++) {
        const hk_batch b = run_batch(&cpu), g = run_batch(&gpu);
        const double want = train_step(cpu.ctx, cpu.net, cpu.opt, &b),
                     got = train_step(gpu.ctx, gpu.net, gpu.opt, &g);
        const double error = fabs(got - want) / fabs(want);
        if (!(error <= worst)) worst = error;
    }
    note("first losses", "mlp", worst, 1e-5);
    run_end(&gpu), run_end(&cpu);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* From equal weights, on equal batches: how far from a run in double is the GPU's, against the CPU's? */
static void distances(const network *of) {
    enum { SEEDS = 5 };
    const int seeds = full() ? SEEDS : 1;
    const int64_t steps = full() ? 100 : 3, batch = full() ? 32 : 4;
    double ratio[SEEDS] = {0};
    for (int s = 0; s < seeds; s++) {
        const uint64_t seed = (uint64_t)s + 1;
        run cpu = run_begin(HK_CPU, HK_F32, seed, of, batch * steps, batch, "momentum", 0.01);
        run gpu = run_begin(HK_CUDA, HK_F32, seed, of, batch * steps, batch, "momentum", 0.01);
        run exact = run_begin(HK_CPU, HK_F64, seed, of, batch * steps, batch, "momentum", 0.01);
        give_weights(&gpu, &cpu), give_weights(&exact, &cpu);
        run_steps(&cpu, steps), run_steps(&gpu, steps), run_steps(&exact, steps);
        ratio[s] = weights_apart(&gpu, &exact) / weights_apart(&cpu, &exact);
        assert_true(isfinite(ratio[s]));
        run_end(&cpu), run_end(&gpu), run_end(&exact);
    }
    qsort(ratio, (size_t)seeds, sizeof *ratio, by_size);
    note("distance from double", of->name, ratio[seeds / 2], 3);
}

static void distance_small(void **state) { (void)state, distances(&networks[1]); }
static void distance_lenet(void **state) { (void)state, distances(&networks[2]); }
static void distance_deep(void **state) { (void)state, distances(&networks[3]); }

int main(int argc, char **argv) {
    need_gpu();
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_step_mlp),   cmocka_unit_test(one_step_small),
        cmocka_unit_test(one_step_lenet), cmocka_unit_test(one_step_deep),
        cmocka_unit_test(first_losses),   cmocka_unit_test(distance_small),
        cmocka_unit_test(distance_lenet), cmocka_unit_test(distance_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
