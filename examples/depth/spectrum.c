/* spectrum.c: depth spectrum: singular values of the Jacobian from the first layer to the last.
   SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "elements.h"
#include "commands.h"
#include "spectrum_report.h"
#include "weights.h"

typedef struct spectrum_study {
    study s;
    spectrum_result r;
    weights w;
    double start;
    const char *depths_text;
} spectrum_study;

/* --- settings --------------------------------------------------------------------------------- */

static bool parse(spectrum_study *p, int argc, char **argv) {
    static const char *const examples[] = {
        "                                  at the edge of chaos, q = 0.01",
        "tanh --start 1                    further from isometry",
        "tanh relu --init auto             each with its own gain",
        "relu --depths 1,10,100 --out pictures",
        NULL,
    };
    /* clang-format off */
    const option_row rows[] = {
        {.name = "depths", .form = "L,L,...", .kind = OPTION_TEXT, .value = &p->depths_text,
         .help = "numbers of layers, rising", .example = "1,10,100", .flags = OPTION_EVERYDAY},
        {.name = "width", .form = "N", .kind = OPTION_INT, .value = &p->r.width,
         .help = "units in each", .low = 2, .high = 1024, .example = "64",
         .flags = OPTION_EVERYDAY},
        {.name = "start", .form = "Q", .kind = OPTION_NUMBER, .value = &p->start,
         .help = "q of layer 0: mean square of the first pre-activations", .low = 0, .high = 1e6,
         .example = "0.1", .flags = OPTION_EVERYDAY | OPTION_ABOVE},
    };
    /* clang-format on */
    p->s.opts = (options){
        .purpose =
            "singular values of the Jacobian of deep random nets\n\n"
            "z[l+1] = W f(z[l]) + b; J is the Jacobian of z[L] by z[0], at one random input\n"
            "of each net. W is drawn twice: gaussian, and orthogonal times sigma_w.",
        .examples = examples};
    options_add(&p->s.opts, (int)(sizeof rows / sizeof *rows), rows);
    weights_add_options(&p->s, &p->w);
    if (!study_begin(&p->s, "tanh,softsign,selu,relu", argc, argv)) return false;
    p->w.q = p->start;
    if (!depths_read(p->depths_text, p->r.depths, &p->r.count))
        p->s.code = options_bad_value(&p->s.opts, "depths", p->depths_text, depths_must_be);
    return weights_check(&p->s, &p->w);
}

/* --- theory ----------------------------------------------------------------------------------- */

/* Mean square of the singular values: the product of χ₁ over all layers. */
static void predict(const hk_activation_spec *spec, const spectrum_study *p, int name) {
    const spectrum_result *r = &p->r;
    double q = p->start, product = 1;
    for (int l = 0, k = 0; k < r->count; l++) {
        if (l == (int)r->depths[k]) spectrum_cell_of(r, GAUSSIAN, name, k++)->theory = product;
        product *= r->weight_variance[name] * hk_mean_field_slope(spec, q);
        q = r->weight_variance[name] * hk_mean_field_signal(spec, q) + r->bias_variance[name];
    }
    for (int k = 0; k < r->count; k++)
        spectrum_cell_of(r, ORTHOGONAL, name, k)->theory =
            spectrum_cell_of(r, GAUSSIAN, name, k)->theory;
}

static bool reserve(spectrum_study *p) {
    const size_t count = (size_t)p->s.names.count;
    spectrum_result *r = &p->r;
    r->names = p->s.names.count;
    r->weight_variance = calloc(count, sizeof *r->weight_variance);
    r->bias_variance = calloc(count, sizeof *r->bias_variance);
    r->cells = calloc(WAYS * count * (size_t)r->count, sizeof *r->cells);
    r->room = calloc((size_t)r->width, sizeof *r->room);
    if (r->weight_variance && r->bias_variance && r->cells && r->room) return true;
    study_fail(&p->s, EXIT_FAILURE, "out of memory");
    return false;
}

/* Everything that can be wrong is found before the work begins. */
static bool prepare(spectrum_study *p) {
    study *s = &p->s;
    if (!reserve(p)) return false;
    hk_context *ctx = study_context(s, HK_F64, 1);
    for (int i = 0; s->code == 0 && i < s->names.count; i++) {
        hk_activation_spec spec;
        if (hk_activation_parse(ctx, s->names.item[i], &spec) != HK_OK ||
            !weights_of(s, ctx, &p->w, &spec, p->r.width, &p->r.weight_variance[i],
                        &p->r.bias_variance[i]))
            break;
        predict(&spec, p, i);
    }
    const bool ok = !study_failed(s, ctx);
    hk_context_destroy(ctx);
    return ok;
}

/* --- one net ---------------------------------------------------------------------------------- */

/* A linear layer's weights so that their mean square is σw²/fan_in: exactly if they are orthogonal, else on
   average. Biases of variance σb². */
static void scale_weights(hk_tensor *t, way how, double weight_deviation, double bias_deviation,
                          hk_random random, uint64_t *drawn) {
    double *at = elements_take(t);
    const int64_t count = hk_tensor_count(t), rows = hk_tensor_dim(t, 0);
    if (!at) return;
    if (hk_tensor_rank(t) == 1) { /* a bias */
        for (int64_t i = 0; i < count; i++)
            at[i] = bias_deviation * hk_random_normal(random, (*drawn)++);
        elements_put(t, at);
        return;
    }
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += at[i] * at[i];
    const double scale = weight_deviation * (how == ORTHOGONAL ? sqrt((double)rows / squares) : 1);
    for (int64_t i = 0; i < count; i++) at[i] *= scale;
    elements_put(t, at);
}

