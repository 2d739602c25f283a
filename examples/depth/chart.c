/* chart.c: pictures of lines and points, by gnuplot.
   SPDX-License-Identifier: MIT */
#include "chart.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "options.h"

enum { PATH_MOST = 4096, HEIGHT = 520, KEYS_WIDTH = 160, NARROW = 300 };

/* Okabe and Ito's colours. */
static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#333333"};
static const char *const dashes[] = {"solid", "(9,4)", "(2,3)"};
static const int shapes[] = {7, 5, 9}; /* of points: round, square, triangle */
enum { COLOURS = sizeof colours / sizeof *colours, LOOKS = sizeof dashes / sizeof *dashes };

static const char *colour_of(int i) { return colours[i % COLOURS]; }
static int look_of(int i) { return i / COLOURS % LOOKS; }

/* --- pieces of a script ------------------------------------------------------------------------- */

/* In single quotes, as gnuplot reads them. */
static void quote(FILE *file, const char *text) {
    fputc('\'', file);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', file);
        fputc(*text, file);
    }
    fputc('\'', file);
}

static void write_label(FILE *file, const char *text, double x, double y, int size,
                        const char *colour) {
    fputs("set label ", file);
    quote(file, text);
    fprintf(file, " at screen %.4f, screen %.4f noenhanced left font ''.F(%d) textcolor rgb '%s'\n",
            x, y, size, colour);
}

static int panel_width(const chart *c) { return c->panels == 1 ? 620 : 480; }
static int width_of(const chart *c) { return c->panels * panel_width(c) + KEYS_WIDTH; }
/* From points to a share of the picture's width or height. */
static double across(const chart *c, double points) { return points / width_of(c); }
static double upward(double points) { return points / HEIGHT; }

static const char style[] = "reset\n"
                            "set encoding utf8\n"
                            "unset key\n"
                            "set border 3 lc rgb '#888888' lw 0.8\n"
                            "set tics nomirror out scale 0.5 textcolor rgb '#555555'\n"
                            "set xtics font ''.F(10)\n"
                            "set ytics font ''.F(10)\n"
                            "set grid xtics ytics lt 1 lw 0.5 lc rgb '#e6e6e6'\n"
                            "set samples 2\n"
                            "set bars 0.4\n"
                            "if (GPVAL_VERSION >= 5.4) { set minussign }\n"
                            "set multiplot\n";

/* F(n): a font of n points; P: the size of points. In SVG the font is the reader's, in PNG this machine's;
   SVG takes fonts in pixels, and points as larger. */
static void write_terminals(const chart *c, FILE *file) {
    const int width = width_of(c);
    fprintf(file,
            "F(n) = sprintf('%%s,%%.1f', FONT, SIZE*n)\n"
            "do for [kind in 'svg png'] {\n"
            "if (kind eq 'svg') { FONT = 'sans-serif'; SIZE = 1.3; P = 0.5\n"
            "set terminal svg size %d,%d font 'sans-serif,14' background 'white'\n"
            "} else { FONT = 'sans'; SIZE = 1; P = 0.7\n"
            "if (strstrt(GPVAL_TERMINALS, 'pngcairo') > 0) {\n"
            "set terminal pngcairo size %d,%d font 'sans,11' fontscale 1.5 linewidth 1.5 "
            "pointscale 1.5\n"
            "} else {\nset terminal png size %d,%d font 'sans,11'\n} }\n"
            "set output '%s.'.kind\n",
            width, HEIGHT, width * 3 / 2, HEIGHT * 3 / 2, width, HEIGHT, c->name);
}

/* --- opening ------------------------------------------------------------------------------------ */

bool chart_open(chart *c, const char *program, const char *folder, const char *name,
                const char *title, int panels) {
    char path[PATH_MOST], file[256];
    *c = (chart){.program = program, .folder = folder, .name = name, .panels = panels};
    snprintf(file, sizeof file, "%s.gp", name);
    const char *bad = folder_place(folder, file, path, sizeof path);
    c->file = bad ? NULL : fopen(path, "w");
    c->rest = c->file ? open_memstream(&c->script, &c->script_size) : NULL;
    if (!c->rest) {
        fprintf(stderr, "%s: cannot write %s: %s\n", program, path, strerror(errno));
        c->failed = true;
        return false;
    }
    fprintf(c->file, "# Draws %s.svg and %s.png: gnuplot %s.gp, in this folder.\n", name, name,
            name);
    write_terminals(c, c->rest);
    fputs(style, c->rest);
    write_label(c->rest, title, across(c, 22), 1 - upward(26), 15, "#000000");
    return true;
}

/* --- panels ------------------------------------------------------------------------------------- */

/* 1, 2 and 5 of each decade, for a log axis with few of them. */
static void write_ticks(FILE *file, double low, double high) {
    static const double steps[] = {1, 2, 5};
    const char *comma = "";
    fputs("set ytics (", file);
    for (int decade = (int)floor(log10(low)); pow(10, decade) <= high; decade++)
        for (int i = 0; i < 3; i++, comma = ",")
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
    quote(file, text ? text : "");
    fprintf(file, " offset %s font ''.F(10) textcolor rgb '#555555'\n",
            axis == 'x' ? "0,0.3" : "1,0");
}

