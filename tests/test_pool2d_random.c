/* ctest: labels=unit timeout=120 devices=cpu,cuda */
/* test_pool2d_random.c: the kernels of pooling and its operations against plain formulas, on random shapes, for every
   instruction set of this machine and in double.
   SPDX-License-Identifier: MIT */
#include "pool_fixture.h"

enum { SHAPES = 500, ISAS = 4 };

/* The contexts of the instruction sets and, last, of double. */
typedef struct machine {
    hk_context *ctx;
    hk_dtype dtype;
    hk__stamp stamp;
} machine;

static int machines(machine *m) {
    int n = 0;
    const char *name;
    for (; (name = isa_number(n)); n++) {
        m[n] = (machine){.ctx = new_context(1, name), .dtype = HK_F32};
        m[n].stamp = m[n].ctx->stamp;
    }
    m[n] = (machine){new_context(1, NULL), HK_F64, HK__STAMP_f64};
    return n + 1;
}

/* --- kernel 2, stride 2 --------------------------------------------------------------------------------- */

/* What the four kernels are to give. */
typedef struct answers {
    double x[PLANE], gy[PLANE], y[PLANE], gx[PLANE];     /* of max */
    double finite[PLANE], average[PLANE], spread[PLANE]; /* of the average: no infinities meet */
    int64_t winner[PLANE];
    pooling max, avg;
} answers;

static void solve_2x2(answers *a, int64_t h, int64_t w) {
    a->max = (pooling){.max = true, .h = h, .w = w, .c = {.kernel = HK_SQUARE(2)}};
    a->max.c.stride = a->max.c.kernel;
    a->max.c.dilation = HK_SQUARE(1);
    plain_sizes(&a->max);
    a->avg = a->max;
    a->avg.max = false;
    random_plane(h * w, true, a->x);
    random_plane(h * w, false, a->finite);
    random_plane(h * w, false, a->gy);
    memset(a->gx, 0, sizeof a->gx);
    memset(a->spread, 0, sizeof a->spread);
    static double unused[PLANE];
    plain_forward(&a->max, a->x, a->x, a->y, unused, a->winner);
    plain_backward(&a->max, a->x, a->gy, a->gx);
    plain_forward(&a->avg, a->finite, a->x, a->average, unused, NULL);
    plain_backward(&a->avg, a->x, a->gy, a->spread);
}

static void run_2x2(const machine *m, const answers *a) {
    char text[256];
    describe(&a->max, text, sizeof text);
    const hk__pool2d_kernels *k = hk__pool2d_tables[m->stamp];
    const bool f64 = m->dtype == HK_F64;
    const int64_t h = a->max.h, w = a->max.w, n = h * w, out = a->max.oh * a->max.ow;
    guarded x = input_new(f64, n), y = guarded_new(f64, out, random_below(5)),
            gy = input_new(f64, out), gx = guarded_new(f64, n, random_below(5));
    uint8_t *bytes = malloc((size_t)(out + 2 * GUARD)), *winner = bytes + GUARD;
    assert_non_null(bytes);
    memset(bytes, 0xee, (size_t)(out + 2 * GUARD));
    guarded_set(&x, a->x);
    guarded_set(&gy, a->gy);
    k->max_2x2(x.data, h, w, y.data, winner);
    guarded_check(&y, text, "max", a->y, 0);
    for (int64_t i = -GUARD; i < out + GUARD; i++) {
        int64_t want = 0xee;
        if (i >= 0 && i < out) {
            const int64_t r = a->winner[i] / w, c = a->winner[i] % w;
            want = 2 * (r - i / a->max.ow * 2) + c - i % a->max.ow * 2;
        }
        if (winner[i] != want)
            fail_msg("%s: winner %d is %d, not %d", text, (int)i, winner[i], (int)want);
    }
    memset(y.data, 0xff, (size_t)out * (f64 ? 8 : 4));
    k->max_2x2(x.data, h, w, y.data, NULL);
    guarded_check(&y, text, "max without winners", a->y, 0);
    uint8_t *exact = malloc((size_t)out + !out);
    assert_non_null(exact);
    memcpy(exact, winner, (size_t)out);
    k->max_2x2_backward(gy.data, exact, h, w, gx.data);
    guarded_check(&gx, text, "max, backward", a->gx, 0);
    guarded_set(&x, a->finite);
    k->avg_2x2(x.data, h, w, y.data);
    guarded_check(&y, text, "average", a->average, 0); /* exact: eighths */
    memset(gx.data, 0xff, (size_t)n * (f64 ? 8 : 4));
    k->avg_2x2_backward(gy.data, h, w, gx.data);
    guarded_check(&gx, text, "average, backward", a->spread, 0);
    free(bytes);
    free(exact);
    guarded_free(&x), guarded_free(&y), guarded_free(&gy), guarded_free(&gx);
}

