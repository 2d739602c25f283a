/* eval.c: activations eval NAME X...: f, f' and the derivatives by parameters, by the float32 kernels.
   SPDX-License-Identifier: MIT

   Each line is one forward and one backward of a tensor with one element (of a row, for functions of a
   row), so every number comes from the kernels that train. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "commands.h"
#include "subject.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS, WIDTH = 16, NAME_MOST = 48 };

typedef struct evaluation {
    const char *program;
    hk_context *ctx;
    subject subject;
    int count;
    float *x;
} evaluation;

/* --- printing --------------------------------------------------------------------------------- */

static void print_number(double v) {
    if (isnan(v))
        printf("%*s", WIDTH, "nan"); /* of either sign */
    else
        printf("%*.9g", WIDTH, v);
}

static void print_heading(const char *text) { printf(" %*s", WIDTH, text); }

static void print_next(double v) {
    putchar(' ');
    print_number(v);
}

/* --- y[i] = f(x[i]) --------------------------------------------------------------------------- */

/* Whether a derivative by parameter k is shown: not for choices, counts and what is never trained. */
static bool is_shown(const hk_activation_spec *spec, int k) {
    return subject_has_parameter(spec, k) && spec->info->params[k].role != HK_PARAM_FIXED;
}

/* One number as a tensor with a gradient. */
static hk_tensor *number(hk_context *ctx, double value) {
    return hk_require_grad(hk_tensor_from(ctx, HK_F32, HK_SHAPE(1), &(float){(float)value}));
}

static double gradient(hk_tensor *t) { return hk_tensor_item(hk_grad(t)); }

/* The last headings: "df/dalpha". */
static void print_parameter_headings(const hk_activation_spec *spec) {
    char text[NAME_MOST];
    for (int k = 0; k < spec->info->n_params; k++) {
        if (!is_shown(spec, k)) continue;
        snprintf(text, sizeof text, "df/d%s", spec->info->params[k].name);
        print_heading(text);
    }
    putchar('\n');
}

/* A line for x: forward, then backward from 1. */
static bool point_line(const evaluation *e, hk_tensor *x, float at, hk_tensor *const *params) {
    const hk_activation_spec *spec = &e->subject.spec;
    const float one = 1;
    if (hk_tensor_write(x, &at, sizeof at) != HK_OK) return false;
    hk_tensor *y = hk_activate_with(x, spec, params);
    hk_zero_grad(x);
    for (int k = 0; k < MAX; k++) hk_zero_grad(params[k]);
    const bool slope = subject_has_slope(spec);
    if (slope && y &&
        hk_backward_from(e->ctx, y, hk_constant(e->ctx, HK_F32, HK_SHAPE(1), &one)) != HK_OK)
        return false;
    print_number((double)at);
    print_next(hk_tensor_item(y));
    if (slope)
        print_next(gradient(x));
    else
        print_heading("-");
    for (int k = 0; k < MAX; k++)
        if (params[k]) print_next(gradient(params[k]));
    putchar('\n');
    return hk_step_end(e->ctx) == HK_OK;
}

static bool eval_points(const evaluation *e) {
    const hk_activation_spec *spec = &e->subject.spec;
    hk_tensor *params[MAX] = {NULL}, *x = number(e->ctx, 0);
    for (int k = 0; k < MAX; k++)
        if (is_shown(spec, k)) params[k] = number(e->ctx, spec->value[k]);
    if (hk_error(e->ctx) != HK_OK) return false;
    printf("%*s", WIDTH, "x");
    print_heading("f");
    print_heading("f'");
    print_parameter_headings(spec);
    bool ok = true;
    for (int i = 0; ok && i < e->count; i++) ok = point_line(e, x, e->x[i], params);
    if (ok && !subject_has_slope(spec))
        fprintf(stderr, "%s: no f': %s:%s=%s would stand in for it\n", e->program, spec->info->name,
                spec->info->params[spec->info->surrogate].name,
                strchr(spec->info->params[spec->info->surrogate].words, '|') + 1);
    return ok;
}

