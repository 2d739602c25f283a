/* pool_fixture.h: pooling written out plainly in double, random settings, and planes of memory between guards.
   SPDX-License-Identifier: MIT */
#ifndef HK_POOL_FIXTURE_H
#define HK_POOL_FIXTURE_H

#include "testing.h"

#include "pool_kernels.h"
#include "tensor.h"

enum { GUARD = 64, PLANE = 72 * 72 };

/* --- random numbers --------------------------------------------------------------------------- */

static uint64_t pool_draws;

static inline int64_t random_below(int64_t n) {
    return hk_random_below(hk_random_stream(11, "pooling", 0), pool_draws++, (uint32_t)n);
}

static inline int64_t random_from(int64_t low, int64_t high) {
    return low + random_below(high - low + 1);
}

/* Eighths, so that sums in float are exact, few of them, so that equals are common; sometimes a value that compares in
   its own way. */
static inline void random_plane(int64_t n, bool special, double *x) {
    for (int64_t i = 0; i < n; i++) {
        x[i] = (double)random_from(-20, 20) / 8;
        const int64_t kind = special ? random_below(60) : 9;
        if (kind == 0) x[i] = NAN;
        if (kind == 1) x[i] = INFINITY;
        if (kind < 5 && kind > 1) x[i] = -INFINITY;
    }
}

/* --- the plain formulas --------------------------------------------------------------------------- */

/* One pooling of planes (h, w); what = adaptive: out is given, the settings are not used. */
typedef struct pooling {
    bool max, adaptive;
    hk_pool2d_config c; /* with its defaults filled in */
    int64_t h, w, oh, ow;
} pooling;

/* Windows along an axis, counted one by one. With ceil mode there is one more where elements are left over, unless it
   would begin behind the image. */
static inline int64_t plain_size(int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                                 int64_t dilation, bool ceil_mode) {
    int64_t n = 0;
    while (n * stride + dilation * (kernel - 1) <= in + 2 * padding - 1) n++;
    const bool left_over = (n - 1) * stride + dilation * (kernel - 1) < in + 2 * padding - 1;
    return n + (ceil_mode && left_over && n * stride < in + padding);
}

static inline void plain_sizes(pooling *p) {
    if (p->adaptive) return;
    const hk_pool2d_config *c = &p->c;
    p->oh = plain_size(p->h, c->kernel.h, c->stride.h, c->padding.h, c->dilation.h, c->ceil_mode);
    p->ow = plain_size(p->w, c->kernel.w, c->stride.w, c->padding.w, c->dilation.w, c->ceil_mode);
}

/* The rows (or columns) that window i covers: begin, begin + step ..., below end; they may lie outside of the image. */
typedef struct reach {
    int64_t begin, end, step;
} reach;

static inline reach reach_of(const pooling *p, bool rows, int64_t i) {
    const int64_t in = rows ? p->h : p->w, out = rows ? p->oh : p->ow;
    if (p->adaptive) {
        const int64_t begin = (int64_t)floor((double)(i * in) / (double)out);
        return (reach){begin, (int64_t)ceil((double)((i + 1) * in) / (double)out), 1};
    }
    const hk_pool2d_config *c = &p->c;
    const int64_t kernel = rows ? c->kernel.h : c->kernel.w,
                  stride = rows ? c->stride.h : c->stride.w,
                  padding = rows ? c->padding.h : c->padding.w,
                  dilation = rows ? c->dilation.h : c->dilation.w;
    const int64_t begin = i * stride - padding;
    return (reach){begin, begin + dilation * (kernel - 1) + 1, dilation};
}

static inline bool inside(const pooling *p, int64_t r, int64_t c) {
    return r >= 0 && r < p->h && c >= 0 && c < p->w;
}

/* The place of the winner of window (i, j) in the plane; -1: it saw none. */
static inline int64_t plain_winner(const pooling *p, const double *x, int64_t i, int64_t j) {
    const reach rows = reach_of(p, true, i), cols = reach_of(p, false, j);
    int64_t at = -1;
    for (int64_t r = rows.begin; r < rows.end; r += rows.step)
        for (int64_t c = cols.begin; c < cols.end; c += cols.step)
            if (inside(p, r, c) && (at < 0 || x[r * p->w + c] > x[at] || isnan(x[r * p->w + c])))
                at = r * p->w + c;
    return at;
}

