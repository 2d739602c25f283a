/* rows.h: rows of the library in expressions (see formula.h).
   SPDX-License-Identifier: MIT */
#ifndef ROWS_H
#define ROWS_H

#include "formula.h"

enum { ROW_ARGS = 8, ROW_SPEC = 384 };

typedef struct row_call {
    char spec[ROW_SPEC]; /* "swish:beta=1.5" */
    bool slope;
    char by[FORMULA_WORD]; /* of a slope by a parameter: its name */
    int out, in;           /* -1: not along an axis */
    bool single;           /* in float, by the kernels that train */
    int n;
    double x[ROW_ARGS];
} row_call;

/* --- values ------------------------------------------------------------------------------------------ */

static int row_kinks_below(const hk_activation_spec *spec, double x) {
    int n = 0;
    for (int k = 0; k < spec->info->n_kinks; k++) n += spec->info->kinks[k] < x;
    for (int k = 0; k < spec->info->n_params; k++)
        n += spec->info->params[k].kink && spec->value[k] < x;
    return n;
}

static double row_param_slope(const hk_activation_spec *spec, const row_call *row,
                              const char **why) {
    for (int k = 0; k < spec->info->n_params; k++)
        if (strcmp(spec->info->params[k].name, row->by) == 0)
            return hk_activation_param_slope(spec, k, row->x[0]);
    *why = "no such parameter";
    return NAN;
}

static double row_number(hk_tensor *t, int i) {
    const void *data = hk_tensor_data(t);
    return hk_tensor_dtype(t) == HK_F64 ? ((const double *)data)[i]
                                        : (double)((const float *)data)[i];
}

/* Output `out` of what training computes, or its gradient by input `in`. One sample; a network is as it starts. */
static double row_computed(hk_context *ctx, const row_call *row, const char **why) {
    const int out = row->out < 0 ? 0 : row->out, in = row->in < 0 ? 0 : row->in;
    const hk_dtype dtype = row->single ? HK_F32 : HK_F64;
    const hk_shape shape = HK_SHAPE(1, row->n);
    hk_tensor *x = hk_cast(hk_constant(ctx, HK_F64, shape, row->x), dtype);
    x = hk_require_grad(hk_tensor_keep(x));
    hk_module *m = row->single ? NULL : hk_activation(ctx, row->spec);
    if (m && hk_module_build(m, shape, NULL) != HK_OK) *why = "no such shape";
    hk_tensor *y = row->single ? hk_activate(x, row->spec) : hk_forward(m, x);
    double v = NAN, one[ROW_ARGS] = {0};
    one[out] = 1;
    if (!y || out >= hk_tensor_count(y) || in >= row->n || *row->by)
        *why = "no such output, or no such input";
    else if (!row->slope)
        v = row_number(y, out);
    else if (hk_backward_from(ctx, y,
                              hk_cast(hk_constant(ctx, HK_F64, hk_tensor_shape(y), one), dtype)) ==
             HK_OK)
        v = row_number(hk_grad(x), in);
    if (m) hk_module_destroy(m);
    hk_tensor_destroy(x);
    if (hk_step_end(ctx) != HK_OK) *why = "the step did not end";
    return v;
}

static double row_value(formula *f, const row_call *row, const char **why) {
    static char message[512];
    hk_activation_spec spec;
    double v = NAN;
    if (hk_activation_parse(f->ctx, row->spec, &spec) == HK_OK) {
        const bool pointwise = spec.info->kind == HK_ACTIVATION_POINTWISE;
        if (pointwise) f->sides += row_kinks_below(&spec, row->x[0]);
        if (pointwise != (row->out < 0) || (pointwise && row->n != 1))
            *why = pointwise ? "one number" : "the output's number, as in name[0](a, b)";
        else if (!pointwise || row->single)
            v = row_computed(f->ctx, row, why);
        else if (!row->slope)
            v = hk_activation_value(&spec, row->x[0]);
        else if (!*row->by)
            v = hk_activation_slope(&spec, row->x[0]);
        else
            v = row_param_slope(&spec, row, why);
    }
    if (hk_error(f->ctx) == HK_OK) return v;
    snprintf(message, sizeof message, "%s", hk_error_message(f->ctx));
    *why = message;
    hk_error_clear(f->ctx);
    return NAN;
}

/* --- reading a call ------------------------------------------------------------------------------------ */

/* Behind "; ": beta=1.5, ste=clip or relu+tanh. Values are expressions, but words that name nothing. */
static void formula_settings(formula *f, row_call *row) {
    do {
        formula_space(f);
        const size_t used = strlen(row->spec), key = strcspn(f->at, "=,)");
        snprintf(row->spec + used, sizeof row->spec - used, ":%.*s", (int)key, f->at);
        f->at += key;
        if (*f->at != '=') continue;
        f->at++;
        char text[48], word[FORMULA_WORD];
        const char *from = f->at;
        if (formula_word(f, word) && strcspn(f->at, ",)") == 0 && !formula_name(f, word)) {
            snprintf(text, sizeof text, "=%s", word);
        } else {
            f->at = from;
            snprintf(text, sizeof text, "=%.17g", formula_sum(f));
        }
        strncat(row->spec, text, sizeof row->spec - strlen(row->spec) - 1);
    } while (formula_next(f, ","));
}

/* A row, behind its name. */
static double formula_row(formula *f, const char *name) {
    row_call row = {.out = -1, .in = -1, .single = f->single};
    snprintf(row.spec, sizeof row.spec, "%s", name);
    if (*f->at == '\'') {
        f->at++;
        row.slope = true;
        if (isalpha((unsigned char)*f->at)) formula_word(f, row.by);
    }
    if (*f->at == '[') {
        char *end;
        row.out = (int)strtol(f->at + 1, &end, 10);
        if (*end == ',') row.in = (int)strtol(end + 1, &end, 10);
        f->at = end;
        formula_need(f, "]");
    }
    formula_need(f, "(");
    do {
        if (row.n == ROW_ARGS) return formula_fail(f, "too many arguments");
        row.x[row.n++] = formula_any(f);
    } while (formula_next(f, ","));
    if (formula_next(f, ";")) formula_settings(f, &row);
    formula_need(f, ")");
    if (f->error) return NAN;
    const char *why = NULL;
    const double v = row_value(f, &row, &why);
    return why ? formula_fail(f, why) : formula_round(f, v);
}

#endif
