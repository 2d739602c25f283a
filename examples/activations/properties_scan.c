/* properties_scan.c: the facts of all floats, or of every stride-th, from what a walk has noted.
   SPDX-License-Identifier: MIT */
#include "progress.h"
#include "properties_walk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- several workers into one --------------------------------------------------------------- */

static void merge_best(best *a, const best *b) {
    if (b->key > a->key)
        *a = *b;
    else if (b->key == a->key)
        a->last = b->last;
}

/* `b` lies behind `a`, farther from 0; low is its least key. */
static void merge_fall(fall *a, const fall *b, int32_t low) {
    add_fall(a, low);
    if (b->ulps > a->ulps) a->ulps = b->ulps;
    if (b->top > a->top) a->top = b->top;
}

static void merge_side(side *a, const side *b) {
    const int32_t high = b->best[HIGH].key, low = ~b->best[LOW].key;
    merge_fall(&a->down, &b->down, a->sign > 0 ? low : mirrored(high));
    merge_fall(&a->up, &b->up, ~(a->sign > 0 ? high : mirrored(low)));
    for (int k = 0; k < EXTREMES; k++) merge_best(&a->best[k], &b->best[k]);
    a->zeros.share += b->zeros.share;
    a->flats.share += b->flats.share;
    if (b->not_limit != UINT32_MAX) a->not_limit = b->not_limit;
}

/* --- blocks into floats --------------------------------------------------------------------- */

/* Fills the evaluator with the magnitudes from `at` on, the last one repeated. */
static bool evaluate_stretch(evaluator *e, double sign, uint32_t at, uint32_t to) {
    for (int64_t i = 0; i < e->n; i++)
        e->x[i] = (float)sign * float_of(to - at < (uint32_t)i ? to : at + (uint32_t)i);
    return evaluate(e);
}

/* Of all floats with magnitudes from `from` to `to`: raises the key to the greatest, and keeps
   the first and last that have it. */
static bool search(evaluator *e, double sign, int which, uint32_t from, uint32_t to, best *found) {
    for (uint64_t at = from; at <= to; at += (uint64_t)e->n) {
        if (!evaluate_stretch(e, sign, (uint32_t)at, to)) return false;
        const float *v = is_slope(which) ? e->slope : e->y;
        for (int64_t i = 0; i < e->n && i <= (int64_t)(to - at); i++) {
            const int32_t key = key_of(v[i] + 0.0f), way = is_least(which) ? ~key : key;
            const uint32_t bits = (uint32_t)at + (uint32_t)i;
            if (way > found->key) *found = (best){way, bits, bits};
            if (way != found->key) continue;
            found->first = bits < found->first ? bits : found->first;
            found->last = bits > found->last ? bits : found->last;
        }
    }
    return true;
}

/* The floats of a block and those between it and its neighbours. */
static void around(uint32_t index, uint32_t stride, uint32_t *from, uint32_t *to) {
    const uint64_t end = ((uint64_t)index + BLOCK) * stride;
    *from = index ? (index - 1) * stride : 0;
    *to = end < MAGNITUDES ? (uint32_t)end : MAGNITUDES - 1;
}

static bool resolve(worker *w, double sign, int which, best *b) {
    best found = {.key = b->key, .first = UINT32_MAX, .last = 0};
    uint32_t from, to, far_from, far_to;
    around(b->first, w->stride, &from, &to);
    around(b->last, w->stride, &far_from, &far_to);
    const bool one = far_from <= to;
    const bool ok = search(&w->e, sign, which, from, one ? far_to : to, &found) &&
                    (one || search(&w->e, sign, which, far_from, far_to, &found));
    *b = found;
    return ok;
}

static bool resolve_extreme(worker *w, int which, scan_extreme *out) {
    best *left = &w->side[0].best[which], *right = &w->side[1].best[which];
    if (!resolve(w, -1, which, left) || !resolve(w, 1, which, right)) return false;
    const int32_t key = left->key > right->key ? left->key : right->key;
    *out = (scan_extreme){(double)value_of(is_least(which) ? ~key : key), NAN, NAN, NAN, NAN};
    if (left->key == key) {
        out->left_far = -(double)float_of(left->last);
        out->left_near = -(double)float_of(left->first);
    }
    if (right->key == key) {
        out->right_near = (double)float_of(right->first);
        out->right_far = (double)float_of(right->last);
    }
    return true;
}

/* From which x on f is its value at infinity; NaN if it never is. */
static bool resolve_limit(worker *w, const side *s, double *out) {
    *out = 0;
    if (s->not_limit == UINT32_MAX) return true;
    uint32_t from, to, last = 0;
    around(s->not_limit, w->stride, &from, &to);
    for (uint64_t at = from; at <= to; at += (uint64_t)w->e.n) {
        if (!evaluate_stretch(&w->e, s->sign, (uint32_t)at, to)) return false;
        for (int64_t i = 0; i < w->e.n && i <= (int64_t)(to - at); i++)
            if (key_of(w->e.y[i] * (float)s->sign + 0.0f) != s->limit)
                last = (uint32_t)at + (uint32_t)i;
    }
    *out = last + 1 < MAGNITUDES ? s->sign * (double)float_of(last + 1) : NAN;
    return true;
}

