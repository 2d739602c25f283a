/* properties_walk.c: walks over float32 numbers, and notes what their values and slopes do.
   SPDX-License-Identifier: MIT */
#include "properties_walk.h"

#include <math.h>

/* --- blocks: vector code -------------------------------------------------------------------- */

typedef struct block {
    int32_t low, high;
    int zeros, falls, rises, limits;
} block;

/* key[0] is the float before; key[1..BLOCK] become those of v. */
static block sum_up(const float *v, float sign, int32_t limit, int32_t *key) {
    block b = {.low = INT32_MAX, .high = INT32_MIN};
    for (int i = 0; i < BLOCK; i++) key[i + 1] = key_of(v[i] * sign + 0.0f); /* no -0 */
    for (int i = 1; i <= BLOCK; i++) {
        b.low = key[i] < b.low ? key[i] : b.low;
        b.high = key[i] > b.high ? key[i] : b.high;
        b.zeros += key[i] == 0;
        b.limits += key[i] == limit;
        b.falls += key[i] < key[i - 1];
        b.rises += key[i] > key[i - 1];
    }
    return b;
}

static void keep_best(best *to, int32_t key, uint32_t index) {
    if (key < to->key) return;
    if (key > to->key) *to = (best){key, index, index};
    to->last = index;
}

/* --- rare: float by float ------------------------------------------------------------------- */

/* Once it is plain that g falls, there is no need to measure by how much. */
static bool is_plain(const fall *f) { return f->ulps > 1 << 20; }

void add_fall(fall *f, int32_t key) {
    if (key > f->top) f->top = key;
    const int64_t ulps = (int64_t)f->top - key;
    if (ulps > f->ulps) f->ulps = ulps;
}

/* Keys of a block, sign 1 for falls, -1 (and `changes` rises) for rises. */
static void measure_fall(fall *f, const int32_t *key, int changes, int32_t low, int32_t high,
                         int sign) {
    if (is_plain(f)) return;
    if (changes)
        for (int i = 1; i <= BLOCK; i++) add_fall(f, sign > 0 ? key[i] : ~key[i]);
    else {
        add_fall(f, sign > 0 ? low : ~high);
        add_fall(f, sign > 0 ? high : ~low);
    }
}

/* P(a < z < b) for 0 <= a <= b. */
static double share(double a, double b) {
    const double root = 0.70710678118654752440;
    return 0.5 * (erfc(a * root) - erfc(b * root));
}

/* The zero next to the border between floats i - 1 and i of the scan, of which one is a zero:
   exact, whatever the stride. */
static double border(worker *w, const side *s, uint32_t i, bool slope) {
    const uint32_t a = (i - 1) * w->stride, n = w->stride;
    for (uint32_t k = 0; k <= n; k++) w->small.x[k] = (float)s->sign * float_of(a + k);
    if (!evaluate(&w->small)) return w->ok = false;
    const float *v = slope ? w->small.slope : w->small.y;
    const bool before = v[0] == 0;
    uint32_t k = 1;
    while (k < n && (v[k] == 0) == before) k++;
    return (double)float_of(before ? a + k - 1 : a + k);
}

/* Starts and ends runs of zeros where `key`, of the floats from index on, changes between 0 and
   others. */
static void follow_run(worker *w, const side *s, run *r, bool *before, const int32_t *key, int n,
                       uint32_t index, bool slope) {
    for (int i = 1; i <= n; i++) {
        const bool zero = key[i] == 0;
        const uint32_t at = index + (uint32_t)i - 1;
        if (at > w->begin && zero == *before) continue;
        const double x = at > w->begin ? border(w, s, at, slope)
                                       : (double)float_of(at * w->stride); /* a worker's first */
        if (zero)
            r->start = x;
        else if (r->on)
            r->share += share(r->start, x);
        r->on = *before = zero;
    }
}

static bool run_changes(const worker *w, uint32_t index, bool before, int zeros) {
    return index == w->begin || zeros != (before ? BLOCK : 0);
}

/* --- the walk ------------------------------------------------------------------------------- */

