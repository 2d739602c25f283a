/* bench_report.c: results of activations bench, as tables, JSON or CSV.
   SPDX-License-Identifier: MIT */
#include "bench_report.h"

#include <hillock_build.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

enum { COLUMNS = 80 };

static const char *const pass_name[PASSES] = {"forward", "backward", "both"};
static const char *const memory_name[BANDWIDTH_KINDS] = {
    [COPY_PLAIN] = "copy_plain",
    [COPY_STREAMED] = "copy_streaming",
    [TRIAD_PLAIN] = "triad_plain",
    [TRIAD_STREAMED] = "triad_streaming",
};

/* --- numbers ---------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Where a share q of the sorted values lies below, between two of them if need be. */
static double quantile(int n, const double *sorted, double q) {
    const double at = q * (n - 1);
    const int i = (int)at, next = i + 1 < n ? i + 1 : i;
    return sorted[i] + (at - i) * (sorted[next] - sorted[i]);
}

timing timing_of(int runs, double *seconds, double bytes) {
    timing t = {.runs = runs, .bytes = bytes};
    if (runs < 1) return t;
    double squares = 0;
    for (int i = 0; i < runs; i++) t.mean += seconds[i] / runs;
    for (int i = 0; i < runs; i++) squares += (seconds[i] - t.mean) * (seconds[i] - t.mean);
    t.sd = runs > 1 ? sqrt(squares / (runs - 1)) : 0;
    qsort(seconds, (size_t)runs, sizeof *seconds, by_value);
    t.median = quantile(runs, seconds, 0.5);
    t.q1 = quantile(runs, seconds, 0.25);
    t.q3 = quantile(runs, seconds, 0.75);
    return t;
}

/* Bytes in a second, by the median. */
static double rate(timing t) { return t.runs > 0 && t.median > 0 ? t.bytes / t.median : NAN; }

/* The faster of plain and streaming stores. */
static double best(const bench_report *r, bandwidth_kind plain, bandwidth_kind streamed) {
    return fmax(rate(r->memory[plain]), rate(r->memory[streamed])); /* fmax passes NaN over */
}

/* How long the copy would take, over how long it took. */
static double share(const bench_report *r, const bench_row *row, int pass) {
    const double copy = best(r, COPY_PLAIN, COPY_STREAMED);
    const double of_triad = best(r, TRIAD_PLAIN, TRIAD_STREAMED);
    const double triad = isnan(of_triad) ? copy : of_triad; /* on a GPU copies alone are measured */
    const double forward = row->pass[FORWARD].bytes / copy;
    const double backward = row->pass[BACKWARD].bytes / triad;
    const timing *t = &row->pass[pass];
    if (t->runs == 0 || !(t->median > 0)) return NAN;
    return (pass == FORWARD    ? forward
            : pass == BACKWARD ? backward
                               : forward + backward) /
           t->median;
}

static int by_forward(const void *a, const void *b) {
    const bench_row *x = a, *y = b;
    return (x->pass[FORWARD].median > y->pass[FORWARD].median) -
           (x->pass[FORWARD].median < y->pass[FORWARD].median);
}

static void sort(bench_report *r) { qsort(r->rows, (size_t)r->count, sizeof *r->rows, by_forward); }

/* --- tables ----------------------------------------------------------------------------------- */

static const char *const pass_title[PASSES] = {
    "forward",
    "backward, given the output's gradient",
    "forward and backward",
};
static const char *const compared[PASSES] = {"copy", "triad", "both"};

static int name_width(const bench_report *r) {
    int width = 12;
    for (int i = 0; i < r->count; i++)
        if ((int)strlen(r->rows[i].name) > width) width = (int)strlen(r->rows[i].name);
    return width;
}

static void print_memory(const bench_report *r) {
    if (r->machine.device == HK_CUDA) {
        printf("a copy on the GPU: %.1f GB/s\n", rate(r->memory[COPY_PLAIN]) * 1e-9);
        return;
    }
    printf("memory, GB/s      plain stores   streaming stores\n");
    for (int k = 0; k < BANDWIDTH_KINDS; k += 2) {
        printf("%-15s %14.1f", k == COPY_PLAIN ? "copy" : "triad", rate(r->memory[k]) * 1e-9);
        if (r->memory[k + 1].runs > 0)
            printf(" %18.1f\n", rate(r->memory[k + 1]) * 1e-9);
        else
            printf(" %18s\n", "-");
    }
}

