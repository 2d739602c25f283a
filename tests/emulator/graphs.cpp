/* graphs.cpp: captured steps.
   SPDX-License-Identifier: MIT */
#include "streams.h"

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    lock l(emulator_mutex);
    if (stream->capture) return result(cudaErrorStreamCaptureUnsupported);
    stream->capture = new emulated_graph();
    stream->capture->relaxed = mode == cudaStreamCaptureModeRelaxed;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    lock l(emulator_mutex);
    *graph = stream->capture;
    stream->capture = NULL;
    if (!*graph) return result(cudaErrorStreamCaptureUnsupported);
    if (!(*graph)->broken) return cudaSuccess;
    cudaGraphDestroy(*graph);
    *graph = NULL;
    return result(cudaErrorStreamCaptureInvalidated);
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus *status,
                                     unsigned long long *, cudaGraph_t *,
                                     const cudaGraphNode_t **last, const cudaGraphEdgeData **,
                                     size_t *n) {
    lock l(emulator_mutex);
    emulated_graph *graph = stream->capture;
    *status = graph ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    size_t i = graph ? graph->nodes.size() : 0;
    while (i > 0 && graph->nodes[i - 1]->hidden) i--;
    *n = i > 0;
    *last = i > 0 ? &graph->nodes[i - 1] : NULL;
    return cudaSuccess;
}

/* In no order that a program may rely on, as CUDA's. */
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
    const size_t room = nodes ? *n : 0;
    *n = 0;
    for (size_t i = graph->nodes.size(); i-- > 0;) {
        if (graph->nodes[i]->hidden) continue;
        if (*n < room) nodes[*n] = graph->nodes[i];
        ++*n;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type) {
    *type = node->type;
    return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams *params) {
    if (node->foreign) return result(cudaErrorInvalidDeviceFunction);
    launch *k = &node->kernel;
    *params = {(void *)k->function, k->grid, k->block, (unsigned)k->shared, NULL, NULL};
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = new emulated_exec();
    (*exec)->originals = graph->nodes;
    for (const emulated_node *node : graph->nodes) (*exec)->nodes.push_back(*node);
    return cudaSuccess;
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *params) {
    lock l(emulator_mutex);
    for (size_t i = 0; i < exec->nodes.size(); i++) {
        if (exec->originals[i] != node) continue;
        launch *k = &exec->nodes[i].kernel;
        if (k->function != params->func) return result(cudaErrorInvalidValue);
        k->grid = params->gridDim;
        k->block = params->blockDim;
        k->shared = params->sharedMemBytes;
        return keep_arguments(k, params->kernelParams) ? cudaSuccess
                                                       : result(cudaErrorIllegalAddress);
    }
    return result(cudaErrorInvalidValue);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    lock l(emulator_mutex);
    if (stuck() != cudaSuccess) return stuck();
    for (const emulated_node &node : exec->nodes) submit(stream, emulated_node(node));
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    if (!graph) return cudaErrorInvalidValue;
    for (emulated_node *node : graph->nodes) delete node;
    delete graph;
    return cudaSuccess;
}
