/* augment_point.h: the formulas of a variant, for CPU and GPU: its map, and one of its pixels.
   SPDX-License-Identifier: MIT */
#ifndef HK_AUGMENT_POINT_H
#define HK_AUGMENT_POINT_H

#include <math.h>

#include "hk_data.h"
#include "real.h"

/* What an image gets. The affine part moves a point p of the image to
   c + (down, right) + factor·R(p - c), c the middle of the image. */
typedef struct hk__augment_draw {
    double down, right; /* pixels */
    double degrees;     /* counter-clockwise as seen, with rows going down */
    double factor;
} hk__augment_draw;

/* u: four uniform draws. */
HK_HOST_DEVICE static inline hk__augment_draw hk__augment_draw_of(const hk_augment *set,
                                                                  const double *u) {
    hk__augment_draw draw;
    draw.down = set->shift * (2 * u[0] - 1);
    draw.right = set->shift * (2 * u[1] - 1);
    draw.degrees = set->rotation * (2 * u[2] - 1);
    draw.factor = 1 + set->scale * (2 * u[3] - 1);
    return draw;
}

/* The way back, as hk__warp's map. */
HK_HOST_DEVICE static inline void hk__augment_map(const hk__augment_draw *draw, int64_t h,
                                                  int64_t w, double *map) {
    const double angle = draw->degrees * (3.141592653589793238463 / 180);
    const double cosine = cos(angle) / draw->factor, sine = sin(angle) / draw->factor;
    const double middle_y = 0.5 * (double)(h - 1), middle_x = 0.5 * (double)(w - 1);
    const double y = middle_y + draw->down, x = middle_x + draw->right;
    map[0] = cosine;
    map[1] = sine;
    map[2] = middle_y - cosine * y - sine * x;
    map[3] = -sine;
    map[4] = cosine;
    map[5] = middle_x + sine * y - cosine * x;
}

/* The lower half of a word becomes a number in (-1, 1) whose mean is 0: odd multiples of 2^-16. */
HK_HOST_DEVICE static inline hk_real hk__augment_noise(uint32_t word) {
    const int32_t bits = (int32_t)(word & 0xFFFF);
    return (hk_real)(2 * bits - 0xFFFF) * (hk_real)0x1p-16;
}

/* Where row or column j of the variant comes from. Pixels count from 1, as there is a ring of zeros
   around the image; what lies beyond the ring is taken to lie on it, at 0 or `end`. */
HK_HOST_DEVICE static inline hk_real hk__augment_place(hk_real first, hk_real step, int32_t j,
                                                       hk_real alpha, hk_real displacement,
                                                       hk_real end) {
    hk_real at = first + step * (hk_real)j + alpha * displacement;
    at = at < 0 ? 0 : at;
    at = at > end ? end : at;
    return at;
}

/* a + t·(b - a) does not leave the range from a to b by rounding: in the ring a is 0, so b - a is
   exact, and behind it t is a multiple of 2^-23 below 1, which outweighs the rounding of b - a. */
HK_HOST_DEVICE static inline hk_real hk__augment_between(hk_real a, hk_real b, hk_real t) {
    return a + t * (b - a);
}

#endif
