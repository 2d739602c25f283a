/* steps.cu: cells, flags, captured steps.
   SPDX-License-Identifier: MIT */
#include "launch.cuh"

#include <stdlib.h>
#include <string.h>

/* --- cells -------------------------------------------------------------------------------------------------------------- */

struct cells {
    double value[HK__GPU_CELLS];
};

static __global__ void set_cells(double *to, cells from) { to[threadIdx.x] = from.value[threadIdx.x]; }

cudaError_t hk__gpu_attributes(cudaFuncAttributes *attributes) {
    return cudaFuncGetAttributes(attributes, (const void *)set_cells);
}

int hk__gpu_cells_take(hk_context *ctx, int n) {
    hk__gpu *gpu = ctx->gpu;
    if (gpu->cells_taken + n > HK__GPU_CELLS) {
        hk_fail(ctx, HK_ERR_MEMORY, "gpu", "more optimizers, groups and loaders than the %d cells are for", HK__GPU_CELLS);
        return -1;
    }
    gpu->cells_taken += n;
    return gpu->cells_taken - n;
}

void hk__gpu_cells_give(hk_context *ctx, int first, int n) {
    if (ctx->gpu && first + n == ctx->gpu->cells_taken) ctx->gpu->cells_taken = first;
}

void hk__gpu_cell_set(hk_context *ctx, int cell, double value) {
    hk__gpu *gpu = ctx->gpu;
    if (memcmp(&gpu->cells[cell], &value, sizeof value) == 0) return;
    gpu->cells[cell] = value;
    gpu->cells_changed = true;
}

/* Keeps the node that set the cells, behind which a captured step goes on. */
static void note_setter(hk_context *ctx) {
    hk__gpu *gpu = ctx->gpu;
    cudaStreamCaptureStatus status;
    const cudaGraphNode_t *last = NULL;
    size_t n = 0;
    if (!gpu->capturing || ctx->status != HK_OK) return;
    gpu->setters++;
    if (hk__gpu_ok(ctx, cudaStreamGetCaptureInfo(gpu->stream, &status, NULL, NULL, &last, NULL, &n), "capture") && n == 1)
        gpu->setter = last[0];
}

const double *hk__gpu_cells(hk_context *ctx) {
    hk__gpu *gpu = ctx->gpu;
    if (gpu->cells_changed && ctx->status == HK_OK) {
        cells now;
        memcpy(now.value, gpu->cells, sizeof now.value);
        const uint64_t hash = gpu->hash; /* what the cells hold is no part of what a step is */
        HK_LAUNCH(ctx, 1, HK__GPU_CELLS, 0, set_cells, gpu->device_cells, now);
        gpu->hash = hash;
        gpu->cells_changed = false;
        note_setter(ctx);
    }
    return gpu->device_cells;
}

void *hk__gpu_one(hk_context *ctx, hk_dtype dtype) {
    return (void *)(hk__gpu_cells(ctx) + HK__CELL_ONE + dtype);
}

/* --- steps ------------------------------------------------------------------------------------------------------------- */

hk__gpu_flag *hk__gpu_flag_of(hk_context *ctx) { return ctx->gpu->flag; }

void hk__gpu_step_end(hk_context *ctx) {
    hk__gpu *gpu = ctx->gpu;
    hk__gpu_flag *flag = gpu->flag;
    hk__gpu_eager(ctx, "a step ends in it");
    if (gpu->capturing) return;
    hk__gpu_free_late(ctx);
    if (*(volatile uint64_t *)&flag->packed == 0) return;
    (void)cudaStreamSynchronize(gpu->stream); /* nobody writes while it is read and taken back */
    const hk__gpu_flag found = *flag;
    flag->packed = 0;
    if (found.what == HK__FLAG_OBJECT) {
        for (hk__object *o = ctx->objects.next; o != &ctx->objects; o = o->next)
            if (o->report && o->key == found.limit) o->report(o);
        return;
    }
    const bool label = found.what == HK__FLAG_LABEL;
    hk_fail(ctx, HK_ERR_ARGUMENT, label ? "cross_entropy" : "gather_rows", "%s %d at position %lld is outside of 0 to %lld",
            label ? "label" : "index", (int)(uint32_t)found.packed, (long long)(found.packed >> 32 & 0x7fffffff),
            (long long)found.limit - 1);
}

