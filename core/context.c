/* context.c: creation, errors, steps.
   SPDX-License-Identifier: MIT */
#include "context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "cublas.h"
#include "gpu.h"
#include "openblas.h"
#include "tensor.h"

enum { HK_MAX_THREADS = 64, HK_DEFAULT_MAX_THREADS = 16 };

/* --- errors ------------------------------------------------------------------------------------ */

hk_status hk_error(const hk_context *ctx) { return ctx ? ctx->status : HK_ERR_MEMORY; }

const char *hk_error_message(const hk_context *ctx) {
    return ctx ? ctx->message : "[context] out of memory";
}

void hk_error_clear(hk_context *ctx) {
    if (!ctx) return;
    ctx->status = HK_OK;
    ctx->message[0] = 0;
}

hk_status hk_fail(hk_context *ctx, hk_status status, const char *where, const char *format, ...) {
    if (!ctx) return HK_ERR_MEMORY;
    if (ctx->status != HK_OK) return ctx->status;
    ctx->status = status == HK_OK ? HK_ERR_STATE : status;
    const int head = snprintf(ctx->message, sizeof ctx->message, "[%s] ", where);
    va_list args;
    va_start(args, format);
    if (head >= 0 && (size_t)head < sizeof ctx->message)
        vsnprintf(ctx->message + head, sizeof ctx->message - (size_t)head, format, args);
    va_end(args);
    return ctx->status;
}

void *hk__scratch(hk_context *ctx, size_t bytes) {
    void *p = hk__arena_alloc(&ctx->scratch, bytes);
    if (!p) hk_fail(ctx, HK_ERR_MEMORY, "scratch", "no memory for %zu bytes", bytes);
    return p;
}

/* --- objects ------------------------------------------------------------------------------------- */

void hk__object_add(hk_context *ctx, hk__object *object, void (*destroy)(hk__object *)) {
    hk__object *anchor = &ctx->objects;
    *object =
        (hk__object){.next = anchor, .previous = anchor->previous, .ctx = ctx, .destroy = destroy};
    anchor->previous->next = object;
    anchor->previous = object;
}

void hk__object_remove(hk__object *object) {
    if (!object->next) return;
    hk__steps_forget(object->ctx);
    object->previous->next = object->next;
    object->next->previous = object->previous;
    object->next = object->previous = NULL;
}

/* --- creation ------------------------------------------------------------------------------------ */

static hk_status choose_stamp(hk_context *ctx) {
    const char *wish = ctx->config.isa ? ctx->config.isa : getenv("HILLOCK_ISA");
    const hk__stamp best = hk__cpu_best_stamp();
    ctx->stamp = best;
    if (!wish || !*wish) return HK_OK;
    for (int s = HK__STAMP_base; s <= HK__STAMP_avx512; s++) {
        if (strcmp(wish, hk__stamp_name((hk__stamp)s)) != 0) continue;
        if (s > (int)best)
            return hk_fail(ctx, HK_ERR_DEVICE, "context",
                           "this processor has no %s; the best it runs is %s", wish,
                           hk__stamp_name(best));
        ctx->stamp = (hk__stamp)s;
        return HK_OK;
    }
    return hk_fail(ctx, HK_ERR_NAME, "context",
                   "unknown instruction set '%s'; there are: base, avx2, avx512", wish);
}

static void choose_blas(hk_context *ctx) {
    if (ctx->config.no_blas) {
        snprintf(ctx->blas_text, sizeof ctx->blas_text, "none (own kernels, as asked for)");
        return;
    }
    ctx->use_blas = hk__openblas_describe(ctx->blas_text, sizeof ctx->blas_text);
}

#if HK_WITH_CUDA
static void *gpu_chunk(void *ctx, size_t bytes) { return hk__gpu_alloc(ctx, bytes, false); }
static void gpu_chunk_free(void *ctx, void *p) { hk__gpu_free(ctx, p); }

static hk_status open_gpu(hk_context *ctx) {
    const char *tf32 = getenv("HILLOCK_TF32");
    if (tf32 && *tf32 && strcmp(tf32, "0") != 0) ctx->config.tf32 = true;
    HK_TRY(hk__gpu_open(ctx));
    ctx->gpu_memory.source = ctx->gpu_scratch.source =
        (hk__chunk_source){gpu_chunk, gpu_chunk_free, ctx};
    ctx->gpu_memory.merges = ctx->gpu_scratch.merges = true;
    return HK_OK;
}
#else
static hk_status open_gpu(hk_context *ctx) {
    return hk_fail(
        ctx, HK_ERR_DEVICE, "context",
        "no CUDA in this build: configure hillock with -DHILLOCK_CUDA=ON, or run on the CPU");
}
#endif

