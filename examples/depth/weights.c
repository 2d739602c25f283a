/* weights.c: ways to draw the weights of a random network.
   SPDX-License-Identifier: MIT */
#include "weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *text;
    bool uniform;
} ways[] = {{"auto", "the activation's own gain", false},
            {"kaiming", "relu's gain √2", false},
            {"torch", "PyTorch's default", true},
            {"xavier", "Xavier", true},
            {"lecun", "LeCun", false},
            {"critical", "the edge of chaos", false}};
enum { AUTO, KAIMING, TORCH, XAVIER, LECUN, CRITICAL, WAYS };

static const char *way_name(int i) { return i < WAYS ? ways[i].name : NULL; }

static int find(const char *name) {
    int i = 0;
    while (i < WAYS - 1 && strcmp(ways[i].name, name) != 0) i++;
    return i;
}

void weights_add_options(study *s, weights *w) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "init", .form = "NAME", .kind = OPTION_TEXT, .value = &w->init,
         .help = "how weights are drawn; auto: so that E f(z)^2 sigma_w^2 = 1; critical: so that "
                 "chi_1 = 1 at a fixed point q", .choice = way_name,
         .example = "auto", .flags = OPTION_EVERYDAY},
        {.name = "gain", .form = "G", .kind = OPTION_NUMBER, .value = &w->gain,
         .help = "sigma_w instead: weights of deviation G/sqrt(fan_in)", .low = 0, .high = 1e6,
         .example = "1.414", .shown = "by --init", .flags = OPTION_EVERYDAY | OPTION_ABOVE},
        {.name = "weight-variance", .form = "V", .kind = OPTION_NUMBER, .value = &w->variance,
         .help = "sigma_w^2 instead", .low = 0, .high = 1e12, .example = "2",
         .shown = "by --init", .flags = OPTION_EVERYDAY | OPTION_ABOVE},
        {.name = "bias-variance", .form = "V", .kind = OPTION_NUMBER, .value = &w->bias,
         .help = "sigma_b^2", .low = 0, .high = 1e12, .example = "0.05",
         .shown = "by --init: 0; torch 1/(3 fan_in)", .flags = OPTION_EVERYDAY},
    };
    /* clang-format on */
    options_add(&s->opts, (int)(sizeof rows / sizeof *rows), rows);
}

bool weights_check(study *s, const weights *w) {
    if (w->gain > 0 && w->variance > 0)
        study_fail(s, EXIT_BAD_INPUT, "--gain and --weight-variance: choose one of them");
    return s->code == 0;
}

/* σw² = 1/E f'(√q z)² has χ₁ = 1; σb² then makes q a fixed point. */
static bool critical(study *s, const hk_activation_spec *spec, double q, double *weight_variance,
                     double *bias_variance) {
    const double slope = hk_mean_field_slope(spec, q), signal = hk_mean_field_signal(spec, q);
    if (!isfinite(slope) || !(slope > 0)) {
        study_fail(s, EXIT_BAD_INPUT,
                   "--init critical: there is no theory of %s, which is not a function of one "
                   "number (try --init auto)",
                   spec->info->name);
        return false;
    }
    *weight_variance = 1 / slope;
    *bias_variance = q - *weight_variance * signal;
    if (*bias_variance < -1e-9 * q) {
        study_fail(s, EXIT_BAD_INPUT,
                   "--init critical: %s has no edge of chaos at q = %g, as sigma_b^2 would be %.3g "
                   "(try --init auto)",
                   spec->info->name, q, *bias_variance);
        return false;
    }
    if (*bias_variance < 1e-9 * q) *bias_variance = 0; /* relu: 0 but for rounding */
    return true;
}

bool weights_of(study *s, hk_context *ctx, const weights *w, const hk_activation_spec *spec,
                int64_t fan_in, double *weight_variance, double *bias_variance) {
    const int way = find(w->init);
    *bias_variance = 0;
    switch (way) {
    case KAIMING: *weight_variance = 2; break;
    case TORCH:
        *weight_variance = 1.0 / 3;
        *bias_variance = 1.0 / (3 * (double)fan_in);
        break;
    case XAVIER:
    case LECUN: *weight_variance = 1; break;
    case CRITICAL:
        if (!critical(s, spec, w->q, weight_variance, bias_variance)) return false;
        break;
    default: *weight_variance = pow(hk_activation_gain(ctx, spec), 2); break;
    }
    if (w->gain > 0) *weight_variance = w->gain * w->gain;
    if (w->variance > 0) *weight_variance = w->variance;
    if (w->bias >= 0) *bias_variance = w->bias;
    return true;
}

bool weights_are_uniform(const weights *w) { return ways[find(w->init)].uniform; }

void weights_text(const weights *w, char *text, size_t size) {
    char bias[48] = "";
    if (w->bias > 0) snprintf(bias, sizeof bias, ", σb² = %g", w->bias);
    if (w->gain > 0)
        snprintf(text, size, "σw = %g%s", w->gain, bias);
    else if (w->variance > 0)
        snprintf(text, size, "σw² = %g%s", w->variance, bias);
    else
        snprintf(text, size, "%s%s", ways[find(w->init)].text, bias);
}
