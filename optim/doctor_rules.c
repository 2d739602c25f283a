/* doctor_rules.c: what the evidence of an examination means: gradients, updates, the rate.
   SPDX-License-Identifier: MIT

   Findings are made in the order of hk__kind: causes before what follows from them. What hurts in some networks alone, such
   as small gradients, is named only if the loss did not fall. */
#include "doctor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 96 };

hk_finding *hk__doctor_found(hk_diagnosis *result, hk__kind kind, double value, const char *where) {
    hk_finding *f = &result->finding[HK_FINDINGS_MOST - 1];
    if (result->count < HK_FINDINGS_MOST) f = &result->finding[result->count++];
    const hk__kind_row *row = &hk__kind_rows[kind];
    *f = (hk_finding){.kind = row->name,
                      .value = value,
                      .threshold = row->threshold,
                      .source = row->source,
                      .advised = NAN};
    snprintf(f->where, sizeof f->where, "%s", where);
    return f;
}

/* "0.weight", "0.weight and 0.bias", "0.weight and 4 more" */
static void list_names(const hk__doctor *d, const bool *which, char text[NAME]) {
    int n = 0;
    const char *first = "", *second = "";
    for (int i = 0; i < d->n_params; i++) {
        if (!which[i]) continue;
        if (n == 0) first = hk_tensor_name(d->params[i].param);
        if (n == 1) second = hk_tensor_name(d->params[i].param);
        n++;
    }
    if (n <= 1)
        snprintf(text, NAME, "%s", first);
    else if (n == 2)
        snprintf(text, NAME, "%s and %s", first, second);
    else
        snprintf(text, NAME, "%s and %d more", first, n - 1);
}

/* --- how it went ------------------------------------------------------------------------------ */

static void summarise(const hk__doctor *d, hk_diagnosis *r) {
    const hk__data *data = &d->data;
    const int64_t n = d->step, tail = n / 10 > 10 ? n / 10 : n < 10 ? n : 10;
    r->steps = n;
    r->samples = data->samples;
    r->first_loss = n > 0 ? d->loss[0] : NAN;
    r->last_loss = 0;
    for (int64_t i = n - tail; i < n; i++) r->last_loss += d->loss[i] / (double)tail;
    r->chance =
        data->labelled > 0 ? hk__doctor_entropy(data->counts, data->classes, data->labelled) : NAN;
}

/* Whether the loss did not fall far below what a constant answer has. */
static bool is_poor(const hk_diagnosis *r) {
    const double base = r->chance > 0 ? r->chance : r->first_loss;
    return !(r->last_loss <= hk__doctor_limit(HK__NO_PROGRESS) * base);
}

/* --- steps ------------------------------------------------------------------------------------ */

static void judge_finite_at_once(const hk__doctor *d, hk_diagnosis *r) {
    const hk__data *data = &d->data;
    if (data->x_nonfinite > 0) {
        hk_finding *f = hk__doctor_found(r, HK__NOT_FINITE_AT_ONCE, (double)data->x_nonfinite, "x");
        HK__SAY(
            f,
            "%lld values of the inputs are NaN or infinite, the first at element %lld of a batch.",
            (long long)data->x_nonfinite, (long long)data->first_nonfinite);
        HK__ADVISE(f, "Clean the data: leave such samples out, or put the feature's mean there.");
    } else if (d->nonfinite_step == 1) {
        hk_finding *f = hk__doctor_found(r, HK__NOT_FINITE_AT_ONCE, 1, d->nonfinite_place);
        HK__SAY(f, "In the very first step %s is NaN or infinite, before any update.",
                d->nonfinite_what[0] ? d->nonfinite_what : "a value");
        HK__ADVISE(f, "Look at what this operation gets: the logarithm of 0, a division by 0, an "
                      "exponential of "
                      "much. hk_nan_guard(ctx, true) names the element.");
    }
}

