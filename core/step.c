/* step.c: whole steps: run and ended; on a GPU, captured and replayed (cuda/replay.c).
   SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "gpu.h"

void hk__step_call(hk_context *ctx, hk_step_fn *fn, void *arg) {
    const hk_status status = fn(ctx, arg);
    if (status != HK_OK) hk_fail(ctx, status, "step", "%s", hk_status_meaning(status));
}

void hk__steps_forget(hk_context *ctx) {
    if (HK_ON_GPU(ctx)) hk__gpu_steps_forget(ctx);
}

void hk__steps_free(hk_context *ctx) {
    hk__steps_forget(ctx);
    free(ctx->steps);
    ctx->steps = NULL;
}

const char *hk_step_why(const hk_context *ctx) {
    if (!ctx) return "there is no context";
    if (HK_ON_GPU(ctx)) return hk__gpu_step_why(ctx);
    return "it ran on the CPU";
}

hk_status hk_step_run(hk_context *ctx, hk_step_fn *fn, void *arg) {
    if (!ctx) return HK_ERR_MEMORY;
    HK_TRY(ctx->status);
    if (!fn) return hk_fail(ctx, HK_ERR_ARGUMENT, "step", "no function was given");
    if (HK_ON_GPU(ctx) && !ctx->config.no_graph) return hk__gpu_step(ctx, fn, arg);
    hk__step_call(ctx, fn, arg);
    return hk_step_end(ctx);
}
