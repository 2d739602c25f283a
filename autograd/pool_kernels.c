/* pool_kernels.c: pooling of image planes (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Kernel 2 with stride 2 computes a vector of windows at a time from their corners, which the even and odd columns
   of two vectors in each row are. The last vector of a row reaches back over windows that are done already. Rows
   too short for that load and store a part of a vector, and of very short ones two share a vector: a 14 x 14 plane
   would fill less than half of AVX-512's otherwise. Every other shape goes through pool_any_kernels.c. */
#include "pool_kernels.h"

#include <string.h>

#include "real.h"
#include "simd.h"

#ifdef HK_STAMP_f64
typedef int64_t lane_int;
#else
typedef int32_t lane_int;
#endif
typedef lane_int int_vec __attribute__((vector_size(sizeof(hk_vec))));
typedef uint8_t byte_vec __attribute__((vector_size(HK_LANES)));
typedef uint8_t byte_vec_anywhere __attribute__((vector_size(HK_LANES), aligned(1), may_alias));

/* Lanes of two vectors: every second one; those of the first and of the second halves in turn; both first halves,
   and a vector with its halves exchanged. */
#if HK_LANES == 16
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define FIRST_IN_TURN 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define SECOND_IN_TURN 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define FIRST_HALVES 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define EXCHANGED 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7
#elif HK_LANES == 8
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15
#define FIRST_IN_TURN 0, 8, 1, 9, 2, 10, 3, 11
#define SECOND_IN_TURN 4, 12, 5, 13, 6, 14, 7, 15
#define FIRST_HALVES 0, 1, 2, 3, 8, 9, 10, 11
#define EXCHANGED 4, 5, 6, 7, 0, 1, 2, 3
#elif HK_LANES == 4
#define EVENS 0, 2, 4, 6
#define ODDS 1, 3, 5, 7
#define FIRST_IN_TURN 0, 4, 1, 5
#define SECOND_IN_TURN 2, 6, 3, 7
#define FIRST_HALVES 0, 1, 4, 5
#define EXCHANGED 2, 3, 0, 1
#else
#define EVENS 0, 2
#define ODDS 1, 3
#define FIRST_IN_TURN 0, 2
#define SECOND_IN_TURN 1, 3
#define FIRST_HALVES 0, 2
#define EXCHANGED 1, 0
#endif
#define LANES_OF(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

#if defined(HK_STAMP_avx512)
#define MASKS true /* storing a part costs no more than storing all */
#else
#define MASKS false
#endif

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* --- parts of a vector: its first `count` lanes -------------------------------------------------------- */

/* Other lanes are 0. */
HK_INLINE hk_vec load(const hk_real *p, int64_t count) {
    return hk_vload_part(p, least(count, HK_LANES));
}

/* `room` elements may be touched: where that allows it, the whole vector is, which is faster without masks. What is
   written too much is written over later. */
HK_INLINE void store(hk_real *p, hk_vec v, int64_t count, int64_t room) {
    if (MASKS || room < HK_LANES)
        hk_vstore_part(p, v, least(count, HK_LANES));
    else
        hk_vstore(p, v);
}

HK_INLINE byte_vec load_bytes(const uint8_t *p, int64_t count, int64_t room) {
#if defined(HK_STAMP_avx512)
    (void)room;
    return (byte_vec)_mm_maskz_loadu_epi8(hk__mask(count), p);
#else
    byte_vec v = {0};
    if (room >= HK_LANES) return *(const byte_vec_anywhere *)p;
    for (int64_t i = 0; i < count; i++) v[i] = p[i];
    return v;
#endif
}

HK_INLINE void store_bytes(uint8_t *p, byte_vec v, int64_t count, int64_t room) {
#if defined(HK_STAMP_avx512)
    (void)room;
    _mm_mask_storeu_epi8(p, hk__mask(count), (__m128i)v);
#else
    if (room >= HK_LANES)
        *(byte_vec_anywhere *)p = v;
    else
        for (int64_t i = 0; i < count; i++) p[i] = v[i];
#endif
}

/* --- a vector of windows ---------------------------------------------------------------------------------- */

