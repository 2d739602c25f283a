/* chart.c: pictures of lines and points, by gnuplot.
   SPDX-License-Identifier: MIT */
#include "chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

enum { HEIGHT = 520, KEYS_WIDTH = 160, NARROW = 300 };

/* For more curves than there are colours. */
static const char *const dashes[] = {"solid", "(9,4)", "(2,3)"};
static const int shapes[] = {7, 5, 9}; /* of points: round, square, triangle */
enum { LOOKS = sizeof dashes / sizeof *dashes };

static const char *colour_of(int i) { return gnuplot_colours[i % GNUPLOT_COLOURS]; }
static int look_of(int i) { return i / GNUPLOT_COLOURS % LOOKS; }

static int panel_width(const chart *c) { return c->panels == 1 ? 620 : 480; }
static int width_of(const chart *c) { return c->panels * panel_width(c) + KEYS_WIDTH; }
/* From points to a share of the picture's width or height. */
static double across(const chart *c, double points) { return points / width_of(c); }
static double upward(double points) { return points / HEIGHT; }

static void write_label(FILE *file, const char *text, double x, double y, int size,
                        const char *colour) {
    fputs("set label ", file);
    gnuplot_quote(file, text);
    fprintf(file, " at screen %.4f, screen %.4f noenhanced left font ''.F(%d) textcolor rgb '%s'\n",
            x, y, size, colour);
}

bool chart_open(chart *c, const char *program, const char *folder, const char *name,
                const char *title, int panels) {
    *c = (chart){.name = name, .panels = panels, .plot = {.folder = folder, .program = program}};
    if (!gnuplot_open(&c->plot)) return false;
    c->data = gnuplot_data(&c->plot, name);
    c->script = gnuplot_begin(&c->plot, name, width_of(c), HEIGHT);
    if (!c->data || !c->script) return false;
    fputs("set clip two\nset multiplot\n", c->script);
    write_label(c->script, title, across(c, 22), 1 - upward(26), 15, "#000000");
    return true;
}

/* --- panels ------------------------------------------------------------------------------------- */

/* 1, 2 and 5 of each decade, for a log axis with few of them; more if that would be one tick. */
static void write_ticks(FILE *file, double low, double high) {
    static const double steps[] = {1, 2, 5, 1.5, 3, 7};
    const int n = high / low < 6 ? 6 : 3;
    const char *comma = "";
    fputs("set ytics (", file);
    for (int decade = (int)floor(log10(low)); pow(10, decade) <= high; decade++)
        for (int i = 0; i < n; i++, comma = ",")
            fprintf(file, "%s%g", comma, steps[i] * pow(10, decade));
    fputs(")\n", file);
}

static void write_axis(FILE *file, char axis, bool is_log, double low, double high) {
    fprintf(file, "%s logscale %c\n", is_log ? "set" : "unset", axis);
    const bool decades = is_log && !(low > 0 && high / low < NARROW);
    fprintf(file, "set format %c '%s'\n", axis, decades ? "10^{%L}" : "%g");
    fprintf(file, "set %ctics autofreq\n", axis);
    if (is_log && !decades && axis == 'y') write_ticks(file, low, high);
    if (low < high)
        fprintf(file, "set %crange [%.9g:%.9g]\n", axis, low, high);
    else
        fprintf(file, "set %crange [*:*]\n", axis);
}

static void write_axis_label(FILE *file, char axis, const char *text) {
    fprintf(file, "set %clabel ", axis);
    gnuplot_quote(file, text ? text : "");
    fprintf(file, " offset %s font ''.F(10) textcolor rgb '#555555'\n",
            axis == 'x' ? "0,0.3" : "1,0");
}

void chart_begin(chart *c, const chart_panel *p) {
    if (!c->script) return;
    const double left = c->panel * panel_width(c);
    fprintf(c->script,
            "set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
            "set bmargin at screen %.4f\nset tmargin at screen %.4f\n",
            across(c, left + 78), across(c, left + panel_width(c) - 12), upward(62), upward(428));
    write_axis(c->script, 'x', p->log_x, p->x_low, p->x_high);
    write_axis(c->script, 'y', p->log_y, p->y_low, p->y_high);
    write_axis_label(c->script, 'x', p->x_label);
    write_axis_label(c->script, 'y', p->y_label);
    if (p->x_ticks) fprintf(c->script, "set xtics %s\n", p->x_ticks);
    write_label(c->script, p->title, across(c, left + 78), upward(448), 11, "#333333");
    c->fresh = true;
    if (p->level > 0 || (p->level < 0 && !p->log_y)) {
        fprintf(c->script, "plot %.9g with lines lc rgb '#bbbbbb' lw 1 notitle", p->level);
        c->fresh = false;
    }
}

