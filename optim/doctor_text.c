/* doctor_text.c: the kinds of findings with their thresholds, and a diagnosis in words.
   SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* docs/doctor.md tells more of each. */
const hk__kind_row hk__kind_rows[HK__KINDS] = {
    [HK__NOT_FINITE_AT_ONCE] = {"not_finite", "values that are NaN or infinite", 0,
                                "arithmetic: none may be"},
    [HK__NO_UPDATE] = {"no_update", "no backward pass, or no optimizer step", 0,
                       "arithmetic: one each step"},
    [HK__NOT_ZEROED] = {"not_zeroed", "gradients of earlier steps are added up", 0.5,
                        "bits: equal to the last step's"},
    [HK__WRONG_DERIVATIVE] = {"wrong_derivative",
                              "an operation's backward does not fit its forward", 0.1,
                              "measured: hillock's own operations stay below 0.04"},
    [HK__UNTOUCHED] = {"untouched", "parameters that no gradient ever reaches", 0,
                       "the tape: none may be"},
    [HK__FROZEN] = {"frozen", "parameters with gradients that never move", 0, "bits: none may be"},
    [HK__EVALUATION] = {"evaluation_mode", "dropout or batch norm trained in evaluation mode", 0,
                        "the modules' modes: none may be"},
    [HK__OUTPUT] = {"output_activation", "an activation before a loss that has its own", 0,
                    "the tape: none may be"},
    [HK__NO_INFORMATION] = {"no_information", "inputs that are all alike, or noise", 1.5,
                            "Marchenko and Pastur 1967: the edge of noise is 1"},
    [HK__ONE_CLASS] = {"one_class_batches", "batches with few classes each", 0.5,
                       "measured: shuffled batches of 16 have 0.86"},
    [HK__LABELS] = {"labels_out_of_step", "labels without relation to their inputs", 4,
                    "chance plus 4 standard deviations: 1 in 30,000"},
    [HK__CLASS_MISSING] = {"class_missing", "classes that never come up", 20,
                           "20 expected of each: by chance 1 in e^20"},
    [HK__INPUT_SCALE] = {"input_scale", "inputs that are not normalised", 10,
                         "LeCun et al. 1998: variance near 1"},
    [HK__CONSTANT_FEATURES] = {"constant_features", "too many inputs that never change", 0.5,
                               "measured: 9 % in MNIST, 26 % in 500 digits"},
    [HK__SYMMETRIC] = {"symmetric", "units that are equal and stay so", 0.5,
                       "bits: equal after training"},
    [HK__INITIALISATION] = {"initialisation", "initial weights wrong for the activation", 20,
                            "He et al. 2015: 1 keeps the signal; measured: \"torch\" is within 17"},
    [HK__DEAD_AT_ONCE] = {"dead", "a layer where no gradient passes most units", 0.95,
                          "measured: healthy layers stay below 0.2"},
    [HK__SATURATED_AT_ONCE] = {"saturated", "a layer where most units are saturated", 0.95,
                               "Glorot and Bengio 2010; measured: healthy layers have at most 0.3"},
    [HK__VANISHING] =
        {"vanishing", "gradients that vanish through depth", 1e-2,
         "measured: networks that train had 0.02 and more, sigmoid that did not 0.005"},
    [HK__EXPLODING] = {"exploding", "gradients that explode through depth", 1e2,
                       "measured: networks that train had up to 2.3"},
    [HK__RATE_HIGH] = {"rate_high", "a learning rate that is far too high", 2,
                       "Nesterov 2004: a small enough step lowers the loss; measured: at most 1.4"},
    [HK__RATE_LOW] = {"rate_low", "a learning rate that is far too low", 100,
                      "measured: with rates that train, up to 32"},
    [HK__DEAD] = {"dead", "a layer where no gradient passes most units", 0.5,
                  "measured: healthy layers stay below 0.2"},
    [HK__SATURATED] = {"saturated", "a layer where most units are saturated", 0.5,
                       "Glorot and Bengio 2010; measured: healthy layers have at most 0.3"},
    [HK__NOT_FINITE] = {"not_finite", "values that are NaN or infinite", 0,
                        "arithmetic: none may be"},
    [HK__NO_PROGRESS] = {"no_progress", "a loss that does not fall, for no reason found", 0.6,
                         "measured"},
};

