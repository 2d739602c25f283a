/* table_textbook.c: the usual textbook table, each claim beside what is computed.
   SPDX-License-Identifier: MIT

   What textbooks say is data; whether it is true is decided by what was computed, by one rule
   for each row. */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGMOID, TANH, RELU, SWISH, GELU, FUNCTIONS };
static const char *const functions[FUNCTIONS] = {"sigmoid", "tanh", "relu", "swish", "gelu"};

const char *verdict_word(verdict v) {
    static const char *const words[] = {"true", "loose", "false"};
    return words[v];
}

/* The words of a claim, "yes", "[0, 1]", decide with what is known of p. */
typedef verdict judge_fn(const char *claim, const properties *p, char *why, size_t size);

static bool says(const char *claim, const char *word) {
    return strncmp(claim, word, strlen(word)) == 0;
}

/* --- one rule for each row ------------------------------------------------------------------ */

static verdict judge_linear(const char *claim, const properties *p, char *why, size_t size) {
    snprintf(why, size, "f' runs from %.4g to %.4g", p->least.value, p->steepest.value);
    return says(claim, "yes") == !p->real.linear ? TRUE_CLAIM : FALSE_CLAIM;
}

/* "not at 0" asks for exactly one kink, there. */
static verdict judge_differentiable(const char *claim, const properties *p, char *why,
                                    size_t size) {
    int kinks = 0;
    double where = NAN;
    for (int i = 0; i < p->real.singular_count; i++) {
        const singular_point *s = &p->real.singular[i];
        if (s->order > 1 || !s->visible) continue;
        kinks++;
        where = s->x;
    }
    if (kinks == 0)
        snprintf(why, size, "no jump of f, f' or f'' found; |f''| <= %.4g", p->real.curvature);
    else
        snprintf(why, size, "f' jumps from %.3g to %.3g at %g, its only kink",
                 hk_activation_slope(&p->spec, where - 1e-6),
                 hk_activation_slope(&p->spec, where + 1e-6), where);
    const bool right = says(claim, "yes") ? kinks == 0 : kinks == 1 && where == 0;
    return right ? TRUE_CLAIM : FALSE_CLAIM;
}

/* What is left of a gradient's norm after 50 layers whose weights keep the size of the signal. */
static verdict judge_stable(const char *claim, const properties *p, char *why, size_t size) {
    const double left = pow(p->chi, 25);
    int used = snprintf(why, size, "chi_1 = %.4g: times %.2g in 50 layers", p->chi, left);
    if (says(claim, "yes")) {
        if (p->scan.flats > 0.01)
            snprintf(why + used, size - (size_t)used, "; P(f' = 0) = %.3g", p->scan.flats);
        return left > 0.5 && left < 2    ? TRUE_CLAIM
               : left > 0.1 && left < 10 ? LOOSE_CLAIM
                                         : FALSE_CLAIM;
    }
    if (left >= 0.1)
        snprintf(why + used, size - (size_t)used, "; with weights of gain 1, times %.2g",
                 pow(p->slope_second, 25));
    return left < 0.1 ? TRUE_CLAIM : p->slope_second < 0.9 ? LOOSE_CLAIM : FALSE_CLAIM;
}

static verdict judge_monotone(const char *claim, const properties *p, char *why, size_t size) {
    const char *word = monotone_word(p);
    const bool no = strcmp(word, "no") == 0;
    char at[96];
    places_text(&p->least, at, sizeof at);
    if (no)
        snprintf(why, size, "falls by %.4g; least f' is %.4g at %s", p->real.fall, p->least.value,
                 at);
    else
        snprintf(why, size, "%s; float32 within %.0f ulp", word, wiggle(p));
    return says(claim, "yes") == !no ? TRUE_CLAIM : FALSE_CLAIM;
}

/* To two digits, as claims are. An end that is said to belong to the range, but is only
   approached, makes it loose. */
