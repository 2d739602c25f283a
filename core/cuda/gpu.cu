/* gpu.cu: opening a device, its memory, launches.
   SPDX-License-Identifier: MIT */
#include "launch.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cublas.h"

enum { STAGING = 1 << 20 }; /* bytes of pinned memory through which small writes go */

/* --- errors ----------------------------------------------------------------------------------------------------- */

static const char *op_of(const hk__gpu *gpu) { return gpu->op ? gpu->op : "gpu"; }

/* What a kernel did wrong shows at any call behind it, and then at every one: no call works any more. */
static const char *hint(const hk__gpu *gpu, cudaError_t error) {
    const bool a_kernels = error >= cudaErrorIllegalAddress && error <= cudaErrorLaunchFailure;
    return a_kernels && !gpu->sync ? "; a kernel before this failed: HILLOCK_CUDA_SYNC=1 names it"
                                   : "";
}

bool hk__gpu_ok(hk_context *ctx, cudaError_t error, const char *what) {
    if (error == cudaSuccess) return true;
    hk_fail(ctx, error == cudaErrorMemoryAllocation ? HK_ERR_MEMORY : HK_ERR_DEVICE,
            op_of(ctx->gpu), "%s: %s%s", what, cudaGetErrorString(error), hint(ctx->gpu, error));
    (void)cudaGetLastError(); /* one that does not stick is forgotten */
    return false;
}

const char *hk__gpu_in(hk_context *ctx, const char *op) {
    const char *before = ctx->gpu->op;
    ctx->gpu->op = op;
    return before;
}

static bool may_move(hk_context *ctx, const char *what) {
    if (ctx->status != HK_OK) return false;
    hk__gpu_eager(ctx, what);
    if (!ctx->gpu->capturing) return true;
    hk_fail(ctx, HK_ERR_STATE, op_of(ctx->gpu),
            "%s inside of a step that is being captured, where it was not before", what);
    return false;
}

hk_status hk__gpu_wait(hk_context *ctx) {
    if (!may_move(ctx, "the host waits") && ctx->gpu->capturing) return ctx->status;
    hk__gpu_ok(ctx, cudaStreamSynchronize(ctx->gpu->stream), "what was asked for went wrong");
    return ctx->status;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static hk_status no_device(hk_context *ctx, cudaError_t error) {
    const char *why = error == cudaSuccess ? "there is none" : cudaGetErrorString(error);
    if (error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary)
        why = "there is no NVIDIA driver, or it is older than this build's CUDA";
    (void)cudaGetLastError();
    return hk_fail(ctx, HK_ERR_DEVICE, "context", "no GPU can be used: %s; run on the CPU instead",
                   why);
}

static bool flag_set(const char *variable) {
    const char *text = getenv(variable);
    return text && *text && strcmp(text, "0") != 0;
}

/* Stands for all kernels of the build. */
static __global__ void any_kernel() {}

/* Whether this build has code for the GPU, and what it was written for. */
static hk_status find_code(hk_context *ctx, hk__gpu *gpu) {
    cudaFuncAttributes any;
    const cudaError_t error = cudaFuncGetAttributes(&any, (const void *)any_kernel);
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorUnsupportedPtxVersion) {
        (void)cudaGetLastError();
        return hk_fail(ctx, HK_ERR_DEVICE, "context",
                       "this build has no code for the GPU, %s: configure hillock with "
                       "-DCMAKE_CUDA_ARCHITECTURES=%d",
                       gpu->name, gpu->capability);
    }
    if (hk__gpu_ok(ctx, error, "cannot load code")) gpu->code = any.ptxVersion;
    return ctx->status;
}

static hk_status open_parts(hk_context *ctx, hk__gpu *gpu) {
    HK_TRY(find_code(ctx, gpu));
    if (!hk__gpu_ok(ctx, cudaStreamCreateWithFlags(&gpu->stream, cudaStreamNonBlocking),
                    "cannot make a stream") ||
        !hk__gpu_ok(ctx, cudaMalloc((void **)&gpu->device_cells, sizeof gpu->cells), "no memory") ||
        !hk__gpu_ok(ctx, cudaHostAlloc((void **)&gpu->flag, sizeof *gpu->flag, cudaHostAllocMapped),
                    "no pinned memory") ||
        !hk__gpu_ok(ctx, cudaHostAlloc(&gpu->staging, STAGING, cudaHostAllocDefault),
                    "no pinned memory"))
        return ctx->status;
    memset(gpu->flag, 0, sizeof *gpu->flag);
    gpu->cells_changed = true;
    gpu->cells_taken = HK__CELLS_OWN;
    const float one = 1;
    memcpy(&gpu->cells[HK__CELL_ONE + HK_F32], &one, sizeof one);
    gpu->cells[HK__CELL_ONE + HK_F64] = 1;
    return HK_OK;
}

