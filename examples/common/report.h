/* report.h: what a training run prints, apart from the progress bar; at most 80 columns wide.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_REPORT_H
#define EXAMPLES_REPORT_H

#include "train.h"

/* With --quiet they print nothing; train_report (train.h) then prints the test accuracy alone. */
void report_machine(const training *run);
void report_data(const training *run);
void report_network(const training *run, hk_shape input);
void report_epoch(const training *run);

#endif