static hk_status configure(hk_context *ctx) {
    if (ctx->config.device != HK_CPU && ctx->config.device != HK_CUDA)
        return hk_fail(ctx, HK_ERR_DEVICE, "context", "there is no device %d",
                       (int)ctx->config.device);
    if (ctx->config.dtype != HK_F32 && ctx->config.dtype != HK_F64)
        return hk_fail(ctx, HK_ERR_DTYPE, "context", "dtype must be f32 or f64, not %s",
                       hk_dtype_name(ctx->config.dtype));
    if (ctx->config.threads < 0 || ctx->config.threads > HK_MAX_THREADS)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "context", "threads must be from 1 to %d, not %d",
                       HK_MAX_THREADS, ctx->config.threads);
    HK_TRY(choose_stamp(ctx));
    choose_blas(ctx);
    int threads = ctx->config.threads;
    if (threads == 0) {
        threads = hk__cpu_count();
        if (threads > HK_DEFAULT_MAX_THREADS) threads = HK_DEFAULT_MAX_THREADS;
    }
    ctx->config.threads = threads;
    ctx->pool = hk__pool_create(threads);
    if (!ctx->pool)
        return hk_fail(ctx, HK_ERR_MEMORY, "context", "cannot start %d threads", threads);
    return ctx->config.device == HK_CUDA ? open_gpu(ctx) : HK_OK;
}

hk_context *hk_context_create(const hk_context_config *config) {
    hk_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return NULL;
    if (config) ctx->config = *config;
    ctx->step = 1;
    ctx->memory.merges = ctx->scratch.merges = true;
    ctx->objects.next = ctx->objects.previous = &ctx->objects;
    if (configure(ctx) == HK_OK) return ctx;
    /* A context in error still needs a pool, so that nothing else has to ask for one. */
    if (!ctx->pool) ctx->pool = hk__pool_create(1);
    if (ctx->pool) return ctx;
    free(ctx);
    return NULL;
}

void hk_context_destroy(hk_context *ctx) {
    if (!ctx) return;
    while (ctx->objects.previous != &ctx->objects) {
        hk__object *newest = ctx->objects.previous;
        hk__object_remove(newest);
        newest->destroy(newest);
    }
    while (ctx->kept) hk_tensor_destroy(ctx->kept);
    if (ctx->tape_free) ctx->tape_free(ctx->tape);
    hk__pool_destroy(ctx->pool);
    hk__arena_free(&ctx->memory);
    hk__arena_free(&ctx->scratch);
    for (int i = 0; i < HK_HEADER_RING; i++) hk__arena_free(&ctx->headers[i]);
    hk__steps_free(ctx);
    hk__arena_free(&ctx->gpu_memory);
    hk__arena_free(&ctx->gpu_scratch);
    if (HK_ON_GPU(ctx)) hk__gpu_close(ctx);
    free(ctx);
}

hk_context_info hk_context_describe(const hk_context *ctx) {
    if (!ctx) return (hk_context_info){.isa = "", .blas = ""};
    hk_context_info info = {.device = ctx->config.device,
                            .dtype = ctx->config.dtype,
                            .threads = hk__pool_threads(ctx->pool),
                            .seed = ctx->config.seed,
                            .isa = hk__stamp_name(ctx->stamp),
                            .blas = ctx->blas_text,
                            .has_blas = ctx->use_blas,
                            .step = ctx->step,
                            .replayed = ctx->replayed,
                            .step_bytes = ctx->memory.most};
    if (HK_ON_GPU(ctx)) {
        info.isa = hk__gpu_name(ctx);
        info.blas = hk__cublas_text(&info.has_blas);
        info.tf32 = ctx->config.tf32;
        info.step_bytes = ctx->gpu_memory.most;
    }
    return info;
}

hk_status hk_context_wait(hk_context *ctx) {
    if (!ctx) return HK_ERR_MEMORY;
    return HK_ON_GPU(ctx) ? hk__gpu_wait(ctx) : ctx->status;
}

/* --- steps ------------------------------------------------------------------------------------- */

/* All header arenas get room for the longest step so far, so that only a step longer than any before
   allocates. */
static void reserve_headers(hk_context *ctx) {
    size_t most = 0;
    for (int i = 0; i < HK_HEADER_RING; i++)
        if (ctx->headers[i].most > most) most = ctx->headers[i].most;
    for (int i = 0; i < HK_HEADER_RING; i++)
        if (!hk__arena_reserve(&ctx->headers[i], most))
            hk_fail(ctx, HK_ERR_MEMORY, "step_end", "no memory for tensor headers");
}

hk_status hk_step_end(hk_context *ctx) {
    if (!ctx) return HK_ERR_MEMORY;
    reserve_headers(ctx);
    if (ctx->tape_reset) ctx->tape_reset(ctx->tape);
    hk__arena_reset(&ctx->memory);
    hk__arena_reset(&ctx->scratch);
    hk__arena_reset(&ctx->gpu_memory);
    hk__arena_reset(&ctx->gpu_scratch);
    ctx->step++;
    if (ctx->stepped_backward) ctx->train_step++;
    ctx->stepped_backward = false;
    if (HK_ON_GPU(ctx)) {
        hk__gpu_cell_set(ctx, HK__CELL_TRAIN_STEP, (double)ctx->train_step);
        hk__gpu_step_end(ctx);
    }
    hk__arena_reset(&ctx->headers[ctx->step % HK_HEADER_RING]);
    return ctx->status;
}
