/* doctor_rules_net.c: what the evidence of an examination means: weights, units, gradients through depth.
   SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The weight of a linear layer or convolution, by its slot; NULL for others. */
static const hk__slot *weight_of(const hk_module *m) {
    for (int i = 0; i < m->n_slots; i++)
        if (m->slots[i].init.kind == HK_INIT_WEIGHT && m->slots[i].t->shape.rank >= 2)
            return &m->slots[i];
    return NULL;
}

static const hk__watched_parameter *watched_of(const hk__doctor *d, const hk_tensor *param) {
    for (int i = 0; i < d->n_params; i++)
        if (d->params[i].param == param) return &d->params[i];
    return NULL;
}

/* fan_in·E w² at the start over the squared gain of the activation behind: 1 keeps the signal's length. */
static double start_ratio(const hk__doctor *d, const hk__watched *layer) {
    const hk__slot *slot = weight_of(layer->module);
    const hk__watched_parameter *p = slot ? watched_of(d, slot->t) : NULL;
    if (!p || !layer->module->following || !layer->ran) return NAN;
    const double gain = hk__gain_after(layer->module);
    const int64_t n = hk_shape_count(p->start->shape);
    const double mean = hk__sum_squares(d->ctx, p->start->dtype, p->start->data, n) / (double)n;
    return mean * (double)slot->init.fan_in / (gain * gain);
}

static void judge_symmetry(const hk__doctor *d, hk_diagnosis *r) {
    int n = 0;
    double most = 0;
    const char *where = "";
    for (int i = 0; i < d->n_params; i++) {
        if (!(d->params[i].equal > hk__doctor_limit(HK__SYMMETRIC))) continue;
        if (n++ == 0) where = hk_tensor_name(d->params[i].param);
        most = fmax(most, d->params[i].equal);
    }
    if (n == 0) return;
    hk_finding *f = hk__doctor_found(r, HK__SYMMETRIC, most, where);
    HK__SAY(
        f,
        "Units are equal: in %d layers, up to %.0f %% of the units have the same weights and bias "
        "as another. "
        "They get the same gradient and stay equal, so a layer is as good as one unit.",
        n, 100 * most);
    HK__ADVISE(f,
               "Draw initial weights at random, with hk_module_build(net, input, \"auto\"); only "
               "biases may all "
               "start at 0.");
}

static void judge_start(const hk__doctor *d, hk_diagnosis *r, bool poor) {
    double sum = 0, worst = 0, value = 1;
    int n = 0;
    const hk__watched *where = NULL;
    for (int i = 0; i < d->n_layers; i++) {
        const double ratio = start_ratio(d, &d->layers[i]);
        if (!isfinite(ratio)) continue;
        const double off = ratio > 0 ? log(ratio) : -100;
        sum += off;
        n++;
        if (fabs(off) <= worst) continue;
        worst = fabs(off);
        value = ratio;
        where = &d->layers[i];
    }
    if (n == 0 || !where) return;
    const double each = exp(sum / n), all = exp(sum), most = hk__doctor_limit(HK__INITIALISATION);
    const bool far = each > most || each<1 / most, piles = all> 1e4 || all < 1e-4;
    if (!far && !(poor && piles)) return;
    const char *name = hk__activation_name(where->module->following);
    hk_finding *f = hk__doctor_found(r, HK__INITIALISATION, value, hk__place_of(where->module));
    if (value < 1) f->threshold = 1 / most;
    HK__SAY(
        f,
        "The initial weights do not suit %s: fan_in times their mean square is %.3g of what keeps "
        "the signal; "
        "over %d layers that makes %.2g.",
        name, value, n, all);
    HK__ADVISE(f, "Build with hk_module_build(net, input, \"auto\"), which draws weights for the "
                  "activation behind "
                  "each layer.");
}

/* --- units ------------------------------------------------------------------------------------ */

/* A layer that blocks all is a cause, if it is so from the start; else this is mostly a consequence. Some
   networks train well with many such units. */
static bool is_much(double share, bool cause, bool poor) {
    return cause ? share > hk__doctor_limit(HK__DEAD_AT_ONCE)
                 : poor && share > hk__doctor_limit(HK__DEAD);
}