static void judge_updates(const hk__doctor *d, hk_diagnosis *r) {
    if (d->passes == 0 && d->nonfinite_step == 0) {
        hk_finding *f = hk__doctor_found(r, HK__NO_UPDATE, 0, "");
        HK__SAY(f, "In %lld steps there was no backward pass, so there are no gradients.",
                (long long)d->step);
        HK__ADVISE(f, "Call hk_backward(ctx, loss) in each step.");
    } else if (d->updates == 0 && d->nonfinite_step == 0) {
        hk_finding *f = hk__doctor_found(r, HK__NO_UPDATE, 0, "");
        HK__SAY(f, "In %lld steps with gradients the optimizer made no update.",
                (long long)d->step);
        HK__ADVISE(f, "Call hk_optimizer_step(opt) after hk_backward.");
    }
    const double share = d->zero_checks > 0 ? (double)d->not_zeroed / (double)d->zero_checks : 0;
    if (share > hk__doctor_limit(HK__NOT_ZEROED)) {
        hk_finding *f = hk__doctor_found(r, HK__NOT_ZEROED, share, d->left_over);
        HK__SAY(f,
                "In %.0f %% of the steps backward began with the gradient that the step before had "
                "left, and "
                "added to it. So the update is the sum over all steps so far.",
                100 * share);
        HK__ADVISE(f, "Call hk_optimizer_zero_grad(opt) before hk_backward in each step.");
    }
}

static void judge_derivative(const hk__doctor *d, hk_diagnosis *r) {
    const hk__derivative *e = &d->derivative;
    if (!(e->error > hk__doctor_limit(HK__WRONG_DERIVATIVE))) return;
    hk_finding *f = hk__doctor_found(r, HK__WRONG_DERIVATIVE, e->error, e->place);
    HK__SAY(f,
            "The backward of operation '%s' does not fit its forward: along random directions its "
            "gradient "
            "and the difference of its results are apart by %.2g of their size.",
            e->op, e->error);
    HK__ADVISE(
        f,
        "Correct the derivative of '%s' and check it with hk_gradcheck. If a stand-in is meant (a "
        "straight-through estimator), this is no fault.",
        e->op);
}

static void judge_reach(const hk__doctor *d, hk_diagnosis *r) {
    bool *which = calloc((size_t)d->n_params + 1, sizeof *which);
    char names[NAME];
    int untouched = 0, frozen = 0;
    for (int i = 0; which && i < d->n_params; i++)
        untouched += which[i] = d->passes > 0 && !d->params[i].reached;
    if (untouched > 0) {
        list_names(d, which, names);
        hk_finding *f = hk__doctor_found(r, HK__UNTOUCHED, untouched, names);
        HK__SAY(f,
                "No gradient ever reached %d of %d parameters: the loss does not depend on them "
                "through "
                "recorded operations.",
                untouched, d->n_params);
        HK__ADVISE(
            f,
            "Use these layers in forward, and hand tensors on as they are: what is made from "
            "hk_tensor_data by hk_constant, or while hk_grad_enable is off, passes no gradient.");
    }
    for (int i = 0; which && i < d->n_params; i++) {
        const hk__watched_parameter *p = &d->params[i];
        frozen += which[i] = d->updates > 0 && p->reached && p->pulled && !p->moved && !p->trained;
    }
    if (frozen > 0) {
        list_names(d, which, names);
        hk_finding *f = hk__doctor_found(r, HK__FROZEN, frozen, names);
        HK__SAY(
            f,
            "%d of %d parameters have gradients but never move: the optimizer does not have them, "
            "or "
            "with a rate of 0.",
            frozen, d->n_params);
        HK__ADVISE(
            f,
            "Give hk_module_parameters of the whole network to the optimizer, and groups a factor "
            "above 0. If they are frozen on purpose, this is no fault.");
    }
    free(which);
}

