/* formula.h: expressions as the pages in docs/activations write them, evaluated as they are read.
   SPDX-License-Identifier: MIT

   Numbers, names, pi, inf; + - * / ^; < > <= >=, also in chains; condition ? a : b; exp expm1 log log1p sqrt erf abs
   Phi phi, max(a, b), min(a, b), and
       D(silu(x)), D(swish(x; beta=b), b)   the derivative, by differences
       E(selu(x)^2)                         the mean for x ~ N(0, 1)
       f32(exp(1e-8) - 1)                   every step rounded to float
   Any other function is a row of the library:
       swish(x; beta=1.5)  swish'(x; beta=1.5)  swish'beta(x; beta=1.5)   value, slope, slope by a parameter
       glu[0](a, b)  glu'[0,1](a, b)        along an axis: output 0; its derivative by input 1 */
#ifndef FORMULA_H
#define FORMULA_H

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hk_layers.h"

enum { FORMULA_NAMES = 8, FORMULA_WORD = 24 };

typedef struct formula {
    const char *at;  /* what is still to be read */
    hk_context *ctx; /* for rows */
    bool single, used_x, differences;
    bool over_kink; /* some D reached over a kink */
    int sides;      /* how many kinks and borders lie below: differs on the two sides of one */
    int n_names;
    struct {
        char name[FORMULA_WORD];
        double value;
    } names[FORMULA_NAMES]; /* the first is x */
    const char *error, *error_at;
} formula;

static double formula_sum(formula *f);
static double formula_any(formula *f);
static double formula_row(formula *f, const char *name); /* rows.h */

/* --- reading ------------------------------------------------------------------------------------ */

static double formula_fail(formula *f, const char *error) {
    if (!f->error) {
        f->error = error;
        f->error_at = f->at;
    }
    f->at += strlen(f->at);
    return NAN;
}

static void formula_space(formula *f) { f->at += strspn(f->at, " \t"); }

static bool formula_next(formula *f, const char *text) {
    formula_space(f);
    if (strncmp(f->at, text, strlen(text)) != 0) return false;
    f->at += strlen(text);
    return true;
}

static void formula_need(formula *f, const char *text) {
    if (!formula_next(f, text)) formula_fail(f, text);
}

static bool formula_word(formula *f, char word[FORMULA_WORD]) {
    formula_space(f);
    size_t n = 0;
    while (isalpha((unsigned char)f->at[n]) || f->at[n] == '_' ||
           (n > 0 && isdigit((unsigned char)f->at[n])))
        n++;
    if (n == 0 || n >= FORMULA_WORD) return false;
    memcpy(word, f->at, n);
    word[n] = 0;
    f->at += n;
    return true;
}

static double *formula_name(formula *f, const char *word) {
    for (int i = 0; i < f->n_names; i++)
        if (strcmp(f->names[i].name, word) == 0) return &f->names[i].value;
    return NULL;
}

static double formula_round(const formula *f, double v) { return f->single ? (double)(float)v : v; }

/* --- operators that evaluate an expression several times -------------------------------------------- */

/* Of what stands at `from`, with *name = value. */
static double formula_again(formula *f, const char *from, double *name, double value) {
    const double before = *name;
    f->at = from;
    *name = value;
    const double v = formula_any(f);
    *name = before;
    return v;
}

/* Behind "D(": by five points, so that its error is far below the tolerance. */
static double formula_difference(formula *f) {
    const char *from = f->at;
    char word[FORMULA_WORD] = "x";
    double v[5] = {0};
    formula_any(f);
    if (formula_next(f, ",") && !formula_word(f, word)) return formula_fail(f, "a name after ','");
    formula_need(f, ")");
    double *name = formula_name(f, word);
    if (!name || f->error) return formula_fail(f, "D by a name that is not there");
    const char *end = f->at;
    const double h = 0x1p-10, middle = *name;
    const int before = f->sides;
    int first = 0;
    for (int i = -2; i <= 2; i++) {
        f->sides = 0;
        v[i + 2] = formula_again(f, from, name, middle + i * h);
        if (i == -2) first = f->sides;
        if (f->sides != first) f->over_kink = true;
    }
    f->sides = before + first;
    f->at = end;
    f->used_x |= strcmp(word, "x") == 0;
    f->differences = true;
    return (8 * (v[3] - v[1]) - (v[4] - v[0])) / (12 * h);
}

/* Behind "E(": Gauss-Legendre with three points on pieces of 1/16, whose ends meet the usual kinks. */
static double formula_mean(formula *f) {
    static const double node[3] = {-0.77459666924148337704, 0, 0.77459666924148337704};
    static const double weight[3] = {5.0 / 9, 8.0 / 9, 5.0 / 9};
    const char *from = f->at;
    const bool used_x = f->used_x;
    const double half = 1.0 / 32;
    double sum = 0;
    for (int i = -12 * 16; i < 12 * 16; i++)
        for (int k = 0; k < 3; k++) {
            const double z = (2 * i + 1 + node[k]) * half;
            sum += weight[k] * half * exp(-z * z / 2) * 0.39894228040143267794 *
                   formula_again(f, from, &f->names[0].value, z);
        }
    formula_need(f, ")");
    f->used_x = used_x;
    return sum;
}

