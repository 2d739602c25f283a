/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_flow_life.c: which steps a flow records, what it must not take for a step, and how it ends.
   SPDX-License-Identifier: MIT */
#include "flow_fixture.h"

#include "conv_block.h"

static records a, b;

static int start(void **state) {
    (void)state;
    a.n = b.n = 0;
    return 0;
}

typedef struct setting {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_tensor *x;
    hk_flow *flow;
} setting;

static hk_module *small_net(hk_context *ctx) {
    return hk_sequential(ctx, hk_linear(ctx, 5, 6), hk_activation(ctx, "tanh"),
                         hk_dropout(ctx, 0.25), hk_linear(ctx, 6, 3));
}

static setting begin(int64_t every, records *to) {
    setting s = {.ctx = context(HK_F32, 1, 3)};
    s.net = small_net(s.ctx);
    assert_int_equal(hk_module_build(s.net, HK_SHAPE(-1, 5), NULL), HK_OK);
    s.opt = hk_sgd(s.ctx, hk_module_parameters(s.net), hk_sgd_defaults());
    s.x = hk_tensor_keep(normal(s.ctx, "x", HK_SHAPE(4, 5)));
    s.flow = hk_flow_create(
        s.net, &(hk_flow_config){.every = every, .report = to ? keep_record : NULL, .arg = to});
    assert_ok(s.ctx);
    assert_non_null(s.flow);
    return s;
}

static void steps(const setting *s, int n) {
    for (int i = 0; i < n; i++) sgd_step(s->ctx, s->net, s->opt, s->x);
}

static void end(const setting *s) {
    assert_ok(s->ctx);
    hk_context_destroy(s->ctx);
}

static void assert_steps(const records *r, int n, const int64_t *wanted) {
    assert_int_equal(r->n, n);
    for (int i = 0; i < n; i++) assert_int_equal(r->step[i], wanted[i]);
}

static bool all_updated(const records *r, int i) {
    for (int p = 0; p < r->n_parameters[i]; p++)
        if (!(r->parameter[i][p].update_ratio > 0) && r->parameter[i][p].weight_l2 > 0)
            return false;
    return true;
}

/* --- which steps ------------------------------------------------------------------------------------ */

static void every_so_many(void **state) {
    (void)state;
    for (int every = 0; every < 5; every++) {
        a.n = 0;
        setting s = begin(every, &a);
        for (int i = 0; i < 9; i++) {
            const bool seen = every == 0 || i % every == 0;
            assert_int_equal(hk__is_hooked(hk_module_child_at(s.net, 0)), seen);
            const int apart = every ? every : 1; /* recorded before step i, and complete */
            assert_int_equal(a.n, i == 0 ? 0 : (i + apart - 2) / apart);
            steps(&s, 1);
        }
        hk_flow_finish(s.flow);
        hk_flow_finish(s.flow);
        const int n = every == 0 ? 9 : (9 + every - 1) / every;
        assert_int_equal(a.n, n);
        for (int i = 0; i < n; i++) {
            assert_int_equal(a.step[i], 1 + i * (every ? every : 1));
            assert_true(all_updated(&a, i));
        }
        assert_int_equal(hk_flow_last(s.flow)->step, a.step[n - 1]);
        end(&s);
    }
}

static void now(void **state) {
    (void)state;
    setting s = begin(4, &a);
    steps(&s, 2);
    hk_flow_now(s.flow);
    steps(&s, 1);
    hk_optimizer_zero_grad(s.opt);
    hk_tensor *y = hk_forward(s.net, s.x);
    hk_flow_now(s.flow); /* in the middle of step 4: too late for that one */
    assert_int_equal(hk_backward_from(s.ctx, y, y), HK_OK);
    assert_int_equal(hk_optimizer_step(s.opt), HK_OK);
    hk_flow_now(s.flow);
    assert_int_equal(hk_step_end(s.ctx), HK_OK);
    steps(&s, 3); /* 5 was due anyway */
    hk_flow_now(s.flow);
    steps(&s, 1);
    hk_flow_finish(s.flow);
    assert_steps(&a, 4, (const int64_t[]){1, 3, 5, 8});
    for (int i = 0; i < 4; i++) assert_true(all_updated(&a, i));
    for (int i = 0; i < 4; i++)
        for (int l = 0; l < 4; l++) assert_true(a.layer[i][l].out.count > 0);
    end(&s);
}