static void walk_block(worker *w, side *s, const float *y, const float *slope, uint32_t index,
                       int32_t *last) {
    int32_t key[BLOCK + 1];
    key[0] = *last;
    const block b = sum_up(y, (float)s->sign, s->limit, key);
    *last = key[BLOCK];
    keep_best(&s->best[HIGH], s->sign > 0 ? b.high : mirrored(b.low), index);
    keep_best(&s->best[LOW], ~(s->sign > 0 ? b.low : mirrored(b.high)), index);
    measure_fall(&s->down, key, b.falls, b.low, b.high, 1);
    measure_fall(&s->up, key, b.rises, b.low, b.high, -1);
    if (b.limits != BLOCK) s->not_limit = index;
    if (run_changes(w, index, s->zero_before, b.zeros))
        follow_run(w, s, &s->zeros, &s->zero_before, key, BLOCK, index, false);
    w->nans += b.high > key_of(HUGE_VALF) || b.low < key_of(-HUGE_VALF);
    if (!slope) return;
    const block d = sum_up(slope, 1, 0, key);
    keep_best(&s->best[STEEPEST], d.high, index);
    keep_best(&s->best[LEAST], ~d.low, index);
    if (run_changes(w, index, s->flat_before, d.zeros))
        follow_run(w, s, &s->flats, &s->flat_before, key, BLOCK, index, true);
    w->nans += d.high > key_of(HUGE_VALF) || d.low < key_of(-HUGE_VALF);
}

static float greatest_sum(const float *a, const float *b) {
    int32_t most = 0;
    for (int i = 0; i < CHUNK; i++) {
        const float sum = a[i] + b[i];
        int32_t bits;
        memcpy(&bits, &sum, sizeof bits);
        bits &= 0x7FFFFFFF;
        bits = bits > 0x7F800000 ? 0 : bits; /* inf - inf */
        most = bits > most ? bits : most;
    }
    return float_of((uint32_t)most);
}

/* Behind the last float of the range, it is repeated: that changes no fact. */
static bool walk_chunk(worker *w, uint32_t first, int32_t last[2]) {
    for (int i = 0; i < CHUNK; i++) {
        const uint32_t at = first + (uint32_t)i;
        const float x = float_of((at < w->end ? at : w->end - 1) * w->stride);
        w->e.x[i] = -x;
        w->e.x[CHUNK + i] = x;
    }
    if (!evaluate(&w->e)) return false;
    for (int k = 0; k < 2 * BLOCKS; k++) {
        const int64_t at = (int64_t)k * BLOCK;
        const uint32_t index = first + (uint32_t)(k % BLOCKS) * BLOCK;
        if (index >= w->end) continue;
        walk_block(w, &w->side[k / BLOCKS], w->e.y + at, w->e.slope ? w->e.slope + at : NULL, index,
                   &last[k / BLOCKS]);
    }
    const float odd = greatest_sum(w->e.y, w->e.y + CHUNK);
    if (odd > w->odd_error) w->odd_error = odd;
    return w->ok;
}

void *walk(void *arg) {
    worker *w = arg;
    int32_t last[2] = {0, 0};
    /* The float before the first is the first itself: no fall, no rise. */
    for (int s = 0; s < 2; s++) w->e.x[s] = (float)w->side[s].sign * float_of(w->begin * w->stride);
    w->ok = evaluate(&w->e);
    for (int s = 0; w->ok && s < 2; s++)
        last[s] = key_of(w->e.y[s] * (float)w->side[s].sign + 0.0f);
    for (uint32_t i = w->begin; w->ok && i < w->end; i += CHUNK) w->ok = walk_chunk(w, i, last);
    for (int s = 0; w->ok && s < 2; s++) {
        const double end =
            (double)float_of(w->end < MAGNITUDES / w->stride ? w->end * w->stride : MAGNITUDES);
        run *runs[] = {&w->side[s].zeros, &w->side[s].flats};
        for (int k = 0; k < 2; k++)
            if (runs[k]->on) runs[k]->share += share(runs[k]->start, end);
    }
    return NULL;
}