/* Whether a, the best so far, stays it when b comes; the choice; (left ? 0 : 1) + (upper ? 0 : 2). */
#if defined(HK_STAMP_avx512)
typedef __mmask16 lane_mask;
HK_INLINE lane_mask stays(hk_vec a, hk_vec b) {
    return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(b, b, _CMP_ORD_Q), b, a, _CMP_NGT_UQ);
}
HK_INLINE hk_vec choose(lane_mask stay, hk_vec a, hk_vec b) {
    return _mm512_mask_mov_ps(b, stay, a);
}
HK_INLINE byte_vec places(lane_mask left, lane_mask upper) {
    const __m128i one = _mm_maskz_mov_epi8(left, _mm_set1_epi8(1));
    const __m128i two = _mm_maskz_mov_epi8(upper, _mm_set1_epi8(2));
    return (byte_vec)_mm_ternarylogic_epi32(_mm_set1_epi8(3), one, two, 0x96); /* exclusive or */
}
#else
typedef int_vec lane_mask;
HK_INLINE lane_mask stays(hk_vec a, hk_vec b) { return ~(b > a) & (b == b); }
HK_INLINE hk_vec choose(lane_mask stay, hk_vec a, hk_vec b) {
#if defined(HK_STAMP_avx2)
    return _mm256_blendv_ps(b, a, (__m256)stay);
#else
    return (hk_vec)(((int_vec)a & stay) | ((int_vec)b & ~stay));
#endif
}
HK_INLINE byte_vec places(lane_mask left, lane_mask upper) {
    const int_vec v = (~left & 1) | (~upper & 2);
#if defined(HK_STAMP_avx2)
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)v),
                                          _mm256_extracti128_si256((__m256i)v, 1));
    return (byte_vec)_mm_cvtsi128_si64(_mm_packs_epi16(words, words));
#elif defined(__SSE2__) && !defined(HK_STAMP_f64)
    const __m128i words = _mm_packs_epi32((__m128i)v, (__m128i)v);
    return (byte_vec)_mm_cvtsi128_si32(_mm_packs_epi16(words, words));
#else
    return __builtin_convertvector(v, byte_vec);
#endif
}
#endif

/* The upper rows of windows are p and q, the lower ones r and s. Their largest elements and where these stand, or
   their means. */
HK_INLINE hk_vec pooled(bool max, hk_vec p, hk_vec q, hk_vec r, hk_vec s, byte_vec *winner) {
    if (!max) {
        const hk_vec left = p + r, right = q + s;
        return (LANES_OF(left, right, EVENS) + LANES_OF(left, right, ODDS)) * HK_REAL(0.25);
    }
    const hk_vec a = LANES_OF(p, q, EVENS), b = LANES_OF(p, q, ODDS);
    const hk_vec c = LANES_OF(r, s, EVENS), d = LANES_OF(r, s, ODDS);
    const lane_mask left_above = stays(a, b), left_below = stays(c, d);
    const hk_vec above = choose(left_above, a, b), below = choose(left_below, c, d);
    const lane_mask upper = stays(above, below);
    *winner = places((left_above & upper) | (left_below & ~upper), upper);
    return choose(upper, above, below);
}

/* The reverse: what the upper row (0) or lower row (1) of windows gets of their gradients, two vectors. */
HK_INLINE void spread(bool max, int row, hk_vec g, byte_vec winner, hk_vec out[2]) {
    if (!max) {
        out[0] = LANES_OF(g, g, FIRST_IN_TURN) * HK_REAL(0.25);
        out[1] = LANES_OF(g, g, SECOND_IN_TURN) * HK_REAL(0.25);
        return;
    }
#if defined(HK_STAMP_avx512)
    const __m128i here = _mm_set1_epi16((int16_t)(row ? 0x0302 : 0x0100)), w = (__m128i)winner;
    const __mmask16 first = _mm_cmpeq_epi8_mask(_mm_unpacklo_epi8(w, w), here);
    const __mmask16 second = _mm_cmpeq_epi8_mask(_mm_unpackhi_epi8(w, w), here);
    out[0] = _mm512_maskz_mov_ps(first, LANES_OF(g, g, FIRST_IN_TURN));
    out[1] = _mm512_maskz_mov_ps(second, LANES_OF(g, g, SECOND_IN_TURN));
#else
    const int_vec at = __builtin_convertvector(winner, int_vec), bits = (int_vec)g;
    const hk_vec left = (hk_vec)(bits & (at == 2 * row)),
                 right = (hk_vec)(bits & (at == 2 * row + 1));
    out[0] = LANES_OF(left, right, FIRST_IN_TURN);
    out[1] = LANES_OF(left, right, SECOND_IN_TURN);
#endif
}

