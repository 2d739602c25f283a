/* streams.h: what a stream does, and what of that is captured (emulator.cpp, graphs.cpp).
   SPDX-License-Identifier: MIT */
#ifndef HK_EMULATOR_STREAMS_H
#define HK_EMULATOR_STREAMS_H

#include "emulator.h"

#include <functional>

/* Something that a stream does: a kernel, or a function of the host. */
struct emulated_node {
    cudaGraphNodeType type;
    bool foreign; /* a library's: its parameters cannot be asked for */
    bool hidden;  /* nothing of the stream's: what an arena hands out and takes back (checks.h) */
    launch kernel;
    std::function<void()> work;
};
struct emulated_graph {
    std::vector<emulated_node *> nodes;
    bool relaxed,
        broken; /* while it is captured: calls that touch the device are allowed; one was not */
};
struct emulated_exec {
    std::vector<emulated_node *> originals;
    std::vector<emulated_node> nodes;
};
struct emulated_stream {
    emulated_graph *capture;
    std::vector<emulated_node> put_off;
};

/* Notes the error for cudaGetLastError. */
cudaError_t result(cudaError_t error);
/* Runs it, puts it off, or captures it. */
cudaError_t submit(cudaStream_t stream, emulated_node &&node);
/* Copies a kernel's arguments; false, with a word, where they hold an address of the host. */
bool keep_arguments(launch *k, void **arguments);

#endif
