/* runlog.h: the --log file, JSON Lines: first how the run was set up, then a line for each epoch.
   SPDX-License-Identifier: MIT

   With --out DIR the same lines go to DIR/run.jsonl.

   The first line: program, version, git_hash, build_flags, device, isa (on a GPU its name), blas,
   graph (whether steps may be replayed on a GPU), tf32, threads, seed, init, weights_sha256 (of the
   bytes of all initial parameters in order; null in a build without libmd), parameters (how many
   numbers), activation_parameters, train_images, val_images, test_images, setup_seconds (from the
   start of the program), settings (every option, with defaults filled in).

   Then: epoch (from 1), train_loss (mean over the images of the epoch, as seen while training),
   val_accuracy and test_accuracy (percent; null without validation images), seconds (training
   alone), images_per_s, lr (at the first step of the epoch), replayed_steps (on a GPU: of all steps
   so far), weights_sha256 (at its end), activation_parameters; and "interrupted":true if Ctrl-C cut
   it short.

   With --stats or --out, lines of their own; what is not defined or not finite is null:

       {"flow":{"step":1,"epoch":0,"parameters":{"1.weight":{...}, ...},"layers":{"1":{...}, ...}}}

   A recorded step (hk_flow.h); `epoch`: how many lay before it, 0.5 in the middle of the first. Of
   a parameter: grad_mean, grad_std, grad_min, grad_max, grad_max_abs, grad_l2, grad_zeros and
   grad_nonfinite (numbers of elements, of `count`), weight_l2, update_ratio, one_sign. Of a layer:
   kind, out_mean to out_nonfinite and count of its output, grad_l2 of the gradient there, ratio,
   one_sign_sample.

       {"units":{"epoch":0,"images":2000,"layers":{"2":{...}, ...}}}

   Units over the probe images (hk_units.h), before training (epoch 0) and after each epoch. Of an
   activation: activation, then numbers of its `units`: dead, zero, constant, saturated_left,
   saturated_right, dormant, dormant_mean_free, dead_by_bias, died, revived, quiet; of units times
   `positions`: dead_positions; zero_share of all values.

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
/* A line of another kind: members are written between the two. False: no log is wanted; or it
   cannot be written, which has then been printed. */
bool runlog_begin(training *run, json *line);
bool runlog_end(training *run, json *line);
void runlog_close(training *run);

#endif
