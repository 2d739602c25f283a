/* plot.c: activations plot: curves of f and f' as pictures.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "commands.h"
#include "pictures.h"

enum { TEXT_MOST = 256, TITLE_MOST = 90, FAMILY_MOST = 16 };

typedef struct plot_settings {
    const char *out, *range, *overlay, *vary;
    double low, high; /* read from `range` */
    int64_t points;
    names names, overlaid, values; /* values: of --vary */
    options opts;
    hk_context *ctx;
    pictures pictures;
} plot_settings;

/* --- settings --------------------------------------------------------------------------------- */

/* "-5:5". Floats must be able to tell the ends apart. */
static bool read_range(plot_settings *s) {
    char *end;
    s->low = strtod(s->range, &end);
    if (end == s->range || *end != ':') return false;
    const char *second = end + 1;
    s->high = strtod(second, &end);
    return end != second && !*end && isfinite((float)s->low) && isfinite((float)s->high) &&
           (float)s->low < (float)s->high;
}

static int check(plot_settings *s) {
    if (!read_range(s))
        return options_bad_value(&s->opts, "range", s->range, "two numbers, the lower one first");
    if (s->vary && s->names.count == 0) {
        fprintf(stderr, "%s: --vary %s: of which activation? (try swish --vary beta=0.1,1,10)\n",
                s->opts.program, s->vary);
        return EXIT_BAD_INPUT;
    }
    if (s->vary && (!strchr(s->vary, '=') || s->vary[0] == '='))
        return options_bad_value(&s->opts, "vary", s->vary, "a parameter and its values");
    if (s->vary && !names_add(&s->values, strchr(s->vary, '=') + 1)) return EXIT_FAILURE;
    if (s->values.count > FAMILY_MOST)
        return options_bad_value(&s->opts, "vary", s->vary, "at most 16 values");
    if (s->overlay && !names_add(&s->overlaid, s->overlay)) return EXIT_FAILURE;
    if (s->overlaid.count > FAMILY_MOST)
        return options_bad_value(&s->opts, "overlay", s->overlay, "at most 16 names");
    return OPTIONS_GO;
}

static int parse(plot_settings *s, int argc, char **argv) {
    static const char *const examples[] = {
        "                          all of them: a grid, and a page for each",
        "gelu,mish --range -3:3    these",
        "--overlay relu,gelu,silu  in one picture",
        "swish --vary beta=0.1,1,10",
        NULL,
    };
    /* clang-format off */
    const option_row rows[] = {
        {.name = "out", .form = "DIR", .kind = OPTION_TEXT, .value = &s->out,
         .help = "folder for pictures, data and script; made if missing", .example = "plots",
         .flags = OPTION_EVERYDAY},
        {.name = "range", .form = "A:B", .kind = OPTION_TEXT, .value = &s->range,
         .help = "of x", .example = "-5:5", .flags = OPTION_EVERYDAY},
        {.name = "points", .form = "N", .kind = OPTION_INT, .value = &s->points,
         .help = "how many to begin with; steep places get more", .low = 2, .high = 1e6,
         .example = "1000", .flags = OPTION_EVERYDAY},
        {.name = "overlay", .form = "NAMES", .kind = OPTION_TEXT, .value = &s->overlay,
         .help = "these in one picture", .example = "relu,gelu", .flags = OPTION_EVERYDAY},
        {.name = "vary", .form = "P=V,V,...", .kind = OPTION_TEXT, .value = &s->vary,
         .help = "each NAME with these values of a parameter, in one picture",
         .example = "beta=0.1,1,10", .flags = OPTION_EVERYDAY},
    };
    /* clang-format on */
    s->opts = (options){.purpose = "curves of f and f' as SVG and PNG, drawn by gnuplot",
                        .examples = examples};
    options_add(&s->opts, (int)(sizeof rows / sizeof *rows), rows);
    const int code = arguments_parse(&s->opts, "[NAME...]", argc, argv, &s->names);
    return code == OPTIONS_GO ? check(s) : code;
}

/* --- curves ----------------------------------------------------------------------------------- */

static void free_plotted(int count, plotted *list) {
    for (int i = 0; i < count; i++) curve_free(&list[i].curve);
    free(list);
}

/* "swish:beta=0.1": the i-th name with the k-th value of --vary. */
static void family_member(const plot_settings *s, int i, int k, char text[TEXT_MOST]) {
    snprintf(text, TEXT_MOST, "%s:%.*s=%s", s->names.item[i], (int)strcspn(s->vary, "="), s->vary,
             s->values.item[k]);
}

/* False after an error, which has been printed. */
static bool has_curve(plot_settings *s, const char *name) {
    hk_activation_spec spec;
    if (hk_activation_parse(s->ctx, name, &spec) != HK_OK) {
        (void)report_error(s->opts.program, s->ctx);
        return false;
    }
    if (subject_is_pointwise(&spec)) return true;
    fprintf(stderr, "%s: %s has no curve: it is a %s, not a function of one number\n",
            s->opts.program, name,
            spec.info->kind == HK_ACTIVATION_AXIS ? "function of a row" : "small network");
    return false;
}

/* name and label must outlive it. False after an error, which has been printed. */
static bool make_plotted(plot_settings *s, const char *name, const char *label, plotted *one) {
    subject of;
    *one = (plotted){.name = name, .label = label};
    picture_file_name(name, one->file);
    const bool ok = hk_activation_parse(s->ctx, name, &one->spec) == HK_OK &&
                    subject_open(s->ctx, name, HK_SHAPE(-1, 1), &of) &&
                    curve_sample(&of, s->low, s->high, (int)s->points, &one->curve);
    if (ok)
        subject_close(&of);
    else if (hk_error(s->ctx) != HK_OK)
        (void)report_error(s->opts.program, s->ctx);
    else
        fprintf(stderr, "%s: out of memory\n", s->opts.program);
    if (ok) pictures_data(&s->pictures, one);
    return ok && !s->pictures.plot.failed;
}

