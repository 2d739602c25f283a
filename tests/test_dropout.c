/* test_dropout.c: how much is dropped, what is kept, and what the mask depends on: seed, name
   and step alone; of elements and of whole channels.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

#include "context.h"
#include "hk_layers.h"

enum { N = 16384 };

typedef hk_tensor *drop_fn(hk_tensor *x, double p, const char *stream);

static hk_tensor *normals(hk_context *ctx, hk_dtype dtype) {
    static double value[N];
    for (int64_t i = 0; i < N; i++)
        value[i] = hk_random_normal(hk_random_stream(3, "normals", 0), (uint64_t)i);
    return kept(ctx, dtype, HK_SHAPE(N), value);
}

static void shares(void **state) {
    hk_context *ctx = *state;
    static const double ps[] = {0, 0.1, 0.25, 0.5, 0.9, 0.999};
    for (int64_t k = 0; k < 2 * COUNT(ps); k++) {
        const double p = ps[k / 2], sigma = sqrt(p * (1 - p) / N);
        const double *y = values(
            hk_dropout_op(hk_full(ctx, k % 2 ? HK_F64 : HK_F32, HK_SHAPE(N), 3), p, "share"));
        double zeros = 0, sum = 0;
        for (int i = 0; i < N; i++) {
            zeros += y[i] == 0;
            sum += y[i];
            if (y[i] != 0) assert_close("kept", i, y[i], 3 / (1 - p), 1e-6 * y[i]);
        }
        assert_close("zeros", k, zeros / N, p, 3 * sigma);
        assert_close("mean", k, sum / N, 3, 3 * 3 * sigma / (1 - p) + 1e-6);
    }
}

/* N(0, 1) stays of mean 0 and variance 1. */
static void alpha_keeps_the_moments(void **state) {
    hk_context *ctx = *state;
    const double dropped = -1.7580993408473766;
    static const double ps[] = {0, 0.05, 0.1, 0.25, 0.5};
    for (int64_t k = 0; k < 2 * COUNT(ps); k++) {
        const double p = ps[k / 2], a = 1 / sqrt((1 - p) * (1 + p * dropped * dropped)),
                     b = -a * p * dropped;
        hk_tensor *x = normals(ctx, k % 2 ? HK_F64 : HK_F32);
        const double *in = values(x), *y = values(hk_alpha_dropout_op(x, p, "alpha"));
        double share = 0, mean = 0, square = 0;
        for (int i = 0; i < N; i++) {
            const bool gone = fabs(y[i] - (a * dropped + b)) < 1e-6;
            share += gone / (double)N;
            mean += y[i] / N;
            square += y[i] * y[i] / N;
            if (!gone) assert_close("kept", i, y[i], a * in[i] + b, 1e-6 * (1 + fabs(y[i])));
        }
        /* Four standard errors: the input itself is off its moments by one. */
        assert_close("share", k, share, p, 4 * sqrt(p * (1 - p) / N) + 1e-4);
        assert_close("mean", k, mean, 0, 4 / sqrt(N));
        assert_close("variance", k, square - mean * mean, 1, 4 * sqrt(3.0 / N));
    }
}

/* The gradient and the direction are the mask times the scale: zero exactly where the output was
   dropped. */
static void one_mask_for_all(void **state) {
    hk_context *ctx = *state;
    drop_fn *const fns[] = {hk_dropout_op, hk_alpha_dropout_op};
    for (int k = 0; k < 4; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        hk_tensor *x = hk_require_grad(normals(ctx, dtype));
        hk_tensor *y = fns[k / 2](x, 0.4, "mask"), *one = hk_full(ctx, dtype, HK_SHAPE(N), 1);
        must(hk_backward_from(ctx, y, one));
        const double *g = values(hk_grad(x)), *t = values(hk_jvp(ctx, y, 1, &x, &one)),
                     *out = values(y);
        const double scale = g[0] > g[1] ? g[0] : g[1];
        assert_true(scale > 0.5);
        int64_t dropped = 0;
        double off = NAN;
        for (int i = 0; i < N; i++) {
            assert_true(g[i] == 0 || g[i] == scale);
            assert_close("direction", i, t[i], g[i], 0);
            if (g[i] != 0) continue;
            dropped++;
            if (isnan(off)) off = out[i];
            assert_close("dropped", i, out[i], off, 0);
        }
        assert_close("share", k, (double)dropped / N, 0.4, 0.02);
        must(hk_step_end(ctx));
    }
}

