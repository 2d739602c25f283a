/* ctest: labels=grad timeout=120 devices=cpu,cuda */
/* test_conv_values.c: conv2d and conv_transpose2d, their gradients too, against formulas in double:
   the reference, the adjoint, and a scatter; in both types, on every instruction set.
   SPDX-License-Identifier: MIT */
#include "conv_fixture.h"
#include "hk_image_ops.h"

enum { CASES = 150 };

static hk_conv2d_config config_of(const hk__conv *c) {
    return (hk_conv2d_config){.stride = {c->sh, c->sw},
                              .padding = {c->ph, c->pw},
                              .dilation = {c->dh, c->dw},
                              .groups = c->groups};
}

static double element(const hk_tensor *t, const void *data, int64_t i) {
    return hk_tensor_dtype(t) == HK_F64 ? ((const double *)data)[i]
                                        : (double)((const float *)data)[i];
}

/* Every element within 64 units of the sum of its terms' sizes. */
static void check(const char *what, const hk__conv *c, hk_tensor *t, int64_t n, const double *want,
                  const double *size) {
    char text[256];
    assert_non_null(t);
    assert_int_equal(hk_tensor_count(t), n);
    const void *data = host(t);
    const double unit = hk_tensor_dtype(t) == HK_F64 ? 0x1p-52 : 0x1p-23;
    for (int64_t i = 0; i < n; i++) {
        const double got = element(t, data, i);
        if (fabs(got - want[i]) <= 64 * unit * size[i]) continue;
        conv_text(c, text, sizeof text);
        fail_msg("%s[%lld] is %.9g, not %.9g: %s", what, (long long)i, got, want[i], text);
    }
}

/* A tensor with these elements that lies in memory in some way, and requires a gradient. */
static hk_tensor *laid_out(hk_context *ctx, hk_dtype dtype, view v, hk_shape shape,
                           const double *value, hk_tensor **whole) {
    const hk_shape source = view_source(v, shape);
    const int64_t n = hk_shape_count(source);
    double *memory = numbers(n), *at = numbers(n);
    for (int64_t i = 0; i < n; i++) at[i] = (double)i;
    hk_tensor *where = kept(ctx, HK_F64, source, at);
    hk_tensor *order = hk_contiguous(view_of(v, where, shape));
    const double *to = host(order);
    for (int64_t i = 0; i < hk_shape_count(shape); i++) memory[(int64_t)to[i]] = value[i];
    *whole = hk_require_grad(kept(ctx, dtype, source, memory));
    hk_tensor_destroy(where);
    free(memory);
    free(at);
    return view_of(v, *whole, shape);
}

static hk_tensor *gradient_of(view v, hk_tensor *whole, hk_shape shape) {
    return hk_contiguous(view_of(v, hk_grad(whole), shape));
}

/* --- against the reference ------------------------------------------------------------------- */

typedef struct run {
    hk__conv c;
    arrays a;
    hk_shape x, w, y, b, bx; /* b: of conv2d's bias, bx: of the transposed one's */
    view layout;
} run;

static run begin(int64_t i) {
    run r = {.c = random_conv(i), .layout = (view)(i / 4 % STRETCHED)};
    const hk__conv *c = &r.c;
    if (i % 5 == 0) r.c.n += 8; /* more images than parts whose sums are added up */
    r.a = make_arrays(c, i, i % 3 == 0 ? 0.75 : 0);
    r.x = HK_SHAPE(c->n, c->groups * c->ic, c->h, c->w);
    r.w = HK_SHAPE(c->groups * c->oc, c->ic, c->kh, c->kw);
    r.y = HK_SHAPE(c->n, c->groups * c->oc, c->oh, c->ow);
    r.b = HK_SHAPE(c->groups * c->oc);
    r.bx = HK_SHAPE(c->groups * c->ic);
    return r;
}

static void destroy_all(hk_context *ctx, int n, hk_tensor *const *t) {
    must(hk_step_end(ctx));
    for (int i = 0; i < n; i++) hk_tensor_destroy(t[i]);
}

static void check_forward(hk_context *ctx, hk_dtype dtype, const run *r) {
    const hk_conv2d_config config = config_of(&r->c);
    const view v = r->layout;
    hk_tensor *whole[4], *g;
    hk_tensor *x = laid_out(ctx, dtype, v, r->x, r->a.x, &whole[0]);
    hk_tensor *w = laid_out(ctx, dtype, v, r->w, r->a.w, &whole[1]);
    hk_tensor *b = laid_out(ctx, dtype, v, r->b, r->a.b, &whole[2]);
    hk_tensor *y = hk_conv2d_op(x, w, b, &config);
    assert_ok(ctx);
    assert_shape(y, r->y);
    check("y", &r->c, y, r->a.ny, r->a.y, r->a.size_y);
    g = laid_out(ctx, dtype, v, r->y, r->a.g, &whole[3]);
    must(hk_backward_from(ctx, y, g));
    check("gx", &r->c, gradient_of(v, whole[0], r->x), r->a.nx, r->a.gx, r->a.size_x);
    check("gw", &r->c, gradient_of(v, whole[1], r->w), r->a.nw, r->a.gw, r->a.size_w);
    check("gb", &r->c, gradient_of(v, whole[2], r->b), r->b.dim[0], r->a.gb, r->a.size_b);
    destroy_all(ctx, 4, whole);
}

