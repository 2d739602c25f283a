/* settings.c: the options that all training programs share.
   SPDX-License-Identifier: MIT */
#include "device.h"
#include "train.h"

#include <math.h>

static const char *optimizer_choice(int i) {
    return i < hk_optimizer_count() ? hk_optimizer_row(i) : NULL;
}

static const char *init_choice(int i) { return i < hk_init_count() ? hk_init_name(i) : NULL; }

train_settings train_defaults(void) {
    return (train_settings){
        .optimizer = "adam",
        .schedule = "constant",
        .init = "auto",
        .device = "cpu",
        .lr = -1,
        .weight_decay = -1,
        .batch = 64,
        .epochs = 5,
        .seed = 1,
        .augment = {.elastic_sigma = 4},
    };
}

static void add_everyday(options *opts, train_settings *s) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "optimizer", .form = "NAME", .kind = OPTION_TEXT, .value = &s->optimizer,
         .help = "how steps are taken", .choice = optimizer_choice, .example = "adam",
         .flags = OPTION_EVERYDAY},
        {.name = "lr", .form = "RATE", .kind = OPTION_NUMBER, .value = &s->lr,
         .help = "learning rate", .low = 0, .high = HUGE_VAL, .example = "0.001",
         .shown = "the optimizer's own; adam 0.001, sgd 0.01",
         .flags = OPTION_EVERYDAY | OPTION_ABOVE},
        {.name = "batch", .form = "N", .kind = OPTION_INT, .value = &s->batch,
         .help = "images in a step", .low = 1, .high = 1 << 20, .example = "64",
         .flags = OPTION_EVERYDAY},
        {.name = "epochs", .form = "N", .kind = OPTION_INT, .value = &s->epochs,
         .help = "passes over the training images", .low = 1, .high = 1e6, .example = "5",
         .flags = OPTION_EVERYDAY},
        {.name = "seed", .form = "N", .kind = OPTION_INT, .value = &s->seed,
         .help = "of all random draws: same seed, same result", .low = 0, .high = 9.2e18,
         .example = "1", .flags = OPTION_EVERYDAY},
        {.name = "threads", .form = "N", .kind = OPTION_INT, .value = &s->threads,
         .help = "CPU threads; the result does not depend on it", .low = 0, .high = 256,
         .example = "2", .shown = "all cores", .flags = OPTION_EVERYDAY},
        {.name = "data", .form = "DIR", .kind = OPTION_TEXT, .value = &s->data,
         .help = "folder with images and labels in MNIST's format, .gz or raw",
         .example = "data/mnist", .shown = "data/mnist", .flags = OPTION_EVERYDAY},
        {.name = "val", .form = "N", .kind = OPTION_INT, .value = &s->val,
         .help = "training images kept back for validation", .low = 0, .high = 1e9,
         .example = "5000", .flags = OPTION_EVERYDAY},
        {.name = "log", .form = "FILE.jsonl", .kind = OPTION_TEXT, .value = &s->log,
         .help = "write settings and a line for each epoch there, as JSON",
         .example = "run.jsonl", .flags = OPTION_EVERYDAY},
        {.name = "stats", .kind = OPTION_FLAG, .value = &s->stats,
         .help = "after each epoch, a table of gradients, updates, and dead, saturated and dormant "
                 "units of each layer",
         .flags = OPTION_EVERYDAY},
        {.name = "out", .form = "DIR", .kind = OPTION_TEXT, .value = &s->out,
         .help = "draw there what happens in the network, and collect it on a page, index.html, "
                 "with the log and all numbers",
         .example = "pictures", .flags = OPTION_EVERYDAY},
        {.name = "quiet", .kind = OPTION_FLAG, .value = &s->quiet,
         .help = "print the test accuracy alone", .flags = OPTION_EVERYDAY},
    };
    /* clang-format on */
    options_add(opts, (int)(sizeof rows / sizeof *rows), rows);
}