/* --- what is no step of this training ------------------------------------------------------------------ */

typedef enum pause { NOTHING, LOOKING, GLANCING, RECORDING, OTHER_NET, PAUSES } pause_kind;

static void pause_for(const setting *s, pause_kind kind, hk_module *other) {
    const bool recording = hk_grad_enable(s->ctx, kind != LOOKING);
    if (kind != NOTHING && kind != OTHER_NET) {
        hk_module_train(s->net, kind == LOOKING); /* one of the two signs is enough */
        hk_tensor *y = hk_forward(s->net, normal(s->ctx, "test", HK_SHAPE(9, 5)));
        assert_ok(s->ctx);
        /* A gradient in evaluation mode, as for a picture of what the network looks at. */
        if (kind == RECORDING) assert_int_equal(hk_backward_from(s->ctx, y, y), HK_OK);
        hk_module_train(s->net, true);
    } else if (kind == OTHER_NET) {
        forward_backward(s->ctx, other, s->x, "g");
    }
    hk_grad_enable(s->ctx, recording);
    s->ctx->stepped_backward = false; /* draws of dropout stay those of the other run */
}

static void run_with_pauses(pause_kind kind, records *to) {
    setting s = begin(2, to);
    hk_module *other = hk_sequential(s.ctx, hk_linear(s.ctx, 5, 2));
    assert_int_equal(hk_module_build(other, HK_SHAPE(-1, 5), NULL), HK_OK);
    for (int i = 0; i < 6; i++) {
        pause_for(&s, kind, other);
        assert_int_equal(hk_step_end(s.ctx), HK_OK);
        hk_optimizer_zero_grad(s.opt);
        if (kind != RECORDING) pause_for(&s, kind, other);
        hk_tensor *y = hk_forward(s.net, s.x);
        if (kind != RECORDING) pause_for(&s, kind, other); /* between forward and backward */
        assert_int_equal(hk_backward_from(s.ctx, y, normal(s.ctx, "g", hk_tensor_shape(y))), HK_OK);
        assert_int_equal(hk_optimizer_step(s.opt), HK_OK);
        assert_int_equal(hk_step_end(s.ctx), HK_OK);
    }
    pause_for(&s, kind, other);
    hk_flow_finish(s.flow);
    end(&s);
}

static void passes_between(void **state) {
    (void)state;
    run_with_pauses(NOTHING, &a);
    assert_steps(&a, 3, (const int64_t[]){1, 3, 5});
    for (pause_kind kind = LOOKING; kind < PAUSES; kind++) {
        b.n = 0;
        run_with_pauses(kind, &b);
        assert_steps(&b, 3, (const int64_t[]){1, 3, 5});
        for (int i = 0; i < 3; i++) assert_same_record(&a, i, &b, i);
    }
}

/* Gradients of two batches are added up before each update: the record waits for it. */
static void accumulation(void **state) {
    (void)state;
    for (int every = 0; every < 4; every += 3) {
        a.n = 0;
        setting s = begin(every, &a);
        for (int i = 0; i < 4; i++) {
            hk_optimizer_zero_grad(s.opt);
            for (int half = 0; half < 2; half++) {
                forward_backward(s.ctx, s.net, s.x, half ? "g" : "h");
                assert_int_equal(hk_step_end(s.ctx), HK_OK);
            }
            assert_int_equal(hk_optimizer_step(s.opt), HK_OK);
        }
        hk_flow_finish(s.flow);
        assert_int_equal(a.n, every ? 3 : 8);
        for (int i = 0; i < a.n; i++) {
            assert_int_equal(a.step[i], every ? 1 + 3 * i : 1 + i);
            /* Of every second pass alone, if each is recorded, an update is seen. */
            const bool updated = every > 0 || i % 2 == 1;
            assert_int_equal(!isnan(a.parameter[i][0].update_ratio), updated);
        }
        end(&s);
    }
}

/* No optimizer of hillock: that weights have moved tells of the update. */
static void update_by_hand(void **state) {
    (void)state;
    setting s = begin(3, &a);
    hk_tensor *bias = hk_module_find(s.net, "0.bias"), *weight = hk_module_find(s.net, "0.weight");
    for (int i = 0; i < 3; i++) {
        forward_backward(s.ctx, s.net, s.x, "g");
        assert_int_equal(a.n, i == 2); /* it waits in step 2: nothing has moved yet */
        if (i > 0) element_put(weight, 0, number(weight, 0) + 1);
        if (i > 0) element_put(bias, 0, number(weight, 0));
        assert_int_equal(hk_step_end(s.ctx), HK_OK);
    }
    const hk_flow_parameter *p = a.parameter[0];
    assert_true(fabs(p[0].update_ratio * p[0].weight_l2 - 1) <= 1e-6);
    assert_true(p[2].update_ratio == 0 && p[2].weight_l2 > 0);
    end(&s);
}

