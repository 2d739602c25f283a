/* table_neurons.c: common claims about single neurons: refractory periods, dead units.
   SPDX-License-Identifier: MIT */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool report(const evaluator *e) {
    fprintf(stderr, "activations table: %s\n", e->ctx ? hk_error_message(e->ctx) : "out of memory");
    return false;
}

/* --- a refractory period is a property in time ---------------------------------------------- */

/* A leaky integrate-and-fire neuron: dv/dt = drive - v/leak; at v = 1 it fires, v is 0 again,
   and for `refractory` seconds nothing moves it. */
static const double leak = 0.02, refractory = 0.002, step = 1e-6;

typedef struct neuron {
    double v, rest; /* rest: seconds until it listens again */
} neuron;

/* A step of time. True if it fires. */
static bool advance(neuron *n, double drive) {
    if (n->rest > step / 2) {
        n->rest -= step;
        return false;
    }
    n->v += step * (drive - n->v / leak);
    if (n->v < 1) return false;
    *n = (neuron){0, refractory};
    return true;
}

/* Spikes a second at a constant drive. */
static double firing_rate(double drive) {
    neuron n = {0, 0};
    int spikes = 0;
    double first = 0, last = 0;
    for (int i = 0; i < 1000000; i++)
        if (advance(&n, drive)) {
            last = i * step;
            if (spikes++ == 0) first = last;
        }
    return spikes > 1 ? (spikes - 1) / (last - first) : spikes;
}

/* Spikes in answer to two pulses of 0.1 ms, each strong enough for one, that start so far apart. */
static int answers(double apart) {
    neuron n = {0, 0};
    int spikes = 0;
    for (int i = 0; i < 20000; i++) {
        const double t = i * step;
        const bool pulse = t < 1e-4 || (t >= apart && t < apart + 1e-4);
        spikes += advance(&n, pulse ? 15000 : 0);
    }
    return spikes;
}

/* Whether an activation gives the same bits for an input whatever came before it. */
static bool is_memoryless(evaluator *e, float *answer) {
    for (int history = 0; history < 4; history++) {
        for (int64_t i = 0; i < e->n; i++) e->x[i] = (float)history * (float)(i % 5) - 3;
        e->x[e->n - 1] = 1.5f;
        if (!evaluate(e)) return false;
        if (history == 0) *answer = e->y[e->n - 1];
        if (memcmp(answer, &e->y[e->n - 1], sizeof *answer) != 0) return false;
    }
    return true;
}

bool claim_refractory(const properties_options *options, int number) {
    static const double drives[] = {10, 100, 1000, 10000, 100000};
    evaluator e;
    if (!evaluator_open(&e, "leaky_relu", options->isa, 16)) return report(&e);
    float answer = NAN;
    const bool memoryless = is_memoryless(&e, &answer);
    const int near = answers(0.001), far = answers(0.005);
    for (int i = 0; i < 16; i++) e.x[i] = (float)drives[i % 5];
    if (!evaluate(&e)) return report(&e);
    print_claim(number, "leaky relu models the refractory period of neurons",
                memoryless && near != far ? FALSE_CLAIM : TRUE_CLAIM);
    printf("   A neuron that has just fired cannot fire again for %g ms: time matters. Two\n"
           "   equal pulses 5 ms apart make the neuron below fire %d times, 1 ms apart %s.\n"
           "   leaky_relu(1.5) is %g after any of four histories, %s.\n\n"
           "   What remains without time is a rate that saturates, 1/(%g s + 1/drive);\n"
           "   leaky relu goes on rising:\n\n"
           "     drive (1/s)   neuron's rate   1/(t_ref + 1/drive)   leaky_relu(drive)\n",
           1000 * refractory, far, near == 1 ? "once" : "as often", (double)answer,
           memoryless ? "to the bit" : "but not to the bit", refractory);
    for (int i = 0; i < 5; i++)
        printf("     %11g   %13.1f   %19.1f   %17g\n", drives[i], firing_rate(drives[i]),
               1 / (refractory + 1 / drives[i]), (double)e.y[i]);
    printf("\n   (leaky integrate-and-fire, leak %g ms, threshold 1, steps of %g s)\n", 1000 * leak,
           step);
    evaluator_close(&e);
    return true;
}

/* --- dead units ----------------------------------------------------------------------------- */

typedef struct unit {
    const char *activation;
    double weight, bias; /* of its one input, x ~ N(0, 1) */
} unit;

static const unit units[] = {
    {"relu", 1, -10},   {"relu", 0.001, 0.005}, {"tanh", 1, 20},    {"tanh", 0.002, 0},
    {"sigmoid", 1, 30}, {"sigmoid", 1, -30},    {"elu", 1, -30},    {"leaky_relu", 0.1, -0.5},
    {"gelu", 0.003, 0}, {"gelu", 1, -10},       {"softplus", 1, 0},
};
enum { UNITS = sizeof units / sizeof *units, PROBES = 1000 };

/* The share of |a| < 0.01, and the greatest |f'|, over PROBES inputs, by the kernels. */
static bool probe(const unit *u, const char *isa, double *small, double *slope, double *mean) {
    evaluator e;
    const hk_random draws = hk_random_stream(1, "probe", 0);
    *small = *slope = *mean = 0;
    bool ok = evaluator_open(&e, u->activation, isa, PROBES);
    for (int i = 0; ok && i < PROBES; i++)
        e.x[i] = (float)(u->weight * hk_random_normal(draws, (uint64_t)i) + u->bias);
    ok = ok && evaluate(&e);
    for (int i = 0; ok && i < PROBES; i++) {
        *small += fabs((double)e.y[i]) < 0.01;
        *slope = fmax(*slope, fabs((double)e.slope[i]));
        *mean += (double)e.y[i] / PROBES;
    }
    *small /= PROBES;
    if (!ok) report(&e);
    evaluator_close(&e);
    return ok;
}

bool claim_dead(const properties_options *options, int number) {
    double small[UNITS], slope[UNITS], mean[UNITS];
    int wrong = 0;
    for (int i = 0; i < UNITS; i++) {
        if (!probe(&units[i], options->isa, &small[i], &slope[i], &mean[i])) return false;
        wrong += (small[i] == 1) != (slope[i] <= 1e-6);
    }
    print_claim(number, "a unit is dead if its activation stays below 0.01",
                wrong ? FALSE_CLAIM : TRUE_CLAIM);
    printf("   Dead means that no gradient reaches a unit's weights: |f'| stays below 1e-6.\n"
           "   Units a = f(w x + b), over %d inputs x ~ N(0, 1); wrong on %d of %d:\n\n"
           "   %-11s%6s%6s%10s%10s%11s  %-9s%s\n",
           PROBES, wrong, UNITS, "f", "w", "b", "mean a", "|a|<0.01", "max |f'|", "claimed", "is");
    for (int i = 0; i < UNITS; i++) {
        const bool claimed = small[i] == 1, dead = slope[i] <= 1e-6;
        printf("   %-11s%6g%6g%10.3g%8.0f %%%11.3g  %-9s%s%s\n", units[i].activation,
               units[i].weight, units[i].bias, mean[i], 100 * small[i], slope[i],
               claimed ? "dead" : "alive", dead ? "dead" : "alive",
               claimed == dead ? ""
               : dead          ? "   wrong"
                               : "  wrong");
    }
    return true;
}
