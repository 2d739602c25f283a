/* openblas.c: OpenBLAS by dlopen, with the right kernels and on one thread.
   SPDX-License-Identifier: MIT */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* setenv under -std=c11 */
#endif

#include "openblas.h"

#include "cpu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef void sgemm_function(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c,
                            int ldc);
enum { ROW_MAJOR = 101, AS_STORED = 111, TRANSPOSED = 112 }; /* of the C interface of BLAS */
enum { BUILT_WITH_PTHREADS = 1 };                            /* openblas_get_parallel() */

/* The process has one OpenBLAS, so this is the one thing in hillock that all contexts share. It is
   written once, and never unloaded: its threads and buffers do not survive that. */
static struct {
    pthread_once_t once;
    sgemm_function *sgemm; /* NULL: not to be used, and text says why */
    char text[160];
} blas = {.once = PTHREAD_ONCE_INIT};

#if defined(__APPLE__)
static const char *const library_names[] = {"libopenblas.0.dylib", "libopenblas.dylib",
                                            "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
                                            "/usr/local/opt/openblas/lib/libopenblas.dylib"};
#else
/* Fedora calls the build with pthreads libopenblasp. */
static const char *const library_names[] = {"libopenblasp.so.0", "libopenblas.so.0",
                                            "libopenblas.so"};
#endif

static void *open_first(int flags) {
    for (size_t i = 0; i < sizeof library_names / sizeof *library_names; i++) {
        void *handle = dlopen(library_names[i], flags);
        if (handle) return handle;
    }
    return NULL;
}

/* OpenBLAS 0.3.21 does not know newer processors and then falls back to kernels that are five times
   slower. It reads the environment when it loads, so the name of the right ones must stand there. */
static const char *wanted_core(void) {
#if defined(__x86_64__)
    const hk__stamp best = hk__cpu_best_stamp();
    if (best == HK__STAMP_avx512) return "SkylakeX";
    if (best == HK__STAMP_avx2) return "Haswell";
#endif
    return NULL;
}

static bool set_if_unset(const char *name, const char *value) {
    return value && !getenv(name) && setenv(name, value, 1) == 0;
}

static void *open_fresh(void) {
    const bool core = set_if_unset("OPENBLAS_CORETYPE", wanted_core());
    const bool threads = set_if_unset("OPENBLAS_NUM_THREADS", "1");
    void *handle = open_first(RTLD_NOW | RTLD_LOCAL);
    if (core) unsetenv("OPENBLAS_CORETYPE");
    if (threads) unsetenv("OPENBLAS_NUM_THREADS");
    return handle;
}

/* A data pointer becomes a function pointer: POSIX allows it, ISO C has no words for it. */
static void find(void *handle, const char *name, void *function) {
    void *symbol = dlsym(handle, name);
    memcpy(function, &symbol, sizeof symbol);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(blas.text, sizeof blas.text, format, args);
    va_end(args);
}

static bool core_is_fit(const char *core) {
    static const char *const fit[] = {"SkylakeX", "Cooperlake", "SapphireRapids", "Haswell", "Zen"};
    if (!wanted_core()) return true;
    for (size_t i = 0; i < sizeof fit / sizeof *fit; i++)
        if (strcasecmp(core, fit[i]) == 0) return true;
    return false;
}

/* "OpenBLAS 0.3.21 DYNAMIC_ARCH ..." begins with name and version. */
static int version_length(const char *config) {
    const char *number = strchr(config, ' ');
    return number ? (int)(number + 1 - config) + (int)strcspn(number + 1, " ")
                  : (int)strlen(config);
}

static void examine(void *handle, bool host_loaded_it) {
    char *(*get_config)(void), *(*get_core)(void);
    int (*get_threads)(void), (*get_parallel)(void);
    void (*set_threads)(int);
    sgemm_function *sgemm;
    find(handle, "openblas_get_config", &get_config);
    find(handle, "openblas_get_corename", &get_core);
    find(handle, "openblas_get_num_threads", &get_threads);
    find(handle, "openblas_get_parallel", &get_parallel);
    find(handle, "openblas_set_num_threads", &set_threads);
    find(handle, "cblas_sgemm", &sgemm);
    if (!get_config || !get_core || !get_threads || !get_parallel || !set_threads || !sgemm) {
        say("none: the OpenBLAS found here lacks functions");
        return;
    }
    const char *config = get_config(), *core = get_core();
    const int length = version_length(config);
    if (get_parallel() != BUILT_WITH_PTHREADS) {
        /* The OpenMP build lets one caller in at a time; the serial one may not be thread-safe. */
        say("none: %.*s is not the build with pthreads", length, config);
        return;
    }
    if (get_threads() != 1 && !host_loaded_it) set_threads(1);
    if (get_threads() != 1) {
        say("none: the program loaded %.*s itself with %d threads; left alone", length, config,
            get_threads());
        return;
    }
    if (!core_is_fit(core)) {
        say("none: %.*s runs kernels for %s, which are slow here; left alone", length, config,
            core);
        return;
    }
    say("%.*s %s", length, config, core);
    blas.sgemm = sgemm;
}

static void load(void) {
    void *handle = open_first(RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    const bool host_loaded_it = handle != NULL;
    if (!handle) handle = open_fresh();
    if (handle)
        examine(handle, host_loaded_it);
    else
        say("none: libopenblas is not installed");
}

bool hk__openblas_describe(char *text, size_t size) {
    const char *wish = getenv("HILLOCK_BLAS");
    if (wish && strcmp(wish, "off") == 0) {
        snprintf(text, size, "none: HILLOCK_BLAS=off");
        return false;
    }
    pthread_once(&blas.once, load);
    snprintf(text, size, "%s", blas.text);
    return blas.sgemm != NULL;
}

void hk__openblas_gemm(const hk__gemm *job) {
    /* BLAS adds no bias: it is put into C, or onto what is there, beforehand. */
    float *c = job->c;
    const float *bias = job->bias;
    for (int64_t i = 0; bias && i < job->m; i++)
        for (int64_t j = 0; j < job->n; j++)
            c[i * job->ldc + j] = job->accumulate ? c[i * job->ldc + j] + bias[j] : bias[j];
    /* With beta = 0 it does not read C, so garbage there does no harm. */
    const float beta = job->accumulate || bias ? 1.0F : 0.0F;
    blas.sgemm(ROW_MAJOR, job->trans_a ? TRANSPOSED : AS_STORED,
               job->trans_b ? TRANSPOSED : AS_STORED, (int)job->m, (int)job->n, (int)job->k, 1.0F,
               job->a, (int)job->lda, job->b, (int)job->ldb, beta, c, (int)job->ldc);
}
