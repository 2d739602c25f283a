/* test_steps.c: no allocation after the second step, stale tensors, errors in the middle of a step.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

#include <errno.h>
#include <stdatomic.h>

/* --- counting allocations ------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static atomic_int allocations; /* by any thread */

#if defined(__GLIBC__) && !defined(SANITIZED)
/* These stand before the C library's own for the whole program, OpenBLAS included. */
enum { CAN_COUNT = 1 };
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(p, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **p, size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    *p = __libc_memalign(alignment, size);
    return *p ? 0 : ENOMEM;
}
#else
enum { CAN_COUNT = 0 };
#endif

/* --- a training run that can be watched ----------------------------------------------------- */

typedef struct training {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_loader *loader;
} training;

static training begin(const recipe *r) {
    training t = {.ctx = recipe_context(r)};
    hk_dataset *ds = patterns(t.ctx, r->items, HK_SHAPE(1, 1, r->in), r->classes);
    t.loader = hk_loader_create(ds, &(hk_loader_config){.batch = r->batch, .shuffle = true});
    t.net = recipe_net(t.ctx, r);
    const hk_parameters params = hk_module_parameters(t.net);
    t.opt = hk_optimizer_by_name(t.ctx, r->optimizer, params, -1, -1);
    assert_ok(t.ctx);
    return t;
}

static hk_batch next_batch(const training *t) {
    hk_batch batch;
    while (!hk_loader_next(t->loader, &batch)) assert_ok(t->ctx);
    return batch;
}

static void no_allocation_after_the_second_step(void **state) {
    (void)state;
    if (!CAN_COUNT ||
        on_gpu()) { /* a driver has memory of its own; parity_steps counts the device's */
        print_message("needs glibc, and no sanitizer\n");
        skip();
    }
    /* 200 items in batches of 64: every fourth has 8. */
    const recipe recipes[] = {
        {.in = 784, .hidden = {128}, .classes = 10, .items = 200, .batch = 64, .optimizer = "adam"},
        {.in = 784,
         .hidden = {128},
         .classes = 10,
         .items = 200,
         .batch = 64,
         .optimizer = "adam",
         .p = 0.5,
         .activation = "prelu"},
        {.in = 784,
         .hidden = {128},
         .classes = 10,
         .items = 200,
         .batch = 64,
         .optimizer = "momentum",
         .no_blas = true},
        {.in = 50,
         .hidden = {300, 20},
         .classes = 3,
         .items = 201,
         .batch = 100,
         .optimizer = "sgd",
         .activation = "tanh"}, /* the last batch has one */
        {.in = 784,
         .hidden = {512, 256},
         .classes = 10,
         .items = 300,
         .batch = 128,
         .optimizer = "rmsprop"},
    };
    for (size_t i = 0; i < 2 * sizeof recipes / sizeof *recipes; i++) {
        recipe r = recipes[i / 2];
        r.threads = 1 + (int)(i % 2);
        training t = begin(&r);
        assert_int_equal(hk_optimizer_clip_norm(t.opt, 1), HK_OK);
        assert_true(atomic_load(&allocations) > 0); /* or the counters are not in place */
        int before = 0;
        for (int step = 0; step < 12; step++) {
            if (step == 2) before = atomic_load(&allocations);
            const hk_batch batch = next_batch(&t);
            train_step(t.ctx, t.net, t.opt, &batch);
        }
        const int more = atomic_load(&allocations) - before;
        assert_ok(t.ctx);
        if (more != 0) fail_msg("recipe %zu: %d allocations in steps 3 to 12", i, more);
        hk_context_destroy(t.ctx);
    }
}

