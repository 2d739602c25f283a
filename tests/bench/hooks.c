/* hooks.c: what looking inside costs: training with hooks, a flow, and statistics of units, beside training without.
   SPDX-License-Identifier: MIT

   hooks [PAIRS]    20 pairs of runs for each line if none is named

   A run is 938 steps, an epoch of MNIST in batches of 64, on random images that stay the same. The two runs of a pair
   follow each other, each first as often as the other. A line is the median of their ratios, and its quartiles.

     removed   hooks were on every module and gradient, and are removed
     off       they are there, switched off
     flow      a record of gradient flow every 47 steps
     all       that, and statistics of units over 2,000 images at the end, as `--stats` has them */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <hillock/hillock.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS = 938, BATCH = 64, PROBE = 2000, PIECE = 50, PAIRS_MOST = 200, HOOKS_MOST = 64 };

typedef enum mode { PLAIN, REMOVED, OFF, FLOW, ALL, MODES } mode;
static const char *const mode_names[] = {"plain", "removed", "off", "flow", "all"};

typedef struct net {
    const char *name;
    hk_shape item;
    hk_module *(*make)(hk_context *ctx);
} net;

static hk_module *narrow(hk_context *ctx) {
    return hk_sequential(ctx, hk_linear(ctx, 784, 128), hk_activation(ctx, "relu"),
                         hk_linear(ctx, 128, 10));
}

static hk_module *wide(hk_context *ctx) {
    return hk_sequential(ctx, hk_linear(ctx, 784, 512), hk_activation(ctx, "relu"),
                         hk_linear(ctx, 512, 256), hk_activation(ctx, "relu"),
                         hk_linear(ctx, 256, 10));
}

static hk_module *small(hk_context *ctx) {
    const hk_conv2d_config same = {.padding = HK_SQUARE(1)};
    const hk_pool2d_config half = {.kernel = HK_SQUARE(2)};
    return hk_sequential(ctx, hk_conv2d(ctx, 1, 8, HK_SQUARE(3), &same), hk_activation(ctx, "relu"),
                         hk_max_pool2d(ctx, &half), hk_conv2d(ctx, 8, 16, HK_SQUARE(3), &same),
                         hk_activation(ctx, "relu"), hk_max_pool2d(ctx, &half), hk_flatten(ctx),
                         hk_linear(ctx, 784, 10));
}

static const net nets[] = {{"784-128-10", {1, {784}}, narrow},
                           {"784-512-256-10", {1, {784}}, wide},
                           {"small", {3, {1, 28, 28}}, small}};

/* --- one run ------------------------------------------------------------------------------------------------- */

typedef struct side {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_tensor *x, *y, *probe;
    hk_units *units;
} side;

static void look(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)x, (void)y, (void)arg;
}
static void look_at_grad(hk_tensor *t, hk_tensor *grad, void *arg) {
    (void)t, (void)grad, (void)arg;
}

static void add_hooks(const side *s, mode m) {
    hk_hook *hook[HOOKS_MOST];
    int n = 0;
    for (int i = 0; i < hk_module_child_count(s->net); i++) {
        hook[n++] = hk_hook_before(hk_module_child_at(s->net, i), look, NULL);
        hook[n++] = hk_hook_forward(hk_module_child_at(s->net, i), look, NULL);
    }
    const hk_parameters p = hk_module_parameters(s->net);
    for (int i = 0; i < p.count; i++) hook[n++] = hk_hook_grad(p.items[i], look_at_grad, NULL);
    for (int i = 0; i < n; i++) {
        if (m == REMOVED) hk_hook_remove(hook[i]);
        if (m == OFF) hk_hook_enable(hook[i], false);
    }
}

static hk_tensor *images(hk_context *ctx, hk_shape item, int64_t n) {
    hk_shape shape = {.rank = item.rank + 1, .dim = {n}};
    for (int i = 0; i < item.rank; i++) shape.dim[i + 1] = item.dim[i];
    return hk_tensor_keep(hk_uniform_like(hk_full(ctx, HK_F32, shape, 0), 0, 1, "images"));
}

static side side_of(const net *n, mode m) {
    side s = {.ctx = hk_context_create(&(hk_context_config){.seed = 1})};
    int32_t labels[BATCH];
    for (int i = 0; i < BATCH; i++) labels[i] = i % 10;
    s.net = n->make(s.ctx);
    s.opt = hk_adam(s.ctx, hk_module_parameters(s.net), hk_adam_defaults());
    s.x = images(s.ctx, n->item, BATCH);
    s.y = hk_tensor_from(s.ctx, HK_I32, HK_SHAPE(BATCH), labels);
    s.probe = images(s.ctx, n->item, PROBE);
    if (m == REMOVED || m == OFF) add_hooks(&s, m);
    if (m == FLOW || m == ALL) (void)hk_flow_create(s.net, &(hk_flow_config){.every = 47});
    if (m == ALL) s.units = hk_units_create(s.net, NULL);
    return s;
}

static bool step(const side *s) {
    hk_optimizer_zero_grad(s->opt);
    hk_tensor *loss = hk_cross_entropy(hk_forward(s->net, s->x), s->y);
    return !hk_backward(s->ctx, loss) && !hk_optimizer_step(s->opt) && !hk_step_end(s->ctx);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double run(const side *s) {
    const double start = now();
    bool ok = true;
    for (int i = 0; ok && i < STEPS; i++) ok = step(s);
    for (int i = 0; ok && s->units && i < PROBE; i += PIECE)
        ok = !hk_units_add(s->units, hk_slice(s->probe, 0, i, PIECE)) && !hk_step_end(s->ctx);
    if (s->units && ok) ok = !hk_units_end(s->units);
    if (ok) return now() - start;
    fprintf(stderr, "hooks: %s\n", hk_error_message(s->ctx));
    exit(1);
}

/* --- pairs ---------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void compare(const net *n, mode m, int pairs) {
    double ratio[PAIRS_MOST], plain_seconds = INFINITY;
    const side plain = side_of(n, PLAIN), other = side_of(n, m);
    (void)run(&plain), (void)run(&other);
    for (int i = 0; i < pairs; i++) {
        double a = i % 2 ? 0 : run(&plain);
        const double b = run(&other);
        if (i % 2) a = run(&plain);
        ratio[i] = b / a;
        plain_seconds = fmin(plain_seconds, a);
    }
    qsort(ratio, (size_t)pairs, sizeof *ratio, by_size);
    printf("%-16s %-8s %+7.2f %%   %+.2f to %+.2f %%   of %.3f s\n", n->name, mode_names[m],
           100 * (ratio[pairs / 2] - 1), 100 * (ratio[pairs / 4] - 1),
           100 * (ratio[3 * pairs / 4] - 1), plain_seconds);
    fflush(stdout);
    hk_context_destroy(plain.ctx);
    hk_context_destroy(other.ctx);
}

int main(int argc, char **argv) {
    const int pairs = argc > 1 ? atoi(argv[1]) : 20;
    if (argc > 2 || pairs < 1 || pairs > PAIRS_MOST) {
        fprintf(stderr, "usage: hooks [PAIRS], from 1 to %d\n", PAIRS_MOST);
        return 2;
    }
    printf("%-16s %-8s %9s   %s\n", "network", "with", "slower by", "middle half");
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (mode m = REMOVED; m < MODES; m++) compare(&nets[i], m, pairs);
    return 0;
}