/* Two losses of one forward pass: two backward passes, the second on top of the first. */
static void two_losses(void **state) {
    (void)state;
    for (int every = 1; every < 3; every++) {
        a.n = 0;
        setting s = begin(every, &a);
        for (int i = 0; i < 3; i++) {
            hk_optimizer_zero_grad(s.opt);
            hk_tensor *y = hk_forward(s.net, s.x);
            assert_int_equal(hk_backward_from(s.ctx, y, y), HK_OK);
            assert_int_equal(hk_backward_from(s.ctx, y, y), HK_OK);
            assert_int_equal(hk_optimizer_step(s.opt), HK_OK);
            assert_int_equal(hk_step_end(s.ctx), HK_OK);
        }
        hk_flow_finish(s.flow);
        assert_int_equal(a.n, every == 1 ? 6 : 3);
        if (every == 1) { /* gradients accumulate, those of layers start anew */
            assert_true(fabs(a.parameter[1][0].grad.l2 / a.parameter[0][0].grad.l2 - 2) < 1e-6);
            assert_true(a.layer[1][0].grad_l2 == a.layer[0][0].grad_l2);
        }
        end(&s);
    }
}

/* Only the last layer ran and got a gradient. */
static void part_of_the_net(void **state) {
    (void)state;
    setting s = begin(0, &a);
    steps(&s, 1);
    hk_optimizer_zero_grad(s.opt);
    forward_backward(s.ctx, hk_module_child_at(s.net, 3), normal(s.ctx, "h", HK_SHAPE(4, 6)), "g");
    assert_int_equal(hk_optimizer_step(s.opt), HK_OK);
    hk_flow_finish(s.flow);
    assert_steps(&a, 2, (const int64_t[]){1, 2});
    assert_int_equal(a.n_layers[1], 4);
    for (int l = 0; l < 4; l++) {
        assert_int_equal(a.layer[1][l].out.count, l == 3 ? 12 : 0);
        assert_int_equal(isnan(a.layer[1][l].grad_l2), l < 3);
        assert_true(isnan(a.layer[1][l].ratio));
    }
    for (int p = 0; p < 4; p++) {
        assert_int_equal(a.parameter[1][p].grad.zeros == a.parameter[1][p].grad.count, p < 2);
        if (p < 3) assert_int_equal(a.parameter[1][p].update_ratio > 0, p == 2);
    }
    end(&s);
}

/* A module that stands in two places is one layer, as it ran last. */
static void shared_module(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *twice = hk_linear(ctx, 4, 4), *act = hk_activation(ctx, "tanh");
    hk_module *net = hk_sequential(ctx, twice, act, twice, act, twice);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 4), NULL), HK_OK);
    hk_flow *flow = hk_flow_create(net, NULL);
    hk_tensor *y = hk_forward(net, normal(ctx, "x", HK_SHAPE(3, 4)));
    hk_tensor *g = normal(ctx, "g", HK_SHAPE(3, 4));
    assert_int_equal(hk_backward_from(ctx, y, g), HK_OK);
    const hk_stats out = hk_tensor_stats(y), grad = hk_tensor_stats(g);
    hk_flow_finish(flow);
    const hk_flow_record *r = hk_flow_last(flow);
    assert_int_equal(r->n_layers, 2);
    assert_int_equal(r->n_parameters, 2);
    assert_true(same_stats(&r->layers[0].out, &out));
    assert_true(fabs(r->layers[0].grad_l2 - grad.l2) <= 1e-14 * grad.l2);
    assert_string_equal(r->layers[1].kind, "activation");
    hk_context_destroy(ctx);
}

/* --- ends ---------------------------------------------------------------------------------------------- */