static void add_others(options *opts, train_settings *s) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "patience", .form = "N", .kind = OPTION_INT, .value = &s->patience,
         .help = "stop when validation accuracy has not risen for N epochs, and go back to the "
                 "best weights; 0: never; needs --val",
         .low = 0, .high = 1e6, .example = "3"},
        {.name = "schedule", .form = "NAME", .kind = OPTION_TEXT, .value = &s->schedule,
         .help = "learning rate over the run: constant, step, cosine, one-cycle, or one of the "
                 "first three after warmup-",
         .example = "cosine"},
        {.name = "init", .form = "NAME", .kind = OPTION_TEXT, .value = &s->init,
         .help = "how weights start", .choice = init_choice, .example = "auto"},
        {.name = "weight-decay", .form = "D", .kind = OPTION_NUMBER, .value = &s->weight_decay,
         .help = "pulls weights to zero", .low = 0, .high = HUGE_VAL, .example = "0.0001",
         .shown = "the optimizer's own; adamw 0.01, others 0"},
        {.name = "label-smoothing", .form = "S", .kind = OPTION_NUMBER,
         .value = &s->label_smoothing, .low = 0, .high = 1, .example = "0.1",
         .help = "share of the target that is spread over all classes"},
        {.name = "clip-norm", .form = "R", .kind = OPTION_NUMBER, .value = &s->clip_norm,
         .help = "longest gradient, all parameters together; 0: any", .low = 0, .high = HUGE_VAL,
         .example = "1"},
        {.name = "classes", .form = "N", .kind = OPTION_INT, .value = &s->classes,
         .help = "number of classes; a label beyond is an error", .low = 0, .high = 1 << 20,
         .example = "10", .shown = "1 + the largest training label"},
        device_row(&s->device),
        {.name = "no-graph", .kind = OPTION_FLAG, .value = &s->no_graph,
         .help = "cuda: launch each step anew, in place of replaying it; slower, same result"},
        {.name = "tf32", .kind = OPTION_FLAG, .value = &s->tf32,
         .help = "cuda: products may round what they multiply to 10 bits; faster"},
        {.name = "isa", .form = "NAME", .kind = OPTION_TEXT, .value = &s->isa,
         .help = "instruction set: base, avx2, avx512", .example = "base",
         .shown = "the best there is"},
        {.name = "no-blas", .kind = OPTION_FLAG, .value = &s->no_blas,
         .help = "use hillock's own products in place of OpenBLAS"},
        {.name = "no-shuffle", .kind = OPTION_FLAG, .value = &s->no_shuffle,
         .help = "take the training images in the order of the file"},
        {.name = "nan-guard", .kind = OPTION_FLAG, .value = &s->nan_guard,
         .help = "check every result, and name the first one that is not finite; slow"},
    };
    /* clang-format on */
    options_add(opts, (int)(sizeof rows / sizeof *rows), rows);
}

/* How training images vary from epoch to epoch. Their upper limits are the library's. */
static void add_augmentation(options *opts, hk_augment *a) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "shift", .form = "PIXELS", .kind = OPTION_NUMBER, .value = &a->shift,
         .help = "move each training image by up to so much, anew in each epoch",
         .low = 0, .high = 16384, .example = "2"},
        {.name = "rotation", .form = "DEGREES", .kind = OPTION_NUMBER, .value = &a->rotation,
         .help = "turn it by up to so much", .low = 0, .high = 180, .example = "10"},
        {.name = "scale", .form = "SHARE", .kind = OPTION_NUMBER, .value = &a->scale,
         .help = "make it larger or smaller by up to this share of its size",
         .low = 0, .high = 1, .example = "0.1", .flags = OPTION_BELOW},
        {.name = "elastic", .form = "ALPHA", .kind = OPTION_NUMBER, .value = &a->elastic_alpha,
         .help = "bend it: random displacements, smoothed, times this",
         .low = 0, .high = 1e6, .example = "34"},
        {.name = "elastic-sigma", .form = "PIXELS", .kind = OPTION_NUMBER,
         .value = &a->elastic_sigma, .help = "how far --elastic smooths",
         .low = 0, .high = 1000, .example = "4", .flags = OPTION_ABOVE},
    };
    /* clang-format on */
    options_add(opts, (int)(sizeof rows / sizeof *rows), rows);
}

void train_add_options(options *opts, train_settings *settings) {
    opts->notes = "Ctrl-C stops training after the step and still reports; a second one kills.\n"
                  "Exit codes: 0; 1 training failed; 2 bad input; 130 stopped by Ctrl-C.";
    add_everyday(opts, settings);
    add_others(opts, settings);
    add_augmentation(opts, &settings->augment);
}
