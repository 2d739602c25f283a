/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_jacobian_state.c: looking at Jacobians changes nothing; bad input is refused, and leaves nothing behind.
   SPDX-License-Identifier: MIT */
#include "hk_jacobian.h"
#include "module.h"
#include "net_fixture.h"

/* --- training goes on as if nothing had been -------------------------------------------------- */

/* Everything that draws, keeps statistics or has parameters of its own. */
static hk_module *network(hk_context *ctx) {
    return hk_sequential(ctx, hk_linear(ctx, 12, 16), hk_batch_norm1d(ctx, NULL),
                         hk_activation(ctx, "rrelu"), hk_dropout(ctx, 0.4), hk_linear(ctx, 16, 16),
                         hk_activation(ctx, "prelu"), hk_linear(ctx, 16, 4));
}

static void count_pass(hk_context *ctx, void *arg) {
    (void)ctx;
    ++*(int *)arg;
}
static void count_forward(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)x, (void)y;
    ++*(int *)arg;
}
static void count_grad(hk_tensor *t, hk_tensor *grad, void *arg) {
    (void)t, (void)grad;
    ++*(int *)arg;
}

static uint64_t whole_state(hk_module *net) {
    return fingerprint(hk_module_parameters(net)) * 31 + fingerprint(hk_module_buffers(net));
}

static const hk_jacobian_config everything = {.full_up_to = 100, .radius = true, .iterations = 5};

static void look(hk_module *net) {
    hk_context *ctx = hk_module_context(net);
    hk_jacobian r;
    hk_tensor *x = normal(ctx, "look", HK_SHAPE(3, 12)); /* a step tensor will do */
    assert_int_equal(hk_module_jacobian(net, x, &everything, &r, NULL), HK_OK);
    assert_true(r.norm > 0 && r.count == 4);
}

/* Weights and buffers after six steps, with looks between them and without. */
static uint64_t trained(bool looks) {
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_module *net = network(ctx);
    hk_optimizer *opt = hk_adam(ctx, hk_module_parameters(net), hk_adam_defaults());
    hk_tensor *labels = hk_tensor_new(ctx, HK_I32, HK_SHAPE(8));
    for (int i = 0; i < 8; i++) element_put(labels, i, i % 4);
    assert_non_null(opt);
    for (int step = 0; step < 6; step++) {
        if (looks) look(net);
        char name[8];
        snprintf(name, sizeof name, "x%d", step);
        hk_optimizer_zero_grad(opt);
        hk_tensor *loss =
            hk_cross_entropy(hk_forward(net, normal(ctx, name, HK_SHAPE(8, 12))), labels);
        assert_int_equal(hk_backward(ctx, loss), HK_OK);
        /* Also between backward and the update: gradients live on. */
        if (looks && step % 2) look(net);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    const uint64_t hash = whole_state(net);
    hk_context_destroy(ctx);
    return hash;
}

static void training_goes_on(void **state) {
    (void)state;
    assert_true(trained(false) == trained(true));
}

/* --- what there is stays as it is ------------------------------------------------------------- */

enum { MOST = 2048 };
typedef struct snapshot {
    float grad[MOST];
    bool clean[16], requires[16], training[16], recording, buffers, stepped;
    uint64_t values, train_step, version;
    int64_t n;
    hk_tensor *grads[16];
} snapshot;

static void take(hk_module *net, snapshot *s) {
    hk_context *ctx = hk_module_context(net);
    memset(s, 0, sizeof *s);
    const hk_parameters all = hk_module_parameters(net);
    for (int p = 0; p < all.count; p++) {
        hk_tensor *g = all.items[p]->grad;
        assert_true(s->n + hk_tensor_count(g) <= MOST);
        memcpy(s->grad + s->n, host(g), sizeof(float) * (size_t)hk_tensor_count(g));
        s->n += hk_tensor_count(g);
        s->clean[p] = g->clean;
        s->requires[p] = all.items[p]->requires;
        s->grads[p] = all.items[p]->grad;
    }
    s->training[15] = net->training;
    for (int i = 0; i < net->n_children; i++) s->training[i] = net->children[i]->training;
    s->recording = hk_grad_enable(ctx, true);
    (void)hk_grad_enable(ctx, s->recording);
    s->buffers = hk_buffers_enabled(ctx);
    s->values = whole_state(net);
    s->train_step = ctx->train_step;
    s->version = ctx->version;
}

static void assert_same(hk_module *net, const snapshot *before) {
    static snapshot now;
    take(net, &now);
    assert_memory_equal(&now, before, sizeof now);
}

/* Gradients partly there, partly clean; one member in evaluation mode, one parameter frozen; recording and buffers as
   told. */
static hk_module *used_network(hk_context *ctx) {
    hk_module *net = network(ctx);
    hk_tensor *y = hk_forward(net, normal(ctx, "x", HK_SHAPE(8, 12)));
    assert_int_equal(hk_backward(ctx, hk_mean(y, HK_ALL_AXES, false)), HK_OK);
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_zero_grad(hk_module_find(net, "4.weight"));
    hk_zero_grad(hk_module_find(net, "5.alpha"));
    hk_module_find(net, "0.bias")->requires = false;
    (void)hk_module_train(hk_module_child_at(net, 1), false);
    return net;
}

static void everything_stays(void **state) {
    (void)state;
    static snapshot before;
    for (int off = 0; off < 2; off++) {
        hk_context *ctx = context(HK_F32, 1, 4);
        hk_module *net = used_network(ctx);
        if (off) {
            (void)hk_grad_enable(ctx, false);
            (void)hk_buffers_enable(ctx, false);
        }
        int passes = 0, forwards = 0, grads = 0;
        assert_non_null(hk_hook_backward(ctx, count_pass, &passes));
        assert_non_null(hk_hook_grad(hk_module_find(net, "0.weight"), count_grad, &grads));
        assert_non_null(hk_hook_forward(hk_module_child_at(net, 0), count_forward, &forwards));
        take(net, &before);
        look(net);
        assert_same(net, &before);
        /* Hooks of backward passes hear of training alone; hooks of modules of every pass. */
        assert_int_equal(passes, 0);
        assert_int_equal(grads, 0);
        assert_int_equal(forwards, 1);
        (void)hk_grad_enable(ctx, true);
        hk_tensor *y = hk_forward(net, normal(ctx, "x", HK_SHAPE(8, 12)));
        assert_int_equal(hk_backward(ctx, hk_mean(y, HK_ALL_AXES, false)), HK_OK);
        assert_int_equal(passes, 1);
        assert_int_equal(grads, 1);
        hk_context_destroy(ctx);
    }
}

/* A hook of the forward pass may add and remove hooks of backward passes: the lists stay whole. */
typedef struct change {
    hk_hook *gone;
    int calls, early;
} change;

static void change_hooks(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)x, (void)y;
    change *c = arg;
    if (!c->gone) return;
    assert_non_null(hk_hook_backward(hk_module_context(m), count_pass, &c->calls));
    hk_hook_remove(c->gone);
    c->gone = NULL;
}

