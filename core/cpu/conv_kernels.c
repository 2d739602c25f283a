/* conv_kernels.c: convolutions of one image, stamped for each instruction set; conv_kernels.h says how.
   SPDX-License-Identifier: MIT */
#include "conv_kernels.h"

#include <string.h>

#include "gemm.h"
#include "simd.h"

enum { L = HK_LANES };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t part_begin(int64_t total, int64_t parts, int64_t i) { return total * i / parts; }

/* ---- between (channel, row, column) and [row][column][channel] ---- */

/* One row of an image: `count` columns of `ic` channels, these `plane` apart. */
static void pack_row(const hk_real *x, int64_t plane, int64_t ic, int64_t count, hk_real *out) {
    int64_t c = 0;
    if (ic == 1) {
        memcpy(out, x, (size_t)count * sizeof *x);
        return;
    }
    for (; count >= 4 && c + L <= ic; c += L)
        for (int64_t j = 0; j < count; j += 4) {
            const int64_t at = least(j, count - 4); /* the last four may overlap others */
            hk_vec v[4];
            hk_vcolumns(x + c * plane + at, plane, v);
            HK_UNROLL
            for (int t = 0; t < 4; t++) hk_vstore(out + (at + t) * ic + c, v[t]);
        }
    for (; c < ic; c++)
        for (int64_t j = 0; j < count; j++) out[j * ic + c] = x[c * plane + j];
}

static void unpack_row(const hk_real *row, int64_t plane, int64_t ic, int64_t count, hk_real *gx,
                       bool accumulate) {
    for (int64_t j = 0; j < count; j += L) {
        const int64_t here = least(L, count - j);
        for (int64_t c = 0; c < ic; c += 4) {
            hk_vec v[4];
            hk_vcolumns(row + j * ic + c, ic, v);
            for (int64_t t = 0; t < least(4, ic - c); t++) {
                hk_real *to = gx + (c + t) * plane + j;
                hk_vstore_part(to, accumulate ? v[t] + hk_vload_part(to, here) : v[t], here);
            }
        }
    }
}

static void pack_image(const hk__conv_plan *p, const void *from, void *image) {
    const hk__conv *c = &p->c;
    const hk_real *x = from;
    hk_real *out = image;
    const int64_t count = least(c->w, p->cols - c->pw), last = least(c->h, p->rows - c->ph);
    memset(out, 0, (size_t)p->image * sizeof *out);
    for (int64_t i = 0; i < last && count > 0; i++)
        pack_row(x + i * c->w, c->h * c->w, c->ic, count,
                 out + ((i + c->ph) * p->cols + c->pw) * c->ic);
}

static void unpack_image(const hk__conv_plan *p, const void *image, void *to, bool accumulate) {
    const hk__conv *c = &p->c;
    const hk_real *from = image;
    hk_real *gx = to;
    const int64_t count = least(c->w, p->cols - c->pw), last = least(c->h, p->rows - c->ph);
    if (!accumulate && (count < c->w || last < c->h)) /* what no window reaches */
        memset(gx, 0, (size_t)(c->ic * c->h * c->w) * sizeof *gx);
    for (int64_t i = 0; i < last && count > 0; i++)
        unpack_row(from + ((i + c->ph) * p->cols + c->pw) * c->ic, c->h * c->w, c->ic, count,
                   gx + i * c->w, accumulate);
}

/* [place][width] -> (oc, places) */
static void unpack_turned(const hk__conv_plan *p, const hk_real *y, hk_real *out) {
    for (int64_t i = 0; i < p->places; i += L) {
        const int64_t here = least(L, p->places - i);
        for (int64_t o = 0; o < p->c.oc; o += 4) {
            hk_vec v[4];
            hk_vcolumns(y + i * p->width + o, p->width, v);
            for (int64_t t = 0; t < least(4, p->c.oc - o); t++)
                if (here == L)
                    hk_vstore(out + (o + t) * p->places + i, v[t]);
                else
                    hk_vstore_part(out + (o + t) * p->places + i, v[t], here);
        }
    }
}

