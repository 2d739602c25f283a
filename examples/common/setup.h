/* setup.h: the step between describing a network and training it; for train.c.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_SETUP_H
#define EXAMPLES_SETUP_H

#include "train.h"

/* Builds net for the images, makes loaders and optimizer, prints the summary, starts the log.
   False if something is wrong; that has then been printed. */
bool setup_training(training *run, hk_module *net);

#endif
