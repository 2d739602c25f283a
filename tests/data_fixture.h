/* data_fixture.h: what the tests of data/ share: contexts, small data sets, loaders, errors.
   SPDX-License-Identifier: MIT */
#ifndef DATA_FIXTURE_H
#define DATA_FIXTURE_H

#include "device.h"

#include "hk_data.h"

static inline hk_context *make(hk_dtype dtype, int threads, uint64_t seed) {
    hk_context *ctx = test_context(
        &(hk_context_config){.dtype = dtype, .threads = threads, .seed = seed, .no_blas = true});
    assert_non_null(ctx);
    assert_int_equal(hk_error(ctx), HK_OK);
    return ctx;
}

/* The sticky error has this status, is one line and holds all the words (up to NULL); clears it. */
static inline void expect_error(hk_context *ctx, hk_status status, ...) {
    const char *text = hk_error_message(ctx);
    if (hk_error(ctx) != status) print_error("%s: %s\n", hk_status_name(hk_error(ctx)), text);
    assert_int_equal(hk_error(ctx), status);
    assert_null(strchr(text, '\n'));
    va_list words;
    va_start(words, status);
    for (const char *word; (word = va_arg(words, const char *));) {
        if (!strstr(text, word)) print_error("no '%s' in: %s\n", word, text);
        assert_non_null(strstr(text, word));
    }
    va_end(words);
    hk_error_clear(ctx);
}

/* n items of one float, their own number; label = number % 7. */
static inline hk_dataset *numbers(hk_context *ctx, int64_t n) {
    float *items = malloc((size_t)n * sizeof *items);
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    assert_non_null(items);
    assert_non_null(labels);
    for (int64_t i = 0; i < n; i++) {
        items[i] = (float)i;
        labels[i] = (int32_t)(i % 7);
    }
    hk_dataset *ds = hk_dataset_from(ctx, n, HK_SHAPE(1), HK_F32, items, labels, 7);
    assert_non_null(ds);
    free(items);
    free(labels);
    return ds;
}

static inline hk_loader *load(hk_dataset *ds, int64_t batch, bool shuffle, const char *stream) {
    hk_loader *loader = hk_loader_create(
        ds, &(hk_loader_config){.batch = batch, .shuffle = shuffle, .stream = stream});
    assert_non_null(loader);
    return loader;
}

/* Each of 0 to n-1 once. */
static inline void is_permutation(const int64_t *order, int64_t n) {
    bool *seen = calloc((size_t)n, sizeof *seen);
    assert_non_null(seen);
    for (int64_t i = 0; i < n; i++) {
        assert_in_range(order[i], 0, n - 1);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
    }
    free(seen);
}

#endif
