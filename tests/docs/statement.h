/* statement.h: one line of a ```check block, held against numbers.
   SPDX-License-Identifier: MIT

       tanh(x) = 2*sigmoid(2*x) - 1             at 401 points of [-8, 8], less those where D reaches over a kink
       log_sigmoid(x) < 0                       a condition, likewise
       max gelu'(x) at sqrt(2) = 1.1289041      on [-40, 40]; without `at`, wherever it is
   and then any of ` for x > 0`, ` with b = 1.5, c = 2`, ` within 1e-6` (relative), ` # a remark`. */
#ifndef STATEMENT_H
#define STATEMENT_H

#include "rows.h"

typedef struct statement {
    formula f;
    char text[320], why[640];
    char *left, *right, *place, *when; /* NULL where there is none; text is cut between them */
    int extreme;                       /* 1: max, -1: min */
    bool fixed_x;
    double within; /* 0: the usual */
} statement;

static bool statement_fail(statement *s, const char *what, double x, double got, double want) {
    if (s->f.error)
        snprintf(s->why, sizeof s->why, "cannot be read: %.400s, before '%.100s'", s->f.error,
                 s->f.error_at);
    else if (s->f.used_x || s->extreme)
        snprintf(s->why, sizeof s->why, "%s at x = %.10g: %.12g, not %.12g", what, x, got, want);
    else
        snprintf(s->why, sizeof s->why, "%s: %.12g, not %.12g", what, got, want);
    return false;
}

static double statement_at(statement *s, const char *expression, double x) {
    s->f.at = expression;
    if (!s->fixed_x) s->f.names[0].value = x;
    const double v = formula_any(&s->f);
    formula_space(&s->f);
    return *s->f.at ? formula_fail(&s->f, "the expression ends") : v;
}

/* Cuts the text at a word, and returns what stands behind it. */
static char *statement_cut(char *text, const char *word) {
    char *found = text ? strstr(text, word) : NULL;
    if (!found) return NULL;
    *found = 0;
    return found + strlen(word);
}

static char *statement_cut_at_equals(char *text) {
    int depth = 0;
    for (char *c = text; *c; c++) {
        depth += (*c == '(') - (*c == ')');
        if (*c != '=' || depth != 0 || (c > text && strchr("<>", c[-1]))) continue;
        *c = 0;
        return c + 1;
    }
    return NULL;
}

/* b = 1.5, c = 2 */
static void statement_names(statement *s, const char *list) {
    s->f.at = list;
    do {
        char word[FORMULA_WORD];
        if (!formula_word(&s->f, word) || !formula_next(&s->f, "=") ||
            s->f.n_names == FORMULA_NAMES) {
            formula_fail(&s->f, "name = value");
            return;
        }
        const double value = formula_sum(&s->f);
        const int i = strcmp(word, "x") == 0 ? 0 : s->f.n_names++;
        s->fixed_x |= i == 0;
        memcpy(s->f.names[i].name, word, sizeof word);
        s->f.names[i].value = value;
    } while (formula_next(&s->f, ","));
    formula_space(&s->f);
    if (*s->f.at) formula_fail(&s->f, "','");
}

static bool statement_parse(statement *s, hk_context *ctx, const char *line) {
    *s = (statement){.f = {.ctx = ctx, .n_names = 1, .names = {{"x", 0}}}};
    snprintf(s->text, sizeof s->text, "%s", line + strspn(line, " \t"));
    statement_cut(s->text, "#");
    static const char *const words[] = {" for ", " with ", " within "};
    char *tail[3];
    for (int i = 0; i < 3; i++) tail[i] = strstr(s->text, words[i]);
    for (int i = 0; i < 3; i++) tail[i] = statement_cut(tail[i], words[i]);
    s->when = tail[0];
    s->left = s->text;
    if (strncmp(s->text, "max ", 4) == 0) s->extreme = 1;
    if (strncmp(s->text, "min ", 4) == 0) s->extreme = -1;
    if (s->extreme) s->left += 4;
    s->right = statement_cut_at_equals(s->left);
    if (s->extreme) s->place = statement_cut(s->left, " at ");
    if (s->extreme && !s->right) s->f.error = "max and min need '= value'", s->f.error_at = line;
    if (tail[1]) statement_names(s, tail[1]);
    if (tail[2]) s->within = statement_at(s, tail[2], 0);
    return !s->f.error;
}

static bool statement_close(const statement *s, double a, double b, double usual) {
    const double most = fmax(fabs(a), fabs(b));
    return a == b || fabs(a - b) <= (s->within > 0 ? s->within * most : usual * (most + 1e-3));
}

/* The sides are equal, or the condition holds, at 401 points of [-8, 8]. */
static bool statement_everywhere(statement *s) {
    int points = 0;
    for (int i = 0; i <= 400; i++) {
        const double x = -8 + (i - 0.37) / 25;
        if (s->when && statement_at(s, s->when, x) == 0) continue;
        s->f.over_kink = s->f.used_x = false;
        const double a = statement_at(s, s->left, x);
        const double b = s->right ? statement_at(s, s->right, x) : 1;
        if (s->f.error) return statement_fail(s, NULL, x, a, b);
        if (s->f.over_kink && s->f.used_x) continue;
        points++;
        if (!statement_close(s, a, b, s->f.differences ? 1e-8 : 1e-9))
            return statement_fail(s, s->right ? "differs" : "does not hold", x, a, b);
        if (!s->f.used_x || s->fixed_x) return true;
    }
    return points >= 10 || statement_fail(s, "too few points", points, points, 10);
}

/* No point of [-40, 40] is above the place named, or the greatest of all is the value. */
static bool statement_extreme(statement *s) {
    const double claimed = statement_at(s, s->right, 0);
    const double place = s->place ? statement_at(s, s->place, 0) : 0;
    double best = s->place ? statement_at(s, s->left, place) : -s->extreme * INFINITY;
    double where = place;
    for (int i = -4002; i <= 4000 && !s->f.error; i++) {
        if (i < -4000 && !s->place) continue;
        const double x = i < -4000 ? place + (2 * i + 8003) * 1e-3 : (i + 0.37) / 100;
        if (s->when && statement_at(s, s->when, x) == 0) continue;
        const double v = statement_at(s, s->left, x);
        if (isnan(v)) return statement_fail(s, "not a number", x, v, claimed);
        if (s->extreme * (v - best) <= (s->place ? 1e-12 : 0)) continue;
        if (s->place) return statement_fail(s, "is beyond the place", x, v, best);
        best = v;
        where = x;
    }
    if (!s->f.error && statement_close(s, best, claimed, 1e-6)) return true;
    return statement_fail(s, "the extreme differs", where, best, claimed);
}

/* Whether the statement is true; if not, s->why says where. */
static bool statement_holds(statement *s, hk_context *ctx, const char *line) {
    if (!statement_parse(s, ctx, line)) return statement_fail(s, NULL, 0, 0, 0);
    return s->extreme ? statement_extreme(s) : statement_everywhere(s);
}

#endif
