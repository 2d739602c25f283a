/* train.c: the training loop.
   SPDX-License-Identifier: MIT */
#include "interrupt.h"
#include "out.h"
#include "report.h"
#include "runlog.h"
#include "setup.h"
#include "stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- one pass over the images ----------------------------------------------------------------- */

/* The whole step. On a GPU it is called a few times and then replayed (hk_step_run): it counts
   nothing, and its loss stays there. */
static hk_status train_step(hk_context *ctx, void *arg) {
    training *run = arg;
    hk_batch batch;
    if (!hk_loader_next(run->fit, &batch)) return hk_error(ctx);
    hk_optimizer_zero_grad(run->opt);
    hk_tensor *logits = hk_forward(run->net, batch.x);
    hk_tensor *loss = hk_cross_entropy_smooth(logits, batch.y, run->set->label_smoothing);
    if (losses_add(&run->losses, loss) || hk_backward(ctx, loss)) return hk_error(ctx);
    return hk_optimizer_step(run->opt);
}

/* Takes the losses of the newest steps into the epoch's mean. False if they are not finite. */
static bool take_losses(training *run) {
    const bool finite = losses_take(&run->losses);
    run->last.images = run->losses.seen;
    run->last.train_loss = run->losses.mean;
    return finite;
}

/* Books a step. The GPU goes on meanwhile: its losses are read when they are shown. False when
   training should not go on. */
static bool book_step(training *run, int64_t images, bool next_differs) {
    losses_count(&run->losses, images);
    const int64_t seen = run->losses.seen + run->losses.images;
    const bool shows = progress_due(&run->bar, seen);
    const bool takes = shows || next_differs || hk_context_describe(run->ctx).device == HK_CPU;
    if (takes && !take_losses(run)) return false;
    if (shows) progress_show(&run->bar, seen, run->last.train_loss);
    return !interrupt_seen();
}

/* Trains on every image once. */
static void train_epoch(training *run, int64_t epoch) {
    const int64_t images = hk_dataset_count(run->fit_data), batch = run->set->batch;
    int64_t left = images;

    losses_begin(&run->losses);
    run->last = (epoch_result){.epoch = epoch, .lr = hk_optimizer_lr(run->opt)};
    progress_epoch(&run->bar, epoch, run->set->epochs, images);
    hk_module_train(run->net, true);
    while (left > 0 && !interrupt_seen()) {
        const int64_t size = left < batch ? left : batch;
        left -= size;
        stats_step_begin(run, left == 0);
        if (hk_step_run(run->ctx, train_step, run)) break;
        run->steps++;
        stats_step_end(run);
        if (!book_step(run, size, left < batch)) break;
    }
    take_losses(run);
    hk_batch none; /* the loader reports the end of its epoch */
    if (left == 0) (void)hk_loader_next(run->fit, &none);
    run->last.seconds = clock_seconds() - run->bar.started;
    run->last.images_per_s = (double)run->last.images / (run->last.seconds + 1e-9);
    run->trained += run->last.seconds;
    progress_clear(&run->bar);
}

/* Counts what was answered: true class and answer. */
static void count_answers(training *run, hk_tensor *truths, hk_tensor *given) {
    const int32_t *truth = hk_tensor_values(truths), *answer = hk_tensor_values(given);
    for (int64_t i = 0; truth && answer && i < hk_tensor_count(truths); i++)
        run->counts[truth[i] * run->classes + answer[i]]++;
}

/* *kept becomes a copy of t. */
static hk_status keep(hk_tensor **kept, hk_tensor *t) {
    if (*kept) return hk_tensor_copy(*kept, t);
    *kept = hk_tensor_keep(t);
    return *kept ? HK_OK : HK_ERR_MEMORY;
}

/* How many images of a data set are answered right, in percent. The answers are read at the end, so
   that a GPU need not wait in between. */
