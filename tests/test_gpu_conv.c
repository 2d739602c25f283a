/* test_gpu_conv.c: convolutions on a GPU against their formula in double: every shape of tile, slices, classes of strides,
   parts of a batch, gradients of a pooling's output.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=300 */
#include "conv_fixture.h"
#include "values.h"

static hk_context *gpu_context(void) {
    return open_context((hk_context_config){.device = HK_CUDA, .seed = 1});
}

/* --- arrays on the device, between guards ---------------------------------------------------------------------------- */

enum { GUARD = 16 };
static int64_t odd; /* 1: what is read begins one element behind 16 bytes, as a view may */

typedef struct device_array {
    hk_context *ctx;
    int64_t n, before;
    size_t size;
    char *memory, *copy;
} device_array;

static void put(const device_array *a, int64_t i, double v) {
    if (a->size == 8)
        ((double *)(void *)a->copy)[a->before + i] = v;
    else
        ((float *)(void *)a->copy)[a->before + i] = (float)v;
}

static double get(const device_array *a, int64_t i) {
    return a->size == 8 ? ((double *)(void *)a->copy)[a->before + i]
                        : (double)((float *)(void *)a->copy)[a->before + i];
}

static size_t bytes_of(const device_array *a) {
    return (size_t)(a->before + a->n + GUARD) * a->size;
}
static void *data_of(const device_array *a) { return a->memory + (size_t)a->before * a->size; }

/* from: NULL for `start` everywhere. */
static device_array on_device(hk_context *ctx, size_t size, int64_t n, const double *from,
                              double start) {
    device_array a = {.ctx = ctx, .n = n, .before = GUARD + (from ? odd : 0), .size = size};
    a.memory = hk__values_alloc(ctx, bytes_of(&a), false);
    a.copy = malloc(bytes_of(&a));
    assert_non_null(a.memory);
    assert_non_null(a.copy);
    for (int64_t i = -a.before; i < n + GUARD; i++)
        put(&a, i, i < 0 || i >= n ? 77 : from ? from[i] : start);
    hk__values_write(ctx, a.memory, a.copy, bytes_of(&a));
    return a;
}

static void give_back(device_array *a) {
    hk__values_free(a->ctx, a->memory);
    free(a->copy);
}

static void check(const char *what, const hk__conv *c, device_array *a, const double *want,
                  const double *size, double start) {
    char text[256];
    const double unit = a->size == 8 ? 0x1p-52 : 0x1p-23;
    conv_text(c, text, sizeof text);
    hk__values_read(a->ctx, a->copy, a->memory, bytes_of(a));
    assert_ok(a->ctx);
    for (int64_t i = -a->before; i < a->n + GUARD; i++) {
        const bool guard = i < 0 || i >= a->n;
        const double expected = guard ? 77 : start + want[i], got = get(a, i);
        const double allowed = guard ? 0 : 64 * unit * (size[i] + fabs(start)) + 0x1p-149;
        if (fabs(got - expected) <= allowed) continue;
        fail_msg("%s[%lld] is %.9g, not %.9g: %s", what, (long long)i, got, expected, text);
    }
    give_back(a);
}

/* --- one case --------------------------------------------------------------------------------------------------------- */

/* The gradient of y, and that of its pooling with winners: three of four of the first are 0. */
static uint8_t *pool_gradient(const hk__conv *c, double *g, double **pooled, int64_t *n) {
    const int64_t planes = c->n * c->groups * c->oc, h = c->oh / 2, w = c->ow / 2;
    const hk_random r = hk_random_stream(3, "winners", 0);
    *n = planes * h * w;
    *pooled = numbers(*n);
    uint8_t *winner = calloc((size_t)*n + 1, 1);
    assert_non_null(winner);
    for (int64_t p = 0; p < planes; p++) {
        double *plane = g + p * c->oh * c->ow;
        for (int64_t i = 0; i < h * w; i++) {
            const int64_t at = p * h * w + i;
            winner[at] = (uint8_t)hk_random_below(r, (uint64_t)at, 4);
            (*pooled)[at] =
                plane[(i / w * 2 + winner[at] / 2) * c->ow + i % w * 2 + winner[at] % 2];
        }
        for (int64_t y = 0; y < c->oh; y++)
            for (int64_t x = 0; x < c->ow; x++) {
                const bool inside = y < 2 * h && x < 2 * w;
                const int64_t won = inside ? winner[p * h * w + y / 2 * w + x / 2] : 0;
                if (!inside || y % 2 * 2 + x % 2 != won) plane[y * c->ow + x] = 0;
            }
    }
    return winner;
}