static void print_pass(const bench_report *r, int pass) {
    char heading[32];
    const int width = name_width(r);
    const bool on_gpu = r->machine.device == HK_CUDA;
    snprintf(heading, sizeof heading, "of %s", on_gpu ? "copy" : compared[pass]);
    printf("\n%s\n%-*s %10s   %-8s %10s  %-21s %7s %8s\n", pass_title[pass], width, "microseconds",
           "mean", "sd", "median", "quartiles", "GB/s", heading);
    for (int i = 0; i < r->count; i++) {
        const timing *t = &r->rows[i].pass[pass];
        char quartiles[48];
        if (t->runs == 0) {
            printf("%-*s          -\n", width, r->rows[i].name);
            continue;
        }
        snprintf(quartiles, sizeof quartiles, "%.1f to %.1f", t->q1 * 1e6, t->q3 * 1e6);
        printf("%-*s %10.1f ± %-8.1f %10.1f  %-21s %7.1f %6.0f %%\n", width, r->rows[i].name,
               t->mean * 1e6, t->sd * 1e6, t->median * 1e6, quartiles, rate(*t) * 1e-9,
               100 * share(r, &r->rows[i], pass));
    }
}

/* --- what a GPU is held against ----------------------------------------------------------------- */

/* Prints one of a list's items from column `at`, on a line of its own if need be; the column behind
   it. */
static int print_item(int at, const char *name, double seconds) {
    char text[96];
    const int length = snprintf(text, sizeof text, " %s (%.1f us)", name, seconds * 1e6);
    const bool fits = at + length < COLUMNS;
    printf("%s%s", fits ? "" : "\n  ", text);
    return fits ? at + length : 2 + length;
}

/* Where the CPU takes less time. */
static bool print_lost(const bench_report *r, int pass) {
    int at = 0;
    for (int i = 0; i < r->count; i++) {
        const bench_row *row = &r->rows[i];
        if (!(row->cpu[pass] > 0 && row->cpu[pass] < row->pass[pass].median)) continue;
        if (at == 0) at = printf("the CPU is faster, %s:", pass_name[pass]);
        at = print_item(at, row->name, row->cpu[pass]);
    }
    if (at > 0) printf("\n");
    return at > 0;
}

/* By how much the GPU is faster at least. */
static void print_gain(const bench_report *r) {
    double least = INFINITY;
    const char *at = "", *of = "";
    for (int i = 0; i < r->count; i++)
        for (int pass = 0; pass < PASSES; pass++) {
            const bench_row *row = &r->rows[i];
            const double times = row->cpu[pass] / row->pass[pass].median;
            if (!(row->cpu[pass] > 0 && times < least)) continue;
            least = times;
            at = row->name;
            of = pass_name[pass];
        }
    printf("the CPU is faster at none; the GPU is %.3g times as fast at least (%s, %s)\n", least,
           at, of);
}

static void print_cpu(const bench_report *r) {
    bool lost = false;
    if (r->cpu.threads == 0) return;
    printf("\nheld against the CPU, %s, %d thread%s\n", r->cpu.isa, r->cpu.threads,
           r->cpu.threads == 1 ? "" : "s");
    for (int pass = 0; pass < PASSES; pass++) lost = print_lost(r, pass) || lost;
    if (!lost) print_gain(r);
}

static const bench_row *find_row(const bench_report *r, const char *name) {
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->rows[i].name, name) == 0) return &r->rows[i];
    return NULL;
}

static void print_composed(const bench_report *r) {
    for (int k = 0; k < r->composed; k++) {
        char name[64];
        snprintf(name, sizeof name, "%s by ops", r->composes[k]);
        const bench_row *one = find_row(r, r->composes[k]), *several = find_row(r, name);
        if (!one || !several) continue;
        printf("%s%s over %s, times as fast:", k ? "" : "\n", r->composes[k], name);
        for (int pass = 0; pass < PASSES; pass++)
            printf(" %s %.2f%s", pass_name[pass],
                   several->pass[pass].median / one->pass[pass].median,
                   pass + 1 < PASSES ? "," : "\n");
    }
}

