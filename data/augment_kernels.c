/* augment_kernels.c: an image read through a map of coordinates (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "augment_kernels.h"

#include <string.h>

#include "augment_point.h"
#include "simd.h"

/* smooth() computes at most UNIT elements at a time; a row's places are padded to a multiple of
   ROW, so that a loop over them is whole vectors. */
enum { VECTORS = 4, UNIT = VECTORS * 16, ROW = 16 };

static int64_t rounded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* --- where things lie in the room --------------------------------------------------------------- */

/* A field of displacements lies in rows of w elements and `radius` zeros. With as many zeros before
   the first row, and `radius` rows of zeros above and below, a convolution along either axis is one
   loop over everything: what it reads past the end of a row is 0. Behind the end there is slack for
   the loop's last step. */
typedef struct room {
    int64_t step, field;        /* elements of a row, of a field */
    int64_t count, line, image; /* elements of the taps, of a row's places, of a padded channel */
    hk_real *down, *right, *between, *taps;
    hk_real *y, *x; /* how far each of a row's places lies between two pixels */
    int32_t *at;    /* the upper left of its four pixels */
    hk_real *pixels;
} room;

static room sizes(int64_t h, int64_t w, int64_t radius) {
    room r = {
        .step = w + radius, .line = rounded(w, ROW), .image = rounded((h + 3) * (w + 3), ROW)};
    r.field = rounded((h + 2 * radius) * r.step + 3 * radius + 2 * UNIT, ROW);
    r.count = rounded(2 * radius + 1, ROW);
    return r;
}

static int64_t room_bytes(int64_t channels, int64_t h, int64_t w, int64_t radius) {
    const room r = sizes(h, w, radius);
    return (3 * r.field + r.count + 3 * r.line + channels * r.image) * (int64_t)sizeof(hk_real);
}

static room layout(const hk__warp *warp) {
    room r = sizes(warp->h, warp->w, warp->radius);
    r.down = warp->room;
    r.right = r.down + r.field;
    r.between = r.right + r.field;
    r.taps = r.between + r.field;
    r.y = r.taps + r.count;
    r.x = r.y + r.line;
    r.pixels = r.x + 2 * r.line; /* `at` takes no more than a line of them */
    r.at = (int32_t *)(void *)(r.x + r.line);
    return r;
}

/* --- displacements ------------------------------------------------------------------------------ */

/* out[p] = Σ_k taps[k]·in[p + k·step] for p < n, and a few more. */
static void smooth(int64_t n, int64_t step, int64_t count, const hk_real *taps, const hk_real *in,
                   hk_real *out) {
    for (int64_t p = 0; p < n; p += VECTORS * HK_LANES) {
        hk_vec sum[VECTORS] = {{0}};
        const hk_real *x = in + p;
        for (int64_t k = 0; k < count; k++, x += step) {
            const hk_vec tap = hk_vset1(taps[k]);
            HK_UNROLL
            for (int v = 0; v < VECTORS; v++) sum[v] += tap * hk_vload(x + v * HK_LANES);
        }
        HK_UNROLL
        for (int v = 0; v < VECTORS; v++) hk_vstore(out + p + v * HK_LANES, sum[v]);
    }
}

/* One half of every word, as noise. */
static void spread(const hk__warp *warp, const room *r, int half, hk_real *field) {
    for (int64_t i = 0; i < warp->h; i++) {
        const uint32_t *word = warp->noise + i * warp->w;
        hk_real *row = field + warp->radius + (i + warp->radius) * r->step;
        for (int64_t j = 0; j < warp->w; j++) row[j] = hk__augment_noise(word[j] >> half);
    }
}

