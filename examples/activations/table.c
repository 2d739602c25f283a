/* table.c: activations table: what can be said of each activation, computed.
   SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "commands.h"
#include "table.h"

enum { SUBSET = 257 }; /* odd, so that all patterns of low bits occur */

typedef struct settings {
    bool csv, markdown, textbook, exhaustive, fresh, untimed;
    const char *cache, *isa;
    int64_t threads;
} settings;

static const char *isa_choice(int i) {
    static const char *const isas[] = {"base", "avx2", "avx512"};
    return i < 3 ? isas[i] : NULL;
}

static void add_options(options *opts, settings *s) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "csv", .kind = OPTION_FLAG, .value = &s->csv, .flags = OPTION_EVERYDAY,
         .help = "every fact as comma-separated values, with all digits"},
        {.name = "md", .kind = OPTION_FLAG, .value = &s->markdown, .flags = OPTION_EVERYDAY,
         .help = "the tables as Markdown"},
        {.name = "textbook", .kind = OPTION_FLAG, .value = &s->textbook, .flags = OPTION_EVERYDAY,
         .help = "the usual textbook table and other common claims, each beside what is computed"},
        {.name = "exhaustive", .kind = OPTION_FLAG, .value = &s->exhaustive,
         .flags = OPTION_EVERYDAY,
         .help = "look at all 2^32 floats, not at every 257th (seconds for each activation)"},
        {.name = "threads", .form = "N", .kind = OPTION_INT, .value = &s->threads, .low = 0,
         .high = 256, .example = "2", .shown = "all cores", .flags = OPTION_EVERYDAY,
         .help = "CPU threads that look at floats; the result does not depend on it"},
        {.name = "cache", .form = "DIR", .kind = OPTION_TEXT, .value = &s->cache,
         .example = "/tmp/hillock", .shown = "hillock in $XDG_CACHE_HOME or ~/.cache",
         .flags = OPTION_EVERYDAY, .help = "where results of looking at floats are kept"},
        {.name = "fresh", .kind = OPTION_FLAG, .value = &s->fresh, .flags = OPTION_EVERYDAY,
         .help = "look again, whatever the cache holds"},
        {.name = "no-time", .kind = OPTION_FLAG, .value = &s->untimed, .flags = OPTION_EVERYDAY,
         .help = "do not measure nanoseconds, so that the output is the same each time"},
        {.name = "isa", .form = "NAME", .kind = OPTION_TEXT, .value = &s->isa, .choice = isa_choice,
         .example = "avx2", .shown = "the best here", .flags = OPTION_EVERYDAY,
         .help = "instruction set"},
    };
    /* clang-format on */
    options_add(opts, (int)(sizeof rows / sizeof *rows), rows);
}

/* All pointwise activations, unless some were named. */
static bool fill_names(names *list) {
    const hk_activation_info *info;
    if (list->count > 0) return true;
    for (int i = 0; (info = hk_activation_row(NULL, i)) != NULL; i++)
        if (info->kind == HK_ACTIVATION_POINTWISE && !names_add(list, info->name)) return false;
    return true;
}

static bool print_table(const names *list, const settings *s, const properties_options *o) {
    properties *p = calloc((size_t)list->count, sizeof *p);
    bool ok = p != NULL;
    const bool terminal = isatty(STDERR_FILENO);
    for (int i = 0; ok && i < list->count; i++) ok = check_name(list->item[i]);
    for (int i = 0; ok && i < list->count; i++) {
        if (terminal) fprintf(stderr, "\r\033[K%d of %d: %s", i + 1, list->count, list->item[i]);
        ok = find_properties(list->item[i], o, &p[i]);
    }
    if (terminal) fprintf(stderr, "\r\033[K");
    if (ok && s->csv)
        print_csv(list->count, p);
    else if (ok)
        print_blocks(list->count, p, s->markdown);
    free(p);
    return ok;
}

/* What the options say of each other. */
static int check(const options *opts, const settings *s, const names *list) {
    if (s->csv + s->markdown + s->textbook > 1)
        fprintf(stderr, "%s: --csv, --md and --textbook are three outputs: ask for one\n",
                opts->program);
    else if (s->textbook && list->count > 0)
        fprintf(stderr,
                "%s: --textbook is about sigmoid, tanh, relu, swish and gelu; leave out %s\n",
                opts->program, list->item[0]);
    else
        return OPTIONS_GO;
    return EXIT_BAD_INPUT;
}

static bool run(const settings *s, names *list) {
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const properties_options o = {.isa = s->isa,
                                  .cache = s->cache,
                                  .stride = s->exhaustive ? 1 : SUBSET,
                                  .threads = s->threads  ? (int)s->threads
                                             : cores > 0 ? (int)cores
                                                         : 1,
                                  .fresh = s->fresh,
                                  .timed = !s->untimed};
    if (s->textbook) return print_textbook(&o) && print_claims(&o);
    return fill_names(list) && print_table(list, s, &o);
}

int command_table(int argc, char **argv) {
    static const char *const examples[] = {"", "relu gelu swish:beta=2", "--exhaustive --csv",
                                           "--textbook", NULL};
    settings s = {0};
    options opts = {.purpose = "what can be said of each activation, computed or measured",
                    .examples = examples};
    add_options(&opts, &s);
    names list = {0};
    int code = arguments_parse(&opts, "[NAME...]", argc, argv, &list);
    if (code == OPTIONS_GO) code = check(&opts, &s, &list);
    if (code == OPTIONS_GO) code = run(&s, &list) ? EXIT_SUCCESS : EXIT_BAD_INPUT;
    names_free(&list);
    return code;
}
