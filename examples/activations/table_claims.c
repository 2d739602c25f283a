/* table_claims.c: common claims about activations, with counter-examples computed here.
   SPDX-License-Identifier: MIT */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void print_claim(int number, const char *claim, verdict v) {
    printf("\n%d. \"%s\": %s\n\n", number, claim, verdict_word(v));
}

static bool spec_of(const char *text, hk_activation_spec *spec) {
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1, .no_blas = true});
    const bool ok = hk_activation_parse(ctx, text, spec) == HK_OK;
    if (!ok) fprintf(stderr, "activations table: %s\n", hk_error_message(ctx));
    hk_context_destroy(ctx);
    return ok;
}

/* --- convex? -------------------------------------------------------------------------------- */

/* One weight, two examples: (f(w) - 0.9)² + (f(10 w) + 0.05)². */
static const double example_x[2] = {1, 10}, example_y[2] = {0.9, -0.05};

static double loss(const hk_activation_spec *f, double w) {
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        const double off = hk_activation_value(f, w * example_x[i]) - example_y[i];
        sum += off * off;
    }
    return sum;
}

/* Between a and b, where the loss, times sign, is least. */
static double least_loss(const hk_activation_spec *f, double a, double b, double sign) {
    while (b - a > 1e-9) {
        const double p = a + (b - a) / 3, q = b - (b - a) / 3;
        if (sign * loss(f, p) < sign * loss(f, q))
            b = q;
        else
            a = p;
    }
    return (a + b) / 2;
}

static bool claim_convex(const properties_options *options, int number) {
    enum { STEPS = 4000, MOST = 8 };
    const double h = 1.0 / 1000;
    double turn[MOST];
    int turns = 0, minima = 0;
    properties p;
    properties_options quick = *options;
    quick.timed = false;
    if (!find_properties("tanh", &quick, &p)) return false;
    for (int i = -STEPS + 1; i < STEPS && turns < MOST; i++) {
        const double before = loss(&p.spec, (i - 1) * h), at = loss(&p.spec, i * h);
        const double after = loss(&p.spec, (i + 1) * h);
        if ((at < before && at <= after) || (at > before && at >= after)) {
            minima += at < before;
            turn[turns++] = least_loss(&p.spec, (i - 1) * h, (i + 1) * h, at < before ? 1 : -1);
        }
    }
    print_claim(number, "a monotone activation makes the loss convex",
                minima > 1 ? FALSE_CLAIM : TRUE_CLAIM);
    printf("   tanh is %s. One weight w, two examples (x, y), (%g, %g) and\n"
           "   (%g, %g), squared error of tanh(w x): the loss turns %d times, and has %d\n"
           "   minima:\n\n",
           monotone_word(&p), example_x[0], example_y[0], example_x[1], example_y[1], turns,
           minima);
    for (int i = 0; i < turns; i++) {
        const double here = loss(&p.spec, turn[i]);
        printf("     w = %8.5f   loss %.5f   %s\n", turn[i], here,
               here < loss(&p.spec, turn[i] + h) ? "minimum" : "above both");
    }
    return true;
}

/* --- the same function? --------------------------------------------------------------------- */

static bool claim_same_gelu(int number) {
    hk_activation_spec exact, fast;
    if (!spec_of("gelu", &exact) || !spec_of("gelu_tanh", &fast)) return false;
    double most = 0, where = 0, slope_most = 0, slope_where = 0;
    for (int i = -100000; i <= 100000; i++) {
        const double x = i / 10000.0;
        const double off = fabs(hk_activation_value(&exact, x) - hk_activation_value(&fast, x));
        const double bend = fabs(hk_activation_slope(&exact, x) - hk_activation_slope(&fast, x));
        if (off > most) {
            most = off;
            where = x;
        }
        if (bend > slope_most) {
            slope_most = bend;
            slope_where = x;
        }
    }
    print_claim(number, "the tanh form of GELU is GELU", most > 1e-6 ? FALSE_CLAIM : TRUE_CLAIM);
    const double y = fabs(hk_activation_value(&exact, where));
    printf("   They differ by up to %.4g, at |x| = %.2f: %.0f units in the last place\n"
           "   of float32. Their slopes differ by up to %.4g, at |x| = %.2f.\n",
           most, fabs(where), most / ldexp(1, ilogb(y) - 23), slope_most, fabs(slope_where));
    return true;
}

