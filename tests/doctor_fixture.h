/* doctor_fixture.h: patients of the program examples/doctor on a few thousand digits, for the tests of the doctor.
   SPDX-License-Identifier: MIT */
#ifndef HK_DOCTOR_FIXTURE_H
#define HK_DOCTOR_FIXTURE_H

#include "net_fixture.h"

#include "hk_doctor.h"

#include "../examples/common/elements.c"
#include "../examples/doctor/faults.c"
#include "../examples/doctor/patient.c"

enum { IMAGES = 4000, REPORT = 1 << 15 };

static digits all_digits;

static inline int read_all_digits(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    const bool have = digits_read(&all_digits, ctx, HK_SOURCE_DIR "/data/mnist", IMAGES);
    assert_ok(ctx);
    hk_context_destroy(ctx);
    return have ? 0 : -1;
}

static inline int free_all_digits(void **state) {
    (void)state;
    digits_free(&all_digits);
    return 0;
}

/* Three networks: two hidden layers, six, and two convolutions. */
static const patient_plan nets[] = {
    {.net = "mlp",
     .depth = 2,
     .width = 64,
     .activation = "relu",
     .init = "auto",
     .optimizer = "adam",
     .lr = -1,
     .batch = 50},
    {.net = "mlp",
     .depth = 6,
     .width = 48,
     .activation = "relu",
     .init = "auto",
     .optimizer = "sgd",
     .lr = 0.1,
     .batch = 50},
    {.net = "cnn",
     .depth = 2,
     .width = 64,
     .activation = "relu",
     .init = "auto",
     .optimizer = "adam",
     .lr = 0.003,
     .batch = 32},
};
static const char *const net_names[] = {"two layers", "six layers", "convolutions"};
static const int64_t net_steps[] = {200, 250, 150};

/* The diagnosis of a patient of that plan. */
static inline hk_diagnosis diagnose(const patient_plan *plan, uint64_t seed, int64_t steps) {
    hk_context *ctx = context(HK_F32, 1, seed);
    patient p;
    static hk_diagnosis found;
    if (!patient_make(&p, ctx, plan, &all_digits)) fail_msg("%s", hk_error_message(ctx));
    const hk_doctor_config config = {.train = patient_train, .arg = &p, .steps = steps};
    if (hk_doctor_examine(p.net, p.opt, &config, &found) != HK_OK)
        fail_msg("%s", hk_error_message(ctx));
    hk_context_destroy(ctx);
    return found;
}

/* "rate_high, dead" */
static inline const char *kinds_of(const hk_diagnosis *d) {
    static char text[512];
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < d->count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "",
                                 d->finding[i].kind);
    return text;
}

#endif
