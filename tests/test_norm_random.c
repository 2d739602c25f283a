/* test_norm_random.c: batch, layer and group norm on random shapes against a plain reference in double: values,
   gradients, every instruction set, one and two threads.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include "testing.h"

#include "context.h"
#include "hk_image_ops.h"

enum { SHAPES = 500, ROOM = 1 << 19 };

typedef enum kind { BATCH, GIVEN, LAYER, GROUP, KINDS } kind;
static const char *const kind_names[] = {"batch norm", "batch norm with statistics", "layer norm",
                                         "group norm"};

/* One case: x is (n, c, plane) with a statistic for each of `sets` sets; weights are one for each of `weights`. */
typedef struct example {
    kind kind;
    int number;
    hk_shape shape;
    int64_t n, c, plane, groups, sets, weights;
    int axes;
    bool affine;
    double offset, eps;
} example;

/* Normal draws, the same ones again in other places for each name and number. */
static double draw(const char *name, int number, int64_t i) {
    static double pool[1 << 16];
    static bool filled;
    for (int64_t k = 0; !filled && k < COUNT(pool); k++)
        pool[k] = hk_random_normal(hk_random_stream(11, "pool", 0), (uint64_t)k);
    filled = true;
    return pool[(i + name[0] * 4099 + number * 7919) % COUNT(pool)];
}
static int64_t below(int number, int what, int64_t bound) {
    const hk_random stream = hk_random_stream(12, "sizes", (uint64_t)number);
    return (int64_t)hk_random_below(stream, (uint64_t)what, (uint64_t)bound);
}

static example example_of(kind k, int number) {
    static const double offsets[] = {0, 1000, -3, 0.001};
    const int seed = number * KINDS + (int)k;
    example e = {.kind = k, .number = seed, .groups = 1, .axes = 1};
    e.n = 1 + below(seed, 0, 9);
    e.c = 1 + below(seed, 1, 40);
    /* Half of the planes small, some of one element with many samples, some large. */
    const bool flat = number % 5 == 0, large = number % 50 == 49;
    const int64_t most = large ? 120 : number % 2 ? 28 : 5;
    int64_t high = 1 + below(seed, 2, most), wide = 1 + below(seed, 3, most);
    if (large) e.n = 1 + below(seed, 0, 3), e.c = 1 + below(seed, 1, 3);
    if (flat) e.n = 1 + below(seed, 4, 500);
    if (number % 100 >= 98) { /* more than 2^18 elements */
        const bool small = number % 2 == 0;
        high = wide = small ? 4 : 25;
        e.c = 30 + below(seed, 1, 10);
        e.n = small ? 500 + below(seed, 0, 300) : 15 + below(seed, 0, 6);
    }
    e.plane = flat ? 1 : high * wide;
    e.shape = flat ? HK_SHAPE(e.n, e.c) : HK_SHAPE(e.n, e.c, high, wide);
    if (!flat && number % 3 == 0) e.shape = HK_SHAPE(e.n, e.c, e.plane);
    e.affine = number % 4 != 0;
    e.offset = offsets[below(seed, 5, 4)];
    e.eps = number % 7 ? 1e-5 : 0.1;
    e.weights = e.c;
    e.sets = e.c;
    if (k == GROUP) {
        e.groups = 1 + below(seed, 6, e.c);
        while (e.c % e.groups != 0) e.groups--;
        e.sets = e.n * e.groups;
    }
    if (k == LAYER) {
        e.axes = 1 + (int)below(seed, 7, e.shape.rank);
        e.weights = 1;
        for (int i = 0; i < e.axes; i++) e.weights *= e.shape.dim[e.shape.rank - 1 - i];
        e.sets = e.n * e.c * e.plane / e.weights;
    }
    if (k == BATCH && e.n * e.plane < 2) return example_of(k, number + SHAPES);
    return e;
}