void chart_begin(chart *c, const chart_panel *p) {
    if (c->failed) return;
    const double left = c->panel * panel_width(c);
    fprintf(c->rest,
            "set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
            "set bmargin at screen %.4f\nset tmargin at screen %.4f\n",
            across(c, left + 78), across(c, left + panel_width(c) - 12), upward(62), upward(428));
    write_axis(c->rest, 'x', p->log_x, p->x_low, p->x_high);
    write_axis(c->rest, 'y', p->log_y, p->y_low, p->y_high);
    write_axis_label(c->rest, 'x', p->x_label);
    write_axis_label(c->rest, 'y', p->y_label);
    if (p->x_ticks) fprintf(c->rest, "set xtics %s\n", p->x_ticks);
    write_label(c->rest, p->title, across(c, left + 78), upward(448), 11, "#333333");
    c->fresh = true;
    if (p->level > 0 || (p->level < 0 && !p->log_y)) {
        fprintf(c->rest, "plot %.9g with lines lc rgb '#bbbbbb' lw 1 notitle", p->level);
        c->fresh = false;
    }
}

/* The data of one curve; returns the number of its block. */
static int write_block(chart *c, int n, const double *x, const double *y, const double *error) {
    fprintf(c->file, "$d%d << EOD\n", c->blocks);
    for (int i = 0; i < n; i++)
        fprintf(c->file, "%.9g %.9g %.9g\n", x[i], y[i], error ? error[i] : 0);
    fputs(n > 0 ? "EOD\n" : "NaN NaN 0\nEOD\n", c->file);
    return c->blocks++;
}

static const char *separator(chart *c) {
    const char *text = c->fresh ? "plot " : ", \\\n     ";
    c->fresh = false;
    return text;
}

void chart_line(chart *c, int colour, int n, const double *x, const double *y) {
    if (c->failed) return;
    fprintf(c->rest, "%s$d%d using 1:2 with lines lc rgb '%s' lw 1.8 dt %s notitle", separator(c),
            write_block(c, n, x, y, NULL), colour_of(colour), dashes[look_of(colour)]);
}

void chart_points(chart *c, int colour, int n, const double *x, const double *y,
                  const double *error, bool joined) {
    if (c->failed) return;
    const int block = write_block(c, n, x, y, error);
    if (joined)
        fprintf(c->rest, "%s$d%d using 1:2 with lines lc rgb '%s' lw 1.8 dt %s notitle",
                separator(c), block, colour_of(colour), dashes[look_of(colour)]);
    /* A bar that reaches 0 would be left out on a log axis: there it ends far below the point. */
    if (error)
        fprintf(c->rest,
                "%s$d%d using 1:2:($2 > $3 || $2 <= 0 ? $2 - $3 : $2*1e-3):($2 + $3) with "
                "yerrorbars pt %d ps P lw 1.2 lc rgb '%s' notitle",
                separator(c), block, shapes[look_of(colour)], colour_of(colour));
    else
        fprintf(c->rest, "%s$d%d using 1:2 with points pt %d ps P lc rgb '%s' notitle",
                separator(c), block, shapes[look_of(colour)], colour_of(colour));
}

void chart_end(chart *c) {
    if (c->failed) return;
    fputs(c->fresh ? "plot NaN notitle\n" : "\n", c->rest);
    fputs("unset label\nunset arrow\n", c->rest);
    c->panel++;
}

/* --- beside the panels ---------------------------------------------------------------------------- */

static double key_at(const chart *c) { return upward(420 - 22 * c->keys); }

void chart_key(chart *c, int colour, const char *text) {
    if (c->failed) return;
    const double x = across(c, c->panels * panel_width(c) + 6), y = key_at(c);
    const int size = strlen(text) > 18 ? 8 : 10;
    fprintf(c->rest,
            "set arrow from screen %.4f, screen %.4f to screen %.4f, screen %.4f nohead lc rgb "
            "'%s' lw 2.2 dt %s\n",
            x, y, x + across(c, 26), y, colour_of(colour), dashes[look_of(colour)]);
    write_label(c->rest, text, x + across(c, 33), y, size, "#333333");
    c->keys++;
}

void chart_note(chart *c, const char *text) {
    if (c->failed) return;
    write_label(c->rest, text, across(c, c->panels * panel_width(c) + 6), key_at(c), 9, "#777777");
    c->keys++;
}

/* --- drawing ------------------------------------------------------------------------------------ */

/* Its exit status; 127 if there is no gnuplot. */
static int run_gnuplot(const chart *c) {
    char file[256];
    snprintf(file, sizeof file, "%s.gp", c->name);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (chdir(c->folder) == 0) execlp("gnuplot", "gnuplot", file, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

/* Puts the script behind the data. */
static bool finish(chart *c) {
    if (!c->file) return false;
    fputs("unset multiplot\nset output\n}\n", c->rest);
    bool ok = fclose(c->rest) == 0 && c->script;
    if (ok) fwrite(c->script, 1, c->script_size, c->file);
    ok = ok && !ferror(c->file);
    free(c->script);
    if (fclose(c->file) != 0) ok = false;
    if (!ok) fprintf(stderr, "%s: cannot write %s/%s.gp\n", c->program, c->folder, c->name);
    return ok;
}

int chart_close(chart *c) {
    if (!finish(c) || c->failed) return EXIT_BAD_INPUT;
    const int status = run_gnuplot(c);
    if (status == 0) {
        fprintf(stderr, "%s/%s.svg and .png are drawn (%s/%s.gp draws them again)\n", c->folder,
                c->name, c->folder, c->name);
        return EXIT_SUCCESS;
    }
    if (status == 127)
        fprintf(stderr, "%s: gnuplot is not installed (apt install gnuplot-nox); ", c->program);
    else
        fprintf(stderr, "%s: gnuplot failed; ", c->program);
    fprintf(stderr, "data and script are there: cd %s && gnuplot %s.gp\n", c->folder, c->name);
    return EXIT_FAILURE;
}