void hk__gpu_eager(hk_context *ctx, const char *why) {
    if (!ctx->gpu->why_eager) ctx->gpu->why_eager = why;
}
const char *hk__gpu_why_eager(const hk_context *ctx) { return ctx->gpu->why_eager; }

uint64_t hk__gpu_launches(hk_context *ctx) {
    const uint64_t hash = ctx->gpu->hash;
    ctx->gpu->hash = 0xCBF29CE484222325u;
    ctx->gpu->why_eager = NULL;
    return hash;
}

struct hk__gpu_graph {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t setter; /* of the cells; NULL if the step reads none */
    bool repeats;
    size_t nodes;
};

hk_status hk__gpu_capture_begin(hk_context *ctx) {
    hk__gpu *gpu = ctx->gpu;
    gpu->cells_changed = true; /* its first node */
    gpu->setter = NULL;
    gpu->setters = 0;
    gpu->capturing = hk__gpu_ok(ctx, cudaStreamBeginCapture(gpu->stream, cudaStreamCaptureModeRelaxed), "capture");
    return ctx->status;
}

/* It runs with the cells as they were set inside of it. */
hk__gpu_graph *hk__gpu_capture_end(hk_context *ctx) {
    hk__gpu *gpu = ctx->gpu;
    hk__gpu_graph *g = (hk__gpu_graph *)calloc(1, sizeof *g);
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamEndCapture(gpu->stream, &graph);
    gpu->capturing = false;
    if (!g) {
        if (graph) (void)cudaGraphDestroy(graph);
        hk_fail(ctx, HK_ERR_MEMORY, "step", "no memory");
        return NULL;
    }
    g->graph = graph;
    g->setter = gpu->setter;
    g->repeats = gpu->setters == 0 || (gpu->setters == 1 && gpu->setter);
    if (error == cudaSuccess && ctx->status == HK_OK) error = cudaGraphInstantiate(&g->exec, g->graph, 0);
    if (error == cudaSuccess && ctx->status == HK_OK) error = cudaGraphGetNodes(g->graph, NULL, &g->nodes);
    if (error == cudaSuccess && ctx->status == HK_OK) error = cudaGraphLaunch(g->exec, gpu->stream);
    gpu->launches += g->nodes;
    if (hk__gpu_ok(ctx, error, "capture") && ctx->status == HK_OK) return g;
    hk__gpu_graph_free(g);
    return NULL;
}

bool hk__gpu_graph_repeats(const hk__gpu_graph *g) { return g->repeats; }

void hk__gpu_graph_run(hk_context *ctx, hk__gpu_graph *g) {
    hk__gpu *gpu = ctx->gpu;
    if (ctx->status != HK_OK) return;
    if (g->setter) {
        cells now;
        memcpy(now.value, gpu->cells, sizeof now.value);
        void *arguments[] = {(void *)&gpu->device_cells, &now};
        cudaKernelNodeParams params;
        memset((void *)&params, 0, sizeof params);
        params.func = (void *)set_cells;
        params.gridDim = dim3(1);
        params.blockDim = dim3(HK__GPU_CELLS);
        params.kernelParams = arguments;
        if (!hk__gpu_ok(ctx, cudaGraphExecKernelNodeSetParams(g->exec, g->setter, &params), "replay")) return;
        gpu->cells_changed = false;
    }
    gpu->launches += g->nodes;
    hk__gpu_ok(ctx, cudaGraphLaunch(g->exec, gpu->stream), "replay");
}

void hk__gpu_graph_free(hk__gpu_graph *g) {
    if (!g) return;
    if (g->exec) (void)cudaGraphExecDestroy(g->exec);
    if (g->graph) (void)cudaGraphDestroy(g->graph);
    free(g);
}