static int64_t count_of(const example *e) { return e->n * e->c * e->plane; }
/* The set and the weight that element i belongs to. */
static int64_t set_of(const example *e, int64_t i) {
    if (e->kind == LAYER) return i / e->weights;
    const int64_t plane = i / e->plane; /* of all of them */
    return e->kind == GROUP ? plane / (e->c / e->groups) : plane % e->c;
}
static int64_t weight_of(const example *e, int64_t i) {
    return e->kind == LAYER ? i % e->weights : i / e->plane % e->c;
}

/* --- the reference ------------------------------------------------------------------------------------------ */

/* Inputs and results. For each result the sum of the magnitudes that were added to form it: what rounding is
   measured by. */
static double x[ROOM], g[ROOM], y[ROOM], gx[ROOM], y_size[ROOM], gx_size[ROOM], w[ROOM], b[ROOM],
    gw[ROOM], gb[ROOM], gw_size[ROOM], gb_size[ROOM], mean[ROOM], var[ROOM], plain[ROOM],
    along[ROOM], plain_size[ROOM], along_size[ROOM];

static void reference(const example *e) {
    const int64_t count = count_of(e);
    const double members = (double)count / (double)e->sets;
    for (int64_t s = 0; s < e->sets; s++) plain[s] = along[s] = plain_size[s] = along_size[s] = 0;
    if (e->kind != GIVEN) {
        for (int64_t s = 0; s < e->sets; s++) mean[s] = var[s] = 0;
        for (int64_t i = 0; i < count; i++) mean[set_of(e, i)] += x[i] / members;
        for (int64_t s = 0; s < e->sets; s++) plain[s] = 0;
        for (int64_t i = 0; i < count; i++) /* what rounding lost of a large mean */
            plain[set_of(e, i)] += (x[i] - mean[set_of(e, i)]) / members;
        for (int64_t s = 0; s < e->sets; s++) mean[s] += plain[s];
        for (int64_t i = 0; i < count; i++) {
            const int64_t s = set_of(e, i);
            var[s] += (x[i] - mean[s]) * (x[i] - mean[s]) / members;
        }
    }
    for (int64_t s = 0; s < e->sets; s++) plain[s] = along[s] = plain_size[s] = along_size[s] = 0;
    for (int64_t k = 0; k < e->weights; k++) gw[k] = gb[k] = gw_size[k] = gb_size[k] = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t s = set_of(e, i), k = weight_of(e, i);
        const double normal = (x[i] - mean[s]) / sqrt(var[s] + e->eps), h = g[i] * w[k];
        y[i] = normal * w[k] + b[k];
        y_size[i] = (1 + fabs(normal)) * fabs(w[k]) + fabs(b[k]);
        gw[k] += g[i] * normal;
        gb[k] += g[i];
        gw_size[k] += fabs(g[i]) * (1 + fabs(normal));
        gb_size[k] += fabs(g[i]);
        plain[s] += h / members;
        along[s] += h * normal / members;
        plain_size[s] += fabs(h) / members;
        along_size[s] += fabs(h) * (1 + fabs(normal)) / members;
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t s = set_of(e, i);
        const double rate = 1 / sqrt(var[s] + e->eps), normal = (x[i] - mean[s]) * rate,
                     h = g[i] * w[weight_of(e, i)];
        gx[i] = rate * (e->kind == GIVEN ? h : h - plain[s] - normal * along[s]);
        gx_size[i] =
            rate *
            (fabs(h) + (e->kind == GIVEN ? 0 : plain_size[s] + (1 + fabs(normal)) * along_size[s]));
    }
}

/* Inputs as the operation sees them: rounded to its type. */
static void make_inputs(const example *e, bool f64) {
    const int64_t count = count_of(e);
    for (int64_t i = 0; i < count; i++) {
        const int64_t set = e->kind == LAYER ? 0 : i / e->plane % e->c;
        x[i] = draw("x", e->number, i) * (1 + (double)(set % 3)) + e->offset;
        g[i] = draw("g", e->number, i) + 0.3;
        if (!f64) x[i] = (double)(float)x[i];
        if (!f64) g[i] = (double)(float)g[i];
    }
    for (int64_t k = 0; k < e->weights; k++) {
        w[k] = e->affine ? (double)(float)(1 + 0.5 * draw("w", e->number, k)) : 1;
        b[k] = e->affine ? (double)(float)draw("b", e->number, k) : 0;
    }
    for (int64_t s = 0; e->kind == GIVEN && s < e->sets; s++) {
        mean[s] = (double)(float)(e->offset + 0.1 * draw("mean", e->number, s));
        var[s] = (double)(float)(1 + 0.5 * fabs(draw("var", e->number, s)));
    }
}

