/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_nielsen.c: gradients that vanish, as in chapter 5 of Michael Nielsen's "Neural Networks and Deep Learning".
   SPDX-License-Identifier: MIT

   Sigmoid networks 784-30-30-10, 784-30-30-30-10 and 784-30-30-30-30-10 at the start: weights N(0, 1/n_in), biases
   N(0, 1), cross-entropy of sigmoid outputs, the first 1,000 training images of MNIST. Of each hidden layer, the length
   of the vector of ∂C/∂b, a mean over the images: earlier layers have shorter ones. The book prints one draw for each
   network; here it is the order that must come out, for at least 18 of 20 draws. */
#include "net_fixture.h"

#include "hk_flow.h"

enum { IMAGES = 1000, WIDTH = 30, DEEPEST = 4, SEEDS = 20, ENOUGH = 18 };

static hk_module *sigmoid_net(hk_context *ctx, int hidden) {
    hk_module *members[2 * DEEPEST + 1];
    int n = 0;
    for (int i = 0; i < hidden; i++) {
        members[n++] = hk_linear(ctx, i ? WIDTH : 784, WIDTH);
        members[n++] = hk_activation(ctx, "sigmoid");
    }
    members[n++] = hk_linear(ctx, WIDTH, 10);
    return hk_sequential_n(ctx, n, members);
}

/* Weights are N(0, 1/n_in) by the initialiser "lecun"; biases are drawn here. */
static void draw_biases(hk_module *net) {
    hk_context *ctx = hk_module_context(net);
    const hk_parameters all = hk_module_parameters(net);
    for (int i = 0; i < all.count; i++) {
        const char *name = hk_tensor_name(all.items[i]);
        if (!strstr(name, "bias")) continue;
        const hk_random random = hk_random_stream(hk_context_describe(ctx).seed, name, 0);
        float *b = host(all.items[i]);
        for (int64_t k = 0; k < hk_tensor_count(all.items[i]); k++)
            b[k] = (float)hk_random_normal(random, (uint64_t)k);
        host_done(all.items[i], b);
    }
}

static float images[IMAGES][784], targets[IMAGES][10];

static int load(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_dataset *train = hk_mnist(ctx, HK_SOURCE_DIR "/data/mnist", "train", 10);
    hk_batch batch;
    const hk_loader_config config = {.batch = IMAGES};
    if (!hk_loader_next(hk_loader_create(train, &config), &batch)) return -1;
    assert_int_equal(hk_tensor_read(batch.x, images, sizeof images), HK_OK);
    const int32_t *label = host(batch.y);
    for (int i = 0; i < IMAGES; i++) targets[i][label[i]] = 1;
    hk_context_destroy(ctx);
    return 0;
}

/* Mean over the images of the sum over ten outputs. */
static hk_tensor *cost(hk_context *ctx, hk_module *net) {
    hk_tensor *y = hk_forward(net, hk_constant(ctx, HK_F32, HK_SHAPE(IMAGES, 784), images));
    hk_tensor *target = hk_constant(ctx, HK_F32, HK_SHAPE(IMAGES, 10), targets);
    return hk_scale(hk_bce_with_logits(y, target), 10, 0);
}

/* Lengths of the hidden layers' vectors, from the first. */
static void lengths(uint64_t seed, int hidden, double *length) {
    hk_context *ctx = context(HK_F32, 1, seed);
    hk_module *net = sigmoid_net(ctx, hidden);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 784), "lecun"), HK_OK);
    draw_biases(net);
    hk_flow *flow = hk_flow_create(net, NULL);
    assert_int_equal(hk_backward(ctx, cost(ctx, net)), HK_OK);
    hk_flow_finish(flow);
    const hk_flow_record *r = hk_flow_last(flow);
    int n = 0;
    for (int i = 0; i < r->n_parameters && n < hidden; i++)
        if (strstr(r->parameters[i].name, "bias")) length[n++] = r->parameters[i].grad.l2;
    assert_int_equal(n, hidden);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

static void check_depth(int hidden) {
    double mean[DEEPEST] = {0};
    int in_order = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double length[DEEPEST];
        lengths(seed, hidden, length);
        bool ordered = true;
        for (int i = 0; i < hidden; i++) {
            mean[i] += log(length[i]) / SEEDS;
            if (i > 0) ordered = ordered && length[i - 1] < length[i];
        }
        in_order += ordered;
    }
    char text[128] = "";
    for (int i = 0; i < hidden; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), " %.4f", exp(mean[i]));
    print_message("%d hidden layers: %d of %d in order, geometric means%s\n", hidden, in_order,
                  SEEDS, text);
    assert_true(in_order >= ENOUGH);
}

static void earlier_layers_learn_slower(void **state) {
    (void)state;
    for (int hidden = 2; hidden <= DEEPEST; hidden++) check_depth(hidden);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(earlier_layers_learn_slower)};
    return cmocka_run_group_tests(tests, load, NULL);
}
