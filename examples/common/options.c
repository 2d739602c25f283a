/* options.c: reads the command line by the table.
   SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* getopt_long answers with FIRST + row for a row, and with a character for a short option. */
enum { FIRST = 256, HELP = 'h' };

void options_add(options *opts, int count, const option_row *rows) {
    for (int i = 0; i < count && opts->count < OPTIONS_MOST; i++)
        opts->rows[opts->count++] = rows[i];
}

static const option_row *find_row(const options *opts, const char *name) {
    for (int i = 0; i < opts->count; i++)
        if (strcmp(opts->rows[i].name, name) == 0) return &opts->rows[i];
    return NULL;
}

/* --- errors ----------------------------------------------------------------------------------- */

/* Letters to insert, delete or replace to get from a to b (Levenshtein), for names of up to 31. */
static int distance(const char *a, const char *b) {
    const int n = (int)strlen(b);
    int row[32];
    if (strlen(a) > 31 || n > 31) return 99;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            const int replace = diagonal + (a[i - 1] != b[j - 1]);
            const int other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < other ? replace : other;
        }
    }
    return row[n];
}

/* Keeps the better of two guesses at what `text` was meant to be. */
static void consider(const char *text, const char *name, const char **best, int *least) {
    const int d = distance(text, name);
    if (d < *least) {
        *least = d;
        *best = name;
    }
}

/* A guess counts if no more than a third of the letters differ. */
static int tolerance(const char *text) { return (int)strlen(text) / 3 + 1; }

static int unknown_option(const options *opts, const char *given) {
    const char *best = NULL;
    char name[32] = "";
    const size_t length = strcspn(given + strspn(given, "-"), "=");
    if (length < sizeof name) memcpy(name, given + strspn(given, "-"), length);
    int least = tolerance(name) + 1;
    consider(name, "help", &best, &least);
    for (int i = 0; i < opts->count; i++) consider(name, opts->rows[i].name, &best, &least);
    if (best && *name)
        fprintf(stderr, "%s: unknown option %s (did you mean --%s? --help all lists them)\n",
                opts->program, given, best);
    else
        fprintf(stderr, "%s: unknown option %s (--help all lists them)\n", opts->program, given);
    return EXIT_BAD_INPUT;
}

int options_bad_value(const options *opts, const char *name, const char *value,
                      const char *must_be) {
    const option_row *row = find_row(opts, name);
    fprintf(stderr, "%s: --%s %s: must be %s", opts->program, name, *value ? value : "''", must_be);
    if (row && row->example) fprintf(stderr, " (try --%s %s)", name, row->example);
    fputc('\n', stderr);
    return EXIT_BAD_INPUT;
}

int options_refuse(const options *opts, const char *text) {
    fprintf(stderr, "%s: %s\n", opts->program, text);
    return EXIT_BAD_INPUT;
}

/* "a whole number from 1 to 65536", "a number above 0", "a number from 0 to below 1" */
static int bad_number(const options *opts, const option_row *row, const char *value) {
    char text[128];
    const char *what = row->kind == OPTION_INT ? "a whole number" : "a number";
    const bool above = row->flags & OPTION_ABOVE, below = row->flags & OPTION_BELOW;
    if (!(row->high < HUGE_VAL) || (row->kind == OPTION_INT && row->high > 1e15))
        snprintf(text, sizeof text, "%s %s %.15g%s", what, above ? "above" : "from", row->low,
                 above ? "" : " up");
    else
        snprintf(text, sizeof text, "%s %s %.15g %s %.15g", what, above ? "above" : "from",
                 row->low, below ? "to below" : "to", row->high);
    return options_bad_value(opts, row->name, value, text);
}

static int bad_choice(const options *opts, const option_row *row, const char *value) {
    char text[1024] = "one of ";
    size_t used = strlen(text);
    const char *best = NULL;
    int least = tolerance(value) + 1;
    for (int i = 0; row->choice(i) && used < sizeof text; i++) {
        const char *name = row->choice(i);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "", name);
        consider(value, name, &best, &least);
    }
    option_row guess = *row;
    if (best) guess.example = best;
    options with_guess = {.program = opts->program, .count = 1};
    with_guess.rows[0] = guess;
    return options_bad_value(&with_guess, row->name, value, text);
}

/* --- values ----------------------------------------------------------------------------------- */

static bool in_range(const option_row *row, double v) {
    const bool low = row->flags & OPTION_ABOVE ? v > row->low : v >= row->low;
    const bool high = row->flags & OPTION_BELOW ? v < row->high : v <= row->high;
    return low && high;
}

static bool read_int(const option_row *row, const char *text) {
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || !in_range(row, (double)v)) return false;
    *(int64_t *)row->value = v;
    return true;
}