/* [oc][rows of cols, of which ow are outputs] -> (oc, oh, ow), and the bias is added. */
static void unpack_flat(const hk__conv_plan *p, const hk_real *y, const hk_real *bias,
                        hk_real *out) {
    const int64_t w = p->c.ow, last = w / L * L;
    for (int64_t o = 0; o < p->c.oc; o++, y += p->length) {
        const hk_vec b = hk_vset1(bias[o]);
        for (int64_t i = 0; i < p->c.oh; i++, out += w) {
            const hk_real *row = y + i * p->cols;
            for (int64_t j = 0; j < last; j += L) hk_vstore(out + j, hk_vload(row + j) + b);
            if (last < w) hk_vstore_part(out + last, hk_vload(row + last) + b, w - last);
        }
    }
}

static void unpack_output(const hk__conv_plan *p, const void *y, const void *packed, void *out) {
    if (p->flat)
        unpack_flat(p, y, (const hk_real *)packed + p->packed - p->width, out);
    else
        unpack_turned(p, y, out);
}

/* ---- forward ---- */

/* First output channel of a panel, in elements. */
static int64_t panel_begin(const hk__conv_plan *p, int64_t panel) {
    return part_begin(p->width / L, p->panels, panel) * L;
}

/* Flat: the weights as they are, and the biases behind. */
static void pack_flat(const hk__conv_plan *p, const hk_real *w, const hk_real *bias, hk_real *out) {
    const int64_t count = p->c.oc * p->c.kh * p->c.kw;
    memcpy(out, w, (size_t)count * sizeof *w);
    for (int64_t o = 0; o < p->c.oc; o++) out[p->packed - p->width + o] = bias ? bias[o] : 0;
}

static void pack_forward(const hk__conv_plan *p, const void *weights, const void *biases,
                         int64_t panel, void *packed) {
    const hk__conv *c = &p->c;
    const hk_real *w = weights, *bias = biases;
    if (p->flat && panel == 0) pack_flat(p, w, bias, packed);
    if (p->flat) return;
    const int64_t first = panel_begin(p, panel), width = panel_begin(p, panel + 1) - first;
    const int64_t taps = c->kh * c->kw, steps = taps * c->ic;
    hk_real *out = (hk_real *)packed + first * (steps + 1);
    for (int64_t o = 0; o < width; o++) {
        const bool real = first + o < c->oc;
        const hk_real *from = w + (first + o) * steps;
        for (int64_t s = 0; s < steps; s++) /* s: tap, channel */
            out[s * width + o] = real ? from[s % c->ic * taps + s / c->ic] : 0;
        out[steps * width + o] = real && bias ? bias[first + o] : 0;
    }
}

static void forward_flat(const hk__conv_plan *p, const hk_real *x, const hk_real *w, hk_real *y) {
    const hk__conv *c = &p->c;
    const hk__gemm_kernels *tiles = &HK_STAMPED(hk__gemm);
    const int64_t vecs = p->length / L, taps = c->kh * c->kw,
                  pieces = (vecs + tiles->tile_vecs - 1) / tiles->tile_vecs;
    for (int64_t piece = 0; piece < pieces; piece++) {
        const int64_t first = part_begin(vecs, pieces, piece),
                      count = part_begin(vecs, pieces, piece + 1) - first;
        const int64_t most = tiles->tile_rows[count - 1], blocks = (c->oc + most - 1) / most;
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t o = part_begin(c->oc, blocks, b),
                          rows = part_begin(c->oc, blocks, b + 1) - o;
            tiles->tile[count - 1][rows - 1](&(hk__gemm_tile){.runs = c->kh,
                                                              .k = c->kw,
                                                              .p = w + o * taps,
                                                              .p_row = taps,
                                                              .p_step = 1,
                                                              .p_run = c->kw,
                                                              .q = x + first * L,
                                                              .q_ld = 1,
                                                              .q_run = p->run_step,
                                                              .c = y + o * p->length + first * L,
                                                              .ldc = p->length});
        }
    }
}