static verdict judge_end(double claimed, bool closed, const extreme *e) {
    if (isinf(claimed)) return e->value == claimed ? TRUE_CLAIM : FALSE_CLAIM;
    if (!(fabs(e->value - claimed) <= 0.005)) return FALSE_CLAIM;
    return is_reached(e) == closed ? TRUE_CLAIM : LOOSE_CLAIM;
}

static verdict judge_range(const char *claim, const properties *p, char *why, size_t size) {
    char range[64], at[96];
    double ends[2] = {NAN, NAN};
    sscanf(claim + 1, "%lf, %lf", &ends[0], &ends[1]);
    range_text(p, range, sizeof range);
    const verdict low = judge_end(ends[0], claim[0] == '[', &p->low);
    const verdict high = judge_end(ends[1], strchr(claim, ']') != NULL, &p->high);
    int used = snprintf(why, size, "%s", range);
    if (low == LOOSE_CLAIM && high == LOOSE_CLAIM)
        snprintf(why + used, size - (size_t)used, "; float32: %g from %.5g, %g from %.5g",
                 p->scan.left, p->scan.left_from, p->scan.right, p->scan.right_from);
    else if (p->low.at[0].kind == PLACE_POINT) {
        places_text(&p->low, at, sizeof at);
        used += snprintf(why + used, size - (size_t)used, ", least at %s", at);
    }
    if (p->learnable) { /* what it would be elsewhere */
        hk_activation_spec other = p->spec;
        other.value[0] *= 2;
        const double x = find_greatest(&other, false, -1, -5, 0);
        snprintf(why + used, size - (size_t)used, " (%s = %g: %.4g at %.4g)",
                 p->spec.info->params[0].name, other.value[0], hk_activation_value(&other, x), x);
    }
    return low > high ? low : high;
}

/* High: an exponential each way; medium: one; low: none. */
static verdict judge_cost(const char *claim, const properties *p, char *why, size_t size) {
    const int exps = p->cost.exponentials + p->cost.exponentials_back;
    const int claimed = says(claim, "high") ? 2 : says(claim, "medium") ? 1 : 0;
    int used = snprintf(why, size, "exponentials %d forward, %d back", p->cost.exponentials,
                        p->cost.exponentials_back);
    if (!isnan(p->cost.ns))
        snprintf(why + used, size - (size_t)used, "; %.2f + %.2f ns", p->cost.ns, p->cost.ns_back);
    return exps == claimed ? TRUE_CLAIM : abs(exps - claimed) == 1 ? LOOSE_CLAIM : FALSE_CLAIM;
}

/* Mean over root mean square, under N(0, 1). */
static verdict judge_centred(const char *claim, const properties *p, char *why, size_t size) {
    const double off = fabs(p->mean) / sqrt(p->second);
    if (p->odd)
        snprintf(why, size, "odd, so 0 for symmetric x; E f(x + 1) = %.2g",
                 expect_of(&p->spec, 1, 1, EXPECT_VALUE));
    else
        snprintf(why, size, "E f = %.4g, %.2g of its root mean square", p->mean, off);
    if (says(claim, "no")) return off > 0.01 ? TRUE_CLAIM : FALSE_CLAIM;
    const double allowed = says(claim, "nearly") ? 0.1 : 1e-9;
    return off < allowed ? TRUE_CLAIM : off < 2 * allowed ? LOOSE_CLAIM : FALSE_CLAIM;
}

/* Where zeros depend on the data, "sparse" is not a property of the function. */
static verdict judge_sparse(const char *claim, const properties *p, char *why, size_t size) {
    const double zeros = p->scan.zeros;
    if (zeros < 1e-6) {
        snprintf(why, size, "P(f = 0) = %.1g for x ~ N(0, 1)", zeros);
        return says(claim, "no") ? TRUE_CLAIM : FALSE_CLAIM;
    }
    const double below = expect_of(&p->spec, -1, 1, EXPECT_ZERO);
    const double above = expect_of(&p->spec, 1, 1, EXPECT_ZERO);
    snprintf(why, size, "P(f = 0) = %.3g; if E x = -1, %.2f; if 1, %.2f", zeros, below, above);
    if (says(claim, "no")) return FALSE_CLAIM;
    return fabs(below - above) > 0.1 ? LOOSE_CLAIM : TRUE_CLAIM;
}