static void hooks_change_hooks(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_module *net = network(ctx);
    change c = {.calls = 0};
    int always = 0;
    c.gone = hk_hook_backward(ctx, count_pass, &c.early);
    assert_non_null(hk_hook_backward(ctx, count_pass, &always));
    assert_non_null(hk_hook_forward(net, change_hooks, &c));
    look(net);
    assert_true(c.calls == 0 && c.early == 0 && always == 0);
    for (int i = 1; i <= 2; i++) {
        hk_tensor *y = hk_forward(net, normal(ctx, "x", HK_SHAPE(8, 12)));
        assert_int_equal(hk_backward(ctx, hk_mean(y, HK_ALL_AXES, false)), HK_OK);
        assert_int_equal(hk_step_end(ctx), HK_OK);
        assert_true(c.calls == i && c.early == 0 && always == i);
    }
    hk_context_destroy(ctx);
}

/* x is read alone, whether kept or of the step, contiguous or not, requiring a gradient or not. */
static void input_stays(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_module *net = network(ctx);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 12)));
    hk_require_grad(x);
    hk_jacobian plain, turned;
    assert_int_equal(hk_module_jacobian(net, x, &everything, &plain, NULL), HK_OK);
    assert_true(x->requires && x->grad->clean && !x->tangent);
    hk_tensor *other = hk_tensor_keep(hk_transpose(x, 0, 1));
    assert_int_equal(hk_module_jacobian(net, hk_transpose(other, 0, 1), &everything, &turned, NULL),
                     HK_OK);
    assert_memory_equal(&plain.norm, &turned.norm, sizeof plain.norm);
    assert_true(plain.mean_square == turned.mean_square && plain.largest == turned.largest);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

/* In training mode as in evaluation mode: no dropout, running statistics. */
static void modes(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_module *net = network(ctx);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 12)));
    hk_jacobian r[2];
    for (int i = 0; i < 2; i++) {
        (void)hk_module_train(net, i == 0);
        assert_int_equal(hk_module_jacobian(net, x, NULL, &r[i], NULL), HK_OK);
        assert_true(hk_module_is_training(net) == (i == 0));
    }
    assert_true(r[0].norm == r[1].norm && r[0].mean_square == r[1].mean_square);
    hk_context_destroy(ctx);
}

