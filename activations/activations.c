/* activations.c: activations by name, and their one tape operation.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "activation_kernels.h"
#include "tape.h"

static const hk_activation_info rows[] = {
#define HK_ACTIVATION(name_, n, keeps_, ...)                                                       \
    {.name = #name_, .n_params = n, .keeps = keeps_, __VA_ARGS__},
#include "activations.def"
#undef HK_ACTIVATION
};

int hk_activation_count(void) { return HK__ACT_COUNT; }

const hk_activation_info *hk_activation_row(int i) {
    return i >= 0 && i < HK__ACT_COUNT ? &rows[i] : NULL;
}

/* --- names: NAME:parameter=value:... ------------------------------------------------------------------ */

/* Names of all rows, or of one row's parameters, for messages. */
static void list_rows(char *text, size_t size) {
    text[0] = 0;
    for (size_t used = 0, i = 0; i < HK__ACT_COUNT && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", rows[i].name);
}

static void list_params(const hk_activation_info *row, char *text, size_t size) {
    size_t used = 0;
    for (int i = 0; i < row->n_params && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s, ", row->params[i].name);
    if (used < size)
        snprintf(text + used, size - used, "%s", row->n_params ? "learn, per" : "none");
}

static int find_row(const char *name, size_t length) {
    for (int i = 0; i < HK__ACT_COUNT; i++)
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) return i;
    return -1;
}

static bool is(const char *text, size_t length, const char *word) {
    return strlen(word) == length && memcmp(text, word, length) == 0;
}

/* One "parameter=value" of the text; `length` characters. */
static hk_status parse_setting(hk_context *ctx, const char *text, size_t length,
                               hk_activation_spec *spec) {
    const hk_activation_info *row = &rows[spec->row];
    const char *equals = memchr(text, '=', length);
    const size_t name_length = equals ? (size_t)(equals - text) : length;
    const char *value = equals ? equals + 1 : text + length;
    const size_t value_length = (size_t)(text + length - value);
    if (row->n_params > 0 && is(text, name_length, "per") &&
        (is(value, value_length, "channel") || is(value, value_length, "layer"))) {
        spec->per_channel = is(value, value_length, "channel");
        return HK_OK;
    }
    if (row->n_params > 0 && is(text, name_length, "learn") &&
        (is(value, value_length, "yes") || is(value, value_length, "no"))) {
        spec->learn = is(value, value_length, "yes");
        return HK_OK;
    }
    char known[128];
    for (int i = 0; i < row->n_params; i++) {
        const hk_activation_param *param = &row->params[i];
        if (!is(text, name_length, param->name)) continue;
        char *end;
        const double number = strtod(value, &end);
        if (value_length > 0 && end == value + value_length && isfinite(number) &&
            number >= param->low && number <= param->high) {
            spec->value[i] = number;
            return HK_OK;
        }
        return hk_fail(ctx, HK_ERR_ARGUMENT, "activation",
                       "%s: %.*s must be a number from %g to %g, not '%.*s'", row->name,
                       (int)name_length, text, param->low, param->high, (int)value_length, value);
    }
    list_params(row, known, sizeof known);
    return hk_fail(ctx, HK_ERR_NAME, "activation", "%s has no setting '%.*s'; there are: %s",
                   row->name, (int)length, text, known);
}

hk_status hk_activation_parse(hk_context *ctx, const char *text, hk_activation_spec *spec) {
    if (!ctx) return HK_ERR_MEMORY;
    if (ctx->status != HK_OK) return ctx->status;
    if (!text) return hk_fail(ctx, HK_ERR_NAME, "activation", "no name was given");
    size_t length = strcspn(text, ":");
    *spec = (hk_activation_spec){.row = find_row(text, length), .learn = true};
    if (spec->row < 0) {
        char known[384];
        list_rows(known, sizeof known);
        return hk_fail(ctx, HK_ERR_NAME, "activation", "unknown activation '%.*s'; there are: %s",
                       (int)length, text, known);
    }
    for (int i = 0; i < rows[spec->row].n_params; i++)
        spec->value[i] = rows[spec->row].params[i].value;
    for (const char *at = text + length; *at; at += length) {
        at++; /* the colon */
        length = strcspn(at, ":");
        HK_TRY(parse_setting(ctx, at, length, spec));
    }
    return HK_OK;
}

/* --- the operation: y = f(x; parameters) ----------------------------------------------------------------- */

/* in[0] is x, the others parameters. With parameters of one element each, kernels get them as numbers. */
static const hk__activation_kernels_row *kernels(const hk_op_call *c) {
    const hk_activation_spec *spec = c->attr;
    return &hk__activation_tables[hk__stamp_of(c->ctx, c->in[0]->dtype)]->row[spec->row];
}

static bool parameters_are_numbers(const hk_op_call *c) {
    for (int i = 1; i < c->n_in; i++)
        if (hk_shape_count(c->in[i]->shape) != 1) return false;
    return true;
}

/* The parameters as numbers: from the tensors, or from the specification if there are none. */
static void numbers(const hk_op_call *c, double *value) {
    const hk_activation_spec *spec = c->attr;
    for (int k = 0; k < HK_ACTIVATION_MAX_PARAMS; k++)
        value[k] = k + 1 < c->n_in ? hk_tensor_item(c->in[k + 1]) : spec->value[k];
}

static hk_status act_forward(hk_op_call *c) {
    HK_TRY(hk__need_real(c, 0, c->n_in - 1));
    for (int i = 1; i < c->n_in; i++) {
        hk_shape shape;
        if (!hk__broadcast(c->in[0]->shape, c->in[i]->shape, &shape) ||
            !hk_shape_equal(shape, c->in[0]->shape))
            return hk__shapes_differ(c, "a parameter does not broadcast to x", c->in[0], c->in[i]);
    }
    if (!hk_op_output(c, 0, c->in[0]->dtype, c->in[0]->shape)) return c->ctx->status;
    if (parameters_are_numbers(c)) {
        double value[HK_ACTIVATION_MAX_PARAMS];
        numbers(c, value);
        hk__map(c->ctx, kernels(c)->plain_value, value, c->out[0], 1, c->in, false);
    } else
        hk__map(c->ctx, kernels(c)->value, NULL, c->out[0], c->n_in, c->in, false);
    return c->ctx->status;
}

/* out (+)= along · slope, of x's shape. */
static void along_slope(hk_op_call *c, hk__map_fn *fn, hk_tensor *out, hk_tensor *along,
                        bool accumulate) {
    hk_tensor *operands[3 + HK_ACTIVATION_MAX_PARAMS] = {along, c->in[0], c->out[0]};
    for (int i = 1; i < c->n_in; i++) operands[2 + i] = c->in[i];
    hk__map(c->ctx, fn, NULL, out, 2 + c->n_in, operands, accumulate);
}

static void along_input(hk_op_call *c, hk_tensor *out, hk_tensor *along, bool accumulate) {
    if (!parameters_are_numbers(c)) {
        along_slope(c, kernels(c)->slope, out, along, accumulate);
        return;
    }
    double value[HK_ACTIVATION_MAX_PARAMS];
    numbers(c, value);
    hk_tensor *operands[] = {along, c->in[0], c->out[0]};
    hk__map(c->ctx, kernels(c)->plain_slope, value, out, 3, operands, accumulate);
}

static hk_status act_backward(hk_op_call *c) {
    bool accumulate;
    hk_tensor *gx = hk__grad_target(c, 0, &accumulate);
    if (gx) along_input(c, gx, c->gout[0], accumulate);
    for (int i = 1; i < c->n_in; i++) {
        if (!hk_op_needs(c, i)) continue;
        hk_tensor *wide = hk__empty(c->ctx, c->in[0]->dtype, c->in[0]->shape);
        if (!wide) return c->ctx->status;
        along_slope(c, kernels(c)->param_slope[i - 1], wide, c->gout[0], false);
        HK_TRY(hk_op_add_grad(c, i, wide));
    }
    return c->ctx->status;
}

static hk_status act_jvp(hk_op_call *c) {
    for (int i = 0; i < c->n_in; i++) {
        if (!c->tin[i]) continue;
        bool accumulate;
        hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
        if (!t) return c->ctx->status;
        if (i == 0)
            along_input(c, t, c->tin[0], accumulate);
        else
            along_slope(c, kernels(c)->param_slope[i - 1], t, c->tin[i], accumulate);
    }
    return c->ctx->status;
}

/* One hk_op for each row, so that errors and listings name the activation. */
static const hk_op act_ops[HK__ACT_COUNT] = {
#define HK_ACTIVATION(name, ...) {#name, act_forward, act_backward, act_jvp},
#include "activations.def"
#undef HK_ACTIVATION
};

hk_tensor *hk_activate_with(hk_tensor *x, const hk_activation_spec *spec,
                            hk_tensor *const *params) {
    hk_tensor *in[1 + HK_ACTIVATION_MAX_PARAMS] = {x};
    const int n = params ? rows[spec->row].n_params : 0;
    for (int i = 0; i < n; i++) in[1 + i] = params[i];
    return hk_apply(&act_ops[spec->row], spec, sizeof *spec, 1 + n, in, 1, NULL);
}

hk_tensor *hk_activate(hk_tensor *x, const char *text) {
    hk_activation_spec spec;
    if (!x || hk_activation_parse(x->ctx, text, &spec) != HK_OK) return NULL;
    return hk_activate_with(x, &spec, NULL);
}

/* --- in double ---------------------------------------------------------------------------------------------- */

static const hk__activation_kernels_row *oracle(const hk_activation_spec *spec) {
    return &hk__activation_f64.row[spec->row];
}

double hk_activation_value(const hk_activation_spec *spec, double x) {
    double y;
    oracle(spec)->plain_value(1, (void *[]){&y, &x}, spec->value);
    return y;
}

double hk_activation_slope(const hk_activation_spec *spec, double x) {
    double y = hk_activation_value(spec, x), g = 1, out;
    oracle(spec)->plain_slope(1, (void *[]){&out, &g, &x, &y}, spec->value);
    return out;
}

double hk_activation_param_slope(const hk_activation_spec *spec, int k, double x) {
    if (k < 0 || k >= rows[spec->row].n_params) return NAN;
    double y = hk_activation_value(spec, x), g = 1, out, value[HK_ACTIVATION_MAX_PARAMS];
    memcpy(value, spec->value, sizeof value);
    void *p[4 + HK_ACTIVATION_MAX_PARAMS] = {&out, &g, &x, &y};
    for (int i = 0; i < HK_ACTIVATION_MAX_PARAMS; i++) p[4 + i] = &value[i];
    oracle(spec)->param_slope[k](1, p, NULL);
    return out;
}

/* E f(z)² by the trapezium rule on [-12, 12]: the integrand and all its derivatives vanish at the ends, so
   the rule converges fast; kinks lie on grid points or cost about the square of the step. */
double hk_activation_gain(const hk_activation_spec *spec) {
    const double h = 1.0 / 512, scale = 0.39894228040143267794; /* 1/sqrt(2π) */
    double sum = 0;
    for (int i = -12 * 512; i <= 12 * 512; i++) {
        const double z = i * h, f = hk_activation_value(spec, z);
        sum += f * f * scale * exp(-z * z / 2);
    }
    return 1 / sqrt(sum * h);
}
