/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_gradcheck.c: the checker itself: it must see small errors, refuse to check nothing, and
   leave no trace.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "tape.h"

/* y = x³ with planted errors. */
typedef struct plant {
    double slope;       /* factor on the gradient */
    double one_element; /* factor on the gradient of element 4 alone */
    double tangent;     /* factor on the direction */
    bool hidden;        /* an error in the direction that <v, J·u> does not see */
} plant;

static hk_status cube_forward(hk_op_call *c) {
    c->out[0] = hk_mul(c->in[0], hk_mul(c->in[0], c->in[0]));
    return HK_OK;
}

static hk_tensor *slope(hk_op_call *c, hk_tensor *along, double factor) {
    return hk_mul(along, hk_scale(hk_mul(c->in[0], c->in[0]), 3 * factor, 0));
}

static hk_status cube_backward(hk_op_call *c) {
    const plant *p = c->attr;
    hk_tensor *g = hk_contiguous(slope(c, c->gout[0], p->slope));
    if (!g) return HK_ERR_MEMORY;
    if (hk_tensor_count(g) > 4) element_put(g, 4, element_get(g, 4) * p->one_element);
    return hk_op_add_grad(c, 0, g);
}

static hk_status cube_jvp(hk_op_call *c) {
    const plant *p = c->attr;
    hk_tensor *t = hk_contiguous(slope(c, c->tin[0], p->tangent));
    const hk_random v =
        hk_random_stream(0, "gradcheck/v", 0); /* the checker's weights are 2v - 1 */
    if (!t) return HK_ERR_MEMORY;
    if (p->hidden) {
        element_put(t, 0, element_get(t, 0) + 2 * hk_random_uniform(v, 1) - 1);
        element_put(t, 1, element_get(t, 1) - (2 * hk_random_uniform(v, 0) - 1));
    }
    return hk_op_add_tangent(c, 0, t);
}

static const hk_op cube_op = {"cube", cube_forward, cube_backward, cube_jvp};

static hk_tensor *cube(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx;
    return hk_apply(&cube_op, arg, sizeof(plant), n, in, 1, NULL);
}

static hk_status check(hk_context *ctx, hk_function *fn, void *arg, hk_tensor *x, bool skip_jvp,
                       hk_gradcheck_result *result) {
    const hk_gradcheck_config config = {.skip_jvp = skip_jvp};
    return hk_gradcheck(ctx, fn, arg, 1, &x, &config, result);
}

static void planted_errors_are_seen(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 3), "cube", 0.5, 2, 0);
    static const struct {
        plant plant;
        bool right, skip_jvp, reverse; /* reverse: the error is in backward */
        int64_t failed;
    } cases[] = {
        {{1, 1, 1, false}, true, false, false, 0},
        {{1.001, 1, 1, false}, false, false, true, 9},
        {{1.000001, 1, 1, false}, false, false, true, 9},
        {{-1, 1, 1, false}, false, false, true, 9},
        {{0, 1, 1, false}, false, false, true, 9},
        {{NAN, 1, 1, false}, false, false, true, 9},
        {{INFINITY, 1, 1, false}, false, false, true, 9},
        {{1, 1.001, 1, false}, false, false, true, 1},
        {{1, 0, 1, false}, false, false, true, 1},
        {{1, NAN, 1, false}, false, false, true, 1},
        {{1, 1, 1.001, false}, false, false, false, 0},
        {{1, 1, -1, false}, false, false, false, 0},
        {{1, 1, 0, false}, false, false, false, 0},
        {{1, 1, NAN, false}, false, false, false, 0},
        {{1, 1, 0, false}, true, true, false, 0},
        {{1, 1, 1 + 1e-8, false},
         false,
         false,
         false,
         0}, /* below the difference's noise: <v, J·u> sees it */
        {{1, 1, 1, true}, false, false, false, 0}, /* and this the difference alone */
    };
    for (int64_t k = 0; k < COUNT(cases); k++) {
        hk_gradcheck_result r;
        plant p = cases[k].plant;
        const hk_status status = check(ctx, cube, &p, x, cases[k].skip_jvp, &r);
        assert_ok(ctx); /* a failed check is no sticky error */
        if (r.ok != cases[k].right) fail_msg("case %d: %s", (int)k, r.message);
        assert_int_equal(status, cases[k].right ? HK_OK : HK_ERR_CHECK);
        assert_int_equal(r.elements, 9);
        assert_int_equal(r.failed, cases[k].failed);
        if (cases[k].right)
            assert_string_equal(r.message, "ok");
        else
            assert_non_null(
                strstr(r.message, cases[k].reverse ? "derivatives are off" : "forward mode"));
        if (cases[k].failed == 1) {
            assert_int_equal(r.worst.index, 4);
            assert_non_null(strstr(r.message, "1 of 9"));
            assert_non_null(strstr(r.message, "input 0 element 4"));
        }
        must(hk_step_end(ctx));
    }
}

