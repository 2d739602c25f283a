/* pictures.c: the gnuplot scripts of curves.
   SPDX-License-Identifier: MIT */
#include "pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "picture_text.h"

static const char *const dashes[] = {"solid", "(9,4)", "(2,3)"}; /* for more curves than colours */
enum { DASHES = sizeof dashes / sizeof *dashes };

/* --- ranges ----------------------------------------------------------------------------------- */

typedef struct range {
    double low, high;
} range;

static void widen(range *r, const curve_line *line) {
    if (!(line->low <= line->high)) return;
    r->low = fmin(r->low, line->low);
    r->high = fmax(r->high, line->high);
}

/* 0 is always seen, and no curve touches the edge. */
static void write_range(FILE *file, range r) {
    if (r.high - r.low <= 0) r.high = 1;
    const double margin = 0.07 * (r.high - r.low);
    fprintf(file, "set yrange [%.9g:%.9g]\n", r.low - margin, r.high + margin);
}

/* --- pieces of a plot command ----------------------------------------------------------------- */

typedef struct look {
    const char *colour, *dash;
    double width, size; /* of the line; of the points at its jumps */
} look;

static void write_line(FILE *file, const plotted *one, int which, look how, bool *first) {
    const curve_line *line = &one->curve.line[which];
    if (!(line->low <= line->high)) return;
    fprintf(file, "%s'data/%s.dat' index %d using 1:2 with lines lc rgb '%s' lw %g dt %s notitle",
            *first ? "plot " : ", \\\n     ", one->file, 2 * which, how.colour, how.width,
            how.dash);
    *first = false;
}

/* Points at jumps: full where the value is, hollow where it is not. After a line. */
static void write_ends(FILE *file, const plotted *one, int which, look how) {
    if (one->curve.line[which].ends == 0) return;
    fprintf(
        file,
        ", \\\n     'data/%s.dat' index %d using 1:($3 == 0 ? $2 : 1/0) with points pt 7 ps P*%g "
        "lc rgb 'white' notitle",
        one->file, 2 * which + 1, how.size);
    fprintf(file,
            ", \\\n     'data/%s.dat' index %d using 1:2:($3 == 1 ? 7 : 6) with points pt variable "
            "ps P*%g lw %g lc rgb '%s' notitle",
            one->file, 2 * which + 1, how.size, 0.7 * how.width, how.colour);
}

/* Of curve i of n: colour, then dashes, where there are more curves than colours. */
static look look_of(int i, int n, bool ordered, char colour[8]) {
    if (ordered)
        gnuplot_ramp(i, n, colour);
    else
        snprintf(colour, 8, "%s", gnuplot_colours[i % GNUPLOT_COLOURS]);
    return (look){colour, ordered ? "solid" : dashes[i / GNUPLOT_COLOURS % DASHES], 2.4, 0.9};
}

/* A plot command with nothing in it is an error: this one draws nothing. */
static void end_plot(FILE *file, bool nothing) {
    fputs(nothing ? "plot NaN notitle\n" : "\n", file);
}

static void write_panel(const pictures *p, FILE *file, double left, double right, double bottom,
                        double top) {
    fprintf(file,
            "set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
            "set bmargin at screen %.4f\nset tmargin at screen %.4f\n"
            "set xrange [%.9g:%.9g]\n",
            left, right, bottom, top, p->low, p->high);
}

static void write_label(FILE *file, const char *text, double x, double y, const char *more) {
    fputs("set label ", file);
    gnuplot_quote(file, text);
    fprintf(file, " at screen %.4f, screen %.4f noenhanced %s\n", x, y, more);
}

/* The largest of the sizes up to `size` in which a text of size `size` that holds `most` letters fits. */
static int fitting(const char *text, int size, int most) {
    const int n = picture_width(text), least = 6;
    const int fits = n > most ? size * most / n : size;
    return fits > least ? fits : least;
}

/* A short line and a word, as a legend. */
static void write_key(FILE *file, const char *text, double x, double y, double length, look how) {
    char more[96];
    fprintf(file,
            "set arrow from screen %.4f, screen %.4f to screen %.4f, screen %.4f nohead lc rgb "
            "'%s' lw %g dt %s\n",
            x, y, x + length, y, how.colour, how.width, how.dash);
    snprintf(more, sizeof more, "left font ''.F(%d) textcolor rgb '#333333'",
             fitting(text, 10, 26));
    write_label(file, text, x + length + 0.008, y, more);
}

static const char x_label[] = "set xlabel 'x' offset 0,0.3 font ''.F(10) textcolor rgb '#555555'\n";

/* --- one activation ----------------------------------------------------------------------------- */

static void write_formula(FILE *file, const char *what, const char *formula, double x) {
    char text[512], pretty[1024], more[96];
    snprintf(text, sizeof text, "%s = %s", what, formula ? formula : "");
    picture_formula(text, pretty, sizeof pretty);
    snprintf(more, sizeof more, "left font ''.F(%d) textcolor rgb '#333333'",
             fitting(pretty, 11, 74));
    write_label(file, pretty, x, 0.875, more);
}

