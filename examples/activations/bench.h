/* bench.h: what activations bench measures, on the CPU and on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATIONS_BENCH_H
#define ACTIVATIONS_BENCH_H

#include "arguments.h"
#include "bench_report.h"
#include "subject.h"

typedef struct bench {
    const char *shape_text, *isa, *device;
    int64_t runs, warmup, threads;
    bool as_json, as_csv, naive, no_cpu;
    options opts;
    names names;
    hk_context *ctx;
    hk_shape shape;
    hk_tensor *x, *gy;
    bandwidth *memory;
    int memory_runs;                         /* of each kind before each activation */
    double *memory_seconds[BANDWIDTH_KINDS]; /* of all of them */
    int memory_count;
    double *seconds[PASSES]; /* of the activation that is measured */
    bench_report report;
} bench;

/* Normal numbers; the first ones of them again and again. NULL after an error of ctx. */
hk_tensor *bench_drawn(hk_context *ctx, const char *stream, hk_shape shape);
/* y's gradient: y may be narrower than x. Not to be destroyed if it is gy. */
hk_tensor *bench_gradient(hk_tensor *gy, hk_shape y);
/* A bar on a terminal. */
void bench_progress(const bench *b, int done);

/* bench_gpu.c: all names, and where the CPU is faster. b->x and b->gy are there. False after an
   error of the context, or without memory. */
bool bench_on_gpu(bench *b);

#endif