/* --- checks of nothing ----------------------------------------------------------------------- */

static hk_tensor *constant(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_scale(in[0], 0, 5);
}
static hk_tensor *tiny(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    return hk_scale(in[0], *(const double *)arg, 0);
}
static hk_tensor *first_alone(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_add(in[0], hk_scale(in[1], 0, 0));
}
static hk_tensor *unrelated(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)n, (void)in, (void)arg;
    return hk_full(ctx, HK_F64, HK_SHAPE(2), 1);
}
static hk_tensor *of_floats(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_cast(in[0], HK_F32);
}
static hk_tensor *nothing(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)in, (void)arg;
    return NULL;
}
static hk_tensor *refuses(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_matmul(in[0], in[0]);
}

static void vacuous_checks_fail(void **state) {
    hk_context *ctx = *state;
    hk_gradcheck_result r;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3), "x", 1, 2, 0),
              *z = seeded(ctx, HK_F64, HK_SHAPE(3), "z", 1, 2, 0);
    assert_int_equal(check(ctx, constant, NULL, x, false, &r), HK_ERR_CHECK);
    assert_non_null(strstr(r.message, "proves nothing"));
    double factor = 1e-4;
    assert_int_equal(check(ctx, tiny, &factor, x, true, &r), HK_ERR_CHECK);
    assert_non_null(strstr(r.message, "proves nothing"));
    factor = 1;
    must(check(ctx, tiny, &factor, x, true, &r));
    hk_tensor *in[] = {x, z};
    assert_int_equal(hk_gradcheck(ctx, first_alone, NULL, 2, in, NULL, &r), HK_ERR_CHECK);
    assert_non_null(strstr(r.message, "input 1"));
    must(hk_gradcheck(ctx, first_alone, NULL, 2, in,
                      &(hk_gradcheck_config){.skip = (const bool[]){false, true}}, &r));
    assert_int_equal(r.elements, 3);
    assert_ok(ctx);
}

static void real_errors_stick(void **state) {
    hk_context *ctx = *state;
    hk_gradcheck_result r;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(2, 3), "x", 1, 2, 0);
    static const struct {
        hk_function *fn;
        hk_status status;
        const char *word;
    } cases[] = {
        {unrelated, HK_ERR_GRADIENT, "requires a gradient"},
        {of_floats, HK_ERR_DTYPE, "f32"},
        {nothing, HK_ERR_ARGUMENT, "gave no result"},
        {refuses, HK_ERR_SHAPE, "inner sizes"},
    };
    for (int64_t k = 0; k < COUNT(cases); k++) {
        assert_int_equal(check(ctx, cases[k].fn, NULL, x, false, &r), cases[k].status);
        assert_false(r.ok);
        assert_non_null(strstr(r.message, cases[k].word));
        assert_int_equal(hk_error(ctx), cases[k].status);
        hk_error_clear(ctx);
    }
    hk_tensor *floats = seeded(ctx, HK_F32, HK_SHAPE(3), "x", 1, 2, 0), *none = NULL;
    assert_int_equal(check(ctx, constant, NULL, floats, false, NULL), HK_ERR_DTYPE);
    hk_error_clear(ctx);
    assert_int_equal(check(ctx, constant, NULL, hk_full(ctx, HK_F64, HK_SHAPE(3), 1), false, NULL),
                     HK_ERR_DTYPE);
    hk_error_clear(ctx);
    assert_int_equal(hk_gradcheck(ctx, constant, NULL, 1, &none, NULL, NULL), HK_ERR_ARGUMENT);
    hk_error_clear(ctx);
    assert_int_equal(hk_gradcheck(NULL, constant, NULL, 1, &x, NULL, NULL), HK_ERR_MEMORY);
}