static void forward(const hk__conv_plan *p, const void *image, const void *packed, void *y) {
    const hk__conv *c = &p->c;
    const hk_real *x = image;
    const int64_t steps = c->kh * c->kw * c->ic, outer_steps = p->runs * p->run;
    if (p->flat) {
        forward_flat(p, x, packed, y);
        return;
    }
    for (int64_t panel = 0; panel < p->panels; panel++) {
        const int64_t first = panel_begin(p, panel), width = panel_begin(p, panel + 1) - first;
        const hk_real *q = (const hk_real *)packed + first * (steps + 1);
        const int vecs = (int)(width / L);
        hk__gemm_tile_fn *const *tile = HK_STAMPED(hk__gemm).tile[vecs - 1];
        const int64_t most = HK_STAMPED(hk__gemm).tile_rows[vecs - 1],
                      tiles = (c->ow + most - 1) / most;
        hk__gemm_tile args = {.runs = p->runs,
                              .k = p->run,
                              .p_row = c->sw * c->ic,
                              .p_step = 1,
                              .p_run = p->run_step,
                              .q_ld = width,
                              .q_run = p->run * width,
                              .ldc = p->width};
        for (int64_t i = 0; i < c->oh; i++)
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t j = part_begin(c->ow, tiles, t),
                              rows = part_begin(c->ow, tiles, t + 1) - j;
                args.c = (hk_real *)y + (i * c->ow + j) * p->width + first;
                for (int64_t u = 0; u < p->outer; u++) {
                    args.p = x + (i * c->sh * p->cols + j * c->sw) * c->ic + u * p->outer_step;
                    args.q = q + u * outer_steps * width;
                    args.accumulate = u > 0;
                    args.bias = u == 0 ? q + steps * width : NULL;
                    tile[rows - 1](&args);
                }
            }
    }
}

/* ---- lists of what is not zero ---- */

/* Appends those lanes of v that are not 0, with their numbers; returns how many. Writes up to L of both. */
HK_INLINE int64_t append(hk_vec v, const int32_t *number, hk_real *value, int32_t *out) {
#if defined(HK_STAMP_avx512)
    const __mmask16 some = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    _mm512_storeu_ps(value, _mm512_maskz_compress_ps(some, v));
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(some, _mm512_loadu_si512(number)));
    return __builtin_popcount(some);
#else
    int64_t n = 0;
    for (int i = 0; i < L; i++) {
        value[n] = v[i];
        out[n] = number[i];
        n += v[i] != 0;
    }
    return n;
#endif
}

/* ---- chunks: R runs of V vectors in registers ---- */

#if HK_VECTOR_REGISTERS == 32
enum { MOST_1 = 12, MOST_3 = 8, MOST_5 = 4 };
#else
enum { MOST_1 = 12, MOST_3 = 4, MOST_5 = 2 };
#endif
enum { MOST = 24 };

typedef struct weights_args {
    int64_t count; /* of the list */
    const hk_real *value;
    const int32_t *place;
    const hk_real *image;
    int64_t run_step;
    hk_real *sum;
} weights_args;

/* acc += element s of the list times its window. */
HK_INLINE void weights_add(const int runs, const int vecs, const weights_args *a, int64_t s,
                           hk_vec *acc) {
    const hk_vec g = hk_vset1(a->value[s]);
    const hk_real *x = a->image + a->place[s];
    HK_UNROLL
    for (int r = 0; r < runs; r++, x += a->run_step) {
        HK_UNROLL
        for (int v = 0; v < vecs; v++)
            acc[r * vecs + v] = hk_vfma(g, hk_vload(x + v * L), acc[r * vecs + v]);
    }
}

/* sum += value · window, for the whole list. A chunk of few vectors takes several elements of the list at a time, each
   with sums of its own: one sum would wait for the FMA before. */
HK_INLINE void weights_chunk(const int runs, const int vecs, const weights_args *a) {
    const int size = runs * vecs, ways = size >= 6 ? 1 : size >= 3 ? 2 : 4;
    hk_vec acc[MOST];
    HK_UNROLL
    for (int t = 0; t < ways * size; t++)
        acc[t] = t < size ? hk_vload(a->sum + t * L) : hk_vset1(0);
    int64_t s = 0;
    for (; s + ways <= a->count; s += ways) {
        HK_UNROLL
        for (int k = 0; k < ways; k++) weights_add(runs, vecs, a, s + k, acc + k * size);
    }
    for (; s < a->count; s++) weights_add(runs, vecs, a, s, acc);
    HK_UNROLL
    for (int t = 0; t < size; t++) {
        HK_UNROLL
        for (int k = 1; k < ways; k++) acc[t] += acc[k * size + t];
        hk_vstore(a->sum + t * L, acc[t]);
    }
}

