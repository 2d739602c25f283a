/* pool_any_kernels.c: pooling of an image plane by any plan (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Windows are walked one after the other, as far as they lie inside of the image. A gradient is scattered into its
   plane, which one thread has for itself. */
#include "pool_kernels.h"

#include <math.h>
#include <string.h>

#include "real.h"

static void set_winner(const hk__pool2d_plan *plan, void *winner, int64_t out, int64_t at,
                       int64_t place) {
    if (plan->wide)
        ((int32_t *)winner)[out] = (int32_t)at;
    else
        ((uint8_t *)winner)[out] = (uint8_t)place;
}

/* Where in the plane the winner of window (i, j) stands; -1 if it has none. */
static int64_t winner_of(const hk__pool2d_plan *plan, const void *winner, int64_t i, int64_t j) {
    const int64_t out = i * plan->ow + j;
    if (plan->wide) return ((const int32_t *)winner)[out];
    const hk__pool2d_span r = plan->rows[i], c = plan->cols[j];
    const int place = ((const uint8_t *)winner)[out], width = (int)c.places;
    const int64_t u = place / width - r.skipped, v = place % width - c.skipped;
    if (u < 0 || v < 0) return -1; /* in the padding */
    return (r.first + u * plan->dilation.h) * plan->w + c.first + v * plan->dilation.w;
}

static void max(const hk__pool2d_plan *plan, const void *data, void *out, void *winner) {
    const hk_real *x = data;
    hk_real *y = out;
    for (int64_t i = 0; i < plan->oh; i++)
        for (int64_t j = 0; j < plan->ow; j++) {
            const hk__pool2d_span r = plan->rows[i], c = plan->cols[j];
            hk_real best = (hk_real)-INFINITY;
            int64_t place = 0, at = -1;
            for (int64_t u = 0; u < r.count; u++) {
                const int64_t row = (r.first + u * plan->dilation.h) * plan->w + c.first;
                for (int64_t v = 0; v < c.count; v++) {
                    const hk_real value = x[row + v * plan->dilation.w];
                    if (!(value > best || value != value || at < 0)) continue;
                    best = value;
                    at = row + v * plan->dilation.w;
                    place = (r.skipped + u) * c.places + c.skipped + v;
                }
            }
            y[i * plan->ow + j] = best;
            if (winner) set_winner(plan, winner, i * plan->ow + j, at, place);
        }
}

static void max_backward(const hk__pool2d_plan *plan, const void *grad, const void *winner,
                         void *out, bool accumulate) {
    const hk_real *gy = grad;
    hk_real *gx = out;
    if (!accumulate) memset(gx, 0, (size_t)(plan->h * plan->w) * sizeof *gx);
    for (int64_t i = 0; i < plan->oh; i++)
        for (int64_t j = 0; j < plan->ow; j++) {
            const int64_t at = winner_of(plan, winner, i, j);
            if (at >= 0) gx[at] += gy[i * plan->ow + j];
        }
}

/* y = x at the winners: what forward mode asks for. */
static void pick(const hk__pool2d_plan *plan, const void *data, const void *winner, void *out) {
    const hk_real *x = data;
    hk_real *y = out;
    for (int64_t i = 0; i < plan->oh; i++)
        for (int64_t j = 0; j < plan->ow; j++) {
            const int64_t at = winner_of(plan, winner, i, j);
            y[i * plan->ow + j] = at < 0 ? 0 : x[at];
        }
}

static void avg(const hk__pool2d_plan *plan, const void *data, void *out) {
    const hk_real *x = data;
    hk_real *y = out;
    for (int64_t i = 0; i < plan->oh; i++)
        for (int64_t j = 0; j < plan->ow; j++) {
            const hk__pool2d_span r = plan->rows[i], c = plan->cols[j];
            hk_real sum = 0;
            for (int64_t u = 0; u < r.count; u++)
                for (int64_t v = 0; v < c.count; v++)
                    sum += x[(r.first + u) * plan->w + c.first + v];
            y[i * plan->ow + j] = sum / (hk_real)(r.divisor * c.divisor);
        }
}

static void avg_backward(const hk__pool2d_plan *plan, const void *grad, void *out,
                         bool accumulate) {
    const hk_real *gy = grad;
    hk_real *gx = out;
    if (!accumulate) memset(gx, 0, (size_t)(plan->h * plan->w) * sizeof *gx);
    for (int64_t i = 0; i < plan->oh; i++)
        for (int64_t j = 0; j < plan->ow; j++) {
            const hk__pool2d_span r = plan->rows[i], c = plan->cols[j];
            const hk_real g = gy[i * plan->ow + j] / (hk_real)(r.divisor * c.divisor);
            for (int64_t u = 0; u < r.count; u++)
                for (int64_t v = 0; v < c.count; v++)
                    gx[(r.first + u) * plan->w + c.first + v] += g;
        }
}

const hk__pool2d_any_kernels HK_STAMPED(hk__pool2d_any) = {.max = max,
                                                           .max_backward = max_backward,
                                                           .pick = pick,
                                                           .avg = avg,
                                                           .avg_backward = avg_backward};