/* What an average divides by. */
static inline double plain_divisor(const pooling *p, int64_t i, int64_t j) {
    const reach rows = reach_of(p, true, i), cols = reach_of(p, false, j);
    int64_t count = 0;
    for (int64_t r = rows.begin; r < rows.end; r++)
        for (int64_t c = cols.begin; c < cols.end; c++) {
            const bool padded = r < p->h + p->c.padding.h && c < p->w + p->c.padding.w;
            count += p->c.exclude_padding || p->adaptive ? inside(p, r, c) : padded;
        }
    return (double)count;
}

/* y (and winner, if not NULL) of x, and y as forward mode has it for a direction t. */
static inline void plain_forward(const pooling *p, const double *x, const double *t, double *y,
                                 double *ty, int64_t *winner) {
    for (int64_t o = 0; o < p->oh * p->ow; o++) {
        const int64_t i = o / p->ow, j = o % p->ow;
        const reach rows = reach_of(p, true, i), cols = reach_of(p, false, j);
        const int64_t at = p->max ? plain_winner(p, x, i, j) : -1;
        if (winner) winner[o] = at;
        y[o] = p->max ? at < 0 ? -INFINITY : x[at] : 0;
        ty[o] = at < 0 ? 0 : t[at];
        if (p->max) continue;
        const double divisor = plain_divisor(p, i, j);
        for (int64_t r = rows.begin; r < rows.end; r++)
            for (int64_t c = cols.begin; c < cols.end; c++)
                if (inside(p, r, c)) {
                    y[o] += x[r * p->w + c] / divisor;
                    ty[o] += t[r * p->w + c] / divisor;
                }
    }
}

/* gx of gy, added to what is there. */
static inline void plain_backward(const pooling *p, const double *x, const double *gy, double *gx) {
    for (int64_t o = 0; o < p->oh * p->ow; o++) {
        const int64_t i = o / p->ow, j = o % p->ow;
        const reach rows = reach_of(p, true, i), cols = reach_of(p, false, j);
        if (p->max) {
            const int64_t at = plain_winner(p, x, i, j);
            if (at >= 0) gx[at] += gy[o];
            continue;
        }
        const double g = gy[o] / plain_divisor(p, i, j);
        for (int64_t r = rows.begin; r < rows.end; r++)
            for (int64_t c = cols.begin; c < cols.end; c++)
                if (inside(p, r, c)) gx[r * p->w + c] += g;
    }
}

/* --- random settings --------------------------------------------------------------------------------- */

static inline void describe(const pooling *p, char *text, size_t size) {
    const hk_pool2d_config *c = &p->c;
    snprintf(text, size,
             "%s%s (%d, %d) to (%d, %d), kernel (%d, %d), stride (%d, %d), padding (%d, %d), "
             "dilation (%d, %d)%s%s",
             p->adaptive ? "adaptive " : "", p->max ? "max" : "average", (int)p->h, (int)p->w,
             (int)p->oh, (int)p->ow, (int)c->kernel.h, (int)c->kernel.w, (int)c->stride.h,
             (int)c->stride.w, (int)c->padding.h, (int)c->padding.w, (int)c->dilation.h,
             (int)c->dilation.w, c->ceil_mode ? ", ceil" : "", c->exclude_padding ? ", real" : "");
}

/* Windows of all kinds, images down to the kernel's size. Every tenth: kernel 2, stride 2; every tenth: a kernel with
   more than 256 places; every tenth: as large as the image. */
