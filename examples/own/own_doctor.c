/* own_doctor.c: the doctor in one's own program: one training step in a function, one call, the diagnosis in words.
   SPDX-License-Identifier: MIT */
#include <hillock/hillock.h>

typedef struct program {
    hk_context *ctx;
    hk_module *net;
    hk_optimizer *opt;
    hk_loader *loader;
} program;

/* A step as the program's loop makes it, but for hk_step_end. */
static bool program_step(hk_doctor_step *step, void *arg) {
    program *p = arg;
    hk_batch batch;
    if (!hk_loader_next(p->loader, &batch) && !hk_loader_next(p->loader, &batch)) return false;
    hk_optimizer_zero_grad(p->opt);
    step->x = batch.x;
    step->y = batch.y;
    step->out = hk_forward(p->net, step->x);
    step->loss = hk_cross_entropy(step->out, step->y);
    return !hk_backward(p->ctx, step->loss) && !hk_optimizer_step(p->opt);
}

/* How many faults there are; `text` tells what they are. -1 after an error. The network is as it was. */
static int program_faults(program *p, int64_t steps, char *text, size_t size) {
    hk_diagnosis found;
    const hk_doctor_config config = {.train = program_step, .arg = p, .steps = steps};
    if (hk_doctor_examine(p->net, p->opt, &config, &found) != HK_OK) return -1;
    hk_diagnosis_text(&found, text, size);
    return found.count;
}
