/* ctest: labels=golden timeout=60 devices=cpu,cuda */
/* test_act_golden.c: f, f' and the derivatives by parameters of every pointwise activation against
   values computed with 60 digits: float on every instruction set, double, at every position of a
   vector and at odd lengths.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS, POINTS = 32, CASES = 64 };

/* The lines of one activation with one set of parameters. */
typedef struct golden_case {
    char name[96];
    hk_activation_spec spec;
    activation_gate gate;
    int n;
    double x[POINTS], f[POINTS], slope[POINTS], param[MAX][POINTS];
    bool has_slope, has_param[MAX];
} golden_case;

typedef struct golden_cases {
    hk_context *ctx; /* which the specifications belong to */
    int n;
    golden_case at[CASES];
} golden_cases;

/* The step by itself has no slope: then what the table says is a convention. */
static golden_case *new_case(golden_cases *all, const table *t, const char *name) {
    golden_case *c = &all->at[all->n];
    if (!table_spec(all->ctx, t->field[0], t->field[1], &c->spec)) return NULL;
    assert_true(++all->n < CASES);
    snprintf(c->name, sizeof c->name, "%s", name);
    c->gate = activation_gate_of(&c->spec);
    c->has_slope = !c->spec.info->surrogate || c->spec.value[c->spec.info->surrogate] != 0;
    return c;
}

static void read_line(golden_case *c, const table *t) {
    const int i = c->n++;
    assert_true(c->n <= POINTS);
    c->x[i] = strtod(table_field(t, "x"), NULL);
    c->f[i] = strtod(table_field(t, "f"), NULL);
    c->slope[i] = strtod(table_field(t, "dfdx"), NULL);
    for (int k = 0; k < c->spec.info->n_params; k++)
        c->has_param[k] =
            table_number(table_field(t, "dparams"), c->spec.info->params[k].name, &c->param[k][i]);
}

static int read_cases(void **state) {
    golden_cases *all = calloc(1, sizeof *all);
    table *t = malloc(sizeof *t);
    char name[96], last[96] = "";
    golden_case *c = NULL;
    all->ctx = new_context(1, NULL);
    table_open(t, "activations-golden.csv");
    while (table_next(t)) {
        snprintf(name, sizeof name, "%s:%s", t->field[0], t->field[1]);
        if (strcmp(name, last) != 0) c = new_case(all, t, name);
        strcpy(last, name);
        if (c) read_line(c, t);
    }
    fclose(t->file);
    free(t);
    *state = all;
    return 0;
}

static int free_cases(void **state) {
    golden_cases *all = *state;
    hk_context_destroy(all->ctx);
    free(all);
    return 0;
}

/* --- comparisons ----------------------------------------------------------------------------- */

/* Where a value is compared: for messages. */
typedef struct where {
    const golden_case *c;
    const char *how, *isa;
    bool f64;
    int point, length, position;
} where;

static void compare(const where *w, const char *what, double got, double want, double allowed) {
    if (isnan(want) ? isnan(got) : is_close(got, want, allowed)) return;
    fail_msg("%s of %s (%s, %s) at x = %.9g, position %d of %d: %.9g, not %.9g; allowed %.3g", what,
             w->c->name, w->f64 ? "f64" : w->isa, w->how, w->c->x[w->point], w->position, w->length,
             got, want, allowed);
}

static void compare_value(const where *w, double got) {
    const double want = w->c->f[w->point], x = w->c->x[w->point];
    compare(w, "f", got, want,
            w->f64 ? 1e-12 * fabs(want) : activation_allowed(&w->c->gate, x, want));
}

/* What a function with kinks does at NaN is left open. */
static bool is_left_open(const where *w) {
    return isnan(w->c->x[w->point]) && !activation_slope_tells_nan(w->c->spec.info);
}

static void compare_slope(const where *w, double got) {
    const double want = w->c->slope[w->point];
    if (!w->c->has_slope || is_left_open(w)) return;
    compare(w, "f'", got, want,
            w->f64 ? 1e-12 * fmax(1, fabs(want)) : activation_slope_allowed(&w->c->spec, want));
}