static bool read_number(const option_row *row, const char *text) {
    char *end;
    const double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v) || !in_range(row, v)) return false;
    *(double *)row->value = v;
    return true;
}

static bool is_choice(const option_row *row, const char *text) {
    if (!row->choice || row->flags & OPTION_OPEN) return true;
    for (int i = 0; row->choice(i); i++)
        if (strcmp(row->choice(i), text) == 0) return true;
    return false;
}

/* text is NULL for a flag. */
static int store(const options *opts, const option_row *row, const char *text) {
    switch (row->kind) {
    case OPTION_FLAG: *(bool *)row->value = true; return OPTIONS_GO;
    case OPTION_INT: return read_int(row, text) ? OPTIONS_GO : bad_number(opts, row, text);
    case OPTION_NUMBER: return read_number(row, text) ? OPTIONS_GO : bad_number(opts, row, text);
    case OPTION_TEXT: break;
    }
    if (!*text) return options_bad_value(opts, row->name, text, "given");
    if (!is_choice(row, text)) return bad_choice(opts, row, text);
    *(const char **)row->value = text;
    return OPTIONS_GO;
}

static void number_text(double value, char *text, size_t size) {
    snprintf(text, size, "%.9g", value);
}

static void remember_defaults(options *opts) {
    for (int i = 0; i < opts->count; i++) {
        const option_row *row = &opts->rows[i];
        char *text = opts->defaults[i];
        if (row->shown)
            snprintf(text, OPTION_DEFAULT_MOST, "%s", row->shown);
        else if (row->kind == OPTION_INT)
            snprintf(text, OPTION_DEFAULT_MOST, "%" PRId64, *(const int64_t *)row->value);
        else if (row->kind == OPTION_NUMBER)
            number_text(*(const double *)row->value, text, OPTION_DEFAULT_MOST);
        else if (row->kind == OPTION_TEXT && *(const char *const *)row->value)
            snprintf(text, OPTION_DEFAULT_MOST, "%s", *(const char *const *)row->value);
    }
}

/* --- the command line ------------------------------------------------------------------------- */

/* Where a program stands below the current folder, its full path is shortened, so that what is
   printed for pasting is short. Points into argv0. */
static const char *short_command(const char *argv0) {
    char folder[4096];
    if (argv0[0] != '/' || !getcwd(folder, sizeof folder)) return argv0;
    const size_t length = strlen(folder);
    const bool below = strncmp(argv0, folder, length) == 0 && argv0[length] == '/';
    const char *rest = argv0 + length + 1;
    return below && strchr(rest, '/') ? rest : argv0;
}

static int parse_error(const options *opts, int argc, char **argv, int answer) {
    const char *given = optind > 0 && optind <= argc ? argv[optind - 1] : "?";
    if (answer == ':' && optopt >= FIRST && optopt < FIRST + opts->count) {
        const option_row *row = &opts->rows[optopt - FIRST];
        fprintf(stderr, "%s: --%s needs a value (try --%s %s)\n", opts->program, row->name,
                row->name, row->example ? row->example : row->form);
        return EXIT_BAD_INPUT;
    }
    if (optopt >= FIRST) {
        fprintf(stderr, "%s: %s: takes no value\n", opts->program, given);
        return EXIT_BAD_INPUT;
    }
    char letter[3] = {'-', (char)optopt, 0};
    return unknown_option(opts, optopt ? letter : given);
}

int options_parse(options *opts, int argc, char **argv) {
    struct option table[OPTIONS_MOST + 2];
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    opts->program = slash ? slash + 1 : argc > 0 ? argv[0] : "program";
    opts->command = argc > 0 ? short_command(argv[0]) : opts->program;
    remember_defaults(opts);
    for (int i = 0; i < opts->count; i++)
        table[i] = (struct option){
            opts->rows[i].name, opts->rows[i].kind == OPTION_FLAG ? no_argument : required_argument,
            NULL, FIRST + i};
    table[opts->count] = (struct option){"help", optional_argument, NULL, HELP};
    table[opts->count + 1] = (struct option){NULL, 0, NULL, 0};

    opterr = 0;
    optind = 1;
    int answer;
    while ((answer = getopt_long(argc, argv, ":h", table, NULL)) != -1) {
        if (answer == HELP) {
            const char *what = optarg ? optarg : optind < argc ? argv[optind] : "";
            options_help(opts, strcmp(what, "all") == 0);
            return EXIT_SUCCESS;
        }
        if (answer < FIRST) return parse_error(opts, argc, argv, answer);
        const int code = store(opts, &opts->rows[answer - FIRST], optarg);
        if (code != OPTIONS_GO) return code;
    }
    if (optind == argc) return OPTIONS_GO;
    fprintf(stderr, "%s: unexpected argument %s (options start with --; see --help)\n",
            opts->program, argv[optind]);
    return EXIT_BAD_INPUT;
}
