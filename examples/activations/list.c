/* list.c: activations list: name, formula, parameters, what backward keeps.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "commands.h"

enum { COLUMNS = 98, NAME_AT = 0, KEEPS_AT = 14, TEXT_AT = 24, INDENT = 2, TEXT_MOST = 1024 };

/* --- text ------------------------------------------------------------------------------------- */

/* Adds to a text of TEXT_MOST. */
static void append(char *text, const char *more) {
    const size_t used = strlen(text);
    snprintf(text + used, TEXT_MOST - used, "%s", more);
}

static void append_number(char *text, const char *before, double v) {
    char number[48];
    snprintf(number, sizeof number, "%s%.9g", before, v);
    append(text, number);
}

/* From column `at` of a line that has got that far; goes on at TEXT_AT + INDENT. */
static void print_wrapped(const char *text) {
    int at = TEXT_AT;
    while (*text) {
        const int length = (int)strcspn(text, " ");
        if (at > TEXT_AT + INDENT && at + 1 + length > COLUMNS) {
            printf("\n%*s", TEXT_AT + INDENT, "");
            at = TEXT_AT + INDENT;
        } else if (at > TEXT_AT) {
            putchar(' ');
            at++;
        }
        printf("%.*s", length, text);
        at += length;
        text += length + (text[length] == ' ');
    }
    putchar('\n');
}

/* --- a row ------------------------------------------------------------------------------------ */

static const char *keeps_text(const hk_activation_info *info) {
    if (info->kind != HK_ACTIVATION_POINTWISE && info->kind != HK_ACTIVATION_OWN) return "-";
    switch (info->keeps) {
    case HK_KEEP_NOTHING: return "nothing";
    case HK_KEEP_INPUT: return "x";
    case HK_KEEP_OUTPUT: return "y";
    default: return "x and y";
    }
}

/* " (above 0)", " (0 to 1)"; nothing for any number. */
static void append_range(char *text, const hk_activation_param *param) {
    const bool low = param->low > -HUGE_VAL, high = param->high < HUGE_VAL;
    if (!low && !high) return;
    append(text, param->whole ? " (whole, " : " (");
    if (low && high) {
        append_number(text, param->above ? "above " : "", param->low);
        append_number(text, " to ", param->high);
    } else if (low) {
        append_number(text, param->above ? "above " : "from ", param->low);
    } else {
        append_number(text, "to ", param->high);
    }
    append(text, ")");
}

/* "alpha=0.25", "ste=none (none|identity|clip)", "a3=0 (S >= 3)" */
static void append_parameter(char *text, const hk_activation_info *info, int k) {
    const hk_activation_param *param = &info->params[k];
    append(text, param->name);
    append(text, "=");
    if (param->words) {
        const char *word = param->words;
        for (int i = (int)param->value; i > 0; i--) word += strcspn(word, "|") + 1;
        char chosen[64];
        snprintf(chosen, sizeof chosen, "%.*s (%s)", (int)strcspn(word, "|"), word, param->words);
        append(text, chosen);
    } else {
        append_number(text, "", param->value);
        append_range(text, param);
    }
    if (param->from > 1) {
        append(text, " (");
        append(text, info->params[0].name);
        append_number(text, " >= ", param->from);
        append(text, ")");
    }
}

/* Parameters in groups, "fixed: ...; learned: ...", then named starts. */
static void print_parameters(const hk_activation_info *info) {
    static const char *const group[] = {[HK_PARAM_FIXED] = "fixed: ",
                                        [HK_PARAM_CAN_LEARN] = "with learn=yes learned: ",
                                        [HK_PARAM_LEARNS] = "learned: "};
    char text[TEXT_MOST] = "";
    for (int role = HK_PARAM_FIXED; role <= HK_PARAM_LEARNS; role++) {
        int count = 0;
        for (int k = 0; k < info->n_params; k++) {
            if ((int)info->params[k].role != role) continue;
            if (count == 0 && *text) append(text, "; ");
            append(text, count++ ? ", " : group[role]);
            append_parameter(text, info, k);
        }
    }
    for (int i = 0; i < HK_ACTIVATION_MAX_INITS && info->inits[i].name; i++) {
        append(text, i ? "|" : "; init=");
        append(text, info->inits[i].name);
    }
    if (!*text) return;
    printf("%*s", TEXT_AT, "");
    print_wrapped(text);
}

static void print_row(const hk_activation_info *info) {
    printf("%-*s%-*s", KEEPS_AT - NAME_AT, info->name, TEXT_AT - KEEPS_AT, keeps_text(info));
    print_wrapped(info->formula);
    if (info->alias) printf("%*salso named %s\n", TEXT_AT, "", info->alias);
    print_parameters(info);
}

static void print_kind(hk_activation_kind kind, const char *title) {
    const hk_activation_info *info;
    printf("\n%s\n\n", title);
    for (int i = 0; (info = hk_activation_row(NULL, i)) != NULL; i++)
        if (info->kind == kind) print_row(info);
}

/* --- the command line ------------------------------------------------------------------------- */

static void print_all(void) {
    printf("%-*s%-*s%s\n", KEEPS_AT - NAME_AT, "name", TEXT_AT - KEEPS_AT, "keeps",
           "formula, and parameters with defaults (range)");
    print_kind(HK_ACTIVATION_POINTWISE, "--- y = f(x), element by element");
    print_kind(HK_ACTIVATION_AXIS, "--- functions of a row, along axis 1");
    print_kind(HK_ACTIVATION_NETWORK, "--- small networks and mixtures, with weights of their own");
    printf(
        "\n`keeps` is what backward needs; - stands for operations that each keep their own. s is "
        "the\nsigmoid, Phi and phi are the normal distribution and its density. A parameter is "
        "set with a\ncolon, and a learned one starts there: prelu:alpha=0.1\n");
}

static void print_names(void) {
    const hk_activation_info *info;
    for (int i = 0; (info = hk_activation_row(NULL, i)) != NULL; i++) puts(info->name);
}

int command_list(int argc, char **argv) {
    static const char *const examples[] = {"--names", NULL};
    bool only_names = false;
    const option_row rows[] = {
        {.name = "names",
         .kind = OPTION_FLAG,
         .value = &only_names,
         .help = "names alone, one a line, for scripts",
         .flags = OPTION_EVERYDAY},
    };
    options opts = {.purpose = "every activation there is", .examples = examples};
    options_add(&opts, 1, rows);
    names none = {0};
    int code = arguments_parse(&opts, "", argc, argv, &none);
    if (code == OPTIONS_GO && none.count > 0) {
        fprintf(stderr, "%s: unexpected argument %s (it takes none; see --help)\n", opts.program,
                none.item[0]);
        code = EXIT_BAD_INPUT;
    }
    names_free(&none);
    if (code != OPTIONS_GO) return code;
    if (only_names)
        print_names();
    else
        print_all();
    return EXIT_SUCCESS;
}
