/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_op.c: operations of one's own through hk_apply: several outputs, attributes, and every
   way to be wrong.
   SPDX-License-Identifier: MIT */
#include "testing.h"

typedef struct pair_attr {
    double factor;
} pair_attr;

/* (x, c) -> (factor·x, x·c): two outputs; the second input is used by one of them. */
static hk_status pair_forward(hk_op_call *c) {
    const pair_attr *attr = c->attr;
    c->out[0] = hk_scale(c->in[0], attr->factor, 0);
    c->out[1] = hk_mul(c->in[0], c->in[1]);
    return HK_OK;
}
static hk_status pair_backward(hk_op_call *c) {
    const pair_attr *attr = c->attr;
    hk_status status = HK_OK;
    if (c->gout[0] && hk_op_needs(c, 0))
        status = hk_op_add_grad(c, 0, hk_scale(c->gout[0], attr->factor, 0));
    if (c->gout[1] && hk_op_needs(c, 0) && !status)
        status = hk_op_add_grad(c, 0, hk_mul(c->gout[1], c->in[1]));
    if (c->gout[1] && hk_op_needs(c, 1) && !status)
        status = hk_op_add_grad(c, 1, hk_mul(c->gout[1], c->in[0]));
    return status;
}
static hk_status pair_jvp(hk_op_call *c) {
    const pair_attr *attr = c->attr;
    hk_status status = HK_OK;
    if (c->tin[0]) status = hk_op_add_tangent(c, 0, hk_scale(c->tin[0], attr->factor, 0));
    if (c->tin[0] && !status) status = hk_op_add_tangent(c, 1, hk_mul(c->tin[0], c->in[1]));
    if (c->tin[1] && !status) status = hk_op_add_tangent(c, 1, hk_mul(c->in[0], c->tin[1]));
    return status;
}
static const hk_op pair_op = {"pair", pair_forward, pair_backward, pair_jvp};

enum { BOTH, FIRST, SECOND };

static hk_tensor *pair(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx;
    pair_attr attr = {1.5};
    hk_tensor *out[2];
    hk_apply(&pair_op, &attr, sizeof attr, n, in, 2, out);
    attr.factor = NAN; /* attributes were copied */
    switch (*(const int *)arg) {
    case BOTH: return hk_add(out[0], hk_mul(out[1], out[1]));
    case FIRST: return out[0];
    default: return out[1];
    }
}

static void two_outputs(void **state) {
    hk_context *ctx = *state;
    /* c broadcasts: its gradient is summed back by hk_op_add_grad. */
    hk_tensor *in[] = {seeded(ctx, HK_F64, HK_SHAPE(3, 5), "x", 0.5, 2, 0),
                       seeded(ctx, HK_F64, HK_SHAPE(5), "c", 0.5, 2, 0)};
    for (int which = BOTH; which <= SECOND; which++) {
        const bool skip[] = {false, which == FIRST}; /* of which the first output knows nothing */
        assert_gradient(ctx, "pair", pair, &which, 2, in, skip);
    }
    hk_require_grad(in[1]);
    hk_require_grad(in[0]);
    int first = FIRST;
    hk_tensor *y = pair(ctx, 2, in, &first);
    must(hk_backward_from(ctx, y, hk_full(ctx, HK_F64, HK_SHAPE(3, 5), 1)));
    assert_values("c", hk_grad(in[1]), 5, (const double[5]){0}, 0); /* not touched: zero */
    must(hk_step_end(ctx));
    for (int i = 0; i < 3; i++)
        assert_non_null(hk_full(ctx, HK_F64, HK_SHAPE(1000), NAN)); /* what memory holds */
    must(hk_step_end(ctx));
    hk_tensor *through[] = {
        in[0], hk_exp(in[1])}; /* nor is an intermediate, which has no memory of zeros */
    must(hk_backward_from(ctx, pair(ctx, 2, through, &first),
                          hk_full(ctx, HK_F64, HK_SHAPE(3, 5), 1)));
    assert_values("c", hk_grad(in[1]), 5, (const double[5]){0}, 0);
    must(hk_step_end(ctx));
}