static inline pooling random_pooling(bool max, bool adaptive) {
    pooling p = {.max = max, .adaptive = adaptive};
    const int64_t kind = random_below(10);
    do {
        p.h = random_from(1, 20);
        p.w = random_from(1, 20);
        if (kind == 1) p.h += 20, p.w += 20;
        const hk_pair k = kind == 0   ? HK_SQUARE(2)
                          : kind == 1 ? (hk_pair){random_from(16, 20), random_from(17, 20)}
                          : kind == 2 ? (hk_pair){p.h, p.w}
                                      : (hk_pair){random_from(1, 6), random_from(1, 6)};
        p.c = (hk_pool2d_config){.kernel = k,
                                 .stride = {random_from(1, 5), random_from(1, 5)},
                                 .padding = {random_from(0, k.h / 2), random_from(0, k.w / 2)},
                                 .dilation = {1, 1},
                                 .ceil_mode = random_below(2),
                                 .exclude_padding = random_below(2)};
        if (kind == 0) p.c.stride = k;
        if (kind == 0 || kind == 2) p.c.padding = HK_SQUARE(0);
        if (max && kind > 2) p.c.dilation = (hk_pair){random_from(1, 3), random_from(1, 3)};
        if (adaptive) {
            p.c = (hk_pool2d_config){0};
            p.oh = kind == 0 ? p.h : kind == 1 ? 2 : kind == 2 ? 1 : random_from(1, p.h + 2);
            p.ow = kind == 0 ? p.w : kind == 1 ? 1 : kind == 2 ? 1 : random_from(1, p.w + 2);
            if (kind == 0) p.h *= 2, p.w *= 2;
        }
        plain_sizes(&p);
    } while (p.oh < 1 || p.ow < 1);
    return p;
}

/* --- comparing, and memory between guards --------------------------------------------------------------- */

static inline bool same_or_close(double got, double want, double tolerance) {
    return (isnan(got) && isnan(want)) || is_close(got, want, tolerance);
}

/* n elements of float or double with a guard before and behind, which `checked` looks at. They start as NaN. */
typedef struct guarded {
    bool f64;
    int64_t n;
    char *memory;
    void *data;
} guarded;

static inline guarded guarded_new(bool f64, int64_t n, int64_t shift) {
    const size_t size = f64 ? sizeof(double) : sizeof(float);
    guarded g = {.f64 = f64, .n = n, .memory = malloc((size_t)(n + shift + 2 * GUARD) * size)};
    assert_non_null(g.memory);
    memset(g.memory, 0xff, (size_t)(n + shift + 2 * GUARD) * size); /* all bits: a NaN */
    g.data = g.memory + (size_t)(GUARD + shift) * size;
    return g;
}

/* What kernels only read: nothing around it, so that AddressSanitizer sees them read too far. */
static inline guarded input_new(bool f64, int64_t n) {
    guarded g = {.f64 = f64, .n = n, .memory = malloc((size_t)n * (f64 ? 8 : 4))};
    assert_non_null(g.memory);
    g.data = g.memory;
    return g;
}

static inline void guarded_set(guarded *g, const double *x) {
    for (int64_t i = 0; i < g->n; i++)
        if (g->f64)
            ((double *)g->data)[i] = x[i];
        else
            ((float *)g->data)[i] = (float)x[i];
}

static inline double guarded_at(const guarded *g, int64_t i) {
    return g->f64 ? ((const double *)g->data)[i] : (double)((const float *)g->data)[i];
}

/* The elements are `want`, and nobody wrote around them. `where`: the settings, for the message. */
static inline void guarded_check(const guarded *g, const char *where, const char *what,
                                 const double *want, double tolerance) {
    const size_t size = g->f64 ? sizeof(double) : sizeof(float);
    for (size_t i = 0; i < GUARD * size; i++) {
        const unsigned char before = ((unsigned char *)g->data)[-1 - (ptrdiff_t)i],
                            behind = ((unsigned char *)g->data)[(size_t)g->n * size + i];
        if (before != 0xff || behind != 0xff)
            fail_msg("%s: %s: byte %d around it", where, what, (int)i);
    }
    for (int64_t i = 0; i < g->n; i++)
        if (!same_or_close(guarded_at(g, i), want[i], tolerance))
            fail_msg("%s: %s: element %d is %.9g, not %.9g", where, what, (int)i, guarded_at(g, i),
                     want[i]);
}

static inline void guarded_free(guarded *g) { free(g->memory); }

#endif
