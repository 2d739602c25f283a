/* options_text.c: the table as help for people and as settings for a log.
   SPDX-License-Identifier: MIT */
#include "options.h"

#include <inttypes.h>
#include <string.h>

enum { COLUMNS = 80, TEXT_AT = 25, CHOICES_SHOWN = 6 };

/* Prints words from column `at`, and goes on below at TEXT_AT, so that no line is longer than
   COLUMNS. */
static void print_wrapped(const char *text, int at) {
    bool fresh = true; /* at the start of a line: no space before the word */
    while (*text) {
        const int length = (int)strcspn(text, " ");
        if (!fresh && at + 1 + length > COLUMNS) {
            printf("\n%*s", TEXT_AT, "");
            at = TEXT_AT;
            fresh = true;
        }
        printf("%s%.*s", fresh ? "" : " ", length, text);
        at += length + (fresh ? 0 : 1);
        fresh = false;
        text += length;
        text += strspn(text, " ");
    }
    putchar('\n');
}

/* Help, names to choose from (the first few if not all), default. */
static void row_text(const options *opts, int i, bool all, char *text, size_t size) {
    const option_row *row = &opts->rows[i];
    size_t used = (size_t)snprintf(text, size, "%s", row->help);
    for (int k = 0; row->choice && row->choice(k) && used < size; k++) {
        const bool cut = !all && k == CHOICES_SHOWN;
        used += (size_t)snprintf(text + used, size - used, "%s%s", k ? ", " : ": ",
                                 cut ? "... (--help all)" : row->choice(k));
        if (cut) break;
    }
    if (opts->defaults[i][0] && used < size)
        snprintf(text + used, size - used, " (default: %s)", opts->defaults[i]);
}

static void print_option(const char *name, const char *form, const char *text) {
    char left[64];
    snprintf(left, sizeof left, "  --%s%s%s", name, *form ? " " : "", form);
    printf("%-*s", TEXT_AT, left);
    if ((int)strlen(left) >= TEXT_AT) printf("\n%*s", TEXT_AT, "");
    print_wrapped(text, TEXT_AT);
}

void options_help(const options *opts, bool all) {
    printf("%s: %s\n\nusage: %s [options]\n\n", opts->program, opts->purpose, opts->command);
    for (int everyday = 1; everyday >= !all; everyday--) {
        if (!everyday) putchar('\n');
        for (int i = 0; i < opts->count; i++) {
            const option_row *row = &opts->rows[i];
            char text[4096];
            if (((row->flags & OPTION_EVERYDAY) != 0) != (everyday != 0)) continue;
            row_text(opts, i, all, text, sizeof text);
            print_option(row->name, row->form ? row->form : "", text);
        }
        if (everyday)
            print_option("help [all]", "", "this text; with `all`, every option there is");
    }
    if (all && opts->notes) printf("\n%s\n", opts->notes);
    if (opts->examples) printf("\nexamples:\n");
    for (int i = 0; opts->examples && opts->examples[i]; i++)
        printf("  %s %s\n", opts->command, opts->examples[i]);
}

void options_value(const option_row *row, char *text, size_t size) {
    const char *chosen = row->kind == OPTION_TEXT ? *(const char *const *)row->value : NULL;
    switch (row->kind) {
    case OPTION_FLAG: snprintf(text, size, "%s", *(const bool *)row->value ? "yes" : "no"); break;
    case OPTION_INT: snprintf(text, size, "%" PRId64, *(const int64_t *)row->value); break;
    case OPTION_NUMBER: snprintf(text, size, "%.9g", *(const double *)row->value); break;
    case OPTION_TEXT: snprintf(text, size, "%s", chosen ? chosen : "none"); break;
    }
}

void options_log(const options *opts, json *line, const char *key) {
    json_begin(line, key);
    for (int i = 0; i < opts->count; i++) {
        const option_row *row = &opts->rows[i];
        char name[32];
        snprintf(name, sizeof name, "%s", row->name);
        for (char *c = name; *c; c++)
            if (*c == '-') *c = '_';
        switch (row->kind) {
        case OPTION_FLAG: json_bool(line, name, *(const bool *)row->value); break;
        case OPTION_INT: json_int(line, name, *(const int64_t *)row->value); break;
        case OPTION_NUMBER: json_number(line, name, *(const double *)row->value); break;
        case OPTION_TEXT: json_text(line, name, *(const char *const *)row->value); break;
        }
    }
    json_end(line);
}
