/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_ops_grad.c: a walk over every operation of hk_ops.h: gradient, forward mode, two
   backwards.
   SPDX-License-Identifier: MIT

   One row for each function that the header declares; the header itself is read, so one that has
   no row here fails. The families' own tests go into breadth: broadcasting, views, axes, kinks. */
#include "testing.h"

enum { LABELS = 1, MASK = 2, INDEX = 3 };

typedef struct operand {
    hk_shape shape;
    double low, high, grid;
    int integers; /* LABELS and INDEX: i32 in [0, 3); MASK: u8 in [0, 2) */
} operand;

typedef struct row {
    const char *name;
    hk_function *fn;
    int n;
    operand in[3];
    bool none;  /* carries no gradient */
    bool other; /* cast: has a test of its own, as f32 is too coarse for differences */
} row;

#define FN(name, expr)                                                                             \
    static hk_tensor *f_##name(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {          \
        (void)ctx, (void)n, (void)arg;                                                             \
        return (expr);                                                                             \
    }                                                                                              \
    WANTS_SEMICOLON
#define FN1(name) FN(name, hk_##name(in[0]))
#define FN2(name) FN(name, hk_##name(in[0], in[1]))
FN2(add);
FN2(sub);
FN2(mul);
FN2(div);
FN2(pow);
FN2(maximum);
FN2(minimum);
FN1(neg);
FN1(abs);
FN1(exp);
FN1(log);
FN1(sqrt);
FN(clamp, hk_clamp(in[0], -0.45, 0.65));
FN(scale, hk_scale(in[0], -1.5, 0.25));
FN(where, hk_where(in[0], in[1], in[2]));
FN2(less);
FN2(less_equal);
FN2(greater);
FN2(greater_equal);
FN2(equal);
FN2(not_equal);
FN(cast, hk_cast(hk_cast(in[0], HK_F32), HK_F64));
FN2(matmul);
FN(affine, hk_affine(in[0], in[1], in[2]));
FN(sum, hk_sum(in[0], HK_AXIS(1), false));
FN(mean, hk_mean(in[0], HK_AXIS(0) | HK_AXIS(2), true));
FN(var, hk_var(in[0], HK_AXIS(0) | HK_AXIS(2), 1, false));
FN(max, hk_max(in[0], HK_AXIS(1), false));
FN(argmax, hk_argmax(in[0], 1, false));
FN(uniform_like, hk_uniform_like(in[0], -1, 1, "uniform"));
FN(softmax, hk_softmax(in[0], 1));
FN(log_softmax, hk_log_softmax(in[0], -1));
FN(reshape, hk_reshape(in[0], HK_SHAPE(5, -1)));
FN(flatten_from, hk_flatten_from(in[0], 1));
FN(transpose, hk_transpose(in[0], 0, 2));
FN(permute, hk_permute(in[0], (const int[]){2, 0, 1}));
FN(slice, hk_slice(in[0], 1, 1, 2));
FN(broadcast_to, hk_broadcast_to(in[0], HK_SHAPE(2, 3, 5)));
FN(concat, hk_concat(2, in, -1));
FN(stack, hk_stack(2, in, 1));
FN(pad, hk_pad(in[0], (const int64_t[]){1, 0, 2}, (const int64_t[]){0, 3, 1}, 0.5));
FN2(gather_rows);
FN(contiguous, hk_contiguous(hk_transpose(in[0], 0, 1)));
FN(dropout_op, hk_dropout_op(in[0], 0.4, "walk"));
FN(alpha_dropout_op, hk_alpha_dropout_op(in[0], 0.4, "walk"));
FN2(cross_entropy);
FN(cross_entropy_smooth, hk_cross_entropy_smooth(in[0], in[1], 0.1));
FN2(mse);
FN2(l1);
FN(huber, hk_huber(in[0], in[1], 0.55));
FN2(bce_with_logits);

static hk_tensor *f_split(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    hk_tensor *part[3];
    const int64_t sizes[] = {1, 3, 1};
    if (hk_split(in[0], 2, 3, sizes, part) != HK_OK) return NULL;
    return hk_mul(part[1], hk_add(part[0], hk_exp(part[2])));
}