/* Same seed, same bits, on any number of threads; another seed, other probes, and another start of the same search. */
static void seeds(void **state) {
    (void)state;
    hk_jacobian r[3];
    for (int i = 0; i < 3; i++) {
        hk_context *ctx = context(HK_F32, i == 1 ? 2 : 1, 4);
        hk_module *net = network(ctx);
        hk_tensor *x = normal(ctx, "x", HK_SHAPE(3, 12));
        const hk_jacobian_config config = {.seed = i == 2 ? 7 : 0, .iterations = 1};
        assert_int_equal(hk_module_jacobian(net, x, &config, &r[i], NULL), HK_OK);
        hk_context_destroy(ctx);
    }
    assert_true(r[0].norm == r[1].norm && r[0].mean_square == r[1].mean_square);
    assert_true(r[0].norm != r[2].norm && r[0].mean_square != r[2].mean_square);
    assert_false(r[0].converged);
}

/* --- refusals --------------------------------------------------------------------------------- */

static hk_status double_forward(hk_op_call *c) {
    c->out[0] = hk_scale(c->in[0], 2, 0);
    return hk_error(c->ctx);
}
static hk_status double_backward(hk_op_call *c) {
    return hk_op_add_grad(c, 0, hk_scale(c->gout[0], 2, 0));
}
static const hk_op no_jvp = {"doubled", double_forward, double_backward, NULL};
static hk_tensor *doubled_forward(hk_module *m, void *own, hk_tensor *x) {
    (void)m, (void)own;
    return hk_apply(&no_jvp, NULL, 0, 1, &x, 1, NULL);
}
static hk_tensor *constant_forward(hk_module *m, void *own, hk_tensor *x) {
    (void)own;
    return hk_full(hk_module_context(m), HK_F32, hk_tensor_shape(x), 1);
}
static hk_tensor *sum_forward(hk_module *m, void *own, hk_tensor *x) {
    (void)m, (void)own;
    return hk_sum(x, HK_ALL_AXES, false);
}
static hk_status same_shape(hk_module *m, void *own, hk_shape in, hk_shape *out) {
    (void)m, (void)own;
    *out = in;
    return HK_OK;
}
static const hk_module_class
    doubled = {.name = "doubled", .shape = same_shape, .forward = doubled_forward},
    constant = {.name = "constant", .shape = same_shape, .forward = constant_forward},
    summed = {.name = "summed", .shape = same_shape, .forward = sum_forward};

static void refuse(hk_module *m, hk_tensor *x, const hk_jacobian_config *config, hk_status status,
                   const char *part) {
    hk_context *ctx = hk_module_context(m);
    hk_jacobian r;
    memset(&r, 1, sizeof r);
    assert_int_equal(hk_module_jacobian(m, x, config, &r, NULL), status);
    expect_error(ctx, status, part);
    assert_true(r.norm == 0 && r.samples == 0 && isnan(r.radius));
}

static hk_tensor *with(hk_context *ctx, double bad) {
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(3, 12));
    element_put(x, 2 * 12 + 5, bad);
    return x;
}

static void refusals(void **state) {
    (void)state;
    static snapshot before;
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_module *net = used_network(ctx);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 12)));
    take(net, &before);
    refuse(net, with(ctx, NAN), NULL, HK_ERR_NONFINITE, "sample 2 has nan at element 5");
    refuse(net, with(ctx, INFINITY), NULL, HK_ERR_NONFINITE, "sample 2 has inf at element 5");
    refuse(net, NULL, NULL, HK_ERR_ARGUMENT, "no input was given");
    refuse(net, x, &(hk_jacobian_config){.probes = -1}, HK_ERR_ARGUMENT,
           "must not be negative: -1, 0");
    refuse(net, x, &(hk_jacobian_config){.iterations = -2}, HK_ERR_ARGUMENT, "negative: 0, -2");
    refuse(net, x, &(hk_jacobian_config){.tolerance = NAN}, HK_ERR_ARGUMENT, "negative");
    refuse(net, x, &(hk_jacobian_config){.full_up_to = -3}, HK_ERR_ARGUMENT, "-3");
    refuse(net, hk_full(ctx, HK_F32, HK_SHAPE(0, 12), 0), NULL, HK_ERR_ARGUMENT,
           "samples are wanted");
    refuse(net, hk_full(ctx, HK_F32, HK_SCALAR, 0), NULL, HK_ERR_ARGUMENT, "samples are wanted");
    refuse(net, hk_full(ctx, HK_I32, HK_SHAPE(3, 12), 0), NULL, HK_ERR_ARGUMENT, "of i32");
    refuse(net, hk_full(ctx, HK_F32, HK_SHAPE(3, 11), 0), NULL, HK_ERR_SHAPE, "11");
    refuse(net, hk_full(ctx, HK_F64, HK_SHAPE(3, 12), 0), NULL, HK_ERR_DTYPE, "f64");
    hk_jacobian r;
    assert_int_equal(hk_module_jacobian(NULL, x, NULL, &r, NULL), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "no module");
    assert_int_equal(hk_module_jacobian(NULL, NULL, NULL, &r, NULL), HK_ERR_ARGUMENT);
    assert_int_equal(hk_module_jacobian(net, x, NULL, NULL, NULL), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "no place for the result");
    /* An error that was there stays, and nothing is done. */
    hk_fail(ctx, HK_ERR_IO, "test", "an older error");
    assert_int_equal(hk_module_jacobian(net, x, NULL, &r, NULL), HK_ERR_IO);
    expect_error(ctx, HK_ERR_IO, "an older error");
    assert_same(net, &before);
    hk_context_destroy(ctx);
}

