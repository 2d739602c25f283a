/* samples.c: takes samples of activations and counts gradients, by hooks.
   SPDX-License-Identifier: MIT */
#include "samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- activations ------------------------------------------------------------------------------ */

/* An index that walks on by no fixed distance, so that all units are met. */
static int64_t scatter(int64_t k, int64_t stride) {
    const uint64_t mixed = ((uint64_t)k + 1) * 0x9e3779b97f4a7c15u;
    return k * stride + (int64_t)((mixed >> 32) % (uint64_t)stride);
}

static void take_values(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m;
    (void)x;
    panel *p = arg;
    sample *s = &p->sample[p->all->when];
    if (hk_tensor_dtype(y) != HK_F32) return;
    const float *value = hk_tensor_values(y);
    const int64_t n = hk_tensor_count(y);
    const int64_t stride = (n + SAMPLE_BATCH - 1) / SAMPLE_BATCH;
    for (int64_t k = 0; value && s->count < SAMPLE_MOST; k++) {
        const int64_t at = scatter(k, stride);
        if (at >= n) break;
        s->value[s->count++] = value[at];
    }
}

void samples_watch_values(samples *s, int when) {
    s->when = when;
    for (int i = 0; i < s->panels; i++) {
        s->panel[i].sample[when].count = 0;
        hk_hook_enable(s->panel[i].hook, true);
    }
}

void samples_stop_values(samples *s) {
    for (int i = 0; i < s->panels; i++) hk_hook_enable(s->panel[i].hook, false);
}

/* --- gradients -------------------------------------------------------------------------------- */

static void count_sizes(sizes *z, int64_t n, const float *value) {
    memset(z, 0, sizeof *z);
    z->count = n;
    for (int64_t i = 0; i < n; i++) {
        if (value[i] == 0) {
            z->zeros++;
        } else if (isfinite(value[i])) {
            const int at = ilogbf(value[i]) + SIZE_ZERO;
            z->of[at < 0 ? 0 : at >= SIZES ? SIZES - 1 : at]++;
        }
    }
}

static void take_gradients(hk_context *ctx, void *arg) {
    (void)ctx;
    samples *s = arg;
    for (int i = 0; i < s->rows->count; i++) {
        hk_tensor *weight = s->rows->item[i].weight;
        if (!weight || hk_tensor_dtype(weight) != HK_F32) continue;
        hk_tensor *grad = hk_grad(weight);
        const float *value = hk_tensor_values(grad);
        if (value) count_sizes(&s->size[i][s->when], hk_tensor_count(grad), value);
    }
}

void samples_watch_gradients(samples *s, int when) {
    s->when = when;
    hk_hook_enable(s->gradients, true);
}

void samples_stop_gradients(samples *s) { hk_hook_enable(s->gradients, false); }

/* --- begin and end ---------------------------------------------------------------------------- */

/* Activations, and the last layer without one: what the loss gets. */
static bool is_shown(const net_rows *r, int i) {
    return r->item[i].activation || i == r->count - 1;
}

static void add_panel(samples *s, const net_row *r) {
    panel *p = &s->panel[s->panels];
    hk_module *m = rows_module(s->run->net, r->activation ? r->activation : r->path);
    *p = (panel){.row = r, .all = s, .sample = calloc(SAMPLE_TIMES, sizeof(sample))};
    if (!p->sample)
        hk_fail(s->run->ctx, HK_ERR_MEMORY, "samples", "no memory for samples of %s", r->title);
    p->hook = hk_hook_forward(m, take_values, p);
    hk_hook_enable(p->hook, false);
    s->panels++;
}

void samples_open(samples *s, training *run, const net_rows *r) {
    *s = (samples){.run = run, .rows = r};
    s->size = calloc((size_t)r->count + 1, sizeof *s->size);
    if (!s->size) hk_fail(run->ctx, HK_ERR_MEMORY, "samples", "no memory for %d layers", r->count);
    int n = 0, k = 0;
    for (int i = 0; i < r->count; i++) n += is_shown(r, i);
    const int most = n < PANELS_MOST ? n : PANELS_MOST;
    for (int i = 0; i < r->count; i++) {
        if (!is_shown(r, i)) continue;
        /* The first, the last, and evenly what lies between. */
        if (most == 1 || k * (most - 1) >= s->panels * (n - 1)) add_panel(s, &r->item[i]);
        k++;
    }
    s->gradients = hk_hook_backward(run->ctx, take_gradients, s);
    hk_hook_enable(s->gradients, false);
}

void samples_close(samples *s) {
    for (int i = 0; i < s->panels; i++) {
        hk_hook_remove(s->panel[i].hook);
        free(s->panel[i].sample);
    }
    hk_hook_remove(s->gradients);
    free(s->size);
    *s = (samples){0};
}
