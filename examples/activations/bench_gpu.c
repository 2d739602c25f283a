/* bench_gpu.c: activations bench --device cuda.
   SPDX-License-Identifier: MIT

   What is timed is what bench.c times. A GPU is asked for work and does it later, so a run is many
   passes between two waits, as many as take about SAMPLE seconds, and their mean. Backward alone is
   repeated on one forward; forgetting the gradients in between costs nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "progress.h"

enum { PARTS_MOST = 2, PASSES_MOST = 1000, CPU_RUNS = 3 };
static const double sample_seconds = 2e-3;
static const double backward_bytes = 0x1p30; /* of gradients that a step may hold on to */

/* What is measured: an activation, or one that is composed as x times a chain of others. */
typedef struct measured {
    hk_context *ctx;
    hk_tensor *x, *gy;
    subject part[PARTS_MOST];
    int parts;
    bool times_x;
} measured;

typedef struct composition {
    const char *name, *row, *part[PARTS_MOST];
} composition;
static const composition compositions[COMPOSED_MOST] = {
    {"mish", "mish by ops", {"softplus", "tanh"}},
    {"silu", "silu by ops", {"sigmoid", NULL}},
};
static const char *const composes[COMPOSED_MOST] = {"mish", "silu"};

/* --- one pass --------------------------------------------------------------------------------- */

static hk_tensor *forward(const measured *m) {
    hk_tensor *y = m->x;
    for (int i = 0; i < m->parts; i++) y = hk_forward(m->part[i].module, y);
    return m->times_x ? hk_mul(m->x, y) : y;
}

static void forget_gradients(const measured *m) {
    hk_zero_grad(m->x);
    for (int i = 0; i < m->parts; i++) {
        const hk_parameters own = hk_module_parameters(m->part[i].module);
        for (int k = 0; k < own.count; k++) hk_zero_grad(own.items[k]);
    }
}

/* Seconds of one of n passes, NaN after an error. */
static double time_passes(const measured *m, int pass, int64_t n) {
    hk_context *ctx = m->ctx;
    hk_tensor *y = pass == BACKWARD ? forward(m) : NULL;
    if (hk_context_wait(ctx)) return NAN;
    const double start = clock_seconds();
    for (int64_t i = 0; i < n; i++) {
        if (pass != FORWARD) forget_gradients(m);
        if (pass != BACKWARD) y = forward(m);
        if (pass != FORWARD && hk_backward_from(ctx, y, m->gy)) break;
        if (pass != BACKWARD && hk_step_end(ctx)) break;
    }
    if (hk_context_wait(ctx)) return NAN;
    const double seconds = clock_seconds() - start;
    if (pass == BACKWARD && hk_step_end(ctx)) return NAN;
    return seconds / (double)n;
}

static bool time_pass(const measured *m, int pass, int64_t warmup, int64_t runs, double *seconds) {
    const bool on_gpu = hk_context_describe(m->ctx).device == HK_CUDA;
    double one = time_passes(m, pass, 1);
    if (on_gpu) one = time_passes(m, pass, 1); /* the first one may have asked for memory */
    double n = on_gpu ? ceil(sample_seconds / fmax(one, 1e-9)) : 1;
    if (pass == BACKWARD) n = fmin(n, ceil(backward_bytes / (4.0 * (double)hk_tensor_count(m->x))));
    n = fmin(n, PASSES_MOST);
    for (int64_t r = -warmup; r < runs; r++) {
        const double t = time_passes(m, pass, (int64_t)n);
        if (isnan(t)) return false;
        if (r >= 0) seconds[r] = t;
    }
    return true;
}

/* --- what is measured ------------------------------------------------------------------------- */

static void close_measured(measured *m, const hk_tensor *shared_gy) {
    for (int i = 0; i < m->parts; i++) subject_close(&m->part[i]);
    if (m->gy != shared_gy) hk_tensor_destroy(m->gy);
}

/* composed: NULL for the activation of that name. Gives the elements of y; -1 after an error. */
static int64_t open_measured(measured *m, hk_context *ctx, hk_tensor *x, hk_tensor *gy,
                             const char *name, const composition *composed) {
    *m = (measured){.ctx = ctx, .x = x, .gy = gy, .times_x = composed};
    for (int i = 0; i < PARTS_MOST; i++) {
        const char *part = composed ? composed->part[i] : i == 0 ? name : NULL;
        if (!part) break;
        if (!subject_open(ctx, part, hk_tensor_shape(x), &m->part[i])) return -1;
        m->parts++;
    }
    const hk_shape y = hk_tensor_shape(forward(m));
    if (hk_step_end(ctx)) return -1;
    m->gy = bench_gradient(gy, y);
    return m->gy ? hk_shape_count(y) : -1;
}