static void two_by_two(void **state) {
    (void)state;
    static answers a;
    machine m[ISAS];
    const int n = machines(m);
    for (int k = 0; k < SHAPES; k++) {
        /* Many sizes around one and two vectors of windows, and the planes that matter. */
        const int64_t small = random_from(1, 40), h = k % 10 == 0 ? 28 : random_from(1, 12),
                      w = k % 10 == 0   ? 28
                          : k % 10 == 1 ? 14
                          : k % 10 == 2 ? random_from(33, 72)
                                        : small;
        solve_2x2(&a, h, w);
        for (int i = 0; i < n; i++) run_2x2(&m[i], &a);
    }
    for (int i = 0; i < n; i++) hk_context_destroy(m[i].ctx);
}

/* --- the mean of a plane ------------------------------------------------------------------------------------- */

static void run_mean(const machine *m, int64_t planes, int64_t n, const double *x,
                     const double *old) {
    const hk__pool2d_kernels *k = hk__pool2d_tables[m->stamp];
    const bool f64 = m->dtype == HK_F64;
    char text[64];
    snprintf(text, sizeof text, "%d planes of %d", (int)planes, (int)n);
    guarded in = input_new(f64, planes * n), y = guarded_new(f64, planes, random_below(5)),
            gx = guarded_new(f64, planes * n, random_below(5));
    static double want[PLANE];
    guarded_set(&in, x);
    for (int64_t p = 0; p < planes; p++) {
        want[p] = 0;
        for (int64_t i = 0; i < n; i++) want[p] += x[p * n + i];
        want[p] /= (double)n;
    }
    const double tolerance = f64 ? 1e-15 : 2e-7; /* of the quotient: sums are exact */
    k->mean(in.data, planes, n, y.data);
    guarded_check(&y, text, "mean", want, 3 * tolerance);
    for (int add = 0; add < 2; add++) {
        if (add) guarded_set(&gx, old);
        for (int64_t i = 0; i < planes * n; i++)
            want[i] = x[i / n] / (double)n + (add ? old[i] : 0);
        k->mean_backward(in.data, planes, n, gx.data, add);
        guarded_check(&gx, text, "mean, backward", want, 6 * tolerance);
    }
    guarded_free(&in), guarded_free(&y), guarded_free(&gx);
}

static void means(void **state) {
    (void)state;
    static double x[PLANE], old[PLANE];
    machine m[ISAS];
    const int n = machines(m);
    for (int k = 0; k < SHAPES; k++) {
        const int64_t size = k % 10 == 0 ? 49 : k % 10 == 1 ? 784 : random_from(1, 300);
        random_plane(6 * size, false, x);
        random_plane(6 * size, false, old);
        for (int i = 0; i < n; i++) run_mean(&m[i], random_from(1, 6), size, x, old);
    }
    for (int i = 0; i < n; i++) hk_context_destroy(m[i].ctx);
}

/* --- any plan ---------------------------------------------------------------------------------------------------- */

/* Spans, counted. */
static void plain_spans(const pooling *p, bool rows, hk__pool2d_span *s) {
    for (int64_t i = 0; i < (rows ? p->oh : p->ow); i++) {
        const reach to = reach_of(p, rows, i);
        const int64_t in = rows ? p->h : p->w, padding = rows ? p->c.padding.h : p->c.padding.w;
        s[i] = (hk__pool2d_span){.first = -1};
        for (int64_t at = to.begin; at < to.end; at += to.step) {
            const bool real = at >= 0 && at < in;
            if (real && s[i].first < 0) s[i].first = at;
            s[i].count += real;
            s[i].skipped += at < 0;
            s[i].places++;
            s[i].divisor += p->adaptive || p->c.exclude_padding ? real : at < in + padding;
        }
    }
}

typedef struct any_answers {
    pooling p;
    double x[PLANE], gy[PLANE], old[PLANE], y[PLANE], ty[PLANE], gx[PLANE];
} any_answers;

