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

/* Books a step: its mean loss over `images` images. False when training should not go on. */
static bool book_step(training *run, double loss, int64_t images) {
    epoch_result *r = &run->last;
    r->images += images;
    r->train_loss += (loss - r->train_loss) * (double)images / (double)r->images;
    progress_step(&run->bar, r->images, r->train_loss);
    return isfinite(loss) && !interrupt_seen();
}

/* Trains on every image once. */
static void train_epoch(training *run, int64_t epoch) {
    hk_context *ctx = run->ctx;
    hk_module *net = run->net;
    hk_optimizer *opt = run->opt;
    const double smoothing = run->set->label_smoothing;
    const int64_t images = hk_dataset_count(run->fit_data);

    run->last = (epoch_result){.epoch = epoch, .lr = hk_optimizer_lr(opt)};
    progress_epoch(&run->bar, epoch, run->set->epochs, images);
    hk_module_train(net, true);
    hk_batch batch;
    while (!interrupt_seen() && hk_loader_next(run->fit, &batch)) {
        stats_step_begin(run, batch.index + 1 == hk_loader_batches(run->fit));
        hk_optimizer_zero_grad(opt);
        hk_tensor *logits = hk_forward(net, batch.x);
        hk_tensor *loss = hk_cross_entropy_smooth(logits, batch.y, smoothing);
        const double value = hk_tensor_item(loss);
        if (hk_backward(ctx, loss) || hk_optimizer_step(opt) || hk_step_end(ctx)) break;
        stats_step_end(run);
        if (!book_step(run, value, batch.size)) break;
    }
    run->last.seconds = clock_seconds() - run->bar.started;
    run->last.images_per_s = (double)run->last.images / (run->last.seconds + 1e-9);
    run->trained += run->last.seconds;
    progress_clear(&run->bar);
}

/* How many images of a data set are answered right, in percent. All answers are counted. */
static double evaluate(training *run, hk_loader *loader) {
    const int classes = run->classes;
    int64_t right = 0, images = 0;
    memset(run->counts, 0, (size_t)classes * (size_t)classes * sizeof *run->counts);
    const bool was_training = hk_module_train(run->net, false);
    const bool was_recording = hk_grad_enable(run->ctx, false);
    hk_batch batch;
    while (hk_loader_next(loader, &batch)) {
        hk_tensor *logits = hk_forward(run->net, batch.x);
        const int32_t *answer = hk_tensor_data(hk_argmax(logits, 1, false));
        const int32_t *truth = hk_tensor_data(batch.y);
        for (int64_t i = 0; answer && truth && i < batch.size; i++) {
            run->counts[truth[i] * classes + answer[i]]++;
            right += truth[i] == answer[i];
        }
        images += batch.size;
        if (hk_step_end(run->ctx)) break;
    }
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
        hk_tensor **kept = &run->best[i];
        if (!*kept)
            *kept = hk_tensor_keep(t);
        else if (hk_tensor_copy(back ? t : *kept, back ? *kept : t))
            break;
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
