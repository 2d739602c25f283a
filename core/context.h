/* context.h: the inside of a context.
   SPDX-License-Identifier: MIT */
#ifndef HK_CONTEXT_PRIVATE_H
#define HK_CONTEXT_PRIVATE_H

#include "arena.h"
#include "hk_tensor.h"
#include "pool.h"
#include "stamp.h"

HK_BEGIN_DECLS

/* A step tensor's header outlives its step by this many steps, so that a late use can be reported. */
enum { HK_STALE_STEPS = 16, HK_HEADER_RING = HK_STALE_STEPS + 1 };

/* Whatever hangs on a context and is destroyed with it: modules, optimizers, data sets, loaders. The
   struct that owns it embeds this as its first member. */
typedef struct hk__object {
    struct hk__object *next, *previous;
    hk_context *ctx;
    void (*destroy)(struct hk__object *object);
    /* Of what changes from step to step (optimizers, loaders), for steps that are replayed (step.c); NULL: nothing does.
       prepare: puts the coming step's numbers into cells; false: that step is unlike the one before. replayed: moves on
       as its functions would have done. step: the last one it took part in. */
    bool (*prepare)(struct hk__object *object);
    void (*replayed)(struct hk__object *object);
    uint64_t step;
    /* Sets the error for what its kernel found wrong and flagged by the key (HK__FLAG_OBJECT, gpu.h). */
    void (*report)(struct hk__object *object);
    int64_t key;
} hk__object;

struct hk_context {
    hk_context_config config;
    hk_status status;
    char message[1024];

    struct hk__gpu *gpu; /* NULL: the CPU */
    hk__pool *pool;
    hk__stamp stamp; /* of f32 kernels */
    bool use_blas;
    char blas_text[160];

    bool buffers_off; /* modules leave their buffers as they are */
    /* A fingerprint of what is switched on and off between steps (hooks, training, clipping): a captured step is replayed
       under its own alone (step.c). */
    uint64_t settings;
    struct hk__steps *steps;
    uint64_t replayed; /* steps that were */

    hk_tensor *kept;    /* list of kept tensors */
    hk__object objects; /* ring of objects, itself the anchor */

    uint64_t step;       /* from 1; 0 marks kept tensors */
    uint64_t train_step; /* steps that ran a backward: the moment of random draws */
    bool stepped_backward;
    uint64_t version; /* counts optimizer steps: a tape older than the last one is invalid */

    hk__arena memory;                  /* of the step: data, nodes, attributes */
    hk__arena headers[HK_HEADER_RING]; /* hk_tensor structs of the last steps */
    hk__arena scratch;                 /* inside one call; marked and rewound there */
    hk__arena gpu_memory, gpu_scratch; /* the same on the GPU: data of the step, and for one call */

    /* autograd's part, opaque to core */
    struct hk__tape *tape;
    void (*tape_reset)(struct hk__tape *tape); /* at the step's end */
    void (*tape_free)(struct hk__tape *tape);
};

/* The stamp whose kernels serve a dtype. */
static inline hk__stamp hk__stamp_of(const hk_context *ctx, hk_dtype dtype) {
    if (ctx->gpu) return dtype == HK_F64 ? HK__STAMP_cuda64 : HK__STAMP_cuda;
    return dtype == HK_F64 ? HK__STAMP_f64 : ctx->stamp;
}

/* Tells of a setting that it now has, or has no longer, the value: two calls alike undo each other. */
static inline void hk__setting_flip(hk_context *ctx, const void *of, uint64_t value) {
    uint64_t z = (uint64_t)(uintptr_t)of * 0x9E3779B97F4A7C15u + value;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    ctx->settings ^= z ^ (z >> 31);
}
/* step.c: captured steps are forgotten: what they use is gone, or ends now. */
void hk__steps_forget(hk_context *ctx);
void hk__steps_free(hk_context *ctx);

/* Puts an object on the context's list, or takes it off. Objects are destroyed newest first. */
void hk__object_add(hk_context *ctx, hk__object *object, void (*destroy)(hk__object *));
void hk__object_remove(hk__object *object);

/* What a step has taken so far; what it took later is given back, and any tensor made since is gone. */
typedef struct hk__step_place {
    hk__mark memory, gpu_memory, headers;
} hk__step_place;
static inline hk__step_place hk__step_mark(const hk_context *ctx) {
    return (hk__step_place){hk__arena_mark(&ctx->memory), hk__arena_mark(&ctx->gpu_memory),
                            hk__arena_mark(&ctx->headers[ctx->step % HK_HEADER_RING])};
}
static inline void hk__step_rewind(hk_context *ctx, hk__step_place place) {
    hk__arena_rewind(&ctx->memory, place.memory);
    hk__arena_rewind(&ctx->gpu_memory, place.gpu_memory);
    hk__arena_rewind(&ctx->headers[ctx->step % HK_HEADER_RING], place.headers);
}

/* Scratch for one call: NULL with the sticky error when memory is exhausted. Bracket with
   hk__arena_mark/rewind of ctx->scratch. */
void *hk__scratch(hk_context *ctx, size_t bytes);

/* hk__parallel on the context's pool. */
static inline void hk__run(hk_context *ctx, int64_t blocks, hk__task *task, void *arg) {
    hk__parallel(ctx->pool, blocks, task, arg);
}

/* Returns the status of an expression if it is not HK_OK. */
#define HK_TRY(expr)                                                                               \
    do {                                                                                           \
        const hk_status hk__try_status = (expr);                                                   \
        if (hk__try_status != HK_OK) return hk__try_status;                                        \
    } while (0)

HK_END_DECLS
#endif