/* --- a mixture: its own parameters are the logits of the weights ---------------------------------- */

static bool mixture_line(evaluation *e, hk_tensor *x, float at, hk_tensor *logits) {
    float y, slope;
    hk_zero_grad(logits);
    if (!subject_values(&e->subject, x, &at, &y, &slope)) return false;
    print_number((double)at);
    print_next((double)y);
    print_next((double)slope);
    const float *by_logit = hk_tensor_data(hk_grad(logits));
    for (int64_t k = 0; by_logit && k < hk_tensor_count(logits); k++)
        print_next((double)by_logit[k]);
    putchar('\n');
    return by_logit != NULL;
}

static bool eval_mixture(evaluation *e) {
    const hk_parameters own = hk_module_parameters(e->subject.module);
    hk_tensor *x = hk_require_grad(hk_tensor_new(e->ctx, HK_F32, HK_SHAPE(1, 1)));
    if (!x || own.count != 1) return false;
    printf("%*s", WIDTH, "x");
    print_heading("f");
    print_heading("f'");
    for (int64_t k = 0; k < hk_tensor_count(own.items[0]); k++) {
        char text[NAME_MOST];
        snprintf(text, sizeof text, "df/d%s[%d]", hk_tensor_name(own.items[0]), (int)k);
        print_heading(text);
    }
    putchar('\n');
    bool ok = true;
    for (int i = 0; ok && i < e->count; i++) ok = mixture_line(e, x, e->x[i], own.items[0]);
    return ok;
}

/* --- functions of a row: all X are one row, and every output has a derivative by every X ------------ */

/* jacobian[j][i] = dy_j/dx_i: a backward from each output. */
static bool fill_jacobian(const evaluation *e, hk_tensor *x, hk_tensor *y, int outputs,
                          float *jacobian) {
    float *pick = calloc((size_t)outputs, sizeof *pick);
    const size_t row = (size_t)e->count * sizeof *jacobian;
    bool ok = pick != NULL;
    for (int j = 0; ok && j < outputs; j++) {
        pick[j] = 1;
        hk_tensor *from = hk_constant(e->ctx, HK_F32, hk_tensor_shape(y), pick);
        hk_zero_grad(x);
        ok = hk_backward_from(e->ctx, y, from) == HK_OK &&
             hk_tensor_read(hk_grad(x), jacobian + (size_t)j * (size_t)e->count, row) == HK_OK;
        pick[j] = 0;
    }
    free(pick);
    return ok;
}

static void print_row(const evaluation *e, const float *y, int outputs, const float *jacobian) {
    printf("%4s", "i");
    print_heading("x_i");
    print_heading("y_i");
    for (int j = 0; j < outputs; j++) {
        char text[NAME_MOST];
        snprintf(text, sizeof text, "dy_%d/dx_i", j);
        print_heading(text);
    }
    putchar('\n');
    for (int i = 0; i < e->count; i++) {
        printf("%4d", i);
        print_next((double)e->x[i]);
        if (i < outputs)
            print_next((double)y[i]);
        else
            print_heading("-");
        for (int j = 0; j < outputs; j++) print_next((double)jacobian[j * e->count + i]);
        putchar('\n');
    }
}

static bool eval_row(const evaluation *e) {
    hk_tensor *x = hk_require_grad(hk_tensor_from(e->ctx, HK_F32, HK_SHAPE(1, e->count), e->x));
    hk_tensor *y = x ? hk_activate_with(x, &e->subject.spec, NULL) : NULL;
    const int outputs = (int)hk_tensor_count(y);
    float *values = calloc((size_t)outputs * (size_t)(e->count + 1), sizeof *values);
    bool ok = y && values && hk_tensor_read(y, values, (size_t)outputs * sizeof *values) == HK_OK &&
              fill_jacobian(e, x, y, outputs, values + outputs);
    if (ok) print_row(e, values, outputs, values + outputs);
    free(values);
    return hk_step_end(e->ctx) == HK_OK && ok;
}

