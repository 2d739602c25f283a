/* feature_maps.h: pictures of what a convolutional network learned: its first filters, and what
   they make of a few images.
   SPDX-License-Identifier: MIT

   filters.png     the filters of the first convolution, in the order of their channels
   features.png    a row for each of a few test images: the image, then its maps, one for each
                   channel, behind the first activation

   The network is a sequential whose first layers are a convolution and an activation. */
#ifndef EXAMPLES_FEATURE_MAPS_H
#define EXAMPLES_FEATURE_MAPS_H

#include "train.h"

/* Before training: makes the folder, and sees whether both pictures can be written there. Does
   nothing if run is NULL or has failed, or if folder is NULL; so does the next one. */
void feature_maps_place(training *run, const char *folder);
/* After training: draws both, and says so unless --quiet. */
void feature_maps_draw(training *run, const char *folder);

#endif
