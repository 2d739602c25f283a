/* study.c: names, options, progress, Ctrl-C, means, rows of a file.
   SPDX-License-Identifier: MIT */
#include "study.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "folder.h"
#include "interrupt.h"
#include "progress.h"

/* --- begin and end ---------------------------------------------------------------------------- */

static void add_options(study *s) {
    s->device = "cpu";
    /* clang-format off */
    const option_row rows[] = {
        {.name = "seeds", .form = "N", .kind = OPTION_INT, .value = &s->seeds,
         .help = "networks for each number that is shown", .low = 1, .high = SEEDS_MOST,
         .example = "5", .flags = OPTION_EVERYDAY},
        {.name = "seed", .form = "N", .kind = OPTION_INT, .value = &s->seed,
         .help = "of the first network; the others have the next ones", .low = 0, .high = 1e15,
         .example = "1", .flags = OPTION_EVERYDAY},
        {.name = "out", .form = "DIR", .kind = OPTION_TEXT, .value = &s->out,
         .help = "draw a picture there, as SVG and PNG; made if missing", .example = "pictures",
         .flags = OPTION_EVERYDAY},
        {.name = "csv", .kind = OPTION_FLAG, .value = &s->as_csv,
         .help = "a line for each number instead of tables", .flags = OPTION_EVERYDAY},
        {.name = "json", .kind = OPTION_FLAG, .value = &s->as_json,
         .help = "the same as JSON objects", .flags = OPTION_EVERYDAY},
        {.name = "threads", .form = "N", .kind = OPTION_INT, .value = &s->threads,
         .help = "CPU threads; numbers do not depend on it", .low = 0, .high = 256,
         .example = "2", .shown = "all cores", .flags = OPTION_EVERYDAY},
        device_row(&s->device),
    };
    /* clang-format on */
    options_add(&s->opts, (int)(sizeof rows / sizeof *rows), rows);
}

