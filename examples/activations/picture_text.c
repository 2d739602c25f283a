/* picture_text.c: text and data of curves for gnuplot.
   SPDX-License-Identifier: MIT */
#include "picture_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

/* --- text --------------------------------------------------------------------------------------- */

void picture_file_name(const char *name, char *file) {
    int n = 0;
    for (; *name && n < FILE_MOST - 1; name++)
        file[n++] = isalnum((unsigned char)*name) || strchr(".=_+-", *name) ? *name : '_';
    file[n] = 0;
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
    FILE *file = gnuplot_data(&p->plot, one->file);
    if (!file) return;
    fprintf(file, "# %s: x and f; jumps of f (x, y, closed); x and f'; jumps of f'\n", one->name);
    write_line(file, &one->curve.line[CURVE_VALUE]);
    write_line(file, &one->curve.line[CURVE_SLOPE]);
    gnuplot_close(&p->plot, file);
}

bool pictures_open(pictures *p) {
    p->plot = (gnuplot){.folder = p->folder, .program = p->program};
    return gnuplot_open(&p->plot);
}

int pictures_draw(pictures *p) {
    const gnuplot_result result = gnuplot_draw(&p->plot);
    const int count = p->plot.count;
    if (result == GNUPLOT_UNWRITTEN) return EXIT_BAD_INPUT;
    if (result == GNUPLOT_DONE) {
        printf("%d picture%s in %s, as SVG and PNG (%s/plot.gp draws %s again)\n", count,
               count == 1 ? "" : "s", p->folder, p->folder, count == 1 ? "it" : "them");
        return EXIT_SUCCESS;
    }
    if (result == GNUPLOT_MISSING)
        fprintf(stderr, "%s: gnuplot is not installed (apt install gnuplot-nox); ", p->program);
    else
        fprintf(stderr, "%s: gnuplot failed; ", p->program);
    fprintf(stderr, "data and script are there: cd %s && gnuplot plot.gp\n", p->folder);
    return EXIT_FAILURE;
}
