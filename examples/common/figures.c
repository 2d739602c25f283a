/* figures.c: curves of a training run.
   SPDX-License-Identifier: MIT */
#include "figures.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 1000, HEIGHT = 480, KEYS_MOST = 22 };

/* --- spans ------------------------------------------------------------------------------------ */

const span span_empty = {HUGE_VAL, -HUGE_VAL};

void span_take(span *s, double value) {
    if (!isfinite(value)) return;
    s->low = fmin(s->low, value);
    s->high = fmax(s->high, value);
}

static bool is_empty(span s) { return !(s.low <= s.high); }

span span_decades(span s) {
    const span room = {s.low / 1.4, s.high * 1.4};
    const double low = log10(room.low), high = log10(room.high);
    if (floor(high) - ceil(low) >= 1) return room;
    const double whole = floor(high) > floor(low) ? floor(high) : floor(low);
    /* One power of ten or none lies within: reach for the nearer one on either side. */
    if (whole >= low && whole - low > high - whole) return (span){pow(10, whole - 1), room.high};
    if (whole >= low) return (span){room.low, pow(10, whole + 1)};
    return (span){pow(10, whole), pow(10, whole + 1)};
}

/* --- numbers ---------------------------------------------------------------------------------- */

static const char *const unit_names[FIGURES_UNITS] = {"dead", "saturated", "dormant"};

static FILE *open_table(figures *f, const char *name, const char *what, bool of_units) {
    FILE *file = gnuplot_data(f->plot, name);
    if (!file) return NULL;
    fprintf(file, "# %s; columns: epoch", what);
    for (int i = 0; i < f->rows->count; i++)
        if (of_units ? f->rows->item[i].activation != NULL : f->rows->item[i].path != NULL)
            fprintf(file, ", %s", f->rows->item[i].title);
        else
            fputs(", (none)", file);
    fputc('\n', file);
    return file;
}

bool figures_open(figures *f, gnuplot *plot, const net_rows *rows) {
    *f = (figures){.plot = plot, .rows = rows};
    f->loss = f->accuracy = f->gradient = f->update = span_empty;
    f->epochs = gnuplot_data(plot, "epochs");
    if (f->epochs)
        fputs("# epoch, training loss, test accuracy, validation accuracy (%), learning rate\n",
              f->epochs);
    f->gradients = open_table(f, "gradients", "L2 norm of the gradient of the weights", false);
    f->updates = open_table(f, "updates", "|change of the weights| / |weights|", false);
    for (int k = 0; k < FIGURES_UNITS; k++) {
        char text[64];
        snprintf(text, sizeof text, "%s units, %% of the layer", unit_names[k]);
        f->units[k] = open_table(f, unit_names[k], text, true);
        f->unit[k] = span_empty;
    }
    return !plot->failed;
}

static void write_line(FILE *file, double at, int n, const double *value, span *s, bool log) {
    if (!file) return;
    fprintf(file, "%.6g", at);
    for (int i = 0; i < n; i++) {
        /* What cannot be shown on a logarithmic axis is left out of it. */
        const bool shown = isfinite(value[i]) && (!log || value[i] > 0);
        if (shown)
            fprintf(file, " %.6g", value[i]);
        else
            fputs(" NaN", file);
        if (shown) span_take(s, value[i]);
    }
    fputc('\n', file);
}

void figures_epoch(figures *f, const epoch_result *r) {
    const double value[] = {r->train_loss, r->test_accuracy, r->val_accuracy, r->lr};
    span unused = span_empty;
    f->last_epoch = (double)r->epoch;
    write_line(f->epochs, (double)r->epoch, 4, value, &unused, false);
    span_take(&f->loss, r->train_loss);
    span_take(&f->accuracy, r->test_accuracy);
    span_take(&f->accuracy, r->val_accuracy);
    f->validated |= isfinite(r->val_accuracy);
}

void figures_step(figures *f, double at, const double *gradient, const double *update) {
    write_line(f->gradients, at, f->rows->count, gradient, &f->gradient, true);
    write_line(f->updates, at, f->rows->count, update, &f->update, true);
}

void figures_units(figures *f, double at, const double *const share[FIGURES_UNITS]) {
    for (int k = 0; k < FIGURES_UNITS; k++)
        write_line(f->units[k], at, f->rows->count, share[k], &f->unit[k], false);
}

/* --- pieces of scripts ------------------------------------------------------------------------ */

void figures_label(FILE *file, const char *text, double x, double y, const char *more) {
    fputs("set label ", file);
    gnuplot_quote(file, text);
    fprintf(file, " at screen %.4f, screen %.4f noenhanced %s\n", x, y, more);
}

void figures_title(FILE *file, const char *text) {
    figures_label(file, text, 0.015, 0.95, "left font ''.F(14)");
}