/* How many NaN give a number. */
static bool count_nans(worker *w, int64_t *lost) {
    evaluator *e = &w->e;
    for (uint32_t sign = 0; sign < 2; sign++)
        for (uint64_t at = MAGNITUDES + 1; at <= INT32_MAX;) {
            for (int64_t i = 0; i < e->n; i++, at += w->stride)
                e->x[i] = float_of((at <= INT32_MAX ? (uint32_t)at : INT32_MAX) | sign << 31);
            if (!evaluate(e)) return false;
            for (int64_t i = 0; i < e->n; i++) *lost += !isnan(e->y[i]);
        }
    return true;
}

/* --- all together --------------------------------------------------------------------------- */

static bool open_worker(worker *w, const char *text, const char *isa) {
    w->ok = true;
    const best none = {INT32_MIN, 0, 0};
    for (int s = 0; s < 2; s++) {
        w->side[s] = (side){.sign = s ? 1 : -1, .not_limit = UINT32_MAX};
        w->side[s].down.top = w->side[s].up.top = INT32_MIN;
        for (int k = 0; k < EXTREMES; k++) w->side[s].best[k] = none;
    }
    return evaluator_open(&w->e, text, isa, 2 * CHUNK) &&
           evaluator_open(&w->small, text, isa, (int64_t)w->stride + 1);
}

/* Values and slopes at both infinities. */
static bool look_at_ends(worker *w, int count, worker *all, kernel_scan *scan) {
    evaluator *e = &w->e;
    for (int64_t i = 0; i < e->n; i++) e->x[i] = i % 2 ? HUGE_VALF : -HUGE_VALF;
    if (!evaluate(e)) return false;
    scan->left = (double)e->y[0];
    scan->right = (double)e->y[1];
    scan->left_slope = e->slope ? (double)e->slope[0] : 0;
    scan->right_slope = e->slope ? (double)e->slope[1] : 0;
    for (int k = 0; k < count; k++) {
        all[k].side[0].limit = key_of(-e->y[0] + 0.0f);
        all[k].side[1].limit = key_of(e->y[1] + 0.0f);
    }
    return true;
}

static bool gather(worker *w, int count, kernel_scan *scan) {
    worker *a = &w[0];
    for (int k = 0; k < count; k++) {
        if (!w[k].ok) return false;
        scan->nans += w[k].nans;
        scan->odd_error = fmax(scan->odd_error, (double)w[k].odd_error);
        for (int s = 0; s < 2 && k; s++) merge_side(&a->side[s], &w[k].side[s]);
    }
    scan_extreme *const out[EXTREMES] = {&scan->high, &scan->low, &scan->steepest, &scan->least};
    for (int k = 0; k < EXTREMES; k++) {
        *out[k] = (scan_extreme){0, NAN, NAN, NAN, NAN};
        if ((a->e.has_slope || !is_slope(k)) && !resolve_extreme(a, k, out[k])) return false;
    }
    /* What falls from left of 0 to right of it. */
    side *left = &a->side[0], *right = &a->side[1];
    fall down = {.top = left->best[HIGH].key}, up = {.top = left->best[LOW].key};
    merge_fall(&down, &right->down, ~right->best[LOW].key);
    merge_fall(&up, &right->up, ~right->best[HIGH].key);
    scan->fall = fmax((double)down.ulps, (double)left->down.ulps);
    scan->rise = fmax((double)up.ulps, (double)left->up.ulps);
    scan->zeros = left->zeros.share + right->zeros.share;
    scan->flats = a->e.has_slope ? left->flats.share + right->flats.share : 1;
    return resolve_limit(a, left, &scan->left_from) && resolve_limit(a, right, &scan->right_from) &&
           count_nans(a, &scan->nans);
}

bool scan_kernels(const char *text, const char *isa, int stride, int threads, kernel_scan *scan) {
    const double start = clock_seconds();
    worker *w = calloc((size_t)threads, sizeof *w);
    if (!w) return false;
    const uint32_t count = (MAGNITUDES - 1) / (uint32_t)stride + 1;
    bool ok = true;
    for (int k = 0; k < threads; k++) {
        w[k].stride = (uint32_t)stride;
        w[k].begin = (uint32_t)((uint64_t)count * (uint64_t)k / (uint64_t)threads / CHUNK * CHUNK);
        w[k].end = count;
        if (k) w[k - 1].end = w[k].begin;
        ok = open_worker(&w[k], text, isa) && ok;
    }
    *scan = (kernel_scan){.stride = stride, .floats = 2 * (int64_t)count};
    ok = ok && look_at_ends(&w[0], threads, w, scan);
    int started = 0;
    while (ok && started < threads &&
           pthread_create(&w[started].thread, NULL, walk, &w[started]) == 0)
        started++;
    for (int k = 0; k < started; k++) pthread_join(w[k].thread, NULL);
    ok = ok && started == threads && gather(w, threads, scan);
    for (int k = 0; !ok && k < threads; k++)
        if (!w[k].e.ctx || hk_error(w[k].e.ctx) != HK_OK) {
            fprintf(stderr, "activations table: %s\n",
                    w[k].e.ctx ? hk_error_message(w[k].e.ctx) : "out of memory");
            break;
        }
    for (int k = 0; k < threads; k++) {
        evaluator_close(&w[k].e);
        evaluator_close(&w[k].small);
    }
    free(w);
    scan->seconds = clock_seconds() - start;
    return ok;
}
