/* hk_doctor.h: watches a few hundred training steps and says in words what is wrong with them.
   SPDX-License-Identifier: MIT

       static bool step(hk_doctor_step *s, void *arg) {           one step of training, but for hk_step_end
           my_program *p = arg;
           ... next batch into s->x and s->y, hk_optimizer_zero_grad ...
           s->out = hk_forward(p->net, s->x);
           s->loss = hk_cross_entropy(s->out, s->y);
           return !hk_backward(p->ctx, s->loss) && !hk_optimizer_step(p->opt);
       }
       hk_diagnosis found;
       if (hk_doctor_examine(net, opt, &(hk_doctor_config){.train = step, .arg = &program}, &found) == HK_OK)
           hk_diagnosis_text(&found, text, sizeof text);

   The doctor looks on by hooks, runs what is on the tape again to see what an update did, and compares each operation's
   gradient with differences. Thresholds and where they come from: docs/doctor.md. */
#ifndef HK_DOCTOR_H
#define HK_DOCTOR_H

#include "hk_optim.h"

HK_BEGIN_DECLS

/* What one training step used; what is NULL is not looked at. All must live until the function returns. */
typedef struct hk_doctor_step {
    hk_tensor *x;    /* the batch: (n, ...) */
    hk_tensor *y;    /* labels, i32 (n); other targets are not looked at */
    hk_tensor *out;  /* what the network makes of x */
    hk_tensor *loss; /* one element */
} hk_doctor_step;

/* Makes one training step as the user's program does, without hk_step_end, which the doctor calls: zero gradients, forward,
   loss, backward, optimizer. False ends the examination, or, with the context in error, lets it fail. */
typedef bool hk_doctor_train(hk_doctor_step *step, void *arg);

typedef struct hk_doctor_config {
    hk_doctor_train *train;
    void *arg;
    int64_t steps; /* 300: training steps to look at */
    int64_t
        probe; /* 1000: different samples to keep for a closer look at inputs and labels, 64 MB at most */
    bool
        keep; /* true: what was learned stays. Else parameters, buffers and the optimizer are as before */
} hk_doctor_config;

enum { HK_FINDINGS_MOST = 24 };

typedef struct hk_finding {
    const char *kind;   /* one of hk_doctor_kind: "rate_high" */
    char where[96];     /* module, parameter or operation; "" for the run as a whole */
    double value;       /* what was measured */
    double threshold;   /* what it was compared with */
    const char *source; /* where the threshold comes from */
    double advised;     /* the learning rate to take; NaN if the advice is none */
    char text[320];     /* what was seen: sentences */
    char advice[320];   /* what to change: sentences */
} hk_finding;

/* Findings in order: the likely cause first, what may follow from it after it. */
typedef struct hk_diagnosis {
    int count; /* 0: healthy */
    hk_finding finding[HK_FINDINGS_MOST];
    int64_t steps, samples;       /* looked at */
    double first_loss, last_loss; /* of step 1; mean over the last tenth of the steps */
    double chance; /* the loss of always giving the classes' shares; NaN without labels */
} hk_diagnosis;

/* net: the root of a built tree. opt: may be NULL, if the steps are made otherwise. HK_OK whatever was found; else the
   sticky status: HK_ERR_STATE if net is not built, HK_ERR_ARGUMENT without `train`. Values that are not finite
   (HK_ERR_NONFINITE) are a finding, no error. Must be called with nothing on the tape. */
HK_API HK_WARN_UNUSED hk_status hk_doctor_examine(hk_module *net, hk_optimizer *opt,
                                                  const hk_doctor_config *config,
                                                  hk_diagnosis *result);

/* The diagnosis in words, lines of at most 80 columns. Writes at most size bytes with the final 0 and returns the length
   that the whole text has. */
HK_API size_t hk_diagnosis_text(const hk_diagnosis *diagnosis, char *text, size_t size);

/* Kind i of findings, in the order in which they are named; NULL behind the last. What it means, in a few words. */
HK_API const char *hk_doctor_kind(int i);
HK_API const char *hk_doctor_meaning(const char *kind);

HK_END_DECLS
#endif