void figures_panel(FILE *file, double left, double right, double bottom, double top) {
    fprintf(file,
            "set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
            "set bmargin at screen %.4f\nset tmargin at screen %.4f\n",
            left, right, bottom, top);
}

void figures_key(FILE *file, const char *text, int i, int n, const char *colour) {
    const int every = (n + KEYS_MOST - 1) / KEYS_MOST, shown = (n + every - 1) / every;
    if (i % every != 0) return;
    const double step = fmin(0.055, 0.84 / shown), y = 0.84 - step * (i / every);
    fprintf(file,
            "set arrow from screen 0.775, screen %.4f to screen 0.795, screen %.4f nohead lc rgb "
            "'%s' lw 3\n",
            y, y, colour);
    char more[80];
    const double length = (double)strlen(text), size = length > 29 ? 9.5 * 29 / length : 9.5;
    snprintf(more, sizeof more, "left font ''.F(%.1f) textcolor rgb '#333333'", size);
    figures_label(file, text, 0.802, y, more);
}

static void x_axis(FILE *file, double last) {
    fprintf(file,
            "set xrange [0:%.9g]\nset xlabel 'epoch' offset 0,0.3 font ''.F(10) textcolor rgb "
            "'#555555'\n",
            last > 0 ? last : 1);
    if (last <= 12) fputs("set xtics 1\n", file);
}

/* The curves of all rows of a kind, dark to light by depth. */
static void plot_rows(const figures *f, FILE *file, const char *data, bool of_units,
                      const char *with) {
    bool first = true;
    for (int i = 0; i < f->rows->count; i++) {
        char colour[8];
        if (of_units ? !f->rows->item[i].activation : !f->rows->item[i].path) continue;
        gnuplot_ramp(i, f->rows->count, colour);
        fprintf(file, "%s'data/%s.dat' using 1:%d with %s lc rgb '%s' notitle",
                first ? "plot " : ", \\\n     ", data, i + 2, with, colour);
        first = false;
    }
    fputs(first ? "plot NaN notitle\n" : "\n", file);
}

static void legend(const figures *f, FILE *file, bool of_units) {
    const net_rows *r = f->rows;
    int n = 0, k = 0;
    for (int i = 0; i < r->count; i++)
        n += of_units ? r->item[i].activation != NULL : r->item[i].path != NULL;
    for (int i = 0; i < r->count; i++) {
        char colour[8], text[96];
        if (of_units ? !r->item[i].activation : !r->item[i].path) continue;
        gnuplot_ramp(i, r->count, colour);
        if (of_units && r->item[i].units > 0)
            snprintf(text, sizeof text, "%.48s (%" PRId64 ")", r->item[i].title, r->item[i].units);
        else
            snprintf(text, sizeof text, "%.48s", r->item[i].title);
        figures_key(file, text, k++, n, colour);
    }
}

/* --- pictures --------------------------------------------------------------------------------- */

static void y_label(FILE *file, const char *text) {
    fputs("set ylabel ", file);
    gnuplot_quote(file, text);
    fputs(" offset 1,0 font ''.F(10) textcolor rgb '#555555' noenhanced\n", file);
}

double figures_decades(span s) {
    const double decades = log10(s.high / s.low);
    return decades > 24 ? 1e6 : decades > 12 ? 1e4 : decades > 6 ? 100 : 10;
}

static void log_axis(FILE *file, span s) {
    const span d = span_decades(s);
    fprintf(file, "set logscale y\nset yrange [%.9g:%.9g]\nset format y '10^{%%T}'\nset ytics %g\n",
            d.low, d.high, figures_decades(d));
}

static void linear_axis(FILE *file, span s, double least) {
    const double room = fmax(0.06 * (s.high - s.low), least);
    fprintf(file, "unset logscale y\nset format y '%%g'\nset yrange [%.9g:%.9g]\nset ytics auto\n",
            s.low - room, s.high + room);
}

