/* jacobian.h: one look at a module's Jacobian: what was recorded, and what is wanted of it.
   SPDX-License-Identifier: MIT */
#ifndef HK_JACOBIAN_PRIVATE_H
#define HK_JACOBIAN_PRIVATE_H

#include "hk_jacobian.h"
#include "module.h"
#include "tape.h"

HK_BEGIN_DECLS

typedef struct hk__study {
    hk_context *ctx;
    hk_module *m;
    hk_jacobian_config config;
    hk_tensor *x, *y; /* x: a kept copy that requires a gradient */
    int64_t n, in, out;
    hk__step_place place; /* where products begin */
    hk_jacobian *result;
} hk__study;

/* Computes all of it but the sizes. y, which depends on x, is on the tape. */
hk_status hk__study_measure(hk__study *s, double *spectrum);

HK_END_DECLS
#endif
