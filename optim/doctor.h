/* doctor.h: what the files of the doctor share: the evidence that is collected.
   SPDX-License-Identifier: MIT */
#ifndef HK_DOCTOR_PRIVATE_H
#define HK_DOCTOR_PRIVATE_H

#include "hk_doctor.h"
#include "hk_stats.h"
#include "module.h"
#include "optimizer.h"
#include "stats.h"
#include "values.h"

HK_BEGIN_DECLS

/* A module without children. */
typedef struct hk__watched {
    hk_module *module;
    hk_hook *hook;
    hk_tensor *out;      /* of this step's last pass; NULL: it did not run */
    bool ran, evaluated; /* ever; in evaluation mode while gradients were recorded */
    double length;       /* |∂L/∂out| in the first step; NaN if none came */
} hk__watched;

typedef struct hk__watched_parameter {
    hk_tensor *param;
    const hk__watched *layer; /* whose it is; NULL if it belongs to none */
    hk_hook *hook;
    hk_tensor *start, *before,
        *grad; /* kept copies: at the start; before this step; gradient at the end of the last */
    bool had_grad;               /* grad holds that of the last step */
    bool reached, pulled, moved; /* by a gradient; by one that is not 0; from the start */
    bool asks;                   /* reached in this pass: is the gradient 0? */
    bool trained;                /* the optimizer has it, with a rate above 0 */
    double equal;                /* share of units equal to another one, when all was over */
} hk__watched_parameter;

/* A sampled step. */
typedef struct hk__sample {
    int64_t step;
    double before, after; /* loss of the batch with the weights before and after the update */
} hk__sample;

/* An update tried at other lengths. */
typedef struct hk__search {
    bool done;
    double loss;         /* before the update */
    double own;          /* after it */
    double best, factor; /* lowest loss, and the factor on the update that gives it */
} hk__search;

enum {
    HK__SHIFTS = 7, /* places where a sample's label may have gone */
    HK__PROBES = 32 /* batches that are kept for a look at units */
};

/* Inputs and labels. */
typedef struct hk__data {
    int64_t features, batches, samples, x_nonfinite;
    int64_t first_nonfinite;            /* element of its batch; -1: none */
    double *sum, *sum2, *low, *high;    /* of each feature */
    int64_t capacity, kept, last_begin; /* different samples; those of the last batch begin there */
    float *rows;
    uint64_t *hashes;
    int32_t *label[HK__SHIFTS]; /* its own; those of other places (doctor_data.c); -1: none */
    int32_t *last_labels;
    int64_t last_size, last_room, classes; /* of the output */
    int64_t *counts, labelled;
    double batch_entropy, batch_expected; /* sums over batches */
} hk__data;

/* The worst layer of units, at the start or at the end. */
typedef struct hk__worst {
    double dead, saturated; /* shares */
    int64_t units,
        by_bias; /* of the layer with the most dead ones; how many of these died of their bias */
    char dead_place[96], saturated_place[96], dead_name[48], saturated_name[48];
} hk__worst;

typedef struct hk__derivative {
    double error; /* relative */
    char op[48], place[96];
    int64_t checked;
} hk__derivative;

/* What is looked at of each parameter or layer, in memory of the context: on a GPU read in one piece. */
typedef struct hk__doctor_seen {
    hk__moments moments;
    double apart2, length2; /* |x - y|², |x|² */
} hk__doctor_seen;

typedef struct hk__doctor {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_doctor_config config;
    int n_layers, n_params, n_buffers;
    hk__watched *layers;
    hk__watched_parameter *params;
    hk_tensor **buffers;
    hk_hook *before, *after; /* on the network, and on backward */
    hk_tensor **probes;      /* batches, for a look at the units */
    int n_probes;
    hk__doctor_seen *seen, *read; /* one for each parameter or layer; read: a copy on the host */

    /* the current step */
    int64_t step;     /* from 1 */
    hk_tensor *input; /* of the network, in its first pass */
    bool sampled, checked, looked;
    bool backward;           /* this step had a backward pass */
    bool stepped;            /* the last step had an update */
    int64_t optimizer_steps; /* when this step began */

    /* evidence */
    double *loss;
    int64_t n_samples;
    hk__sample *samples;
    hk__search early, late;
    hk__data data;
    hk__derivative derivative;
    hk__worst begun, ended;
    int64_t passes, updates; /* steps with a backward pass, with an update */
    int64_t zero_checks, not_zeroed;
    char left_over[96]; /* a parameter whose gradient was */
    char output_op[48], output_loss[48], output_place[96];
    bool loss_nonfinite;
    int64_t nonfinite_step; /* 0: none */
    char nonfinite_place[96], nonfinite_what[160];
    bool is_cross_entropy;
} hk__doctor;

/* --- doctor_watch.c: hooks -------------------------------------------------------------------- */