/* --- the command line ----------------------------------------------------------------------------- */

static int help(const char *command) {
    printf("activations eval: f, f' and derivatives by parameters, by the float32 kernels that "
           "train\n\n"
           "usage: %s NAME X...\n\n"
           "Everything after NAME is a number: -1, 1e-3, 0x1p-20, inf, -inf, nan. A line for each, "
           "with\n"
           "9 digits, which tell all float32 numbers apart. Functions of a row (softmax, glu) take "
           "all X\n"
           "as one row, and show each output's derivative by each X.\n\n"
           "examples:\n"
           "  %s gelu -1 0 0.5\n"
           "  %s swish:beta=2 -3 -inf nan\n"
           "  %s softmax 1 2 3\n",
           command, command, command, command);
    return EXIT_SUCCESS;
}

static int usage_error(const char *program, const char *what) {
    fprintf(stderr, "%s: %s (try %s gelu -1 0 0.5)\n", program, what, program);
    return EXIT_BAD_INPUT;
}

/* False after an error, which has been printed. */
static bool read_numbers(evaluation *e, char **text) {
    for (int i = 0; i < e->count; i++) {
        char *end;
        const double v = strtod(text[i], &end);
        if (end == text[i] || *end) {
            fprintf(stderr, "%s: '%s' is not a number; all after NAME are: -1, 0.5, inf, nan\n",
                    e->program, text[i]);
            return false;
        }
        e->x[i] = (float)v;
        if (isinf(e->x[i]) && strpbrk(text[i], "0123456789")) {
            fprintf(stderr, "%s: %s is beyond float32, which ends at 3.40282347e+38 (or say inf)\n",
                    e->program, text[i]);
            return false;
        }
    }
    return true;
}

static int refuse_network(const evaluation *e, const hk_activation_info *info) {
    fprintf(stderr,
            "%s: %s is a small network with weights of its own, so it has no values without "
            "training",
            e->program, info->name);
    if (info->starts_as) fprintf(stderr, " (it starts as %s)", info->starts_as);
    fputc('\n', stderr);
    return EXIT_BAD_INPUT;
}

static int evaluate(evaluation *e, const char *name) {
    hk_activation_spec asked;
    if (hk_activation_parse(e->ctx, name, &asked) != HK_OK) return report_error(e->program, e->ctx);
    if (asked.info->kind == HK_ACTIVATION_NETWORK && !subject_is_pointwise(&asked))
        return refuse_network(e, asked.info);
    if (!subject_open(e->ctx, name, HK_SHAPE(1, e->count), &e->subject))
        return report_error(e->program, e->ctx);
    const hk_activation_spec *spec = &e->subject.spec;
    bool ok;
    if (spec->candidates[0])
        ok = eval_mixture(e);
    else if (subject_is_pointwise(spec))
        ok = eval_points(e);
    else
        ok = eval_row(e);
    return ok ? EXIT_SUCCESS : report_error(e->program, e->ctx);
}

int command_eval(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    evaluation e = {.program = slash ? slash + 1 : argv[0], .count = argc - 2};
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return help(argv[0]);
    if (argc < 2) return usage_error(e.program, "a NAME is needed, then numbers");
    if (argc < 3) return usage_error(e.program, "at least one number is needed after NAME");
    e.x = calloc((size_t)e.count, sizeof *e.x);
    int code = EXIT_BAD_INPUT;
    if (e.x && read_numbers(&e, argv + 2)) {
        e.ctx = hk_context_create(&(hk_context_config){.threads = 1});
        code = evaluate(&e, argv[1]);
        hk_context_destroy(e.ctx);
    }
    free(e.x);
    return code;
}