typedef struct data_args {
    int64_t places, width;
    const int32_t *number, *place;  /* of each place: its number, and where its window begins */
    const int32_t *count, *channel; /* by number: how many are in its list, the list's channels */
    const hk_real *value, *packed;
    hk_real *image;
    int64_t run_step;
} data_args;

/* For each place: window += Σ value · weights of its channel. */
HK_INLINE void data_chunk(const int runs, const int vecs, const data_args *a) {
    const int64_t step = a->run_step;
    for (int64_t i = 0; i < a->places; i++) {
        const int64_t number = a->number[i], count = a->count[number];
        if (count == 0) continue;
        const hk_real *value = a->value + number * a->width;
        const int32_t *channel = a->channel + number * a->width;
        hk_vec acc[MOST];
        HK_UNROLL
        for (int t = 0; t < runs * vecs; t++) acc[t] = hk_vset1(0);
        for (int64_t s = 0; s < count; s++) {
            const hk_vec g = hk_vset1(value[s]);
            const hk_real *w = a->packed + (int64_t)channel[s] * (runs * vecs * L);
            HK_UNROLL
            for (int t = 0; t < runs * vecs; t++) acc[t] = hk_vfma(g, hk_vload(w + t * L), acc[t]);
        }
        hk_real *x = a->image + a->place[i];
        HK_UNROLL
        for (int r = 0; r < runs; r++) {
            HK_UNROLL
            for (int v = 0; v < vecs; v++) {
                hk_real *to = x + r * step + v * L;
                hk_vstore(to, hk_vload(to) + acc[r * vecs + v]);
            }
        }
    }
}

#define CHUNK(r, v)                                                                                \
    static void weights_##r##x##v(const weights_args *a) { weights_chunk(r, v, a); }               \
    static void data_##r##x##v(const data_args *a) { data_chunk(r, v, a); }
#define WEIGHTS_NAME(r, v) [r][v] = weights_##r##x##v,
#define DATA_NAME(r, v) [r][v] = data_##r##x##v,
#define TO_2(X, r) X(r, 1) X(r, 2)
#define TO_4(X, r) TO_2(X, r) X(r, 3) X(r, 4)
#define TO_8(X, r) TO_4(X, r) X(r, 5) X(r, 6) X(r, 7) X(r, 8)
#define TO_12(X, r) TO_8(X, r) X(r, 9) X(r, 10) X(r, 11) X(r, 12)
#if HK_VECTOR_REGISTERS == 32
#define CHUNKS(X) TO_12(X, 1) TO_8(X, 3) TO_4(X, 5)
#else
#define CHUNKS(X) TO_12(X, 1) TO_4(X, 3) TO_2(X, 5)
#endif
/* clang-format off */
CHUNKS(CHUNK)
static void (*const weights_functions[6][MOST_1 + 1])(const weights_args *) = {CHUNKS(WEIGHTS_NAME)};
static void (*const data_functions[6][MOST_1 + 1])(const data_args *) = {CHUNKS(DATA_NAME)};
/* clang-format on */

/* ---- by weights ---- */

static void by_weights(const hk__conv_plan *p, const void *gradients, const void *image, void *sums,
                       double *bias, void *room) {
    const int64_t n = p->places;
    hk_real *value = room;
    int32_t *place = (int32_t *)(void *)(value + n + L);
    for (int64_t o = 0; o < p->c.oc; o++) {
        const hk_real *g = (const hk_real *)gradients + o * n;
        int64_t count = 0, i = 0;
        hk_vec total = hk_vset1(0);
        for (; i + L <= n; i += L) {
            const hk_vec v = hk_vload(g + i);
            total += v;
            count += append(v, p->place + i, value + count, place + count);
        }
        if (i < n) {
            const hk_vec v = hk_vload_part(g + i, n - i);
            total += v;
            count += append(v, p->place + i, value + count, place + count);
        }
        if (bias) bias[o] += (double)hk_vsum(total);
        for (int k = 0; sums && k < p->n_chunks; k++) {
            const hk__conv_chunk *chunk = &p->chunk[k];
            weights_functions[chunk->runs][chunk->vecs](
                &(weights_args){.count = count,
                                .value = value,
                                .place = place,
                                .image = (const hk_real *)image + chunk->offset,
                                .run_step = p->run_step,
                                .sum = (hk_real *)sums + o * p->window + chunk->at});
        }
    }
}