#define CUBE                                                                                       \
    { {3, {2, 3, 5}}, -2, 2, 0, 0 }
#define PAIR                                                                                       \
    {                                                                                              \
        {{2, {3, 5}}, -2.0, 2, 0.1, 0}, { {2, {3, 5}}, -2.03, 2, 0.1, 0 }                          \
    }
#define ROW(id, count, ...)                                                                        \
    { .name = #id, .fn = f_##id, .n = count, .in = __VA_ARGS__ }
static const row rows[] = {
    ROW(add, 2, PAIR),
    ROW(sub, 2, PAIR),
    ROW(mul, 2, PAIR),
    ROW(maximum, 2, PAIR),
    ROW(minimum, 2, PAIR),
    ROW(div, 2, {CUBE, {{2, {3, 5}}, 0.5, 2, 0, 0}}),
    ROW(pow, 2, {{{3, {2, 3, 5}}, 0.3, 2, 0, 0}, {{1, {5}}, -2, 3, 0, 0}}),
    ROW(neg, 1, {CUBE}),
    ROW(exp, 1, {CUBE}),
    ROW(scale, 1, {CUBE}),
    ROW(abs, 1, {{{3, {2, 3, 5}}, -1.95, 2, 0.1, 0}}),
    ROW(clamp, 1, {{{3, {2, 3, 5}}, -2, 2, 0.1, 0}}),
    ROW(log, 1, {{{3, {2, 3, 5}}, 0.3, 2, 0, 0}}),
    ROW(sqrt, 1, {{{3, {2, 3, 5}}, 0.3, 2, 0, 0}}),
    ROW(where, 3, {{{2, {3, 5}}, 0, 2, 0, MASK}, CUBE, CUBE}),
    ROW(less, 2, PAIR, .none = true),
    ROW(less_equal, 2, PAIR, .none = true),
    ROW(greater, 2, PAIR, .none = true),
    ROW(greater_equal, 2, PAIR, .none = true),
    ROW(equal, 2, PAIR, .none = true),
    ROW(not_equal, 2, PAIR, .none = true),
    ROW(argmax, 1, {CUBE}, .none = true),
    ROW(uniform_like, 1, {CUBE}, .none = true),
    ROW(cast, 1, {CUBE}, .other = true),
    ROW(matmul, 2, {{{3, {2, 3, 5}}, -2, 2, 0, 0}, {{2, {5, 7}}, -2, 2, 0, 0}}),
    ROW(affine, 3, {CUBE, {{2, {7, 5}}, -2, 2, 0, 0}, {{1, {7}}, -2, 2, 0, 0}}),
    ROW(sum, 1, {CUBE}),
    ROW(mean, 1, {CUBE}),
    ROW(var, 1, {CUBE}),
    ROW(max, 1, {CUBE}),
    ROW(softmax, 1, {CUBE}),
    ROW(log_softmax, 1, {CUBE}),
    ROW(reshape, 1, {CUBE}),
    ROW(flatten_from, 1, {CUBE}),
    ROW(transpose, 1, {CUBE}),
    ROW(permute, 1, {CUBE}),
    ROW(slice, 1, {CUBE}),
    ROW(split, 1, {CUBE}),
    ROW(broadcast_to, 1, {{{2, {3, 1}}, -2, 2, 0, 0}}),
    ROW(concat, 2, {CUBE, CUBE}),
    ROW(stack, 2, {CUBE, CUBE}),
    ROW(pad, 1, {CUBE}),
    ROW(gather_rows, 2, {{{2, {3, 5}}, -2, 2, 0, 0}, {{2, {2, 3}}, 0, 3, 0, INDEX}}),
    ROW(contiguous, 1, {CUBE}),
    ROW(dropout_op, 1, {CUBE}),
    ROW(alpha_dropout_op, 1, {CUBE}),
    ROW(cross_entropy, 2, {{{2, {5, 3}}, -2, 2, 0, 0}, {{1, {5}}, 0, 3, 0, LABELS}}),
    ROW(cross_entropy_smooth, 2, {{{2, {5, 3}}, -2, 2, 0, 0}, {{1, {5}}, 0, 3, 0, LABELS}}),
    ROW(mse, 2, PAIR),
    ROW(l1, 2, PAIR),
    ROW(huber, 2, PAIR),
    ROW(bce_with_logits, 2, {{{2, {3, 5}}, -2, 2, 0, 0}, {{2, {3, 5}}, 0, 1, 0, 0}}),
};

/* Makes a row's inputs; returns which are not to be differentiated for. */
static const bool *inputs(hk_context *ctx, hk_dtype dtype, const row *r, hk_tensor **in) {
    static bool skip[3];
    for (int i = 0; i < r->n; i++) {
        const operand *o = &r->in[i];
        char name[64];
        snprintf(name, sizeof name, "%s/%d", r->name, i);
        skip[i] = o->integers != 0;
        const hk_dtype integer = o->integers == MASK ? HK_U8 : HK_I32;
        in[i] = seeded(ctx, skip[i] ? integer : dtype, o->shape, name, o->low, o->high, o->grid);
    }
    return skip;
}

static void every_gradient(void **state) {
    hk_context *ctx = *state;
    int64_t checked = 0;
    for (int64_t k = 0; k < COUNT(rows); k++) {
        const row *r = &rows[k];
        if (r->none || r->other) continue;
        hk_tensor *in[3];
        const bool *skip = inputs(ctx, HK_F64, r, in);
        assert_gradient(ctx, r->name, r->fn, NULL, r->n, in, skip);
        for (int i = 0; i < r->n; i++) hk_tensor_destroy(in[i]);
        checked++;
    }
    print_message("%lld operations checked\n", (long long)checked);
}

/* Σ v·y with a fixed random v, of y's type. */
static hk_tensor *weighed(hk_tensor *y) {
    hk_tensor *v =
        seeded(hk_tensor_context(y), hk_tensor_dtype(y), hk_tensor_shape(y), "v", -1, 1, 0);
    return hk_sum(hk_mul(y, v), HK_ALL_AXES, false);
}

static void two_backwards_give_twice(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < 2 * COUNT(rows); k++) {
        const row *r = &rows[k / 2];
        hk_tensor *in[3];
        if (r->none || r->other) continue;
        const bool *skip = inputs(ctx, k % 2 ? HK_F32 : HK_F64, r, in);
        for (int i = 0; i < r->n; i++)
            if (!skip[i]) assert_non_null(hk_require_grad(in[i]));
        hk_tensor *loss = weighed(r->fn(ctx, r->n, in, NULL));
        must(hk_backward(ctx, loss));
        double once[3][64];
        for (int i = 0; i < r->n; i++)
            if (!skip[i])
                memcpy(once[i], values(hk_grad(in[i])),
                       sizeof(double) * (size_t)hk_tensor_count(in[i]));
        must(hk_backward(ctx, loss));
        for (int i = 0; i < r->n; i++) {
            if (skip[i]) continue;
            const double *twice = values(hk_grad(in[i]));
            for (int64_t e = 0; e < hk_tensor_count(in[i]); e++)
                assert_close(r->name, e, twice[e], 2 * once[i][e], 0);
        }
        must(hk_step_end(ctx));
        for (int i = 0; i < r->n; i++) hk_tensor_destroy(in[i]);
    }
}

