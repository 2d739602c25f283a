/* table_csv.c: every fact of every activation as comma-separated values.
   SPDX-License-Identifier: MIT */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool first; /* of a line */

static void text_cell(const char *text) {
    if (!first) putchar(',');
    first = false;
    const bool quote = text[strcspn(text, ",\"\n")] != 0;
    if (quote) putchar('"');
    for (; *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    if (quote) putchar('"');
}

/* Empty for what there is not. */
static void number_cell(double v, int digits) {
    char text[40] = "";
    if (!isnan(v)) snprintf(text, sizeof text, "%.*g", digits, v);
    text_cell(text);
}

/* --- texts in a buffer ---------------------------------------------------------------------- */

static char buffer[256];

static const char *places(const extreme *e) {
    places_text(e, buffer, sizeof buffer);
    return buffer;
}

static const char *ending(const properties *p, bool right) {
    end_text(p, right, buffer, sizeof buffer);
    return buffer;
}

static const char *function(const properties *p) {
    static char text[640];
    canonical_text(&p->spec, text, sizeof text);
    return text;
}

/* "-3:f' +0.166667; 3:f' -0.166667": where what jumps by how much. */
static const char *jumps(const properties *p) {
    static const char *const words[] = {"f", "f'", "f''"};
    size_t used = 0;
    *buffer = 0;
    for (int i = 0; i < p->real.singular_count && used < sizeof buffer; i++) {
        const singular_point *s = &p->real.singular[i];
        used += (size_t)snprintf(buffer + used, sizeof buffer - used, "%s%.9g:%s %+.6g",
                                 i ? "; " : "", s->x, words[s->order], s->jump);
    }
    return buffer;
}

static double at(const extreme *e) {
    return e->at[0].kind <= PLACE_RIGHT && e->places == 1 ? e->at[0].x : NAN;
}

static double curvature(const properties *p) {
    return p->real.smooth < 1 ? HUGE_VAL : p->real.curvature;
}

/* --- columns -------------------------------------------------------------------------------- */

/* clang-format off */
#define COLUMNS(T, N, F)                                                                           \
    T("name", p->name) T("function", function(p))                                                  \
    F("linear", p->real.linear) T("monotone", monotone_word(p)) N("wiggle_ulp", wiggle(p))         \
    N("range_low", p->low.value) F("low_reached", is_reached(&p->low))                             \
    T("low_at", places(&p->low))                                                                   \
    N("range_high", p->high.value) F("high_reached", is_reached(&p->high))                         \
    T("high_at", places(&p->high))                                                                 \
    T("class", class_word(p)) T("jumps", jumps(p))                                                 \
    N("lipschitz", p->lipschitz) N("sup_f2", curvature(p))                                         \
    N("min_slope", p->least.value) N("min_slope_x", at(&p->least))                                 \
    T("min_slope_at", places(&p->least))                                                           \
    N("max_slope", p->steepest.value) N("max_slope_x", at(&p->steepest))                           \
    T("max_slope_at", places(&p->steepest))                                                        \
    T("left", ending(p, false)) N("left_value", p->scan.left)                                      \
    N("left_slope", p->scan.left_slope) N("left_from", p->scan.left_from)                          \
    T("right", ending(p, true)) N("right_value", p->scan.right)                                    \
    N("right_slope", p->scan.right_slope) N("right_from", p->scan.right_from)                      \
    F("odd", p->odd) N("mean", p->mean) N("second_moment", p->second)                              \
    N("slope_moment", p->slope_second) N("chi1", p->chi)                                           \
    N("zero_share", p->scan.zeros) N("flat_share", p->scan.flats)                                  \
    N("learnable", p->learnable) N("exps_forward", p->cost.exponentials)                           \
    N("exps_backward", p->cost.exponentials_back)                                                  \
    N("ns_forward", p->cost.ns) N("ns_backward", p->cost.ns_back)                                  \
    N("stride", (double)p->scan.stride) N("floats", (double)p->scan.floats)                        \
    N("nan_errors", (double)p->scan.nans)
/* clang-format on */

void print_csv(int count, const properties *list) {
    first = true;
#define HEAD(name, value) text_cell(name);
    COLUMNS(HEAD, HEAD, HEAD)
    putchar('\n');
#define NUMBER(name, value) number_cell(value, 10);
#define TEXT(name, value) text_cell(value);
#define FLAG(name, value) text_cell((value) ? "yes" : "no");
    for (int i = 0; i < count; i++) {
        const properties *p = &list[i];
        first = true;
        COLUMNS(TEXT, NUMBER, FLAG)
        putchar('\n');
    }
}
