/* patient.h: a network with its data and its training step, sound or with one fault planted on purpose.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_PATIENT_H
#define EXAMPLES_PATIENT_H

#include <hillock/hillock.h>

/* Digits in memory: pixels from 0 to 1, row by row. */
typedef struct digits {
    int64_t count;
    int classes;
    hk_shape item; /* (1, height, width) */
    float *pixels;
    int32_t *labels;
} digits;

/* The first `most` training images of a folder. False with ctx in error. */
bool digits_read(digits *d, hk_context *ctx, const char *folder, int64_t most);
void digits_free(digits *d);

/* A fault: what it is called, the kind of finding that names it, what it does. */
struct patient_plan;

typedef struct fault {
    const char *name, *kind, *what;
    void (*plan)(struct patient_plan *plan); /* changes settings, or NULL */
    int code;                                /* which, for the places that plant it */
} fault;
const fault *fault_at(int i);              /* NULL behind the last */
const fault *fault_find(const char *name); /* NULL if there is none */

typedef struct patient_plan {
    const char *net;        /* "mlp", "cnn", "residual" */
    int depth;              /* hidden layers (mlp), blocks (residual) */
    int64_t width;          /* of a hidden layer */
    const char *activation; /* behind each hidden layer */
    const char *init, *optimizer;
    double lr; /* negative: the optimizer's own */
    int64_t batch;
    bool normed;        /* residual: a norm in each block */
    const fault *fault; /* NULL: sound */
} patient_plan;

typedef struct patient {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_dataset *data;
    hk_loader *loader;
    patient_plan plan;
    const digits *digits;
} patient;

/* Builds the network, with the fault. False with ctx in error. Everything belongs to ctx. */
bool patient_make(patient *p, hk_context *ctx, const patient_plan *plan, const digits *digits);
/* One training step: for hk_doctor_config.train, arg is the patient. */
bool patient_train(hk_doctor_step *step, void *arg);

#endif