/* The mask of dropout on ones, after `steps` training steps and `noise` other draws. */
static void mask_of(const char *stream, uint64_t seed, int threads, int steps, int noise,
                    const char *isa, uint8_t *mask) {
    hk_context *ctx =
        test_context(&(hk_context_config){.threads = threads, .seed = seed, .isa = isa});
    assert_ok(ctx);
    hk_tensor *w = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(1)));
    for (int s = 0; s < steps; s++) {
        must(hk_backward(ctx, hk_mul(w, w)));
        must(hk_step_end(ctx));
    }
    for (int s = 0; s < noise; s++) { /* other draws, and steps that train nothing */
        assert_non_null(hk_dropout_op(hk_full(ctx, HK_F32, HK_SHAPE(7), 1), 0.5, "another"));
        must(hk_step_end(ctx));
    }
    const double *y = values(hk_dropout_op(hk_full(ctx, HK_F32, HK_SHAPE(N), 1), 0.5, stream));
    for (int i = 0; i < N; i++) mask[i] = y[i] != 0;
    assert_int_equal(hk__pool_parallel_regions(ctx->pool) > 0, threads > 1 && !on_gpu());
    hk_context_destroy(ctx);
}

static double agreement(const uint8_t *a, const uint8_t *b) {
    double same = 0;
    for (int i = 0; i < N; i++) same += a[i] == b[i];
    return same / N;
}

static void what_the_mask_depends_on(void **state) {
    (void)state;
    static uint8_t base[N], other[N];
    mask_of("d", 1, 1, 2, 0, NULL, base);
    mask_of("d", 1, 1, 2, 0, NULL, other);
    assert_close("again", 0, agreement(base, other), 1, 0);
    mask_of("d", 1, 2, 2, 0, NULL, other);
    assert_close("threads", 0, agreement(base, other), 1, 0);
    mask_of("d", 1, 1, 2, 3, NULL, other);
    assert_close("other draws", 0, agreement(base, other), 1, 0);
    mask_of("d", 1, 1, 2, 0, "base", other);
    assert_close("instruction set", 0, agreement(base, other), 1, 0);
    mask_of("e", 1, 1, 2, 0, NULL, other);
    assert_close("name", 0, agreement(base, other), 0.5, 0.02);
    mask_of("d", 2, 1, 2, 0, NULL, other);
    assert_close("seed", 0, agreement(base, other), 0.5, 0.02);
    mask_of("d", 1, 1, 3, 0, NULL, other);
    assert_close("step", 0, agreement(base, other), 0.5, 0.02);
}

/* Two calls with one name in one step share their mask; the shape in which elements lie does not
   matter. */
static void views_and_shapes(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = normals(ctx, HK_F32), *square = hk_reshape(x, HK_SHAPE(128, 128));
    const double *flat = values(hk_dropout_op(x, 0.5, "d"));
    const double *shaped = values(hk_dropout_op(square, 0.5, "d"));
    for (int i = 0; i < N; i++) assert_close("shape", i, shaped[i], flat[i], 0);
    const double *turned = values(hk_dropout_op(hk_transpose(square, 0, 1), 0.5, "d")),
                 *in = values(x);
    for (int i = 0; i < N; i++) {
        const double v = in[i % 128 * 128 + i / 128];
        assert_close("transposed", i, turned[i], flat[i] == 0 ? 0 : 2 * v, 0);
    }
}

/* --- whole channels --------------------------------------------------------------------------- */

enum { IMAGES = 40, CHANNELS = 25, HIGH = 3, WIDE = 5, PLANE = HIGH * WIDE };

static hk_tensor *images(hk_context *ctx, hk_dtype dtype) {
    static double value[IMAGES * CHANNELS * PLANE];
    for (int64_t i = 0; i < COUNT(value); i++)
        value[i] = hk_random_normal(hk_random_stream(3, "images", 0), (uint64_t)i);
    return kept(ctx, dtype, HK_SHAPE(IMAGES, CHANNELS, HIGH, WIDE), value);
}

/* The draws of (n, c) are those of dropout for a tensor (n, c); output, gradient and direction of a channel are kept,
   times 1/(1 - p), or 0. */