/* The transposed one of g is the gradient by x. Its own gradients, with x as that of its result, are
   y without the bias, and the gradient by w. */
static void check_transposed(hk_context *ctx, hk_dtype dtype, const run *r) {
    const hk__conv *c = &r->c;
    const view v = r->layout;
    hk_conv2d_config config = config_of(c);
    config.output_padding.h = (c->h + 2 * c->ph - (c->kh - 1) * c->dh - 1) % c->sh;
    config.output_padding.w = (c->w + 2 * c->pw - (c->kw - 1) * c->dw - 1) % c->sw;
    hk_tensor *whole[4];
    hk_tensor *g = laid_out(ctx, dtype, v, r->y, r->a.g, &whole[0]);
    hk_tensor *w = laid_out(ctx, dtype, v, r->w, r->a.w, &whole[1]);
    hk_tensor *b = hk_require_grad(seeded(ctx, dtype, r->bx, "transposed", -1, 1, 0));
    whole[2] = b;
    hk_tensor *y = hk_conv_transpose2d_op(g, w, b, &config);
    assert_ok(ctx);
    assert_shape(y, r->x);
    double *want = numbers(r->a.nx), *size = numbers(r->a.nx), *sum = numbers(2 * r->bx.dim[0]);
    const void *biases = host(b);
    for (int64_t i = 0; i < r->a.nx; i++) {
        const int64_t channel = i / (c->h * c->w) % r->bx.dim[0];
        const double bias = element(b, biases, channel);
        want[i] = r->a.gx[i] + bias;
        size[i] = r->a.size_x[i] + fabs(bias);
        sum[channel] += r->a.x[i];
        sum[r->bx.dim[0] + channel] += fabs(r->a.x[i]);
    }
    check("transposed", c, y, r->a.nx, want, size);
    must(hk_backward_from(ctx, y, laid_out(ctx, dtype, v, r->x, r->a.x, &whole[3])));
    for (int64_t i = 0; i < r->a.ny; i++)
        r->a.y[i] -= r->a.b[i / (c->oh * c->ow) % (c->groups * c->oc)];
    check("its gx", c, gradient_of(v, whole[0], r->y), r->a.ny, r->a.y, r->a.size_y);
    check("its gw", c, gradient_of(v, whole[1], r->w), r->a.nw, r->a.gw, r->a.size_w);
    check("its gb", c, hk_grad(b), r->bx.dim[0], sum, sum + r->bx.dim[0]);
    destroy_all(ctx, 4, whole);
    free(want);
    free(size);
    free(sum);
}

static void against_the_reference(void **state) {
    (void)state;
    hk_context *ctx[4];
    int n = 0;
    for (; isa_number(n); n++) ctx[n] = new_context(1, isa_number(n));
    for (int64_t i = 0; i < CASES; i++) {
        const run r = begin(1000 + i);
        const int k = (int)(i % (n + 1)); /* each instruction set in turn, then double */
        check_forward(ctx[k % n], k == n ? HK_F64 : HK_F32, &r);
        check_transposed(ctx[k % n], k == n ? HK_F64 : HK_F32, &r);
        free_arrays(&r.a);
    }
    for (int k = 0; k < n; k++) hk_context_destroy(ctx[k]);
}

/* --- the adjoint: <conv(x), g> = <x, conv_transpose(g)>, through the operations alone -------- */

static double dot(hk_tensor *a, hk_tensor *b) {
    return hk_tensor_item(hk_sum(hk_mul(a, b), HK_ALL_AXES, false));
}

static void adjoint(void **state) {
    hk_context *ctx = *state;
    for (int64_t i = 0; i < CASES; i++) {
        const run r = begin(2000 + i);
        hk_conv2d_config config = config_of(&r.c);
        hk_tensor *in[] = {kept(ctx, HK_F64, r.x, r.a.x), kept(ctx, HK_F64, r.w, r.a.w),
                           kept(ctx, HK_F64, r.y, r.a.g)};
        const double left = dot(hk_conv2d_op(in[0], in[1], HK_NO_BIAS, &config), in[2]);
        const hk__conv *c = &r.c;
        config.output_padding.h = (c->h + 2 * c->ph - (c->kh - 1) * c->dh - 1) % c->sh;
        config.output_padding.w = (c->w + 2 * c->pw - (c->kw - 1) * c->dw - 1) % c->sw;
        const double right = dot(in[0], hk_conv_transpose2d_op(in[2], in[1], HK_NO_BIAS, &config));
        double size = 0;
        for (int64_t k = 0; k < r.a.ny; k++) size += r.a.size_y[k] * fabs(r.a.g[k]);
        assert_ok(ctx);
        assert_close("adjoint", i, left, right, 64 * 0x1p-52 * size);
        free_arrays(&r.a);
        destroy_all(ctx, 3, in);
    }
}

