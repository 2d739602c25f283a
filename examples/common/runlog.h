/* runlog.h: the --log file, JSON Lines: first how the run was set up, then a line for each epoch.
   SPDX-License-Identifier: MIT

   The first line: program, version, git_hash, build_flags, device, isa, blas, threads, seed, init,
   weights_sha256 (of the bytes of all initial parameters in order; null in a build without libmd),
   parameters (how many numbers), activation_parameters, train_images, val_images, test_images,
   setup_seconds (from the start of the program), settings (every option, with defaults filled in).

   Then: epoch (from 1), train_loss (mean over the images of the epoch, as seen while training),
   val_accuracy and test_accuracy (percent; null without validation images), seconds (training
   alone), images_per_s, lr (at the first step of the epoch), activation_parameters; and
   "interrupted":true if Ctrl-C cut it short.

   activation_parameters: what activations learn besides the weights, at the start in the first
   line, then at the end of each epoch; left out if there is none:

       {"1.alpha":{"min":0.12,"median":0.193,"max":0.31}, ...}

   over the channels, all three the same for a parameter of a whole layer. Of a mixture it is the
   weight of each candidate, softmax(logits/T), "1.tanh" for example. null if not finite. */
#ifndef EXAMPLES_RUNLOG_H
#define EXAMPLES_RUNLOG_H

#include "train.h"

/* Starts the file, if one is wanted. False if it cannot be written; that has then been printed. */
bool runlog_open(training *run);
void runlog_epoch(training *run);
void runlog_close(training *run);

#endif
