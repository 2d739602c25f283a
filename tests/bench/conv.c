/* conv.c: speed of the convolutions of small networks: time, GF/s, share of this machine's peak.
   SPDX-License-Identifier: MIT

   conv [base|avx2|avx512|f64] [WORD]   the best instructions of this processor if none are named;
                                        only layers whose name contains WORD

   GF/s counts two operations for each multiplication of the dense convolution, whatever is skipped.
   Backward runs on a dense gradient and on one with 3 of 4 elements zero, which is what comes back
   from a max pooling of 2 x 2. "best" is the fastest sample, and what a quiet machine gives; the
   median tells how quiet it was. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include "conv.h"
#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if HK_X86_STAMPS
#include <immintrin.h>
#endif

enum { SAMPLES = 15, BATCH = 64, CONTEXTS = 2 };
static const double SAMPLE_SECONDS = 4e-3;

typedef struct layer {
    const char *name;
    int ic, size, oc, kernel, stride; /* padding: half of the kernel */
} layer;

static const layer layers[] = {
    {"small, first", 1, 28, 8, 3, 1},
    {"small, second", 8, 14, 16, 3, 1},
    {"lenet, first", 1, 28, 32, 5, 1},
    {"lenet, second", 32, 14, 64, 5, 1},
    {"residual, first", 1, 28, 16, 3, 1},
    {"residual, 16", 16, 28, 16, 3, 1},
    {"residual, 16 to 32", 16, 28, 32, 3, 2},
    {"residual, 16 to 32, shortcut", 16, 28, 32, 1, 2},
    {"residual, 32", 32, 14, 32, 3, 1},
    {"residual, 32 to 64", 32, 14, 64, 3, 2},
    {"residual, 32 to 64, shortcut", 32, 14, 64, 1, 2},
    {"residual, 64", 64, 7, 64, 3, 1},
};

typedef enum pass { FORWARD, BY_WEIGHTS, BY_DATA, BOTH, PASSES } pass;
static const char *const pass_names[] = {"forward", "by weights", "by data", "both"};

typedef struct bench {
    hk_context *ctx[CONTEXTS]; /* on 1 and 2 threads */
    hk_dtype dtype;
    hk__stamp stamp;
    int lanes;
    double peak[CONTEXTS]; /* operations a second */
} bench;

/* One convolution and its memory. */
typedef struct job {
    hk__conv c;
    void *x, *w, *b, *y, *g[2], *gx, *gw, *gb; /* g: dense; 3 of 4 elements zero */
} job;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* --- the peak: multiplications and additions of registers, nothing else ------------------- */

/* SUMS chains hide the latency of the units; all fit into 16 registers. They start apart and away
   from 1, or the compiler would see that they are equal, or stay. */
enum { SUMS = 12, TURNS = 20000 };
#define PEAK_LOOP(vec, multiply_add)                                                               \
    const vec by = (vec){0} + 0.999f, more = (vec){0} + 0.001f;                                    \
    vec sum[SUMS];                                                                                 \
    for (int i = 0; i < SUMS; i++) sum[i] = (vec){0} + (float)(2 + i);                             \
    for (int t = 0; t < TURNS; t++)                                                                \
        for (int i = 0; i < SUMS; i++) sum[i] = multiply_add;                                      \
    for (int i = 1; i < SUMS; i++) sum[0] += sum[i];                                               \
    sink = (double)sum[0][0];

static volatile double sink;

/* Each returns the elements of a vector. */
typedef float float4 __attribute__((vector_size(16)));
typedef double double2 __attribute__((vector_size(16)));
static int peak_base(void) {
    PEAK_LOOP(float4, sum[i] * by + more)
    return 4;
}
static int peak_f64(void) {
    PEAK_LOOP(double2, sum[i] * by + more)
    return 2;
}
#if HK_X86_STAMPS
typedef float float8 __attribute__((vector_size(32)));
typedef float float16 __attribute__((vector_size(64)));
__attribute__((target("avx2,fma"))) static int peak_avx2(void) {
    PEAK_LOOP(float8, (float8)_mm256_fmadd_ps((__m256)sum[i], (__m256)by, (__m256)more))
    return 8;
}
__attribute__((target("avx512f"))) static int peak_avx512(void) {
    PEAK_LOOP(float16, (float16)_mm512_fmadd_ps((__m512)sum[i], (__m512)by, (__m512)more))
    return 16;
}
#else
#define peak_avx2 peak_base
#define peak_avx512 peak_base
#endif
static int (*const peaks[HK__STAMPS])(void) = {peak_base, peak_avx2, peak_avx512, peak_f64};

static void peak_task(void *arg, int64_t block, int worker) {
    (void)block;
    (void)worker;
    const bench *be = arg;
    peaks[be->stamp]();
}