/* Whether the other inputs want a gradient too changes nothing: a row's input alone, the others
   constant. */
static void one_input_alone(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(rows); k++) {
        const row *r = &rows[k];
        if (r->none || r->n < 2) continue;
        double all[3][64];
        for (int only = -1; only < r->n; only++) { /* -1: all of them */
            hk_tensor *in[3];
            const bool *skip = inputs(ctx, HK_F64, r, in);
            for (int i = 0; i < r->n; i++)
                if (!skip[i] && (only < 0 || only == i)) assert_non_null(hk_require_grad(in[i]));
            if (only < 0 || !skip[only])
                must(hk_backward(ctx, weighed(r->fn(ctx, r->n, in, NULL))));
            for (int i = 0; i < r->n; i++) {
                if (skip[i]) continue;
                const int64_t n = hk_tensor_count(in[i]);
                if (only < 0)
                    memcpy(all[i], values(hk_grad(in[i])), sizeof(double) * (size_t)n);
                else if (only == i)
                    assert_values(r->name, hk_grad(in[i]), n, all[i], 0);
                else
                    assert_null(hk_grad(in[i]));
            }
            must(hk_step_end(ctx));
            for (int i = 0; i < r->n; i++) hk_tensor_destroy(in[i]);
        }
    }
}

static void masks_carry_no_gradient(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(rows); k++) {
        const row *r = &rows[k];
        hk_tensor *in[3];
        if (!r->none) continue;
        inputs(ctx, HK_F64, r, in);
        for (int i = 0; i < r->n; i++) assert_non_null(hk_require_grad(in[i]));
        hk_tensor *y = r->fn(ctx, r->n, in, NULL);
        assert_ok(ctx);
        if (rows[k].fn != f_uniform_like)
            assert_true(hk_tensor_dtype(y) == HK_U8 || hk_tensor_dtype(y) == HK_I32);
        assert_int_equal(hk_backward_from(ctx, y, y), HK_ERR_GRADIENT);
        expect_error(ctx, HK_ERR_GRADIENT, "depends on no tensor that requires a gradient");
        hk_tensor *back =
            hk_cast(y, HK_F64); /* nothing flows through the mask, and that is no error */
        must(hk_backward(
            ctx, hk_sum(hk_add(back, hk_sum(in[0], HK_ALL_AXES, false)), HK_ALL_AXES, false)));
        must(hk_step_end(ctx));
    }
}

