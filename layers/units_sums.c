/* units_sums.c: sums, extremes and counts of the units of a tensor.
   SPDX-License-Identifier: MIT

   Units are dealt to threads in blocks of a fixed size, and a unit adds up its images in order: so neither the number of
   threads nor how the images fall into batches changes a bit. */
#include <math.h>
#include <string.h>

#include "gpu.h"
#include "units.h"
#include "values.h"

enum { BLOCK = 128 }; /* units of a task where they lie side by side */

hk_status hk__unit_sums_init(hk_context *ctx, hk__unit_sums *sums, int64_t units) {
    const int64_t room = (units + BLOCK - 1) / BLOCK * BLOCK;
    double *memory = hk__alloc((size_t)(room * HK__UNITS_ARRAYS) * sizeof *memory, true);
    if (!memory) return hk_fail(ctx, HK_ERR_MEMORY, "units", "no memory");
    *sums = (hk__unit_sums){.units = units, .room = room};
    for (int i = 0; i < HK__UNITS_ARRAYS; i++) sums->array[i] = memory + i * room;
    if (!HK_ON_GPU(ctx)) return HK_OK;
    sums->there = hk__gpu_alloc(ctx, (size_t)(room * HK__UNITS_ARRAYS) * sizeof *memory, true);
    return sums->there ? HK_OK : hk_fail(ctx, HK_ERR_MEMORY, "units", "no memory on the GPU");
}

void hk__unit_sums_free(hk_context *ctx, hk__unit_sums *sums) {
    hk__free(sums->array[0]);
    hk__values_free(ctx, sums->there);
}

void hk__unit_sums_fetch(hk_context *ctx, hk__unit_sums *sums) {
    const size_t bytes = (size_t)(sums->room * HK__UNITS_LIMIT) * sizeof(double);
    if (sums->there) hk__values_read(ctx, sums->array[0], sums->there, bytes);
}

/* The first value of each unit is what it counts from. */
static void start(hk__unit_sums *sums, hk__units_view view, const hk_tensor *h) {
    for (int i = HK__UNITS_SUM; i < HK__UNITS_LIMIT; i++)
        memset(sums->array[i], 0, (size_t)sums->units * sizeof(double));
    for (int64_t k = 0; k < sums->units; k++) {
        sums->array[HK__UNITS_CENTRE][k] = hk__number_at(h, k * view.inner);
        sums->array[HK__UNITS_LOW][k] = INFINITY;
        sums->array[HK__UNITS_HIGH][k] = -INFINITY;
    }
}

typedef struct work {
    const hk__units_kernels *kernels;
    hk__units_view view;
    hk__unit_sums *of_h, *of_z;
    const hk__units_slope *slope;
    size_t size;
    const char *h, *z;
    char *steepest;
} work;

static void point_at(double **at, const hk__unit_sums *sums, int64_t unit) {
    for (int i = 0; sums && i < HK__UNITS_ARRAYS; i++) at[i] = sums->array[i] + unit;
}

/* n elements from number `first` on: of a row of units from `unit` on, or of that unit alone. */
static hk__units_tile tile_of(const work *w, int64_t unit, bool row, int64_t first, int64_t n,
                              void *room) {
    const size_t at = (size_t)first * w->size;
    hk__units_tile t = {.n = n, .h = w->h + at};
    if (w->z) t.z = w->z + at;
    if (w->slope) t.slope = hk__units_slope_tile(w->slope, unit, row, n, at, w->z, w->h, room);
    return t;
}

static void add_rows(void *arg, int64_t block, int worker) {
    (void)worker;
    const work *w = arg;
    _Alignas(HK_ALIGN) char room[BLOCK * sizeof(double)];
    const int64_t units = w->view.units, first = block * BLOCK, left = units - first;
    double *of_h[HK__UNITS_ARRAYS], *of_z[HK__UNITS_ARRAYS];
    point_at(of_h, w->of_h, first);
    point_at(of_z, w->of_z, first);
    for (int64_t r = 0; r < w->view.outer; r++) {
        hk__units_tile t =
            tile_of(w, first, true, r * units + first, left < BLOCK ? left : BLOCK, room);
        t.of_h = of_h;
        t.of_z = w->of_z ? of_z : NULL;
        w->kernels->row(&t);
    }
}

