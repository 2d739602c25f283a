/* conv_fixture.h: convolutions as their formula says, in double, and random sizes.
   SPDX-License-Identifier: MIT */
#ifndef CONV_FIXTURE_H
#define CONV_FIXTURE_H

#include "conv.h"
#include "testing.h"

typedef struct arrays {
    int64_t nx, nw, ny;
    double *x, *w, *b, *g;                     /* inputs, the gradient of y */
    double *y, *gx, *gw, *gb;                  /* what is expected */
    double *size_y, *size_x, *size_w, *size_b; /* sums of absolute values, for tolerances */
} arrays;

static inline int64_t draw(hk_random r, int64_t *at, int64_t low, int64_t high) {
    return low + (int64_t)(hk_random_uniform(r, (uint64_t)(*at)++) * (double)(high - low + 1));
}

/* Sizes of case `i`: every stride, padding, dilation and grouping, channels around whole vectors. */
static inline hk__conv random_conv(int64_t i) {
    static const int64_t channels[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48};
    const hk_random r = hk_random_stream(11, "conv", (uint64_t)i);
    int64_t at = 0;
    hk__conv c = {.n = draw(r, &at, 1, 3), .groups = 1};
    if (i % 16 == 7) c.n = 9 + i % 11; /* parts of the batch with several images */
    c.ic = channels[draw(r, &at, 0, COUNT(channels) - 1)];
    c.oc = channels[draw(r, &at, 0, COUNT(channels) - 1)];
    if (draw(r, &at, 0, 3) == 0) { /* groups, each of few channels */
        c.groups = draw(r, &at, 2, 20);
        c.ic = draw(r, &at, 0, 2) > 0 ? 1 : draw(r, &at, 2, 5);
        c.oc = draw(r, &at, 0, 2) > 0 ? 1 : draw(r, &at, 2, 5);
    }
    c.kh = draw(r, &at, 1, 7);
    c.kw = draw(r, &at, 1, 7);
    if (draw(r, &at, 0, 2) == 0) c.kw = c.kh;
    c.sh = draw(r, &at, 1, 3);
    c.sw = draw(r, &at, 1, 3);
    c.dh = draw(r, &at, 0, 2) > 0 ? 1 : draw(r, &at, 2, 3);
    c.dw = draw(r, &at, 0, 2) > 0 ? 1 : draw(r, &at, 2, 3);
    c.ph = draw(r, &at, 0, 3);
    c.pw = draw(r, &at, 0, 3);
    const int64_t reach_h = (c.kh - 1) * c.dh + 1, reach_w = (c.kw - 1) * c.dw + 1;
    c.h = draw(r, &at, reach_h > 2 * c.ph ? reach_h - 2 * c.ph : 1, reach_h + 9);
    c.w = draw(r, &at, reach_w > 2 * c.pw ? reach_w - 2 * c.pw : 1, reach_w + 20);
    c.oh = (c.h + 2 * c.ph - reach_h) / c.sh + 1;
    c.ow = (c.w + 2 * c.pw - reach_w) / c.sw + 1;
    return c;
}

static inline double *numbers(int64_t n) {
    double *a = calloc((size_t)n + 1, sizeof *a);
    assert_non_null(a);
    return a;
}

static inline void fill(double *a, int64_t n, const char *name, int64_t seed, double zeros) {
    const hk_random r = hk_random_stream(5, name, (uint64_t)seed);
    for (int64_t i = 0; i < n; i++) {
        const bool zero = hk_random_uniform(r, 2 * (uint64_t)i + 1) < zeros;
        a[i] = zero ? 0 : (double)(float)(2 * hk_random_uniform(r, 2 * (uint64_t)i) - 1);
    }
}

static inline void conv_reference(const hk__conv *c, const arrays *a) {
    const int64_t oc_all = c->groups * c->oc, ic_all = c->groups * c->ic;
    for (int64_t n = 0; n < c->n; n++)
        for (int64_t o = 0; o < oc_all; o++)
            for (int64_t i = 0; i < c->oh; i++)
                for (int64_t j = 0; j < c->ow; j++) {
                    const int64_t at = ((n * oc_all + o) * c->oh + i) * c->ow + j;
                    const double g = a->g[at];
                    a->y[at] = a->b[o];
                    a->size_y[at] = fabs(a->b[o]);
                    a->gb[o] += g;
                    a->size_b[o] += fabs(g);
                    for (int64_t k = 0; k < c->ic; k++)
                        for (int64_t u = 0; u < c->kh; u++)
                            for (int64_t v = 0; v < c->kw; v++) {
                                const int64_t row = i * c->sh - c->ph + u * c->dh;
                                const int64_t col = j * c->sw - c->pw + v * c->dw;
                                if (row < 0 || row >= c->h || col < 0 || col >= c->w) continue;
                                const int64_t channel = o / c->oc * c->ic + k;
                                const int64_t x =
                                    ((n * ic_all + channel) * c->h + row) * c->w + col;
                                const int64_t w = ((o * c->ic + k) * c->kh + u) * c->kw + v;
                                a->y[at] += a->w[w] * a->x[x];
                                a->size_y[at] += fabs(a->w[w] * a->x[x]);
                                a->gx[x] += g * a->w[w];
                                a->size_x[x] += fabs(g * a->w[w]);
                                a->gw[w] += g * a->x[x];
                                a->size_w[w] += fabs(g * a->x[x]);
                            }
                }
}

static inline arrays make_arrays(const hk__conv *c, int64_t seed, double zeros) {
    const int64_t oc = c->groups * c->oc;
    arrays a = {.nx = c->n * c->groups * c->ic * c->h * c->w,
                .nw = oc * c->ic * c->kh * c->kw,
                .ny = c->n * oc * c->oh * c->ow};
    double **const xs[] = {&a.x, &a.gx, &a.size_x}, **const ws[] = {&a.w, &a.gw, &a.size_w};
    double **const ys[] = {&a.g, &a.y, &a.size_y}, **const bs[] = {&a.b, &a.gb, &a.size_b};
    for (int k = 0; k < 3; k++) {
        *xs[k] = numbers(a.nx);
        *ws[k] = numbers(a.nw);
        *ys[k] = numbers(a.ny);
        *bs[k] = numbers(oc);
    }
    fill(a.x, a.nx, "x", seed, 0.1);
    fill(a.w, a.nw, "w", seed, 0);
    fill(a.b, oc, "b", seed, 0);
    fill(a.g, a.ny, "g", seed, zeros);
    conv_reference(c, &a);
    return a;
}

static inline void free_arrays(const arrays *a) {
    double *const all[] = {a->x,  a->w,  a->b,      a->g,      a->y,      a->gx,
                           a->gw, a->gb, a->size_y, a->size_x, a->size_w, a->size_b};
    for (int k = 0; k < 12; k++) free(all[k]);
}

static inline void conv_text(const hk__conv *c, char *text, size_t size) {
    snprintf(text, size,
             "n %d groups %d ic %d oc %d image %dx%d kernel %dx%d stride %d,%d padding %d,%d "
             "dilation %d,%d",
             (int)c->n, (int)c->groups, (int)c->ic, (int)c->oc, (int)c->h, (int)c->w, (int)c->kh,
             (int)c->kw, (int)c->sh, (int)c->sw, (int)c->ph, (int)c->pw, (int)c->dh, (int)c->dw);
}

#endif
