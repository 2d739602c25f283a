/* faults.h: where patient.c plants a fault.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_FAULTS_H
#define EXAMPLES_FAULTS_H

#include "patient.h"

typedef enum fault_code {
    FAULT_NAN_INPUT,
    FAULT_LOGARITHM,
    FAULT_NO_STEP,
    FAULT_NOT_ZEROED,
    FAULT_WRONG_FACTOR,
    FAULT_WRONG_SIGN,
    FAULT_DETACHED,
    FAULT_FROZEN,
    FAULT_EVALUATION,
    FAULT_SOFTMAX,
    FAULT_SIGMOID,
    FAULT_RELU,
    FAULT_ZERO_INPUT,
    FAULT_NOISE,
    FAULT_SORTED,
    FAULT_LABELS_ROLLED,
    FAULT_LABELS_SHUFFLED,
    FAULT_CLASS_MISSING,
    FAULT_BYTES,
    FAULT_BLANK,
    FAULT_EQUAL_WEIGHTS,
    FAULT_SMALL_WEIGHTS,
    FAULT_LARGE_WEIGHTS,
    FAULT_DEAD,
    FAULT_SATURATED,
    FAULT_VANISHING,
    FAULT_EXPLODING,
    FAULT_RATE_HIGH,
    FAULT_RATE_LOW
} fault_code;

static inline bool fault_is(const fault *f, fault_code code) { return f && f->code == (int)code; }

/* A module to stand behind the first activation, or at the end; NULL if the fault needs none. */
hk_module *fault_module(hk_context *ctx, const fault *f);
hk_module *fault_output(hk_context *ctx, const fault *f);
/* The digits as a data set. */
hk_dataset *fault_dataset(hk_context *ctx, const fault *f, const digits *d);
/* Changes initial weights. */
void fault_weights(patient *p);
/* Of a batch. */
hk_tensor *fault_inputs(const fault *f, hk_tensor *x);
hk_tensor *fault_labels(const fault *f, hk_tensor *y);

#endif
