/* doctor_rules_data.c: what the evidence of an examination means: inputs and labels.
   SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <math.h>
#include <stdio.h>

static double largest_share(const hk__data *data) {
    int64_t most = 0;
    for (int64_t c = 0; c < data->classes; c++)
        if (data->counts[c] > most) most = data->counts[c];
    return data->labelled > 0 ? (double)most / (double)data->labelled : 1;
}

/* What answering by chance reaches, with four standard deviations on top. */
static double chance_limit(const hk__data *data, int64_t tested) {
    const double p = largest_share(data);
    return p + hk__doctor_limit(HK__LABELS) * sqrt(p * (1 - p) / (double)(tested > 0 ? tested : 1));
}

static bool judge_one_class(const hk__doctor *d, hk_diagnosis *r) {
    const hk__data *data = &d->data;
    const double mean = (double)data->samples / (double)(data->batches > 0 ? data->batches : 1);
    if (!(r->chance > 0) || mean < 8) return false;
    const double share = data->batch_entropy / (double)data->labelled / r->chance;
    if (!(share < hk__doctor_limit(HK__ONE_CLASS))) return false;
    hk_finding *f = hk__doctor_found(r, HK__ONE_CLASS, share, "y");
    HK__SAY(
        f,
        "Batches hold few classes each: the entropy of a batch's labels is %.0f %% of that of all "
        "labels. "
        "Each step forgets what the others taught.",
        100 * share);
    HK__ADVISE(f, "Shuffle: hk_loader_config.shuffle = true.");
    return true;
}

static void judge_missing(const hk__doctor *d, hk_diagnosis *r) {
    const hk__data *data = &d->data;
    if (data->classes < 2 ||
        (double)data->labelled / (double)data->classes < hk__doctor_limit(HK__CLASS_MISSING))
        return;
    int64_t missing = 0, first = -1;
    for (int64_t c = 0; c < data->classes; c++)
        if (data->counts[c] == 0 && missing++ == 0) first = c;
    if (missing == 0) return;
    hk_finding *f = hk__doctor_found(r, HK__CLASS_MISSING, (double)missing, "y");
    HK__SAY(f, "%lld of %lld classes never came up in %lld labels: class %lld%s.",
            (long long)missing, (long long)data->classes, (long long)data->labelled,
            (long long)first, missing > 1 ? " and others" : "");
    HK__ADVISE(f,
               "Look at how the data are chosen and split: every class must be among the training "
               "samples. If "
               "there are fewer classes, make the last layer as wide as there are.");
}

static void judge_relation(const hk__doctor *d, hk_diagnosis *r, bool poor, bool noise) {
    const hk__data *data = &d->data;
    if (!(r->chance > 0) || data->kept < 100) return;
    int64_t tested;
    const double own = hk__doctor_nearest_mean(data, 0, &tested);
    const double chance = chance_limit(data, tested);
    double best = 0;
    int shift = 0;
    for (int k = 1; k < HK__SHIFTS && own <= chance; k++) {
        int64_t n;
        const double there = hk__doctor_nearest_mean(data, k, &n);
        if (n < 50 || !(there > best)) continue;
        best = there;
        shift = k;
    }
    if (shift > 0 && best > 2 * chance) {
        hk_finding *f = hk__doctor_found(r, HK__LABELS, own, "y");
        HK__SAY(
            f,
            "Labels are out of step with inputs: the nearest class mean is right for %.0f %% of "
            "the "
            "samples, no more than chance, but for %.0f %% with the label %s.",
            100 * own, 100 * best, hk__doctor_shift_name(shift));
        HK__ADVISE(f, "Shuffle, crop and batch inputs and labels by the same indices; each label "
                      "belongs to the "
                      "sample of its own place.");
    } else if (poor && !noise && own <= chance) {
        hk_finding *f = hk__doctor_found(r, HK__LABELS, own, "y");
        HK__SAY(
            f,
            "Labels show no relation to inputs: the nearest class mean is right for %.0f %% of the "
            "samples, "
            "no more than chance, and the loss stays at that of a constant answer.",
            100 * own);
        HK__ADVISE(f,
                   "Look at some inputs with their labels: both must be read, shuffled and cut in "
                   "the same "
                   "order.");
    }
}

