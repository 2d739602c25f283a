/* gpu.h: a context's GPU, as C sees it: memory, copies, and what a step is told.
   SPDX-License-Identifier: MIT

   All work of a context goes to one stream, in the order of the calls. So memory may be handed out again while kernels
   that use it are still under way: what comes next waits for them. Only hk__gpu_read and hk__gpu_wait make the
   host wait.

   Where a driver of the CPU begins, the GPU's takes over: `if (HK_ON_GPU(ctx)) return hk__..._gpu(...)`. In a build
   without CUDA the condition is 0, and so nothing of what stands behind it is linked. (A static function that calls the
   GPU says it again in its first line, since compilers keep static functions where they do not optimise.) */
#ifndef HK_GPU_H
#define HK_GPU_H

#include "context.h"

HK_BEGIN_DECLS

#define HK_ON_GPU(ctx) (HK_WITH_CUDA && (ctx)->gpu != NULL)

/* Opens the device for ctx. HK_ERR_DEVICE, sticky, with the reason if there is none. */
hk_status hk__gpu_open(hk_context *ctx);
void hk__gpu_close(hk_context *ctx);

/* Memory of its own: NULL, and the caller says for what, when it is exhausted. zero: all bytes 0. */
void *hk__gpu_alloc(hk_context *ctx, size_t bytes, bool zero);
void hk__gpu_free(hk_context *ctx, void *p);
/* How often the device was asked for memory: not in steady steps (tests count). */
uint64_t hk__gpu_allocations(const hk_context *ctx);
/* Kernels, copies and fills that it was given so far; a call of cuBLAS counts as one, and a replayed step as many as its
   graph has nodes (tests count). */
uint64_t hk__gpu_launch_count(const hk_context *ctx);
/* Memory for one call; bracket with hk__arena_mark/rewind of ctx->gpu_scratch. NULL with the sticky error. */
void *hk__gpu_scratch(hk_context *ctx, size_t bytes);
/* "9.8 GiB are taken, 1.2 GiB free" for messages. */
const char *hk__gpu_memory_text(hk_context *ctx, char *buffer, size_t size);

/* Between the memories. write: `from` may change at once. read: waits. All report errors as sticky ones. */
void hk__gpu_write(hk_context *ctx, void *to, const void *from, size_t bytes);
void hk__gpu_read(hk_context *ctx, void *to, const void *from, size_t bytes);
void hk__gpu_copy(hk_context *ctx, void *to, const void *from, size_t bytes);
void hk__gpu_zero(hk_context *ctx, void *to, size_t bytes);
/* Waits for all that was asked for, and reports what went wrong. */
hk_status hk__gpu_wait(hk_context *ctx);

/* The name of what runs from now on, for messages; NULL between ops. The one before comes back, to be given again after. */
const char *hk__gpu_in(hk_context *ctx, const char *op);

/* For calls of libraries: the stream (a cudaStream_t), what the device is, and the place of cuBLAS (cublas.c). note: such a
   call is hashed as a launch is; bytes: its function and arguments. */
void *hk__gpu_stream(const hk_context *ctx);
int hk__gpu_capability(const hk_context *ctx); /* 90 for sm_90 */
int hk__gpu_multiprocessors(const hk_context *ctx);
const char *hk__gpu_name(const hk_context *ctx); /* "NVIDIA H100 80GB HBM3, sm_90" */
struct hk__cublas **hk__gpu_blas(hk_context *ctx);
void hk__gpu_note(hk_context *ctx, const void *bytes, size_t size);

/* --- cells: numbers that change from step to step ---------------------------------------------------------------

   A captured step repeats its launches with the same arguments. What differs (rate, step, place in the data set) lies in
   cells, in the device's memory, and kernels read it there. The host sets them; the first launch of a step that
   reads any brings all of them over, as its argument. */
enum {
    HK__GPU_CELLS = 64,
    HK__CELL_TRAIN_STEP = 0,
    HK__CELL_ONE = 1, /* as a float and as a double */
    HK__CELLS_OWN = 3 /* others are taken behind them */
};
/* The number of the first of n cells, for good; -1 and a sticky error if there are no more. They are given back in
   reverse order or not at all. */
int hk__gpu_cells_take(hk_context *ctx, int n);
void hk__gpu_cells_give(hk_context *ctx, int first, int n);
void hk__gpu_cell_set(hk_context *ctx, int cell, double value);
/* Where they lie on the device, brought up to date. */
const double *hk__gpu_cells(hk_context *ctx);
/* A 1 of f32 or f64 among them, which costs no launch of its own; nobody writes to it. */
void *hk__gpu_one(hk_context *ctx, hk_dtype dtype);

/* --- a bad label or index ----------------------------------------------------------------------------------------

   Found by a kernel, which goes on with 0 in its place, and reported at the end of a step: of the first that ends when the
   kernel has run, since nobody waits for it. Of several, which one is told is not decided. An object's kernel may flag
   the object itself, whose `report` then tells what is wrong: its key goes in place of the limit. What a kernel is
   handed: */
typedef struct hk__gpu_flag {
    uint64_t packed; /* 0: none; else 1 << 63 | place << 32 | value */
    int64_t limit;
    int32_t what; /* an hk__flagged */
    int32_t unused;
} hk__gpu_flag;
typedef enum hk__flagged { HK__FLAG_LABEL, HK__FLAG_INDEX, HK__FLAG_OBJECT } hk__flagged;
hk__gpu_flag *hk__gpu_flag_of(hk_context *ctx);

/* --- steps (replay.c) ------------------------------------------------------------------------------------------ */

/* What stands behind hk_step_run, hk_step_why and hk__steps_forget. */
hk_status hk__gpu_step(hk_context *ctx, hk_step_fn *fn, void *arg);
const char *hk__gpu_step_why(const hk_context *ctx);
void hk__gpu_steps_forget(hk_context *ctx);
/* Runs fn; its failure becomes the context's error (step.c). */
void hk__step_call(hk_context *ctx, hk_step_fn *fn, void *arg);

/* At the end of each step: looks at the flag, and gives back what waited for a captured step. */
void hk__gpu_step_end(hk_context *ctx);
/* Something in this step cannot be replayed: a hook, the NaN guard, a read-back. `why` is for messages. */
void hk__gpu_eager(hk_context *ctx, const char *why);
const char *
hk__gpu_why_eager(const hk_context *ctx); /* of the last step; NULL: it could be replayed */
/* A number for all launches since the last call, with their arguments: equal steps have equal ones. */
uint64_t hk__gpu_launches(hk_context *ctx);
/* Capture: launches are noted and not run. end: runs what was captured. NULL with the sticky error, and nothing ran. */
typedef struct hk__gpu_graph hk__gpu_graph;
hk_status hk__gpu_capture_begin(hk_context *ctx);
hk__gpu_graph *hk__gpu_capture_end(hk_context *ctx);
/* Whether it may run again: it set the cells once, before all else that reads them. */
bool hk__gpu_graph_repeats(const hk__gpu_graph *graph);
/* Runs it with the cells as they are now. */
void hk__gpu_graph_run(hk_context *ctx, hk__gpu_graph *graph);
void hk__gpu_graph_free(hk__gpu_graph *graph);

HK_END_DECLS
#endif