/* --- the operation ------------------------------------------------------------------------------------------ */

typedef struct results {
    hk_tensor *y, *gx, *gw, *gb;
} results;

static hk_shape weight_shape(const example *e) {
    hk_shape shape = HK_SHAPE(e->c);
    if (e->kind != LAYER) return shape;
    shape.rank = e->axes;
    for (int i = 0; i < e->axes; i++) shape.dim[i] = e->shape.dim[e->shape.rank - e->axes + i];
    return shape;
}

/* As kept() of testing.h, for many elements. */
static hk_tensor *of(hk_context *ctx, hk_dtype dtype, hk_shape shape, const double *value) {
    static float small[ROOM];
    if (dtype == HK_F64) return hk_tensor_from(ctx, dtype, shape, value);
    for (int64_t i = 0, n = hk_shape_count(shape); i < n; i++) small[i] = (float)value[i];
    return hk_tensor_from(ctx, dtype, shape, small);
}

/* Backward runs `times` times: gradients add up. */
static results run(hk_context *ctx, hk_dtype dtype, const example *e, int times) {
    hk_tensor *in = hk_require_grad(of(ctx, dtype, e->shape, x)), *wt = HK_NO_BIAS,
              *bt = HK_NO_BIAS;
    if (e->affine) {
        wt = hk_require_grad(of(ctx, dtype, weight_shape(e), w));
        bt = hk_require_grad(of(ctx, dtype, weight_shape(e), b));
    }
    hk_tensor *out = NULL;
    switch (e->kind) {
    case BATCH: out = hk_batch_norm_op(in, wt, bt, e->eps, NULL, NULL); break;
    case GIVEN:
        out = hk_batch_norm_eval_op(in, of(ctx, dtype, HK_SHAPE(e->c), mean),
                                    of(ctx, dtype, HK_SHAPE(e->c), var), wt, bt, e->eps);
        break;
    case LAYER: out = hk_layer_norm_op(in, e->axes, wt, bt, e->eps); break;
    default: out = hk_group_norm_op(in, e->groups, wt, bt, e->eps);
    }
    assert_ok(ctx);
    for (int i = 0; i < times; i++) must(hk_backward_from(ctx, out, of(ctx, dtype, e->shape, g)));
    return (results){out, hk_grad(in), e->affine ? hk_grad(wt) : NULL,
                     e->affine ? hk_grad(bt) : NULL};
}

/* The largest error of t against `want`, in units of size; the first beyond the gate ends the test. */
static void compare(const example *e, const char *what, hk_tensor *t, int64_t n, const double *want,
                    const double *size, double times, double gate, double *worst) {
    const bool f64 = hk_tensor_dtype(t) == HK_F64;
    const void *data = host(t);
    assert_int_equal(hk_tensor_count(t), n);
    for (int64_t i = 0; i < n; i++) {
        const double got = f64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
        const double error = fabs(got - times * want[i]) / (times * size[i]);
        if (!(error <= gate))
            fail_msg("%s %d, %s[%lld] of (%lld, %lld, %lld): %.9g, not %.9g: %.3g units",
                     kind_names[e->kind], e->number, what, (long long)i, (long long)e->n,
                     (long long)e->c, (long long)e->plane, got, times * want[i], error);
        if (error > *worst) *worst = error;
    }
}

static void compare_all(const example *e, results r, double times, double gate, double *worst) {
    compare(e, "y", r.y, count_of(e), y, y_size, 1, gate, &worst[0]);
    compare(e, "gx", r.gx, count_of(e), gx, gx_size, times, gate, &worst[1]);
    if (!e->affine) return;
    compare(e, "gw", r.gw, e->weights, gw, gw_size, times, gate, &worst[2]);
    compare(e, "gb", r.gb, e->weights, gb, gb_size, times, gate, &worst[3]);
}

