/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_hooks_grad.c: hooks of gradients and of the end of backward.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "tensor.h"

/* --- hooks that write down what they see --------------------------------------------------------- */

typedef struct note {
    const char *name;
    hk_tensor *t; /* that it is called with */
    double grad;  /* its only element */
    int calls;
    hk_hook *handle, *remove;
    hk_hook *off;
    bool fails;
} note;

static char said[512];

static void assert_said(const char *wanted) {
    assert_string_equal(said, wanted);
    said[0] = 0;
}

static void see(hk_tensor *t, hk_tensor *grad, void *arg) {
    note *n = arg;
    n->t = t;
    n->grad = hk_tensor_item(grad); /* before hk_grad, which would make a clean gradient zero */
    assert_ptr_equal(grad, hk_grad(t));
    n->calls++;
    strcat(said, n->name);
    if (n->remove) hk_hook_remove(n->remove);
    if (n->off) hk_hook_enable(n->off, false);
    n->remove = n->off = NULL;
    if (n->fails) hk_fail(t->ctx, HK_ERR_ARGUMENT, "hook", "as asked for");
}

static void see_end(hk_context *ctx, void *arg) {
    note *n = arg;
    assert_non_null(ctx);
    n->calls++;
    strcat(said, n->name);
    if (n->t) n->grad = hk_tensor_item(hk_grad(n->t));
    if (n->remove) hk_hook_remove(n->remove);
    n->remove = NULL;
}

static hk_tensor *weight(hk_context *ctx, double value, const char *name) {
    return hk_tensor_set_name(hk_require_grad(kept(ctx, HK_F64, HK_SCALAR, &value)), name);
}

static hk_hook *look(hk_tensor *t, note *n) {
    n->handle = hk_hook_grad(t, see, n);
    assert_non_null(n->handle);
    return n->handle;
}

static int start(void **state) {
    said[0] = 0;
    return setup(state);
}

/* --- gradients ------------------------------------------------------------------------------------- */

/* z = w²; loss = z² + 3z: z is used twice, w two times by one operation. */
static void complete_and_once(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 2, "w"), *unused = weight(ctx, 1, "unused");
    note of_w = {.name = "w"}, of_z = {.name = "z"}, of_square = {.name = "s"},
         of_loss = {.name = "l"}, none = {.name = "!"}, end = {.name = "."};
    look(w, &of_w);
    look(unused, &none);
    assert_non_null(hk_hook_backward(ctx, see_end, &end));
    for (int step = 1; step <= 3; step++) {
        hk_tensor *z = hk_mul(w, w), *square = hk_mul(z, z);
        hk_tensor *loss = hk_add(square, hk_scale(z, 3, 0)), *beside = hk_exp(z);
        look(z, &of_z);
        look(square, &of_square);
        look(loss, &of_loss);
        look(beside, &none); /* this backward does not reach it */
        end.t = z;           /* at the end, gradients of intermediates are still there */
        must(hk_backward(ctx, loss));
        assert_said("lszw.");
        assert_ptr_equal(of_z.t, z);
        assert_ptr_equal(of_w.t, w);
        assert_close("loss", step, of_loss.grad, 1, 0);
        assert_close("square", step, of_square.grad, 1, 0);
        assert_close("z", step, of_z.grad, 2 * 4 + 3, 0);
        assert_close("z at the end", step, end.grad, 11, 0);
        assert_close("w", step, of_w.grad, step * 11 * 4, 0); /* as accumulated so far */
        must(hk_step_end(ctx));
    }
    assert_int_equal(none.calls, 0);
    assert_int_equal(of_z.calls, 3); /* hooks of intermediates ended with their steps */
    assert_int_equal(of_w.calls, 3);
}

