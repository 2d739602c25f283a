/* emulator_fixture.h: what the emulator's own tests share.
   SPDX-License-Identifier: MIT */
#ifndef HK_EMULATOR_FIXTURE_H
#define HK_EMULATOR_FIXTURE_H

#include "cuda_runtime.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) printf("line %d: not so: %s\n", __LINE__, #what), failures++;                 \
    } while (0)

static cudaStream_t stream;
extern __shared__ __align__(16) unsigned char hk__shared[];

template <class T> static T *on_device(int n) {
    void *p;
    if (cudaMalloc(&p, (size_t)n * sizeof(T)) != cudaSuccess) abort();
    return (T *)p;
}
template <class T> static inline void get(T *to, const T *from, int n) {
    cudaMemcpyAsync(to, from, (size_t)n * sizeof(T), cudaMemcpyDeviceToHost, stream);
    cudaStreamSynchronize(stream);
}
template <class... P, class... A>
static cudaError_t run(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... a) {
    void *arguments[] = {(void *)&a...};
    return cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}
/* The same with `cluster` blocks in each cluster. */
template <class... P, class... A>
static cudaError_t run_cluster(void (*kernel)(P...), unsigned cluster, dim3 grid, dim3 block,
                               size_t shared, A... a) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = cluster;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, a...);
}
/* The signal that ends a process in which `act` runs; 0 if it goes on. */
template <class Act> static int signal_of(Act act) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (!getenv("SHOW") && !freopen("/dev/null", "w", stderr)) _exit(1);
        act();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

#endif
