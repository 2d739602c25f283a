/* train.h: the training run that the programs share: data, epochs, accuracy, log, Ctrl-C.
   SPDX-License-Identifier: MIT

       train_settings settings = train_defaults();
       options opts = {.purpose = "...", .examples = ...};
       train_add_options(&opts, &settings);
       const int code = options_parse(&opts, argc, argv);
       if (code != OPTIONS_GO) return code;

       training *run = train_begin(&opts, &settings);     context, images
       if (run) run->activations = "relu/gelu";           if they may have parameters of their own
       if (run && run->code == 0)                         summary, epochs
           train(run, describe(run->ctx, run->item, run->classes));
       train_report(run, next);                           confusion matrix, test accuracy
       return train_end(run);                             destroys everything

   As in the library, the first error is kept and what follows does nothing. Errors are one line
   on stderr. Exit codes: 0; 1 training failed; 2 bad input (options, data files, a log that
   cannot be written, a folder for pictures likewise, a device that is not there); 130 stopped by
   Ctrl-C, after the report. */
#ifndef EXAMPLES_TRAIN_H
#define EXAMPLES_TRAIN_H

#include <hillock/hillock.h>

#include "options.h"
#include "progress.h"
#include "elements.h"

/* What the shared options set. Where a default depends on something else (the optimizer, the
   machine), train_begin and train put in what is really used, and the log shows that. */
typedef struct train_settings {
    const char *optimizer, *schedule, *init, *device;
    const char *data, *log, *out, *isa; /* NULL: searched for; none; none; the best there is */
    double lr, weight_decay;            /* negative: the optimizer's own */
    double label_smoothing, clip_norm;
    int64_t batch, epochs, seed, threads, val, patience, classes;
    bool no_blas, nan_guard, no_shuffle, quiet, stats, no_graph, tf32;
    hk_augment augment; /* of the training images */
} train_settings;

train_settings train_defaults(void);
void train_add_options(options *opts, train_settings *settings);

/* How an epoch went. Accuracies in percent; val_accuracy is NaN without a validation set. */
typedef struct epoch_result {
    int64_t epoch; /* from 1 */
    double train_loss, val_accuracy, test_accuracy;
    double seconds; /* of training alone */
    double images_per_s;
    double lr;      /* at its first step */
    int64_t images; /* seen: fewer than there are if it was cut short */
} epoch_result;

typedef struct learned learned; /* learned.h */
typedef struct runlog runlog;   /* runlog.h */
typedef struct stats stats;     /* stats.h */
typedef struct out out;         /* out.h */

/* Of each batch of an evaluation, kept: true classes and answers. */
typedef struct answers {
    hk_tensor **truth, **answer;
} answers;

typedef struct training {
    const options *opts;
    train_settings *set;
    int code;         /* to exit with; 0 while all is well */
    bool interrupted; /* by Ctrl-C */

    hk_context *ctx;
    bool data_given;                             /* by --data; else set->data was found */
    hk_dataset *fit_data, *val_data, *test_data; /* val_data is NULL without --val */
    hk_loader *fit, *val, *test;
    hk_shape item; /* of one image */
    int classes;

    hk_module *net;
    const char *activations; /* of its activation modules in order, as for train_activation_name;
                                tells what the weights of a mixture belong to; may be NULL */
    learned *learned;        /* NULL: no activation has parameters of its own */
    hk_optimizer *opt;
    runlog *log;  /* NULL: none is wanted */
    stats *stats; /* NULL without --stats and --out */
    out *out;     /* NULL without --out */
    progress bar;
    double started, trained; /* when the program began; seconds of training so far */
    epoch_result last;
    losses losses;
    int64_t steps; /* in all */
    answers val_answers, test_answers;
    int64_t *counts;    /* (classes, classes): true class, answer; of the last evaluation */
    hk_tensor **best;   /* parameters, then buffers, of the best epoch, with --patience */
    int64_t best_epoch; /* 0: none yet */
    double best_accuracy;
} training;

/* Never NULL unless memory is exhausted; NULL passes through the other functions. */
training *train_begin(const options *opts, train_settings *settings);
/* Trains net, which belongs to run->ctx. A NULL net is an error that run->ctx explains. */
void train(training *run, hk_module *net);
/* next: three command lines to go on with, without the program's name. */
void train_report(training *run, const char *const next[3]);
int train_end(training *run);

/* Specification i of "relu/prelu:per=channel", or the only one, cut to fit. */
enum { ACTIVATION_NAME_MOST = 1024 };
void train_activation_name(const char *list, int i, char name[ACTIVATION_NAME_MOST]);

/* Prints "program: message" unless an error was printed before, and keeps the code. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 3, 4)))
#endif
void train_fail(training *run, int code, const char *format, ...);
/* The same with the library's message, if it is in error. True if run is, or was, in error. */
bool train_failed(training *run, int code);

#endif
