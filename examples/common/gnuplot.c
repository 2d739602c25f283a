/* gnuplot.c: data and scripts for gnuplot, and its call.
   SPDX-License-Identifier: MIT */
#include "gnuplot.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"

enum { PATH_MOST = 4096 };

/* --- files ------------------------------------------------------------------------------------ */

static void fail(gnuplot *g, const char *path) {
    if (!g->failed) fprintf(stderr, "%s: cannot write %s: %s\n", g->program, path, strerror(errno));
    g->failed = true;
}

static FILE *open_file(gnuplot *g, const char *part, const char *name, const char *ending) {
    char path[PATH_MOST];
    snprintf(path, sizeof path, "%s/%s%s%s", g->folder, part, name, ending);
    FILE *file = g->failed ? NULL : fopen(path, "w");
    if (!file) fail(g, path);
    return file;
}

void gnuplot_close(gnuplot *g, FILE *file) {
    if (!file) return;
    const bool bad = ferror(file) != 0;
    if (fclose(file) != 0 || bad) fail(g, g->folder);
}

static bool make_folder(gnuplot *g, const char *path) {
    char part[PATH_MOST];
    snprintf(part, sizeof part, "%s", path);
    if (folder_make(part)) return true;
    fail(g, part);
    return false;
}

/* What all pictures share. In SVG the font is the reader's, in PNG this machine's. */
static const char style[] =
    "# The style of every picture. Edit it, then: cd .. && gnuplot plot.gp\n"
    "reset\n"
    "set encoding utf8\n"
    "unset key\n"
    "set border 3 lc rgb '#888888' lw 0.8\n"
    "set tics nomirror out scale 0.5 textcolor rgb '#555555'\n"
    "set xtics font ''.F(10)\n"
    "set ytics font ''.F(10)\n"
    "set grid xtics ytics lt 1 lw 0.5 lc rgb '#e6e6e6'\n"
    "set zeroaxis lt 1 lw 1 lc rgb '#999999'\n"
    "set samples 2\n"
    "if (GPVAL_VERSION >= 5.4) set minussign\n";

/* F(n): a font of n points; P: the size of points. SVG takes fonts in pixels, and points larger. */
static const char all_begin[] =
    "# Draws every picture again, as SVG and PNG: gnuplot plot.gp, in this folder.\n"
    "svg(w, h) = sprintf(\"FONT = 'sans-serif'; SIZE = 1.3; P = 0.8; set terminal svg size %d,%d \""
    " \\\n    .\"font 'sans-serif,14' background 'white'\", w, h)\n"
    "png(w, h) = \"FONT = 'sans'; SIZE = P = 1; set terminal \" \\\n"
    "    .(strstrt(GPVAL_TERMINALS, 'pngcairo') > 0 \\\n"
    "    ? sprintf(\"pngcairo size %d,%d font 'sans,11' fontscale 1.5 linewidth 1.5 pointscale "
    "1.5\","
    " 1.5*w, 1.5*h) \\\n"
    "    : sprintf(\"png size %d,%d font 'sans,11'\", w, h))\n"
    "F(n) = sprintf('%s,%.1f', FONT, SIZE*n)\n";

bool gnuplot_open(gnuplot *g) {
    char data[PATH_MOST];
    snprintf(data, sizeof data, "%s/data", g->folder);
    if (!make_folder(g, g->folder) || !make_folder(g, data)) return false;
    FILE *file = open_file(g, "data/", "style", ".gp");
    if (!file) return false;
    fputs(style, file);
    gnuplot_close(g, file);
    g->all = open_file(g, "", "plot", ".gp");
    if (g->all) fputs(all_begin, g->all);
    return !g->failed;
}

FILE *gnuplot_data(gnuplot *g, const char *name) { return open_file(g, "data/", name, ".dat"); }

FILE *gnuplot_begin(gnuplot *g, const char *name, int width, int height) {
    FILE *file = open_file(g, "data/", name, ".gp");
    if (!file) return NULL;
    fprintf(g->all,
            "\neval svg(%d, %d); set output '%s.svg'; load 'data/%s.gp'\n"
            "eval png(%d, %d); set output '%s.png'; load 'data/%s.gp'\n",
            width, height, name, name, width, height, name, name);
    fputs("load 'data/style.gp'\n", file);
    g->count++;
    return file;
}

/* --- gnuplot ---------------------------------------------------------------------------------- */

/* Its exit status; 127 if there is no gnuplot. */
static int run_gnuplot(const char *folder) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (chdir(folder) == 0) execlp("gnuplot", "gnuplot", "plot.gp", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

gnuplot_result gnuplot_draw(gnuplot *g) {
    if (g->all) {
        fputs("\nset output\n", g->all);
        gnuplot_close(g, g->all);
        g->all = NULL;
    }
    if (g->failed) return GNUPLOT_UNWRITTEN;
    const int status = run_gnuplot(g->folder);
    return status == 0 ? GNUPLOT_DONE : status == 127 ? GNUPLOT_MISSING : GNUPLOT_FAILED;
}

/* --- text and colours ------------------------------------------------------------------------- */

void gnuplot_quote(FILE *file, const char *text) {
    fputc('\'', file);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', file);
        fputc(*text, file);
    }
    fputc('\'', file);
}

const char *const gnuplot_colours[GNUPLOT_COLOURS] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                      "#E69F00", "#56B4E9", "#333333"};

/* From dark to light, evenly in brightness. */
static const int ramp[][3] = {{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}};
enum { RAMP = sizeof ramp / sizeof *ramp };

void gnuplot_ramp(int i, int n, char text[8]) {
    const double at = n > 1 ? (double)i / (n - 1) * (RAMP - 1) : 0;
    const int k = at >= RAMP - 1 ? RAMP - 2 : (int)at;
    int rgb[3];
    for (int c = 0; c < 3; c++)
        rgb[c] = (int)lround(ramp[k][c] + (at - k) * (ramp[k + 1][c] - ramp[k][c]));
    snprintf(text, 8, "#%02x%02x%02x", (unsigned)rgb[0] & 255, (unsigned)rgb[1] & 255,
             (unsigned)rgb[2] & 255);
}