/* Row of the i-th different name, or HK__KINDS. */
static int row_of(int i) {
    for (int k = 0; k < HK__KINDS; k++) {
        bool again = false;
        for (int j = 0; j < k; j++)
            again |= strcmp(hk__kind_rows[j].name, hk__kind_rows[k].name) == 0;
        if (!again && i-- == 0) return k;
    }
    return HK__KINDS;
}

const char *hk_doctor_kind(int i) {
    const int k = i >= 0 ? row_of(i) : HK__KINDS;
    return k < HK__KINDS ? hk__kind_rows[k].name : NULL;
}

const char *hk_doctor_meaning(const char *kind) {
    for (int k = 0; kind && k < HK__KINDS; k++)
        if (strcmp(hk__kind_rows[k].name, kind) == 0) return hk__kind_rows[k].meaning;
    return "";
}

/* --- words ------------------------------------------------------------------------------------ */

enum { COLUMNS = 80, INDENT = 4 };

typedef struct page {
    char *text;
    size_t size, length;
} page;

static void put(page *p, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++, p->length++)
        if (p->length + 1 < p->size) p->text[p->length] = text[i];
}

/* Words broken into lines of COLUMNS, indented. */
static void put_words(page *p, int first, const char *text) {
    int column = first;
    for (int i = 0; i < first; i++) put(p, " ", 1);
    while (*text) {
        const size_t n = strcspn(text, " ");
        if (column > INDENT && column + (int)n + (column > first) > COLUMNS) {
            put(p, "\n", 1);
            for (column = 0; column < INDENT; column++) put(p, " ", 1);
        } else if (column > first) {
            put(p, " ", 1);
            column++;
        }
        put(p, text, n);
        column += (int)n;
        text += n;
        text += *text == ' ';
    }
    put(p, "\n", 1);
}

static void put_finding(page *p, int number, const hk_finding *f) {
    char line[512];
    snprintf(line, sizeof line, "%d. %s: %s%s%s", number, f->kind, hk_doctor_meaning(f->kind),
             f->where[0] ? "; at " : "", f->where);
    put_words(p, 0, line);
    put_words(p, INDENT, f->text);
    snprintf(line, sizeof line, "Measured %.4g against %.4g (%s).", f->value, f->threshold,
             f->source);
    put_words(p, INDENT, line);
    snprintf(line, sizeof line, "-> %s", f->advice);
    put_words(p, INDENT, line);
}

size_t hk_diagnosis_text(const hk_diagnosis *d, char *text, size_t size) {
    page p = {.text = text, .size = text ? size : 0};
    char line[256], chance[64] = "", last[32] = "not finite";
    if (!d) return 0;
    if (d->chance > 0) snprintf(chance, sizeof chance, "; a constant answer has %.4g", d->chance);
    if (isfinite(d->last_loss)) snprintf(last, sizeof last, "%.4g", d->last_loss);
    snprintf(line, sizeof line, "%lld steps, %lld samples: loss %.4g in step 1, %s at the end%s.",
             (long long)d->steps, (long long)d->samples, d->first_loss, last, chance);
    put_words(&p, 0, line);
    if (d->count == 0) put_words(&p, 0, "Healthy: nothing was found.");
    if (d->count > 1)
        put_words(&p, 0, "The likely cause comes first; what is below it may follow from it.");
    for (int i = 0; i < d->count; i++) put_finding(&p, i + 1, &d->finding[i]);
    if (p.size > 0) p.text[p.length < p.size ? p.length : p.size - 1] = 0;
    return p.length;
}