/* An operation that hands back its input gives a tensor of its own. */
static hk_status same_forward(hk_op_call *c) {
    c->out[0] = c->in[0];
    return HK_OK;
}
static hk_status same_backward(hk_op_call *c) { return hk_op_add_grad(c, 0, c->gout[0]); }
static hk_status same_jvp(hk_op_call *c) { return hk_op_add_tangent(c, 0, c->tin[0]); }
static const hk_op same_op = {"same", same_forward, same_backward, same_jvp};
static hk_tensor *same(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)arg;
    hk_tensor *square = hk_mul(in[0], in[0]), *y = hk_apply(&same_op, NULL, 0, n, in, 1, NULL);
    return hk_mul(hk_apply(&same_op, NULL, 0, 1, &square, 1, NULL), y);
}

static hk_status second_forward(hk_op_call *c) {
    c->out[0] = c->in[1];
    return HK_OK;
}
static const hk_op second_op = {"second", second_forward, same_backward, same_jvp};

static void handing_back_an_input(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = hk_require_grad(hk_tensor_new(ctx, HK_F64, HK_SHAPE(3)));
    hk_tensor *in[] = {
        w, hk_full(ctx, HK_F64, HK_SHAPE(3), 2)}; /* the constant must not become a variable */
    assert_ptr_not_equal(hk_apply(&second_op, NULL, 0, 2, in, 1, NULL), in[1]);
    assert_int_equal(hk_backward(ctx, hk_sum(in[1], HK_ALL_AXES, false)), HK_ERR_GRADIENT);
    hk_error_clear(ctx);
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3), "x", 0.5, 2, 0);
    assert_ptr_not_equal(hk_apply(&same_op, NULL, 0, 1, &x, 1, NULL), x);
    must(hk_step_end(ctx));
    assert_gradient(ctx, "same", same, NULL, 1, &x, NULL);
}

/* --- every way to be wrong ------------------------------------------------------------------- */

static hk_status gives_status(hk_op_call *c) {
    (void)c;
    return HK_ERR_FORMAT;
}
static hk_status says_why(hk_op_call *c) {
    return hk_fail(c->ctx, HK_ERR_IO, c->op->name, "because of %d", 42);
}
static hk_status makes_nothing(hk_op_call *c) {
    (void)c;
    return HK_OK;
}
static hk_status wrong_number(hk_op_call *c) {
    hk_op_output(c, 1, HK_F64, HK_SCALAR);
    return HK_OK;
}
static hk_status adds_null(hk_op_call *c) { return hk_op_add_grad(c, 0, NULL); }
static hk_status adds_wrong_shape(hk_op_call *c) {
    return hk_op_add_grad(c, 0, hk_full(c->ctx, HK_F64, HK_SHAPE(4), 1));
}
static hk_status adds_wrong_type(hk_op_call *c) {
    return hk_op_add_grad(c, 0, hk_cast(c->gout[0], HK_F32));
}
static hk_status adds_smaller(hk_op_call *c) {
    return hk_op_add_grad(c, 0, hk_full(c->ctx, HK_F64, HK_SCALAR, 1));
}
static hk_status adds_wide_tangent(hk_op_call *c) {
    return hk_op_add_tangent(c, 0, hk_full(c->ctx, HK_F64, HK_SHAPE(2, 3), 1));
}