/* --- no trace -------------------------------------------------------------------------------- */

static void inputs_are_restored(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 3), "cube", -2, 2, 0);
    double before[9];
    must(hk_tensor_read(x, before, sizeof before));
    plant right = {1, 1, 1, false}, wrong = {2, 1, 1, false};
    hk_gradcheck_result r;
    must(check(ctx, cube, &right, x, false, &r));
    assert_memory_equal(host(x), before, sizeof before);
    assert_null(hk_grad(x)); /* it asked for no gradient before */
    assert_int_equal(check(ctx, cube, &wrong, x, false, &r), HK_ERR_CHECK);
    assert_memory_equal(host(x), before, sizeof before);
    assert_int_equal(check(ctx, refuses, NULL,
                           hk_require_grad(seeded(ctx, HK_F64, HK_SHAPE(2, 3), "y", 1, 2, 0)),
                           false, &r),
                     HK_ERR_SHAPE);
    hk_error_clear(ctx);
    hk_require_grad(x);
    must(hk_backward(ctx, hk_sum(x, HK_ALL_AXES, false)));
    must(hk_step_end(ctx));
    must(check(ctx, cube, &right, x, false, &r));
    assert_values("gradient", hk_grad(x), 9, (const double[9]){0}, 0); /* zeroed, and still there */
    assert_int_equal(ctx->tape->count, 0);
    hk_grad_enable(ctx, false); /* works with recording off, and leaves it off */
    must(check(ctx, cube, &right, x, false, &r));
    assert_false(hk_grad_enable(ctx, true));
    /* A check needs the memory of one evaluation, not of hundreds. */
    assert_true(hk_context_describe(ctx).step_bytes < 65536);
}

typedef struct listing {
    int64_t count;
    double sum;
} listing;

static void list(void *arg, const hk_gradcheck_element *e) {
    listing *l = arg;
    assert_int_equal(e->input, 0);
    assert_int_equal(e->index, l->count);
    assert_true(e->ok && e->error <= e->tolerance);
    assert_close("analytic", e->index, e->analytic, e->numeric, e->tolerance);
    l->count++;
    l->sum += e->analytic;
}

static hk_tensor *sum_of_all(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)arg;
    hk_tensor *total = in[0];
    for (int i = 1; i < n; i++) total = hk_add(hk_mul(total, in[i]), in[i]);
    return total;
}

static void reports_and_many_inputs(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 3), "cube", 0.5, 2, 0);
    plant right = {1, 1, 1, false};
    listing l = {0};
    const hk_gradcheck_config config = {.report = list, .report_arg = &l};
    hk_gradcheck_result r;
    must(hk_gradcheck(ctx, cube, &right, 1, &x, &config, &r));
    assert_int_equal(l.count, 9);
    assert_true(r.largest > 1 && r.jvp_error < 1e-7 && r.adjoint_error < 1e-12);
    hk_tensor *many[100]; /* a module may have more parameters than any fixed list */
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "many/%d", i);
        many[i] = seeded(ctx, HK_F64, HK_SHAPE(2), name, 0.9, 1.1, 0);
    }
    must(hk_gradcheck(ctx, sum_of_all, NULL, 100, many, NULL, &r));
    assert_int_equal(r.elements, 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(planted_errors_are_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(vacuous_checks_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(real_errors_stick, setup, teardown),
        cmocka_unit_test_setup_teardown(inputs_are_restored, setup, teardown),
        cmocka_unit_test_setup_teardown(reports_and_many_inputs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
