/* stats.c: speed of the statistics of a tensor, beside a sum of squares and a copy.
   SPDX-License-Identifier: MIT

   Times are processor time of one thread, the best of many rounds, so others on the machine disturb little. */
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

int main(void) {
    statistics();
    return 0;
}