static void wrong_forwards(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F64, HK_SHAPE(3), "x", 1, 2, 0)), *out[2];
    static const struct {
        hk_op op;
        hk_status status;
        const char *word;
    } cases[] = {
        {{"silent", gives_status, NULL, NULL},
         HK_ERR_FORMAT,
         "[silent] a file is not what it claims"},
        {{"speaking", says_why, NULL, NULL}, HK_ERR_IO, "[speaking] because of 42"},
        {{"empty", makes_nothing, NULL, NULL},
         HK_ERR_STATE,
         "[empty] forward made no output number 0"},
        {{"counting", wrong_number, NULL, NULL}, HK_ERR_ARGUMENT, "no output number 1"},
    };
    for (int64_t k = 0; k < COUNT(cases); k++) {
        out[0] = x;
        assert_null(hk_apply(&cases[k].op, NULL, 0, 1, &x, 1, out));
        assert_null(out[0]);
        if (hk_error(ctx) != cases[k].status || !strstr(hk_error_message(ctx), cases[k].word))
            fail_msg("not '%s' but '%s'", cases[k].word, hk_error_message(ctx));
        hk_error_clear(ctx);
    }
    const pair_attr attr = {2};
    hk_tensor *in[] = {x, x};
    assert_null(hk_apply(&pair_op, &attr, sizeof attr, 2, in, HK_OP_MAX_OUT + 1, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[pair]", "1 to 3 outputs");
    assert_null(hk_apply(&pair_op, &attr, sizeof attr, 2, in, 0, NULL));
    hk_error_clear(ctx);
    in[1] = NULL;
    assert_null(hk_apply(&pair_op, &attr, sizeof attr, 2, in, 2, out));
    assert_null(hk_apply(&pair_op, &attr, sizeof attr, 0, NULL, 2, out));
    assert_ok(ctx);
}

static void wrong_backwards(void **state) {
    hk_context *ctx = *state;
    static const struct {
        hk_op op;
        hk_status status;
        const char *word;
        bool jvp;
    } cases[] = {
        {{"no gradient", same_forward, NULL, same_jvp},
         HK_ERR_GRADIENT,
         "[backward] no gradient has no gradient",
         false},
        {{"silent", same_forward, gives_status, NULL}, HK_ERR_FORMAT, "[silent]", false},
        {{"speaking", same_forward, says_why, NULL}, HK_ERR_IO, "[speaking] because of 42", false},
        {{"null", same_forward, adds_null, NULL}, HK_ERR_ARGUMENT, "[null]", false},
        {{"shape", same_forward, adds_wrong_shape, NULL},
         HK_ERR_SHAPE,
         "[shape] a gradient (4)",
         false},
        {{"type", same_forward, adds_wrong_type, NULL},
         HK_ERR_SHAPE,
         "[type] a gradient (3) of f32",
         false},
        {{"small", same_forward, adds_smaller, NULL}, HK_ERR_SHAPE, "[small] a gradient ()", false},
        {{"no jvp", same_forward, same_backward, NULL},
         HK_ERR_GRADIENT,
         "[jvp] no jvp has no forward-mode",
         true},
        {{"silent jvp", same_forward, NULL, gives_status}, HK_ERR_FORMAT, "[silent jvp]", true},
        {{"wide", same_forward, NULL, adds_wide_tangent},
         HK_ERR_SHAPE,
         "[wide] a direction (2, 3)",
         true},
    };
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F64, HK_SHAPE(3), "x", 1, 2, 0));
    for (int64_t k = 0; k < COUNT(cases); k++) {
        hk_tensor *y = hk_apply(&cases[k].op, NULL, 0, 1, &x, 1, NULL),
                  *one = hk_full(ctx, HK_F64, HK_SHAPE(3), 1);
        assert_ok(ctx);
        if (cases[k].jvp)
            assert_null(hk_jvp(ctx, y, 1, &x, &one));
        else
            assert_int_equal(hk_backward_from(ctx, y, one), cases[k].status);
        if (hk_error(ctx) != cases[k].status || !strstr(hk_error_message(ctx), cases[k].word))
            fail_msg("not '%s' but '%s'", cases[k].word, hk_error_message(ctx));
        hk_error_clear(ctx);
        must(hk_step_end(ctx));
    }
    /* An operation without a gradient is no trouble where no gradient arrives. */
    hk_tensor *unused = hk_apply(&cases[0].op, NULL, 0, 1, &x, 1, NULL);
    assert_non_null(unused);
    hk_zero_grad(x);
    must(hk_backward(ctx, hk_sum(x, HK_ALL_AXES, false)));
    assert_values("x", hk_grad(x), 3, (const double[]){1, 1, 1}, 0);
    must(hk_step_end(ctx));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_outputs, setup, teardown),
        cmocka_unit_test_setup_teardown(handing_back_an_input, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_forwards, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_backwards, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
