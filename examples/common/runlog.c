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
        const uint8_t *bytes = hk_tensor_values(p.items[i]);
        if (bytes) SHA256Update(&hash, bytes, (size_t)hk_tensor_count(p.items[i]) * size);
    }
    return SHA256End(&hash, text);
#else
    (void)p;
    (void)text;
    return NULL;
#endif
}

/* --- the files -------------------------------------------------------------------------------- */

enum { LOGS = 2, PATH_MOST = 4096 };

/* A line is put together in memory, then written to --log FILE and to FOLDER/run.jsonl of --out. */
struct runlog {
    FILE *line, *file[LOGS];
    char path[LOGS][PATH_MOST];
    char *text; /* of `line` */
    size_t size;
    int code; /* to exit with if a line cannot be written */
};

static bool cannot_write(training *run, const char *path) {
    train_fail(run, run->log ? run->log->code : EXIT_FAILURE, "--%s %s: cannot write%s%s: %s",
               path == run->set->log ? "log" : "out", path == run->set->log ? path : run->set->out,
               path == run->set->log ? "" : " ", path == run->set->log ? "" : path,
               strerror(errno));
    return false;
}

static bool open_files(training *run) {
    runlog *log = run->log;
    const char *path[LOGS] = {run->set->log, run->set->out ? log->path[1] : NULL};
    if (run->set->out) snprintf(log->path[1], PATH_MOST, "%.4000s/run.jsonl", run->set->out);
    for (int i = 0; i < LOGS; i++) {
        if (!path[i]) continue;
        log->file[i] = fopen(path[i], "w");
        if (!log->file[i]) return cannot_write(run, path[i]);
    }
    log->line = open_memstream(&log->text, &log->size);
    if (!log->line) train_fail(run, EXIT_FAILURE, "out of memory");
    return log->line;
}

bool runlog_begin(training *run, json *line) {
    if (!run->log) return false;
    rewind(run->log->line);
    json_open(line, run->log->line);
    return true;
}

bool runlog_end(training *run, json *line) {
    runlog *log = run->log;
    bool ok = json_close(line);
    if (!ok) train_fail(run, EXIT_FAILURE, "out of memory");
    for (int i = 0; i < LOGS && ok; i++) {
        FILE *file = log->file[i];
        if (!file) continue;
        fwrite(log->text, 1, log->size, file);
        if (fflush(file) != 0 || ferror(file))
            ok = cannot_write(run, i == 0 ? run->set->log : log->path[i]);
    }
    return ok;
}

void runlog_close(training *run) {
    runlog *log = run->log;
    if (!log) return;
    log->code = EXIT_FAILURE;
    for (int i = 0; i < LOGS; i++)
        if (log->file[i] && fclose(log->file[i]) != 0)
            cannot_write(run, i == 0 ? run->set->log : log->path[i]);
    if (log->line) fclose(log->line);
    free(log->text);
    free(log);
    run->log = NULL;
}

/* --- lines ------------------------------------------------------------------------------------ */

static void write_header(training *run, json *line) {
    const hk_context_info info = hk_context_describe(run->ctx);
    const hk_parameters p = hk_module_parameters(run->net);
    char hash[HASH_TEXT];
    int64_t numbers = 0;
    for (int i = 0; i < p.count; i++) numbers += hk_tensor_count(p.items[i]);
    json_text(line, "program", run->opts->program);
    json_text(line, "version", hk_version());
    json_text(line, "git_hash", HILLOCK_GIT_HASH);
    json_text(line, "build_flags", HILLOCK_BUILD_FLAGS);
    json_text(line, "device", info.device == HK_CUDA ? "cuda" : "cpu");
    json_text(line, "isa", info.isa);
    json_text(line, "blas", info.blas);
    json_bool(line, "graph", info.device == HK_CUDA && !run->set->no_graph);
    json_bool(line, "tf32", info.tf32);
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

bool runlog_open(training *run) {
    if (!run->set->log && !run->set->out) return true;
    run->log = calloc(1, sizeof *run->log);
    if (!run->log) {
        train_fail(run, EXIT_FAILURE, "out of memory");
        return false;
    }
    run->log->code = EXIT_BAD_INPUT;
    json line;
    if (!open_files(run) || !runlog_begin(run, &line)) return false;
    write_header(run, &line);
    if (!runlog_end(run, &line)) return false;
    run->log->code = EXIT_FAILURE;
    return true;
}

void runlog_epoch(training *run) {
    const epoch_result *r = &run->last;
    char hash[HASH_TEXT];
    json line;
    if (!runlog_begin(run, &line)) return;
    json_int(&line, "epoch", r->epoch);
    json_number(&line, "train_loss", r->train_loss);
    json_number(&line, "val_accuracy", r->val_accuracy);
    json_number(&line, "test_accuracy", r->test_accuracy);
    json_rounded(&line, "seconds", r->seconds);
    json_rounded(&line, "images_per_s", r->images_per_s);
    json_number(&line, "lr", r->lr);
    const hk_context_info info = hk_context_describe(run->ctx);
    if (info.device == HK_CUDA) json_int(&line, "replayed_steps", (int64_t)info.replayed);
    json_text(&line, "weights_sha256", hash_parameters(hk_module_parameters(run->net), hash));
    learned_update(run);
    learned_log(run, &line);
    if (r->images < hk_dataset_count(run->fit_data)) json_bool(&line, "interrupted", true);
    runlog_end(run, &line);
}
