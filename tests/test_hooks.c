/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_hooks.c: lists of hooks, and hooks of modules: order, changes from inside, arguments, fused groups.
   SPDX-License-Identifier: MIT */
#include "net_fixture.h"

#include "conv_block.h"

/* --- hooks that write down who they are ---------------------------------------------------------- */

static char said[512];

static void say(const char *text) {
    assert_true(strlen(said) + strlen(text) < sizeof said);
    strcat(said, text);
}

static void assert_said(const char *wanted) {
    assert_string_equal(said, wanted);
    said[0] = 0;
}

typedef struct letter {
    const char *text;
    hk_hook *handle;
    void (*act)(struct letter *self);
    struct letter *other; /* what `act` is about */
    hk_module *module;
} letter;

static void speak(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)x, (void)y;
    letter *l = arg;
    say(l->text);
    if (l->act) l->act(l);
}

/* A linear module with hooks A to D behind it. */
typedef struct four {
    hk_context *ctx;
    hk_module *m;
    letter at[4];
} four;

static void four_start(four *f) {
    *f = (four){.ctx = context(HK_F32, 1, 1),
                .at = {{.text = "A"}, {.text = "B"}, {.text = "C"}, {.text = "D"}}};
    f->m = hk_linear(f->ctx, 3, 2);
    for (int i = 0; i < 4; i++) {
        f->at[i].module = f->m;
        f->at[i].handle = hk_hook_forward(f->m, speak, &f->at[i]);
        assert_non_null(f->at[i].handle);
    }
    said[0] = 0;
}

static void pass(const four *f, const char *wanted) {
    assert_non_null(hk_forward(f->m, normal(f->ctx, "x", HK_SHAPE(4, 3))));
    assert_int_equal(hk_step_end(f->ctx), HK_OK);
    assert_said(wanted);
}

/* --- lists --------------------------------------------------------------------------------------- */

static void order(void **state) {
    (void)state;
    four f;
    four_start(&f);
    pass(&f, "ABCD");
    assert_ptr_equal(hk_hook_prepend(f.at[2].handle), f.at[2].handle);
    pass(&f, "CABD");
    hk_hook_prepend(f.at[2].handle); /* it is the first already */
    pass(&f, "CABD");
    assert_true(hk_hook_enable(f.at[0].handle, false));
    assert_false(hk_hook_enable(f.at[0].handle, false));
    pass(&f, "CBD");
    hk_hook_prepend(f.at[0].handle);
    pass(&f, "CBD");
    assert_false(hk_hook_enable(f.at[0].handle, true));
    assert_true(hk_hook_enable(f.at[0].handle, true));
    pass(&f, "ACBD");
    letter before[] = {{.text = "1"}, {.text = "2"}};
    for (int i = 0; i < 2; i++) assert_non_null(hk_hook_before(f.m, speak, &before[i]));
    pass(&f, "12ACBD");
    hk_hook_remove(f.at[3].handle);
    hk_hook_remove(f.at[0].handle);
    pass(&f, "12CB");
    hk_context_destroy(f.ctx);
}

static void remove_other(letter *self) {
    if (self->other) hk_hook_remove(self->other->handle);
    self->other = NULL;
}

static void remove_and_add(letter *self) {
    remove_other(self);
    self->act = NULL;
    static letter e = {.text = "E"};
    e.handle = hk_hook_forward(self->module, speak, &e);
    assert_non_null(e.handle);
}

static void prepend_self(letter *self) { hk_hook_prepend(self->handle); }

static void switch_other(letter *self) {
    hk_hook_enable(self->other->handle, !hk_hook_enable(self->other->handle, false));
}

static void removal_from_inside(void **state) {
    (void)state;
    static const struct {
        int victim;
        const char *now, *later;
    } rows[] = {
        {0, "ABCD", "BCD"}, /* an earlier one, which has spoken already */
        {1, "ABCD", "ACD"}, /* itself */
        {2, "ABD", "ABD"},  /* a later one: it is not called any more */
        {3, "ABC", "ABC"},  /* the last */
    };
    for (int i = 0; i < 4; i++) {
        four f;
        four_start(&f);
        f.at[1].act = remove_other;
        f.at[1].other = &f.at[rows[i].victim];
        pass(&f, rows[i].now);
        pass(&f, rows[i].later);
        hk_context_destroy(f.ctx);
    }
    four f; /* each removes itself */
    four_start(&f);
    for (int i = 0; i < 4; i++) {
        f.at[i].act = remove_other;
        f.at[i].other = &f.at[i];
    }
    pass(&f, "ABCD");
    pass(&f, "");
    assert_false(hk__is_hooked(f.m));
    hk_context_destroy(f.ctx);
}