static void net_goes_first(void **state) {
    (void)state;
    for (int waits = 0; waits < 2; waits++) {
        a.n = 0;
        setting s = begin(0, &a);
        steps(&s, 3);
        if (!waits) hk_flow_finish(s.flow);
        hk_optimizer_destroy(s.opt);
        hk_module_destroy(s.net);
        hk_flow_now(s.flow);
        hk_flow_finish(s.flow); /* step 3 may still wait for its update, which nobody can see now */
        assert_steps(&a, 3, (const int64_t[]){1, 2, 3});
        assert_int_equal(isnan(a.parameter[2][0].update_ratio), waits);
        const hk_flow_record *r = hk_flow_last(s.flow); /* names are the flow's */
        assert_string_equal(r->parameters[3].name, "3.bias");
        assert_string_equal(r->layers[1].name, "1");
        hk_module *other = hk_linear(s.ctx, 5, 2);
        assert_int_equal(hk_module_build(other, HK_SHAPE(-1, 5), NULL), HK_OK);
        forward_backward(s.ctx, other, s.x, "g"); /* hooks of backward still run */
        assert_int_equal(a.n, 3);
        if (waits) hk_flow_destroy(s.flow);
        end(&s);
    }
}

static void flow_goes_first(void **state) {
    (void)state;
    setting s = begin(0, &a);
    hk_flow *second = hk_flow_create(s.net, &(hk_flow_config){.report = keep_record, .arg = &b});
    steps(&s, 3);
    hk_flow_destroy(s.flow);
    assert_true(hk__is_hooked(hk_module_child_at(s.net, 0)));
    steps(&s, 2);
    hk_flow_destroy(second);
    assert_false(hk__is_hooked(hk_module_child_at(s.net, 0)));
    steps(&s, 2);
    assert_steps(&a, 2, (const int64_t[]){1, 2});
    assert_steps(&b, 4, (const int64_t[]){1, 2, 3, 4});
    for (int i = 0; i < 2; i++) assert_same_record(&a, i, &b, i);
    hk_module_destroy(s.net);
    end(&s);
}

static void destroy_inside(const hk_flow_record *r, void *arg) {
    setting *s = arg;
    keep_record(r, &a);
    hk_flow_finish(s->flow); /* no second report */
    if (a.n == 2) hk_flow_destroy(s->flow);
}

static void goes_inside_of_a_report(void **state) {
    (void)state;
    setting s = begin(3, NULL);
    hk_flow_destroy(s.flow);
    s.flow = hk_flow_create(s.net, &(hk_flow_config){.report = destroy_inside, .arg = &s});
    steps(&s, 5);
    assert_steps(&a, 2, (const int64_t[]){1, 2});
    a.n = 1;
    s.flow = hk_flow_create(s.net, &(hk_flow_config){.report = destroy_inside, .arg = &s});
    steps(&s, 1);
    hk_flow_finish(s.flow);
    assert_int_equal(a.n, 2);
    end(&s);
}

static void errors(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = small_net(ctx);
    assert_null(hk_flow_create(NULL, NULL));
    assert_null(hk_flow_create(net, NULL));
    expect_error(ctx, HK_ERR_STATE, "[flow] build the network first");
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 5), NULL), HK_OK);
    assert_null(hk_flow_create(hk_module_child_at(net, 0), NULL));
    expect_error(ctx, HK_ERR_STATE, "[flow] a flow looks at the root");
    assert_null(hk_flow_create(net, &(hk_flow_config){.every = -1}));
    expect_error(ctx, HK_ERR_ARGUMENT, "[flow] every must be 0 or more, not -1");
    hk_flow_now(NULL);
    hk_flow_finish(NULL);
    assert_null(hk_flow_last(NULL));
    hk_flow_destroy(NULL);
    hk_module *bare = hk_activation(ctx, "relu"); /* no parameters: no step is ever seen */
    assert_int_equal(hk_module_build(bare, HK_SHAPE(-1, 5), NULL), HK_OK);
    hk_flow *flow = hk_flow_create(bare, NULL);
    hk_tensor *x = hk_require_grad(hk_tensor_keep(normal(ctx, "x", HK_SHAPE(2, 5))));
    forward_backward(ctx, bare, x, "g");
    hk_flow_finish(flow);
    assert_null(hk_flow_last(flow));
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_so_many),           TEST(now),
        TEST(passes_between),          TEST(accumulation),
        TEST(update_by_hand),          TEST(two_losses),
        TEST(part_of_the_net),         TEST(shared_module),
        TEST(net_goes_first),          TEST(flow_goes_first),
        TEST(goes_inside_of_a_report), TEST(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
