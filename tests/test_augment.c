/* test_augment.c: variants of images: what is drawn and what is computed from it.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 */
#include <math.h>

#include "augment.h"
#include "context.h"
#include "data_fixture.h"
#include "hk_random.h"

enum { H = 9, W = 7, PIXELS = H * W };

static const hk_augment strong = {
    .shift = 2, .rotation = 30, .scale = 0.3, .elastic_alpha = 20, .elastic_sigma = 2};

/* --- given parameters ----------------------------------------------------------------------- */

static void fill(int64_t n, uint8_t *bytes) {
    for (int64_t i = 0; i < n; i++) bytes[i] = (uint8_t)(i * 167 + i / 5);
}

/* The variant of one image for given draws; `out` of the context's type. */
static void apply(hk_context *ctx, const hk_augment *set, hk_dataset *ds,
                  const hk__augment_draw *draw, const uint32_t *noise, void *out) {
    hk__augment *a = NULL;
    hk__augment_run run;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    assert_int_equal(hk__augment_new(ctx, set, ds->item, &a), HK_OK);
    assert_non_null(a);
    assert_int_equal(hk__augment_begin(ctx, a, ds, 0, &run), HK_OK);
    memset(run.room, 0xFF, run.stride); /* NaN: what is read must have been written */
    hk__augment_apply(&run, 0, draw, noise, ds->items, out);
    for (size_t i = run.noise; i < run.stride; i++) /* nothing was written behind the room */
        assert_true(((const uint8_t *)run.room)[i] == 0xFF);
    hk__augment_free(a);
    hk__arena_rewind(&ctx->scratch, mark);
}

static void nothing_to_do_changes_nothing(void **state) {
    (void)state;
    uint8_t bytes[2 * PIXELS];
    float f32[2 * PIXELS];
    double f64[2 * PIXELS];
    fill(2 * PIXELS, bytes);
    for (int i = 0; i < 2 * PIXELS; i++) {
        f32[i] = (float)bytes[i] / 3;
        f64[i] = bytes[i] / 7.0 - 10;
    }
    const void *items[] = {bytes, f32, f64};
    const hk_dtype types[] = {HK_U8, HK_F32, HK_F64};
    const hk__augment_draw identity = {.factor = 1};
    for (int type = 0; type < 3; type++)
        for (hk_dtype to = HK_F32; to <= HK_F64; to++) {
            hk_context *ctx = make(to, 1, 0);
            hk_dataset *ds =
                hk_dataset_from(ctx, 1, HK_SHAPE(2, H, W), types[type], items[type], NULL, 0);
            assert_int_equal(hk_dataset_scale(ds, 0.3, -0.123), HK_OK);
            double out[2 * PIXELS];
            apply(ctx, &strong, ds, &identity, NULL, out);
            hk_batch b;
            assert_true(hk_loader_next(load(ds, 1, false, NULL), &b));
            assert_memory_equal(out, host(b.x), 2 * PIXELS * hk_dtype_size(to));
            hk_context_destroy(ctx);
        }
}

static void whole_pixels_move_exactly(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    uint8_t bytes[2 * PIXELS];
    fill(2 * PIXELS, bytes);
    hk_dataset *ds = hk_dataset_from(ctx, 1, HK_SHAPE(2, H, W), HK_U8, bytes, NULL, 0);
    assert_int_equal(hk_dataset_scale(ds, 1, 0), HK_OK);
    for (int64_t down = -H - 1; down <= H + 1; down++)
        for (int64_t right = -W - 1; right <= W + 1; right++) {
            const hk__augment_draw draw = {
                .down = (double)down, .right = (double)right, .factor = 1};
            float out[2 * PIXELS];
            apply(ctx, &(hk_augment){.shift = 3}, ds, &draw, NULL, out);
            for (int64_t k = 0; k < 2 * PIXELS; k++) {
                const int64_t i = k / W % H - down, j = k % W - right;
                const bool inside = i >= 0 && i < H && j >= 0 && j < W;
                assert_true(out[k] == (inside ? bytes[k / PIXELS * PIXELS + i * W + j] : 0));
            }
        }
    hk_context_destroy(ctx);
}