/* Evaluation between epochs needs no more either, once it was done. */
static void no_allocation_in_evaluation(void **state) {
    (void)state;
    if (!CAN_COUNT || on_gpu()) skip();
    const recipe r = {.in = 784,
                      .hidden = {128},
                      .classes = 10,
                      .items = 200,
                      .batch = 64,
                      .optimizer = "adam",
                      .threads = 2};
    training t = begin(&r);
    int before = 0;
    for (int epoch = 0; epoch < 6; epoch++) {
        if (epoch == 2) before = atomic_load(&allocations);
        for (int training_on = 1; training_on >= 0; training_on--) {
            hk_batch batch;
            hk_module_train(t.net, training_on);
            hk_grad_enable(t.ctx, training_on);
            while (hk_loader_next(t.loader, &batch)) {
                if (training_on)
                    train_step(t.ctx, t.net, t.opt, &batch);
                else {
                    hk_argmax(hk_forward(t.net, batch.x), 1, false);
                    assert_int_equal(hk_step_end(t.ctx), HK_OK);
                }
            }
        }
    }
    assert_int_equal(atomic_load(&allocations), before);
    assert_ok(t.ctx);
    hk_context_destroy(t.ctx);
}

/* --- stale tensors -------------------------------------------------------------------------- */

static void stale_tensors(void **state) {
    (void)state;
    static const int ages[] = {1, 2, 15, 16};
    const recipe r = {
        .in = 12, .hidden = {7}, .classes = 3, .items = 20, .batch = 8, .optimizer = "adam"};
    for (size_t a = 0; a < sizeof ages / sizeof *ages; a++) {
        training t = begin(&r);
        const hk_batch batch = next_batch(&t);
        hk_tensor *logits = hk_forward(t.net, batch.x);
        hk_tensor *loss = hk_cross_entropy(logits, batch.y);
        assert_int_equal(hk_backward(t.ctx, loss), HK_OK);
        assert_int_equal(hk_optimizer_step(t.opt), HK_OK);
        assert_int_equal(hk_step_end(t.ctx), HK_OK);
        for (int step = 1; step < ages[a];
             step++) { /* full steps: headers are used again and again */
            const hk_batch other = next_batch(&t);
            train_step(t.ctx, t.net, t.opt, &other);
        }
        assert_ok(t.ctx);
        char age[40];
        snprintf(age, sizeof age, "ended %d step(s) ago", ages[a]);
        hk_tensor *fresh = hk_full(t.ctx, HK_F32, HK_SHAPE(8, 3), 1);
        float values[24];
        assert_null(hk_forward(t.net, batch.x));
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_null(hk_add(logits, fresh));
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_null(hk_cross_entropy(fresh, batch.y));
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_true(isnan(hk_tensor_item(loss)));
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_int_equal(hk_backward(t.ctx, loss), HK_ERR_STALE);
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_int_equal(hk_tensor_read(logits, values, sizeof values), HK_ERR_STALE);
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_null(hk_tensor_data(logits));
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_null(hk_grad(logits));
        expect_error(t.ctx, HK_ERR_STALE, age);
        assert_null(hk_tensor_keep(logits));
        expect_error(t.ctx, HK_ERR_STALE, "hk_tensor_keep");
        hk_context_destroy(t.ctx);
    }
}

/* --- errors in the middle of a step --------------------------------------------------------- */

/* What breaks a step after its forward pass, and what is reported. */
typedef hk_tensor *breaker(training *t, hk_tensor *logits, const hk_batch *batch);

static hk_tensor *bad_shape(training *t, hk_tensor *logits, const hk_batch *batch) {
    (void)batch;
    return hk_mse(logits, hk_full(t->ctx, HK_F32, HK_SHAPE(5, 5), 0));
}
static hk_tensor *bad_label(training *t, hk_tensor *logits, const hk_batch *batch) {
    (void)t;
    element_put(batch->y, 1, 99);
    return hk_cross_entropy(logits, batch->y);
}
static hk_tensor *own_error(training *t, hk_tensor *logits, const hk_batch *batch) {
    hk_fail(t->ctx, HK_ERR_IO, "user", "the plug was pulled");
    return hk_cross_entropy(logits, batch->y);
}
static hk_tensor *no_loss(training *t, hk_tensor *logits, const hk_batch *batch) {
    (void)t, (void)logits, (void)batch;
    return NULL;
}

