/* table_print.c: the facts of many activations as blocks for a terminal, Markdown or CSV.
   SPDX-License-Identifier: MIT */
#include "table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL = 160, COLUMNS_MOST = 8 };

typedef void fill_fn(const properties *p, char *text, size_t size);

typedef struct column {
    const char *title;
    bool right; /* numbers */
    fill_fn *fill;
} column;

typedef struct block {
    const char *title, *legend;
    int when; /* only if times were measured: 1, only if not: -1, always: 0 */
    column columns[COLUMNS_MOST];
} block;

/* --- cells ---------------------------------------------------------------------------------- */

#define CELL_TEXT(name, text_)                                                                     \
    static void name(const properties *p, char *text, size_t size) {                               \
        snprintf(text, size, "%s", text_);                                                         \
    }
#define CELL_NUMBER(name, digits, v)                                                               \
    static void name(const properties *p, char *text, size_t size) {                               \
        number_text(v, digits, text, size);                                                        \
    }

CELL_TEXT(cell_name, p->name)
CELL_TEXT(cell_linear, p->real.linear ? "yes" : "no")
CELL_TEXT(cell_monotone, monotone_word(p))
CELL_TEXT(cell_centred, p->odd ? "odd" : fabs(p->mean) < 1e-9 ? "E f = 0" : "no")
CELL_NUMBER(cell_least, 6, p->least.value)
CELL_NUMBER(cell_steepest, 6, p->steepest.value)
CELL_NUMBER(cell_lipschitz, 6, p->lipschitz)
CELL_NUMBER(cell_mean, 5, p->mean)
CELL_NUMBER(cell_second, 5, p->second)
CELL_NUMBER(cell_slope_second, 5, p->slope_second)
CELL_NUMBER(cell_chi, 5, p->chi)
CELL_NUMBER(cell_learnable, 6, p->learnable)

static void cell_class(const properties *p, char *text, size_t size) {
    bool star = false;
    for (int i = 0; i < p->real.singular_count; i++) star |= !p->real.singular[i].visible;
    snprintf(text, size, "%s%s", class_word(p), star ? "*" : "");
}

static void cell_wiggle(const properties *p, char *text, size_t size) {
    *text = 0;
    if (!isnan(wiggle(p))) snprintf(text, size, "%.0f", wiggle(p));
}

static void cell_curvature(const properties *p, char *text, size_t size) {
    if (p->real.smooth < 1)
        snprintf(text, size, "no: %s jumps", p->real.smooth < 0 ? "f" : "f'");
    else
        snprintf(text, size, "%.4g", p->real.curvature);
}

static void cell_least_at(const properties *p, char *text, size_t size) {
    places_text(&p->least, text, size);
}

static void cell_steepest_at(const properties *p, char *text, size_t size) {
    places_text(&p->steepest, text, size);
}

static void cell_low_at(const properties *p, char *text, size_t size) {
    *text = 0;
    if (isfinite(p->low.value)) places_text(&p->low, text, size);
}

static void cell_left(const properties *p, char *text, size_t size) {
    end_text(p, false, text, size);
}

static void cell_right(const properties *p, char *text, size_t size) {
    end_text(p, true, text, size);
}

static void from_text(double from, double limit, char *text, size_t size) {
    if (isnan(from) || isinf(limit))
        *text = 0;
    else
        number_text(fabs(from) < 1e-30 ? 0 : from, 6, text, size);
}

static void cell_left_from(const properties *p, char *text, size_t size) {
    from_text(p->scan.left_from, p->scan.left, text, size);
}

static void cell_right_from(const properties *p, char *text, size_t size) {
    from_text(p->scan.right_from, p->scan.right, text, size);
}

static void cell_zeros(const properties *p, char *text, size_t size) {
    share_text(p->scan.zeros, text, size);
}

static void cell_flats(const properties *p, char *text, size_t size) {
    share_text(p->scan.flats, text, size);
}

static void cell_exponentials(const properties *p, char *text, size_t size) {
    snprintf(text, size, "%d / %d", p->cost.exponentials, p->cost.exponentials_back);
}

static void nanoseconds(double v, char *text, size_t size) {
    if (isnan(v))
        snprintf(text, size, "none");
    else
        snprintf(text, size, "%.2f", v);
}