static void changes_from_inside(void **state) {
    (void)state;
    four f;
    four_start(&f);
    f.at[1].act = remove_and_add;
    pass(&f, "ABCDE"); /* what is added meanwhile is called too */
    pass(&f, "ABCDE");
    f.at[3].act = remove_and_add;
    f.at[3].other = &f.at[3];
    pass(&f, "ABCDEE");
    pass(&f, "ABCEE");
    hk_context_destroy(f.ctx);

    four_start(&f); /* hooks that go to the front are called once, and end */
    f.at[0].act = f.at[2].act = prepend_self;
    pass(&f, "ABCD");
    pass(&f, "CABD");
    pass(&f, "ACBD");
    f.at[0].act = NULL;
    f.at[2].act = switch_other;
    f.at[2].other = &f.at[3];
    pass(&f, "CAB");
    pass(&f, "CABD");
    hk_context_destroy(f.ctx);
}

/* --- modules --------------------------------------------------------------------------------------- */

typedef struct seen {
    hk_module *m;
    hk_tensor *x, *y;
} seen;
static seen events[64];
static int n_events;

static void see(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    assert_non_null(m);
    assert_non_null(x);
    assert_ptr_equal(arg, events);
    assert_true(n_events < 64);
    events[n_events++] = (seen){m, x, y};
    char text[64];
    snprintf(text, sizeof text, "%s%s ", y ? ">" : "<", hk_module_name(m));
    say(text);
}

static void hook_all(hk_module *m) {
    assert_non_null(hk_hook_before(m, see, events));
    assert_non_null(hk_hook_forward(m, see, events));
    for (int i = 0; i < hk_module_child_count(m); i++) hook_all(hk_module_child_at(m, i));
}

/* The event that is behind a module, or before it. */
static const seen *event(const hk_module *m, bool behind) {
    for (int i = 0; i < n_events; i++)
        if (events[i].m == m && !events[i].y == !behind) return &events[i];
    fail_msg("nothing of '%s' was seen", hk_module_name(m));
    return NULL;
}

static hk_module *tree(hk_context *ctx) {
    hk_module *body = hk_sequential(ctx, hk_linear(ctx, 6, 6), hk_activation(ctx, "tanh"));
    return hk_sequential(ctx, hk_flatten(ctx), hk_residual(ctx, body, NULL), hk_dropout(ctx, 0.5),
                         hk_linear(ctx, 6, 2));
}

static void arguments(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = tree(ctx), *part = hk_module_child_at(net, 1), *body = NULL;
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2, 3), NULL), HK_OK);
    hook_all(net);
    body = hk_module_child_at(part, 0);
    for (int mode = 0; mode < 4; mode++) { /* training or evaluation, recording or not */
        n_events = 0;
        hk_module_train(net, mode % 2);
        hk_grad_enable(ctx, mode / 2);
        hk_tensor *x = normal(ctx, "x", HK_SHAPE(4, 2, 3)), *y = hk_forward(net, x);
        assert_ok(ctx);
        assert_said("< <0 >0 <1 <1.body <1.body.0 >1.body.0 <1.body.1 >1.body.1 >1.body >1 <2 >2 "
                    "<3 >3 > ");
        assert_ptr_equal(event(net, false)->x, x);
        assert_ptr_equal(event(net, true)->x, x);
        assert_ptr_equal(event(net, true)->y, y);
        assert_ptr_equal(event(hk_module_child_at(net, 3), true)->y, y);
        assert_ptr_equal(event(part, false)->x, event(hk_module_child_at(net, 0), true)->y);
        assert_ptr_equal(event(body, false)->x, event(part, false)->x);
        assert_ptr_equal(event(hk_module_child_at(body, 1), true)->x,
                         event(hk_module_child_at(body, 0), true)->y);
        for (int i = 0; i < 6; i++) /* y = body(x) + x is in place when the hook runs */
            assert_true(fabs(number(event(part, true)->y, i) - number(event(part, true)->x, i) -
                             number(event(body, true)->y, i)) <= 1e-6);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    hk_context_destroy(ctx);
}