static void add_planes(void *arg, int64_t unit, int worker) {
    (void)worker;
    const work *w = arg;
    _Alignas(HK_ALIGN) char room[HK__UNITS_TILE * sizeof(double)];
    const int64_t inner = w->view.inner;
    double *of_h[HK__UNITS_ARRAYS], *of_z[HK__UNITS_ARRAYS];
    point_at(of_h, w->of_h, unit);
    point_at(of_z, w->of_z, unit);
    for (int64_t r = 0; r < w->view.outer; r++)
        for (int64_t i = 0; i < inner; i += HK__UNITS_TILE) {
            hk__units_tile t =
                tile_of(w, unit, false, (r * w->view.units + unit) * inner + i,
                        inner - i < HK__UNITS_TILE ? inner - i : HK__UNITS_TILE, room);
            t.of_h = of_h;
            t.of_z = w->of_z ? of_z : NULL;
            if (w->steepest) t.steepest = w->steepest + (size_t)(unit * inner + i) * w->size;
            w->kernels->plane(&t);
        }
}

static void begin(hk__unit_sums *sums, hk__units_view view, const hk_tensor *t) {
    if (sums->values == 0) start(sums, view, t);
    sums->values += view.outer * view.inner;
}

/* --- on a GPU ------------------------------------------------------------------------------------------------- */

static void add_on_gpu(hk_context *ctx, hk__units_view view, hk__unit_sums *sums,
                       const hk_tensor *h, const hk_tensor *z, const char *slope, void *steepest,
                       bool brief) {
    if (!HK_ON_GPU(ctx)) return;
    const size_t given = (size_t)((HK__UNITS_ARRAYS - HK__UNITS_LIMIT) * sums->room);
    const hk__units_gpu_job job = {.outer = view.outer,
                                   .units = view.units,
                                   .inner = view.inner,
                                   .h = h->data,
                                   .z = slope ? z->data : NULL,
                                   .slope = slope,
                                   .to = sums->there,
                                   .room = sums->room,
                                   .brief = brief,
                                   .start = sums->values == 0,
                                   .steepest = steepest};
    if (job.start && slope)
        hk__values_write(ctx, sums->there + HK__UNITS_LIMIT * sums->room,
                         sums->array[HK__UNITS_LIMIT], given * sizeof(double));
    const char *outer = hk__gpu_in(ctx, "units");
    hk__units_gpu_tables[h->dtype]->add(ctx, &job);
    hk__gpu_in(ctx, outer);
    sums->values += view.outer * view.inner;
}

/* --- both ----------------------------------------------------------------------------------------------------- */

void hk__unit_sums_add(hk_context *ctx, hk__units_view view, hk__unit_sums *of_h,
                       hk__unit_sums *of_z, const hk_tensor *h, const hk_tensor *z,
                       const hk__units_slope *slope, void *steepest) {
    if (HK_ON_GPU(ctx)) {
        add_on_gpu(ctx, view, of_h, h, z, slope ? slope->given : NULL, steepest, false);
        if (of_z) add_on_gpu(ctx, view, of_z, z, NULL, NULL, NULL, true);
        return;
    }
    work w = {.kernels = hk__units_tables[hk__stamp_of(ctx, h->dtype)],
              .view = view,
              .of_h = of_h,
              .of_z = of_z,
              .slope = slope,
              .size = hk_dtype_size(h->dtype),
              .h = h->data,
              .z = slope || of_z ? z->data : NULL,
              .steepest = steepest};
    begin(of_h, view, h);
    if (of_z) begin(of_z, view, z);
    if (view.inner == 1)
        hk__run(ctx, (view.units + BLOCK - 1) / BLOCK, add_rows, &w);
    else
        hk__run(ctx, view.units, add_planes, &w);
}