static double evaluate(training *run, hk_loader *loader) {
    answers *all = loader == run->test ? &run->test_answers : &run->val_answers;
    const int classes = run->classes;
    const int64_t batches = hk_loader_batches(loader);
    int64_t right = 0, images = 0, done = 0;
    memset(run->counts, 0, (size_t)classes * (size_t)classes * sizeof *run->counts);
    if (!all->truth) all->truth = calloc((size_t)batches, sizeof(hk_tensor *));
    if (!all->answer) all->answer = calloc((size_t)batches, sizeof(hk_tensor *));
    if (!all->truth || !all->answer) hk_fail(run->ctx, HK_ERR_MEMORY, "evaluate", "no memory");
    const bool was_training = hk_module_train(run->net, false);
    const bool was_recording = hk_grad_enable(run->ctx, false);
    hk_batch batch;
    while (hk_loader_next(loader, &batch)) {
        hk_tensor *logits = hk_forward(run->net, batch.x);
        if (keep(&all->answer[done], hk_argmax(logits, 1, false))) break;
        if (!all->truth[done] && keep(&all->truth[done], batch.y)) break;
        images += batch.size;
        done++;
        if (hk_step_end(run->ctx)) break;
    }
    for (int64_t i = 0; i < done; i++) count_answers(run, all->truth[i], all->answer[i]);
    for (int k = 0; k < classes; k++) right += run->counts[k * classes + k];
    hk_grad_enable(run->ctx, was_recording);
    hk_module_train(run->net, was_training);
    return 100.0 * (double)right / (double)images;
}

/* --- early stopping --------------------------------------------------------------------------- */

/* Copies all that the network has learned to run->best, or back: parameters, and buffers such as
   the running means of batch norm. */
static void copy_state(training *run, bool back) {
    const hk_parameters p = hk_module_parameters(run->net), b = hk_module_buffers(run->net);
    const int count = p.count + b.count;
    if (!run->best) run->best = calloc((size_t)count, sizeof *run->best);
    if (!run->best) hk_fail(run->ctx, HK_ERR_MEMORY, "train", "no memory for the best weights");
    for (int i = 0; run->best && i < count; i++) {
        hk_tensor *t = i < p.count ? p.items[i] : b.items[i - p.count];
        if (back ? hk_tensor_copy(t, run->best[i]) : keep(&run->best[i], t)) break;
    }
}

/* With --patience: keeps the best epoch's weights. True when it is time to stop. */
static bool out_of_patience(training *run) {
    if (run->set->patience == 0) return false;
    if (run->best_epoch == 0 || run->last.val_accuracy > run->best_accuracy) {
        run->best_epoch = run->last.epoch;
        run->best_accuracy = run->last.val_accuracy;
        copy_state(run, false);
    }
    return run->last.epoch - run->best_epoch >= run->set->patience;
}

static void go_back_to_best(training *run) {
    if (run->best_epoch == 0 || run->best_epoch == run->last.epoch) return;
    copy_state(run, true);
    run->last.val_accuracy = run->best_accuracy;
    run->last.test_accuracy = evaluate(run, run->test);
    if (!run->set->quiet)
        printf("back to the weights of epoch %" PRId64 ": validation accuracy %.2f %%\n",
               run->best_epoch, run->best_accuracy);
}

/* --- the whole run ---------------------------------------------------------------------------- */

void train(training *run, hk_module *net) {
    if (!run || run->code || !setup_training(run, net)) return;
    interrupt_catch();
    bool stop = false;
    for (int64_t epoch = 1; epoch <= run->set->epochs && !stop; epoch++) {
        train_epoch(run, epoch);
        run->last.val_accuracy = run->val ? evaluate(run, run->val) : NAN;
        run->last.test_accuracy = evaluate(run, run->test);
        /* A network that cannot be trained at all, such as one with step, was badly asked for. */
        const bool impossible = hk_error(run->ctx) == HK_ERR_GRADIENT;
        if (train_failed(run, impossible ? EXIT_BAD_INPUT : EXIT_FAILURE)) break;
        report_epoch(run);
        runlog_epoch(run);
        out_epoch(run);
        stats_epoch(run);
        if (!isfinite(run->last.train_loss))
            train_fail(run, EXIT_FAILURE,
                       "the loss is not finite any more, in epoch %" PRId64
                       " (try a smaller --lr; --nan-guard tells where it starts)",
                       epoch);
        stop = out_of_patience(run) || interrupt_seen() || run->code != 0;
    }
    run->interrupted = interrupt_seen();
    if (run->code == 0) go_back_to_best(run);
    out_finish(run);
    interrupt_release();
    train_failed(run, EXIT_FAILURE);
}