/* --- the claims ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    judge_fn *judge;
    const char *claims[FUNCTIONS];
} rows[] = {
    {"non-linear", judge_linear, {"yes", "yes", "yes", "yes", "yes"}},
    {"differentiable", judge_differentiable, {"yes", "yes", "not at 0", "yes", "yes"}},
    {"gradient-stable", judge_stable, {"no: vanishes", "no: vanishes", "yes, x > 0", "yes", "yes"}},
    {"monotone", judge_monotone, {"yes", "yes", "yes", "no", "no"}},
    {"range", judge_range, {"[0, 1]", "[-1, 1]", "[0, inf)", "[-0.28, inf)", "[-0.17, inf)"}},
    {"cost", judge_cost, {"high", "high", "low", "medium", "high"}},
    {"zero-centred", judge_centred, {"no", "yes", "no", "nearly", "nearly"}},
    {"sparse", judge_sparse, {"no", "no", "yes, highly", "no", "no"}},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char legend[] =
    "gradient-stable: chi_1 = E f'^2/E f^2 is what squared gradients gain in a layer\n"
    "  whose weights keep the signal's size. True if 50 layers multiply gradients\n"
    "  by 1/2 to 2, loose if by 1/10 to 10. Vanishes: by less than 1/10; loose if\n"
    "  that takes weights of gain 1, which let the signal shrink as well.\n"
    "range: loose if an end said to be reached is only approached.\n"
    "cost: low, medium, high for no exponential, one, one each way. Nanoseconds\n"
    "  an element, forward + backward, are measured now, in cache, on one thread;\n"
    "  outside of the cache, all wait for memory.\n"
    "zero-centred: nearly is a mean below a tenth of the root mean square.\n"
    "sparse: loose if the share of zeros changes with the mean of the input.\n";

/* Goes on at column REASON_AT where a line would be longer than COLUMNS. */
static void print_reason(const char *text) {
    enum { COLUMNS = 80, REASON_AT = 32 };
    int at = REASON_AT;
    while (*text) {
        const int word = (int)strcspn(text, " ");
        if (at > REASON_AT && at + 1 + word > COLUMNS) {
            printf("\n%*s", REASON_AT, "");
            at = REASON_AT;
        }
        at += printf("%s%.*s", at > REASON_AT ? " " : "", word, text);
        text += word;
        text += strspn(text, " ");
    }
    putchar('\n');
}

bool print_textbook(const properties_options *options) {
    properties p[FUNCTIONS];
    for (int i = 0; i < FUNCTIONS; i++)
        if (!find_properties(functions[i], options, &p[i])) return false;
    char why[ROWS][FUNCTIONS][160];
    verdict found[ROWS][FUNCTIONS];
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < FUNCTIONS; i++)
            found[r][i] = rows[r].judge(rows[r].claims[i], &p[i], why[r][i], sizeof why[r][i]);

    printf("The textbook table, each claim judged by what is computed:\n\n%-17s", "");
    for (int i = 0; i < FUNCTIONS; i++) printf("%-*s", i + 1 < FUNCTIONS ? 9 : 0, functions[i]);
    for (int r = 0; r < ROWS; r++) {
        printf("\n%-17s", rows[r].name);
        for (int i = 0; i < FUNCTIONS; i++)
            printf("%-*s", i + 1 < FUNCTIONS ? 9 : 0, verdict_word(found[r][i]));
    }
    printf("\n\nIn detail: what is said, whether it is true, what is computed.\n");
    for (int r = 0; r < ROWS; r++) {
        printf("\n%s\n", rows[r].name);
        for (int i = 0; i < FUNCTIONS; i++) {
            printf("  %-9s%-14s%-7s", functions[i], rows[r].claims[i], verdict_word(found[r][i]));
            print_reason(why[r][i]);
        }
    }
    printf("\n%s", legend);
    return true;
}