hk_status hk__gpu_open(hk_context *ctx) {
    int devices = 0, device = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) return no_device(ctx, error);
    cudaDeviceProp p;
    cudaError_t status = cudaGetDevice(&device);
    if (status == cudaSuccess) status = cudaGetDeviceProperties(&p, device);
    if (status != cudaSuccess) return no_device(ctx, status);
    hk__gpu *gpu = (hk__gpu *)calloc(1, sizeof *gpu);
    if (!gpu) return hk_fail(ctx, HK_ERR_MEMORY, "context", "no memory");
    ctx->gpu = gpu;
    gpu->multiprocessors = p.multiProcessorCount;
    gpu->capability = 10 * p.major + p.minor;
    gpu->shared_most = p.sharedMemPerBlockOptin;
    gpu->sync = flag_set("HILLOCK_CUDA_SYNC");
    snprintf(gpu->name, sizeof gpu->name, "%.120s, sm_%d", p.name, gpu->capability);
    if (open_parts(ctx, gpu) != HK_OK) hk__gpu_close(ctx);
    return ctx->status;
}

void hk__gpu_close(hk_context *ctx) {
    hk__gpu *gpu = ctx->gpu;
    if (!gpu) return;
    if (gpu->stream) (void)cudaStreamSynchronize(gpu->stream);
    hk__gpu_free_late(ctx);
    hk__cublas_close(ctx);
    (void)cudaFree(gpu->device_cells);
    (void)cudaFreeHost(gpu->flag);
    (void)cudaFreeHost(gpu->staging);
    if (gpu->stream) (void)cudaStreamDestroy(gpu->stream);
    free(gpu);
    ctx->gpu = NULL;
}

/* --- memory ---------------------------------------------------------------------------------------------------------- */

void *hk__gpu_alloc(hk_context *ctx, size_t bytes, bool zero) {
    void *p = NULL;
    ctx->gpu->allocations++;
    const cudaError_t error = cudaMalloc(&p, bytes ? bytes : 1);
    if (error != cudaSuccess) {
        if (error != cudaErrorMemoryAllocation) hk__gpu_ok(ctx, error, "no memory can be had");
        (void)cudaGetLastError();
        return NULL;
    }
    if (zero) hk__gpu_zero(ctx, p, bytes);
    return p;
}

uint64_t hk__gpu_allocations(const hk_context *ctx) { return ctx->gpu->allocations; }

struct hk__late {
    struct hk__late *next;
    void *p;
};

/* A step that is being captured has still to run. */
static void free_later(hk__gpu *gpu, void *p) {
    struct hk__late *late = (struct hk__late *)malloc(sizeof *late);
    if (!late) return; /* lost until the process ends, which does no harm */
    late->p = p;
    late->next = gpu->late;
    gpu->late = late;
}

void hk__gpu_free(hk_context *ctx, void *p) {
    if (!p) return;
    if (ctx->gpu->capturing) {
        free_later(ctx->gpu, p);
        return;
    }
    hk__steps_forget(ctx); /* they may use it */
    (void)cudaStreamSynchronize(ctx->gpu->stream);
    (void)cudaFree(p);
}

void hk__gpu_free_late(hk_context *ctx) {
    hk__gpu *gpu = ctx->gpu;
    while (gpu->late) {
        struct hk__late *late = gpu->late;
        gpu->late = late->next;
        hk__gpu_free(ctx, late->p);
        free(late);
    }
}

void *hk__gpu_scratch(hk_context *ctx, size_t bytes) {
    void *p = hk__arena_alloc(&ctx->gpu_scratch, bytes);
    char text[96];
    if (!p)
        hk_fail(ctx, HK_ERR_MEMORY, op_of(ctx->gpu), "no memory for %zu bytes on the GPU: %s",
                bytes, hk__gpu_memory_text(ctx, text, sizeof text));
    return p;
}

const char *hk__gpu_memory_text(hk_context *ctx, char *buffer, size_t size) {
    size_t left = 0, all = 0;
    (void)ctx;
    if (cudaMemGetInfo(&left, &all) != cudaSuccess) (void)cudaGetLastError();
    snprintf(buffer, size, "%.1f of its %.1f GiB are free", (double)left / 0x1p30,
             (double)all / 0x1p30);
    return buffer;
}

/* --- between the memories ------------------------------------------------------------------------------------------- */