static hk_tensor *penalty;

static void add_penalty(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)x, (void)arg;
    penalty = hk_sum(hk_mul(y, y), HK_ALL_AXES, false);
}

/* What a hook computes is on the tape. */
static void computing_in_a_hook(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *m = hk_linear_no_bias(ctx, 2, 1);
    assert_int_equal(hk_module_build(m, HK_SHAPE(-1, 2), NULL), HK_OK);
    const double w[] = {2, 3}, x[] = {5, 7};
    hk_tensor *weight = hk_module_find(m, "weight");
    assert_int_equal(hk_tensor_write(weight, w, sizeof w), HK_OK);
    assert_non_null(hk_hook_forward(m, add_penalty, NULL));
    assert_non_null(hk_forward(m, hk_constant(ctx, HK_F64, HK_SHAPE(1, 2), x)));
    assert_int_equal(hk_backward(ctx, penalty), HK_OK);
    assert_true(number(hk_grad(weight), 0) == 2 * 31 * 5);
    assert_true(number(hk_grad(weight), 1) == 2 * 31 * 7);
    hk_context_destroy(ctx);
}

/* --- fused groups ------------------------------------------------------------------------------------ */

static void same_bits(hk_tensor *a, hk_tensor *b) { assert_true(same_elements(a, b)); }

/* A hook of the activation alone sees what fusing hides, and changes no bit. */
static void fused_groups(void **state) {
    (void)state;
    for (int who = 0; who < 3; who++)
        for (int before = 0; before < 2; before++) {
            hk_context *ctx = context(HK_F32, 2, 1);
            const hk_pool2d_config two = {.kernel = {2, 2}};
            hk_module *net = hk_sequential(ctx, hk_conv2d(ctx, 2, 5, HK_SQUARE(3), NULL),
                                           hk_activation(ctx, "silu"), hk_max_pool2d(ctx, &two));
            hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 2, 12, 14)));
            hk_tensor *fused = hk_tensor_keep(hk_forward(net, x)), *at[4] = {x};
            for (int i = 0; i < 3; i++)
                at[i + 1] = hk_tensor_keep(hk_forward(hk_module_child_at(net, i), at[i]));
            assert_ok(ctx);
            hk_module *m = hk_module_child_at(net, who);
            hk_hook *hook =
                before ? hk_hook_before(m, see, events) : hk_hook_forward(m, see, events);
            assert_int_equal(hk__conv_block_length(net->children, 3), 0);
            n_events = 0;
            same_bits(hk_forward(net, x), fused);
            assert_int_equal(n_events, 1);
            same_bits(events[0].x, at[who]);
            if (!before) same_bits(events[0].y, at[who + 1]);
            hk_hook_enable(hook, false); /* off: fused again */
            assert_int_equal(hk__conv_block_length(net->children, 3), 3);
            same_bits(hk_forward(net, x), fused);
            assert_int_equal(n_events, 1);
            hk_context_destroy(ctx);
        }
    said[0] = 0;
}

/* --- errors and ends ----------------------------------------------------------------------------------- */

static void errors(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = tree(ctx);
    assert_null(hk_hook_before(NULL, see, NULL));
    assert_null(hk_hook_forward(NULL, see, NULL));
    assert_null(hk_hook_before(net, NULL, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[hook_before] a function must be given");
    assert_null(hk_hook_forward(net, NULL, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[hook_forward] a function must be given");
    hk_hook_remove(NULL);
    assert_false(hk_hook_enable(NULL, true));
    assert_null(hk_hook_prepend(NULL));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2, 3), NULL), HK_OK);
    hook_all(net);
    n_events = 0;
    /* The first linear layer refuses this: what is before it was seen, what is behind was not. */
    assert_null(hk_forward(net, normal(ctx, "x", HK_SHAPE(4, 7))));
    assert_said("< <0 >0 <1 <1.body <1.body.0 ");
    assert_null(hk_forward(net, normal(ctx, "x", HK_SHAPE(4, 6)))); /* the error is sticky */
    assert_null(hk_hook_forward(net, see, NULL));
    assert_said("");
    hk_error_clear(ctx);
    hk_module_destroy(net); /* and all hooks with it */
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(removal_from_inside),
        cmocka_unit_test(changes_from_inside),
        cmocka_unit_test(arguments),
        cmocka_unit_test(computing_in_a_hook),
        cmocka_unit_test(fused_groups),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
