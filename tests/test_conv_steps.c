/* ctest: labels=unit,grad timeout=120 devices=cpu,cuda */
/* test_conv_steps.c: networks of convolutions, step after step: the same bits on any number of
   threads and for an image alone, no allocation after the second step, and a bad image spoils no
   other.
   SPDX-License-Identifier: MIT */
#include "hk_layers.h"
#include "hk_optim.h"
#include "testing.h"

#include <errno.h>
#include <stdatomic.h>

/* --- counting allocations, those of any thread and library ------------------------------------ */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static atomic_int allocations;

#if defined(__GLIBC__) && !defined(SANITIZED)
enum { CAN_COUNT = 1 };
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *aligned_alloc(size_t alignment, size_t size);

static void count(void) { atomic_fetch_add(&allocations, 1); }
void *malloc(size_t size) { return count(), __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return count(), __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return count(), __libc_realloc(p, size); }
void *aligned_alloc(size_t alignment, size_t size) {
    return count(), __libc_memalign(alignment, size);
}
int posix_memalign(void **p, size_t alignment, size_t size) {
    count();
    *p = __libc_memalign(alignment, size);
    return *p ? 0 : ENOMEM;
}
#else
enum { CAN_COUNT = 0 };
#endif

/* --- networks --------------------------------------------------------------------------------- */

#define POOL hk_max_pool2d(ctx, &(hk_pool2d_config){.kernel = HK_SQUARE(2)})
#define RELU hk_activation(ctx, "relu")
#define CONV(in, out, k, ...)                                                                      \
    hk_conv2d(ctx, in, out, HK_SQUARE(k), &(hk_conv2d_config){__VA_ARGS__})

static hk_module *small_images(hk_context *ctx) {
    return hk_sequential(ctx, CONV(1, 8, 3, .padding = {1, 1}), RELU, POOL,
                         CONV(8, 16, 3, .padding = {1, 1}), RELU, POOL);
}
static hk_module *lenet_images(hk_context *ctx) {
    return hk_sequential(ctx, CONV(1, 32, 5, .padding = {2, 2}), RELU, POOL,
                         CONV(32, 64, 5, .padding = {2, 2}), RELU, POOL);
}
/* A little of everything, nothing of it run together; ends in (n, 4, 10, 10). */
static hk_module *mixed_images(hk_context *ctx) {
    const hk_conv2d_config back = {.stride = {1, 2}, .output_padding = {0, 1}};
    return hk_sequential(ctx, CONV(1, 2, 3, .padding = {1, 1}), hk_activation(ctx, "tanh"),
                         CONV(2, 6, 3, .stride = {2, 3}), RELU,
                         CONV(6, 6, 3, .groups = 6, .padding = {1, 1}), hk_activation(ctx, "glu"),
                         CONV(6, 4, 3, .dilation = {2, 2}), RELU,
                         hk_conv_transpose2d(ctx, 4, 4, (hk_pair){2, 1}, &back));
}

static const struct recipe {
    const char *name;
    hk_module *(*images)(hk_context *ctx);
    int64_t features;
} recipes[] = {{"small", small_images, 16 * 49},
               {"lenet", lenet_images, 64 * 49},
               {"mixed", mixed_images, 4 * 10 * 10}};

typedef struct training {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_tensor *x, *labels; /* as many as the largest batch */
} training;

static hk_tensor *images(hk_context *ctx, int64_t n) {
    return seeded(ctx, HK_F32, HK_SHAPE(n, 1, 28, 28), "images", -1, 1, 0);
}

static training begin(const struct recipe *r, int threads, int64_t most) {
    training t = {.ctx = new_context(threads, NULL)};
    hk_context *ctx = t.ctx;
    t.net = hk_sequential(ctx, r->images(ctx), hk_flatten(ctx), hk_linear(ctx, r->features, 10));
    must(hk_module_build(t.net, HK_SHAPE(-1, 1, 28, 28), "torch")); /* biases are not 0 */
    hk_sgd_config sgd = hk_sgd_defaults();
    sgd.lr = 0.05, sgd.momentum = 0.9;
    t.opt = hk_sgd(ctx, hk_module_parameters(t.net), sgd);
    t.x = images(ctx, most);
    t.labels = hk_tensor_new(ctx, HK_I32, HK_SHAPE(most));
    for (int i = 0; i < most; i++) element_put(t.labels, i, i * 7 % 10);
    assert_ok(ctx);
    return t;
}