static void judge_units(const hk__worst *w, hk_diagnosis *r, bool poor, bool at_once) {
    const hk__kind dead = at_once ? HK__DEAD_AT_ONCE : HK__DEAD;
    const hk__kind saturated = at_once ? HK__SATURATED_AT_ONCE : HK__SATURATED;
    const char *when = at_once ? "from the start" : "at the end";
    if (is_much(w->dead, at_once, poor)) {
        hk_finding *f = hk__doctor_found(r, dead, w->dead, w->dead_place);
        HK__SAY(
            f,
            "%.0f %% of the %lld units of this %s are dead %s: its slope is 0 for every sample, so "
            "no gradient passes "
            "them%s.",
            100 * w->dead, (long long)w->units, w->dead_name, when,
            2 * w->by_bias > w->units ? "; their biases are what keeps them there" : "");
        HK__ADVISE(f, "%s leaky_relu, elu or gelu cannot die like that.",
                   at_once ? "Start biases at 0 and draw weights with \"auto\"."
                           : "Take a lower learning rate.");
    } else if (is_much(w->saturated, at_once, poor)) {
        hk_finding *f = hk__doctor_found(r, saturated, w->saturated, w->saturated_place);
        HK__SAY(
            f,
            "%.0f %% of the units of this %s are saturated %s: for most samples its slope is below "
            "5 %% of its largest, "
            "so hardly any gradient passes.",
            100 * w->saturated, w->saturated_name, when);
        HK__ADVISE(f, "%s Norms before the activation (hk_batch_norm1d) keep its input near 0.",
                   at_once
                       ? "Start biases at 0, draw weights with \"auto\" and normalise the input."
                       : "Take a lower learning rate.");
    }
}

/* --- gradients through depth ------------------------------------------------------------------ */

static void judge_flow(const hk__doctor *d, hk_diagnosis *r, bool poor) {
    const hk__watched *first = NULL, *last = NULL;
    int n = 0;
    for (int i = 0; i < d->n_layers; i++) {
        const hk__watched *w = &d->layers[i];
        if (!weight_of(w->module) || !isfinite(w->length)) continue;
        if (!first) first = w;
        last = w;
        n++;
    }
    if (n < 2 || !(last->length > 0) || (!poor && d->nonfinite_step == 0)) return;
    const double ratio = first->length / last->length;
    char name[64];
    snprintf(name, sizeof name, "%s", hk__place_of(first->module));
    if (ratio < hk__doctor_limit(HK__VANISHING)) {
        hk_finding *f = hk__doctor_found(r, HK__VANISHING, ratio, name);
        HK__SAY(
            f,
            "Gradients vanish through depth: in step 1 the gradient at the first of %d layers is "
            "%.2g of that at "
            "the last, a factor of %.2g each.",
            n, ratio, pow(ratio, 1.0 / (n - 1)));
        HK__ADVISE(f,
                   "Use an activation whose slope is near 1, such as relu or tanh, with \"auto\" "
                   "weights; or "
                   "norms between layers, residual connections (hk_residual), fewer layers, adam.");
    } else if (ratio > hk__doctor_limit(HK__EXPLODING)) {
        hk_finding *f = hk__doctor_found(r, HK__EXPLODING, ratio, name);
        HK__SAY(
            f,
            "Gradients explode through depth: in step 1 the gradient at the first of %d layers is "
            "%.2g times that "
            "at the last, a factor of %.2g each.",
            n, ratio, pow(ratio, 1.0 / (n - 1)));
        HK__ADVISE(f, "Put norms between layers (hk_layer_norm, hk_batch_norm1d) or draw smaller "
                      "weights (\"auto\"); "
                      "hk_optimizer_clip_norm(opt, 1) keeps single steps short.");
    }
}

void hk__doctor_judge_net(hk__doctor *d, hk_diagnosis *r, bool poor) {
    judge_symmetry(d, r);
    judge_start(d, r, poor);
    judge_units(&d->begun, r, poor, true);
    judge_flow(d, r, poor);
}

void hk__doctor_judge_end(hk__doctor *d, hk_diagnosis *r, bool poor) {
    if (!is_much(d->begun.dead, HK__DEAD, poor) &&
        !is_much(d->begun.saturated, HK__SATURATED, poor))
        judge_units(&d->ended, r, poor, false);
    if (d->nonfinite_step > 1) {
        hk_finding *f =
            hk__doctor_found(r, HK__NOT_FINITE, (double)d->nonfinite_step, d->nonfinite_place);
        HK__SAY(f, "In step %lld %s became NaN or infinite.", (long long)d->nonfinite_step,
                d->nonfinite_what[0] ? d->nonfinite_what : "a value");
        HK__ADVISE(
            f, "Mostly the learning rate is too high. hk_nan_guard(ctx, true) names the element "
               "where it "
               "starts.");
    }
    if (poor && r->count == 0 && d->step >= 100) {
        hk_finding *f = hk__doctor_found(r, HK__NO_PROGRESS, r->last_loss, "");
        f->threshold *= r->chance > 0 ? r->chance : r->first_loss;
        HK__SAY(
            f,
            "The loss hardly falls: %.4g after %lld steps, %.4g at first, and none of the faults "
            "that are looked "
            "for shows.",
            r->last_loss, (long long)d->step, r->first_loss);
        HK__ADVISE(
            f, "Train longer, or a larger network; see whether it can learn 100 samples by heart.");
    }
}
