/* ctest: labels=unit timeout=60 */
/* What a step may do to the memory and to the stream that captured steps are made of.
   SPDX-License-Identifier: MIT */
#include "gpu.h"
#include "gpu_fixture.h"

enum { CAPTURED = 3 /* the call of a step's function that is captured */, STEPS = 9 };

static hk_context *on_the_gpu(bool no_graph) {
    return open_context(
        (hk_context_config){.device = HK_CUDA, .threads = 1, .seed = 1, .no_graph = no_graph});
}

static hk_tensor *filled(hk_context *ctx, double value) {
    hk_tensor *t = hk_tensor_keep(hk_full(ctx, HK_F32, HK_SHAPE(100), value));
    must(hk_step_end(ctx));
    return t;
}

/* --- memory is given back in the middle of a step ----------------------------------------------- */

typedef struct changing {
    hk_tensor *a, *b, *next, *out;
    int calls, when;
} changing;

static hk_status change(hk_context *ctx, void *arg) {
    changing *c = arg;
    c->calls++;
    HK_TRY(hk_tensor_copy(c->out, hk_mul(c->a, c->b)));
    if (c->calls != c->when) return hk_error(ctx);
    hk_tensor_destroy(c->b);
    c->b = c->next;
    return hk_error(ctx);
}

static void given_back(void **state) {
    (void)state;
    for (int when = 1; when < STEPS; when++) {
        hk_context *ctx = on_the_gpu(false);
        changing c = {.a = filled(ctx, 3),
                      .b = filled(ctx, 5),
                      .next = filled(ctx, 7),
                      .out = filled(ctx, 0),
                      .when = when};
        int used = 0;
        for (int step = 1; step <= STEPS; step++) {
            must(hk_step_run(ctx, change, &c));
            used = used ? used : c.calls == when ? step : 0;
            assert_true(element_get(c.out, 99) == (!used || step == used ? 15 : 21));
        }
        assert_true(hk_context_describe(ctx).replayed > 0);
        hk_context_destroy(ctx);
    }
}

/* --- waiting and ending within a step ----------------------------------------------------------------- */

typedef struct counting {
    hk_tensor *one, *sum;
    int calls, when; /* 0: each time */
    hk_status (*then)(hk_context *ctx);
} counting;

static hk_status count(hk_context *ctx, void *arg) {
    counting *c = arg;
    HK_TRY(hk_tensor_add(c->sum, c->one));
    c->calls++;
    return c->when == 0 || c->calls == c->when ? c->then(ctx) : hk_error(ctx);
}

static void waits(void **state) {
    (void)state;
    hk_context *ctx = on_the_gpu(false);
    counting c = {.one = filled(ctx, 1), .sum = filled(ctx, 0), .then = hk_context_wait};
    for (int step = 0; step < STEPS; step++) must(hk_step_run(ctx, count, &c));
    assert_int_equal(hk_context_describe(ctx).replayed, 0);
    assert_non_null(strstr(hk_step_why(ctx), "waits"));
    c.when = c.calls + CAPTURED;
    for (int step = 1; step < CAPTURED; step++) must(hk_step_run(ctx, count, &c));
    assert_int_equal(hk_step_run(ctx, count, &c), HK_ERR_STATE);
    expect_error(ctx, HK_ERR_STATE, "waits", "captured");
    for (int step = 0; step < STEPS; step++) must(hk_step_run(ctx, count, &c));
    assert_true(hk_context_describe(ctx).replayed > 0);
    assert_true(element_get(c.sum, 0) == 2 * STEPS + CAPTURED - 1);
    hk_context_destroy(ctx);
}

static void ends(void **state) {
    (void)state;
    for (int when = 0; when <= CAPTURED; when += CAPTURED) {
        hk_context *ctx = on_the_gpu(false);
        counting c = {
            .one = filled(ctx, 1), .sum = filled(ctx, 0), .when = when, .then = hk_step_end};
        for (int step = 0; step < STEPS; step++) must(hk_step_run(ctx, count, &c));
        assert_true(element_get(c.sum, 0) == STEPS);
        const uint64_t replayed = hk_context_describe(ctx).replayed;
        assert_true(when ? replayed > 0 : replayed == 0);
        if (!when) assert_non_null(strstr(hk_step_why(ctx), "a step ends in it"));
        hk_context_destroy(ctx);
    }
}

static hk_status nothing(hk_context *ctx) { return hk_error(ctx); }

/* Each launch is waited for, so that it can be named: not so in a captured step. */
static void looked_at(void **state) {
    (void)state;
    setenv("HILLOCK_CUDA_SYNC", "1", 1);
    hk_context *ctx = on_the_gpu(false);
    unsetenv("HILLOCK_CUDA_SYNC");
    counting c = {.one = filled(ctx, 1), .sum = filled(ctx, 0), .then = nothing};
    for (int step = 0; step < STEPS; step++) must(hk_step_run(ctx, count, &c));
    assert_int_equal(hk_context_describe(ctx).replayed, 0);
    assert_non_null(strstr(hk_step_why(ctx), "HILLOCK_CUDA_SYNC"));
    hk_context_destroy(ctx);
}

