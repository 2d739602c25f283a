/* learned.h: what training makes of activations' own parameters: shown at the end, logged each
   epoch.
   SPDX-License-Identifier: MIT

   A row is a parameter, such as "1.alpha", or the weight that a mixture gives to one of its
   candidates, such as "1.tanh". Weights of the small networks inside some activations are weights
   like others and have no row. */
#ifndef EXAMPLES_LEARNED_H
#define EXAMPLES_LEARNED_H

#include "train.h"

/* Makes the rows of run->net, which has just been built. Without any, the others do nothing. */
void learned_open(training *run);
/* Looks at the parameters as they are now. */
void learned_update(training *run);
/* "activation_parameters":{"1.alpha":{"min":..,"median":..,"max":..}, ...} of the last look. */
void learned_log(const training *run, json *line);
/* A line for each row, start -> end; prints nothing with --quiet. */
void learned_report(training *run);
void learned_close(training *run);

#endif
