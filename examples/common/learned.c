/* learned.c: what training makes of activations' own parameters.
   SPDX-License-Identifier: MIT */
#include "learned.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATH_MOST = 150,
    NAME_MOST = PATH_MOST + HK_ACTIVATION_MAX_MIX,
    ROWS_SHOWN = 20,
    COLUMNS = 80
};

/* Of one number for each channel, or of the only one. */
typedef struct spread {
    double min, median, max;
} spread;

typedef struct learned_row {
    char name[NAME_MOST];
    hk_tensor *parameter;
    int candidate;      /* of the mixture whose logits these are; -1: the parameter itself */
    double temperature; /* of that mixture */
    spread start, now;
} learned_row;

struct learned {
    int count;
    learned_row *rows;
};

/* --- measuring -------------------------------------------------------------------------------- */

/* All elements, as doubles that the caller frees; NULL without memory. */
static double *read_all(hk_tensor *t) {
    const int64_t n = hk_tensor_count(t);
    const bool wide = hk_tensor_dtype(t) == HK_F64;
    const void *data = hk_tensor_values(t);
    double *value = data ? malloc((size_t)n * sizeof *value) : NULL;
    for (int64_t i = 0; value && i < n; i++)
        value[i] = wide ? ((const double *)data)[i] : (double)((const float *)data)[i];
    return value;
}

