/* digits.h: short trainings of plain deep nets on MNIST, for curves over many of them.
   SPDX-License-Identifier: MIT */
#ifndef DEPTH_DIGITS_H
#define DEPTH_DIGITS_H

#include "study.h"

typedef struct digits_settings {
    const char *data, *init, *optimizer;
    int64_t images, test, epochs, batch, width;
    double lr; /* negative: the optimizer's own */
} digits_settings;

void digits_add_options(study *s, digits_settings *set, bool with_lr);

typedef struct digits {
    study *s;
    const digits_settings *set;
    hk_context *ctx;
    hk_dataset *train, *test;
    hk_shape item;
    int classes;
} digits;

/* Some images, chosen by the seed. False if that fails, which has been printed. */
bool digits_open(digits *d, study *s, const digits_settings *set, uint64_t seed);
void digits_close(digits *d);

/* One net: `depth` hidden layers, each with the activation. */
typedef struct digits_net {
    const char *activation;
    int depth;
    double lr;   /* negative: that of the settings */
    double bias; /* where the hidden layers' biases start, beside what the initialiser gives them */
    hk_module *net;
    int64_t steps;   /* taken */
    double accuracy; /* on test images, percent */
    double loss;     /* mean of the last epoch, while training */
    bool diverged;   /* the loss was not finite any more, which ended training */
} digits_net;

/* Progress is told in steps: `done` before this net, of `total`. False on Ctrl-C and errors. The net stays for
   digits_free. */
bool digits_train(digits *d, digits_net *n, double done, double total);
void digits_free(digits_net *n);
int64_t digits_steps(const digits_settings *set); /* of one net */

/* A table of mean and deviation, in blocks of at most 80 columns: a line for each name, a column for each
   heading. cells: (names, columns). */
void print_matrix(const study *s, int columns, const char *const *heading, const spread *cells);

#endif