/* The data of one curve; returns the number of its block. */
static int write_block(chart *c, int n, const double *x, const double *y, const double *low,
                       const double *high) {
    for (int i = 0; i < n; i++)
        fprintf(c->data, "%.9g %.9g %.9g %.9g\n", x[i], y[i], low ? low[i] : y[i],
                high ? high[i] : y[i]);
    fputs(n > 0 ? "\n\n" : "NaN NaN NaN NaN\n\n\n", c->data);
    return c->blocks++;
}

/* Begins one more curve of the plot command. */
static void plot(chart *c, int block) {
    fprintf(c->script, "%s'data/%s.dat' index %d ", c->fresh ? "plot " : ", \\\n     ", c->name,
            block);
    c->fresh = false;
}

static void plot_line(chart *c, int block, int colour) {
    plot(c, block);
    fprintf(c->script, "using 1:2 with lines lc rgb '%s' lw 1.8 dt %s notitle", colour_of(colour),
            dashes[look_of(colour)]);
}

void chart_line(chart *c, int colour, int n, const double *x, const double *y) {
    if (!c->script) return;
    plot_line(c, write_block(c, n, x, y, NULL, NULL), colour);
}

void chart_bars(chart *c, int colour, int n, const double *x, const double *y, const double *low,
                const double *high, bool joined) {
    if (!c->script) return;
    const int block = write_block(c, n, x, y, low, high);
    if (joined) plot_line(c, block, colour);
    plot(c, block);
    /* Not as error bars: these are left out where the point lies outside. */
    fprintf(c->script, "using 1:3:(0):($4 - $3) with vectors nohead lw 1.2 lc rgb '%s' notitle",
            colour_of(colour));
    plot(c, block);
    fprintf(c->script, "using 1:2 with points pt %d ps P*0.8 lc rgb '%s' notitle",
            shapes[look_of(colour)], colour_of(colour));
}

void chart_points(chart *c, int colour, int n, const double *x, const double *y,
                  const double *error, bool joined) {
    double *low = calloc(2 * (size_t)n + 1, sizeof *low);
    for (int i = 0; low && i < n; i++) {
        /* A bar that reaches 0 would be left out on a log axis: there it ends far below the point. */
        low[i] = y[i] > error[i] || y[i] <= 0 ? y[i] - error[i] : 1e-3 * y[i];
        low[n + i] = y[i] + error[i];
    }
    chart_bars(c, colour, n, x, y, low, low ? low + n : NULL, joined);
    free(low);
}

void chart_end(chart *c) {
    if (!c->script) return;
    fputs(c->fresh ? "plot NaN notitle\n" : "\n", c->script);
    fputs("unset label\nunset arrow\n", c->script);
    c->panel++;
}

/* --- beside the panels ---------------------------------------------------------------------------- */

static double key_at(const chart *c) { return upward(420 - 22 * c->keys); }

void chart_key(chart *c, int colour, const char *text) {
    if (!c->script) return;
    const double x = across(c, c->panels * panel_width(c) + 6), y = key_at(c);
    const int size = strlen(text) > 18 ? 8 : 10;
    fprintf(c->script,
            "set arrow from screen %.4f, screen %.4f to screen %.4f, screen %.4f nohead lc rgb "
            "'%s' lw 2.2 dt %s\n",
            x, y, x + across(c, 26), y, colour_of(colour), dashes[look_of(colour)]);
    write_label(c->script, text, x + across(c, 33), y, size, "#333333");
    c->keys++;
}

void chart_note(chart *c, const char *text) {
    if (!c->script) return;
    write_label(c->script, text, across(c, c->panels * panel_width(c) + 6), key_at(c), 9,
                "#777777");
    c->keys++;
}

/* --- drawing ------------------------------------------------------------------------------------ */

int chart_close(chart *c, bool quiet) {
    const char *folder = c->plot.folder, *program = c->plot.program;
    if (c->script) fputs("unset multiplot\n", c->script);
    gnuplot_close(&c->plot, c->script);
    gnuplot_close(&c->plot, c->data);
    switch (gnuplot_draw(&c->plot)) {
    case GNUPLOT_DONE:
        if (!quiet)
            printf("\n%s/%s.svg and %s.png are drawn (%s/plot.gp draws them again)\n", folder,
                   c->name, c->name, folder);
        return EXIT_SUCCESS;
    case GNUPLOT_UNWRITTEN: return EXIT_BAD_INPUT;
    case GNUPLOT_MISSING:
        fprintf(stderr, "%s: gnuplot is not installed (apt install gnuplot-nox); ", program);
        break;
    case GNUPLOT_FAILED: fprintf(stderr, "%s: gnuplot failed; ", program); break;
    }
    fprintf(stderr, "data and script are there: cd %s && gnuplot plot.gp\n", folder);
    return EXIT_FAILURE;
}