/* Another sample; the fastest of all so far counts. */
static void sample_peak(bench *be, int t) {
    const int blocks = 4 * (t + 1);
    const double start = now();
    hk__run(be->ctx[t], blocks, peak_task, be);
    const double rate = blocks * 2.0 * SUMS * TURNS * be->lanes / (now() - start);
    if (rate > be->peak[t]) be->peak[t] = rate;
}

/* --- the convolutions --------------------------------------------------------------------- */

static void *numbers(hk_dtype dtype, int64_t count) {
    void *p = aligned_alloc(64, ((size_t)count * hk_dtype_size(dtype) + 63) / 64 * 64);
    if (!p) exit(1);
    for (int64_t i = 0; i < count; i++) {
        const double x = (double)((i * 2654435761) % 1000) * 1e-3 - 0.4995;
        if (dtype == HK_F64)
            ((double *)p)[i] = x;
        else
            ((float *)p)[i] = (float)x;
    }
    return p;
}

/* In each 2 x 2 of (n, oh, ow) one element stays, somewhere. */
static void thin(hk_dtype dtype, const hk__conv *c, void *g) {
    const size_t size = hk_dtype_size(dtype);
    for (int64_t image = 0; image < c->n * c->oc; image++)
        for (int64_t i = 0; i < c->oh; i++)
            for (int64_t j = 0; j < c->ow; j++) {
                const int64_t window = (image * c->oh + i / 2) * c->ow + j / 2;
                if ((window * 2654435761 >> 7) % 4 == i % 2 * 2 + j % 2) continue;
                memset((char *)g + (size_t)((image * c->oh + i) * c->ow + j) * size, 0, size);
            }
}

static job make_job(const bench *be, const layer *l) {
    const int64_t pad = l->kernel / 2, out = (l->size - 1) / l->stride + 1;
    job j = {.c = {.n = BATCH,
                   .groups = 1,
                   .ic = l->ic,
                   .oc = l->oc,
                   .h = l->size,
                   .w = l->size,
                   .kh = l->kernel,
                   .kw = l->kernel,
                   .sh = l->stride,
                   .sw = l->stride,
                   .ph = pad,
                   .pw = pad,
                   .dh = 1,
                   .dw = 1,
                   .oh = out,
                   .ow = out}};
    const int64_t x = (int64_t)BATCH * l->ic * l->size * l->size, y = BATCH * l->oc * out * out;
    const int64_t w = (int64_t)l->oc * l->ic * l->kernel * l->kernel;
    void **const all[] = {&j.x, &j.gx, &j.w, &j.gw, &j.b, &j.gb, &j.y, &j.g[0], &j.g[1]};
    const int64_t counts[] = {x, x, w, w, l->oc, l->oc, y, y, y};
    for (int i = 0; i < 9; i++) *all[i] = numbers(be->dtype, counts[i]);
    thin(be->dtype, &j.c, j.g[1]);
    return j;
}

static void free_job(const job *j) {
    void *const all[] = {j->x, j->gx, j->w, j->gw, j->b, j->gb, j->y, j->g[0], j->g[1]};
    for (int i = 0; i < 9; i++) free(all[i]);
}

static void run(const bench *be, int t, const job *j, pass what, int sparse) {
    const hk__conv_gradients to = {.x = j->x,
                                   .w = j->w,
                                   .g = j->g[sparse],
                                   .gx = what == BY_WEIGHTS ? NULL : j->gx,
                                   .gw = what == BY_DATA ? NULL : j->gw,
                                   .gb = what == BY_DATA ? NULL : j->gb};
    const hk_status status = what == FORWARD ? hk__conv_forward(be->ctx[t], be->dtype, &j->c, j->x,
                                                                j->w, j->b, j->y, NULL, NULL)
                                             : hk__conv_backward(be->ctx[t], be->dtype, &j->c, &to);
    if (status != HK_OK) {
        fprintf(stderr, "conv: %s\n", hk_error_message(be->ctx[t]));
        exit(1);
    }
}

static double sample(const bench *be, int t, const job *j, pass what, int sparse, int calls) {
    run(be, t, j, what, sparse); /* the workers wake up, the data change caches */
    const double start = now();
    for (int i = 0; i < calls; i++) run(be, t, j, what, sparse);
    return (now() - start) / calls;
}

/* A line of the table. Lines are printed at the end, when the peak is known best. */
typedef struct line {
    const layer *l;
    pass what;
    int sparse;
    double work, best[CONTEXTS], median[CONTEXTS];
} line;
enum { LAYERS = sizeof layers / sizeof *layers, LINES_MOST = LAYERS * 7 };