static void two_passes_of_a_step(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w"), *v = weight(ctx, 2, "v");
    note of_w = {.name = "w"}, of_v = {.name = "v"}, of_z = {.name = "z"};
    look(w, &of_w);
    look(v, &of_v);
    hk_tensor *z = hk_mul(w, w), *y = hk_mul(z, v);
    look(z, &of_z);
    must(hk_backward(ctx, y));
    assert_true(strcmp(said, "zwv") == 0 || strcmp(said, "zvw") == 0);
    said[0] = 0;
    assert_close("z", 0, of_z.grad, 2, 0);
    assert_close("w", 0, of_w.grad, 12, 0);
    must(hk_backward(ctx, z)); /* v is not reached this time */
    assert_said("zw");
    assert_close("z", 1, of_z.grad, 1, 0); /* intermediates start anew */
    assert_close("w", 1, of_w.grad, 18, 0);
    hk_zero_grad(w);
    must(hk_backward(ctx, z));
    assert_close("w", 2, of_w.grad, 6, 0);
    must(hk_step_end(ctx));
}

static hk_status pass_on(hk_op_call *c) {
    return hk_op_output(c, 0, HK_F64, HK_SCALAR) ? HK_OK : 1;
}
static hk_status add_nothing(hk_op_call *c) {
    (void)c;
    return HK_OK;
}
static const hk_op blind = {"blind", pass_on, add_nothing, NULL};
static const hk_op one_way = {"one_way", pass_on, NULL, NULL};

/* Zero, but not written: the hook must see 0, not what lay in that memory. */
static void untouched_gradients(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w");
    note of_w = {.name = "w"}, of_z = {.name = "z"};
    look(w, &of_w);
    must(hk_backward(ctx, hk_mul(w, w)));
    assert_close("w", 0, of_w.grad, 6, 0);
    hk_zero_grad(w);
    of_w.grad = of_z.grad = 99;
    hk_tensor *z = hk_scale(w, 2, 0);
    look(z, &of_z);
    must(hk_backward(ctx, hk_apply(&blind, NULL, 0, 1, &z, 1, NULL)));
    assert_close("z", 1, of_z.grad, 0, 0);
    assert_close("w", 1, of_w.grad, 0, 0);
    must(hk_backward(ctx, hk_mul(w, w)));
    hk_zero_grad(w); /* its memory holds 6 */
    of_w.grad = 99;
    must(hk_backward(ctx, hk_apply(&blind, NULL, 0, 1, &w, 1, NULL)));
    assert_close("w", 2, of_w.grad, 0, 0);
    must(hk_step_end(ctx));
}

/* Order, changes from inside: as for hooks of modules. */
static void lists(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w");
    note a = {.name = "a"}, b = {.name = "b"}, c = {.name = "c"}, d = {.name = "d"};
    look(w, &a), look(w, &b), look(w, &c);
    d.handle = hk_hook_prepend(look(w, &d));
    must(hk_backward(ctx, hk_mul(w, w)));
    assert_said("dabc");
    a.remove = a.handle;
    b.off = c.handle;
    must(hk_backward(ctx, hk_mul(w, w)));
    assert_said("dab");
    b.remove = d.handle;
    must(hk_backward(ctx, hk_mul(w, w)));
    assert_said("db");
    must(hk_backward(ctx, hk_mul(w, w)));
    assert_said("b");
    must(hk_step_end(ctx));

    hk_tensor *z = hk_mul(w, w); /* of an intermediate */
    note e = {.name = "e"}, f = {.name = "f"};
    look(z, &e);
    hk_hook_prepend(look(z, &f));
    must(hk_backward(ctx, z));
    assert_said("feb");
    f.remove = f.handle;
    must(hk_backward(ctx, z));
    assert_said("feb");
    must(hk_backward(ctx, z));
    assert_said("eb");
    must(hk_step_end(ctx));
    hk_tensor_destroy(w); /* and its hooks with it */
}

/* --- the end of backward ------------------------------------------------------------------------------ */

static void end_of_backward(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w");
    note of_w = {.name = "w"}, first = {.name = "1"}, second = {.name = "2"}, third = {.name = "3"};
    first.handle = hk_hook_backward(ctx, see_end, &first);
    second.handle = hk_hook_backward(ctx, see_end, &second);
    third.handle = hk_hook_prepend(hk_hook_backward(ctx, see_end, &third));
    look(w, &of_w);
    hk_tensor *z = hk_mul(w, w);
    must(hk_backward(ctx, z));
    assert_said("w312");
    first.remove = second.handle;
    third.remove = third.handle;
    must(hk_backward(ctx, z));
    assert_said("w31");
    hk_hook_enable(first.handle, false);
    must(hk_backward(ctx, z));
    assert_said("w");
    must(hk_step_end(ctx));
}