/* --- the transposed one as a scatter, with every output_padding ------------------------------ */

/* y[n, o, i·stride - padding + u·dilation, ...] += x[n, c, i, j] · w[c, o, u, v]; c and o are of one
   group. size: the same of absolute values. */
static double *scatter(const hk__conv *c, const double *x, const double *w, double *size) {
    double *y = numbers(c->n * c->groups * c->ic * c->h * c->w);
    const int64_t taps = c->kh * c->kw, all = c->n * c->groups * c->oc * c->oh * c->ow;
    for (int64_t at = 0; at < all; at++) {
        const int64_t j = at % c->ow, i = at / c->ow % c->oh, plane = at / c->ow / c->oh;
        const int64_t from = plane % (c->groups * c->oc), n = plane / (c->groups * c->oc);
        for (int64_t k = 0; k < c->ic * taps; k++) {
            const int64_t row = i * c->sh - c->ph + k / c->kw % c->kh * c->dh;
            const int64_t col = j * c->sw - c->pw + k % c->kw * c->dw;
            const int64_t to = (n * c->groups + from / c->oc) * c->ic + k / taps;
            if (row < 0 || row >= c->h || col < 0 || col >= c->w) continue;
            y[(to * c->h + row) * c->w + col] += x[at] * w[from * c->ic * taps + k];
            size[(to * c->h + row) * c->w + col] += fabs(x[at] * w[from * c->ic * taps + k]);
        }
    }
    return y;
}

static void check_scatter(hk_context *ctx, hk__conv c, hk_pair more) {
    const hk_shape x = HK_SHAPE(c.n, c.groups * c.oc, c.oh, c.ow);
    const hk_shape w = HK_SHAPE(c.groups * c.oc, c.ic, c.kh, c.kw);
    hk_conv2d_config config = config_of(&c);
    config.output_padding = more;
    c.h = (c.oh - 1) * c.sh - 2 * c.ph + c.dh * (c.kh - 1) + more.h + 1;
    c.w = (c.ow - 1) * c.sw - 2 * c.pw + c.dw * (c.kw - 1) + more.w + 1;
    if (c.h < 1 || c.w < 1) return;
    const int64_t count = c.n * c.groups * c.ic * c.h * c.w;
    hk_tensor *in[] = {seeded(ctx, HK_F64, x, "scatter/x", -1, 1, 0),
                       seeded(ctx, HK_F64, w, "scatter/w", -1, 1, 0)};
    double *size = numbers(count);
    double *want = scatter(&c, host(in[0]), host(in[1]), size);
    hk_tensor *y = hk_conv_transpose2d_op(in[0], in[1], HK_NO_BIAS, &config);
    assert_ok(ctx);
    assert_shape(y, HK_SHAPE(c.n, c.groups * c.ic, c.h, c.w));
    check("scattered", &c, y, count, want, size);
    free(want);
    free(size);
    destroy_all(ctx, 2, in);
}

static void as_a_scatter(void **state) {
    int n = 0;
    for (int64_t i = 0; n < CASES; i++) {
        hk__conv c = random_conv(3000 + i);
        if (c.ic * c.oc > 64) continue;
        c.oh = 1 + i % 5; /* sizes of x here */
        c.ow = 1 + i % 7;
        const int64_t below_h = c.sh > c.dh ? c.sh : c.dh, below_w = c.sw > c.dw ? c.sw : c.dw;
        check_scatter(*state, c, (hk_pair){i % below_h, i / below_h % below_w});
        n++;
    }
    /* Places that no window reaches, on both sides. */
    for (int64_t stride = 2; stride <= 5; stride++)
        for (int64_t p = 1; 2 * p < stride; p++)
            for (int64_t q = 1; q <= 2; q++) {
                const hk__conv c = {.n = 2,
                                    .groups = 1,
                                    .ic = 2,
                                    .oc = 3,
                                    .oh = 1,
                                    .ow = q,
                                    .kh = q,
                                    .kw = 1,
                                    .sh = stride,
                                    .sw = stride,
                                    .ph = p,
                                    .pw = p,
                                    .dh = 1,
                                    .dw = 1};
                check_scatter(*state, c, (hk_pair){stride - 1, stride - 1});
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_reference),
        cmocka_unit_test_setup_teardown(adjoint, setup, teardown),
        cmocka_unit_test_setup_teardown(as_a_scatter, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
