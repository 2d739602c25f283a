/* golden_file.h: reads the files of tests/golden; their heads describe the format.
   SPDX-License-Identifier: MIT */
#ifndef HK_GOLDEN_FILE_H
#define HK_GOLDEN_FILE_H

#include "net_fixture.h"

#include <inttypes.h>

enum { GOLDEN_MOST = 1024, GOLDEN_NAME = 64 };

typedef struct golden_entry {
    char name[GOLDEN_NAME];
    hk_shape shape;
    int64_t count;
    double *value;
    bool used; /* somebody asked for it */
} golden_entry;

typedef struct golden {
    int n;
    golden_entry *entry;
} golden;

static inline void golden_entry_read(FILE *file, const char *path, golden_entry *e) {
    bool good = fscanf(file, "%63s %d", e->name, &e->shape.rank) == 2;
    good = good && e->shape.rank >= 0 && e->shape.rank <= HK_MAX_RANK;
    for (int i = 0; good && i < e->shape.rank; i++)
        good = fscanf(file, "%" SCNd64, &e->shape.dim[i]) == 1;
    e->count = good ? hk_shape_count(e->shape) : -1;
    if (e->count < 1) fail_msg("%s: %s has no readable shape", path, e->name);
    e->value = malloc((size_t)e->count * sizeof *e->value);
    assert_non_null(e->value);
    for (int64_t i = 0; i < e->count; i++)
        if (fscanf(file, "%lf", &e->value[i]) != 1)
            fail_msg("%s: %s ends after %d numbers", path, e->name, (int)i);
}

/* Fails the test if the file cannot be read. */
static inline golden golden_read(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s", HK_SOURCE_DIR, name);
    FILE *file = fopen(path, "r");
    if (!file) fail_msg("%s cannot be read", path);
    golden g = {.entry = calloc(GOLDEN_MOST, sizeof *g.entry)};
    assert_non_null(g.entry);
    for (int c; (c = getc(file)) != EOF;) {
        if (c == '#') {
            while (c != '\n' && c != EOF) c = getc(file);
        } else if (c != '\n' && c != ' ') {
            ungetc(c, file);
            assert_true(g.n < GOLDEN_MOST);
            golden_entry_read(file, path, &g.entry[g.n++]);
        }
    }
    fclose(file);
    return g;
}

/* NULL if there is none of that name; golden_get then fails the test. */
static inline const golden_entry *golden_seek(golden *g, const char *name) {
    for (int i = 0; i < g->n; i++)
        if (strcmp(g->entry[i].name, name) == 0) {
            g->entry[i].used = true;
            return &g->entry[i];
        }
    return NULL;
}

static inline const golden_entry *golden_get(golden *g, const char *name) {
    const golden_entry *e = golden_seek(g, name);
    if (!e) fail_msg("the golden file has no %s", name);
    return e;
}

/* Fails if an entry whose name begins with `prefix` was never asked for: then it was not tested. */
static inline void golden_all_used(const golden *g, const char *prefix) {
    for (int i = 0; i < g->n; i++)
        if (!g->entry[i].used && strncmp(g->entry[i].name, prefix, strlen(prefix)) == 0)
            fail_msg("%s of the golden file was not compared", g->entry[i].name);
}

static inline void golden_free(golden *g) {
    for (int i = 0; i < g->n; i++) free(g->entry[i].value);
    free(g->entry);
}

#endif