/* Through pinned memory, so that the caller's may change; when that is full, the host waits. */
void hk__gpu_write(hk_context *ctx, void *to, const void *from, size_t bytes) {
    hk__gpu *gpu = ctx->gpu;
    if (!may_move(ctx, "the host writes")) return;
    for (size_t done = 0; done < bytes;) {
        if (gpu->staging_used == STAGING) {
            if (hk__gpu_wait(ctx) != HK_OK) return;
            gpu->staging_used = 0;
        }
        const size_t left = STAGING - gpu->staging_used,
                     n = bytes - done < left ? bytes - done : left;
        char *place = (char *)gpu->staging + gpu->staging_used;
        memcpy(place, (const char *)from + done, n);
        if (!hk__gpu_ok(
                ctx,
                cudaMemcpyAsync((char *)to + done, place, n, cudaMemcpyHostToDevice, gpu->stream),
                "copy to the GPU"))
            return;
        gpu->staging_used += (n + 15) / 16 * 16 < left ? (n + 15) / 16 * 16 : left;
        done += n;
    }
}

void hk__gpu_read(hk_context *ctx, void *to, const void *from, size_t bytes) {
    if (!may_move(ctx, "the host reads")) return;
    if (bytes &&
        !hk__gpu_ok(ctx, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, ctx->gpu->stream),
                    "copy to the host"))
        return;
    if (hk__gpu_wait(ctx) == HK_OK) ctx->gpu->staging_used = 0;
}

void *hk__gpu_stream(const hk_context *ctx) { return ctx->gpu->stream; }
int hk__gpu_capability(const hk_context *ctx) { return ctx->gpu->capability; }
int hk__gpu_multiprocessors(const hk_context *ctx) { return ctx->gpu->multiprocessors; }
const char *hk__gpu_name(const hk_context *ctx) { return ctx->gpu->name; }
struct hk__cublas **hk__gpu_blas(hk_context *ctx) {
    return &ctx->gpu->blas;
}

static void note(hk__gpu *gpu, const void *bytes, size_t size) { /* FNV-1a, 8 bytes at a time */
    const unsigned char *b = (const unsigned char *)bytes;
    uint64_t h = gpu->hash;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = 0;
        memcpy(&word, b + i, size - i < 8 ? size - i : 8);
        h = (h ^ word) * 0x100000001B3u;
        h ^= h >> 29;
    }
    gpu->hash = h;
}

/* Something the device is given to do. */
static void note_launch(hk__gpu *gpu, const void *bytes, size_t size) {
    note(gpu, bytes, size);
    if (!gpu->capturing) gpu->launches++;
}

void hk__gpu_note(hk_context *ctx, const void *bytes, size_t size) {
    note_launch(ctx->gpu, bytes, size);
}

uint64_t hk__gpu_launch_count(const hk_context *ctx) { return ctx->gpu->launches; }

void hk__gpu_copy(hk_context *ctx, void *to, const void *from, size_t bytes) {
    if (ctx->status != HK_OK || bytes == 0) return;
    const void *what[] = {to, from, (void *)bytes};
    note_launch(ctx->gpu, what, sizeof what);
    hk__gpu_ok(ctx, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ctx->gpu->stream),
               "copy");
}

void hk__gpu_zero(hk_context *ctx, void *to, size_t bytes) {
    if (ctx->status != HK_OK || bytes == 0) return;
    const void *what[] = {to, (void *)bytes};
    note_launch(ctx->gpu, what, sizeof what);
    hk__gpu_ok(ctx, cudaMemsetAsync(to, 0, bytes, ctx->gpu->stream), "zeros");
}

/* --- launches --------------------------------------------------------------------------------------------------------- */

bool hk__launch_begin(hk_context *ctx, const char *kernel, const void *function, dim3 grid,
                      dim3 block, size_t shared) {
    (void)kernel;
    if (ctx->status != HK_OK) return false;
    if (ctx->gpu->sync) hk__gpu_eager(ctx, "HILLOCK_CUDA_SYNC looks at each launch");
    const uint64_t what[] = {(uint64_t)(uintptr_t)function, (uint64_t)grid.x << 32 | grid.y,
                             (uint64_t)grid.z << 32 | block.x, (uint64_t)block.y << 32 | block.z,
                             shared};
    note_launch(ctx->gpu, what, sizeof what);
    return true;
}

void hk__launch_argument(hk_context *ctx, const void *bytes, size_t size) {
    note(ctx->gpu, bytes, size);
}

void hk__launch_end(hk_context *ctx, const char *kernel, cudaError_t error) {
    if (error == cudaSuccess && ctx->gpu->sync && !ctx->gpu->capturing)
        error = cudaStreamSynchronize(ctx->gpu->stream);
    if (error == cudaSuccess) return;
    hk_fail(ctx, HK_ERR_DEVICE, op_of(ctx->gpu), "kernel %s: %s%s", kernel,
            cudaGetErrorString(error), hint(ctx->gpu, error));
    (void)cudaGetLastError();
}