static double step(const training *t, int64_t batch) {
    hk_optimizer_zero_grad(t->opt);
    hk_tensor *x = hk_slice(t->x, 0, 0, batch), *labels = hk_slice(t->labels, 0, 0, batch);
    hk_tensor *loss = hk_cross_entropy(hk_forward(t->net, x), labels);
    const double value = hk_tensor_item(loss);
    if (hk_backward(t->ctx, loss) || hk_optimizer_step(t->opt) || hk_step_end(t->ctx)) return NAN;
    return value;
}

/* --- threads ---------------------------------------------------------------------------------- */

static void assert_same_bits(const char *what, hk_tensor *a, hk_tensor *b) {
    const size_t size = hk_dtype_size(hk_tensor_dtype(a));
    assert_int_equal(hk_tensor_count(a), hk_tensor_count(b));
    const char *left = host(a), *right = host(b);
    for (int64_t i = 0; i < hk_tensor_count(a); i++)
        if (memcmp(left + (size_t)i * size, right + (size_t)i * size, size) != 0)
            fail_msg("%s: %s[%lld] differs", what, hk_tensor_name(a), (long long)i);
}

static void check_threads(const struct recipe *r, int64_t batch, int steps) {
    training t[3];
    double loss[3] = {0}, first = 0;
    for (int k = 0; k < 3; k++) {
        t[k] = begin(r, k + 1, batch);
        for (int s = 0; s < steps; s++) {
            loss[k] = step(&t[k], batch);
            if (s == 0) first = loss[k];
        }
        assert_ok(t[k].ctx);
        assert_true(isfinite(loss[k]) && loss[k] != first); /* it learns something */
        assert_true(loss[k] == loss[0]);
    }
    for (int k = 1; k < 3; k++) {
        char what[80];
        snprintf(what, sizeof what, "%s, batches of %lld, %d threads", r->name, (long long)batch,
                 k + 1);
        const hk_parameters one = hk_module_parameters(t[0].net),
                            more = hk_module_parameters(t[k].net);
        for (int i = 0; i < one.count; i++) {
            assert_same_bits(what, hk_grad(one.items[i]), hk_grad(more.items[i]));
            assert_same_bits(what, one.items[i], more.items[i]);
        }
    }
    for (int k = 0; k < 3; k++) hk_context_destroy(t[k].ctx);
}

static void same_bits_on_threads(void **state) {
    (void)state;
    static const int64_t batches[] = {64, 33, 9, 8, 7, 1};
    for (int64_t i = on_emulator() ? 4 : 0; i < COUNT(batches); i++) {
        check_threads(&recipes[0], batches[i], 4);
        check_threads(&recipes[2], batches[i], 4);
    }
    if (on_emulator()) return;
    check_threads(&recipes[1], CAN_COUNT ? 64 : 17, 2); /* sanitizers take their time */
    check_threads(&recipes[1], 5, 2);
}

/* The gradients by the images themselves. */
static void gradients_by_images(void **state) {
    (void)state;
    for (int64_t k = 0; k < COUNT(recipes); k++) {
        hk_tensor *x[3], *y[3];
        hk_context *ctx[3];
        for (int i = 0; i < 3; i++) {
            ctx[i] = new_context(i + 1, NULL);
            x[i] = hk_require_grad(images(ctx[i], on_emulator() ? 2 : 13));
            y[i] = hk_forward(recipes[k].images(ctx[i]), x[i]);
            must(hk_backward(ctx[i], hk_sum(hk_mul(y[i], y[i]), HK_ALL_AXES, false)));
            assert_same_bits(recipes[k].name, y[0], y[i]);
            assert_same_bits(recipes[k].name, hk_grad(x[0]), hk_grad(x[i]));
        }
        for (int i = 0; i < 3; i++) hk_context_destroy(ctx[i]);
    }
}

/* --- one image alone -------------------------------------------------------------------------- */