/* --- smooth? -------------------------------------------------------------------------------- */

static bool claim_c1(int number) {
    static const char *const names[] = {"elu", "elu:alpha=0.5", "selu", "celu", "celu:alpha=0.5"};
    enum { NAMES = sizeof names / sizeof *names, CLAIMED = 3 };
    properties p[NAMES];
    memset(p, 0, sizeof p);
    int right = 0;
    for (int i = 0; i < NAMES; i++) {
        if (!spec_of(names[i], &p[i].spec)) return false;
        find_real_facts(&p[i].spec, &p[i].real);
        if (i < CLAIMED) right += p[i].real.smooth >= 1;
    }
    print_claim(number, "ELU and SELU have a continuous slope",
                right == CLAIMED ? TRUE_CLAIM
                : right          ? LOOSE_CLAIM
                                 : FALSE_CLAIM);
    for (int i = 0; i < NAMES; i++)
        printf("     %-16s%-4sf' from %.6g to %.6g at 0\n", names[i], class_word(&p[i]),
               hk_activation_slope(&p[i].spec, -1e-9), hk_activation_slope(&p[i].spec, 1e-9));
    return true;
}

static bool claim_softplus(int number) {
    static const char *const names[] = {"softplus", "softplus:beta=2", "softplus:threshold=5"};
    enum { NAMES = sizeof names / sizeof *names };
    real_facts facts[NAMES];
    int jumps = 0;
    for (int i = 0; i < NAMES; i++) {
        hk_activation_spec spec;
        if (!spec_of(names[i], &spec)) return false;
        find_real_facts(&spec, &facts[i]);
        jumps += facts[i].singular_count > 0;
    }
    print_claim(number, "softplus, as PyTorch has it, is smooth", jumps ? FALSE_CLAIM : TRUE_CLAIM);
    printf("   Beyond its threshold it is x itself, so f jumps there (as here):\n\n");
    for (int i = 0; i < NAMES; i++)
        for (int k = 0; k < facts[i].singular_count; k++)
            printf("     %-22sby %.4g at x = %g%s\n", names[i], facts[i].singular[k].jump,
                   facts[i].singular[k].x,
                   facts[i].singular[k].visible ? "" : " (float32 cannot show it)");
    return true;
}

/* --- the right gain? ------------------------------------------------------------------------ */

/* What is left of a unit second moment after some layers whose weights have that gain. */
static double after_layers(const hk_activation_spec *f, double gain, int layers) {
    double q = 1;
    for (int i = 0; i < layers; i++) q = expect_of(f, 0, gain * sqrt(q), EXPECT_SQUARE);
    return q;
}

static bool claim_selu_gain(int number) {
    hk_activation_spec selu;
    if (!spec_of("selu", &selu)) return false;
    const double three_quarters = after_layers(&selu, 0.75, 50), one = after_layers(&selu, 1, 50);
    print_claim(number, "SELU wants weights of gain 3/4",
                fabs(three_quarters - 1) < 0.1 ? TRUE_CLAIM : FALSE_CLAIM);
    printf("   It was made to keep mean 0 and variance 1. After 50 layers, a second moment\n"
           "   of 1 is %.4g with gain 3/4, and %.4g with gain 1.\n",
           three_quarters, one);
    return true;
}

bool print_claims(const properties_options *options) {
    printf("\n\nOther common claims, with counter-examples computed here\n");
    return claim_convex(options, 1) && claim_refractory(options, 2) && claim_dead(options, 3) &&
           claim_same_gelu(4) && claim_c1(5) && claim_softplus(6) && claim_selu_gain(7);
}