/* --- kernel 2, stride 2: y (oh, ow) from x (2·oh or one more, w) -------------------------------------------- */

/* Rows of at least a vector of windows. */
HK_INLINE void forward_wide(bool max, const hk_real *x, int64_t oh, int64_t w, hk_real *y,
                            uint8_t *winner) {
    const int64_t ow = w / 2;
    for (int64_t i = 0; i < oh; i++)
        for (int64_t from = 0; from < ow; from += HK_LANES) {
            const int64_t j = least(from, ow - HK_LANES), at = i * ow + j;
            const hk_real *above = x + 2 * i * w + 2 * j, *below = above + w;
            byte_vec place;
            hk_vstore(y + at, pooled(max, hk_vload(above), hk_vload(above + HK_LANES),
                                     hk_vload(below), hk_vload(below + HK_LANES), &place));
            if (max && winner) *(byte_vec_anywhere *)(winner + at) = place;
        }
}

/* Rows of less than that, and of at most half of it, two of which share a vector. */
HK_INLINE void forward_narrow(bool max, bool half, const hk_real *x, int64_t oh, int64_t w,
                              hk_real *y, uint8_t *winner) {
    const int64_t ow = w / 2, all = oh * ow, step = half ? 2 * ow : ow;
    for (int64_t at = 0; at < all; at += step, x += half ? 4 * w : 2 * w) {
        const bool two = half && at + ow < all;
        const hk_real *next = half ? two ? x + 2 * w : x : x + HK_LANES;
        const int64_t n = half ? two ? 2 * ow : 0 : 2 * ow - HK_LANES; /* elements of it */
        byte_vec place;
        const hk_vec v = pooled(max, load(x, 2 * ow), load(next, n), load(x + w, 2 * ow),
                                load(next + w, n), &place);
        store(y + at, v, ow, all - at);
        if (max && winner) store_bytes(winner + at, place, ow, all - at);
        if (!two) continue;
        store(y + at + ow, LANES_OF(v, v, EXCHANGED), ow, all - at - ow);
        if (max && winner)
            store_bytes(winner + at + ow, LANES_OF(place, place, EXCHANGED), ow, all - at - ow);
    }
}

HK_INLINE void forward(bool max, const hk_real *x, int64_t h, int64_t w, hk_real *y,
                       uint8_t *winner) {
    if (w / 2 >= HK_LANES)
        forward_wide(max, x, h / 2, w, y, winner);
    else if (w / 2 > HK_LANES / 2)
        forward_narrow(max, false, x, h / 2, w, y, winner);
    else if (w / 2 > 0)
        forward_narrow(max, true, x, h / 2, w, y, winner);
}

static void max_2x2(const void *x, int64_t h, int64_t w, void *y, uint8_t *winner) {
    if (winner)
        forward(true, x, h, w, y, winner);
    else
        forward(true, x, h, w, y, NULL);
}

static void avg_2x2(const void *x, int64_t h, int64_t w, void *y) {
    forward(false, x, h, w, y, NULL);
}

/* --- its gradient: gx is written in full, row after row ----------------------------------------------------- */

HK_INLINE void backward_wide(bool max, const hk_real *gy, const uint8_t *winner, int64_t oh,
                             int64_t w, hk_real *gx) {
    const int64_t ow = w / 2;
    for (int64_t i = 0; i < oh; i++) {
        hk_real *above = gx + 2 * i * w, *below = above + w;
        for (int64_t from = 0; from < ow; from += HK_LANES) {
            const int64_t j = least(from, ow - HK_LANES), at = i * ow + j;
            byte_vec place = {0};
            if (max) place = *(const byte_vec_anywhere *)(winner + at);
            hk_vec upper[2], lower[2];
            spread(max, 0, hk_vload(gy + at), place, upper);
            spread(max, 1, hk_vload(gy + at), place, lower);
            for (int k = 0; k < 2; k++) {
                hk_vstore(above + 2 * j + k * HK_LANES, upper[k]);
                hk_vstore(below + 2 * j + k * HK_LANES, lower[k]);
            }
        }
        if (w % 2) above[w - 1] = below[w - 1] = 0;
    }
}

