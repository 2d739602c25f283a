/* weights.c: a picture of a first linear layer.
   SPDX-License-Identifier: MIT */
#include "weights.h"

#include "picture.h"

#include <math.h>
#include <stdlib.h>

enum { WIDTH = 1000, ACROSS = 10, GAP = 8, PATH_MOST = 4096 };

static int ascending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A size that all but one in two hundred weights stay below, so that a few do not make the rest
   pale. */
static double usual_most(int64_t n, const float *value) {
    float *size = malloc((size_t)n * sizeof *size);
    double most = picture_most(n, value);
    for (int64_t i = 0; size && i < n; i++) size[i] = isfinite(value[i]) ? fabsf(value[i]) : 0;
    if (size) {
        qsort(size, (size_t)n, sizeof *size, ascending);
        const double usual = (double)size[n - 1 - n / 200];
        if (usual > 0) most = usual;
    }
    free(size);
    return most;
}

int weights_draw(training *run, const char *folder) {
    const hk_parameters p = hk_module_parameters(run->net);
    hk_tensor *weight = p.count > 0 ? p.items[0] : NULL;
    const int64_t pixels = hk_shape_count(run->item);
    if (hk_tensor_rank(weight) != 2 || hk_tensor_dim(weight, 1) != pixels || run->item.rank < 2)
        return 0;
    const float *value = hk_tensor_values(weight);
    const int64_t units = hk_tensor_dim(weight, 0);
    const int shown = (int)(units < WEIGHTS_MOST ? units : WEIGHTS_MOST);
    const int across = shown < ACROSS ? shown : ACROSS;
    picture_cells cells = {.rows = run->item.dim[run->item.rank - 2],
                           .columns = run->item.dim[run->item.rank - 1],
                           .colours = PICTURE_SIGNED};
    if (!value) return 0;
    cells.most = usual_most(shown * pixels, value);
    cells.scale = (int)((WIDTH - GAP) / ACROSS - GAP - 2 * PICTURE_FRAME) / (int)cells.columns;
    if (cells.scale < 1) cells.scale = 1;
    const int pitch_x = (int)cells.columns * cells.scale + 2 * PICTURE_FRAME + GAP,
              pitch_y = (int)cells.rows * cells.scale + 2 * PICTURE_FRAME + GAP;
    picture pic;
    if (!picture_open(&pic, GAP + across * pitch_x,
                      GAP + (shown + across - 1) / across * pitch_y)) {
        hk_fail(run->ctx, HK_ERR_MEMORY, "pictures", "no memory for a picture");
        return 0;
    }
    for (int i = 0; i < shown; i++) {
        cells.value = value + i * pixels;
        picture_paste(&pic, GAP + i % across * pitch_x, GAP + i / across * pitch_y, &cells);
    }
    char path[PATH_MOST];
    snprintf(path, sizeof path, "%s/weights.png", folder);
    const bool ok = picture_write(&pic, path);
    picture_close(&pic);
    return ok ? shown : 0;
}
