/* ctest: labels=unit timeout=120 */
/* What is computed element by element on a GPU, against the CPU: all layouts of operands.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"

#include "map_kernels.h"
#include "pointwise_kernels.h"

/* --- operands of every layout ------------------------------------------------------------------------------------- */

/* A view of `shape` into a kept tensor: the axes in another order, cut out of a larger one, broadcast. */
typedef struct layout {
    const char *name;
    int shift;       /* elements before the first */
    unsigned wider;  /* bit a: axis a is cut out of a larger one */
    unsigned one;    /* bit a: axis a is broadcast */
    bool transposed; /* the last two axes */
} layout;

static const layout layouts[] = {
    {.name = "contiguous"},
    {.name = "misaligned", .shift = 1},
    {.name = "sliced inside", .wider = 1u << 2},
    {.name = "sliced outside", .wider = 1u << 1},
    {.name = "transposed", .transposed = true},
    {.name = "one for each inner", .one = 3},
    {.name = "one for each middle", .one = 5},
    {.name = "one for each outer", .one = 6},
    {.name = "one number", .one = 7},
};
enum { LAYOUTS = COUNT(layouts) };

/* Three axes. The same values in both contexts for one name. */
static hk_tensor *laid_out(hk_context *ctx, hk_dtype dtype, hk_shape shape, const layout *l,
                           const char *name) {
    hk_shape own = shape;
    for (int a = 0; a < 3; a++)
        own.dim[a] = l->one >> a & 1 ? 1 : shape.dim[a] + 4 * (l->wider >> a & 1);
    if (l->transposed) {
        const int64_t last = own.dim[2];
        own.dim[2] = own.dim[1];
        own.dim[1] = last;
    }
    const int64_t n = hk_shape_count(own);
    const double low = dtype == HK_U8 ? 0 : -4, high = dtype == HK_U8 ? 2 : 4;
    hk_tensor *all = seeded(ctx, dtype, HK_SHAPE(n + l->shift), name, low, high, 0);
    hk_tensor *t = hk_reshape(hk_slice(all, 0, l->shift, n), own);
    if (l->transposed) t = hk_transpose(t, 1, 2);
    for (int a = 0; a < 3; a++)
        if (l->wider >> a & 1) t = hk_slice(t, a, 4, shape.dim[a]);
    assert_ok(ctx);
    return t;
}

static const hk_shape shapes[] = {
    {3, {3, 5, 7}},   {3, {2, 6, 8}},    {3, {1, 1, 1}},
    {3, {5, 16, 36}}, {3, {1, 1, 4099}}, {3, {3, 0, 4}},
};

/* Kernel fn of either context on operands of these types and layouts; the output's layout is `to`. */
typedef hk__map_fn *pick(hk_context *ctx, hk_dtype real);
typedef struct map_case {
    pick *fn;
    int n;
    hk_dtype out, in[4];
    double param[3];
    double tolerance; /* 0: the same bits */
} map_case;

static void run_case(const map_case *m, hk_shape shape, const layout *to, const layout *const *from,
                     bool accumulate) {
    hk_tensor *out[2];
    for (int c = 0; c < 2; c++) {
        hk_context *ctx = c ? gpu : cpu;
        hk_tensor *operand[4];
        for (int k = 0; k < m->n; k++) {
            char name[16];
            snprintf(name, sizeof name, "operand%d", k);
            operand[k] = laid_out(ctx, m->in[k], shape, from[k], name);
        }
        out[c] = laid_out(ctx, m->out, shape, to, "out");
        hk__map(ctx, m->fn(ctx, m->out == HK_U8 ? m->in[0] : m->out), m->param, out[c], m->n,
                operand, accumulate);
        assert_ok(ctx);
    }
    const int64_t n = hk_shape_count(shape);
    const size_t size = hk_dtype_size(m->out);
    const char *want = host(out[0]), *got = host(out[1]);
    const double *w = values(out[0]), *g = values(out[1]);
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(want + (size_t)i * size, got + (size_t)i * size, size) == 0) continue;
        if (m->tolerance > 0 && is_close(g[i], w[i], m->tolerance)) continue;
        fail_msg("element %lld of (%lld, %lld, %lld) is %g, not %g; output %s, operand %s%s",
                 (long long)i, (long long)shape.dim[0], (long long)shape.dim[1],
                 (long long)shape.dim[2], g[i], w[i], to->name, m->n ? from[m->n - 1]->name : "",
                 accumulate ? ", added" : "");
    }
    forget();
}

/* Every operand in every layout, the others contiguous; every layout of the output that is not broadcast. */
static void run_layouts(const map_case *m) {
    for (int s = 0; s < COUNT(shapes); s++)
        for (int l = 0; l < LAYOUTS; l++)
            for (int k = m->n ? 0 : m->n; k <= m->n; k++) {
                const layout *from[4] = {layouts, layouts, layouts, layouts};
                if (k < m->n) from[k] = &layouts[l];
                const layout *to = k == m->n && !layouts[l].one ? &layouts[l] : layouts;
                run_case(m, shapes[s], to, from, false);
                if (m->out == HK_F32 || m->out == HK_F64) run_case(m, shapes[s], to, from, true);
            }
}

