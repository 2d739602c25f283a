/* mistakes.h: the test images that a network gets wrong with the highest loss.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_MISTAKES_H
#define EXAMPLES_MISTAKES_H

#include "gnuplot.h"
#include "train.h"

/* Runs the test images, and writes data and script of the worst. How many there are: 0 if all
   answers are right, or after an error, which is the context's. */
int mistakes_script(training *run, gnuplot *plot);

#endif
