/* properties_cache.c: remembers what a scan over all floats found.
   SPDX-License-Identifier: MIT

   A small text file for each function, instruction set and stride. It is believed only if all
   that could change the result is as it was: every setting, the library's version, the
   instruction set, and a hash of what the kernels give on sampled floats, so that a kernel that
   was changed is scanned again. Numbers are in hexadecimal, exact. */
#include "folder.h"
#include "properties.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const heading = "hillock scan 2";

typedef struct cache_key {
    char text[1024]; /* what makes a scan what it is, a line each */
    char path[4096];
} cache_key;

/* --- the key -------------------------------------------------------------------------------- */

static uint64_t add_hash(uint64_t hash, const void *data, size_t size) { /* FNV-1a */
    const unsigned char *byte = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ byte[i]) * 0x100000001B3u;
    return hash;
}

static const uint64_t hash_start = 0xCBF29CE484222325u;

/* What runs: the function, the instruction set, and a hash of values and slopes on floats of
   all sizes, most of them where functions have their shapes. */
typedef struct kernels {
    hk_activation_spec spec;
    char isa[32];
    uint64_t hash;
} kernels;

static bool identify(const char *text, const char *isa, kernels *k) {
    enum { SAMPLES = 1 << 15 };
    evaluator e;
    bool ok = evaluator_open(&e, text, isa, SAMPLES);
    const hk_random draws = hk_random_stream(1, "cache", 0);
    for (int i = 0; ok && i < SAMPLES; i++) {
        const uint32_t bits = hk_random_bits(draws, (uint64_t)i);
        float any;
        memcpy(&any, &bits, sizeof any);
        e.x[i] = i % 4 ? ldexpf((float)(int32_t)bits, -28 + (int)(bits % 4)) : any;
    }
    ok = ok && evaluate(&e);
    *k = (kernels){.spec = e.spec, .hash = hash_start};
    for (int i = 0; ok && i < SAMPLES; i++) {
        const float v[2] = {e.y[i], e.slope ? e.slope[i] : 0};
        for (int j = 0; j < 2; j++)
            if (!isnan(v[j])) k->hash = add_hash(k->hash, &v[j], sizeof v[j]);
    }
    if (ok)
        snprintf(k->isa, sizeof k->isa, "%s", hk_context_describe(e.ctx).isa);
    else
        fprintf(stderr, "activations table: %s\n",
                e.ctx ? hk_error_message(e.ctx) : "out of memory");
    evaluator_close(&e);
    return ok;
}

/* The user's cache folder if none is named. False if there is none. */
static bool find_folder(const char *folder, char *path, size_t size) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (folder) return snprintf(path, size, "%s", folder) < (int)size;
    if (cache && *cache == '/') return snprintf(path, size, "%s/hillock", cache) < (int)size;
    if (home && *home) return snprintf(path, size, "%s/.cache/hillock", home) < (int)size;
    return false;
}

static void make_key(const kernels *k, int stride, const char *folder, cache_key *key) {
    char function[640];
    canonical_text(&k->spec, function, sizeof function);
    snprintf(key->text, sizeof key->text,
             "%s\nfunction %s\nversion %s\ninstructions %s\nkernels %016" PRIx64 "\nstride %d\n",
             heading, function, hk_version(), k->isa, k->hash, stride);
    const uint64_t name = add_hash(hash_start, function, strlen(function));
    if (snprintf(key->path, sizeof key->path, "%s/%s-%08" PRIx32 "-%s-%d.scan", folder,
                 k->spec.info->name, (uint32_t)(name ^ name >> 32), k->isa,
                 stride) >= (int)sizeof key->path)
        key->path[0] = 0;
}

/* --- the file ------------------------------------------------------------------------------- */

enum { NUMBERS = 40 };

/* All fields of a scan as numbers, in order: one list for writing and for reading. */
static void list_numbers(kernel_scan *s, double *number[NUMBERS]) {
    scan_extreme *const extremes[] = {&s->low, &s->high, &s->least, &s->steepest};
    double *const rest[] = {&s->seconds,     &s->fall,      &s->rise,       &s->zeros,
                            &s->flats,       &s->left,      &s->right,      &s->left_slope,
                            &s->right_slope, &s->left_from, &s->right_from, &s->odd_error};
    int n = 0;
    for (int i = 0; i < 4; i++) {
        number[n++] = &extremes[i]->value;
        number[n++] = &extremes[i]->left_far;
        number[n++] = &extremes[i]->left_near;
        number[n++] = &extremes[i]->right_near;
        number[n++] = &extremes[i]->right_far;
    }
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) number[n++] = rest[i];
    while (n < NUMBERS) number[n++] = NULL;
}

static bool read_scan(const cache_key *key, kernel_scan *scan) {
    FILE *file = *key->path ? fopen(key->path, "r") : NULL;
    if (!file) return false;
    char text[sizeof key->text] = "";
    const size_t length = strlen(key->text);
    bool ok = fread(text, 1, length, file) == length && memcmp(text, key->text, length) == 0 &&
              fscanf(file, "floats %" SCNd64 " nans %" SCNd64, &scan->floats, &scan->nans) == 2;
    double *number[NUMBERS];
    list_numbers(scan, number);
    for (int i = 0; ok && i < NUMBERS && number[i]; i++) ok = fscanf(file, "%la", number[i]) == 1;
    char end[8] = "";
    ok = ok && fscanf(file, "%7s", end) == 1 && strcmp(end, "end") == 0;
    fclose(file);
    return ok;
}

/* A cache that cannot be written is no error: the next call scans again. */
static void write_scan(const cache_key *key, kernel_scan *scan) {
    char path[sizeof key->path + 32];
    snprintf(path, sizeof path, "%s.%ld", key->path, (long)getpid());
    FILE *file = *key->path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%sfloats %" PRId64 " nans %" PRId64 "\n", key->text, scan->floats, scan->nans);
    double *number[NUMBERS];
    list_numbers(scan, number);
    for (int i = 0; i < NUMBERS && number[i]; i++) fprintf(file, "%a\n", *number[i]);
    fprintf(file, "end\n");
    const bool ok = !ferror(file);
    if (fclose(file) == 0 && ok)
        rename(path, key->path);
    else
        unlink(path);
}

bool scan_cached(const char *text, const char *isa, int stride, int threads, const char *folder,
                 bool fresh, kernel_scan *scan, bool *cached) {
    kernels k;
    cache_key key, all;
    char path[4096] = "";
    if (!identify(text, isa, &k)) return false;
    const bool have = find_folder(folder, path, sizeof path) && folder_make(path);
    make_key(&k, stride, path, &key);
    make_key(&k, 1, path, &all);
    *cached = have && !fresh;
    *scan = (kernel_scan){.stride = 1};
    if (*cached && read_scan(&all, scan)) return true;
    *scan = (kernel_scan){.stride = stride};
    if (*cached && read_scan(&key, scan)) return true;
    *cached = false;
    if (!scan_kernels(text, isa, stride, threads, scan)) return false;
    if (have) write_scan(&key, scan);
    return true;
}