/* The reference's gradients anew, after g has changed. */
static void refresh(const hk__conv *c, const arrays *a) {
    memset(a->gx, 0, (size_t)a->nx * sizeof *a->gx);
    memset(a->gw, 0, (size_t)a->nw * sizeof *a->gw);
    memset(a->gb, 0, (size_t)(c->groups * c->oc) * sizeof *a->gb);
    conv_reference(c, a);
}

static void run_case(hk_context *ctx, hk_dtype dtype, const hk__conv *c, int64_t seed,
                     bool pooled) {
    const arrays a = make_arrays(c, seed, 0.2);
    const size_t size = hk_dtype_size(dtype);
    const int64_t oc = c->groups * c->oc;
    const bool add = seed % 2;
    double *small = NULL;
    uint8_t *winner = NULL, *device_winner = NULL;
    int64_t n_small = 0;
    if (pooled) {
        winner = pool_gradient(c, a.g, &small, &n_small);
        refresh(c, &a);
        device_winner = hk__values_alloc(ctx, (size_t)n_small, false);
        hk__values_write(ctx, device_winner, winner, (size_t)n_small);
    }
    device_array x = on_device(ctx, size, a.nx, a.x, 0), w = on_device(ctx, size, a.nw, a.w, 0),
                 b = on_device(ctx, size, oc, a.b, 0), y = on_device(ctx, size, a.ny, NULL, NAN),
                 g = on_device(ctx, size, pooled ? n_small : a.ny, pooled ? small : a.g, 0),
                 gx = on_device(ctx, size, a.nx, NULL, add ? 1 : NAN),
                 gw = on_device(ctx, size, a.nw, NULL, add ? 1 : NAN),
                 gb = on_device(ctx, size, oc, NULL, add ? 1 : NAN);
    must(hk__conv_forward(ctx, dtype, c, data_of(&x), data_of(&w), data_of(&b), data_of(&y), NULL,
                          NULL));
    check("y", c, &y, a.y, a.size_y, 0);
    hk__conv_gradients to = {.x = data_of(&x),
                             .w = data_of(&w),
                             .g = data_of(&g),
                             .winner = device_winner,
                             .gx = data_of(&gx),
                             .gw = data_of(&gw),
                             .gb = data_of(&gb),
                             .add_x = add,
                             .add_w = add,
                             .add_b = add};
    must(hk__conv_backward(ctx, dtype, c, &to));
    check("gx", c, &gx, a.gx, a.size_x, add);
    check("gw", c, &gw, a.gw, a.size_w, add);
    check("gb", c, &gb, a.gb, a.size_b, add);
    /* Each alone. */
    for (int k = 0; k < 3; k++) {
        device_array one = on_device(ctx, size, k == 0 ? a.nx : k == 1 ? a.nw : oc, NULL, 1);
        to.gx = k == 0 ? data_of(&one) : NULL;
        to.gw = k == 1 ? data_of(&one) : NULL;
        to.gb = k == 2 ? data_of(&one) : NULL;
        to.add_x = to.add_w = to.add_b = true;
        must(hk__conv_backward(ctx, dtype, c, &to));
        check("one of the gradients", c, &one,
              k == 0   ? a.gx
              : k == 1 ? a.gw
                       : a.gb,
              k == 0   ? a.size_x
              : k == 1 ? a.size_w
                       : a.size_b,
              1);
    }
    device_array *const inputs[] = {&x, &w, &b, &g};
    for (int k = 0; k < 4; k++) give_back(inputs[k]);
    hk__values_free(ctx, device_winner);
    free(winner);
    free(small);
    free_arrays(&a);
}

/* --- the cases -------------------------------------------------------------------------------------------------------- */

static void run_random(hk_dtype dtype, int64_t cases) {
    hk_context *ctx = gpu_context();
    for (int64_t i = 0; i < cases; i++) {
        const hk__conv c = random_conv(i);
        run_case(ctx, dtype, &c, i, i % 3 == 0 && c.oh >= 2 && c.ow >= 2);
    }
    hk_context_destroy(ctx);
}

static void test_random_shapes(void **state) {
    (void)state;
    run_random(HK_F32, 100);
}

static void test_double(void **state) {
    (void)state;
    run_random(HK_F64, 60);
}

