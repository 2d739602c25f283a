/* arguments.c: a subcommand's command line: options, with names of activations among them.
   SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- names ------------------------------------------------------------------------------------ */

static bool add_one(names *list, const char *text, size_t length) {
    char **more = realloc(list->item, ((size_t)list->count + 1) * sizeof *more);
    if (!more) return false;
    list->item = more;
    more[list->count] = strndup(text, length);
    if (!more[list->count]) return false;
    list->count++;
    return true;
}

/* Whether "alpha=2+tanh" rather than "prelu:alpha=2" stands there: an = before any colon. */
static bool is_setting(const char *text) { return text[strcspn(text, "=:,")] == '='; }

bool names_add(names *list, const char *text) {
    for (;;) {
        size_t length = strcspn(text, ",");
        while (text[length] == ',' && is_setting(text + length + 1))
            length += 1 + strcspn(text + length + 1, ",");
        if (!add_one(list, text, length)) return false;
        if (!text[length]) return true;
        text += length + 1;
    }
}

void names_free(names *list) {
    for (int i = 0; i < list->count; i++) free(list->item[i]);
    free(list->item);
    *list = (names){0};
}

/* --- options and names ------------------------------------------------------------------------ */

/* Whether the word after this option is its value. As in getopt, an option may be cut short. */
static bool takes_next(const options *opts, const char *option) {
    const char *name = option + strspn(option, "-");
    const option_row *found = NULL;
    if (strchr(name, '=')) return false;
    for (int i = 0; i < opts->count; i++) {
        if (strncmp(opts->rows[i].name, name, strlen(name)) != 0) continue;
        if (!found || strcmp(opts->rows[i].name, name) == 0) found = &opts->rows[i];
    }
    return found && found->kind != OPTION_FLAG;
}

static bool is_help(const char *word) {
    return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0 ||
           strcmp(word, "--help=all") == 0;
}

/* The help of options.h, with the names in its usage line. */
static int print_help(options *opts, const char *form, char *command) {
    char usage[4200];
    const char *const *examples = opts->examples;
    const int code = options_parse(opts, 1, &command); /* fills in defaults */
    if (code != OPTIONS_GO) return code;
    const char *plain = opts->command;
    snprintf(usage, sizeof usage, "%s%s%s", plain, *form ? " " : "", form);
    opts->command = usage;
    opts->examples = NULL;
    options_help(opts, false);
    opts->command = plain;
    opts->examples = examples;
    printf("\nexamples:\n");
    for (int i = 0; examples && examples[i]; i++) printf("  %s %s\n", plain, examples[i]);
    return EXIT_SUCCESS;
}

int arguments_parse(options *opts, const char *form, int argc, char **argv, names *list) {
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    bool ok = rest != NULL, names_only = false;
    int n = 1, code = OPTIONS_GO;
    if (rest) rest[0] = argv[0];
    for (int i = 1; ok && i < argc && code == OPTIONS_GO; i++) {
        if (!names_only && is_help(argv[i])) {
            code = print_help(opts, form, argv[0]);
        } else if (!names_only && strcmp(argv[i], "--") == 0) {
            names_only = true;
        } else if (names_only || argv[i][0] != '-') {
            ok = names_add(list, argv[i]);
        } else {
            rest[n++] = argv[i];
            if (takes_next(opts, argv[i]) && i + 1 < argc) rest[n++] = argv[++i];
        }
    }
    if (ok && code == OPTIONS_GO) code = options_parse(opts, n, rest);
    free(rest);
    if (ok) return code;
    fprintf(stderr, "%s: out of memory\n", argv[0]);
    return EXIT_FAILURE;
}

int report_error(const char *program, const hk_context *ctx) {
    const char *message = ctx ? hk_error_message(ctx) : "out of memory";
    const char *slash = strrchr(program, '/');
    const hk_status status = hk_error(ctx);
    fprintf(stderr, "%s: %s\n", slash ? slash + 1 : program, message);
    return status == HK_ERR_MEMORY ? EXIT_FAILURE : EXIT_BAD_INPUT;
}