static void bad_modules(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 12)));
    refuse(hk_module_create(ctx, &doubled, NULL), x, NULL, HK_ERR_GRADIENT,
           "doubled has no forward-mode");
    refuse(hk_module_create(ctx, &constant, NULL), x, NULL, HK_ERR_GRADIENT,
           "does not depend on x");
    refuse(hk_module_create(ctx, &summed, NULL), x, NULL, HK_ERR_SHAPE, "each of 3 samples");
    refuse(hk_activation(ctx, "step"), x, NULL, HK_ERR_GRADIENT, "step");
    /* A weight that is no number is found in the first product. */
    hk_module *m = hk_linear(ctx, 12, 2);
    assert_int_equal(hk_module_build(m, HK_SHAPE(-1, 12), NULL), HK_OK);
    element_put(hk_module_find(m, "weight"), 3, (double)NAN);
    refuse(m, x, NULL, HK_ERR_NONFINITE, "the Jacobian at sample 0 is not finite");
    /* Another context's input. */
    hk_context *other = context(HK_F32, 1, 4);
    hk_jacobian r;
    hk_tensor *theirs = hk_tensor_new(other, HK_F32, HK_SHAPE(3, 12));
    assert_true(hk_module_jacobian(m, theirs, NULL, &r, NULL) != HK_OK);
    hk_error_clear(ctx);
    hk_context_destroy(other);
    hk_context_destroy(ctx);
}

/* After an error inside, the next steps are what they would have been. */
static void errors_leave_nothing(void **state) {
    (void)state;
    static snapshot before;
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_module *net = hk_sequential(ctx, network(ctx), hk_module_create(ctx, &doubled, NULL));
    hk_tensor *y = hk_forward(net, normal(ctx, "x", HK_SHAPE(8, 12)));
    assert_int_equal(hk_backward(ctx, hk_mean(y, HK_ALL_AXES, false)), HK_OK);
    assert_int_equal(hk_step_end(ctx), HK_OK);
    take(net, &before);
    refuse(net, normal(ctx, "x", HK_SHAPE(3, 12)), NULL, HK_ERR_GRADIENT, "doubled");
    assert_same(net, &before);
    hk_context_destroy(ctx);
}

/* A part of a network, and a module that is not built yet. */
static void parts(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 4);
    hk_module *net = network(ctx), *last = hk_module_child_at(net, 6);
    hk_jacobian whole, part;
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(2, 12));
    assert_int_equal(hk_module_jacobian(net, x, &everything, &whole, NULL), HK_OK);
    x = normal(ctx, "x", HK_SHAPE(2, 16));
    assert_int_equal(hk_module_jacobian(last, x, &everything, &part, NULL), HK_OK);
    assert_true(whole.inputs == 12 && part.inputs == 16 && part.outputs == 4);
    hk_module *fresh = hk_sequential(ctx, hk_linear(ctx, 16, 3), hk_activation(ctx, "relu"));
    x = normal(ctx, "x", HK_SHAPE(2, 16));
    assert_int_equal(hk_module_jacobian(fresh, x, NULL, &part, NULL), HK_OK);
    assert_int_equal(hk_module_parameters(fresh).count, 2);
    assert_true(hk_module_is_training(fresh));
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_goes_on),
        cmocka_unit_test(everything_stays),
        cmocka_unit_test(hooks_change_hooks),
        cmocka_unit_test(input_stays),
        cmocka_unit_test(modes),
        cmocka_unit_test(seeds),
        cmocka_unit_test(refusals),
        cmocka_unit_test(bad_modules),
        cmocka_unit_test(errors_leave_nothing),
        cmocka_unit_test(parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
