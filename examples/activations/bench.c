/* bench.c: activations bench: forward and backward against this machine's memory.
   SPDX-License-Identifier: MIT

   What is timed: forward is hk_forward of the activation's module in training mode, recording on;
   backward is hk_backward_from alone, with the output's gradient given, up to the gradients of x and
   of what is learned; both is one after the other. The end of a step, zeroing and reading are not in
   it. Forward has runs of its own, so that it finds the caches as a forward leaves them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "commands.h"
#include "device.h"
#include "progress.h"
#include "values.h"

enum { DRAWN = 1 << 18, RUNS_MOST = 1000000 };
static const int64_t elements_most = (int64_t)1 << 31;

/* --- settings --------------------------------------------------------------------------------- */

/* "1000x1000": up to six sizes. */
static bool read_shape(bench *b) {
    const char *text = b->shape_text;
    b->shape = (hk_shape){0};
    do {
        char *end;
        if (*text < '0' || *text > '9' || b->shape.rank == HK_MAX_RANK) return false;
        const long long size = strtoll(text, &end, 10);
        if (size < 1 || size > elements_most) return false;
        b->shape.dim[b->shape.rank++] = size;
        text = end;
    } while (*text++ == 'x');
    const int64_t count = hk_shape_count(b->shape);
    return text[-1] == 0 && count >= 1 && count <= elements_most;
}

static int parse(bench *b, int argc, char **argv) {
    static const char *const examples[] = {
        "                                    all of them on 1000x1000",
        "gelu,tanh --shape 8192x8192 --runs 10",
        "mish --threads 1 --json",
        NULL,
    };
    /* clang-format off */
    const option_row rows[] = {
        {.name = "shape", .form = "NxM", .kind = OPTION_TEXT, .value = &b->shape_text,
         .help = "of x; up to six sizes", .example = "1000x1000", .flags = OPTION_EVERYDAY},
        {.name = "runs", .form = "N", .kind = OPTION_INT, .value = &b->runs,
         .help = "how often each is timed", .low = 1, .high = RUNS_MOST, .example = "50",
         .flags = OPTION_EVERYDAY},
        {.name = "warmup", .form = "N", .kind = OPTION_INT, .value = &b->warmup,
         .help = "runs before that", .low = 0, .high = RUNS_MOST, .example = "5",
         .flags = OPTION_EVERYDAY},
        {.name = "threads", .form = "N", .kind = OPTION_INT, .value = &b->threads,
         .help = "CPU threads", .low = 0, .high = 256, .example = "2", .shown = "all cores",
         .flags = OPTION_EVERYDAY},
        {.name = "isa", .form = "NAME", .kind = OPTION_TEXT, .value = &b->isa,
         .help = "instruction set: base, avx2, avx512", .example = "avx2",
         .shown = "the best there is", .flags = OPTION_EVERYDAY},
        device_row(&b->device),
        {.name = "naive", .kind = OPTION_FLAG, .value = &b->naive,
         .help = "cuda: mish and silu composed of several operations too", .flags = OPTION_EVERYDAY},
        {.name = "no-cpu", .kind = OPTION_FLAG, .value = &b->no_cpu,
         .help = "cuda: do not look where the CPU is faster", .flags = OPTION_EVERYDAY},
        {.name = "json", .kind = OPTION_FLAG, .value = &b->as_json,
         .help = "one JSON object", .flags = OPTION_EVERYDAY},
        {.name = "csv", .kind = OPTION_FLAG, .value = &b->as_csv,
         .help = "a line for each activation and pass", .flags = OPTION_EVERYDAY},
    };
    /* clang-format on */
    b->opts = (options){
        .purpose = "forward and backward of activations against this machine's memory\n\n"
                   "GB/s counts what is read and written: 8 bytes an element forward, 12 backward "
                   "(less\nwhere a row gets narrower). The share is of the fastest copy (backward: "
                   "a = b + s c)\nof this size by as many threads, measured in between. On a GPU: "
                   "of a copy\n"
                   "there; a run is the mean of so many that the clock's share does not count.",
        .examples = examples};
    options_add(&b->opts, (int)(sizeof rows / sizeof *rows), rows);
    const int code = arguments_parse(&b->opts, "[NAME...]", argc, argv, &b->names);
    if (code != OPTIONS_GO) return code;
    if (!read_shape(b))
        return options_bad_value(&b->opts, "shape", b->shape_text,
                                 "sizes from 1, at most 2147483648 elements together");
    if (b->naive && device_of(b->device) == HK_CPU)
        return options_refuse(&b->opts, "--naive: a GPU alone is held against compositions (try "
                                        "--device cuda --naive)");
    if (!b->as_json || !b->as_csv) return OPTIONS_GO;
    fprintf(stderr, "%s: --json and --csv: choose one of them\n", b->opts.program);
    return EXIT_BAD_INPUT;
}

/* --- progress, on a terminal alone ------------------------------------------------------------ */