static void batches_and_images(void **state) {
    (void)state;
    for (int i = 0; isa_number(i); i++) {
        hk_context *ctx = new_context(2, isa_number(i));
        hk_grad_enable(ctx, false);
        for (int64_t k = 0; k < COUNT(recipes); k++) {
            hk_module *net = recipes[k].images(ctx);
            hk_module_train(net, false);
            const int64_t many = on_emulator() ? 3 : 11;
            hk_tensor *x = images(ctx, many), *all = hk_forward(net, x);
            for (int64_t n = 0; n < many; n++)
                assert_same_bits(recipes[k].name, hk_contiguous(hk_slice(all, 0, n, 1)),
                                 hk_forward(net, hk_slice(x, 0, n, 1)));
            assert_ok(ctx);
            must(hk_step_end(ctx));
            hk_tensor_destroy(x);
        }
        hk_context_destroy(ctx);
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

static void no_allocation_after_the_second_step(void **state) {
    (void)state;
    if (!CAN_COUNT || on_gpu()) {
        print_message("needs glibc, and no sanitizer\n");
        skip();
    }
    for (int64_t k = 0; k < 2 * COUNT(recipes); k++) {
        const training t = begin(&recipes[k / 2], 1 + (int)(k % 2), 17);
        assert_true(atomic_load(&allocations) > 0); /* or the counters are not in place */
        int before = 0;
        for (int s = 0; s < 8; s++) {
            if (s == 2) before = atomic_load(&allocations);
            const double loss = step(&t, s % 3 == 2 ? 5 : 17); /* the last batch is smaller */
            assert_true(isfinite(loss));
        }
        const int more = atomic_load(&allocations) - before;
        if (more != 0) fail_msg("%s: %d allocations", recipes[k / 2].name, more);
        hk_context_destroy(t.ctx);
    }
}

/* --- what is not finite ----------------------------------------------------------------------- */

typedef hk_tensor *op_fn(hk_tensor *x, hk_tensor *w, hk_tensor *b, const hk_conv2d_config *config);

/* x of a batch, all finite but one element. */
static hk_tensor *spoiled(hk_context *ctx, hk_shape shape, int64_t at, float value) {
    hk_tensor *x = seeded(ctx, HK_F32, shape, "spoiled", -1, 1, 0);
    if (at >= 0) element_put(x, at, (double)value);
    return hk_require_grad(x);
}

/* Elements that are not finite: some, all in that range; so many, if bad is not negative. */
static void check_range(const char *what, hk_tensor *t, int64_t first, int64_t end, int64_t bad) {
    const float *v = host(t);
    int64_t found = 0;
    for (int64_t i = 0; i < hk_tensor_count(t); i++) {
        if (isfinite(v[i])) continue;
        found++;
        if (i < first || i >= end) fail_msg("%s[%lld] is %g", what, (long long)i, (double)v[i]);
    }
    if (bad >= 0) assert_int_equal(found, bad);
    assert_true(found > 0);
}

static void check_spoiled(hk_context *ctx, op_fn *op, int64_t channels, float value) {
    const hk_conv2d_config config = {.groups = 2, .padding = {1, 1}};
    const hk_shape shape = HK_SHAPE(3, 2 * channels, 9, 10);
    hk_tensor *w = hk_require_grad(
        seeded(ctx, HK_F32, HK_SHAPE(2 * channels, channels, 3, 3), "w", 0.1, 1, 0));
    const int64_t image = 2 * channels * 90;
    /* Row 4, column 6, channel 0 of image 1: it reaches 9 windows of each channel of its group. */
    hk_tensor *x = spoiled(ctx, shape, image + 46, value), *g = spoiled(ctx, shape, -1, 0);
    hk_tensor *y = op(x, w, HK_NO_BIAS, &config), *whole = hk_contiguous(y);
    /* A transposed one adds whole vectors, and infinity times the zeros behind a window is NaN. */
    check_range("y", whole, image, image + channels * 90, op == hk_conv2d_op ? 9 * channels : -1);
    must(hk_backward_from(ctx, y, g));
    const float *gx = host(hk_grad(x));
    for (int64_t i = 0; i < 3 * image; i++) /* x is not in its own gradient */
        assert_true(isfinite(gx[i]));
    must(hk_step_end(ctx));
    hk_tensor_destroy(x), hk_tensor_destroy(g);
    x = spoiled(ctx, shape, -1, 0), g = spoiled(ctx, shape, image + 46, value);
    must(hk_backward_from(ctx, op(x, w, HK_NO_BIAS, &config), g));
    check_range("gx", hk_grad(x), image, 2 * image, -1);
    must(hk_step_end(ctx));
    hk_tensor_destroy(x), hk_tensor_destroy(g), hk_tensor_destroy(w);
}

static void a_bad_image_spoils_no_other(void **state) {
    (void)state;
    static const int64_t channels[] = {1, 2, 4, 16, 17};
    for (int i = 0; isa_number(i); i++) {
        hk_context *ctx = new_context(1, isa_number(i));
        for (int64_t k = 0; k < 4 * COUNT(channels); k++)
            check_spoiled(ctx, k % 2 ? hk_conv_transpose2d_op : hk_conv2d_op, channels[k / 4],
                          k / 2 % 2 ? NAN : -INFINITY);
        hk_context_destroy(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_on_threads),
        cmocka_unit_test(gradients_by_images),
        cmocka_unit_test(batches_and_images),
        cmocka_unit_test(no_allocation_after_the_second_step),
        cmocka_unit_test(a_bad_image_spoils_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
