/* weights.h: a picture of what the units of a first linear layer look at.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_WEIGHTS_H
#define EXAMPLES_WEIGHTS_H

#include "train.h"

enum { WEIGHTS_MOST = 60 }; /* units that are shown */

/* Draws the incoming weights of the first units as images, FOLDER/weights.png. How many: 0 if
   the first layer with weights is not linear on the pixels, or after an error, which is the
   context's or errno's. */
int weights_draw(training *run, const char *folder);

#endif