static bool shows_progress(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

void bench_progress(const bench *b, int done) {
    enum { BAR = 30 };
    if (!shows_progress()) return;
    char bar[BAR + 1];
    for (int i = 0; i < BAR; i++) bar[i] = i < BAR * done / b->names.count ? '#' : '.';
    bar[BAR] = 0;
    if (done < b->names.count)
        fprintf(stderr, "\r\033[K[%s] %d/%d %.40s", bar, done, b->names.count, b->names.item[done]);
    else
        fputs("\r\033[K", stderr);
    fflush(stderr);
}

/* --- one activation --------------------------------------------------------------------------- */

hk_tensor *bench_gradient(hk_tensor *gy, hk_shape y) {
    if (hk_shape_equal(y, hk_tensor_shape(gy))) return gy;
    return hk_tensor_from(hk_tensor_context(gy), HK_F32, y, hk_tensor_values(gy));
}

static bool time_forward(bench *b, hk_module *m) {
    for (int64_t r = -b->warmup; r < b->runs; r++) {
        const double start = clock_seconds();
        const hk_tensor *y = hk_forward(m, b->x);
        const double end = clock_seconds();
        if (hk_step_end(b->ctx) != HK_OK || !y) return false;
        if (r >= 0) b->seconds[FORWARD][r] = end - start;
    }
    return true;
}

static bool time_backward(bench *b, hk_module *m, hk_tensor *gy) {
    const hk_parameters own = hk_module_parameters(m);
    for (int64_t r = -b->warmup; r < b->runs; r++) {
        hk_zero_grad(b->x);
        for (int k = 0; k < own.count; k++) hk_zero_grad(own.items[k]);
        const double start = clock_seconds();
        hk_tensor *y = hk_forward(m, b->x);
        const double middle = clock_seconds();
        const hk_status status = hk_backward_from(b->ctx, y, gy);
        const double end = clock_seconds();
        if (hk_step_end(b->ctx) != HK_OK || status != HK_OK) return false;
        if (r < 0) continue;
        b->seconds[BACKWARD][r] = end - middle;
        b->seconds[BOTH][r] = end - start;
    }
    return true;
}

static bool measure_subject(bench *b, const subject *s, bench_row *row) {
    hk_tensor *y = hk_forward(s->module, b->x);
    const hk_shape shape = hk_tensor_shape(y);
    if (hk_step_end(b->ctx) != HK_OK) return false;
    const double in = 4.0 * (double)hk_shape_count(b->shape);
    const double out = 4.0 * (double)hk_shape_count(shape);
    const int runs = (int)b->runs;
    if (!time_forward(b, s->module)) return false;
    row->pass[FORWARD] = timing_of(runs, b->seconds[FORWARD], in + out);
    if (!subject_has_slope(&s->spec)) return true;
    hk_tensor *gy = bench_gradient(b->gy, shape);
    const bool ok = gy && time_backward(b, s->module, gy);
    if (ok) {
        row->pass[BACKWARD] = timing_of(runs, b->seconds[BACKWARD], 2 * in + out);
        row->pass[BOTH] = timing_of(runs, b->seconds[BOTH], 3 * in + 2 * out);
    }
    if (gy != b->gy) hk_tensor_destroy(gy);
    return ok;
}

static void measure_memory(bench *b) {
    for (int kind = 0; kind < BANDWIDTH_KINDS; kind++)
        if (bandwidth_has((bandwidth_kind)kind))
            bandwidth_measure(b->memory, (bandwidth_kind)kind, b->memory_runs,
                              b->memory_seconds[kind] + b->memory_count);
    b->memory_count += b->memory_runs;
}

static bool measure_all(bench *b) {
    bool ok = true;
    for (int i = 0; ok && i < b->names.count; i++) {
        subject s;
        bench_row *row = &b->report.rows[i];
        row->name = b->names.item[i];
        bench_progress(b, i);
        measure_memory(b);
        ok = subject_open(b->ctx, row->name, b->shape, &s) && measure_subject(b, &s, row);
        if (ok) subject_close(&s);
    }
    bench_progress(b, b->names.count);
    return ok;
}

/* --- before and after --------------------------------------------------------------------------- */

hk_tensor *bench_drawn(hk_context *ctx, const char *stream, hk_shape shape) {
    hk_tensor *t = hk_tensor_new(ctx, HK_F32, shape);
    const hk_random random = hk_random_stream(1, stream, 0);
    const int64_t n = hk_tensor_count(t);
    const bool here = hk_context_describe(ctx).device == HK_CPU;
    float *at = here ? hk_tensor_data(t) : malloc((size_t)n * sizeof *at + 1);
    for (int64_t i = 0; at && i < n; i++)
        at[i] = i < DRAWN ? (float)hk_random_normal(random, (uint64_t)i) : at[i - DRAWN];
    if (here) return t;
    if (t && !at) hk_fail(ctx, HK_ERR_MEMORY, "bench", "no memory");
    values_put(t, at);
    return t;
}

/* All but small networks, and gated units and maxout where axis 1 does not divide. */
static bool add_every_name(bench *b) {
    const hk_activation_info *info;
    const int64_t axis = b->shape.dim[b->shape.rank > 1 ? 1 : 0];
    bool ok = true;
    for (int i = 0; ok && (info = hk_activation_row(NULL, i)) != NULL; i++) {
        hk_activation_spec spec;
        if (info->kind == HK_ACTIVATION_NETWORK) continue;
        ok = hk_activation_parse(b->ctx, info->name, &spec) == HK_OK;
        if (ok && axis % hk_activation_widens(&spec) == 0) ok = names_add(&b->names, info->name);
    }
    return ok;
}

/* A typo in the last name should not cost the time of those before it. */
static bool check_names(bench *b) {
    hk_activation_spec spec;
    for (int i = 0; i < b->names.count; i++)
        if (hk_activation_parse(b->ctx, b->names.item[i], &spec) != HK_OK) return false;
    return true;
}

static bool prepare(bench *b) {
    const int count = b->names.count;
    const bool on_gpu = device_of(b->device) == HK_CUDA;
    b->x = hk_require_grad(bench_drawn(b->ctx, "bench/x", b->shape));
    b->gy = bench_drawn(b->ctx, "bench/gradient", b->shape);
    float *out = hk_tensor_data(hk_grad(b->x));
    if (!out || !b->gy) return false;
    b->memory_runs = b->runs / 8 > 3 ? (int)(b->runs / 8) : 3;
    bool ok = true;
    for (int k = 0; k < BANDWIDTH_KINDS; k++) {
        b->memory_seconds[k] = calloc((size_t)b->memory_runs * (size_t)(count + COMPOSED_MOST),
                                      sizeof *b->memory_seconds[k]);
        ok = ok && b->memory_seconds[k];
    }
    for (int k = 0; k < PASSES; k++) {
        b->seconds[k] = calloc((size_t)b->runs, sizeof *b->seconds[k]);
        ok = ok && b->seconds[k];
    }
    b->report.rows = calloc((size_t)count + COMPOSED_MOST, sizeof *b->report.rows);
    if (on_gpu) return ok && b->report.rows;
    b->memory = bandwidth_open(hk_context_describe(b->ctx).threads, hk_shape_count(b->shape), out,
                               hk_tensor_data(b->x), hk_tensor_data(b->gy));
    return ok && b->report.rows && b->memory;
}

static void release(bench *b) {
    bandwidth_close(b->memory);
    for (int k = 0; k < BANDWIDTH_KINDS; k++) free(b->memory_seconds[k]);
    for (int k = 0; k < PASSES; k++) free(b->seconds[k]);
    free(b->report.rows);
    hk_context_destroy(b->ctx);
    names_free(&b->names);
}

static int report(bench *b) {
    const double bytes = 4.0 * (double)hk_shape_count(b->shape);
    bench_report *r = &b->report;
    r->machine = hk_context_describe(b->ctx);
    r->shape = b->shape_text;
    r->elements = hk_shape_count(b->shape);
    r->runs = (int)b->runs;
    r->warmup = (int)b->warmup;
    r->count = b->names.count;
    r->count += r->composed;
    for (int k = 0; k < BANDWIDTH_KINDS; k++)
        if (bandwidth_has((bandwidth_kind)k) && (k == COPY_PLAIN || b->memory))
            r->memory[k] = timing_of(b->memory_count, b->memory_seconds[k],
                                     (k == COPY_PLAIN || k == COPY_STREAMED ? 2 : 3) * bytes);
    if (b->as_json) return report_json(r) ? EXIT_SUCCESS : EXIT_FAILURE;
    if (b->as_csv)
        report_csv(r);
    else
        report_tables(r);
    return EXIT_SUCCESS;
}

static int run(bench *b) {
    b->ctx = hk_context_create(&(hk_context_config){
        .device = device_of(b->device), .threads = (int)b->threads, .isa = b->isa, .seed = 1});
    const bool given = b->names.count > 0;
    bool ok = hk_error(b->ctx) == HK_OK && (given ? check_names(b) : add_every_name(b));
    ok = ok && prepare(b);
    const bool on_gpu = device_of(b->device) == HK_CUDA;
    if (ok && (on_gpu ? bench_on_gpu(b) : measure_all(b))) return report(b);
    if (hk_error(b->ctx) != HK_OK) return report_error(b->opts.program, b->ctx);
    fprintf(stderr, "%s: out of memory or threads\n", b->opts.program);
    return EXIT_FAILURE;
}

int command_bench(int argc, char **argv) {
    bench b = {.shape_text = "1000x1000", .device = "cpu", .runs = 50, .warmup = 5};
    int code = parse(&b, argc, argv);
    if (code == OPTIONS_GO) code = run(&b);
    release(&b);
    return code;
}
