/* network.h: the options that describe a network of any kind: --activation and --dropout.
   SPDX-License-Identifier: MIT

   train_activation_name (train.h) takes the list of activations apart. */
#ifndef EXAMPLES_NETWORK_H
#define EXAMPLES_NETWORK_H

#include "options.h"

typedef struct network_settings {
    const char *activation; /* one specification, or one for each hidden layer: "relu/gelu" */
    double dropout;
} network_settings;

/* dropped: the help of --dropout. */
void network_add_options(options *opts, network_settings *net, const char *dropped);

/* What the table of options cannot: how many activations there are for so many hidden layers.
   OPTIONS_GO, or the code to exit with. */
int network_check(const options *opts, const network_settings *net, int layers);

#endif