static void run_any(const machine *m, any_answers *a) {
    const hk__pool2d_any_kernels *k = hk__pool2d_any_tables[m->stamp];
    const pooling *p = &a->p;
    const bool f64 = m->dtype == HK_F64;
    static hk__pool2d_span rows[64], cols[64];
    char text[256];
    describe(p, text, sizeof text);
    plain_spans(p, true, rows);
    plain_spans(p, false, cols);
    int64_t high = 0, across = 0; /* places of a window, at most */
    for (int64_t i = 0; i < p->oh; i++) high = rows[i].places > high ? rows[i].places : high;
    for (int64_t j = 0; j < p->ow; j++) across = cols[j].places > across ? cols[j].places : across;
    const bool wide = high * across > 256 || random_below(2);
    const hk__pool2d_plan plan = {.h = p->h,
                                  .w = p->w,
                                  .oh = p->oh,
                                  .ow = p->ow,
                                  .rows = rows,
                                  .cols = cols,
                                  .wide = wide,
                                  .dilation = p->adaptive ? HK_SQUARE(1) : p->c.dilation};
    const int64_t n = p->h * p->w, out = p->oh * p->ow;
    guarded x = input_new(f64, n), y = guarded_new(f64, out, 0), gy = input_new(f64, out),
            gx = guarded_new(f64, n, 0);
    const size_t bytes = (size_t)out * (wide ? sizeof(int32_t) : 1);
    uint8_t *memory = malloc(bytes + 2 * GUARD);
    assert_non_null(memory);
    memset(memory, 0xee, bytes + 2 * GUARD);
    guarded_set(&x, a->x);
    guarded_set(&gy, a->gy);
    const double tolerance = p->max ? 0 : f64 ? 1e-14 : 1e-5;
    if (p->max)
        k->max(&plan, x.data, y.data, memory + GUARD);
    else
        k->avg(&plan, x.data, y.data);
    guarded_check(&y, text, "y", a->y, tolerance);
    for (size_t i = 0; i < GUARD; i++)
        assert_true(memory[i] == 0xee && memory[GUARD + bytes + i] == 0xee);
    for (int add = 0; add < 2; add++) {
        memcpy(a->gx, a->old, sizeof a->gx);
        if (add)
            guarded_set(&gx, a->old);
        else
            memset(a->gx, 0, sizeof a->gx);
        plain_backward(p, a->x, a->gy, a->gx);
        if (p->max)
            k->max_backward(&plan, gy.data, memory + GUARD, gx.data, add);
        else
            k->avg_backward(&plan, gy.data, gx.data, add);
        guarded_check(&gx, text, "gx", a->gx, 4 * tolerance);
    }
    if (p->max) {
        guarded_set(&x, a->old);
        k->pick(&plan, x.data, memory + GUARD, y.data);
        guarded_check(&y, text, "the direction of y", a->ty, 0);
        memset(y.data, 0xff, (size_t)out * (f64 ? 8 : 4));
        guarded_set(&x, a->x);
        k->max(&plan, x.data, y.data, NULL);
        guarded_check(&y, text, "y without winners", a->y, 0);
    }
    free(memory);
    guarded_free(&x), guarded_free(&y), guarded_free(&gy), guarded_free(&gx);
}

static void any_plan(void **state) {
    (void)state;
    static any_answers a;
    machine m[ISAS];
    const int n = machines(m);
    for (int k = 0; k < 4 * SHAPES; k++) {
        a.p = random_pooling(k % 2, k / 2 % 2);
        random_plane(a.p.h * a.p.w, a.p.max, a.x);
        random_plane(a.p.h * a.p.w, false, a.old);
        random_plane(a.p.oh * a.p.ow, false, a.gy);
        plain_forward(&a.p, a.x, a.old, a.y, a.ty, NULL);
        for (int i = 0; i < n; i++) run_any(&m[i], &a);
    }
    for (int i = 0; i < n; i++) hk_context_destroy(m[i].ctx);
}

/* --- operations ------------------------------------------------------------------------------------------------- */

enum { N = 2, C = 3, PLANES = N * C };

/* All planes of a batch, side by side. */
typedef struct batch {
    pooling p;
    double x[PLANES * PLANE], t[PLANES * PLANE], gy[PLANES * PLANE], y[PLANES * PLANE],
        ty[PLANES * PLANE], gx[PLANES * PLANE];
} batch;