/* Weight k of softmax(logits/T). */
static double softmax_weight(int64_t n, const double *logits, double temperature, int k) {
    double most = -HUGE_VAL, sum = 0;
    for (int64_t i = 0; i < n; i++) most = logits[i] > most ? logits[i] : most;
    for (int64_t i = 0; i < n; i++) sum += exp((logits[i] - most) / temperature);
    return exp((logits[k] - most) / temperature) / sum;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static spread spread_of(int64_t n, double *value) {
    for (int64_t i = 0; i < n; i++)
        if (isnan(value[i])) return (spread){NAN, NAN, NAN};
    qsort(value, (size_t)n, sizeof *value, ascending);
    return (spread){value[0], (value[(n - 1) / 2] + value[n / 2]) / 2, value[n - 1]};
}

static spread measure(training *run, const learned_row *row) {
    const int64_t n = hk_tensor_count(row->parameter);
    double *value = read_all(row->parameter);
    spread s = {NAN, NAN, NAN};
    if (!value)
        hk_fail(run->ctx, HK_ERR_MEMORY, "learned", "no memory for %s", row->name);
    else if (row->candidate < 0)
        s = spread_of(n, value);
    else
        s.min = s.median = s.max = softmax_weight(n, value, row->temperature, row->candidate);
    free(value);
    return s;
}

void learned_update(training *run) {
    for (int i = 0; run->learned && i < run->learned->count; i++)
        run->learned->rows[i].now = measure(run, &run->learned->rows[i]);
}

/* --- rows ------------------------------------------------------------------------------------- */

static learned_row *add_row(training *run, hk_tensor *parameter) {
    learned *l = run->learned;
    learned_row *more = realloc(l->rows, ((size_t)l->count + 1) * sizeof *more);
    if (!more) {
        hk_fail(run->ctx, HK_ERR_MEMORY, "learned", "no memory for %d parameters", l->count + 1);
        return NULL;
    }
    l->rows = more;
    more[l->count] = (learned_row){.parameter = parameter, .candidate = -1};
    return &more[l->count++];
}

/* Whether the activation with this path is in m; *before counts those that stand before it. */
static bool count_to(const hk_module *m, const char *path, int *before) {
    if (strcmp(hk_module_kind(m), "activation") == 0) {
        const bool found = strcmp(hk_module_name(m), path) == 0;
        *before += !found;
        return found;
    }
    for (int i = 0; i < hk_module_child_count(m); i++)
        if (count_to(hk_module_child_at(m, i), path, before)) return true;
    return false;
}

/* The specification of the mixture at `path`. False if nobody said what it is. */
static bool find_mixture(training *run, const char *path, hk_activation_spec *spec) {
    int place = 0;
    char text[ACTIVATION_NAME_MOST];
    if (!run->activations || !count_to(run->net, path, &place)) return false;
    train_activation_name(run->activations, place, text);
    return hk_activation_parse(run->ctx, text, spec) == HK_OK && spec->candidates[0];
}

/* A row for each candidate of the mixture whose logits these are, or one for the parameter. */
static void add_rows(training *run, hk_tensor *parameter) {
    const char *name = hk_tensor_name(parameter), *dot = strrchr(name, '.');
    const int length = dot ? (int)(dot - name) : 0;
    char path[PATH_MOST];
    hk_activation_spec mix;
    snprintf(path, sizeof path, "%.*s", length, name);
    if (!dot || strcmp(dot, ".logits") != 0 || !find_mixture(run, path, &mix)) {
        learned_row *row = add_row(run, parameter);
        if (row) snprintf(row->name, sizeof row->name, "%s", name);
        return;
    }
    const char *candidate = mix.candidates;
    for (int k = 0; *candidate; k++) {
        learned_row *row = add_row(run, parameter);
        if (!row) return;
        const int end = (int)strcspn(candidate, "+");
        snprintf(row->name, sizeof row->name, "%s.%.*s", path, end, candidate);
        row->candidate = k;
        row->temperature = mix.value[0];
        candidate += end + (candidate[end] == '+');
    }
}

void learned_open(training *run) {
    const hk_parameters own = hk_module_parameters_of(run->net, HK_OF_ACTIVATIONS);
    if (own.count == 0) return;
    run->learned = calloc(1, sizeof *run->learned);
    if (!run->learned) {
        hk_fail(run->ctx, HK_ERR_MEMORY, "learned", "no memory");
        return;
    }
    for (int i = 0; i < own.count; i++) add_rows(run, own.items[i]);
    learned_update(run);
    for (int i = 0; i < run->learned->count; i++)
        run->learned->rows[i].start = run->learned->rows[i].now;
}

void learned_close(training *run) {
    if (run->learned) free(run->learned->rows);
    free(run->learned);
    run->learned = NULL;
}

/* --- showing ---------------------------------------------------------------------------------- */

void learned_log(const training *run, json *line) {
    const learned *l = run->learned;
    if (!l) return;
    json_begin(line, "activation_parameters");
    for (int i = 0; i < l->count; i++) {
        json_begin(line, l->rows[i].name);
        json_rounded(line, "min", l->rows[i].now.min);
        json_rounded(line, "median", l->rows[i].now.median);
        json_rounded(line, "max", l->rows[i].now.max);
        json_end(line);
    }
    json_end(line);
}

/* "0.193", or "0.193 (0.12 .. 0.31)" if channels differ. */
static const char *spread_text(spread s, char *text, size_t size) {
    if (s.min == s.max || isnan(s.median))
        snprintf(text, size, "%.3g", s.median);
    else
        snprintf(text, size, "%.3g (%.3g .. %.3g)", s.median, s.min, s.max);
    return text;
}

void learned_report(training *run) {
    const learned *l = run->learned;
    if (!l || run->set->quiet) return;
    learned_update(run);
    const int shown = l->count > ROWS_SHOWN ? ROWS_SHOWN : l->count;
    int width = 0;
    bool channels = false;
    for (int i = 0; i < shown; i++) {
        const int length = (int)strlen(l->rows[i].name);
        if (length > width && length < COLUMNS / 2) width = length;
        channels |= hk_tensor_count(l->rows[i].parameter) > 1 && l->rows[i].candidate < 0;
    }
    printf("\nlearned by the activations, start -> end%s\n\n",
           channels ? ": median (least .. greatest channel)" : "");
    for (int i = 0; i < shown; i++) {
        char start[64], end[64];
        printf("  %-*s  %s -> %s\n", width, l->rows[i].name,
               spread_text(l->rows[i].start, start, sizeof start),
               spread_text(l->rows[i].now, end, sizeof end));
    }
    if (shown < l->count) printf("  and %d more; --log FILE.jsonl has all\n", l->count - shown);
}