/* The curves of a list; NULL after an error. */
static plotted *make_all(plot_settings *s, const names *list) {
    plotted *made = calloc((size_t)list->count + 1, sizeof *made);
    int i = 0;
    while (made && i < list->count && make_plotted(s, list->item[i], list->item[i], &made[i])) i++;
    if (made && i == list->count) return made;
    if (made) free_plotted(i + 1, made);
    return NULL;
}

/* --- pictures --------------------------------------------------------------------------------- */

/* A page for each, and grids of all if there are several. */
static bool plot_each(plot_settings *s, const names *list) {
    plotted *all = make_all(s, list);
    if (!all) return false;
    const int pages = (list->count + GRID_MOST - 1) / GRID_MOST;
    for (int page = 0; list->count > 1 && page < pages; page++) {
        const int first = page * GRID_MOST;
        const int n = list->count - first < GRID_MOST ? list->count - first : GRID_MOST;
        pictures_grid(&s->pictures, n, all + first, page + 1, pages);
    }
    for (int i = 0; i < list->count; i++) pictures_page(&s->pictures, &all[i]);
    free_plotted(list->count, all);
    return true;
}

/* "a, b, c", cut where it gets long. */
static void join_names(const names *list, char *text, size_t size) {
    size_t used = 0;
    for (int i = 0; i < list->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", list->item[i]);
    if (used >= size) memcpy(text + size - 4, "...", 4);
}

static bool plot_overlay(plot_settings *s) {
    char title[TEXT_MOST];
    plotted *all = make_all(s, &s->overlaid);
    if (!all) return false;
    join_names(&s->overlaid, title, TITLE_MOST);
    pictures_family(&s->pictures, "overlay", title, s->overlaid.count, all, false);
    free_plotted(s->overlaid.count, all);
    return true;
}

/* One activation with several values of a parameter: "swish" and "beta=0.1,1" -> "swish:beta=0.1"... */
static bool plot_family(plot_settings *s, int which) {
    const names *values = &s->values;
    const char *name = s->names.item[which];
    char file[FILE_MOST], title[TEXT_MOST], list[TITLE_MOST], parameter[TEXT_MOST];
    char text[FAMILY_MOST][TEXT_MOST], label[FAMILY_MOST][TEXT_MOST];
    const int length = (int)strcspn(s->vary, "=");
    plotted all[FAMILY_MOST];
    int n = 0;
    snprintf(title, sizeof title, "%.*s", length, s->vary);
    picture_formula(title, parameter, sizeof parameter); /* β */
    for (; n < values->count; n++) {
        family_member(s, which, n, text[n]);
        snprintf(label[n], TEXT_MOST, "%.32s = %s", parameter, values->item[n]);
        if (!make_plotted(s, text[n], label[n], &all[n])) break;
    }
    const bool ok = n == values->count;
    snprintf(title, sizeof title, "%s-%.*s", name, length, s->vary);
    picture_file_name(title, file);
    join_names(values, list, sizeof list);
    snprintf(title, sizeof title, "%s with %.32s = %s", name, parameter, list);
    if (ok) pictures_family(&s->pictures, file, title, n, all, true);
    for (int i = 0; i < n; i++) curve_free(&all[i].curve);
    return ok;
}

/* Every activation that is a function of one number. */
static bool add_every_name(names *list) {
    const hk_activation_info *info;
    bool ok = true;
    for (int i = 0; ok && (info = hk_activation_row(NULL, i)) != NULL; i++)
        if (info->kind == HK_ACTIVATION_POINTWISE) ok = names_add(list, info->name);
    return ok;
}

/* Every name that was typed, before anything is written. */
static bool check_names(plot_settings *s) {
    bool ok = true;
    for (int i = 0; ok && i < s->names.count; i++) ok = has_curve(s, s->names.item[i]);
    for (int i = 0; ok && i < s->overlaid.count; i++) ok = has_curve(s, s->overlaid.item[i]);
    for (int i = 0; ok && s->vary && i < s->names.count; i++)
        for (int k = 0; ok && k < s->values.count; k++) {
            char text[TEXT_MOST];
            family_member(s, i, k, text);
            ok = has_curve(s, text);
        }
    return ok;
}

static int plot(plot_settings *s) {
    s->ctx = hk_context_create(&(hk_context_config){.threads = 1});
    if (hk_error(s->ctx) != HK_OK) return report_error(s->opts.program, s->ctx);
    s->pictures =
        (pictures){.folder = s->out, .low = s->low, .high = s->high, .program = s->opts.program};
    const bool chosen = s->overlay || s->vary;
    bool ok = check_names(s) && pictures_open(&s->pictures);
    if (ok && !chosen && s->names.count == 0) ok = add_every_name(&s->names);
    if (ok && s->names.count > 0 && !s->vary) ok = plot_each(s, &s->names);
    if (ok && s->overlay) ok = plot_overlay(s);
    for (int i = 0; ok && s->vary && i < s->names.count; i++) ok = plot_family(s, i);
    if (ok) return pictures_draw(&s->pictures);
    if (s->pictures.plot.all) fclose(s->pictures.plot.all);
    return EXIT_BAD_INPUT;
}

int command_plot(int argc, char **argv) {
    plot_settings s = {.out = "plots", .range = "-5:5", .points = 1000};
    int code = parse(&s, argc, argv);
    if (code == OPTIONS_GO) {
        code = plot(&s);
        hk_context_destroy(s.ctx);
    }
    names_free(&s.names);
    names_free(&s.overlaid);
    names_free(&s.values);
    return code;
}