/* Loss at the left, accuracy at the right. */
static void draw_training(const figures *f) {
    FILE *file = gnuplot_begin(f->plot, "training", WIDTH, 400);
    if (!file) return;
    fputs("set multiplot\nset style data linespoints\nset pointsize 0.7\n", file);
    figures_title(file, "Loss and accuracy");
    x_axis(file, f->last_epoch);
    fprintf(file, "set xrange [%g:%.9g]\n", f->last_epoch > 1 ? 1.0 : 0.5,
            f->last_epoch > 1 ? f->last_epoch : 1.5);
    figures_panel(file, 0.085, 0.48, 0.14, 0.84);
    y_label(file, "training loss");
    if (f->loss.low > 0 && f->loss.high > 8 * f->loss.low)
        log_axis(file, f->loss);
    else
        linear_axis(file, is_empty(f->loss) ? (span){0, 1} : f->loss,
                    0.02 * fmax(f->loss.high, 0) + 1e-6);
    fprintf(file,
            is_empty(f->loss) ? "plot NaN notitle\n"
                              : "plot 'data/epochs.dat' using 1:2 lc rgb '%s' pt 7 notitle\n",
            gnuplot_colours[0]);
    fputs("unset label\n", file);
    figures_panel(file, 0.585, 0.98, 0.14, 0.84);
    y_label(file, "right answers, %");
    if (!is_empty(f->accuracy)) linear_axis(file, f->accuracy, 0.2);
    fputs("set key at graph 0.98, graph 0.04 right bottom reverse Left samplen 2 font ''.F(10)\n",
          file);
    fprintf(file, "plot 'data/epochs.dat' using 1:3 lc rgb '%s' pt 7 title 'test images'",
            gnuplot_colours[1]);
    if (f->validated)
        fprintf(file, ", '' using 1:4 lc rgb '%s' pt 5 title 'validation images'",
                gnuplot_colours[2]);
    fputs("\nunset multiplot\n", file);
    gnuplot_close(f->plot, file);
}

/* One panel and a legend; mark: a value with a line of its own, or 0. */
static void draw_log(const figures *f, const char *name, const char *title, const char *axis,
                     span s, double mark) {
    FILE *file = gnuplot_begin(f->plot, name, WIDTH, HEIGHT);
    if (!file) return;
    figures_title(file, title);
    figures_panel(file, 0.075, 0.755, 0.12, 0.87);
    x_axis(file, f->last_epoch);
    y_label(file, axis);
    if (mark > 0) {
        span_take(&s, mark);
        fprintf(file,
                "set arrow from graph 0, first %g to graph 1, first %g nohead lc rgb '#D55E00' lw "
                "1.2 dt (8,4) front\n",
                mark, mark);
    }
    log_axis(file, s);
    legend(f, file, false);
    plot_rows(f, file, name, false, "lines lw 1.6");
    gnuplot_close(f->plot, file);
}

static void draw_units(const figures *f) {
    static const double left[] = {0.055, 0.305, 0.555}, width = 0.2;
    FILE *file = gnuplot_begin(f->plot, "units", WIDTH, HEIGHT - 60);
    if (!file) return;
    fputs("set multiplot\n", file);
    figures_title(file, "Units that take no part, % of the layer's (their number in brackets)");
    legend(f, file, true);
    for (int k = 0; k < FIGURES_UNITS; k++) {
        const span s = f->unit[k];
        figures_label(file, unit_names[k], left[k], 0.87, "left font ''.F(11)");
        if (is_empty(s))
            figures_label(file, "not defined here", left[k] + width / 2, 0.5,
                          "center font ''.F(10) textcolor rgb '#777777'");
        figures_panel(file, left[k], left[k] + width, 0.14, 0.83);
        x_axis(file, f->last_epoch);
        const double top = is_empty(s) ? 5 : fmin(fmax(1.1 * s.high, 5), 104);
        fprintf(file, "set yrange [%.9g:%.9g]\n", -0.02 * top, top);
        if (is_empty(s))
            fputs("plot NaN notitle\n", file);
        else
            plot_rows(f, file, unit_names[k], true, "linespoints pt 7 ps 0.5*P lw 1.6");
        fputs("unset label\nunset arrow\n", file);
    }
    fputs("unset multiplot\n", file);
    gnuplot_close(f->plot, file);
}

void figures_close(figures *f) {
    FILE **file[] = {&f->epochs,   &f->gradients, &f->updates,
                     &f->units[0], &f->units[1],  &f->units[2]};
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        gnuplot_close(f->plot, *file[i]);
        *file[i] = NULL;
    }
}

unsigned figures_scripts(figures *f) {
    unsigned drawn = 0;
    figures_close(f);
    if (f->last_epoch > 0) {
        draw_training(f);
        drawn |= FIGURES_TRAINING;
    }
    if (!is_empty(f->gradient)) {
        draw_log(f, "gradients", "Length of the gradient of each layer's weights",
                 "L2 norm of the gradient", f->gradient, 0);
        drawn |= FIGURES_GRADIENTS;
    }
    if (!is_empty(f->update)) {
        draw_log(f, "updates", "How far a step moves the weights (dashed: 0.001, a healthy size)",
                 "|change| / |weights|", f->update, 1e-3);
        drawn |= FIGURES_UPDATES;
    }
    bool units = false;
    for (int k = 0; k < FIGURES_UNITS; k++) units |= !is_empty(f->unit[k]);
    if (units) {
        draw_units(f);
        drawn |= FIGURES_DEAD;
    }
    return drawn;
}