static hk_module *build(hk_context *ctx, const char *activation, int depth, int64_t in,
                        int64_t width, way how, double weight_variance, double bias_variance) {
    hk_module **members = calloc(2 * (size_t)depth, sizeof *members);
    if (!members) hk_fail(ctx, HK_ERR_MEMORY, "depth", "no memory for %d layers", depth);
    if (!members) return NULL;
    for (int l = 0; l < depth; l++) {
        members[2 * l] = hk_activation(ctx, activation);
        members[2 * l + 1] = hk_linear(ctx, width, width);
    }
    hk_module *net = hk_sequential_n(ctx, 2 * depth, members);
    free(members);
    /* "lecun" is normal with variance 1/fan_in. */
    if (hk_module_build(net, HK_SHAPE(-1, in), how == ORTHOGONAL ? "orthogonal" : "lecun"))
        return net;
    const hk_random random =
        hk_random_stream(hk_context_describe(ctx).seed, "depth/spectrum-bias", 0);
    const hk_parameters p = hk_module_parameters_of(net, HK_OF_WEIGHTS);
    uint64_t drawn = 0;
    for (int i = 0; i < p.count; i++)
        scale_weights(p.items[i], how, sqrt(weight_variance), sqrt(bias_variance), random, &drawn);
    hk_module_train(net, false);
    return net;
}

/* One input, whose mean square is `start`. */
static hk_tensor *input(hk_context *ctx, int64_t n, double start) {
    const hk_random random =
        hk_random_stream(hk_context_describe(ctx).seed, "depth/spectrum-input", 0);
    hk_tensor *x = hk_tensor_new(ctx, HK_F64, HK_SHAPE(1, n));
    double *at = elements_take(x), squares = 0;
    for (int64_t i = 0; at && i < n; i++) {
        at[i] = hk_random_normal(random, (uint64_t)i);
        squares += at[i] * at[i];
    }
    for (int64_t i = 0; at && i < n; i++) at[i] *= sqrt(start * (double)n / squares);
    elements_put(x, at);
    return x;
}

/* What rounding makes of a singular value of 0 is a number of no meaning. */
static double shown(double value, double largest) { return value > 1e-14 * largest ? value : 0; }

static bool measure(spectrum_study *p, hk_context *ctx, way how, int name, int column) {
    spectrum_result *r = &p->r;
    const char *activation = p->s.names.item[name];
    hk_activation_spec spec;
    if (hk_activation_parse(ctx, activation, &spec) != HK_OK) return false;
    const int64_t in = hk_activation_widens(&spec) * r->width;
    hk_module *net = build(ctx, activation, (int)r->depths[column], in, r->width, how,
                           r->weight_variance[name], r->bias_variance[name]);
    hk_tensor *x = input(ctx, in, p->start);
    hk_jacobian j;
    const hk_jacobian_config config = {.probes = 1, .iterations = 1, .full_up_to = in};
    const bool ok = x && net && hk_error(ctx) == HK_OK &&
                    hk_module_jacobian(net, x, &config, &j, r->room) == HK_OK;
    if (ok) {
        double squares = 0;
        spectrum_cell *cell = spectrum_cell_of(r, how, name, column);
        for (int64_t i = 0; i < j.count; i++) squares += r->room[i] * r->room[i];
        spread_add(&cell->smallest, shown(j.smallest, j.largest));
        spread_add(&cell->median, shown(j.median, j.largest));
        spread_add(&cell->largest, j.largest);
        spread_add(&cell->mean_square, squares / (double)j.outputs);
    }
    hk_tensor_destroy(x);
    hk_module_destroy(net);
    return ok;
}

static bool measure_seed(spectrum_study *p, hk_context *ctx, double *done, double total) {
    const spectrum_result *r = &p->r;
    for (int how = 0; how < WAYS; how++)
        for (int i = 0; i < r->names; i++)
            for (int k = 0; k < r->count; k++) {
                if (!study_goes_on(&p->s, *done, total, p->s.names.item[i])) return false;
                if (!measure(p, ctx, (way)how, i, k)) return false;
                *done += r->depths[k] + 1;
            }
    return true;
}

static void measure_all(spectrum_study *p) {
    study *s = &p->s;
    double total = 0, done = 0;
    for (int k = 0; k < p->r.count; k++) total += p->r.depths[k] + 1;
    total *= (double)(WAYS * s->names.count * s->seeds);
    for (int64_t k = 0; k < s->seeds && study_goes_on(s, done, total, ""); k++) {
        hk_context *ctx = study_context(s, HK_F64, (uint64_t)(s->seed + k));
        if (!ctx) break;
        measure_seed(p, ctx, &done, total);
        study_failed(s, ctx);
        hk_context_destroy(ctx);
    }
    study_clear();
}

int command_spectrum(int argc, char **argv) {
    spectrum_study p = {.s = {.seeds = 5, .seed = 1},
                        .r = {.width = 64},
                        .depths_text = "1,2,4,8,16,32,64",
                        .start = 0.01,
                        .w = {.init = "critical", .bias = -1}};
    if (parse(&p, argc, argv) && prepare(&p)) {
        measure_all(&p);
        weights_text(&p.w, p.r.weights_by, sizeof p.r.weights_by);
        if (p.s.code == 0) spectrum_report(&p.s, &p.r);
    }
    free(p.r.weight_variance);
    free(p.r.bias_variance);
    free(p.r.cells);
    free(p.r.room);
    return study_end(&p.s);
}