static void judge_modes(const hk__doctor *d, hk_diagnosis *r) {
    int n = 0;
    const char *where = "";
    for (int i = 0; i < d->n_layers; i++) {
        const char *kind = hk_module_kind(d->layers[i].module);
        if (!d->layers[i].evaluated || (!strstr(kind, "dropout") && !strstr(kind, "batch_norm")))
            continue;
        if (n++ == 0) where = hk_module_name(d->layers[i].module);
    }
    if (n > 0) {
        hk_finding *f = hk__doctor_found(r, HK__EVALUATION, n, where);
        HK__SAY(
            f,
            "%d layers that act in training alone (dropout, batch norm) are trained in evaluation "
            "mode.",
            n);
        HK__ADVISE(
            f, "Call hk_module_train(net, true) before training goes on, after each evaluation.");
    }
    if (!d->output_op[0]) return;
    hk_finding *f = hk__doctor_found(r, HK__OUTPUT, 1, d->output_place);
    HK__SAY(f,
            "'%s' stands directly before %s, which applies its own %s. So the classes' scores are "
            "squeezed "
            "twice: the loss cannot come near 0, and gradients are small.",
            d->output_op, d->output_loss,
            strcmp(d->output_loss, "cross_entropy") == 0 ? "softmax" : "sigmoid");
    HK__ADVISE(
        f,
        "Leave '%s' out: the last layer is linear, and its output goes to the loss as it is. Apply "
        "softmax only to show probabilities.",
        d->output_op);
}

/* --- the learning rate ------------------------------------------------------------------------ */

static void judge_rate(const hk__doctor *d, hk_diagnosis *r, bool poor) {
    const double lr = hk_optimizer_lr(d->opt);
    double jump = 0;
    const hk__sample *worst = NULL;
    for (int64_t i = 0; i < d->n_samples; i++) {
        const hk__sample *s = &d->samples[i];
        const double growth = isfinite(s->after) ? s->after / s->before : HUGE_VAL;
        if (!(growth > jump)) continue;
        jump = growth;
        worst = s;
    }
    if ((poor || d->nonfinite_step > 0) && jump > hk__doctor_limit(HK__RATE_HIGH)) {
        hk_finding *f = hk__doctor_found(r, HK__RATE_HIGH, jump, "");
        const double by =
            d->early.done && d->early.factor > 0 ? fmin(d->early.factor / 3, 0.1) : 0.1;
        f->advised = lr > 0 ? lr * by : NAN;
        HK__SAY(
            f,
            "The learning rate is far too high: an update along its own gradient made the loss of "
            "its very batch "
            "larger, in step %lld from %.3g to %.3g.",
            (long long)worst->step, worst->before, worst->after);
        HK__ADVISE(f, "Take a rate of %.2g instead of %.2g; if it is high on purpose, a warm-up.",
                   f->advised, lr);
    }
    const hk__search *s = d->late.done ? &d->late : &d->early;
    if (poor && s->done && (lr == 0 || s->factor >= hk__doctor_limit(HK__RATE_LOW))) {
        hk_finding *f = hk__doctor_found(r, HK__RATE_LOW, s->factor, "");
        f->advised = lr > 0 ? lr * s->factor / 3 : 0.001;
        HK__SAY(
            f,
            "The learning rate is far too low: an update %.0f times as long would have lowered the "
            "loss of its "
            "batch most, from %.4g to %.4g; as it was it came to %.4g.",
            s->factor, s->loss, s->best, s->own);
        HK__ADVISE(f, "Take a rate of about %.2g instead of %.2g.", f->advised, lr);
    }
}

void hk__doctor_judge(hk__doctor *d, hk_diagnosis *r) {
    summarise(d, r);
    const bool poor = is_poor(r);
    judge_finite_at_once(d, r);
    const bool hopeless = r->count > 0;
    judge_updates(d, r);
    judge_derivative(d, r);
    judge_reach(d, r);
    judge_modes(d, r);
    hk__doctor_judge_data(d, r, poor);
    if (!hopeless) hk__doctor_judge_net(d, r, poor);
    if (!hopeless && d->updates > 0) judge_rate(d, r, poor);
    if (!hopeless) hk__doctor_judge_end(d, r, poor);
}
