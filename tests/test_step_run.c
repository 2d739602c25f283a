/* test_step_run.c: whole steps by hk_step_run: errors, and on a GPU what a captured step must not outlive.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "testing.h"

/* --- errors ------------------------------------------------------------------------------------ */

static hk_status refuse(hk_context *ctx, void *arg) {
    (void)ctx;
    return *(const hk_status *)arg;
}

static void errors(void **state) {
    hk_context *ctx = *state;
    assert_int_equal(hk_step_run(NULL, refuse, NULL), HK_ERR_MEMORY);
    assert_non_null(hk_step_why(NULL));
    assert_int_equal(hk_step_run(ctx, NULL, NULL), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "[step]", "no function");
    hk_status status = HK_ERR_STATE;
    const uint64_t before = ctx->step;
    assert_int_equal(hk_step_run(ctx, refuse, &status), HK_ERR_STATE);
    assert_int_equal(ctx->step, before + 1); /* it has ended all the same */
    status = HK_OK;
    assert_int_equal(hk_step_run(ctx, refuse, &status), HK_ERR_STATE);
    assert_int_equal(ctx->step, before + 1); /* nothing runs under an error */
    expect_error(ctx, HK_ERR_STATE, "[step]");
    must(hk_step_run(ctx, refuse, &status));
    assert_non_null(hk_step_why(ctx));
}

/* --- what is captured -------------------------------------------------------------------------- */

typedef struct sums {
    hk_tensor *x, *sum; /* kept; sum += x · by */
    double by;
    int calls;
    bool reads;
} sums;

static hk_status add(hk_context *ctx, void *arg) {
    sums *s = arg;
    s->calls++;
    if (s->reads) hk_tensor_item(hk_sum(s->x, HK_ALL_AXES, false));
    hk_tensor *y = hk_add(s->sum, hk_scale(s->x, s->by, 0));
    return y ? hk_tensor_copy(s->sum, y) : hk_error(ctx);
}

static sums sums_of(hk_context *ctx, double by) {
    const double one[] = {1, 2, 3}, none[] = {0, 0, 0};
    return (sums){.x = kept(ctx, HK_F32, HK_SHAPE(3), one),
                  .sum = kept(ctx, HK_F32, HK_SHAPE(3), none),
                  .by = by};
}

/* Runs some steps; the sum must have grown by as many. Returns how many were replayed. */
static int64_t run(hk_context *ctx, sums *s, int steps) {
    const uint64_t replayed = ctx->replayed;
    const double before = element_get(s->sum, 2);
    for (int i = 0; i < steps; i++) must(hk_step_run(ctx, add, s));
    assert_close("sum", 2, element_get(s->sum, 2), before + 3 * s->by * steps, 0);
    if (!on_gpu()) assert_int_equal(ctx->replayed, 0);
    return (int64_t)(ctx->replayed - replayed);
}

static void functions_and_settings(void **state) {
    hk_context *ctx = *state;
    sums a = sums_of(ctx, 1), b = sums_of(ctx, 0.5);
    const int64_t of_a = run(ctx, &a, 8), of_b = run(ctx, &b, 8);
    assert_int_equal(of_a, on_gpu() ? 5 : 0);
    assert_int_equal(of_b, on_gpu() ? 5 : 0);
    assert_int_equal(run(ctx, &a, 2), on_gpu() ? 2 : 0); /* both are kept */
    assert_int_equal(run(ctx, &b, 2), on_gpu() ? 2 : 0);
    hk__setting_flip(ctx, &a, 1); /* as hooks and training mode do */
    assert_int_equal(run(ctx, &a, 2), 0);
    hk__setting_flip(ctx, &a, 1);
    assert_int_equal(run(ctx, &a, 2), on_gpu() ? 2 : 0);
    assert_int_equal(a.calls, on_gpu() ? 3 + 2 : 14);
}

/* Other numbers in the arguments, and tensors elsewhere. */
static void what_changes(void **state) {
    hk_context *ctx = *state;
    for (int step = 0; step < 6; step++) {
        sums s = sums_of(ctx, 1);
        s.by = 1 + step % 2;
        (void)run(ctx, &s, 1);
        hk_tensor_destroy(s.sum);
        hk_tensor_destroy(s.x);
    }
    sums s = sums_of(ctx, 1);
    for (int step = 0; step < 6; step++) {
        s.by = 1 + step % 2;
        assert_int_equal(run(ctx, &s, 1), 0); /* never two equal ones in a row */
    }
    for (int step = 0; step < 8; step++) {
        s.by = 1 + step / 2 % 2;
        assert_int_equal(run(ctx, &s, 1),
                         0); /* two, and then the one that is captured is another */
    }
}

/* A tensor that is destroyed takes with it what was captured. */
static void what_is_destroyed(void **state) {
    hk_context *ctx = *state;
    sums s = sums_of(ctx, 1);
    assert_int_equal(run(ctx, &s, 8), on_gpu() ? 5 : 0);
    hk_tensor_destroy(s.x);
    const double other[] = {1, 2, 3};
    s.x = kept(ctx, HK_F32, HK_SHAPE(3), other);
    assert_int_equal(run(ctx, &s, 1), 0);
    assert_int_equal(run(ctx, &s, 7), on_gpu() ? 5 : 0);
}

/* A step that reads is not replayed; one that begins to while it is captured is an error, and may then go on. */
static void what_reads(void **state) {
    hk_context *ctx = *state;
    sums s = sums_of(ctx, 1);
    s.reads = true;
    assert_int_equal(run(ctx, &s, 6), 0);
    if (on_gpu()) assert_non_null(strstr(hk_step_why(ctx), "host reads"));
    s.reads = false;
    (void)run(ctx, &s, 2);
    s.reads = true;
    const hk_status status = hk_step_run(ctx, add, &s);
    assert_int_equal(status, on_gpu() ? HK_ERR_STATE : HK_OK);
    if (on_gpu()) expect_error(ctx, HK_ERR_STATE, "being captured");
    (void)run(ctx, &s, 3);
    s.reads = false;
    assert_int_equal(run(ctx, &s, 8), on_gpu() ? 5 : 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(errors, setup, teardown),
        cmocka_unit_test_setup_teardown(functions_and_settings, setup, teardown),
        cmocka_unit_test_setup_teardown(what_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_destroyed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_reads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
