/* setup.c: what a training run needs before it can start: context, images, optimizer; and its end.
   SPDX-License-Identifier: MIT */
#include "device.h"
#include "learned.h"
#include "out.h"
#include "report.h"
#include "runlog.h"
#include "setup.h"
#include "stats.h"

#include <stdarg.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#if defined(__has_include)
#if __has_include("hillock_build.h")
#include "hillock_build.h"
#endif
#endif
#ifndef HILLOCK_DATA_DIR
#define HILLOCK_DATA_DIR "data"
#endif

/* Images at a time in an evaluation: enough for fast products, few enough for the memory. */
enum { EVALUATION_BATCH = 250, EVALUATION_BATCH_GPU = 1000 };

/* --- errors ----------------------------------------------------------------------------------- */

void train_fail(training *run, int code, const char *format, ...) {
    if (run->code != 0) return;
    run->code = code;
    progress_clear(&run->bar);
    fflush(stdout);
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", run->opts->program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

bool train_failed(training *run, int code) {
    const hk_status status = hk_error(run->ctx);
    if (status == HK_OK) return run->code != 0;
    train_fail(run, status == HK_ERR_MEMORY ? EXIT_FAILURE : code, "%s",
               run->ctx ? hk_error_message(run->ctx) : "out of memory");
    return true;
}

/* --- images ----------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

/* --data, or MNIST as it comes with the source, from wherever the program is started. */
static bool find_folder(training *run) {
    static const char *const places[] = {"data/mnist", HILLOCK_DATA_DIR "/mnist"};
    train_settings *set = run->set;
    run->data_given = set->data;
    for (int i = 0; !set->data && i < 2; i++)
        if (is_folder(places[i])) set->data = places[i];
    if (!set->data)
        train_fail(run, EXIT_BAD_INPUT,
                   "there is no folder data/mnist (start in the folder of hillock's source, or say "
                   "where the images are: --data DIR)");
    return set->data;
}

static void load_images(training *run) {
    train_settings *set = run->set;
    hk_context *ctx = run->ctx;
    run->fit_data = hk_mnist(ctx, set->data, "train", (int)set->classes);
    if (train_failed(run, EXIT_BAD_INPUT)) return;
    run->classes = hk_dataset_classes(run->fit_data);
    run->item = hk_dataset_item_shape(run->fit_data);
    run->test_data = hk_mnist(ctx, set->data, "t10k", run->classes);
    if (train_failed(run, EXIT_BAD_INPUT)) return;
    set->classes = run->classes;
    const hk_shape test_item = hk_dataset_item_shape(run->test_data);
    if (!hk_shape_equal(run->item, test_item)) {
        char a[64], b[64];
        train_fail(run, EXIT_BAD_INPUT, "--data %s: training images are %s but test images %s",
                   set->data, hk_shape_text(run->item, a, sizeof a),
                   hk_shape_text(test_item, b, sizeof b));
        return;
    }
    if (set->val == 0) return;
    const int64_t count = hk_dataset_count(run->fit_data);
    if (set->val >= count)
        train_fail(run, EXIT_BAD_INPUT,
                   "--val %" PRId64 ": must be below %" PRId64
                   ", the number of training images (try --val %" PRId64 ")",
                   set->val, count, count / 12);
    else if (hk_dataset_split(run->fit_data, set->val, &run->fit_data, &run->val_data))
        train_failed(run, EXIT_BAD_INPUT);
}

/* --- begin and end ---------------------------------------------------------------------------- */

training *train_begin(const options *opts, train_settings *settings) {
    training *run = calloc(1, sizeof *run);
    if (!run) return NULL;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a reader behind a pipe follows too */
    run->started = clock_seconds();
    run->opts = opts;
    run->set = settings;
    progress_open(&run->bar, settings->quiet);
    if (settings->patience > 0 && settings->val == 0) {
        train_fail(run, EXIT_BAD_INPUT,
                   "--patience %" PRId64 ": needs validation images (try --val 5000)",
                   settings->patience);
        return run;
    }
    if (!find_folder(run)) return run;

    run->ctx = hk_context_create(&(hk_context_config){
        .device = device_of(settings->device),
        .threads = (int)settings->threads,
        .seed = (uint64_t)settings->seed,
        .isa = settings->isa,
        .no_blas = settings->no_blas,
        .no_graph = settings->no_graph,
        .tf32 = settings->tf32,
    });
    if (train_failed(run, EXIT_BAD_INPUT)) return run;
    const hk_context_info info = hk_context_describe(run->ctx);
    settings->threads = info.threads;
    settings->isa = info.isa;
    hk_nan_guard(run->ctx, settings->nan_guard);
    report_machine(run);
    load_images(run);
    if (run->code == 0) report_data(run);
    return run;
}

int train_end(training *run) {
    if (!run) return EXIT_FAILURE;
    runlog_close(run);
    out_close(run);
    stats_close(run);
    learned_close(run);
    const int code = run->code;
    hk_context_destroy(run->ctx);
    free(run->best);
    free(run->counts);
    free(run->val_answers.truth);
    free(run->val_answers.answer);
    free(run->test_answers.truth);
    free(run->test_answers.answer);
    free(run);
    return code;
}

/* --- just before training --------------------------------------------------------------------- */

static void make_loaders(training *run) {
    const bool on_gpu = hk_context_describe(run->ctx).device == HK_CUDA;
    const hk_loader_config in_order = {.batch = on_gpu ? EVALUATION_BATCH_GPU : EVALUATION_BATCH};
    run->fit = hk_loader_create(run->fit_data, &(hk_loader_config){.batch = run->set->batch,
                                                                   .shuffle = !run->set->no_shuffle,
                                                                   .augment = run->set->augment});
    run->val = run->val_data ? hk_loader_create(run->val_data, &in_order) : NULL;
    run->test = hk_loader_create(run->test_data, &in_order);
}

static void make_optimizer(training *run) {
    train_settings *set = run->set;
    const hk_parameters own = hk_module_parameters_of(run->net, HK_OF_ACTIVATIONS);
    run->opt = hk_optimizer_by_name(run->ctx, set->optimizer, hk_module_parameters(run->net),
                                    set->lr, set->weight_decay);
    if (!run->opt) return;
    set->lr = hk_optimizer_lr(run->opt);
    if (set->weight_decay < 0)
        set->weight_decay =
            strcmp(set->optimizer, "adamw") == 0 ? hk_adamw_defaults().weight_decay : 0;
    /* Weight decay would pull an activation's own parameters to values that mean nothing. */
    if (own.count > 0 && hk_optimizer_group(run->opt, own, 1, 0)) return;
    if (set->clip_norm > 0 && hk_optimizer_clip_norm(run->opt, set->clip_norm)) return;

    hk_schedule schedule;
    const int64_t steps = set->epochs * hk_loader_batches(run->fit);
    if (hk_schedule_parse(run->ctx, set->schedule, steps, &schedule) == HK_OK &&
        hk_optimizer_schedule(run->opt, &schedule) != HK_OK)
        return; /* the context is in error: setup_training sees it */
}

void train_activation_name(const char *list, int i, char name[ACTIVATION_NAME_MOST]) {
    for (; i > 0 && strchr(list, '/'); i--) list = strchr(list, '/') + 1;
    snprintf(name, ACTIVATION_NAME_MOST, "%.*s", (int)strcspn(list, "/"), list);
}

bool setup_training(training *run, hk_module *net) {
    hk_shape input = {.rank = run->item.rank + 1, .dim = {-1}};
    for (int i = 0; i < run->item.rank; i++) input.dim[i + 1] = run->item.dim[i];
    run->net = net;
    if (hk_module_build(net, input, run->set->init)) return !train_failed(run, EXIT_BAD_INPUT);
    run->counts = calloc((size_t)run->classes * (size_t)run->classes, sizeof *run->counts);
    losses_open(&run->losses, run->ctx);
    if (!run->counts)
        hk_fail(run->ctx, HK_ERR_MEMORY, "setup", "no memory for %d classes", run->classes);
    learned_open(run);
    make_loaders(run);
    make_optimizer(run);
    if (train_failed(run, EXIT_BAD_INPUT)) return false;
    report_network(run, input);
    if (!out_place(run) || !runlog_open(run)) return false;
    stats_open(run);
    return !train_failed(run, EXIT_BAD_INPUT);
}