/* The field of one half: its rows begin at field[0], field[step], ... */
static void displace(const hk__warp *warp, const room *r, int half, hk_real *field) {
    const int64_t n = warp->h * r->step, radius = warp->radius, count = 2 * radius + 1;
    memset(field, 0, (size_t)r->field * sizeof *field);
    if (!warp->noise) return;
    memset(r->between, 0, (size_t)r->field * sizeof *field);
    for (int64_t k = 0; k < count; k++) r->taps[k] = (hk_real)warp->taps[k];
    spread(warp, r, half, field);
    smooth(n, r->step, count, r->taps, field + radius, r->between + radius);
    smooth(n, 1, count, r->taps, r->between, field);
}

/* --- sampling ----------------------------------------------------------------------------------- */

/* Places of row i. */
static void find_places(const hk__warp *warp, const room *r, int64_t i) {
    const double *map = warp->map, row = (double)i;
    const hk_real y0 = (hk_real)(map[0] * row + map[2] + 1),
                  x0 = (hk_real)(map[3] * row + map[5] + 1);
    const hk_real dy = (hk_real)map[1], dx = (hk_real)map[4], alpha = (hk_real)warp->alpha;
    const hk_real bottom = (hk_real)(warp->h + 1), end = (hk_real)(warp->w + 1);
    const hk_real *down = r->down + i * r->step, *right = r->right + i * r->step;
    const int32_t n = (int32_t)r->line, width = (int32_t)warp->w + 3;
    for (int32_t j = 0; j < n; j++) {
        const hk_real y = hk__augment_place(y0, dy, j, alpha, down[j], bottom);
        const hk_real x = hk__augment_place(x0, dx, j, alpha, right[j], end);
        const int32_t top = (int32_t)y, left = (int32_t)x;
        r->y[j] = y - (hk_real)top;
        r->x[j] = x - (hk_real)left;
        r->at[j] = top * width + left;
    }
}

static void sample(const hk__warp *warp, const room *r, const hk_real *pixels,
                   hk_real *restrict out) {
    const hk_real scale = (hk_real)warp->scale, shift = (hk_real)warp->shift;
    const hk_real *dy = r->y, *dx = r->x;
    const int32_t *at = r->at;
    const int64_t n = warp->w, width = n + 3;
    for (int64_t j = 0; j < n; j++) {
        const hk_real *p = pixels + at[j], *q = p + width;
        const hk_real above = hk__augment_between(p[0], p[1], dx[j]);
        const hk_real below = hk__augment_between(q[0], q[1], dx[j]);
        out[j] = hk__augment_between(above, below, dy[j]) * scale + shift;
    }
}

static void warp_padded(const hk__warp *warp, const room *r, hk_real *out) {
    displace(warp, r, 0, r->down);
    displace(warp, r, 16, r->right);
    for (int64_t i = 0; i < warp->h; i++) {
        find_places(warp, r, i);
        for (int64_t c = 0; c < warp->channels; c++)
            sample(warp, r, r->pixels + c * r->image, out + (c * warp->h + i) * warp->w);
    }
}

#define HK_WARP(name, type)                                                                        \
    static void name(const hk__warp *warp, const void *image, void *out) {                         \
        const room r = layout(warp);                                                               \
        memset(r.pixels, 0, (size_t)(warp->channels * r.image) * sizeof *r.pixels);                \
        for (int64_t c = 0; c < warp->channels; c++)                                               \
            for (int64_t i = 0; i < warp->h; i++) {                                                \
                const type *restrict from = (const type *)image + (c * warp->h + i) * warp->w;     \
                hk_real *restrict to = r.pixels + c * r.image + (i + 1) * (warp->w + 3) + 1;       \
                for (int64_t j = 0; j < warp->w; j++) to[j] = (hk_real)from[j];                    \
            }                                                                                      \
        warp_padded(warp, &r, out);                                                                \
    }
HK_WARP(from_f32, float)
HK_WARP(from_f64, double)
HK_WARP(from_u8, uint8_t)

extern const hk__augment_kernels HK_STAMPED(hk__augment);
const hk__augment_kernels HK_STAMPED(hk__augment) = {
    .f32 = from_f32, .f64 = from_f64, .u8 = from_u8, .room = room_bytes};