/* --- functions --------------------------------------------------------------------------------------- */

static double formula_Phi(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
static double formula_phi(double x) { return 0.39894228040143267794 * exp(-x * x / 2); }
static const struct {
    const char *name;
    double (*fn)(double);
    bool kink; /* at 0 */
} formula_functions[] = {
    {"exp", exp, false},   {"expm1", expm1, false}, {"log", log, false},
    {"erf", erf, false},   {"log1p", log1p, false}, {"Phi", formula_Phi, false},
    {"sqrt", sqrt, false}, {"abs", fabs, true},     {"phi", formula_phi, false},
};

static double formula_extreme(formula *f, bool largest) {
    const double a = formula_any(f);
    formula_need(f, ",");
    const double b = formula_any(f);
    formula_need(f, ")");
    f->sides += a < b;
    return isnan(a) || isnan(b) ? NAN : (a < b) == largest ? b : a;
}

static double formula_in_float(formula *f) {
    const bool before = f->single;
    f->single = true;
    const double v = formula_any(f);
    f->single = before;
    formula_need(f, ")");
    return v;
}

/* A name with something in brackets behind it. */
static double formula_called(formula *f, const char *name) {
    const char *from = f->at;
    if (!formula_next(f, "(")) return formula_row(f, name);
    if (strcmp(name, "D") == 0) return formula_difference(f);
    if (strcmp(name, "E") == 0) return formula_mean(f);
    if (strcmp(name, "f32") == 0) return formula_in_float(f);
    if (strcmp(name, "max") == 0 || strcmp(name, "min") == 0)
        return formula_extreme(f, name[1] == 'a');
    for (size_t i = 0; i < sizeof formula_functions / sizeof *formula_functions; i++) {
        if (strcmp(name, formula_functions[i].name) != 0) continue;
        const double a = formula_any(f);
        formula_need(f, ")");
        f->sides += formula_functions[i].kink && a > 0;
        return formula_round(f, formula_functions[i].fn(a));
    }
    f->at = from;
    return formula_row(f, name);
}

/* --- expressions ----------------------------------------------------------------------------------------- */

static double formula_primary(formula *f) {
    char word[FORMULA_WORD];
    formula_space(f);
    if (formula_next(f, "(")) {
        const double v = formula_any(f);
        formula_need(f, ")");
        return v;
    }
    if (isdigit((unsigned char)*f->at) || *f->at == '.') {
        char *end;
        const double v = strtod(f->at, &end);
        f->at = end;
        return formula_round(f, v);
    }
    if (!formula_word(f, word)) return formula_fail(f, "a number, a name or '('");
    if (*f->at && strchr("('[", *f->at)) return formula_called(f, word);
    const double *name = formula_name(f, word);
    f->used_x |= strcmp(word, "x") == 0;
    if (name) return formula_round(f, *name);
    if (strcmp(word, "pi") == 0) return formula_round(f, 3.14159265358979323846);
    if (strcmp(word, "inf") == 0) return INFINITY;
    return formula_fail(f, "no such name");
}

static double formula_unary(formula *f) {
    if (formula_next(f, "-")) return -formula_unary(f);
    const double base = formula_primary(f);
    return formula_next(f, "^") ? formula_round(f, pow(base, formula_unary(f))) : base;
}

static double formula_product(formula *f) {
    double v = formula_unary(f);
    for (;;)
        if (formula_next(f, "*"))
            v = formula_round(f, v * formula_unary(f));
        else if (formula_next(f, "/"))
            v = formula_round(f, v / formula_unary(f));
        else
            return v;
}

static double formula_sum(formula *f) {
    double v = formula_product(f);
    for (;;)
        if (formula_next(f, "+"))
            v = formula_round(f, v + formula_product(f));
        else if (formula_next(f, "-"))
            v = formula_round(f, v - formula_product(f));
        else
            return v;
}

/* a < b <= c is true where both are. */
static double formula_compare(formula *f) {
    double a = formula_sum(f);
    bool all = true;
    int links = 0;
    for (;; links++) {
        const bool less = formula_next(f, "<");
        if (!less && !formula_next(f, ">")) break;
        const bool or_equal = *f->at == '=';
        f->at += or_equal;
        const double b = formula_sum(f);
        f->sides += a < b;
        all = all && (or_equal ? (less ? a <= b : a >= b) : (less ? a < b : a > b));
        a = b;
    }
    return links > 0 ? all : a;
}

/* Also condition ? a : b. */
static double formula_any(formula *f) {
    const double condition = formula_compare(f);
    if (!formula_next(f, "?")) return condition;
    const double yes = formula_any(f);
    formula_need(f, ":");
    const double no = formula_any(f);
    return condition != 0 ? yes : no;
}

#endif