static void clear(hk_context *ctx) {
    must(hk_step_end(ctx));
    while (ctx->kept) hk_tensor_destroy(ctx->kept);
}

/* What float can promise, in units of the magnitudes that make up a result. x - centre, the coefficients, the product
   and the sum round once each: 4·2^-24 = 2.4e-7. Sums run in 16 lanes or more over at most 4096 elements, which is 256
   additions in a row: their errors walk at random, to about √(256/3)·2^-24 = 5.5e-7 of what was added. Together that is
   below 1e-6. It does not depend on the mean: with mean 1000 and deviation 1, which cost three digits in a formula
   without a centre, the gate is the same. In double the mean itself, 1000 beside a deviation of 1, rounds by 1e-13. */
static const double f32_gate = 1e-6, f64_gate = 1e-12;

enum { SETS = 4 }; /* three instruction sets, and the reference */

static void against_reference(kind k) {
    hk_context *ctx[SETS] = {NULL};
    double worst[SETS][4] = {{0}};
    for (int d = 0; d < SETS; d++) {
        const char *isa = d == SETS - 1 ? NULL : isa_number(d);
        if (isa || d == SETS - 1) ctx[d] = new_context(1, isa);
    }
    const int first = on_emulator() ? 12 : 0, step = on_emulator() ? 37 : 1; /* some of each size */
    for (int i = first; i < SHAPES; i += step) {
        const example e = example_of(k, i);
        const int times = 1 + i % 2;
        for (int d = 0; d < SETS; d++) {
            const bool f64 = d == SETS - 1;
            if (d == 0 || f64) {
                make_inputs(&e, f64);
                reference(&e);
            }
            if (!ctx[d]) continue;
            compare_all(&e, run(ctx[d], f64 ? HK_F64 : HK_F32, &e, times), times,
                        f64 ? f64_gate : f32_gate, worst[d]);
            clear(ctx[d]);
        }
    }
    for (int d = 0; d < SETS; d++) {
        if (!ctx[d]) continue;
        print_message("%s, %s: y %.2g, gx %.2g, gw %.2g, gb %.2g units\n", kind_names[k],
                      d == SETS - 1 ? "f64" : hk_context_describe(ctx[d]).isa, worst[d][0],
                      worst[d][1], worst[d][2], worst[d][3]);
        hk_context_destroy(ctx[d]);
    }
}

static void batch_norm(void **state) {
    (void)state;
    against_reference(BATCH);
}
static void batch_norm_given(void **state) {
    (void)state;
    against_reference(GIVEN);
}
static void layer_norm(void **state) {
    (void)state;
    against_reference(LAYER);
}
static void group_norm(void **state) {
    (void)state;
    against_reference(GROUP);
}

/* --- threads ------------------------------------------------------------------------------------------------ */

static void same_bits(hk_tensor *a, hk_tensor *b_) {
    if (!a) return;
    const size_t bytes = (size_t)hk_tensor_count(a) * hk_dtype_size(hk_tensor_dtype(a));
    assert_memory_equal(host(a), host(b_), bytes);
}

static void threads(void **state) {
    (void)state;
    hk_context *one = new_context(1, NULL), *two = new_context(2, NULL);
    for (int i = 0; i < KINDS * (on_emulator() ? 4 : 120); i++) {
        const example e = example_of((kind)(i % KINDS), i / KINDS);
        make_inputs(&e, false);
        const results a = run(one, HK_F32, &e, 1), c = run(two, HK_F32, &e, 1);
        same_bits(a.y, c.y);
        same_bits(a.gx, c.gx);
        same_bits(a.gw, c.gw);
        same_bits(a.gb, c.gb);
        clear(one);
        clear(two);
    }
    assert_true(on_gpu() ||
                hk__pool_parallel_regions(two->pool) > 100); /* it was not one thread after all */
    hk_context_destroy(one);
    hk_context_destroy(two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_norm), cmocka_unit_test(batch_norm_given),
        cmocka_unit_test(layer_norm), cmocka_unit_test(group_norm),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
