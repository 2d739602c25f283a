/* signal.c: depth signal: signal and gradient through the layers of random nets, over theory.
   SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands.h"
#include "random_net.h"
#include "signal_report.h"
#include "weights.h"

typedef struct signal_study {
    study s;
    int64_t depth, width, samples;
    weights w;
    double start;
    int64_t widest;
    signal_result *results; /* one for each name */
} signal_study;

/* --- settings --------------------------------------------------------------------------------- */

static bool parse(signal_study *p, int argc, char **argv) {
    static const char *const examples[] = {
        "                                  seven activations, each with its own gain",
        "gelu,silu,mish --init kaiming     relu's gain: signals die out",
        "sigmoid tanh --init torch         gradients vanish",
        "tanh selu --start 9               both come back to q = 1",
        "tanh --init critical --start 0.1  the edge of chaos",
        "relu --out pictures               draws pictures/signal.svg",
        NULL,
    };
    /* clang-format off */
    const option_row rows[] = {
        {.name = "depth", .form = "L", .kind = OPTION_INT, .value = &p->depth,
         .help = "layers", .low = 1, .high = 1000, .example = "50", .flags = OPTION_EVERYDAY},
        {.name = "width", .form = "N", .kind = OPTION_INT, .value = &p->width,
         .help = "units in each", .low = 1, .high = 20000, .example = "500",
         .flags = OPTION_EVERYDAY},
        {.name = "samples", .form = "N", .kind = OPTION_INT, .value = &p->samples,
         .help = "inputs of each network", .low = 1, .high = 10000, .example = "4",
         .flags = OPTION_EVERYDAY},
        {.name = "start", .form = "Q", .kind = OPTION_NUMBER, .value = &p->start,
         .help = "q of layer 0: mean square of the first pre-activations", .low = 0, .high = 1e6,
         .example = "1", .flags = OPTION_EVERYDAY | OPTION_ABOVE},
    };
    /* clang-format on */
    p->s.opts = (options){
        .purpose =
            "signal and gradient through random nets, over theory\n\n"
            "z[l+1] = W f(z[l]) + b, weights of variance sigma_w^2/fan_in, biases sigma_b^2.\n"
            "q is the mean square of z[l]; |g|^2 the squared length of the gradient there, 1\n"
            "at the end. Theory: q' = sigma_w^2 E f(sqrt(q) z)^2 + sigma_b^2, and\n"
            "chi_1 = sigma_w^2 E f'(sqrt(q) z)^2, z normal.",
        .examples = examples};
    options_add(&p->s.opts, (int)(sizeof rows / sizeof *rows), rows);
    weights_add_options(&p->s, &p->w);
    if (!study_begin(&p->s, "relu,tanh,sigmoid,selu,silu,gelu,mish", argc, argv)) return false;
    p->w.q = p->start;
    return weights_check(&p->s, &p->w);
}

/* --- theory ----------------------------------------------------------------------------------- */

/* q forward from the start, then the gradient back from the end. NaN where there is no theory. */
static void predict(const hk_activation_spec *spec, signal_result *r) {
    double q = r->layers[0].q_theory;
    for (int l = 0; l <= r->depth; l++) {
        signal_layer *at = &r->layers[l];
        at->q_theory = q;
        at->chi = r->weight_variance * hk_mean_field_slope(spec, q);
        q = r->weight_variance * hk_mean_field_signal(spec, q) + r->bias_variance;
    }
    double g = isnan(r->layers[0].chi) ? NAN : 1;
    for (int l = r->depth; l >= 0; l--) {
        if (l < r->depth) g *= r->layers[l].chi;
        r->layers[l].g_theory = g;
    }
    r->field = hk_mean_field_of(spec, r->weight_variance, r->bias_variance);
}

/* The weights of one net are all there at a time. */
static void check_memory(signal_study *p) {
    const double gigabyte = 1024.0 * 1024 * 1024;
    const double bytes = 8.0 * (double)p->depth * (double)p->width * (double)p->widest;
    const double there = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (bytes > 0.8 * there)
        study_fail(&p->s, EXIT_BAD_INPUT,
                   "--width %" PRId64 ": %" PRId64
                   " layers need %.1f GB of memory, of %.1f GB there are (try --width 500)",
                   p->width, p->depth, bytes / gigabyte, there / gigabyte);
}