static line measure(bench *be, const layer *l, const job *j, pass what, int sparse) {
    double times[CONTEXTS][SAMPLES];
    const hk__conv *c = &j->c;
    line out = {.l = l, .what = what, .sparse = sparse, .work = what == BOTH ? 4 : 2};
    out.work *= (double)(c->n * c->oc * c->oh * c->ow * c->ic * c->kh * c->kw);
    const int calls = 1 + (int)(SAMPLE_SECONDS / sample(be, 0, j, what, sparse, 1));
    for (int r = 0; r < SAMPLES; r++)
        for (int t = 0; t < CONTEXTS; t++) {
            sample_peak(be, t);
            times[t][r] = sample(be, t, j, what, sparse, calls);
        }
    for (int t = 0; t < CONTEXTS; t++) {
        qsort(times[t], SAMPLES, sizeof *times[t], by_size);
        out.best[t] = times[t][0];
        out.median[t] = times[t][SAMPLES / 2];
    }
    return out;
}

/* Appends the layer's lines; returns how many there are now. */
static int measure_layer(bench *be, const layer *l, line *lines, int n) {
    const job j = make_job(be, l);
    lines[n++] = measure(be, l, &j, FORWARD, 0);
    for (int sparse = 0; sparse < 2; sparse++)
        for (pass what = BY_WEIGHTS; what < PASSES; what++)
            if (l->ic > 1 || what == BY_WEIGHTS) /* nobody wants the images' gradient */
                lines[n++] = measure(be, l, &j, what, sparse);
    free_job(&j);
    return n;
}

static void print_line(const bench *be, const line *p) {
    const layer *l = p->l;
    const char *g = p->what == FORWARD ? "" : p->sparse ? "1 of 4" : "dense";
    printf("%-28s %3d %2d %3d %dx%d %d  %-10s %-6s |", l->name, l->ic, l->size, l->oc, l->kernel,
           l->kernel, l->stride, pass_names[p->what], g);
    for (int t = 0; t < CONTEXTS; t++)
        printf(" %9.1f %5.0f %4.0f %% %5.0f |", p->best[t] * 1e6, 1e-9 * p->work / p->best[t],
               100 * p->work / p->best[t] / be->peak[t], 1e-9 * p->work / p->median[t]);
    printf("\n");
}

static void print_table(const bench *be, int n, const line *lines) {
    printf("kernels: %s; batch %d\n", hk__stamp_name(be->stamp), BATCH);
    printf("peak of the multiply-add units, measured: %.0f GF/s on 1 thread, %.0f on 2\n\n",
           1e-9 * be->peak[0], 1e-9 * be->peak[1]);
    printf("%-28s %3s %2s %3s %3s %s  %-10s %-6s | %-28s | %-28s |\n", "", "", "", "", "", " ", "",
           "", "1 thread", "2 threads");
    printf("%-28s %3s %2s %3s %3s %s  %-10s %-6s |", "layer", "in", "hw", "out", "k", "s", "pass",
           "g");
    for (int t = 0; t < CONTEXTS; t++)
        printf(" %9s %5s %6s %5s |", "best us", "GF/s", "peak", "med.");
    printf("\n");
    for (int i = 0; i < n; i++) print_line(be, &lines[i]);
}

static hk_context *make_context(int threads, hk__stamp stamp) {
    const bool is_f64 = stamp == HK__STAMP_f64;
    hk_context *ctx = hk_context_create(
        &(hk_context_config){.threads = threads, .isa = is_f64 ? NULL : hk__stamp_name(stamp)});
    if (ctx && hk_error(ctx) == HK_OK) return ctx;
    fprintf(stderr, "conv: %s\n", ctx ? hk_error_message(ctx) : "no memory");
    exit(2);
}

int main(int argc, char **argv) {
    bench be = {.dtype = HK_F32, .stamp = hk__cpu_best_stamp()};
    const char *only = "";
    for (int a = 1; a < argc; a++) {
        int s = 0;
        while (s < HK__STAMPS && strcmp(argv[a], hk__stamp_name((hk__stamp)s)) != 0) s++;
        if (s < HK__STAMPS)
            be.stamp = (hk__stamp)s;
        else
            only = argv[a];
    }
    if (be.stamp == HK__STAMP_f64) be.dtype = HK_F64;
    for (int t = 0; t < CONTEXTS; t++) be.ctx[t] = make_context(t + 1, be.stamp);
    be.lanes = peaks[be.stamp]();
    line lines[LINES_MOST];
    int n = 0;
    for (int i = 0; i < LAYERS; i++)
        if (strstr(layers[i].name, only)) n = measure_layer(&be, &layers[i], lines, n);
    if (n == 0) {
        fprintf(stderr, "conv: neither instructions nor a part of a layer's name: %s\n", only);
        return 2;
    }
    print_table(&be, n, lines);
    for (int t = 0; t < CONTEXTS; t++) hk_context_destroy(be.ctx[t]);
    return 0;
}
