/* mnist.c: finds and reads a pair of IDX files, images and labels.
   SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataset.h"
#include "idx.h"

enum { PATH_SIZE = 2048, NAME_SIZE = 256 };

/* The images file of a folder: the best name met so far. */
typedef struct finding {
    int rank;              /* the lower, the closer to the name that was asked for */
    char stem[NAME_SIZE];  /* without .gz */
    size_t head;           /* length of what stands before "images" */
    char rival[NAME_SIZE]; /* another one of the same rank */
} finding;

enum { RANK_LOOSE = 100, RANK_NONE = 1000 };

static bool ends_with(const char *text, size_t length, const char *tail) {
    const size_t n = strlen(tail);
    return length >= n && memcmp(text + length - n, tail, n) == 0;
}

/* Looks at one name of the folder. `prefix` at its beginning is the name asked for; behind a "-" it
   is one as EMNIST's, "emnist-digits-train-...". */
static void consider(finding *found, const char *name, const char *prefix, int rank) {
    static const char *const tails[] = {"-images-idx3-ubyte", "-images.idx3-ubyte"};
    size_t length = strlen(name);
    if (ends_with(name, length, ".gz")) length -= 3;
    if (length >= NAME_SIZE) return;
    for (int i = 0; i < 2; i++) {
        if (!ends_with(name, length, tails[i])) continue;
        const size_t head = length - strlen(tails[i]);
        if (!ends_with(name, head, prefix)) return;
        const size_t before = head - strlen(prefix);
        if (before && name[before - 1] != '-') return;
        rank = before ? RANK_LOOSE : rank + i;
        const bool same = strlen(found->stem) == length && memcmp(found->stem, name, length) == 0;
        if (rank > found->rank || same) return;
        if (rank == found->rank)
            memcpy(found->rival, found->stem, NAME_SIZE);
        else
            found->rival[0] = 0;
        found->rank = rank;
        found->head = head + 1;
        memcpy(found->stem, name, length);
        found->stem[length] = 0;
        return;
    }
}

static hk_status scan(hk_context *ctx, const char *folder, const char *prefix, finding *found) {
    *found = (finding){.rank = RANK_NONE};
    errno = 0;
    DIR *dir = opendir(folder);
    if (!dir && errno == ENOENT)
        return hk_fail(ctx, HK_ERR_IO, "mnist",
                       "there is no folder '%s': give the one that holds %s-images-idx3-ubyte[.gz] "
                       "and %s-labels-idx1-ubyte[.gz]",
                       folder, prefix, prefix);
    if (!dir && errno == ENOTDIR)
        return hk_fail(ctx, HK_ERR_IO, "mnist",
                       "'%s' is not a folder: give the one that holds %s-images-idx3-ubyte[.gz] "
                       "and %s-labels-idx1-ubyte[.gz]",
                       folder, prefix, prefix);
    if (!dir)
        return hk_fail(ctx, HK_ERR_IO, "mnist", "cannot open the folder '%s': %s", folder,
                       strerror(errno));
    for (const struct dirent *entry; (entry = readdir(dir));) {
        consider(found, entry->d_name, prefix, 0);
        /* EMNIST calls it test. */
        if (strcmp(prefix, "t10k") == 0) consider(found, entry->d_name, "test", 10);
    }
    closedir(dir);
    if (found->rank == RANK_NONE)
        return hk_fail(ctx, HK_ERR_IO, "mnist",
                       "no images in '%s': looked for %s-images-idx3-ubyte, "
                       "%s-images-idx3-ubyte.gz and names that end so (*-%s-images-idx3-ubyte.gz): "
                       "put the files there or give their folder",
                       folder, prefix, prefix, prefix);
    if (found->rival[0])
        return hk_fail(ctx, HK_ERR_IO, "mnist",
                       "'%s' holds several data sets, %s and %s: give the whole prefix (such as "
                       "emnist-digits-%s), or a folder with one of them",
                       folder, found->stem, found->rival, prefix);
    return HK_OK;
}