static void compare_param(const where *w, int k, double got) {
    const double want = w->c->param[k][w->point];
    if (is_left_open(w)) return;
    double allowed = w->f64 ? 1e-12 * fmax(1, fabs(want)) : activation_param_allowed(want);
    /* pau takes its limit at 2^24, not at infinity. */
    if (isinf(w->c->x[w->point]) && strcmp(w->c->spec.info->name, "pau") == 0)
        allowed = 4e-6 * fmax(1, fabs(want));
    compare(w, w->c->spec.info->params[k].name, got, want, allowed);
}

/* --- the two ways parameters come in --------------------------------------------------------- */

static hk_tensor *repeated(hk_context *ctx, hk_dtype dtype, int length, double value) {
    hk_tensor *t = hk_tensor_new(ctx, dtype, HK_SHAPE(length));
    assert_ok(ctx);
    hk_tensor *full = hk_full(ctx, dtype, HK_SHAPE(length), value);
    must(hk_tensor_copy(t, full));
    return t;
}

/* Points i, i + 1, ... in a row of `length`: element by element, gradients with g = 1. With
   `tensors` each parameter is a tensor of that length and its derivatives come out one by one;
   without they are numbers. */
static void run_row(hk_context *ctx, where w, bool tensors) {
    const golden_case *c = w.c;
    const hk_dtype dtype = w.f64 ? HK_F64 : HK_F32;
    const int n_params = tensors ? c->spec.info->n_params : 0;
    double row[POINTS * 2];
    for (int i = 0; i < w.length; i++) row[i] = c->x[(w.point + i) % c->n];
    hk_tensor *x = hk_require_grad(kept(ctx, dtype, HK_SHAPE(w.length), row)), *p[MAX] = {NULL};
    for (int k = 0; k < n_params; k++)
        p[k] = hk_require_grad(repeated(ctx, dtype, w.length, c->spec.value[k]));
    hk_tensor *y = hk_activate_with(x, &c->spec, p);
    assert_ok(ctx);
    const double *got = values(y), *slope = NULL, *param[MAX] = {NULL};
    if (c->has_slope) {
        must(hk_backward_from(ctx, y, hk_full(ctx, dtype, HK_SHAPE(w.length), 1)));
        slope = values(hk_grad(x));
    }
    const int first = w.point;
    for (int i = 0; i < w.length; i++) {
        w.point = (first + i) % c->n, w.position = i;
        compare_value(&w, got[i]);
        if (slope) compare_slope(&w, slope[i]);
    }
    for (int k = 0; k < n_params; k++) {
        if (!c->has_param[k]) continue;
        param[k] = values(hk_grad(p[k]));
        for (int i = 0; i < w.length; i++) {
            w.point = (first + i) % c->n, w.position = i;
            compare_param(&w, k, param[k][i]);
        }
    }
    for (int k = 0; k < n_params; k++) hk_tensor_destroy(p[k]);
    hk_tensor_destroy(x);
    must(hk_step_end(ctx));
}

/* Parameters of one element: their gradients are sums, here of one element alone, since g is 0 at
   the others. */
static void run_sums(hk_context *ctx, where w) {
    const golden_case *c = w.c;
    const hk_dtype dtype = w.f64 ? HK_F64 : HK_F32;
    const int n_params = c->spec.info->n_params;
    double row[POINTS * 2], g[POINTS * 2] = {0};
    for (int i = 0; i < w.length; i++) row[i] = 0.5;
    row[w.position] = c->x[w.point];
    g[w.position] = 1;
    hk_tensor *x = kept(ctx, dtype, HK_SHAPE(w.length), row), *p[MAX] = {NULL};
    hk_tensor *gy = kept(ctx, dtype, HK_SHAPE(w.length), g);
    for (int k = 0; k < n_params; k++)
        p[k] = hk_require_grad(repeated(ctx, dtype, 1, c->spec.value[k]));
    hk_require_grad(x);
    hk_tensor *y = hk_activate_with(x, &c->spec, p);
    must(hk_backward_from(ctx, y, gy));
    compare_value(&w, values(y)[w.position]);
    compare_slope(&w, values(hk_grad(x))[w.position]);
    for (int k = 0; k < n_params; k++) {
        if (c->has_param[k]) compare_param(&w, k, values(hk_grad(p[k]))[0]);
        hk_tensor_destroy(p[k]);
    }
    hk_tensor_destroy(x);
    hk_tensor_destroy(gy);
    must(hk_step_end(ctx));
}