/* to = from, of one shape and type, both contiguous. */
void hk__doctor_copy(hk_tensor *to, const hk_tensor *from);
hk_status hk__doctor_watch(hk__doctor *d);
void hk__doctor_unwatch(hk__doctor *d);
/* Around a call of config.train. */
void hk__doctor_before_step(hk__doctor *d);
void hk__doctor_after_step(hk__doctor *d, const hk_doctor_step *made);
/* When all steps are over. */
void hk__doctor_conclude(hk__doctor *d);

/* --- doctor_units.c: dead and saturated units with the weights of the start, and with those of the end. */
hk_status hk__doctor_look_at_units(hk__doctor *d);

/* --- doctor_tape.c ---------------------------------------------------------------------------- */

/* The loss of this step's batch with the weights as they are now; NaN if it cannot be told. */
double hk__doctor_replay(hk_context *ctx, const hk_tensor *loss);
/* Compares the gradient of each operation with differences. */
void hk__doctor_check_gradients(hk__doctor *d, const hk_tensor *loss);
/* Notes an activation directly before the loss. The mean cross-entropy, if there is one: the user's loss may be
   scaled. */
const hk_tensor *hk__doctor_look_at_loss(hk__doctor *d, const hk_tensor *loss);
/* Notes the first operation with a result that is not finite. */
void hk__doctor_find_nonfinite(hk__doctor *d);
/* The module in which a node was made. */
const char *hk__doctor_place(const hk__doctor *d, const hk__node *node);

/* --- doctor_data.c ---------------------------------------------------------------------------- */

/* Takes a batch into account; x or y may be NULL. */
hk_status hk__doctor_data_add(hk_context *ctx, hk__data *data, int64_t probe, hk_tensor *x,
                              hk_tensor *y, hk_tensor *out);
void hk__doctor_data_free(hk__data *data);
/* Share of features that never change; entropy of all labels. */
double hk__doctor_constant_share(const hk__data *data);
double hk__doctor_entropy(const int64_t *counts, int64_t classes, int64_t total);
/* How many of the later half of the samples the nearest mean of a class, of the earlier half, answers right
   with labels of that shift; *tested: of how many. */
double hk__doctor_nearest_mean(const hk__data *data, int shift, int64_t *tested);
const char *hk__doctor_shift_name(int shift);
/* The largest eigenvalue of the features' correlations over that of noise (Marchenko and Pastur 1967). */
double hk__doctor_structure(const hk__data *data);

/* --- doctor_rules.c, doctor_rules_data.c, doctor_rules_net.c, doctor_text.c ------------------- */

typedef enum hk__kind {
    HK__NOT_FINITE_AT_ONCE,
    HK__NO_UPDATE,
    HK__NOT_ZEROED,
    HK__WRONG_DERIVATIVE,
    HK__UNTOUCHED,
    HK__FROZEN,
    HK__EVALUATION,
    HK__OUTPUT,
    HK__NO_INFORMATION,
    HK__ONE_CLASS,
    HK__LABELS,
    HK__CLASS_MISSING,
    HK__INPUT_SCALE,
    HK__CONSTANT_FEATURES,
    HK__SYMMETRIC,
    HK__INITIALISATION,
    HK__DEAD_AT_ONCE,
    HK__SATURATED_AT_ONCE,
    HK__VANISHING,
    HK__EXPLODING,
    HK__RATE_HIGH,
    HK__RATE_LOW,
    HK__DEAD,
    HK__SATURATED,
    HK__NOT_FINITE,
    HK__NO_PROGRESS,
    HK__KINDS
} hk__kind;

typedef struct hk__kind_row {
    const char *name, *meaning;
    double threshold;
    const char *source;
} hk__kind_row;
extern const hk__kind_row hk__kind_rows[HK__KINDS];
static inline double hk__doctor_limit(hk__kind kind) { return hk__kind_rows[kind].threshold; }

/* What a finding says; <stdio.h> is needed. */
#define HK__SAY(finding, ...) snprintf((finding)->text, sizeof(finding)->text, __VA_ARGS__)
#define HK__ADVISE(finding, ...) snprintf((finding)->advice, sizeof(finding)->advice, __VA_ARGS__)

/* A finding to be filled in, behind those there are; *advice is empty. A stand-in that is thrown away when
   there are too many. */
hk_finding *hk__doctor_found(hk_diagnosis *result, hk__kind kind, double value, const char *where);
void hk__doctor_judge(hk__doctor *d, hk_diagnosis *result);
void hk__doctor_judge_data(const hk__doctor *d, hk_diagnosis *result, bool poor);
void hk__doctor_judge_net(hk__doctor *d, hk_diagnosis *result, bool poor);
void hk__doctor_judge_end(hk__doctor *d, hk_diagnosis *result, bool poor);

HK_END_DECLS
#endif