/* The gradient of f64 -> f32 -> f64 is the gradient rounded to float, both ways. */
static void cast_rounds_the_gradient(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 5), "cast", -2, 2, 0);
    hk_tensor *v = seeded(ctx, HK_F64, HK_SHAPE(3, 5), "cast/v", -2, 2, 0);
    hk_require_grad(x);
    hk_tensor *y = f_cast(ctx, 1, &x, NULL);
    must(hk_backward_from(ctx, y, v));
    hk_tensor *t = hk_jvp(ctx, y, 1, &x, &v);
    assert_ok(ctx);
    const double *value = values(y), *g = values(hk_grad(x)), *tangent = values(t);
    for (int i = 0; i < 15; i++) {
        const double rounded = (double)(float)element_get(v, i);
        assert_close("y", i, value[i], (double)(float)element_get(x, i), 0);
        assert_close("g", i, g[i], rounded, 0);
        assert_close("t", i, tangent[i], rounded, 0);
    }
    must(hk_step_end(ctx));
    hk_tensor *integer = hk_cast(x, HK_I32);
    assert_int_equal(hk_backward_from(ctx, integer, integer), HK_ERR_GRADIENT);
    hk_error_clear(ctx);
}

/* --- the header has no function without a row, and the table no row without a function ------- */

static bool has_row(const char *name) {
    for (int64_t k = 0; k < COUNT(rows); k++)
        if (strcmp(rows[k].name, name) == 0) return true;
    return false;
}

static void no_operation_is_forgotten(void **state) {
    (void)state;
    FILE *file = fopen(HK_SOURCE_DIR "/autograd/hk_ops.h", "r");
    assert_non_null(file);
    char line[512], name[64];
    int64_t found = 0, missing = 0;
    while (fgets(line, sizeof line, file)) {
        /* Functions that give a tensor, or fill tensors; hk_accuracy gives a plain number. */
        if (strncmp(line, "HK_API", 6) != 0) continue;
        const char *at = strstr(line, "hk_tensor *hk_");
        if (!at) at = strstr(line, "hk_status hk_");
        if (!at) continue;
        at = strstr(at + 4, "hk_");
        assert_int_equal(sscanf(at, "hk_%63[a-z0-9_]", name), 1);
        found++;
        if (has_row(name)) continue;
        print_error("hk_%s has no row in the table of test_ops_grad.c\n", name);
        missing++;
    }
    fclose(file);
    assert_int_equal(missing, 0);
    assert_int_equal(found, COUNT(rows));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_operation_is_forgotten),
        cmocka_unit_test_setup_teardown(every_gradient, setup, teardown),
        cmocka_unit_test_setup_teardown(two_backwards_give_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(one_input_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(masks_carry_no_gradient, setup, teardown),
        cmocka_unit_test_setup_teardown(cast_rounds_the_gradient, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
