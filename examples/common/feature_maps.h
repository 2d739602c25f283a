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

/* After training: each draws one of them into the folder, and says in a few words what it shows.
   False if the network begins with no convolution, or after an error, which is the context's or
   errno's. */
bool feature_maps_filters(training *run, const char *folder, char *text, size_t size);
bool feature_maps_features(training *run, const char *folder, char *text, size_t size);

#endif