void pictures_page(pictures *p, const plotted *one) {
    static const double left[] = {0.05, 0.55}, right[] = {0.48, 0.98};
    FILE *file = gnuplot_begin(&p->plot, one->file, 1200, 520);
    if (!file) return;
    const hk_activation_info *info = one->spec.info;
    fputs("set multiplot\n", file);
    for (int which = 0; which < CURVE_LINES; which++) {
        range r = {0, 0};
        bool nothing = true;
        widen(&r, &one->curve.line[which]);
        fputs("unset label\n", file);
        if (which == 0) write_label(file, one->name, 0.018, 0.95, "left font ''.F(17)");
        if (which == 0 && info->source)
            write_label(file, info->source, 0.98, 0.95,
                        "right font ''.F(10) textcolor rgb '#777777'");
        write_formula(file, which == 0 ? "f(x)" : "f′(x)",
                      which == 0 ? info->formula : info->derivative, which == 0 ? 0.018 : 0.52);
        if (which == 1 && !subject_has_slope(&one->spec))
            fputs("set style textbox opaque noborder\n"
                  "set label 'no slope to train by, unless a stand-in is chosen' at graph 0.5, "
                  "graph 0.4 center front boxed font ''.F(11) textcolor rgb '#777777'\n",
                  file);
        write_panel(p, file, left[which], right[which], 0.12, 0.82);
        fputs(x_label, file);
        write_range(file, r);
        const look how = {gnuplot_colours[which], "solid", 2.6, 1.1};
        write_line(file, one, which, how, &nothing);
        write_ends(file, one, which, how);
        end_plot(file, nothing);
    }
    fputs("unset multiplot\n", file);
    gnuplot_close(&p->plot, file);
}

/* --- a grid --------------------------------------------------------------------------------------- */

/* Heights of a page with `rows` rows, in points: what stands above, and each row. */
enum { GRID_HEAD = 63, GRID_ROW = 279, GRID_WIDTH = 1200 };

static void write_cell(const pictures *p, FILE *file, const plotted *one, int cell, int height) {
    const double wide = 0.97 / GRID_COLUMNS, row = (double)GRID_ROW / height;
    const double left = 0.025 + wide * (cell % GRID_COLUMNS) + 0.015;
    const double top = 1 - (GRID_HEAD + 40.0) / height - row * (cell / GRID_COLUMNS);
    char font[48];
    range r = {0, 0};
    bool nothing = true;
    widen(&r, &one->curve.line[CURVE_VALUE]);
    widen(&r, &one->curve.line[CURVE_SLOPE]);
    snprintf(font, sizeof font, "left font ''.F(%d)", fitting(one->name, 12, 30));
    write_label(file, one->name, left - 0.015, top + 20.0 / height, font);
    write_panel(p, file, left, left + wide - 0.035, top - row + 76.0 / height, top);
    write_range(file, r);
    const look value = {gnuplot_colours[0], "solid", 2.2, 0.6},
               slope = {gnuplot_colours[1], "solid", 2, 0.6};
    write_line(file, one, CURVE_SLOPE, slope, &nothing);
    write_line(file, one, CURVE_VALUE, value, &nothing);
    write_ends(file, one, CURVE_SLOPE, slope);
    write_ends(file, one, CURVE_VALUE, value);
    end_plot(file, nothing);
    fputs("unset label\nunset arrow\n", file);
}

void pictures_grid(pictures *p, int count, const plotted *list, int page, int pages) {
    char name[32] = "grid", title[64] = "Activations";
    if (pages > 1) {
        snprintf(name, sizeof name, "grid-%d", page);
        snprintf(title, sizeof title, "Activations, %d of %d", page, pages);
    }
    const int rows = (count + GRID_COLUMNS - 1) / GRID_COLUMNS;
    const int height = GRID_HEAD + rows * GRID_ROW;
    const double heading = 1 - 31.0 / height;
    FILE *file = gnuplot_begin(&p->plot, name, GRID_WIDTH, height);
    if (!file) return;
    fputs("set multiplot\nset xtics font ''.F(8) offset 0,0.3\nset ytics font ''.F(8) offset "
          "0.5,0\n",
          file);
    write_label(file, title, 0.025, heading, "left font ''.F(16)");
    write_key(file, "f", 0.87, heading, 0.025, (look){gnuplot_colours[0], "solid", 2.4, 0});
    write_key(file, "f′", 0.93, heading, 0.025, (look){gnuplot_colours[1], "solid", 2.4, 0});
    for (int i = 0; i < count; i++) write_cell(p, file, &list[i], i, height);
    fputs("unset multiplot\n", file);
    gnuplot_close(&p->plot, file);
}

/* --- several in one -------------------------------------------------------------------------------- */

static void write_legend(FILE *file, int count, const plotted *list, bool ordered) {
    for (int i = 0; i < count; i++) {
        char colour[8];
        write_key(file, list[i].label, 0.835, 0.80 - 0.05 * i, 0.03,
                  look_of(i, count, ordered, colour));
    }
}

void pictures_family(pictures *p, const char *name, const char *title, int count,
                     const plotted *list, bool ordered) {
    static const double left[] = {0.045, 0.46}, right[] = {0.40, 0.815};
    static const char *const heading[] = {"f(x)", "f′(x)"};
    FILE *file = gnuplot_begin(&p->plot, name, 1300, 520);
    if (!file) return;
    fputs("set multiplot\n", file);
    write_label(file, title, 0.018, 0.95, "left font ''.F(16)");
    write_legend(file, count, list, ordered);
    for (int which = 0; which < CURVE_LINES; which++) {
        range r = {0, 0};
        bool nothing = true;
        for (int i = 0; i < count; i++) widen(&r, &list[i].curve.line[which]);
        write_label(file, heading[which], left[which], 0.865, "left font ''.F(12)");
        write_panel(p, file, left[which], right[which], 0.12, 0.82);
        fputs(x_label, file);
        write_range(file, r);
        char colour[8];
        for (int i = 0; i < count; i++)
            write_line(file, &list[i], which, look_of(i, count, ordered, colour), &nothing);
        for (int i = 0; i < count; i++)
            write_ends(file, &list[i], which, look_of(i, count, ordered, colour));
        end_plot(file, nothing);
        fputs("unset label\nunset arrow\n", file);
    }
    fputs("unset multiplot\n", file);
    gnuplot_close(&p->plot, file);
}
