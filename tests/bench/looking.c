/* looking.c: what looking costs: statistics of a tensor beside plain reading, and a flow that records 20 steps an epoch.
   SPDX-License-Identifier: MIT

   Times are processor time of one thread, the best of many rounds for statistics and the median of pairs for training:
   so others on the machine disturb little. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hillock/hillock.h>

#include "reduce.h"

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile double sink;

/* Best time of one way to go over t: 0 statistics, 1 a sum of squares in float, 2 a copy (which writes as well). */
static double best_time(hk_context *ctx, hk_tensor *t, int way, void *room, int rounds) {
    const size_t bytes = (size_t)hk_tensor_count(t) * hk_dtype_size(hk_tensor_dtype(t));
    double best = 1e9;
    for (int r = 0; r < rounds; r++) {
        const double begin = seconds();
        if (way == 0) sink = hk_tensor_stats(t).l2;
        if (way == 1)
            sink = hk__sum_squares(ctx, hk_tensor_dtype(t), hk_tensor_data(t), hk_tensor_count(t));
        if (way == 2) memcpy(room, hk_tensor_data(t), bytes);
        const double took = seconds() - begin;
        best = took < best ? took : best;
    }
    return best;
}

static void statistics(void) {
    static const int64_t sizes[] = {10000, 100000, 1000000, 100000000};
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1, .seed = 1});
    printf("%-6s %12s %18s %18s %18s\n", "type", "elements", "statistics GB/s", "squares GB/s",
           "copy GB/s (read)");
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < 4 - d; i++) {
            const hk_dtype dtype = d ? HK_F64 : HK_F32;
            hk_tensor *t = hk_tensor_new(ctx, dtype, HK_SHAPE(sizes[i]));
            const size_t bytes = (size_t)sizes[i] * hk_dtype_size(dtype);
            void *room = malloc(bytes);
            if (!t || !room) exit(1);
            memset(room, 0, bytes);
            for (int64_t k = 0; k < sizes[i]; k++)
                if (d)
                    ((double *)hk_tensor_data(t))[k] = (double)(k % 1000) - 500;
                else
                    ((float *)hk_tensor_data(t))[k] = (float)(k % 1000) - 500;
            double rate[3];
            for (int way = 0; way < 3; way++)
                rate[way] = 1e-9 * (double)bytes /
                            best_time(ctx, t, way, room, sizes[i] > 1000000 ? 5 : 200);
            printf("%-6s %12lld %18.1f %18.1f %18.1f\n", hk_dtype_name(dtype), (long long)sizes[i],
                   rate[0], rate[1], rate[2]);
            free(room);
            hk_tensor_destroy(t);
        }
    hk_context_destroy(ctx);
}

/* --- training ------------------------------------------------------------------------------------------- */

enum { APART = 47, BATCH = 64, PAIRS = 21 }; /* 938 steps an epoch, 20 records */

static hk_module *make_net(hk_context *ctx, bool cnn) {
    const hk_pool2d_config two = {.kernel = {2, 2}};
    return cnn ? hk_sequential(ctx, hk_conv2d(ctx, 1, 8, HK_SQUARE(3), NULL),
                               hk_activation(ctx, "relu"), hk_max_pool2d(ctx, &two),
                               hk_conv2d(ctx, 8, 16, HK_SQUARE(3), NULL),
                               hk_activation(ctx, "relu"), hk_max_pool2d(ctx, &two),
                               hk_flatten(ctx), hk_linear(ctx, 400, 10))
               : hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 784, 128),
                               hk_activation(ctx, "relu"), hk_linear(ctx, 128, 10));
}

static double step_time(hk_context *ctx, hk_module *net, hk_optimizer *opt, hk_tensor *x,
                        hk_tensor *labels, int steps) {
    const double begin = seconds();
    for (int i = 0; i < steps; i++) {
        hk_optimizer_zero_grad(opt);
        hk_tensor *loss = hk_cross_entropy(hk_forward(net, x), labels);
        if (hk_backward(ctx, loss) || hk_optimizer_step(opt) || hk_step_end(ctx)) {
            fprintf(stderr, "%s\n", hk_error_message(ctx));
            exit(1);
        }
    }
    return seconds() - begin;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void training(bool cnn) {
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1, .seed = 1});
    hk_module *net = make_net(ctx, cnn);
    hk_tensor *x = hk_tensor_new(ctx, HK_F32, HK_SHAPE(BATCH, 1, 28, 28));
    hk_tensor *labels = hk_tensor_new(ctx, HK_I32, HK_SHAPE(BATCH));
    const hk_random random = hk_random_stream(1, "bench", 0);
    for (int i = 0; i < BATCH * 784; i++)
        ((float *)hk_tensor_data(x))[i] = (float)hk_random_uniform(random, (uint64_t)i);
    for (int i = 0; i < BATCH; i++) ((int32_t *)hk_tensor_data(labels))[i] = i % 10;
    if (hk_module_build(net, HK_SHAPE(-1, 1, 28, 28), NULL)) exit(1);
    hk_optimizer *opt = hk_adam(ctx, hk_module_parameters(net), hk_adam_defaults());
    (void)step_time(ctx, net, opt, x, labels, APART);
    double ratio[PAIRS], recorded[PAIRS];
    for (int p = 0; p < PAIRS; p++) {
        const double without = step_time(ctx, net, opt, x, labels, APART);
        hk_flow *flow = hk_flow_create(net, &(hk_flow_config){.every = APART});
        const double with = step_time(ctx, net, opt, x, labels, APART);
        hk_flow_destroy(flow);
        ratio[p] = with / without - 1;
        recorded[p] = 1e6 * (with - without);
    }
    qsort(ratio, PAIRS, sizeof *ratio, ascending);
    qsort(recorded, PAIRS, sizeof *recorded, ascending);
    printf("%s: a flow of 20 records in 938 steps costs %.2f %% (quartiles %.2f, %.2f), %.0f us a "
           "record\n",
           cnn ? "cnn 8-16" : "784-128-10", 100 * ratio[PAIRS / 2], 100 * ratio[PAIRS / 4],
           100 * ratio[3 * PAIRS / 4], recorded[PAIRS / 2]);
    hk_context_destroy(ctx);
}

int main(void) {
    statistics();
    training(false);
    training(true);
    return 0;
}