void study_fail(study *s, int code, const char *format, ...) {
    if (s->code != 0) return;
    s->code = code;
    study_clear();
    fflush(stdout);
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", s->opts.program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

bool study_failed(study *s, const hk_context *ctx) {
    if (ctx && hk_error(ctx) == HK_OK) return s->code != 0;
    if (s->code != 0) return true;
    study_clear();
    fflush(stdout);
    s->code = report_error(s->opts.program, ctx);
    return true;
}

hk_context *study_context(study *s, hk_dtype dtype, uint64_t seed) {
    if (s->code != 0) return NULL;
    hk_context *ctx = hk_context_create(&(hk_context_config){
        .device = device_of(s->device), .dtype = dtype, .threads = (int)s->threads, .seed = seed});
    if (!study_failed(s, ctx)) return ctx;
    hk_context_destroy(ctx);
    return NULL;
}

/* A typo in the last name should not cost the time of those before it. */
static bool check_names(study *s) {
    hk_context *ctx = study_context(s, HK_F32, 1);
    hk_activation_spec spec;
    for (int i = 0; ctx && i < s->names.count; i++)
        if (hk_activation_parse(ctx, s->names.item[i], &spec) != HK_OK) break;
    const bool ok = !study_failed(s, ctx);
    hk_context_destroy(ctx);
    return ok;
}

/* Nor should a folder that cannot be written. */
static bool check_folder(study *s) {
    char path[4096];
    const char *bad = s->out ? folder_place(s->out, "plot.gp", path, sizeof path) : NULL;
    if (bad)
        study_fail(s, EXIT_BAD_INPUT, "--out %s: cannot write %s: %s", s->out, bad,
                   strerror(errno));
    return !bad;
}

bool study_begin(study *s, const char *defaults, int argc, char **argv) {
    add_options(s);
    const int code = arguments_parse(&s->opts, "[NAME...]", argc, argv, &s->names);
    if (code != OPTIONS_GO) {
        s->code = code;
        return false;
    }
    if (s->names.count == 0 && !names_add(&s->names, defaults))
        study_fail(s, EXIT_FAILURE, "out of memory");
    if (s->as_csv && s->as_json)
        study_fail(s, EXIT_BAD_INPUT, "--csv and --json: choose one of them");
    if (s->code != 0 || !check_names(s) || !check_folder(s)) return false;
    interrupt_catch();
    s->started = clock_seconds();
    return true;
}

int study_end(study *s) {
    names_free(&s->names);
    if (!s->interrupted || s->code != 0) return s->code;
    if (study_prints(s)) printf("\nStopped by Ctrl-C: this is what there was so far.\n");
    return EXIT_INTERRUPTED;
}

bool study_prints(const study *s) { return !s->as_csv && !s->as_json; }

/* --- progress, on a terminal alone ------------------------------------------------------------ */

static bool on_terminal(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

void study_clear(void) {
    if (on_terminal()) fputs("\r\033[K", stderr);
}

bool study_goes_on(study *s, double done, double total, const char *what) {
    enum { BAR = 30 };
    static const double redraw_seconds = 0.1;
    static double shown;
    const double now = clock_seconds();
    if (interrupt_seen()) s->interrupted = true;
    if (s->interrupted || s->code != 0) return false;
    if (!on_terminal() || now - shown < redraw_seconds) return true;
    const double share = total > 0 && done < total ? done / total : 1;
    char bar[BAR + 1];
    for (int i = 0; i < BAR; i++) bar[i] = i < BAR * share ? '#' : '.';
    bar[BAR] = 0;
    const double left = share > 0 ? (now - s->started) * (1 - share) / share : 0;
    fprintf(stderr, "\r\033[K[%s] %3.0f %%  %.32s  %d:%02d left", bar, 100 * share, what,
            (int)(left / 60), (int)left % 60);
    fflush(stderr);
    shown = now;
    return true;
}

/* --- numbers ---------------------------------------------------------------------------------- */

bool numbers_read(const char *text, double low, double high, int most, double *v, int *count) {
    for (*count = 0; *count < most; text++) {
        char *end;
        const double value = strtod(text, &end);
        const bool rising = *count == 0 || value > v[*count - 1];
        if (end == text || !(value >= low && value <= high) || !rising) return false;
        v[(*count)++] = value;
        if (!*end) return true;
        if (*end != ',') return false;
        text = end;
    }
    return false;
}

const char depths_must_be[] = "at most 32 rising whole numbers from 1 to 1000";

bool depths_read(const char *text, double v[DEPTHS_MOST], int *count) {
    bool ok = numbers_read(text, 1, 1000, DEPTHS_MOST, v, count);
    for (int k = 0; k < *count; k++) ok = ok && v[k] == floor(v[k]);
    return ok;
}

void depths_ticks(const double *depths, int count, char text[TICKS_MOST]) {
    size_t used = 0;
    for (int k = 0; k < count; k++)
        used +=
            (size_t)snprintf(text + used, TICKS_MOST - used, "%c%.0f", k ? ',' : '(', depths[k]);
    snprintf(text + used, TICKS_MOST - used, ")");
}

void spread_add(spread *s, double value) {
    const double before = value - s->mean;
    s->n++;
    s->mean += before / s->n;
    s->squares += before * (value - s->mean);
}

double spread_deviation(const spread *s) { return s->n > 1 ? sqrt(s->squares / (s->n - 1)) : 0; }

double spread_error(const spread *s) { return s->n > 0 ? spread_deviation(s) / sqrt(s->n) : 0; }

const char *plural(int64_t count) { return count == 1 ? "" : "s"; }

/* "1e-05" as "1e-5": a column less, and easier to read. */
static void shorten_exponent(char *text) {
    char *e = strchr(text, 'e');
    if (!e) return;
    char *from = e + 1 + (e[1] == '+' || e[1] == '-');
    char *to = e[1] == '-' ? e + 2 : e + 1;
    while (*from == '0' && from[1]) from++;
    memmove(to, from, strlen(from) + 1);
}

const char *short_number(double value, char buffer[SHORT_MOST]) {
    const double size = fabs(value);
    if (isnan(value))
        snprintf(buffer, SHORT_MOST, "-");
    else if (isinf(value) || value == 0)
        snprintf(buffer, SHORT_MOST, "%g", value);
    else if (size >= 1e-3 && size < 9999.5)
        snprintf(buffer, SHORT_MOST, "%.*f",
                 size < 0.01     ? 5
                 : size < 9.9995 ? 4
                 : size < 99.995 ? 3
                 : size < 999.95 ? 2
                                 : 1,
                 value);
    else
        snprintf(buffer, SHORT_MOST, "%.2e", value);
    if (!isinf(value)) shorten_exponent(buffer);
    return buffer;
}

/* --- rows ------------------------------------------------------------------------------------- */

void row_begin(study *s) {
    s->columns = 0;
    s->head[0] = s->line[0] = 0;
    if (s->as_json) json_open(&s->object, stdout);
}

static void add_cell(study *s, const char *key, const char *value) {
    const size_t head = strlen(s->head), line = strlen(s->line);
    const char *comma = s->columns++ ? "," : "";
    snprintf(s->head + head, sizeof s->head - head, "%s%s", comma, key);
    snprintf(s->line + line, sizeof s->line - line, "%s%s", comma, value);
}

/* A mixture's name may have commas. */
void row_text(study *s, const char *key, const char *value) {
    char cell[256];
    if (s->as_json) json_text(&s->object, key, value);
    snprintf(cell, sizeof cell, strchr(value, ',') ? "\"%s\"" : "%s", value);
    if (s->as_csv) add_cell(s, key, cell);
}

void row_int(study *s, const char *key, int64_t value) {
    char cell[32];
    if (s->as_json) json_int(&s->object, key, value);
    snprintf(cell, sizeof cell, "%" PRId64, value);
    if (s->as_csv) add_cell(s, key, cell);
}

void row_number(study *s, const char *key, double value) {
    char cell[32];
    if (s->as_json) json_number(&s->object, key, value);
    snprintf(cell, sizeof cell, "%.9g", value);
    if (s->as_csv) add_cell(s, key, isnan(value) ? "" : cell);
}

void row_end(study *s) {
    if (s->as_json && !json_close(&s->object)) study_fail(s, EXIT_FAILURE, "cannot write");
    if (!s->as_csv) return;
    if (!s->headed) printf("%s\n", s->head);
    s->headed = true;
    printf("%s\n", s->line);
}
