/* runlog.c: the --log file.
   SPDX-License-Identifier: MIT */
#include "runlog.h"

#include "learned.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBMD
#include <sys/types.h>
#include <sha256.h>
#endif

/* Written by the build. */
#if defined(__has_include)
#if __has_include("hillock_build.h")
#include "hillock_build.h"
#endif
#endif
#ifndef HILLOCK_GIT_HASH
#define HILLOCK_GIT_HASH "unknown"
#endif
#ifndef HILLOCK_BUILD_FLAGS
#define HILLOCK_BUILD_FLAGS "unknown"
#endif

enum { HASH_TEXT = 65 };

/* SHA-256 of all parameters' bytes, in order, into text; NULL where libmd is missing. */
static const char *hash_parameters(hk_parameters p, char text[HASH_TEXT]) {
#ifdef HAVE_LIBMD
    SHA2_CTX hash;
    SHA256Init(&hash);
    for (int i = 0; i < p.count; i++) {
        const size_t size = hk_dtype_size(hk_tensor_dtype(p.items[i]));
        const uint8_t *bytes = hk_tensor_data(p.items[i]);
        if (bytes) SHA256Update(&hash, bytes, (size_t)hk_tensor_count(p.items[i]) * size);
    }
    return SHA256End(&hash, text);
#else
    (void)p;
    (void)text;
    return NULL;
#endif
}

static void write_header(training *run, json *line) {
    const hk_context_info info = hk_context_describe(run->ctx);
    const hk_parameters p = hk_module_parameters(run->net);
    char hash[HASH_TEXT];
    int64_t numbers = 0;
    for (int i = 0; i < p.count; i++) numbers += hk_tensor_count(p.items[i]);
    json_open(line, run->log);
    json_text(line, "program", run->opts->program);
    json_text(line, "version", hk_version());
    json_text(line, "git_hash", HILLOCK_GIT_HASH);
    json_text(line, "build_flags", HILLOCK_BUILD_FLAGS);
    json_text(line, "device", info.device == HK_CUDA ? "cuda" : "cpu");
    json_text(line, "isa", info.isa);
    json_text(line, "blas", info.blas);
    json_int(line, "threads", info.threads);
    json_int(line, "seed", run->set->seed);
    json_text(line, "init", run->set->init);
    json_text(line, "weights_sha256", hash_parameters(p, hash));
    json_int(line, "parameters", numbers);
    learned_log(run, line);
    json_int(line, "train_images", hk_dataset_count(run->fit_data));
    json_int(line, "val_images", run->val_data ? hk_dataset_count(run->val_data) : 0);
    json_int(line, "test_images", hk_dataset_count(run->test_data));
    json_rounded(line, "setup_seconds", clock_seconds() - run->started);
    options_log(run->opts, line, "settings");
}

static bool finish_line(training *run, json *line, int code) {
    if (json_close(line)) return true;
    train_fail(run, code, "--log %s: cannot write: %s", run->set->log, strerror(errno));
    return false;
}

bool runlog_open(training *run) {
    if (!run->set->log) return true;
    run->log = fopen(run->set->log, "w");
    if (!run->log) {
        train_fail(run, EXIT_BAD_INPUT, "--log %s: cannot write: %s", run->set->log,
                   strerror(errno));
        return false;
    }
    json line;
    write_header(run, &line);
    return finish_line(run, &line, EXIT_BAD_INPUT);
}

void runlog_epoch(training *run) {
    if (!run->log) return;
    const epoch_result *r = &run->last;
    json line;
    json_open(&line, run->log);
    json_int(&line, "epoch", r->epoch);
    json_number(&line, "train_loss", r->train_loss);
    json_number(&line, "val_accuracy", r->val_accuracy);
    json_number(&line, "test_accuracy", r->test_accuracy);
    json_rounded(&line, "seconds", r->seconds);
    json_rounded(&line, "images_per_s", r->images_per_s);
    json_number(&line, "lr", r->lr);
    learned_update(run);
    learned_log(run, &line);
    if (r->images < hk_dataset_count(run->fit_data)) json_bool(&line, "interrupted", true);
    finish_line(run, &line, EXIT_FAILURE);
}

void runlog_close(training *run) {
    if (run->log && fclose(run->log) != 0)
        train_fail(run, EXIT_FAILURE, "--log %s: cannot write: %s", run->set->log, strerror(errno));
    run->log = NULL;
}