/* folder/stem, or folder/stem.gz if only that exists. */
static hk_status file_path(hk_context *ctx, const char *folder, const char *stem, char *path) {
    const int length = snprintf(path, PATH_SIZE, "%s/%s", folder, stem);
    if (length < 0 || length + 4 > PATH_SIZE)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "mnist", "the path of %s is too long", stem);
    if (access(path, F_OK) == 0) return HK_OK;
    memcpy(path + length, ".gz", 4);
    if (access(path, F_OK) == 0) return HK_OK;
    return hk_fail(ctx, HK_ERR_IO, "mnist",
                   "'%s' holds images without labels: looked for %s and %s.gz: put one there",
                   folder, stem, stem);
}

static hk_status find(hk_context *ctx, const char *folder, const char *prefix, char *images,
                      char *labels) {
    finding found;
    HK_TRY(scan(ctx, folder, prefix, &found));
    HK_TRY(file_path(ctx, folder, found.stem, images));
    memcpy(found.stem + found.head, "labels", 6);
    found.stem[found.head + strlen("labels-idx")] = '1';
    return file_path(ctx, folder, found.stem, labels);
}

/* The labels as integers, checked; *labels comes from hk__alloc. */
static hk_status read_labels(hk_context *ctx, const char *path, int *classes, int64_t *n,
                             int32_t **labels) {
    hk_idx idx;
    HK_TRY(hk__idx_read(ctx, path, 1, &idx));
    *n = idx.shape.dim[0];
    int32_t *values = hk__alloc((size_t)*n * sizeof *values, false);
    for (int64_t i = 0; values && i < *n; i++) values[i] = idx.data[i];
    hk_idx_free(&idx);
    if (!values)
        return hk_fail(ctx, HK_ERR_MEMORY, "mnist", "%s: no memory for %lld labels", path,
                       (long long)*n);
    int64_t bad = 0;
    const int counted = hk__count_classes(values, *n, *classes, &bad);
    if (counted < 0) {
        hk_fail(ctx, HK_ERR_FORMAT, "mnist",
                "%s: label %d at index %lld is beyond the %d classes (0 to %d): ask for more "
                "classes, or for 0 to count them",
                path, (int)values[bad], (long long)bad, *classes, *classes - 1);
        hk__free(values);
        return hk_error(ctx);
    }
    *classes = counted;
    *labels = values;
    return HK_OK;
}

hk_dataset *hk_mnist(hk_context *ctx, const char *folder, const char *prefix, int classes) {
    if (hk_error(ctx) != HK_OK) return NULL;
    if (!folder || !prefix || !*prefix || strchr(prefix, '/') || classes < 0) {
        hk_fail(ctx, HK_ERR_ARGUMENT, "mnist",
                "needs a folder, a prefix such as train or t10k without '/', and classes >= 0");
        return NULL;
    }
    char images_path[PATH_SIZE], labels_path[PATH_SIZE];
    if (find(ctx, folder, prefix, images_path, labels_path) != HK_OK) return NULL;

    int64_t n = 0;
    int32_t *labels = NULL;
    if (read_labels(ctx, labels_path, &classes, &n, &labels) != HK_OK) return NULL;
    hk_idx images;
    if (hk__idx_read(ctx, images_path, 3, &images) != HK_OK) {
        hk__free(labels);
        return NULL;
    }
    if (images.shape.dim[0] != n) {
        hk_fail(ctx, HK_ERR_FORMAT, "mnist",
                "%s has %lld images but %s has %lld labels: take both from one data set",
                images_path, (long long)images.shape.dim[0], labels_path, (long long)n);
        hk_idx_free(&images);
        hk__free(labels);
        return NULL;
    }
    const hk_shape item = {3, {1, images.shape.dim[1], images.shape.dim[2]}};
    return hk__dataset_own(ctx, n, item, HK_U8, images.data, labels, classes);
}
