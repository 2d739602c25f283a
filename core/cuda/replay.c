/* replay.c: whole steps, captured and replayed.
   SPDX-License-Identifier: MIT

   A step can be replayed if it does the same as the one before. That is not asked of the user's function but seen: all
   launches of a step, with their arguments, go into one number. What changes by design lies in cells on the device
   (gpu.h), which their owners set before a step: the objects that took part in the step before. */
#include <stdlib.h>

#include "gpu.h"
#include "tensor.h"

enum { KINDS = 4, OBJECTS = 8, EQUAL = 2 };

/* Steps of one function under one set of settings. */
typedef struct kind {
    hk_step_fn *fn;
    void *arg;
    uint64_t settings;
    uint64_t launches; /* of its last run */
    int equal;         /* runs in a row that launched the same */
    hk__gpu_graph *graph;
    bool backward;               /* it ran one */
    hk__object *object[OBJECTS]; /* that took part */
    int objects;
    uint64_t last; /* step */
} kind;

struct hk__steps {
    kind kind[KINDS];
    const char *why;
};

static void forget(kind *k) {
    if (k->graph) hk__gpu_graph_free(k->graph);
    *k = (kind){.fn = NULL};
}

void hk__gpu_steps_forget(hk_context *ctx) {
    for (int i = 0; ctx->steps && i < KINDS; i++) forget(&ctx->steps->kind[i]);
}

const char *hk__gpu_step_why(const hk_context *ctx) {
    return ctx->steps ? ctx->steps->why : "hk_step_run was not called";
}

/* The kind of this step; the one that was not seen for longest makes room. */
static kind *kind_of(hk_context *ctx, hk_step_fn *fn, void *arg) {
    kind *all = ctx->steps->kind, *oldest = all;
    for (int i = 0; i < KINDS; i++) {
        if (all[i].fn == fn && all[i].arg == arg && all[i].settings == ctx->settings)
            return &all[i];
        if (all[i].last < oldest->last) oldest = &all[i];
    }
    forget(oldest);
    *oldest = (kind){.fn = fn, .arg = arg, .settings = ctx->settings};
    return oldest;
}

/* Has the objects put the coming step's numbers into cells; false if that step is unlike the last one. */
static bool prepare(const kind *k) {
    bool alike = true;
    for (int i = 0; i < k->objects; i++) alike = k->object[i]->prepare(k->object[i]) && alike;
    return alike;
}

static hk_status replay(hk_context *ctx, kind *k) {
    hk__gpu_graph_run(ctx, k->graph);
    for (int i = 0; i < k->objects; i++) {
        k->object[i]->step = ctx->step;
        k->object[i]->replayed(k->object[i]);
    }
    ctx->stepped_backward = k->backward;
    ctx->replayed++;
    ctx->steps->why = NULL;
    k->last = ctx->step;
    return hk_step_end(ctx);
}

/* Notes which objects took part in this step. False if there are too many. */
static bool note_objects(hk_context *ctx, kind *k) {
    k->objects = 0;
    for (hk__object *o = ctx->objects.next; o != &ctx->objects; o = o->next) {
        if (o->step != ctx->step || !o->prepare) continue;
        if (k->objects == OBJECTS) return false;
        k->object[k->objects++] = o;
    }
    return true;
}

/* What a run of the function was like, before its step ends. */
static void look_back(hk_context *ctx, kind *k) {
    const char *why = hk__gpu_why_eager(ctx);
    const uint64_t launches = hk__gpu_launches(ctx);
    if (!note_objects(ctx, k)) why = "more than 8 optimizers and loaders take part";
    if (ctx->status != HK_OK) why = "an error";
    k->equal = why ? 0 : launches == k->launches ? k->equal + 1 : 1;
    k->launches = launches;
    k->backward = ctx->stepped_backward;
    k->last = ctx->step;
    ctx->steps->why = why ? why : "it is not yet known to repeat itself";
}

/* Captures the step while its function runs, and then lets the GPU run it. */
static hk_status capture(hk_context *ctx, kind *k) {
    if (hk__gpu_capture_begin(ctx) != HK_OK) return ctx->status;
    hk__step_call(ctx, k->fn, k->arg);
    hk__gpu_graph *graph = hk__gpu_capture_end(ctx);
    look_back(ctx, k);
    if (graph && k->equal > EQUAL && hk__gpu_graph_repeats(graph))
        k->graph = graph;
    else
        hk__gpu_graph_free(graph);
    if (!k->graph) k->equal = 0;
    return hk_step_end(ctx);
}

hk_status hk__gpu_step(hk_context *ctx, hk_step_fn *fn, void *arg) {
    if (!ctx->steps) ctx->steps = calloc(1, sizeof *ctx->steps);
    if (!ctx->steps) return hk_fail(ctx, HK_ERR_MEMORY, "step", "no memory");
    kind *k = kind_of(ctx, fn, arg);
    const bool alike = prepare(k);
    if (k->graph && alike) return replay(ctx, k);
    (void)hk__gpu_launches(ctx); /* those before the step */
    if (alike && !k->graph && k->equal >= EQUAL) return capture(ctx, k);
    hk__step_call(ctx, fn, arg);
    if (k->graph) /* one of another shape, such as an epoch's last: the graph stays */
        ctx->steps->why = "its batch is unlike the others";
    else
        look_back(ctx, k);
    return hk_step_end(ctx);
}