static hk__map_fn *add_of(hk_context *ctx, hk_dtype real) {
    return hk__pointwise_tables[hk__stamp_of(ctx, real)]->row[HK__PW_add].value;
}
static hk__map_fn *neg_of(hk_context *ctx, hk_dtype real) {
    return hk__pointwise_tables[hk__stamp_of(ctx, real)]->row[HK__PW_neg].value;
}
static hk__map_fn *huber_slope_of(hk_context *ctx, hk_dtype real) {
    return hk__pointwise_tables[hk__stamp_of(ctx, real)]->row[HK__PW_huber].slope[1];
}
static hk__map_fn *less_of(hk_context *ctx, hk_dtype real) {
    return hk__pointwise_tables[hk__stamp_of(ctx, real)]->compare[HK__LT];
}
static hk__map_fn *where_of(hk_context *ctx, hk_dtype real) {
    return hk__pointwise_tables[hk__stamp_of(ctx, real)]->where;
}
static hk__map_fn *masked_of(hk_context *ctx, hk_dtype real) {
    return hk__pointwise_tables[hk__stamp_of(ctx, real)]->masked;
}

static void test_layouts(void **state) {
    (void)state;
    for (int t = 0; t < 2; t++) {
        const hk_dtype real = t ? HK_F64 : HK_F32;
        const map_case cases[] = {
            {.fn = neg_of, .n = 1, .out = real, .in = {real}},
            {.fn = add_of, .n = 2, .out = real, .in = {real, real}},
            {.fn = huber_slope_of,
             .n = 4,
             .out = real,
             .in = {real, real, real, real},
             .param = {0.75}},
            {.fn = less_of, .n = 2, .out = HK_U8, .in = {real, real}},
            {.fn = where_of, .n = 3, .out = real, .in = {HK_U8, real, real}},
            {.fn = masked_of, .n = 2, .out = real, .in = {real, HK_U8}, .param = {1.25, 0.5, -3}},
        };
        for (int i = 0; i < COUNT(cases); i++) run_layouts(&cases[i]);
    }
}

/* --- rows of pointwise.def ------------------------------------------------------------------------------------------ */

static hk__pointwise_id row_id;
static int row_part;
static hk__map_fn *row_of(hk_context *ctx, hk_dtype real) {
    const hk__pointwise *row = &hk__pointwise_tables[hk__stamp_of(ctx, real)]->row[row_id];
    return row_part == 0 ? row->value : row->slope[row_part - 1];
}

/* libm's functions differ between CPU and GPU. */
static void test_rows(void **state) {
    (void)state;
    for (int t = 0; t < 2; t++)
        for (row_id = 0; row_id < HK__PW_COUNT; row_id++) {
            const hk__pointwise *row = &hk__pointwise_tables[HK__STAMP_f64]->row[row_id];
            for (row_part = 0; row_part <= row->operands; row_part++) {
                const hk_dtype real = t ? HK_F64 : HK_F32;
                const map_case m = {.fn = row_of,
                                    .n = row->operands + (row_part ? 2 : 0),
                                    .out = real,
                                    .in = {real, real, real, real},
                                    .param = {-0.5, 1.5},
                                    .tolerance = t ? 1e-10 : 1e-3};
                const layout *from[4] = {layouts, layouts, layouts, layouts};
                run_case(&m, (hk_shape){3, {1, 1, 1027}}, layouts, from, false);
            }
        }
}

/* --- conversions ------------------------------------------------------------------------------------------------------ */

static void test_conversions(void **state) {
    (void)state;
    static const double value[] = {0,        1,         -1,  2.5, 254.9, 255, 256, -3e9, 3e9,
                                   INFINITY, -INFINITY, NAN, 7,   8,     9,   10,  11};
    enum { N = COUNT(value) };
    static const hk_dtype types[] = {HK_F32, HK_F64, HK_U8, HK_I32};
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++) {
            hk_tensor *y[2];
            for (int c = 0; c < 2; c++) {
                hk_context *ctx = c ? gpu : cpu;
                const hk_dtype source = types[from] == HK_F32 ? HK_F32 : HK_F64;
                hk_tensor *x = hk_cast(kept(ctx, source, HK_SHAPE(N), value), types[from]);
                y[c] = hk_cast(x, types[to]);
            }
            /* a NaN's sign and payload may differ */
            for (int64_t i = 0; i < N; i++) {
                const double want = element_get(y[0], i), got = element_get(y[1], i);
                if (!(want == got || (isnan(want) && isnan(got))))
                    fail_msg("%g from %d to %d is %g, not %g", value[i], from, to, got, want);
            }
            forget();
        }
    for (int to = 0; to < 4; to++)
        for (int64_t n = 0; n < 40; n += 13) {
            hk_tensor *t = hk_full(gpu, types[to], HK_SHAPE(n), 3);
            for (int64_t i = 0; i < n; i++) assert_true(element_get(t, i) == 3);
        }
    assert_ok(gpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_conversions),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