static void errors_in_a_step(void **state) {
    (void)state;
    static const struct {
        breaker *fn;
        hk_status status;
        const char *message;
    } rows[] = {
        {bad_shape, HK_ERR_SHAPE, "(5, 5)"},
        {bad_label, HK_ERR_ARGUMENT, "99"},
        {own_error, HK_ERR_IO, "[user] the plug was pulled"},
        {no_loss, HK_ERR_ARGUMENT, "[backward] no tensor was given"},
    };
    const recipe r = {
        .in = 12, .hidden = {7}, .classes = 3, .items = 20, .batch = 8, .optimizer = "adam"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (on_gpu() && rows[i].fn == bad_label) continue; /* told at the end of the step */
        training good = begin(&r), bad = begin(&r);
        for (int step = 0; step < 6; step++) {
            const hk_batch batch = next_batch(&good);
            train_step(good.ctx, good.net, good.opt, &batch);
            if (step == 3) { /* the other run has an accident with a batch of its own */
                const hk_parameters all = hk_module_parameters(bad.net);
                const uint64_t before = fingerprint(all);
                const int64_t steps = hk_optimizer_steps(bad.opt);
                hk_optimizer_zero_grad(bad.opt);
                float pixels[8 * 12] = {0};
                int32_t labels[8] = {0};
                const hk_batch own = {.x = hk_constant(bad.ctx, HK_F32, HK_SHAPE(8, 12), pixels),
                                      .y = hk_constant(bad.ctx, HK_I32, HK_SHAPE(8), labels)};
                hk_tensor *loss = rows[i].fn(&bad, hk_forward(bad.net, own.x), &own);
                assert_null(loss);
                assert_int_equal(hk_backward(bad.ctx, loss), rows[i].status);
                assert_int_equal(hk_optimizer_step(bad.opt), rows[i].status);
                hk_batch none;
                assert_false(hk_loader_next(bad.loader, &none));
                assert_null(none.x);
                assert_null(hk_forward(bad.net, own.x));
                assert_int_equal(hk_step_end(bad.ctx), rows[i].status);
                assert_int_equal(hk_step_end(bad.ctx), rows[i].status); /* it is sticky */
                assert_true(fingerprint(all) == before);
                assert_int_equal(hk_optimizer_steps(bad.opt), steps);
                expect_error(bad.ctx, rows[i].status, rows[i].message);
            }
            const hk_batch same = next_batch(&bad);
            train_step(bad.ctx, bad.net, bad.opt, &same);
            assert_ok(bad.ctx);
        }
        /* As if nothing had happened. */
        assert_true(fingerprint(hk_module_parameters(good.net)) ==
                    fingerprint(hk_module_parameters(bad.net)));
        hk_context_destroy(good.ctx);
        hk_context_destroy(bad.ctx);
    }
}

static void old_tape(void **state) {
    (void)state;
    const recipe r = {
        .in = 12, .hidden = {7}, .classes = 3, .items = 20, .batch = 8, .optimizer = "sgd"};
    training t = begin(&r);
    const hk_batch batch = next_batch(&t);
    hk_tensor *loss = hk_cross_entropy(hk_forward(t.net, batch.x), batch.y);
    assert_int_equal(hk_backward(t.ctx, loss), HK_OK);
    assert_int_equal(hk_optimizer_step(t.opt), HK_OK);
    assert_int_equal(hk_backward(t.ctx, loss), HK_ERR_GRADIENT); /* the weights have moved */
    expect_error(t.ctx, HK_ERR_GRADIENT, "computed before the last optimizer step");
    assert_int_equal(hk_step_end(t.ctx), HK_OK);
    hk_context_destroy(t.ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_after_the_second_step),
        cmocka_unit_test(no_allocation_in_evaluation),
        cmocka_unit_test(stale_tensors),
        cmocka_unit_test(errors_in_a_step),
        cmocka_unit_test(old_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