/* --- a kernel that fails ------------------------------------------------------------------------------------------ */

/* It shows at a call behind it, unless each launch is waited for. */
static void fails(bool sync) {
    if (sync) setenv("HILLOCK_CUDA_SYNC", "1", 1);
    hk_context *ctx = on_the_gpu(false);
    unsetenv("HILLOCK_CUDA_SYNC");
    if (!strstr(hk_context_describe(ctx).isa, "emulated")) { /* no other fails when it is told to */
        hk_context_destroy(ctx);
        skip();
    }
    hk_tensor *x = filled(ctx, 1);
    must(hk_context_wait(ctx));
    setenv("HILLOCK_EMULATED_FAILS", "2", 1);
    hk_sqrt(hk_log(hk_exp(x))); /* log fails */
    assert_int_equal(hk_context_wait(ctx), HK_ERR_DEVICE);
    const char *const text = hk_error_message(ctx);
    assert_true(sync ? strncmp(text, "[log]", 5) == 0
                     : strstr(text, "HILLOCK_CUDA_SYNC=1") != NULL);
    hk_error_clear(ctx);
    hk_exp(x);
    assert_int_equal(hk_context_wait(ctx), HK_ERR_DEVICE); /* for good */
    hk_context_destroy(ctx);
    unsetenv("HILLOCK_EMULATED_FAILS");
}
static void a_failure_is_told(void **state) { (void)state, fails(false); }
static void a_failure_is_named(void **state) { (void)state, fails(true); }

/* --- flags ---------------------------------------------------------------------------------------------------- */

/* Told once, though steps end while the kernel is still to come. */
static void told_once(void **state) {
    (void)state;
    hk_context *ctx = on_the_gpu(false);
    static const int32_t labels[] = {0, 7, 1};
    int told = 0;
    for (int round = 0; round < 4; round++) {
        hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(3, 3), 0);
        if (round == 0) hk_cross_entropy(x, hk_constant(ctx, HK_I32, HK_SHAPE(3), labels));
        if (round == 2) must(hk_context_wait(ctx));
        if (hk_step_end(ctx) == HK_OK) continue;
        told++;
        expect_error(ctx, HK_ERR_ARGUMENT, "label 7 at position 1 is outside of 0 to 2");
    }
    assert_int_equal(told, 1);
    hk_context_destroy(ctx);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static uint64_t allocations(const hk_context *ctx) {
    if (!HK_ON_GPU(ctx)) return 0; /* nor is the other linked, without CUDA */
    return hk__gpu_allocations(ctx);
}

/* More than half of the memory in one step, which is taken bit by bit at first: nothing is asked for in vain later on. */
static void a_large_step(void **state) {
    (void)state;
    setenv("HILLOCK_EMULATED_MEMORY", "67108864", 1);
    hk_context *ctx = on_the_gpu(false);
    uint64_t before = 0;
    for (int step = 0; step < 6; step++) {
        for (int i = 0; i < 5; i++) assert_non_null(hk_full(ctx, HK_F32, HK_SHAPE(2 << 20), i));
        must(hk_step_end(ctx));
        if (step == 1) before = allocations(ctx);
    }
    assert_true(before > 0 && allocations(ctx) == before);
    hk_context_destroy(ctx);
    unsetenv("HILLOCK_EMULATED_MEMORY");
}

/* --- what the code was written for ---------------------------------------------------------------------------------- */

/* PTX of an older GPU runs on a new one, but has no clusters. */
static void old_code(void **state) {
    (void)state;
    setenv("HILLOCK_EMULATED_CODE", "80", 1);
    hk_context *ctx = on_the_gpu(false);
    double sum[2];
    for (int k = 0; k < 2; k++) {
        hk_tensor *x = seeded(k ? ctx : cpu, HK_F32, HK_SHAPE(2, 20000), "x", -9, 9, 0);
        hk_tensor *y = hk_softmax(x, 1);
        sum[k] = hk_tensor_item(hk_sum(hk_mul(y, y), HK_ALL_AXES, false));
    }
    assert_true(fabs(sum[0] - sum[1]) <= 1e-5 * sum[0]);
    hk_context_destroy(ctx);
    forget();
    setenv("HILLOCK_EMULATED_CODE", "120", 1);
    ctx = hk_context_create(&(hk_context_config){.device = HK_CUDA, .threads = 1});
    if (hk_error(ctx) != HK_OK) /* only an emulated GPU can be told so */
        expect_error(ctx, HK_ERR_DEVICE, "[context] this build has no code for the GPU", "sm_90",
                     "-DCMAKE_CUDA_ARCHITECTURES=90");
    hk_context_destroy(ctx);
    unsetenv("HILLOCK_EMULATED_CODE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_back),
        cmocka_unit_test(waits),
        cmocka_unit_test(ends),
        cmocka_unit_test(looked_at),
        cmocka_unit_test(a_failure_is_told),
        cmocka_unit_test(a_failure_is_named),
        cmocka_unit_test(told_once),
        cmocka_unit_test(a_large_step),
        cmocka_unit_test(old_code),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