static void judge_scale(const hk__data *data, hk_diagnosis *r) {
    double squares = 0;
    for (int64_t i = 0; i < data->features; i++) squares += data->sum2[i];
    const double rms = sqrt(squares / ((double)data->samples * (double)data->features));
    const double most = hk__doctor_limit(HK__INPUT_SCALE), least = 1 / (most * most);
    if (rms <= most && rms >= least) return;
    hk_finding *f = hk__doctor_found(r, HK__INPUT_SCALE, rms, "x");
    if (rms < 1) f->threshold = least;
    HK__SAY(f,
            "Inputs are not normalised: their root mean square is %.3g, and initial weights are "
            "drawn for about 1.",
            rms);
    HK__ADVISE(f,
               "Divide by the range, or take off the mean and divide by the deviation of the "
               "training data: "
               "hk_dataset_scale(ds, %.3g, 0) or a norm as the first layer.",
               1 / rms);
}

static void judge_constant(const hk__data *data, hk_diagnosis *r, double share) {
    hk_finding *f;
    if (share >= 1) {
        f = hk__doctor_found(r, HK__NO_INFORMATION, share, "x");
        f->threshold = 1;
        HK__SAY(f,
                "All inputs are the same%s: they say nothing about what is wanted, and the loss "
                "cannot fall below that "
                "of a constant answer.",
                data->low[0] == 0 && data->high[0] == 0 ? ", zeros" : "");
        HK__ADVISE(
            f, "Look at what is read: a wrong path, a buffer that is never filled, a scale of 0.");
    } else if (data->samples >= 500 && share > hk__doctor_limit(HK__CONSTANT_FEATURES)) {
        /* In a few images most pixels may be constant by chance. */
        f = hk__doctor_found(r, HK__CONSTANT_FEATURES, share, "x");
        HK__SAY(f,
                "%.0f %% of the input features never change in %lld samples. Empty borders of "
                "images are harmless; so "
                "many mean that a part of the input is lost.",
                100 * share, (long long)data->samples);
        HK__ADVISE(f,
                   "Look at the inputs: a mask, a crop, a channel or a column that is not filled.");
    }
}

/* Whether they look like noise: no features vary together, and labels cannot be told from them. */
static bool judge_noise(const hk__data *data, hk_diagnosis *r) {
    int64_t tested = 0;
    const double structure = hk__doctor_structure(data);
    const double own = r->chance > 0 ? hk__doctor_nearest_mean(data, 0, &tested) : 0;
    if (data->kept < 100 || !(structure < hk__doctor_limit(HK__NO_INFORMATION)) ||
        own > chance_limit(data, tested))
        return false;
    hk_finding *f = hk__doctor_found(r, HK__NO_INFORMATION, structure, "x");
    HK__SAY(f,
            "Inputs look like noise: no features vary together (largest correlation eigenvalue "
            "%.2f of what noise has), "
            "and labels cannot be told from them.",
            structure);
    HK__ADVISE(
        f, "Look at the inputs: the bytes may be read with a wrong offset, type or decompression.");
    return true;
}

void hk__doctor_judge_data(const hk__doctor *d, hk_diagnosis *r, bool poor) {
    const hk__data *data = &d->data;
    if (data->features == 0 || data->samples < 2 || data->x_nonfinite > 0) return;
    const double constant = hk__doctor_constant_share(data);
    if (constant >= 1) judge_constant(data, r, constant);
    const bool noise = constant < 1 && poor && judge_noise(data, r);
    const bool sorted = judge_one_class(d, r);
    if (constant < 1 && !sorted) judge_relation(d, r, poor, noise);
    if (!sorted) judge_missing(d, r);
    if (constant >= 1) return;
    judge_scale(data, r);
    judge_constant(data, r, constant);
}
