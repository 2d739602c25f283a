/* pictures.h: writes the data and the gnuplot scripts of curves, and has gnuplot draw them.
   SPDX-License-Identifier: MIT

   In the folder: plot.gp, which draws everything again (cd DIR && gnuplot plot.gp), and data/ with a
   file of points for each activation, a script for each picture and the style they share. */
#ifndef ACTIVATIONS_PICTURES_H
#define ACTIVATIONS_PICTURES_H

#include <stdio.h>

#include "curve.h"
#include "gnuplot.h"

enum { FILE_MOST = 200 };

/* One activation to be drawn. */
typedef struct plotted {
    const char *name;     /* "swish:beta=2" */
    const char *label;    /* in legends: "beta = 2" */
    char file[FILE_MOST]; /* its name without letters that files should not have */
    hk_activation_spec spec;
    curve curve;
} plotted;

/* A folder of pictures. */
typedef struct pictures {
    const char *folder;
    double low, high; /* of x */
    const char *program;
    gnuplot plot;
} pictures;

enum { GRID_COLUMNS = 4, GRID_ROWS = 3, GRID_MOST = GRID_COLUMNS * GRID_ROWS };

/* A name as part of a file name: letters, digits and .=_+- stay, others become _. */
void picture_file_name(const char *name, char *file);

/* "x s(beta x)^2" with Greek letters and raised digits, in UTF-8. */
void picture_formula(const char *text, char *pretty, size_t size);

/* Makes the folder and starts plot.gp. */
bool pictures_open(pictures *p);
void pictures_data(pictures *p, const plotted *one);
/* f and f' of one, side by side, with formulas. */
void pictures_page(pictures *p, const plotted *one);
/* Up to GRID_MOST, f and f' of each in one small panel; page i of n. */
void pictures_grid(pictures *p, int count, const plotted *list, int page, int pages);
/* Several in one picture. ordered: colours run from dark to light, for the values of a parameter. */
void pictures_family(pictures *p, const char *file, const char *title, int count,
                     const plotted *list, bool ordered);
/* Ends plot.gp and runs gnuplot. Returns the program's exit code. */
int pictures_draw(pictures *p);

#endif
