/* test_readme_loop.c: the training loop as programs write it, from public headers alone.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 */

/* clang-format off: cmocka needs these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <hillock/hillock.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIDE = 28,
    PIXELS = SIDE * SIDE,
    CLASSES = 10,
    ITEMS = 1600,
    EPOCHS = 8,
    WEIGHTS = 784 * 128
};

/* "Digits": each class is bright around a place of its own; noise everywhere. */
static hk_dataset *digits(hk_context *ctx) {
    static uint8_t images[ITEMS][SIDE][SIDE];
    static int32_t labels[ITEMS];
    const hk_random noise = hk_random_stream(11, "digits", 0);
    for (int i = 0; i < ITEMS; i++) {
        labels[i] = (int32_t)hk_random_below(noise, (uint64_t)i, CLASSES);
        const int row = 4 + labels[i] / 5 * 14, column = 2 + labels[i] % 5 * 5;
        for (int k = 0; k < PIXELS; k++) {
            const int y = k / SIDE, x = k % SIDE;
            const int bright = y >= row && y < row + 7 && x >= column && x < column + 4 ? 120 : 0;
            const uint64_t index = (uint64_t)(ITEMS + i * PIXELS + k);
            images[i][y][x] = (uint8_t)(bright + (int)hk_random_below(noise, index, 136));
        }
    }
    return hk_dataset_from(ctx, ITEMS, HK_SHAPE(1, SIDE, SIDE), HK_U8, images, labels, CLASSES);
}

typedef struct outcome {
    int steps;
    double first_loss, last_loss, accuracy; /* of the first step; of the last epoch; in percent */
    float *weights;
} outcome;

/* Share of right answers, in percent. */
static double accuracy(hk_context *ctx, hk_module *net, hk_loader *loader) {
    hk_batch batch;
    double right = 0;
    hk_module_train(net, false);
    hk_grad_enable(ctx, false);
    while (hk_loader_next(loader, &batch)) {
        right += hk_accuracy(hk_forward(net, batch.x), batch.y) * (double)batch.size;
        if (hk_step_end(ctx)) break;
    }
    return 100 * right / ITEMS;
}

static outcome train(void) {
    outcome result = {.weights = calloc(WEIGHTS, sizeof(float))};
    hk_context *ctx = hk_context_create(&(hk_context_config){.seed = 1});
    hk_dataset *data = digits(ctx);
    hk_loader *loader = hk_loader_create(data, &(hk_loader_config){.batch = 64, .shuffle = true});
    hk_batch batch;

    hk_module *net = hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 784, 128),
                                   hk_activation(ctx, "relu"), hk_linear(ctx, 128, 10));
    hk_optimizer *opt = hk_adam(ctx, hk_module_parameters(net), hk_adam_defaults());
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        double sum = 0;
        while (hk_loader_next(loader, &batch)) {
            hk_optimizer_zero_grad(opt);
            hk_tensor *loss = hk_cross_entropy(hk_forward(net, batch.x), batch.y);
            if (result.steps++ == 0) result.first_loss = hk_tensor_item(loss);
            sum += hk_tensor_item(loss) * (double)batch.size / ITEMS;
            if (hk_backward(ctx, loss) || hk_optimizer_step(opt) || hk_step_end(ctx)) break;
        }
        result.last_loss = sum;
    }
    if (hk_error(ctx)) fprintf(stderr, "%s\n", hk_error_message(ctx));

    result.accuracy = accuracy(ctx, net, hk_loader_create(data, NULL));
    const hk_status read =
        hk_tensor_read(hk_module_find(net, "1.weight"), result.weights, WEIGHTS * sizeof(float));
    assert_int_equal(read, HK_OK);
    assert_int_equal(hk_error(ctx), HK_OK);
    hk_context_destroy(ctx);
    return result;
}

static void learns_twice_alike(void **state) {
    (void)state;
    const outcome one = train(), two = train();
    print_message("loss %.3f, in the last epoch %.4f; accuracy %.2f %%\n", one.first_loss,
                  one.last_loss, one.accuracy);
    assert_int_equal(one.steps, 200);
    assert_true(one.first_loss > 1.5 && one.first_loss < 4);
    assert_true(one.last_loss < 0.05);
    assert_true(one.accuracy > 99);
    assert_true(one.last_loss == two.last_loss);
    assert_memory_equal(one.weights, two.weights, WEIGHTS * sizeof(float));
    free(one.weights);
    free(two.weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(learns_twice_alike)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