static void a_quarter_turn(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    /* An L becomes a lying one: its foot, to the right, goes up. */
    static const float picture[25] = {0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0,
                                      0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0},
                       turned[25] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
                                     1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0};
    hk_dataset *ds = hk_dataset_from(ctx, 1, HK_SHAPE(1, 5, 5), HK_F32, picture, NULL, 0);
    const hk_augment set = {.rotation = 90};
    hk__augment_draw draw = {.degrees = 90, .factor = 1};
    float out[25];
    apply(ctx, &set, ds, &draw, NULL, out);
    for (int i = 0; i < 25; i++) assert_true(fabsf(out[i] - turned[i]) <= 1e-5F);
    draw.degrees = -90;
    ds = hk_dataset_from(ctx, 1, HK_SHAPE(1, 5, 5), HK_F32, turned, NULL, 0);
    apply(ctx, &set, ds, &draw, NULL, out);
    for (int i = 0; i < 25; i++) assert_true(fabsf(out[i] - picture[i]) <= 1e-5F);

    /* Twice as large, around the middle: every second pixel is one of the image. */
    draw = (hk__augment_draw){.factor = 2};
    apply(ctx, &set, ds, &draw, NULL, out);
    for (int i = 0; i < 5; i += 2)
        for (int j = 0; j < 5; j += 2)
            assert_true(out[i * 5 + j] == turned[(i + 2) / 2 * 5 + (j + 2) / 2]);
    hk_context_destroy(ctx);
}

/* --- against a plain computation in double ---------------------------------------------------- */

typedef struct warp_case {
    int64_t channels, h, w;
    hk__augment_draw draw;
    double alpha, sigma;
} warp_case;

static double pixel(const warp_case *c, const double *image, int64_t i, int64_t j) {
    return i >= 0 && i < c->h && j >= 0 && j < c->w ? image[i * c->w + j] : 0;
}

/* One half of the noise at (i, j), smoothed in two dimensions at once. */
static double displacement(const warp_case *c, const uint32_t *noise, int half, int64_t i,
                           int64_t j) {
    const int64_t r = (int64_t)ceil(3 * c->sigma);
    double sum = 0, total = 0;
    for (int64_t u = -r; u <= r; u++)
        for (int64_t v = -r; v <= r; v++) {
            const double tap = exp(-(double)(u * u + v * v) / (2 * c->sigma * c->sigma));
            total += tap;
            if (i + u < 0 || i + u >= c->h || j + v < 0 || j + v >= c->w) continue;
            const uint32_t bits = noise[(i + u) * c->w + j + v] >> half & 0xFFFF;
            sum += tap * (((double)bits + 0.5) / 32768 - 1);
        }
    return c->alpha * sum / total;
}

static void plain_warp(const warp_case *c, const double *image, const uint32_t *noise,
                       double *out) {
    const double angle = c->draw.degrees * acos(-1) / 180;
    const double my = (double)(c->h - 1) / 2, mx = (double)(c->w - 1) / 2;
    for (int64_t i = 0; i < c->h; i++)
        for (int64_t j = 0; j < c->w; j++) {
            const double dy = ((double)i - my - c->draw.down) / c->draw.factor;
            const double dx = ((double)j - mx - c->draw.right) / c->draw.factor;
            const double y =
                my + cos(angle) * dy + sin(angle) * dx + displacement(c, noise, 0, i, j);
            const double x =
                mx - sin(angle) * dy + cos(angle) * dx + displacement(c, noise, 16, i, j);
            const int64_t top = (int64_t)floor(y), left = (int64_t)floor(x);
            const double b = y - (double)top, a = x - (double)left;
            for (int64_t k = 0; k < c->channels; k++) {
                const double *from = image + k * c->h * c->w;
                out[(k * c->h + i) * c->w + j] = (1 - b) * (1 - a) * pixel(c, from, top, left) +
                                                 (1 - b) * a * pixel(c, from, top, left + 1) +
                                                 b * (1 - a) * pixel(c, from, top + 1, left) +
                                                 b * a * pixel(c, from, top + 1, left + 1);
            }
        }
}

enum { LARGEST = 3 * 40 * 40 };
static double image[LARGEST], want[LARGEST];
static uint32_t noise[LARGEST];

/* Compares and leaves the bits in `out`; false if this processor has no such instructions. */
static bool compare(const warp_case *c, hk_dtype dtype, const char *isa, double tolerance,
                    void *out) {
    hk_context *ctx = test_context(
        &(hk_context_config){.dtype = dtype, .threads = 1, .isa = isa, .no_blas = true});
    const bool have = hk_error(ctx) == HK_OK;
    if (have) {
        const int64_t count = c->channels * c->h * c->w;
        hk_dataset *ds =
            hk_dataset_from(ctx, 1, HK_SHAPE(c->channels, c->h, c->w), HK_F64, image, NULL, 0);
        const hk_augment set = {
            .rotation = 1, .elastic_alpha = c->alpha, .elastic_sigma = c->sigma};
        apply(ctx, &set, ds, &c->draw, noise, out);
        for (int64_t i = 0; i < count; i++) {
            const double got =
                dtype == HK_F64 ? ((double *)out)[i] : (double)((const float *)out)[i];
            if (!(fabs(got - want[i]) <= tolerance))
                fail_msg("element %lld of (%lld, %lld, %lld): %g, not %g", (long long)i,
                         (long long)c->channels, (long long)c->h, (long long)c->w, got, want[i]);
        }
    }
    hk_context_destroy(ctx);
    return have;
}

