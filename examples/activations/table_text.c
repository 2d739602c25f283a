/* table_text.c: single facts of an activation as text.
   SPDX-License-Identifier: MIT */
#include "table.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *number_text(double v, int digits, char *text, size_t size) {
    snprintf(text, size, "%.*g", digits, fabs(v) < 1e-12 ? 0 : v);
    return text;
}

void share_text(double v, char *text, size_t size) {
    if (v > 0 && v < 1e-6)
        snprintf(text, size, "~0");
    else
        snprintf(text, size, "%.4g", v);
}

const char *class_word(const properties *p) {
    static const char *const words[] = {"discontinuous", "C0", "C1", "smooth"};
    return words[p->real.smooth + 1];
}

void range_text(const properties *p, char *text, size_t size) {
    char low[32], high[32];
    const bool at_low = isfinite(p->low.value) && is_reached(&p->low);
    const bool at_high = isfinite(p->high.value) && is_reached(&p->high);
    snprintf(text, size, "%c%s, %s%c", at_low ? '[' : '(', number_text(p->low.value, 6, low, 32),
             number_text(p->high.value, 6, high, 32), at_high ? ']' : ')');
}

static void append(char *text, size_t size, const char *separator, const char *more) {
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used ? separator : "", more);
}

void jumps_text(const properties *p, char *text, size_t size) {
    static const char *const words[] = {"f at ", "f' at ", "f'' at "};
    *text = 0;
    for (int order = 0; order < 3; order++)
        for (int i = 0, n = 0; i < p->real.singular_count; i++) {
            const singular_point *s = &p->real.singular[i];
            char at[40], x[32];
            if (s->order != order || !s->visible) continue;
            snprintf(at, sizeof at, "%s%s", n++ ? "" : words[order], number_text(s->x, 3, x, 32));
            append(text, size, ", ", at);
        }
    if (!*text) snprintf(text, size, "none");
}

static void place_text(const place *at, int digits, char *text, size_t size) {
    char x[32], to[32];
    number_text(at->x, digits, x, sizeof x);
    number_text(at->to, digits, to, sizeof to);
    const bool ends = isinf(at->x), ends_to = isinf(at->to);
    switch (at->kind) {
    case PLACE_POINT: snprintf(text, size, "%s", x); break;
    case PLACE_LEFT: snprintf(text, size, "left of %s", x); break;
    case PLACE_RIGHT: snprintf(text, size, "right of %s", x); break;
    case PLACE_TAIL: snprintf(text, size, "x -> %s", x); break;
    case PLACE_PIECE:
        if (ends && ends_to)
            snprintf(text, size, "everywhere");
        else if (ends)
            snprintf(text, size, "x < %s", to);
        else if (ends_to)
            snprintf(text, size, "x > %s", x);
        else
            snprintf(text, size, "%s < x < %s", x, to);
    }
}

void places_text(const extreme *e, char *text, size_t size) {
    *text = 0;
    const bool both = e->places == 2 && e->at[0].kind == PLACE_TAIL && e->at[1].kind == PLACE_TAIL;
    for (int i = 0; i < e->places && !both; i++) {
        char one[96];
        place_text(&e->at[i], 5, one, sizeof one);
        append(text, size, ", ", one);
    }
    if (both) snprintf(text, size, "x -> -inf, inf");
}

void end_text(const properties *p, bool right, char *text, size_t size) {
    const double limit = right ? p->scan.right : p->scan.left;
    const double slope = right ? p->scan.right_slope : p->scan.left_slope;
    char number[32];
    double from, to;
    if (isinf(limit))
        snprintf(text, size, "slope %s", number_text(slope, 6, number, 32));
    else if (is_flat_piece(&p->spec, &p->real, right ? DBL_MAX : -DBL_MAX, false, &from, &to))
        snprintf(text, size, "is %s", number_text(limit, 6, number, 32));
    else
        snprintf(text, size, "-> %s", number_text(limit, 6, number, 32));
}

double wiggle(const properties *p) {
    const char *word = monotone_word(p);
    if (strcmp(word, "no") == 0) return NAN;
    return strstr(word, "de") == word || strstr(word, "non-in") == word ? p->scan.rise
                                                                        : p->scan.fall;
}

double expect_of(const hk_activation_spec *spec, double mean, double deviation, expected what) {
    const double h = 1.0 / 512, pi = 3.14159265358979323846;
    double sum = 0;
    for (int i = -10 * 512; i <= 10 * 512; i++) {
        const double z = i * h, x = mean + deviation * z;
        const double v =
            what == EXPECT_SLOPE ? hk_activation_slope(spec, x) : hk_activation_value(spec, x);
        const double term = what == EXPECT_VALUE ? v : what == EXPECT_ZERO ? v == 0 : v * v;
        sum += term * exp(-z * z / 2);
    }
    return sum * h / sqrt(2 * pi);
}
