/* curve.c: f and f' of an activation as lines that can be drawn.
   SPDX-License-Identifier: MIT */
#include "curve.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Neighbours that differ by less than this share of the whole height look connected. */
static const double visible = 0.004;
/* A curve with more to it than this many points between the first ones is drawn as it is by then. */
enum { ADDED_MOST = 100000 };

typedef struct sampler {
    subject *subject;
    hk_tensor *one; /* x of one element */
    int which;      /* CURVE_VALUE or CURVE_SLOPE */
    curve_line *line;
    double tolerance;
    int added;
    bool ok;
} sampler;

/* --- lists ------------------------------------------------------------------------------------ */

static void *grow(void *items, int count, int *capacity, size_t size) {
    if (count < *capacity) return items;
    const int more = *capacity ? 2 * *capacity : 256;
    void *moved = realloc(items, (size_t)more * size);
    if (moved) *capacity = more;
    return moved;
}

static void add_point(sampler *s, double x, double y) {
    curve_line *line = s->line;
    curve_point *moved = grow(line->point, line->count, &line->capacity, sizeof *moved);
    if (!moved) {
        s->ok = false;
        return;
    }
    line->point = moved;
    moved[line->count++] = (curve_point){.x = x, .y = y, .gap = !isfinite(y)};
}

static void add_end(sampler *s, double x, double y, bool closed) {
    curve_line *line = s->line;
    curve_end *moved = grow(line->end, line->ends, &line->ends_capacity, sizeof *moved);
    if (!moved) {
        s->ok = false;
        return;
    }
    line->end = moved;
    moved[line->ends++] = (curve_end){x, y, closed};
}

void curve_free(curve *c) {
    for (int k = 0; k < CURVE_LINES; k++) {
        free(c->line[k].point);
        free(c->line[k].end);
    }
    *c = (curve){0};
}

/* --- jumps ------------------------------------------------------------------------------------ */

static double value_at(sampler *s, float x) {
    float y = NAN, slope = NAN;
    if (!subject_values(s->subject, s->one, &x, &y, &slope)) s->ok = false;
    return (double)(s->which == CURVE_VALUE ? y : slope);
}

/* Floats as integers in the order of their values, both zeros being 0. */
static int64_t rank_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & INT32_MAX) : bits;
}

static float float_of(int64_t rank) {
    const int32_t bits = (int32_t)(rank < 0 ? -rank : rank);
    float x;
    memcpy(&x, &bits, sizeof x);
    return rank < 0 ? -x : x;
}

/* How many characters a number has: a kink is at 3, not at 2.99999976. Kernels take denormals for 0. */
static int characters(float x) {
    char text[32];
    return snprintf(text, sizeof text, "%.9g", fabsf(x) < FLT_MIN ? 0.0 : (double)x);
}

/* Adds what is needed between two neighbours a < b: points, or a gap. */
static void join(sampler *s, float a, double ya, float b, double yb) {
    const int64_t left = rank_of(a), right = rank_of(b);
    if (!s->ok || s->added >= ADDED_MOST || !isfinite(ya) || !isfinite(yb) ||
        !(fabs(yb - ya) > s->tolerance))
        return;
    if (right - left <= 1) {
        const bool at_b = characters(b) < characters(a);
        add_point(s, (double)b, NAN);
        add_end(s, (double)a, ya, !at_b);
        add_end(s, (double)b, yb, at_b);
        return;
    }
    const float middle = float_of(left + (right - left) / 2);
    const double y = value_at(s, middle);
    s->added++;
    join(s, a, ya, middle, y);
    add_point(s, (double)middle, y);
    join(s, middle, y, b, yb);
}

/* --- a curve ---------------------------------------------------------------------------------- */

static void find_limits(curve_line *line, int n, const float *y) {
    line->low = INFINITY;
    line->high = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (!isfinite(y[i])) continue;
        line->low = fmin(line->low, (double)y[i]);
        line->high = fmax(line->high, (double)y[i]);
    }
}

static void trace(sampler *s, int n, const float *x, const float *y) {
    find_limits(s->line, n, y);
    s->tolerance = visible * (s->line->high - s->line->low);
    for (int i = 0; i < n; i++) {
        if (i > 0) join(s, x[i - 1], (double)y[i - 1], x[i], (double)y[i]);
        add_point(s, (double)x[i], (double)y[i]);
    }
}

bool curve_sample(subject *of, double low, double high, int points, curve *made) {
    *made = (curve){0};
    hk_context *ctx = hk_module_context(of->module);
    float *at = calloc(3 * (size_t)points, sizeof *at);
    hk_tensor *x = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(points, 1)));
    hk_tensor *one = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(1, 1)));
    bool ok = at && x && one;
    for (int i = 0; ok && i < points; i++) at[i] = (float)(low + (high - low) * i / (points - 1));
    ok = ok && subject_values(of, x, at, at + points, at + 2 * points);
    for (int which = 0; ok && which < CURVE_LINES; which++) {
        sampler s = {of, one, which, &made->line[which], 0, 0, true};
        trace(&s, points, at, at + (which + 1) * points);
        ok = s.ok;
    }
    hk_tensor_destroy(x);
    hk_tensor_destroy(one);
    free(at);
    return ok;
}