/* --- the tests ------------------------------------------------------------------------------- */

static void all_rows(const golden_case *c, hk_context *ctx, const char *isa, bool f64) {
    static const int lengths[] = {1, 7, 15, 16, 17, 33};
    for (int64_t l = 0; l < COUNT(lengths); l++)
        for (int point = 0; point < c->n; point++) {
            where w = {c, "numbers", isa, f64, point, lengths[l], 0};
            run_row(ctx, w, false);
            w.how = "tensors";
            if (c->spec.info->n_params > 0) run_row(ctx, w, true);
        }
}

static void all_sums(const golden_case *c, hk_context *ctx, const char *isa, bool f64) {
    for (int point = 0; point < c->n && c->spec.info->n_params > 0 && c->has_slope; point++)
        for (int position = 0; position < 17; position++)
            run_sums(ctx, (where){c, "sums", isa, f64, point, 17, position});
}

typedef void runner(const golden_case *c, hk_context *ctx, const char *isa, bool f64);

static void every_case(void **state, runner *run) {
    const golden_cases *all = *state;
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) {
        hk_context *ctx = new_context(1, isa);
        for (int k = 0; k < all->n; k++) {
            run(&all->at[k], ctx, isa, false);
            if (s == 0) run(&all->at[k], ctx, isa, true);
        }
        hk_context_destroy(ctx);
    }
}

static void values_and_slopes(void **state) { every_case(state, all_rows); }
static void sums_of_parameters(void **state) { every_case(state, all_sums); }

/* The oracle in double, for one number at a time, against the same table. */
static void oracle(void **state) {
    const golden_cases *all = *state;
    for (int k = 0; k < all->n; k++) {
        const golden_case *c = &all->at[k];
        for (int i = 0; i < c->n; i++) {
            const where w = {c, "oracle", "f64", true, i, 1, 0};
            compare_value(&w, hk_activation_value(&c->spec, c->x[i]));
            compare_slope(&w, hk_activation_slope(&c->spec, c->x[i]));
            for (int p = 0; p < c->spec.info->n_params; p++)
                if (c->has_param[p])
                    compare_param(&w, p, hk_activation_param_slope(&c->spec, p, c->x[i]));
        }
    }
}

/* Nothing is left out: every pointwise row stands in the table, and every learnable parameter of
   it. */
static void table_is_complete(void **state) {
    const golden_cases *all = *state;
    const hk_activation_info *row;
    int points = 0;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        bool seen = false, learned[MAX] = {false};
        for (int k = 0; k < all->n; k++) {
            if (all->at[k].spec.info != row) continue;
            seen = true;
            points += all->at[k].n;
            for (int p = 0; p < row->n_params; p++) learned[p] |= all->at[k].has_param[p];
        }
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        if (!seen) fail_msg("%s is not in the table", row->name);
        for (int p = 0; p < row->n_params; p++)
            if (row->params[p].role == HK_PARAM_LEARNS && row->params[p].from <= 2 && !learned[p])
                fail_msg("%s of %s is not in the table", row->params[p].name, row->name);
    }
    assert_true(all->n >= 49 && points == 23 * all->n);
    print_message("%d activations with settings, %d points\n", all->n, points);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_complete),
        cmocka_unit_test(oracle),
        cmocka_unit_test(values_and_slopes),
        cmocka_unit_test(sums_of_parameters),
    };
    return cmocka_run_group_tests(tests, read_cases, free_cases);
}
