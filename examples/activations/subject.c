/* subject.c: an activation by name, ready to run on float32 tensors.
   SPDX-License-Identifier: MIT */
#include "subject.h"

#include <math.h>

bool subject_open(hk_context *ctx, const char *name, hk_shape input, subject *s) {
    *s = (subject){.name = name};
    if (hk_activation_parse(ctx, name, &s->spec) != HK_OK) return false;
    s->module = hk_activation(ctx, name);
    return s->module && hk_module_build(s->module, input, NULL) == HK_OK;
}

void subject_close(subject *s) {
    hk_module_destroy(s->module);
    s->module = NULL;
}

bool subject_is_pointwise(const hk_activation_spec *spec) {
    return spec->info->kind == HK_ACTIVATION_POINTWISE || spec->info->kind == HK_ACTIVATION_OWN ||
           spec->candidates[0];
}

bool subject_has_slope(const hk_activation_spec *spec) {
    const int chooser = spec->info->surrogate;
    return chooser == 0 || spec->value[chooser] != 0;
}

bool subject_has_parameter(const hk_activation_spec *spec, int k) {
    const int from = spec->info->params[k].from;
    return k < spec->info->n_params && (from == 0 || from <= spec->value[0]);
}

static bool differentiate(hk_tensor *x, hk_tensor *y, float *slope) {
    hk_context *ctx = hk_tensor_context(x);
    const size_t bytes = (size_t)hk_tensor_count(x) * sizeof *slope;
    hk_tensor *one = hk_full(ctx, HK_F32, hk_tensor_shape(x), 1);
    hk_zero_grad(x);
    return hk_backward_from(ctx, y, one) == HK_OK &&
           hk_tensor_read(hk_grad(x), slope, bytes) == HK_OK;
}

bool subject_values(subject *s, hk_tensor *x, const float *at, float *y, float *slope) {
    hk_context *ctx = hk_tensor_context(x);
    const int64_t n = hk_tensor_count(x);
    const bool slopes = slope && subject_has_slope(&s->spec);
    for (int64_t i = 0; slope && i < n; i++) slope[i] = NAN;
    if (hk_tensor_write(x, at, (size_t)n * sizeof *at) != HK_OK) return false;
    const bool was_training = hk_module_train(s->module, false); /* nothing is drawn */
    const bool was_on = hk_grad_enable(ctx, slopes);
    hk_tensor *out = hk_forward(s->module, x);
    bool ok = out && hk_tensor_read(out, y, (size_t)n * sizeof *y) == HK_OK;
    if (ok && slopes) ok = differentiate(x, out, slope);
    hk_grad_enable(ctx, was_on);
    hk_module_train(s->module, was_training);
    return hk_step_end(ctx) == HK_OK && ok;
}
