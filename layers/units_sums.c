/* units_sums.c: sums, extremes and counts of the units of a tensor.
   SPDX-License-Identifier: MIT

   Units are dealt to threads in blocks of a fixed size, and a unit adds up its images in order: so neither the number of
   threads nor how the images fall into batches changes a bit. */
#include <math.h>
#include <string.h>

#include "units.h"

enum { BLOCK = 64 }; /* units of a task where they lie side by side */

hk_status hk__unit_sums_init(hk_context *ctx, hk__unit_sums *sums, int64_t units) {
    const int64_t room = (units + BLOCK - 1) / BLOCK * BLOCK;
    double *memory = hk__alloc((size_t)(room * HK__UNITS_ARRAYS) * sizeof *memory, true);
    if (!memory) return hk_fail(ctx, HK_ERR_MEMORY, "units", "no memory");
    *sums = (hk__unit_sums){.units = units};
    for (int i = 0; i < HK__UNITS_ARRAYS; i++) sums->array[i] = memory + i * room;
    return HK_OK;
}

void hk__unit_sums_free(hk__unit_sums *sums) { hk__free(sums->array[0]); }

/* The first value of each unit is what it counts from. */
static void begin(hk__unit_sums *sums, hk__units_view view, const hk_tensor *h) {
    for (int i = HK__UNITS_SUM; i < HK__UNITS_THRESHOLD; i++)
        memset(sums->array[i], 0, (size_t)sums->units * sizeof(double));
    for (int64_t k = 0; k < sums->units; k++) {
        sums->array[HK__UNITS_CENTRE][k] = hk__number_at(h, k * view.inner);
        sums->array[HK__UNITS_LOW][k] = INFINITY;
        sums->array[HK__UNITS_HIGH][k] = -INFINITY;
    }
}

typedef struct work {
    const hk__units_kernels *kernels;
    hk__unit_sums *sums;
    hk__units_view view;
    size_t size;
    const char *h, *z, *slope;
    uint8_t *alive;
} work;

static void point_at(double **at, const hk__unit_sums *sums, int64_t unit) {
    for (int i = 0; i < HK__UNITS_ARRAYS; i++) at[i] = sums->array[i] + unit;
}

static void add_rows(void *arg, int64_t block, int worker) {
    (void)worker;
    const work *w = arg;
    const int64_t first = block * BLOCK, left = w->view.units - first;
    double *at[HK__UNITS_ARRAYS];
    point_at(at, w->sums, first);
    for (int64_t r = 0; r < w->view.outer; r++) {
        const size_t from = (size_t)(r * w->view.units + first) * w->size;
        w->kernels->row(left < BLOCK ? left : BLOCK, w->h + from, w->z ? w->z + from : NULL,
                        w->slope ? w->slope + from : NULL, at);
    }
}

static void add_planes(void *arg, int64_t unit, int worker) {
    (void)worker;
    const work *w = arg;
    double *at[HK__UNITS_ARRAYS];
    point_at(at, w->sums, unit);
    for (int64_t r = 0; r < w->view.outer; r++) {
        const size_t from = (size_t)((r * w->view.units + unit) * w->view.inner) * w->size;
        w->kernels->plane(w->view.inner, w->h + from, w->z ? w->z + from : NULL,
                          w->slope ? w->slope + from : NULL, at,
                          w->alive ? w->alive + unit * w->view.inner : NULL);
    }
}

void hk__unit_sums_add(hk_context *ctx, hk__unit_sums *sums, hk__units_view view,
                       const hk_tensor *h, const hk_tensor *z, const hk_tensor *slope,
                       uint8_t *alive) {
    work w = {.kernels = hk__units_tables[hk__stamp_of(ctx, h->dtype)],
              .sums = sums,
              .view = view,
              .size = hk_dtype_size(h->dtype),
              .h = h->data,
              .z = slope ? z->data : NULL,
              .slope = slope ? slope->data : NULL,
              .alive = alive};
    if (sums->values == 0) begin(sums, view, h);
    sums->values += view.outer * view.inner;
    if (view.inner == 1)
        hk__run(ctx, (view.units + BLOCK - 1) / BLOCK, add_rows, &w);
    else
        hk__run(ctx, view.units, add_planes, &w);
}