static void agrees_with_a_plain_computation(void **state) {
    (void)state;
    static const warp_case cases[] = {
        {1, 28, 28, {1.25, -0.7, 12, 0.93}, 34, 4},   {3, 17, 33, {0, 0, 0, 1}, 34, 4},
        {2, 40, 5, {-3.1, 2.2, -170, 1.7}, 20, 1.3},  {1, 1, 1, {0.25, 0.5, 0, 1}, 0.3, 4},
        {1, 1, 40, {0, 11.4, 3, 0.8}, 3, 0.3},        {1, 13, 16, {0, 0, 45, 0.4}, 500, 40},
        {1, 32, 32, {40, -50, 0, 0.02}, 1e5, 0.001},  {1, 6, 6, {0.1, 0, 0, 1}, 1e-3, 0.6},
        {2, 31, 12, {0.5, 0.5, 90, 1.0001}, 100, 3.4}};
    static double bits[LARGEST], f64[LARGEST], other[LARGEST];
    static const char *const isas[] = {"base", "avx2", "avx512"};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const warp_case *c = &cases[k];
        const int64_t count = c->channels * c->h * c->w;
        for (int64_t i = 0; i < count; i++) {
            image[i] = (float)hk_random_normal(hk_random_stream(1, "image", k), (uint64_t)i);
            noise[i] = hk_random_bits(hk_random_stream(1, "noise", k), (uint64_t)i);
        }
        noise[0] = 0xFFFF0000; /* the ends of the range */
        plain_warp(c, image, noise, want);
        assert_true(compare(c, HK_F64, NULL, 1e-9, f64));
        /* A displacement of a thousand pixels has fewer digits behind the point. */
        const double tolerance = c->alpha > 1000 ? 0.1 : 3e-4;
        for (int isa = 0; isa < 3; isa++) {
            if (!compare(c, HK_F32, isas[isa], tolerance, isa == 0 ? bits : other)) continue;
            if (isa > 0) assert_memory_equal(bits, other, (size_t)count * sizeof(float));
        }
    }
}

/* --- what is drawn -------------------------------------------------------------------------- */

/* Draws of n images: each within ±most, of mean 0 and the deviation of uniform draws. */
static void uniform_on(const double *u, int64_t n, double most) {
    double sum = 0, squares = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += u[i];
        squares += u[i] * u[i];
        if (fabs(u[i]) > largest) largest = fabs(u[i]);
    }
    const double deviation = most / sqrt(3), expected = deviation / sqrt((double)n);
    assert_true(fabs(sum / (double)n) <= 4 * expected);
    assert_true(fabs(sqrt(squares / (double)n) / deviation - 1) <= 0.02);
    assert_true(largest <= most);
    assert_true(largest >= 0.99 * most);
}

static void draws_are_uniform(void **state) {
    (void)state;
    enum { MANY = 20000 };
    static double u[4][MANY];
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        for (int64_t i = 0; i < MANY; i++) {
            const hk__augment_draw d = hk__augment_affine(&strong, 5, epoch, i);
            const double draws[] = {d.down, d.right, d.degrees, d.factor - 1};
            for (int k = 0; k < 4; k++) u[k][i] = draws[k];
        }
        const double most[] = {2, 2, 30, 0.3};
        for (int k = 0; k < 4; k++) {
            uniform_on(u[k], MANY, most[k]);
            double with_next = 0, with_other = 0; /* independent of each other */
            for (int64_t i = 0; i + 1 < MANY; i++) {
                with_next += u[k][i] * u[k][i + 1] / (most[k] * most[k]);
                with_other += u[k][i] * u[(k + 1) % 4][i] / (most[k] * most[(k + 1) % 4]);
            }
            assert_true(fabs(with_next / MANY) <= 4 / (3 * sqrt(MANY)));
            assert_true(fabs(with_other / MANY) <= 4 / (3 * sqrt(MANY)));
        }
    }
    const hk__augment_draw none = hk__augment_affine(&(hk_augment){0}, 5, 0, 3);
    assert_true(none.down == 0 && none.right == 0 && none.degrees == 0 && none.factor == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_do_changes_nothing),
        cmocka_unit_test(whole_pixels_move_exactly),
        cmocka_unit_test(a_quarter_turn),
        cmocka_unit_test(agrees_with_a_plain_computation),
        cmocka_unit_test(draws_are_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
