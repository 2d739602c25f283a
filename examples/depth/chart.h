/* chart.h: pictures of lines and points, by gnuplot.
   SPDX-License-Identifier: MIT

       chart c;
       if (chart_open(&c, "depth signal", "pictures", "signal", "Title", 2)) {
           chart_key(&c, colour, "relu");                beside all panels: before the first
           chart_begin(&c, &(chart_panel){.title = "...", .x_label = "layer", .log_y = true});
           chart_line(&c, colour, n, x, y);              theory
           chart_points(&c, colour, n, x, y, error);     measurement
           chart_end(&c);                                the next panel, and so on
       }
       code = chart_close(&c, false);

   What lies in the folder besides the pictures: gnuplot.h. */
#ifndef DEPTH_CHART_H
#define DEPTH_CHART_H

#include "gnuplot.h"

typedef struct chart_panel {
    const char *title, *x_label, *y_label;
    bool log_x, log_y;
    double x_low, x_high; /* of the axis; equal: what the data need */
    double y_low, y_high; /* likewise; a curve that leaves them is cut */
    const char *x_ticks;  /* gnuplot's; NULL: its own choice */
    double level;         /* a thin line across; NaN or 0 on a log axis: none */
} chart_panel;

typedef struct chart {
    const char *name;
    gnuplot plot;
    FILE *data, *script;
    int panels, panel, blocks, keys;
    bool fresh; /* nothing plotted in this panel yet */
} chart;

/* False if the folder or the file cannot be written; that has then been printed. */
bool chart_open(chart *c, const char *program, const char *folder, const char *name,
                const char *title, int panels);
void chart_begin(chart *c, const chart_panel *panel);
/* Colour i of a row that colour-blind people can tell apart; more than there are get dashes. Values that
   are not finite, or not above 0 on a log axis, are left out. */
void chart_line(chart *c, int colour, int n, const double *x, const double *y);
/* Points, joined by lines or not; error: half the length of each bar. */
void chart_points(chart *c, int colour, int n, const double *x, const double *y,
                  const double *error, bool joined);
/* The same with any bars. */
void chart_bars(chart *c, int colour, int n, const double *x, const double *y, const double *low,
                const double *high, bool joined);
void chart_end(chart *c);
void chart_key(chart *c, int colour, const char *text);
/* A remark below the keys. */
void chart_note(chart *c, const char *text);
/* Draws, and says so unless quiet. The code to exit with: 0; 1 without gnuplot; 2 if something cannot be written. */
int chart_close(chart *c, bool quiet);

#endif