HK_INLINE void backward_narrow(bool max, const hk_real *gy, const uint8_t *winner, int64_t oh,
                               int64_t w, hk_real *gx) {
    const int64_t ow = w / 2, all = oh * ow;
    const hk_real *end = gx + 2 * oh * w;
    for (int64_t at = 0; at < all; at += ow) {
        const hk_vec g = load(gy + at, ow);
        byte_vec place = {0};
        if (max) place = load_bytes(winner + at, ow, all - at);
        for (int row = 0; row < 2; row++, gx += w) {
            hk_vec v[2];
            spread(max, row, g, place, v);
            hk_vstore(gx, v[0]);
            store(gx + HK_LANES, v[1], 2 * ow - HK_LANES, end - gx - HK_LANES);
            if (w % 2) gx[w - 1] = 0;
        }
    }
}

HK_INLINE void backward_half(bool max, const hk_real *gy, const uint8_t *winner, int64_t oh,
                             int64_t w, hk_real *gx) {
    const int64_t ow = w / 2, all = oh * ow;
    const hk_real *end = gx + 2 * oh * w;
    for (int64_t at = 0; at < all; at += 2 * ow) {
        const int64_t next = at + ow < all ? at + ow : at;
        const hk_vec g = LANES_OF(load(gy + at, ow), load(gy + next, ow), FIRST_HALVES);
        byte_vec place = {0};
        if (max)
            place = LANES_OF(load_bytes(winner + at, ow, all - at),
                             load_bytes(winner + next, ow, all - next), FIRST_HALVES);
        hk_vec upper[2], lower[2];
        spread(max, 0, g, place, upper);
        spread(max, 1, g, place, lower);
        for (int row = 0; row < (next > at ? 4 : 2); row++, gx += w) {
            store(gx, row % 2 ? lower[row / 2] : upper[row / 2], 2 * ow, end - gx);
            if (w % 2) gx[w - 1] = 0;
        }
    }
}

HK_INLINE void backward(bool max, const hk_real *gy, const uint8_t *winner, int64_t h, int64_t w,
                        hk_real *gx) {
    const int64_t oh = h / 2,
                  rest = w > 1 ? 2 * oh * w : 0; /* from there on nobody gets anything */
    if (w / 2 >= HK_LANES)
        backward_wide(max, gy, winner, oh, w, gx);
    else if (w / 2 > HK_LANES / 2)
        backward_narrow(max, gy, winner, oh, w, gx);
    else if (w / 2 > 0)
        backward_half(max, gy, winner, oh, w, gx);
    memset(gx + rest, 0, (size_t)(h * w - rest) * sizeof *gx);
}

static void max_2x2_backward(const void *gy, const uint8_t *winner, int64_t h, int64_t w,
                             void *gx) {
    backward(true, gy, winner, h, w, gx);
}

static void avg_2x2_backward(const void *gy, int64_t h, int64_t w, void *gx) {
    backward(false, gy, NULL, h, w, gx);
}

/* --- the mean of a plane ------------------------------------------------------------------------------------- */

static void mean(const void *data, int64_t planes, int64_t n, void *out) {
    const hk_real *x = data;
    hk_real *y = out;
    const hk_real count = (hk_real)n;
    for (int64_t p = 0; p < planes; p++, x += n) {
        hk_vec sum[4] = {{0}}; /* one add waits for the one before */
        int64_t i = 0;
        for (; i + 4 * HK_LANES <= n; i += 4 * HK_LANES) HK_UNROLL
        for (int k = 0; k < 4; k++) sum[k] += hk_vload(x + i + k * HK_LANES);
        for (; i + HK_LANES <= n; i += HK_LANES) sum[0] += hk_vload(x + i);
        if (i < n) sum[1] += hk_vload_part(x + i, n - i);
        y[p] = hk_vsum((sum[0] + sum[1]) + (sum[2] + sum[3])) / count;
    }
}

static void mean_backward(const void *grad, int64_t planes, int64_t n, void *out, bool accumulate) {
    const hk_real *gy = grad;
    hk_real *gx = out;
    for (int64_t p = 0; p < planes; p++, gx += n) {
        const hk_real g = gy[p] / (hk_real)n;
        if (accumulate)
            for (int64_t i = 0; i < n; i++) gx[i] += g;
        else
            for (int64_t i = 0; i < n; i++) gx[i] = g;
    }
}

const hk__pool2d_kernels HK_STAMPED(hk__pool2d) = {.max_2x2 = max_2x2,
                                                   .max_2x2_backward = max_2x2_backward,
                                                   .avg_2x2 = avg_2x2,
                                                   .avg_2x2_backward = avg_2x2_backward,
                                                   .mean = mean,
                                                   .mean_backward = mean_backward};