static void cell_ns(const properties *p, char *text, size_t size) {
    nanoseconds(p->cost.ns, text, size);
}

static void cell_ns_back(const properties *p, char *text, size_t size) {
    nanoseconds(p->cost.ns_back, text, size);
}

/* --- blocks --------------------------------------------------------------------------------- */

/* clang-format off */
static const block blocks[] = {
    {.title = "Shape",
     .legend = "A square bracket: that end is reached; a round one: only approached.\n"
               "Wiggles: how far float32 goes back on its way, in units in the last place.",
     .columns = {{"", false, cell_name}, {"linear", false, cell_linear},
                 {"monotone", false, cell_monotone}, {"wiggles", true, cell_wiggle},
                 {"range", false, range_text}, {"least at", false, cell_low_at}}},
    {.title = "Smoothness",
     .legend = "C0: f' jumps. C1: f'' jumps. Smooth: no jump of f, f' or f'' was found.\n"
               "Lipschitz: the greatest |f'|.",
     .columns = {{"", false, cell_name}, {"class", false, cell_class}, {"jumps", false, jumps_text},
                 {"Lipschitz", true, cell_lipschitz}, {"|f''| up to", true, cell_curvature}}},
    {.title = "Slopes",
     .columns = {{"", false, cell_name}, {"least f'", true, cell_least},
                 {"at", false, cell_least_at},
                 {"greatest f'", true, cell_steepest}, {"at", false, cell_steepest_at}}},
    {.title = "Ends",
     .legend = "is v: constant there; -> v: tends to v; slope a: goes on with that slope.\n"
               "From: where float32 has reached the limit.",
     .columns = {{"", false, cell_name}, {"x -> -inf", false, cell_left},
                 {"from", true, cell_left_from},
                 {"x -> inf", false, cell_right}, {"from", true, cell_right_from}}},
    {.title = "Signals, x ~ N(0, 1)",
     .legend = "chi_1 = E f'^2/E f^2: what squared gradients gain in a layer whose weights keep\n"
               "E f^2. ~0: less than a millionth.",
     .columns = {{"", false, cell_name}, {"E f", true, cell_mean}, {"E f^2", true, cell_second},
                 {"E f'^2", true, cell_slope_second}, {"chi_1", true, cell_chi},
                 {"P(f=0)", true, cell_zeros}, {"P(f'=0)", true, cell_flats},
                 {"centred", false, cell_centred}}},
    {.title = "Cost", .when = -1,
     .legend = "Parameters that are learned; exponentials an element, forward / backward.",
     .columns = {{"", false, cell_name}, {"learned", true, cell_learnable},
                 {"exps", true, cell_exponentials}}},
    {.title = "Cost", .when = 1,
     .legend = "Parameters that are learned; exponentials an element, forward / backward;\n"
               "nanoseconds an element, measured now: in cache, on one thread.",
     .columns = {{"", false, cell_name}, {"learned", true, cell_learnable},
                 {"exps", true, cell_exponentials}, {"ns forward", true, cell_ns},
                 {"ns backward", true, cell_ns_back}}},
};
/* clang-format on */
enum { BLOCKS = sizeof blocks / sizeof *blocks };

