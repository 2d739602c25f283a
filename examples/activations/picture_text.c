/* picture_text.c: files, text and the call of gnuplot, for pictures.
   SPDX-License-Identifier: MIT */
#include "picture_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "options.h"

enum { PATH_MOST = 4096 };

/* --- text --------------------------------------------------------------------------------------- */

void picture_file_name(const char *name, char *file) {
    int n = 0;
    for (; *name && n < FILE_MOST - 1; name++)
        file[n++] = isalnum((unsigned char)*name) || strchr(".=_+-", *name) ? *name : '_';
    file[n] = 0;
}

void picture_quote(FILE *file, const char *text) {
    fputc('\'', file);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', file);
        fputc(*text, file);
    }
    fputc('\'', file);
}

typedef struct spelling {
    const char *plain, *pretty;
    bool word; /* only if no letter or digit stands on either side */
} spelling;

static const spelling spellings[] = {
    {"alpha", "α", true}, {"beta", "β", true}, {"lambda", "λ", true}, {"s(-", "σ(−", true},
    {"s(", "σ(", true},   {"Phi", "Φ", true},  {"phi", "φ", true},    {">=", "≥", false},
    {"<=", "≤", false},   {"^2", "²", false},  {"^3", "³", false},    {"^4", "⁴", false},
    {"^5", "⁵", false},   {"f'", "f′", true},  {"'", "′", false},     {" - ", " − ", false},
    {"(-", "(−", false},
};

static bool is_letter(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The spelling that applies at text[at], or NULL. */
static const spelling *spelling_at(const char *text, size_t at) {
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        const spelling *s = &spellings[i];
        const size_t length = strlen(s->plain);
        if (strncmp(text + at, s->plain, length) != 0) continue;
        if (s->word && at > 0 && is_letter(text[at - 1])) continue;
        if (s->word && is_letter(s->plain[length - 1]) && is_letter(text[at + length])) continue;
        return s;
    }
    return NULL;
}

void picture_formula(const char *text, char *pretty, size_t size) {
    size_t used = 0;
    for (size_t at = 0; text[at] && used + 8 < size;) {
        const spelling *s = spelling_at(text, at);
        if (s) {
            used += (size_t)snprintf(pretty + used, size - used, "%s", s->pretty);
            at += strlen(s->plain);
        } else {
            pretty[used++] = text[at++];
        }
    }
    pretty[used] = 0;
}

int picture_width(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* --- files -------------------------------------------------------------------------------------- */

static void fail(pictures *p, const char *path) {
    if (!p->failed) fprintf(stderr, "%s: cannot write %s: %s\n", p->program, path, strerror(errno));
    p->failed = true;
}

static FILE *open_file(pictures *p, const char *part, const char *name, const char *ending) {
    char path[PATH_MOST];
    snprintf(path, sizeof path, "%s/%s%s%s", p->folder, part, name, ending);
    FILE *file = p->failed ? NULL : fopen(path, "w");
    if (!file) fail(p, path);
    return file;
}

static void close_file(pictures *p, FILE *file, const char *name) {
    const bool bad = ferror(file) != 0;
    if (fclose(file) != 0 || bad) fail(p, name);
}

static bool make_folder(pictures *p, const char *path) {
    char part[PATH_MOST];
    snprintf(part, sizeof part, "%s", path);
    if (folder_make(part)) return true;
    fail(p, part);
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

/* F(n): a font of n points; P: the size of points. SVG takes fonts in pixels and points as larger. */
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

bool pictures_open(pictures *p) {
    char data[PATH_MOST];
    snprintf(data, sizeof data, "%s/data", p->folder);
    if (!make_folder(p, p->folder) || !make_folder(p, data)) return false;
    FILE *file = open_file(p, "data/", "style", ".gp");
    if (!file) return false;
    fputs(style, file);
    close_file(p, file, data);
    p->all = open_file(p, "", "plot", ".gp");
    if (p->all) fputs(all_begin, p->all);
    return !p->failed;
}

static void write_line(FILE *file, const curve_line *line) {
    for (int i = 0; i < line->count; i++) {
        if (line->point[i].gap)
            fputc('\n', file);
        else
            fprintf(file, "%.9g %.9g\n", line->point[i].x, line->point[i].y);
    }
    fputs("\n\n", file);
    for (int i = 0; i < line->ends; i++)
        fprintf(file, "%.9g %.9g %d\n", line->end[i].x, line->end[i].y, line->end[i].closed);
    if (line->ends == 0) fputs("# no jumps\nNaN NaN 0\n", file); /* keeps the numbers of blocks */
    fputs("\n\n", file);
}

void pictures_data(pictures *p, const plotted *one) {
    FILE *file = open_file(p, "data/", one->file, ".dat");
    if (!file) return;
    fprintf(file, "# %s: x and f; jumps of f (x, y, closed); x and f'; jumps of f'\n", one->name);
    write_line(file, &one->curve.line[CURVE_VALUE]);
    write_line(file, &one->curve.line[CURVE_SLOPE]);
    close_file(p, file, one->file);
}

FILE *picture_begin(pictures *p, const char *name, int width, int height) {
    FILE *file = open_file(p, "data/", name, ".gp");
    if (!file) return NULL;
    fprintf(p->all,
            "\neval svg(%d, %d); set output '%s.svg'; load 'data/%s.gp'\n"
            "eval png(%d, %d); set output '%s.png'; load 'data/%s.gp'\n",
            width, height, name, name, width, height, name, name);
    fputs("load 'data/style.gp'\n", file);
    p->count++;
    return file;
}

void picture_end(pictures *p, FILE *file) { close_file(p, file, "a script"); }

/* --- gnuplot ------------------------------------------------------------------------------------- */

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

int pictures_draw(pictures *p) {
    if (p->all) {
        fputs("\nset output\n", p->all);
        close_file(p, p->all, "plot.gp");
    }
    if (p->failed) return EXIT_BAD_INPUT;
    const int status = run_gnuplot(p->folder);
    if (status == 0) {
        printf("%d picture%s in %s, as SVG and PNG (%s/plot.gp draws %s again)\n", p->count,
               p->count == 1 ? "" : "s", p->folder, p->folder, p->count == 1 ? "it" : "them");
        return EXIT_SUCCESS;
    }
    if (status == 127)
        fprintf(stderr, "%s: gnuplot is not installed (apt install gnuplot-nox); ", p->program);
    else
        fprintf(stderr, "%s: gnuplot failed; ", p->program);
    fprintf(stderr, "data and script are there: cd %s && gnuplot plot.gp\n", p->folder);
    return EXIT_FAILURE;
}