static bool has_slope(const measured *m) {
    return m->times_x || subject_has_slope(&m->part[0].spec);
}

static bool measure(bench *b, bench_row *row, const composition *composed) {
    measured m;
    const int runs = (int)b->runs;
    const int64_t count = open_measured(&m, b->ctx, b->x, b->gy, row->name, composed);
    const double in = 4.0 * (double)hk_shape_count(b->shape), out = 4.0 * (double)count;
    const double bytes[PASSES] = {in + out, 2 * in + out, 3 * in + 2 * out};
    bool ok = count >= 0;
    for (int pass = 0; ok && pass < (has_slope(&m) ? PASSES : 1); pass++) {
        ok = time_pass(&m, pass, b->warmup, runs, b->seconds[pass]);
        if (ok) row->pass[pass] = timing_of(runs, b->seconds[pass], bytes[pass]);
    }
    close_measured(&m, b->gy);
    return ok;
}

/* The bandwidth that all is held against. */
static bool measure_copy(bench *b) {
    hk_tensor *to = hk_grad(b->x);
    double n = 1;
    for (int r = -2; r < b->memory_runs; r++) {
        if (hk_context_wait(b->ctx)) return false;
        const double start = clock_seconds();
        for (int64_t i = 0; i < (int64_t)n; i++)
            if (hk_tensor_copy(to, b->gy)) return false;
        if (hk_context_wait(b->ctx)) return false;
        const double one = (clock_seconds() - start) / (double)(int64_t)n;
        if (r < 0)
            n = fmin(ceil(sample_seconds / fmax(one, 1e-9)), PASSES_MOST);
        else
            b->memory_seconds[COPY_PLAIN][b->memory_count++] = one;
    }
    return true;
}

/* --- the CPU beside it ------------------------------------------------------------------------ */

static bool measure_on_cpu(bench_row *row, hk_context *cpu, hk_tensor *x, hk_tensor *gy) {
    measured m;
    double seconds[CPU_RUNS];
    bool ok = open_measured(&m, cpu, x, gy, row->name, NULL) >= 0;
    for (int pass = 0; ok && pass < PASSES; pass++) {
        if (row->pass[pass].runs == 0) continue;
        ok = time_pass(&m, pass, 1, CPU_RUNS, seconds);
        if (ok) row->cpu[pass] = timing_of(CPU_RUNS, seconds, 0).median;
    }
    close_measured(&m, gy);
    return ok;
}

/* On the same numbers, a few runs each. */
static bool hold_against_cpu(bench *b) {
    hk_context *cpu = hk_context_create(
        &(hk_context_config){.threads = (int)b->threads, .isa = b->isa, .seed = 1});
    hk_tensor *x = hk_require_grad(bench_drawn(cpu, "bench/x", b->shape));
    hk_tensor *gy = bench_drawn(cpu, "bench/gradient", b->shape);
    bool ok = x && gy;
    for (int i = 0; ok && i < b->names.count; i++)
        ok = measure_on_cpu(&b->report.rows[i], cpu, x, gy);
    if (ok)
        b->report.cpu = hk_context_describe(cpu);
    else
        hk_fail(b->ctx, hk_error(cpu), "bench", "on the CPU (--no-cpu leaves it out): %s",
                hk_error_message(cpu));
    hk_context_destroy(cpu);
    return ok;
}

bool bench_on_gpu(bench *b) {
    const int named = b->names.count, all = named + (b->naive ? COMPOSED_MOST : 0);
    b->report.composes = composes;
    b->report.composed = all - named;
    for (int i = 0; i < all; i++) {
        const composition *composed = i < named ? NULL : &compositions[i - named];
        bench_row *row = &b->report.rows[i];
        row->name = composed ? composed->row : b->names.item[i];
        bench_progress(b, i < named ? i : named - 1);
        if (!measure_copy(b) || !measure(b, row, composed)) return false;
    }
    const bool ok = b->no_cpu || hold_against_cpu(b);
    bench_progress(b, named);
    return ok;
}
