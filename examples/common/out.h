/* out.h: the folder of --out: log, numbers, pictures and a page that shows them.
   SPDX-License-Identifier: MIT

   index.html      the page
   run.jsonl       the log (runlog.h)
   *.svg, *.png    the pictures; those made of pixels are PNG alone
   plot.gp, data/  numbers and scripts from which gnuplot draws the curves again

   Without --out the functions do nothing. */
#ifndef EXAMPLES_OUT_H
#define EXAMPLES_OUT_H

#include "rows.h"

/* Before training: makes the folder, and sees whether everything can be written there. False if
   not; that has then been printed. Pictures of an earlier run are taken away. */
bool out_place(training *run);
/* With the layers, before the first step; they outlive it. */
void out_open(training *run, const net_rows *rows);

/* While training: numbers for curves, as figures.h takes them. */
void out_step(training *run, double epoch, const double *gradient, const double *update);
void out_units(training *run, double epoch, const double *dead, const double *saturated,
               const double *dormant);
void out_epoch(training *run);
/* Around a pass over the probe images, around a step: for histograms of the start or the end. */
void out_watch_probe(training *run, bool on, bool start);
void out_watch_step(training *run, bool on, bool start);

/* After training, also a failed one: draws all of it. What is missing on this machine is said, and
   does not fail the run. */
void out_finish(training *run);
/* Where to look. */
void out_report(const training *run);
void out_close(training *run);

#endif