static void channels(void **state) {
    hk_context *ctx = *state;
    for (int k = 0; k < 4; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const double p = k / 2 ? 0.6 : 0.2;
        hk_tensor *x = images(ctx, dtype),
                  *pairs = hk_full(ctx, dtype, HK_SHAPE(IMAGES, CHANNELS), 1),
                  *one = hk_full(ctx, dtype, HK_SHAPE(IMAGES, CHANNELS, HIGH, WIDE), 1);
        static double mask[IMAGES * CHANNELS];
        memcpy(mask, values(hk_dropout_op(pairs, p, "channels")), sizeof mask);
        hk_tensor *y = hk_dropout2d_op(hk_require_grad(x), p, "channels");
        must(hk_backward_from(ctx, y, one));
        const double *in = values(x), *out = values(y), *g = values(hk_grad(x)),
                     *t = values(hk_jvp(ctx, y, 1, &x, &one));
        double share = 0;
        for (int64_t i = 0; i < COUNT(mask) * PLANE; i++) {
            const double m = mask[i / PLANE];
            assert_true(m == 0 || fabs(m - 1 / (1 - p)) < 1e-6);
            assert_close("y", i, out[i], m * in[i], 1e-6 * fabs(out[i]));
            assert_close("gradient", i, g[i], m, 0);
            assert_close("direction", i, t[i], m, 0);
            share += (m == 0) / (double)(COUNT(mask) * PLANE);
        }
        assert_close("share", k, share, p, 3 * sqrt(p * (1 - p) / (IMAGES * CHANNELS)));
        must(hk_step_end(ctx));
    }
}

static hk_tensor *drop_channels(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    return hk_dropout2d_op(arg ? hk_transpose(in[0], 1, 3) : in[0], 0.4, "check");
}

static void channels_edges(void **state) {
    hk_context *ctx = *state;
    hk_tensor *small = seeded(ctx, HK_F64, HK_SHAPE(3, 4, 2, 4), "x", 0.5, 2, 0);
    assert_gradient(ctx, "dropout2d", drop_channels, NULL, 1, &small, NULL);
    assert_gradient(ctx, "dropout2d of a view", drop_channels, ctx, 1, &small, NULL);

    /* A channel that is dropped is 0, whatever was in it. */
    hk_tensor *bad = hk_full(ctx, HK_F32, HK_SHAPE(64, 2, 4), NAN);
    const double *y = values(hk_dropout2d_op(bad, 0.5, "bad"));
    int zeros = 0;
    for (int i = 0; i < 64 * 2; i++) {
        assert_true(y[4 * i] == 0 || isnan(y[4 * i]));
        for (int j = 1; j < 4; j++) assert_int_equal(isnan(y[4 * i + j]), isnan(y[4 * i]));
        zeros += y[4 * i] == 0;
    }
    assert_true(zeros > 30 && zeros < 98);

    hk_tensor *flat = hk_full(ctx, HK_F32, HK_SHAPE(8), 1);
    assert_null(hk_dropout2d_op(flat, 0.5, "flat"));
    expect_error(ctx, HK_ERR_SHAPE, "[dropout2d] x must be (n, c) or (n, c, ...), not (8)");
    assert_null(hk_dropout2d_op(bad, 1, "all"));
    expect_error(ctx, HK_ERR_ARGUMENT, "[dropout2d] p must be in [0, 1), not 1");
    assert_null(hk_dropout2d_op(NULL, 0.5, "none"));
    assert_null(hk_dropout2d(ctx, -0.5));
    expect_error(ctx, HK_ERR_ARGUMENT, "[dropout2d] p must be in [0, 1), not -0.5");
    assert_shape(hk_dropout2d_op(hk_full(ctx, HK_F32, HK_SHAPE(0, 3, 2, 2), 1), 0.5, "empty"),
                 HK_SHAPE(0, 3, 2, 2));
    assert_ok(ctx);
}

/* The module draws by its place among its like; evaluation passes its input through. */
static void channels_module(void **state) {
    hk_context *ctx = *state;
    hk_module *first = hk_dropout2d(ctx, 0.5), *second = hk_dropout2d(ctx, 0.5);
    hk_module *net = hk_sequential(ctx, hk_dropout(ctx, 0), first, second);
    hk_tensor *x = images(ctx, HK_F32), *y = hk_forward(net, x);
    hk_tensor *once = hk_dropout2d_op(x, 0.5, "dropout/dropout2d0"),
              *again = hk_dropout2d_op(once, 0.5, "dropout/dropout2d1");
    assert_ok(ctx);
    const int64_t n = hk_tensor_count(x);
    assert_values("first", hk_forward(first, x), n, values(once), 0);
    assert_values("both", y, n, values(again), 0);
    hk_module_train(net, false);
    assert_ptr_equal(hk_forward(net, x), x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shares, setup, teardown),
        cmocka_unit_test_setup_teardown(alpha_keeps_the_moments, setup, teardown),
        cmocka_unit_test_setup_teardown(one_mask_for_all, setup, teardown),
        cmocka_unit_test(what_the_mask_depends_on),
        cmocka_unit_test_setup_teardown(views_and_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(channels, setup, teardown),
        cmocka_unit_test_setup_teardown(channels_edges, setup, teardown),
        cmocka_unit_test_setup_teardown(channels_module, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