/* Networks of examples/mnist_cnn.c: batches in several parts, every shape of tile, more than one step of strides. */
static void test_networks(void **state) {
    (void)state;
    static const struct {
        int64_t n, ic, oc, size, kernel, stride, padding;
    } nets[] = {{6, 1, 8, 28, 3, 1, 1},   {6, 8, 16, 14, 3, 1, 1},  {3, 1, 32, 28, 5, 1, 2},
                {3, 32, 64, 14, 5, 1, 2}, {2, 32, 64, 14, 3, 2, 1}, {2, 32, 64, 14, 1, 2, 0},
                {1, 64, 64, 7, 3, 1, 1},  {1, 3, 70, 9, 4, 3, 2},   {2, 1, 11, 13, 3, 1, 1},
                {2, 1, 5, 10, 5, 1, 0},   {40, 1, 2, 5, 3, 1, 0},   {2, 3, 4, 5, 3, INT32_MAX, 1}};
    hk_context *ctx = gpu_context();
    for (int64_t i = 0; i < 2 * COUNT(nets); i++) {
        const int64_t k = i / 2, size = nets[k].size, kernel = nets[k].kernel;
        const int64_t out = (size + 2 * nets[k].padding - kernel) / nets[k].stride + 1;
        const hk__conv c = {.n = nets[k].n,
                            .groups = 1,
                            .ic = nets[k].ic,
                            .oc = nets[k].oc,
                            .h = size,
                            .w = size,
                            .kh = kernel,
                            .kw = kernel,
                            .sh = nets[k].stride,
                            .sw = nets[k].stride,
                            .ph = nets[k].padding,
                            .pw = nets[k].padding,
                            .dh = 1,
                            .dw = 1,
                            .oh = out,
                            .ow = out};
        run_case(ctx, HK_F32, &c, i, i % 2);
    }
    hk_context_destroy(ctx);
}

/* One channel to a group: 16 bytes at a time and one by one, whole strips and not, kernels in registers and not. */
static void test_depthwise(void **state) {
    (void)state;
    static const struct {
        int64_t n, groups, oc, h, w, kernel[2], stride, padding[2], dilation;
    } rows[] = {
        {3, 3, 1, 8, 12, {3, 3}, 1, {1, 1}, 1},        {2, 2, 2, 5, 8, {5, 5}, 1, {2, 2}, 1},
        {1, 2, 4, 9, 8, {7, 7}, 1, {3, 3}, 1},         {3, 2, 1, 7, 7, {3, 3}, 1, {1, 1}, 1},
        {2, 3, 2, 6, 9, {3, 3}, 1, {0, 0}, 1},         {2, 2, 1, 6, 8, {3, 3}, 1, {2, 2}, 1},
        {2, 2, 1, 6, 8, {5, 5}, 1, {4, 0}, 1},         {2, 1, 3, 8, 10, {3, 3}, 1, {4, 4}, 1},
        {2, 3, 1, 9, 11, {3, 3}, 2, {1, 1}, 1},        {2, 2, 2, 9, 12, {3, 5}, 1, {1, 2}, 2},
        {1, 2, 1, 9, 9, {2, 2}, 2, {0, 0}, 1},         {1, 2, 1, 12, 9, {9, 1}, 1, {4, 0}, 1},
        {40, 2, 1, 8, 8, {3, 3}, 1, {1, 1}, 1},        {600, 2, 1, 1, 1, {3, 3}, 1, {1, 1}, 1},
        {2, 2, 3, 7, 15, {7, 4}, 3, {3, 1}, 1},        {1, 5, 5, 6, 6, {3, 3}, 1, {1, 1}, 1},
        {2, 2, 1, 4, 5, {1, 1}, 1, {0, 0}, INT32_MAX},
    };
    hk_context *ctx = gpu_context();
    for (int64_t i = 0; i < 8 * COUNT(rows); i++) {
        const int64_t k = i / 8, *kernel = rows[k].kernel, *padding = rows[k].padding,
                      d = rows[k].dilation;
        hk__conv c = {.n = rows[k].n,
                      .groups = rows[k].groups,
                      .ic = 1,
                      .oc = rows[k].oc,
                      .h = rows[k].h,
                      .w = rows[k].w,
                      .kh = kernel[0],
                      .kw = kernel[1],
                      .sh = rows[k].stride,
                      .sw = rows[k].stride,
                      .ph = padding[0],
                      .pw = padding[1],
                      .dh = d,
                      .dw = d};
        c.oh = (c.h + 2 * c.ph - (c.kh - 1) * d - 1) / c.sh + 1;
        c.ow = (c.w + 2 * c.pw - (c.kw - 1) * d - 1) / c.sw + 1;
        odd = i / 4 % 2;
        run_case(ctx, i % 8 == 2 ? HK_F64 : HK_F32, &c, i, i / 2 % 2 && c.oh >= 2 && c.ow >= 2);
    }
    odd = 0;
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_double),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_depthwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