static void unpack_weights(const hk__conv_plan *p, void *sums, int64_t parts, int64_t step,
                           void *to, bool accumulate) {
    hk_real *sum = sums, *gw = to;
    for (int64_t i = 0; i < p->window; i += L) {
        hk_vec total = hk_vload(sum + i);
        for (int64_t b = 1; b < parts; b++) total += hk_vload(sum + b * step + i);
        hk_vstore(sum + i, total);
    }
    for (int64_t i = 0; i < p->window; i++) {
        const int32_t at = p->weight[i];
        if (at >= 0) gw[at] = accumulate ? gw[at] + sum[i] : sum[i];
    }
}

/* ---- by data ---- */

static void pack_data(const hk__conv_plan *p, const void *weights, void *packed) {
    const int64_t filter = p->c.ic * p->c.kh * p->c.kw;
    hk_real *out = packed;
    for (int k = 0; k < p->n_chunks; k++) {
        const hk__conv_chunk *chunk = &p->chunk[k];
        const int32_t *at = p->weight + chunk->at;
        for (int64_t o = 0; o < p->c.oc; o++) {
            const hk_real *w = (const hk_real *)weights + o * filter;
            for (int64_t i = 0; i < chunk->runs * chunk->vecs * L; i++)
                *out++ = at[i] >= 0 ? w[at[i]] : 0;
        }
    }
}

/* Lists, for each place, the gradients that are not 0, with their channels, in segments of `width`. */
static void list_channels(const hk__conv_plan *p, const hk_real *g, hk_real *value,
                          int32_t *channel, int32_t *count) {
    const int64_t n = p->places, width = p->width;
    memset(count, 0, (size_t)n * sizeof *count);
    int64_t o = 0;
    for (; n >= 4 && o + L <= p->c.oc; o += L) {
        int32_t number[L];
        for (int t = 0; t < L; t++) number[t] = (int32_t)(o + t);
        for (int64_t i = 0; i < n; i += 4) {
            const int64_t at = least(i, n - 4); /* the last four may overlap others */
            hk_vec v[4];
            hk_vcolumns(g + o * n + at, n, v);
            for (int64_t t = i - at; t < 4; t++) {
                const int64_t to = (at + t) * width + count[at + t];
                count[at + t] += (int32_t)append(v[t], number, value + to, channel + to);
            }
        }
    }
    for (; o < p->c.oc; o++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t to = i * width + count[i];
            value[to] = g[o * n + i];
            channel[to] = (int32_t)o;
            count[i] += value[to] != 0;
        }
}

/* Places go down the columns: from one place to the next, windows then either meet in whole vectors or not at
   all, and a vector that was just written can be read again at once. */
static void by_data(const hk__conv_plan *p, const void *g, const void *packed, void *image,
                    void *room) {
    hk_real *value = room;
    int32_t *channel = (int32_t *)(void *)(value + p->places * p->width);
    int32_t *count = channel + p->places * p->width;
    list_channels(p, g, value, channel, count);
    for (int k = 0; k < p->n_chunks; k++) {
        const hk__conv_chunk *chunk = &p->chunk[k];
        data_functions[chunk->runs][chunk->vecs](
            &(data_args){.places = p->places,
                         .width = p->width,
                         .number = p->column,
                         .place = p->column_place,
                         .count = count,
                         .channel = channel,
                         .value = value,
                         .packed = (const hk_real *)packed + chunk->at * p->c.oc,
                         .image = (hk_real *)image + chunk->offset,
                         .run_step = p->run_step});
    }
}

extern const hk__conv_kernels HK_STAMPED(hk__conv);
const hk__conv_kernels HK_STAMPED(hk__conv) = {
    .lanes = L,
    .element = sizeof(hk_real),
    .most_vecs = {[1] = MOST_1, [3] = MOST_3, [5] = MOST_5},
    .pack_image = pack_image,
    .unpack_image = unpack_image,
    .pack_forward = pack_forward,
    .forward = forward,
    .unpack_output = unpack_output,
    .by_weights = by_weights,
    .unpack_weights = unpack_weights,
    .pack_data = pack_data,
    .by_data = by_data,
};
