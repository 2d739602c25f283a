/* gnuplot.h: writes data and scripts for gnuplot, and has it draw them as SVG and PNG.
   SPDX-License-Identifier: MIT

       gnuplot g = {.folder = "plots", .program = "activations"};
       FILE *file = gnuplot_open(&g) ? gnuplot_data(&g, "loss") : NULL;
       ...                                            numbers
       gnuplot_close(&g, file);
       if ((file = gnuplot_begin(&g, "loss", 800, 500))) fputs("plot 'data/loss.dat'\n", file);
       gnuplot_close(&g, file);
       if (gnuplot_draw(&g) != GNUPLOT_DONE) ...      plots/loss.svg, plots/loss.png

   In the folder: plot.gp, which draws everything again (cd DIR && gnuplot plot.gp), and data/
   with the numbers, a script for each picture and the style they share. Scripts may use F(n), a
   font of n points, and P, the size of points. */
#ifndef EXAMPLES_GNUPLOT_H
#define EXAMPLES_GNUPLOT_H

#include <stdbool.h>
#include <stdio.h>

typedef struct gnuplot {
    const char *folder, *program;
    FILE *all;   /* plot.gp */
    int count;   /* pictures */
    bool failed; /* a file could not be written; that has been printed */
} gnuplot;

/* Makes the folder and starts plot.gp. False if that fails. */
bool gnuplot_open(gnuplot *g);
/* data/NAME.dat, to write numbers into; NULL after an error. */
FILE *gnuplot_data(gnuplot *g, const char *name);
/* The script of a picture of that size, which plot.gp then calls; NULL after an error. */
FILE *gnuplot_begin(gnuplot *g, const char *name, int width, int height);
/* Ends either; takes NULL. */
void gnuplot_close(gnuplot *g, FILE *file);

typedef enum gnuplot_result {
    GNUPLOT_DONE,
    GNUPLOT_UNWRITTEN, /* a file could not be written; that has been printed */
    GNUPLOT_MISSING,   /* is not installed; scripts and data are there */
    GNUPLOT_FAILED     /* likewise; it printed why */
} gnuplot_result;
/* Ends plot.gp and runs gnuplot. */
gnuplot_result gnuplot_draw(gnuplot *g);

/* A text in single quotes, as gnuplot reads it. */
void gnuplot_quote(FILE *file, const char *text);
/* Colour i of n that run from dark to light, for what has an order: "#440154". */
void gnuplot_ramp(int i, int n, char text[8]);
/* Okabe and Ito's colours, which colour-blind people can tell apart. */
enum { GNUPLOT_COLOURS = 7 };
extern const char *const gnuplot_colours[GNUPLOT_COLOURS];

#endif