static void solve_batch(batch *b) {
    const int64_t n = b->p.h * b->p.w, out = b->p.oh * b->p.ow;
    random_plane(PLANES * n, b->p.max, b->x);
    random_plane(PLANES * n, false, b->t);
    random_plane(PLANES * out, false, b->gy);
    memset(b->gx, 0, sizeof b->gx);
    for (int64_t i = 0; i < PLANES; i++) {
        plain_forward(&b->p, b->x + i * n, b->t + i * n, b->y + i * out, b->ty + i * out, NULL);
        plain_backward(&b->p, b->x + i * n, b->gy + i * out, b->gx + i * n);
    }
}

static hk_tensor *pooled(const pooling *p, hk_tensor *x) {
    const hk_pair out = {p->oh, p->ow};
    if (p->adaptive)
        return p->max ? hk_adaptive_max_pool2d_op(x, out) : hk_adaptive_avg_pool2d_op(x, out);
    return p->max ? hk_max_pool2d_op(x, &p->c) : hk_avg_pool2d_op(x, &p->c);
}

static void check(const char *where, const char *what, hk_tensor *t, const double *want,
                  double times, double tolerance) {
    const double *got = values(t);
    for (int64_t i = 0; i < hk_tensor_count(t); i++)
        if (!same_or_close(got[i], times * want[i], tolerance))
            fail_msg("%s: %s: element %d is %.9g, not %.9g", where, what, (int)i, got[i],
                     times * want[i]);
}

/* Of x itself, or of a view on x with its columns as rows. */
static void run_batch(const machine *m, const batch *b, bool turned) {
    hk_context *ctx = m->ctx;
    const pooling *p = &b->p;
    char text[256];
    describe(p, text, sizeof text);
    /* What the step is about to use holds NaN. */
    assert_non_null(hk_full(ctx, m->dtype, HK_SHAPE(1 << 15), NAN));
    must(hk_step_end(ctx));
    const hk_shape shape = HK_SHAPE(N, C, p->h, p->w), out = HK_SHAPE(N, C, p->oh, p->ow);
    hk_tensor *x = kept(ctx, m->dtype, shape, b->x), *t = kept(ctx, m->dtype, shape, b->t),
              *gy = kept(ctx, m->dtype, out, b->gy);
    if (turned) {
        x = hk_tensor_keep(hk_transpose(x, 2, 3));
        t = hk_tensor_keep(hk_transpose(t, 2, 3));
    }
    hk_require_grad(x);
    hk_tensor *in = turned ? hk_transpose(x, 2, 3) : x;
    const double tolerance = p->max ? 0 : m->dtype == HK_F64 ? 1e-14 : 1e-5;
    hk_tensor *y = pooled(p, in);
    if (!y) fail_msg("%s: %s", text, hk_error_message(ctx));
    assert_shape(y, out);
    check(text, "y", y, b->y, 1, tolerance);
    check(text, "the direction of y", hk_jvp(ctx, y, 1, &x, &t), b->ty, 1, tolerance);
    must(hk_backward_from(ctx, y, gy));
    check(text, "the gradient", turned ? hk_transpose(hk_grad(x), 2, 3) : hk_grad(x), b->gx, 1,
          tolerance * 4);
    hk_zero_grad(x);
    must(hk_backward_from(ctx, hk_add(pooled(p, in), pooled(p, in)), gy)); /* added to itself */
    check(text, "the gradient of both", turned ? hk_transpose(hk_grad(x), 2, 3) : hk_grad(x), b->gx,
          2, tolerance * 8);
    hk_grad_enable(ctx, false);
    check(text, "y unrecorded", pooled(p, in), b->y, 1, tolerance);
    hk_grad_enable(ctx, true);
    must(hk_step_end(ctx));
    while (ctx->kept) hk_tensor_destroy(ctx->kept);
}

static void operations(void **state) {
    (void)state;
    static batch b;
    machine m[ISAS];
    const int n = machines(m);
    for (int k = 0; k < 4 * SHAPES; k++) {
        b.p = random_pooling(k % 2, k / 2 % 2);
        solve_batch(&b);
        for (int i = 0; i < n; i++) run_batch(&m[i], &b, k % 8 >= 6);
    }
    for (int kind = 0; kind < HK__POOL2D_KIND_COUNT; kind++)
        if (hk__pool2d_chosen(kind) < 100)
            fail_msg("'%s' ran %d times only", hk__pool2d_kind_name(kind),
                     (int)hk__pool2d_chosen(kind));
    for (int i = 0; i < n; i++) hk_context_destroy(m[i].ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_by_two),
        cmocka_unit_test(means),
        cmocka_unit_test(any_plan),
        cmocka_unit_test(operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
