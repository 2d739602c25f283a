/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_ops_grad.c: a walk over every operation of hk_ops.h: gradient, forward mode, two
   backwards.
   SPDX-License-Identifier: MIT

   One row for each function that the header declares; the header itself is read, so one that has
   no row here fails. The families' own tests go into breadth: broadcasting, views, axes, kinks. */
#include "ops_fixture.h"

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