/* Characters, not bytes. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text; text++) n += (*text & 0xC0) != 0x80;
    return n;
}

static void print_cell(const char *text, int width, bool right) {
    const int pad = width > width_of(text) ? width - width_of(text) : 0;
    printf("%*s%s%*s", right ? pad : 0, "", text, right ? 0 : pad, "");
}

static int column_count(const block *b) {
    int n = 0;
    while (n < COLUMNS_MOST && b->columns[n].fill) n++;
    return n;
}

static void print_row(const block *b, const properties *p, const int *width) {
    const int n = column_count(b);
    char text[CELL];
    for (int c = 0; c < n; c++) {
        const column *col = &b->columns[c];
        if (p)
            col->fill(p, text, sizeof text);
        else
            snprintf(text, sizeof text, "%s", col->title);
        print_cell(text, c + 1 < n || col->right ? width[c] : 0, col->right);
        printf("%s", c + 1 < n ? "  " : "\n");
    }
}

static void print_block(const block *b, int count, const properties *list) {
    int width[COLUMNS_MOST] = {0};
    char text[CELL];
    for (int c = 0; c < column_count(b); c++) {
        width[c] = width_of(b->columns[c].title);
        for (int i = 0; i < count; i++) {
            b->columns[c].fill(&list[i], text, sizeof text);
            if (width_of(text) > width[c]) width[c] = width_of(text);
        }
    }
    printf("--- %s\n\n", b->title);
    print_row(b, NULL, width);
    for (int i = 0; i < count; i++) print_row(b, &list[i], width);
    printf(b->legend ? "\n%s\n\n" : "\n", b->legend);
}

/* < would begin a tag. */
static void print_escaped(const char *text) {
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", stdout);
        else if (*text == '|' || *text == '*')
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void print_markdown(const block *b, int count, const properties *list) {
    const int n = column_count(b);
    char text[CELL];
    printf("### %s\n\n", b->title);
    for (int c = 0; c < n; c++) {
        printf("| ");
        print_escaped(b->columns[c].title);
        printf(c + 1 < n ? " " : " |\n");
    }
    for (int c = 0; c < n; c++)
        printf("|%s%s", b->columns[c].right ? "---:" : "---", c + 1 < n ? "" : "|\n");
    for (int i = 0; i < count; i++)
        for (int c = 0; c < n; c++) {
            b->columns[c].fill(&list[i], text, sizeof text);
            printf(c == 0 && *text ? "| `" : "| ");
            print_escaped(text);
            printf("%s%s", c == 0 && *text ? "`" : "", c + 1 < n ? " " : " |\n");
        }
    putchar('\n');
    if (b->legend) printf("%s\n\n", b->legend);
}

/* --- what the blocks cannot say ------------------------------------------------------------- */

static void print_coverage(int count, const properties *list) {
    const kernel_scan *s = &list[0].scan;
    bool same = true, cached = true;
    double seconds = 0;
    for (int i = 0; i < count; i++) {
        same &= list[i].scan.stride == s->stride;
        cached &= list[i].cached;
        seconds += list[i].scan.seconds;
    }
    printf("Ranges, slopes, zeros and limits are what float32 kernels give on ");
    if (!same)
        printf("all floats,\nor on a part (--exhaustive: all for each).\n");
    else if (s->stride == 1)
        printf("all\n%" PRId64 " finite floats.\n", s->floats);
    else
        printf("every\n%" PRId64 "th of all finite floats, %" PRId64
               " of them, and on all around what was\nfound (--exhaustive: on all).\n",
               s->stride, s->floats);
    if (!isnan(list[0].cost.ns))
        printf("To look at them took %.3g s%s.\n", seconds,
               cached ? " then; the result was remembered" : "");
}

static void print_notes(int count, const properties *list) {
    print_coverage(count, list);
    printf("The rest is found in double.\n");
    for (int i = 0; i < count; i++) {
        const properties *p = &list[i];
        for (int k = 0; k < p->real.singular_count; k++)
            if (!p->real.singular[k].visible)
                printf("* %s: %s jumps by %.3g at %g, which float32 is too coarse to show.\n",
                       p->name, p->real.singular[k].order == 0 ? "f" : "f'",
                       p->real.singular[k].jump, p->real.singular[k].x);
        if (p->spec.info->surrogate && p->spec.value[p->spec.info->surrogate] != 0)
            printf(
                "* %s: slopes are those of the stand-in that backward uses; the real ones are 0.\n",
                p->name);
        else if (p->spec.info->surrogate)
            printf("* %s: backward is refused: the slope is 0 wherever there is one.\n", p->name);
        if (p->scan.nans > 0)
            printf("* %s: BUG: NaN where there should be a number, or a number for NaN, %" PRId64
                   " times.\n",
                   p->name, p->scan.nans);
    }
}

void print_blocks(int count, const properties *list, bool markdown) {
    for (int i = 0; i < BLOCKS; i++) {
        if (blocks[i].when && (blocks[i].when > 0) == isnan(list[0].cost.ns)) continue;
        (markdown ? print_markdown : print_block)(&blocks[i], count, list);
    }
    print_notes(count, list);
}
