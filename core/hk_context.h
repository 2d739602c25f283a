/* hk_context.h: the one owner of everything: errors, threads, memory of the current step, random seed.
   SPDX-License-Identifier: MIT */
#ifndef HK_CONTEXT_H
#define HK_CONTEXT_H

#include "hk_base.h"

HK_BEGIN_DECLS

/* There are no globals. A context is used by one thread at a time; two contexts never meet. */
typedef struct hk_context hk_context;

/* {0} means every default. */
typedef struct hk_context_config {
    hk_device device; /* HK_CPU */
    hk_dtype dtype;   /* type of parameters and batches: HK_F32, or HK_F64 for reference runs */
    int threads;      /* 0: one for each core this process may use, at most 16 */
    uint64_t seed;    /* of every random draw: same seed, same bits, on any number of threads */
    const char *isa;  /* "base", "avx2" or "avx512"; NULL: $HILLOCK_ISA, else the best there is */
    bool no_blas;     /* true: own kernels only. $HILLOCK_BLAS=off does the same */
    bool no_graph;    /* GPU: true: hk_step_run runs each step's function itself */
    bool
        tf32; /* GPU: products of f32 matrices may round what they multiply to 10 bits. $HILLOCK_TF32=1 */
} hk_context_config;

/* Never fails silently: returns NULL only when memory is exhausted. If what was asked for cannot be
   had (CUDA in a build without it, an unknown instruction set), the context comes back in error:
   hk_error says so, and everything done with it does nothing. config may be NULL. Owned by the
   caller, who calls hk_context_destroy; that also destroys every tensor, module, optimizer, data set
   and loader made with it. NULL is allowed. */
HK_API hk_context *hk_context_create(const hk_context_config *config);
HK_API void hk_context_destroy(hk_context *ctx);

/* What runs. Strings live as long as the context. */
typedef struct hk_context_info {
    hk_device device;
    hk_dtype dtype;
    int threads;
    uint64_t seed;
    const char *isa;  /* "avx512"; on a GPU its name: "NVIDIA H100, sm_90" */
    const char *blas; /* "OpenBLAS 0.3.21 SkylakeX", or why there is none; on a GPU "cuBLAS 13.0" */
    bool has_blas;
    bool tf32;
    uint64_t step;     /* number of the current step, from 1 */
    uint64_t replayed; /* GPU: steps that hk_step_run replayed */
    size_t step_bytes; /* most memory a step has needed so far */
} hk_context_info;
HK_API hk_context_info hk_context_describe(const hk_context *ctx);

/* Errors are sticky: the first one is kept until hk_error_clear, and every operation returns NULL (or
   that status) and does nothing until then, so one check a step is enough. The message is one line:
   "[matmul] inner sizes differ: x (64, 784) times 0.weight (512, 256)". */
HK_API hk_status hk_error(const hk_context *ctx); /* HK_OK if none; HK_ERR_MEMORY if ctx is NULL */
HK_API const char *hk_error_message(const hk_context *ctx); /* never NULL; "" if none */
HK_API void hk_error_clear(hk_context *ctx);

/* Sets the sticky error, unless one is set, and returns the status of the first; for user-defined
   modules, operations and data sets. printf-like. `where` is a word such as "matmul". */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 4, 5)))
#endif
HK_API hk_status
hk_fail(hk_context *ctx, hk_status status, const char *where, const char *format, ...);

/* On a GPU operations are asked for, and done later: this waits for all of them, to take the time for example. What
   went wrong in them is the sticky error. On the CPU it does nothing. Returns the sticky status. */
HK_API HK_WARN_UNUSED hk_status hk_context_wait(hk_context *ctx);

/* Ends the step: every step-owned tensor is gone, its memory is kept for the next one. Call it after
   each training step and after each batch of an evaluation, also after an error. Returns the sticky
   status. */
HK_API HK_WARN_UNUSED hk_status hk_step_end(hk_context *ctx);

/* Runs a whole step and ends it: fn takes the next batch, computes, differentiates and updates, and leaves hk_step_end to
   this. On the CPU that is all. On a GPU the launches of a step cost more time than the work of a small network, so
   after two steps that launched the same, with equal arguments, the next one is captured, and from then on replayed
   as a whole: fn is not called then. What changes from step to step all the same (the batch, the rate, Adam's
   corrections, random draws) is taken care of. So fn must do the same each time, but for that, and leave counting to
   its caller. A step is not replayed if it calls hooks, is under the NaN guard, reads or writes tensors from the
   host, waits for the GPU, ends a step itself, or if its batch has another size; hk_step_why says so. fn's status,
   if it is not HK_OK, is the sticky error of the context. Returns the sticky status. */
typedef hk_status hk_step_fn(hk_context *ctx, void *arg);
HK_API HK_WARN_UNUSED hk_status hk_step_run(hk_context *ctx, hk_step_fn *fn, void *arg);
/* Why the last step of hk_step_run was not replayed, in some words; NULL if it was. */
HK_API const char *hk_step_why(const hk_context *ctx);

HK_END_DECLS
#endif