void report_tables(bench_report *r) {
    sort(r);
    printf("%s floats (%" PRId64 "), ", r->shape, r->elements);
    if (r->machine.device == HK_CPU)
        printf("%d thread%s, ", r->machine.threads, r->machine.threads == 1 ? "" : "s");
    printf("%s, %d runs after %d to warm up\n\n", r->machine.isa, r->runs, r->warmup);
    print_memory(r);
    for (int pass = 0; pass < PASSES; pass++) print_pass(r, pass);
    print_cpu(r);
    print_composed(r);
}

/* --- JSON: one object --------------------------------------------------------------------------- */

static void json_timing(json *line, const char *key, timing t, double of_memory) {
    if (t.runs == 0) {
        json_text(line, key, NULL);
        return;
    }
    json_begin(line, key);
    json_rounded(line, "mean_us", t.mean * 1e6);
    json_rounded(line, "sd_us", t.sd * 1e6);
    json_rounded(line, "median_us", t.median * 1e6);
    json_rounded(line, "q1_us", t.q1 * 1e6);
    json_rounded(line, "q3_us", t.q3 * 1e6);
    json_rounded(line, "gb_per_s", rate(t) * 1e-9);
    if (of_memory >= 0) json_rounded(line, "share", of_memory);
    json_end(line);
}

/* Microseconds on the CPU. */
static void json_cpu(json *line, const bench_row *row) {
    json_begin(line, "cpu_us");
    for (int pass = 0; pass < PASSES; pass++)
        if (row->cpu[pass] > 0) json_rounded(line, pass_name[pass], row->cpu[pass] * 1e6);
    json_end(line);
}

bool report_json(bench_report *r) {
    json line;
    sort(r);
    json_open(&line, stdout);
    json_text(&line, "program", "activations bench");
    json_text(&line, "version", hk_version());
    json_text(&line, "git_hash", HILLOCK_GIT_HASH);
    json_text(&line, "build_flags", HILLOCK_BUILD_FLAGS);
    json_text(&line, "shape", r->shape);
    json_int(&line, "elements", r->elements);
    json_int(&line, "threads", r->machine.threads);
    json_text(&line, "isa", r->machine.isa);
    if (r->machine.device == HK_CUDA) json_text(&line, "device", "cuda");
    if (r->cpu.threads > 0) json_text(&line, "cpu", r->cpu.isa);
    json_int(&line, "runs", r->runs);
    json_int(&line, "warmup", r->warmup);
    json_begin(&line, "memory");
    for (int k = 0; k < BANDWIDTH_KINDS; k++) json_timing(&line, memory_name[k], r->memory[k], -1);
    json_end(&line);
    json_begin(&line, "results");
    for (int i = 0; i < r->count; i++) {
        json_begin(&line, r->rows[i].name);
        for (int pass = 0; pass < PASSES; pass++)
            json_timing(&line, pass_name[pass], r->rows[i].pass[pass], share(r, &r->rows[i], pass));
        if (r->cpu.threads > 0) json_cpu(&line, &r->rows[i]);
        json_end(&line);
    }
    json_end(&line);
    return json_close(&line);
}

/* --- CSV ------------------------------------------------------------------------------------------ */

/* In quotes where a name has a comma, as in a mixture. */
static void csv_line(const char *name, const char *pass, timing t, double of_memory) {
    const char *quote = strchr(name, ',') ? "\"" : "";
    printf("%s%s%s,%s", quote, name, quote, pass);
    if (t.runs == 0) {
        printf(",,,,,,,\n");
        return;
    }
    printf(",%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,", t.mean * 1e6, t.sd * 1e6, t.median * 1e6, t.q1 * 1e6,
           t.q3 * 1e6, rate(t) * 1e-9);
    if (of_memory >= 0) printf("%.6g", of_memory);
    putchar('\n');
}

void report_csv(bench_report *r) {
    sort(r);
    printf("name,pass,mean_us,sd_us,median_us,q1_us,q3_us,gb_per_s,share\n");
    for (int k = 0; k < BANDWIDTH_KINDS; k++)
        csv_line("(memory)", memory_name[k], r->memory[k], -1);
    for (int i = 0; i < r->count; i++)
        for (int pass = 0; pass < PASSES; pass++)
            csv_line(r->rows[i].name, pass_name[pass], r->rows[i].pass[pass],
                     share(r, &r->rows[i], pass));
}