static void not_after_errors(void **state) {
    hk_context *ctx = *state;
    hk_tensor *w = weight(ctx, 3, "w");
    note of_w = {.name = "w"}, of_z = {.name = "z"}, end = {.name = "."};
    look(w, &of_w);
    assert_non_null(hk_hook_backward(ctx, see_end, &end));
    const double number = 1;
    hk_tensor *constant = hk_constant(ctx, HK_F64, HK_SCALAR, &number);
    assert_int_equal(hk_backward(ctx, constant), HK_ERR_GRADIENT);
    assert_said("");
    hk_error_clear(ctx);
    /* w is reached, then an operation has no gradient. */
    hk_tensor *bad = hk_apply(&one_way, NULL, 0, 1, &w, 1, NULL);
    hk_tensor *z = hk_mul(w, bad);
    look(z, &of_z);
    assert_int_equal(hk_backward(ctx, z), HK_ERR_GRADIENT);
    assert_said("z");
    hk_error_clear(ctx);
    must(hk_step_end(ctx));
    hk_zero_grad(w);
    must(hk_backward(ctx, hk_mul(w, w))); /* the next pass is as ever */
    assert_said("w.");
    assert_close("w", 0, of_w.grad, 6, 0);
    must(hk_step_end(ctx));
    of_w.fails = true; /* an error that a hook makes */
    assert_int_equal(hk_backward(ctx, hk_mul(w, w)), HK_ERR_ARGUMENT);
    assert_said("w");
    hk_error_clear(ctx);
    must(hk_step_end(ctx));
}

/* --- errors ------------------------------------------------------------------------------------------------ */

static void what_cannot_be_hooked(void **state) {
    hk_context *ctx = *state;
    note n = {.name = "n"};
    const double number = 1;
    hk_tensor *w = weight(ctx, 3, "w"), *whole = kept(ctx, HK_I32, HK_SCALAR, &number);
    assert_null(hk_hook_grad(NULL, see, &n));
    assert_ok(ctx);
    assert_null(hk_hook_grad(w, NULL, &n));
    expect_error(ctx, HK_ERR_ARGUMENT, "[hook_grad]", "a function must be given");
    assert_null(hk_hook_grad(whole, see, &n));
    expect_error(ctx, HK_ERR_GRADIENT, "[hook_grad]", "has no gradient");
    assert_null(hk_hook_grad(kept(ctx, HK_F64, HK_SCALAR, &number), see, &n));
    expect_error(ctx, HK_ERR_GRADIENT, "has no gradient");
    assert_null(hk_hook_grad(hk_full(ctx, HK_F64, HK_SCALAR, 1), see, &n));
    expect_error(ctx, HK_ERR_GRADIENT, "has no gradient");
    hk_grad_enable(ctx, false);
    assert_null(hk_hook_grad(hk_mul(w, w), see, &n));
    expect_error(ctx, HK_ERR_GRADIENT, "has no gradient");
    hk_grad_enable(ctx, true);
    hk_tensor *old = hk_mul(w, w);
    must(hk_step_end(ctx));
    assert_null(hk_hook_grad(old, see, &n));
    expect_error(ctx, HK_ERR_STALE, "hk_tensor_keep");
    assert_null(hk_hook_backward(NULL, see_end, &n));
    assert_null(hk_hook_backward(ctx, NULL, &n));
    expect_error(ctx, HK_ERR_ARGUMENT, "[hook_backward]", "a function must be given");
    must(hk_backward(ctx, hk_mul(w, w)));
    assert_said("");
    must(hk_step_end(ctx));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(complete_and_once),     TEST(two_passes_of_a_step),
        TEST(untouched_gradients),   TEST(lists),
        TEST(end_of_backward),       TEST(not_after_errors),
        TEST(what_cannot_be_hooked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