/* Everything that can be wrong is found before the work begins. */
static bool prepare(signal_study *p) {
    study *s = &p->s;
    hk_context *ctx = study_context(s, HK_F64, 1);
    p->results = calloc((size_t)s->names.count, sizeof *p->results);
    if (!p->results) study_fail(s, EXIT_FAILURE, "out of memory");
    p->widest = p->width;
    for (int i = 0; s->code == 0 && i < s->names.count; i++) {
        hk_activation_spec spec;
        signal_result *r = &p->results[i];
        *r = (signal_result){.name = s->names.item[i], .depth = (int)p->depth};
        r->layers = calloc((size_t)p->depth + 1, sizeof *r->layers);
        if (!r->layers) study_fail(s, EXIT_FAILURE, "out of memory");
        if (s->code || hk_activation_parse(ctx, r->name, &spec) != HK_OK ||
            !weights_of(s, ctx, &p->w, &spec, p->width, &r->weight_variance, &r->bias_variance))
            break;
        r->layers[0].q_theory = p->start;
        predict(&spec, r);
        const int64_t rows = hk_activation_widens(&spec) * p->width;
        if (rows > p->widest) p->widest = rows;
    }
    check_memory(p);
    const bool ok = !study_failed(s, ctx);
    hk_context_destroy(ctx);
    return ok;
}

/* --- measurement ------------------------------------------------------------------------------ */

static void book(signal_result *r, const double *q, const double *g) {
    for (int l = 0; l <= r->depth; l++) {
        spread_add(&r->layers[l].q, q[l]);
        spread_add(&r->layers[l].g, g[l]);
        if (l < r->depth) spread_add(&r->layers[l].ratio, g[l] / g[l + 1]);
    }
}

static void measure_seed(signal_study *p, hk_context *ctx, int64_t seed, double *q, double *g) {
    study *s = &p->s;
    random_net net;
    bool ok = random_net_open(&net, ctx, (int)p->depth, p->width, p->widest, p->samples,
                              weights_are_uniform(&p->w));
    const int count = s->names.count;
    for (int i = 0; ok && i < count; i++) {
        signal_result *r = &p->results[i];
        const double done = (double)(seed * count + i), total = (double)(s->seeds * count);
        if (!study_goes_on(s, done, total, r->name)) break;
        ok =
            random_net_measure(&net, r->name, r->weight_variance, r->bias_variance, p->start, q, g);
        if (ok) book(r, q, g);
    }
    random_net_close(&net);
    study_failed(s, ctx);
}

static void measure(signal_study *p) {
    study *s = &p->s;
    double *q = calloc(2 * ((size_t)p->depth + 1), sizeof *q);
    if (!q) study_fail(s, EXIT_FAILURE, "out of memory");
    for (int64_t k = 0; k < s->seeds && study_goes_on(s, (double)k, (double)s->seeds, ""); k++) {
        hk_context *ctx = study_context(s, HK_F64, (uint64_t)(s->seed + k));
        if (!ctx) break;
        measure_seed(p, ctx, k, q, q + p->depth + 1);
        hk_context_destroy(ctx);
    }
    study_clear();
    free(q);
}

int command_signal(int argc, char **argv) {
    signal_study p = {.s = {.seeds = 10, .seed = 1},
                      .depth = 50,
                      .width = 500,
                      .samples = 4,
                      .start = 1,
                      .w = {.init = "auto", .bias = -1}};
    if (parse(&p, argc, argv) && prepare(&p)) {
        measure(&p);
        if (p.s.code == 0) {
            char way[128];
            weights_text(&p.w, way, sizeof way);
            signal_report(&p.s, p.results, way, p.width);
        }
    }
    for (int i = 0; p.results && i < p.s.names.count; i++) free(p.results[i].layers);
    free(p.results);
    return study_end(&p.s);
}
