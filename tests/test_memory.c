/* ctest: labels=unit timeout=60 */
/* test_memory.c: every allocation fails once, and training steps allocate nothing after the
   second.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "allocation_fixture.h"
#include "context.h"

/* --- a little of everything that takes memory ------------------------------------------------ */

typedef struct net {
    hk_tensor *x, *w, *b, *alpha, *labels;
} net;

static bool make(hk_context *ctx, net *n) {
    n->x = hk_tensor_new(ctx, HK_F32, HK_SHAPE(64, 300));
    n->w = hk_tensor_set_name(hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(200, 300))), "w");
    n->b = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(200)));
    n->alpha = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(200)));
    n->labels = hk_tensor_new(ctx, HK_I32, HK_SHAPE(64));
    if (!n->x || !n->w || !n->b || !n->alpha || !n->labels) return false;
    static float x[64 * 300], w[200 * 300];
    int32_t labels[64];
    for (int i = 0; i < 64 * 300; i++) x[i] = (float)(i % 17) / 17 - 0.4F;
    for (int i = 0; i < 200 * 300; i++) w[i] = (float)(i % 29) / 29 - 0.5F;
    for (int i = 0; i < 64; i++) labels[i] = i % 10;
    host_done(n->x, x), host_done(n->w, w), host_done(n->labels, labels);
    return true;
}

static hk_tensor *forward(hk_context *ctx, const net *n) {
    hk_activation_spec spec;
    if (hk_activation_parse(ctx, "prelu", &spec)) return NULL;
    hk_tensor *h = hk_activate_with(hk_affine(n->x, n->w, n->b), &spec, (hk_tensor *[]){n->alpha});
    h = hk_dropout_op(hk_div(hk_sub(h, hk_mean(h, HK_AXIS(0), true)),
                             hk_sqrt(hk_scale(hk_var(h, HK_AXIS(0), 1, true), 1, 1e-3))),
                      0.2, "d");
    hk_tensor *left = hk_slice(h, 1, 0, 100), *right = hk_slice(h, 1, 100, 100);
    hk_tensor *both =
        hk_stack(2, (hk_tensor *[]){left, hk_where(hk_less(left, right), left, right)}, 0);
    hk_tensor *gram = hk_matmul(both, hk_transpose(both, 1, 2));
    hk_tensor *rows = hk_gather_rows(hk_max(gram, HK_AXIS(0), false), n->labels);
    hk_tensor *logits = hk_slice(
        hk_softmax(hk_pad(rows, (const int64_t[]){0, 1}, (const int64_t[]){0, 0}, 0), 0), 1, 1, 10);
    if (isnan(hk_accuracy(logits, n->labels))) return NULL;
    return hk_cross_entropy(hk_scale(logits, 100, 0), n->labels);
}

static hk_tensor *softened(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_log_softmax(hk_mul(in[0], in[0]), 0);
}

/* Some steps; the loss of the last, NaN if something failed. */
static double steps(hk_context *ctx, const net *n, int count) {
    double loss = NAN;
    for (int s = 0; s < count; s++) {
        hk_tensor *y = forward(ctx, n);
        loss = hk_tensor_item(y);
        if (hk_backward(ctx, y)) loss = NAN;
        hk_zero_grad(n->w), hk_zero_grad(n->b), hk_zero_grad(n->alpha);
        if (hk_step_end(ctx)) loss = NAN;
    }
    return loss;
}

static double train(hk_context *ctx) {
    net n;
    if (!make(ctx, &n)) return NAN;
    const double loss = steps(ctx, &n, 3);
    hk_tensor *in = hk_tensor_keep(hk_cast(hk_slice(n.x, 1, 0, 2), HK_F64)),
              *few = hk_tensor_new(ctx, HK_F64, HK_SHAPE(3));
    if (few) host_done(few, (const double[]){.5, 1, 2});
    const hk_status checked =
        few && in ? hk_gradcheck(ctx, softened, NULL, 1, &few, NULL, NULL) : HK_ERR_MEMORY;
    return checked ? NAN : loss;
}

static const hk_context_config config = {.threads = 2, .seed = 1, .no_blas = true};

static void every_allocation_fails_once(void **state) {
    (void)state;
    if (!HK_REPLACED) skip();
    hk_context *ctx = NULL;
    double want = NAN;
    for (int warm = 0; warm < 2;
         warm++) { /* threads' stacks and the like stay with the C library */
        ctx = test_context(&config);
        want = train(ctx);
        hk_context_destroy(ctx);
    }
    assert_true(isfinite(want));
    for (int mode = 0; mode < 2; mode++) {
        long long n = 0, reported = 0, null = 0, harmless = 0;
        for (;; n++) {
            const long long before = atomic_load(&live);
            atomic_store(&failures, 0);
            atomic_store(&and_after, mode == 1);
            atomic_store(&allocations, 0);
            atomic_store(&fail_at, n);
            ctx = test_context(&config);
            const double got = train(ctx);
            atomic_store(&fail_at, -1);
            const long long failed = atomic_load(&failures);
            if (!ctx)
                null++;
            else if (hk_error(ctx) == HK_ERR_MEMORY) {
                reported++;
                assert_true(isnan(got) && *hk_error_message(ctx));
                /* With memory back, the same context goes on. One without its threads stays in
                   error's state. */
                hk_error_clear(ctx);
                must(hk_step_end(ctx));
                const double again = train(ctx);
                if (hk_context_describe(ctx).threads == 2 && !is_close(again, want, 0.2 * want))
                    fail_msg("after failure %lld the loss is %g instead of %g: %s", n, again, want,
                             hk_error_message(ctx));
            } else { /* it could do without: the results must be right */
                harmless += failed > 0;
                assert_ok(ctx);
                assert_close("loss", n, got, want, 0);
            }
            hk_context_destroy(ctx);
            if (atomic_load(&live) != before)
                fail_msg("failure %lld leaks %lld blocks", n, atomic_load(&live) - before);
            if (failed == 0) break;
        }
        print_message("%lld allocations failed%s: %lld gave no context, %lld were reported, %lld "
                      "did no harm\n",
                      n, mode ? " with all after them" : "", null, reported, harmless);
        assert_true(n > 30 && null >= 1 && reported > 20);
    }
}

static void steps_allocate_nothing(void **state) {
    (void)state;
    if (!HK_REPLACED) skip();
    for (int threads = 1; threads <= 2; threads++) {
        hk_context *ctx = new_context(threads, NULL);
        net n;
        assert_true(make(ctx, &n));
        for (int s = 1; s <= 20; s++) {
            atomic_store(&allocations, 0);
            const double loss = steps(ctx, &n, 1);
            const long long count = atomic_load(&allocations);
            assert_true(isfinite(loss));
            if (s == 1) assert_true(count > 0); /* the counter counts */
            if (s > 2 && count > 0) fail_msg("step %d allocates %lld times", s, count);
            for (int i = 0; i < 100; i++) element_put(n.w, i, element_get(n.w, i) * 0.99);
        }
        hk_context_destroy(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(steps_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
