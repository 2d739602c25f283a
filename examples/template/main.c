/* A program of your own: learns which points of a square lie inside a circle.
   SPDX-License-Identifier: MIT */
#include <hillock/hillock.h>

#include <math.h>
#include <stdio.h>

enum { POINTS = 4000, EPOCHS = 30 };

/* Points spread evenly over [-1, 1]², and whether each lies inside a circle of half that area. */
static void make_points(float (*xy)[2], int32_t *inside) {
    for (int i = 0; i < POINTS; i++) {
        xy[i][0] = (float)(2 * fmod(i * 0.7548776662, 1.0) - 1);
        xy[i][1] = (float)(2 * fmod(i * 0.5698402910, 1.0) - 1);
        inside[i] = xy[i][0] * xy[i][0] + xy[i][1] * xy[i][1] < 0.6366f;
    }
}

int main(void) {
    static float xy[POINTS][2];
    static int32_t inside[POINTS];
    make_points(xy, inside);

    hk_context *ctx = hk_context_create(&(hk_context_config){.seed = 1});
    hk_dataset *data = hk_dataset_from(ctx, POINTS, HK_SHAPE(2), HK_F32, xy, inside, 2);
    hk_loader *loader = hk_loader_create(data, &(hk_loader_config){.batch = 50, .shuffle = true});
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 2, 32), hk_activation(ctx, "tanh"),
                                   hk_linear(ctx, 32, 2));
    hk_adam_config adam = hk_adam_defaults();
    adam.lr = 0.01;
    hk_optimizer *opt = hk_adam(ctx, hk_module_parameters(net), adam);

    for (int epoch = 1; epoch <= EPOCHS && !hk_error(ctx); epoch++) {
        double sum = 0;
        hk_batch batch;
        while (hk_loader_next(loader, &batch)) {
            hk_optimizer_zero_grad(opt);
            hk_tensor *loss = hk_cross_entropy(hk_forward(net, batch.x), batch.y);
            sum += hk_tensor_item(loss) * (double)batch.size;
            if (hk_backward(ctx, loss) || hk_optimizer_step(opt) || hk_step_end(ctx)) break;
        }
        if (epoch % 10 == 0) printf("epoch %2d   loss %.4f\n", epoch, sum / POINTS);
    }

    int failed = hk_error(ctx) != HK_OK;
    if (failed)
        fprintf(stderr, "%s\n", hk_error_message(ctx));
    else
        printf("done, with hillock %s and %s\n", hk_version(), hk_context_describe(ctx).blas);
    hk_context_destroy(ctx);
    return failed;
}
