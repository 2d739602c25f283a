/* emulator.cpp: runs GPU code on the CPU, to find what is wrong in it where there is no GPU.
   SPDX-License-Identifier: MIT

   It is strict where a GPU is not: memory of the device is out of the host's reach but while a kernel runs, fresh memory
   holds NaN, a write behind an allocation or behind shared memory ends the program, and so does a barrier that
   not all threads come to; addresses of the host among a kernel's arguments are an error.
     HILLOCK_EMULATED_ORDER=reverse or shuffled   of blocks and threads, so that what needs a barrier and has none shows
     HILLOCK_EMULATED_LATE=1                      work is put off until the host waits for it, as on a busy GPU
     HILLOCK_EMULATED_FAULTS=1                    a read behind an allocation ends the program, too; slower
     HILLOCK_EMULATED_MEMORY=BYTES                of the device; 4 GiB if not given
     HILLOCK_EMULATED_CAPABILITY=80               what it says it is; 90 if not given
     HILLOCK_EMULATED_CODE=80                     what its code was written for; as the device if not given
     HILLOCK_EMULATED_BROKEN=1                    the next kernel goes wrong, and with it all calls while this is set
   HILLOCK_EMULATED_CHECKS=ON, of CMake, makes it stricter still: see checks.cpp. */
#include "checks.h"
#include "streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <map>
#include <set>

std::recursive_mutex emulator_mutex;

/* --- streams ---------------------------------------------------------------------------------------------------------- */

struct emulated_event {
    timespec at;
};

static cudaError_t last_error;
cudaError_t result(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

namespace {

std::set<emulated_stream *> streams;
std::map<const void *, size_t> shared_of;

bool is_stuck;

/* What GPUs differ in, from a capability on. Bytes of shared memory: of a block, of a multiprocessor. */
struct {
    int capability, threads;
    size_t block_most, shared;
} const kinds[] = {{75, 1024, 64 << 10, 64 << 10},   {80, 2048, 163 << 10, 164 << 10},
                   {86, 1536, 99 << 10, 100 << 10},  {90, 2048, 227 << 10, 228 << 10},
                   {120, 1536, 99 << 10, 100 << 10}, {1 << 30, 0, 0, 0}};

int capability() {
    const char *text = getenv("HILLOCK_EMULATED_CAPABILITY");
    return text ? atoi(text) : 90;
}
int kind() {
    int i = 0;
    while (kinds[i + 1].capability <= capability()) i++;
    return i;
}
size_t block_most() { return kinds[kind()].block_most; }

/* What a capture does not allow; it is of no use then. */
cudaError_t refuse(emulated_graph *capture) {
    capture->broken = true;
    return result(cudaErrorStreamCaptureUnsupported);
}
emulated_graph *any_capture(bool relaxed) {
    for (emulated_stream *stream : streams)
        if (stream->capture && (relaxed || !stream->capture->relaxed)) return stream->capture;
    return NULL;
}

void run(const emulated_node &node) {
    if (node.hidden) {
        node.work();
    } else if (node.work) {
        open_memory();
        checks_begin(NULL);
        node.work();
        checks_end();
        shut_memory();
    } else {
        run_kernel(&node.kernel);
    }
}

void catch_up(emulated_stream *stream) {
    for (const emulated_node &node : stream->put_off) run(node);
    stream->put_off.clear();
}

emulated_node host_node(cudaGraphNodeType type, std::function<void()> work) {
    return {type, false, false, {}, work};
}

} /* namespace */

cudaError_t submit(cudaStream_t stream, emulated_node &&node) {
    static const bool late = set_to("HILLOCK_EMULATED_LATE", "1");
    if (stream->capture && stream->capture->broken)
        return result(cudaErrorStreamCaptureInvalidated);
    if (stream->capture)
        stream->capture->nodes.push_back(new emulated_node(node));
    else if (late)
        stream->put_off.push_back(node);
    else
        run(node);
    return cudaSuccess;
}

bool keep_arguments(launch *k, void **arguments) {
    size_t place = 0;
    k->places.clear();
    for (size_t size : k->sizes) {
        k->places.push_back(place);
        place += round_up(size, sizeof(launch::chunk));
    }
    k->values.assign(place / sizeof(launch::chunk), {});
    for (size_t i = 0; i < k->sizes.size(); i++) {
        memcpy((char *)k->values.data() + k->places[i], arguments[i], k->sizes[i]);
        for (size_t at = 0; at + 8 <= k->sizes[i]; at += 8) {
            uint64_t word;
            memcpy(&word, (char *)arguments[i] + at, sizeof word);
            if (!is_host(word)) continue;
            fprintf(stderr,
                    "emulator: byte %zu of a kernel's argument %zu begins an address of the "
                    "host's: %#llx\n",
                    at, i, (unsigned long long)word);
            return false;
        }
    }
    return true;
}

cudaError_t stuck() {
    is_stuck = is_stuck && set_to("HILLOCK_EMULATED_BROKEN", "1"); /* else as a process anew */
    return is_stuck ? result(cudaErrorIllegalAddress) : cudaSuccess;
}

cudaError_t emulated_launch(const emulated_kernel *kernel, dim3 grid, dim3 block, void **arguments,
                            size_t shared, cudaStream_t stream) {
    lock l(emulator_mutex);
    if (stuck() != cudaSuccess) return stuck();
    is_stuck = set_to("HILLOCK_EMULATED_BROKEN", "1");
    if (is_stuck) return cudaSuccess; /* it shows later */
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (threads == 0 || threads > MOST_THREADS || block.z > 64 || grid.x == 0 ||
        grid.x > 0x7fffffff || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535)
        return result(cudaErrorInvalidConfiguration);
    if (kernel->cluster > 1 && (capability() < 90 || kernel->cluster > MOST_CLUSTER ||
                                grid.x % kernel->cluster != 0 || grid.y != 1 || grid.z != 1))
        return result(cudaErrorInvalidValue);
    const auto allowed = shared_of.find(kernel->function);
    cudaFuncAttributes code;
    if (kernel->cluster > 1 && cudaFuncGetAttributes(&code, kernel->function) == cudaSuccess &&
        code.ptxVersion < 90)
        fail("clusters, of code that was written for a GPU that has none");
    const size_t most = allowed == shared_of.end() ? 48 << 10 : allowed->second;
    if (shared > most) return result(cudaErrorInvalidValue);
    emulated_node node = {cudaGraphNodeTypeKernel, false, false, {}, nullptr};
    node.kernel.function = kernel->function;
    node.kernel.call = kernel->call;
    node.kernel.grid = grid;
    node.kernel.block = block;
    node.kernel.shared = shared;
    node.kernel.static_room = allowed == shared_of.end() ? most - shared : block_most() - most;
    node.kernel.flush = kernel->flush;
    node.kernel.cluster = kernel->cluster;
    node.kernel.sizes.assign(kernel->sizes, kernel->sizes + kernel->arguments);
    if (!keep_arguments(&node.kernel, arguments)) return result(cudaErrorIllegalAddress);
    return submit(stream, std::move(node));
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *) {
    memset(a, 0, sizeof *a);
    const char *code = getenv("HILLOCK_EMULATED_CODE");
    cudaDeviceProp p;
    cudaGetDeviceProperties(&p, 0);
    a->binaryVersion = 10 * p.major + p.minor;
    a->ptxVersion = code ? atoi(code) : a->binaryVersion;
    if (a->ptxVersion > a->binaryVersion) return result(cudaErrorNoKernelImageForDevice);
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int value) {
    lock l(emulator_mutex);
    if (value < 0 || (size_t)value > block_most()) return result(cudaErrorInvalidValue);
    shared_of[function] = (size_t)value;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int *n, const void *, const cudaLaunchConfig_t *) {
    *n = 2;
    return cudaSuccess;
}

cudaError_t emulated_submit(cudaStream_t stream, void (*function)(const void *),
                            const void *argument, size_t size) {
    lock l(emulator_mutex);
    const std::vector<char> kept((const char *)argument, (const char *)argument + size);
    emulated_node node = host_node(cudaGraphNodeTypeKernel, [=] { function(kept.data()); });
    node.foreign = true;
    return submit(stream, std::move(node));
}

#if HK_EMULATED_CHECKS
/* An arena hands out memory of the device, or takes it back: in its place among a captured step's work. */
extern "C" void emulated_memory(const void *p, size_t bytes, int live) {
    lock l(emulator_mutex);
    emulated_node node = host_node(cudaGraphNodeTypeMemset, [=] { checks_memory(p, bytes, live); });
    node.hidden = true;
    emulated_graph *capture = any_capture(true);
    if (capture) {
        capture->nodes.push_back(new emulated_node(node));
    } else {
        finish_all();
        run(node);
    }
}
#endif

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
    lock l(emulator_mutex);
    if (stuck() != cudaSuccess) return stuck();
    if (width == 0 || height == 0) return cudaSuccess;
    const bool into = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool out_of = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (lies_on_device(to, (height - 1) * to_pitch + width) != into ||
        lies_on_device(from, (height - 1) * from_pitch + width) != out_of)
        return result(cudaErrorInvalidValue);
    const auto copy = [=](const void *source) {
        for (size_t i = 0; i < height; i++) {
            char *there = (char *)to + i * to_pitch;
            const char *here = (const char *)source + i * from_pitch;
            memcpy(there, here, width);
            if (into && out_of)
                checks_copied(there, here, width);
            else if (into)
                checks_written(there, width);
            else if (out_of)
                checks_read(here, width);
        }
    };
    if (stream->capture && !(into && out_of) && !is_pinned(into ? from : to, width))
        return refuse(stream->capture); /* a GPU would copy what lies there then */
    /* From memory that is not pinned, the bytes are taken at once. */
    if (!out_of && !is_pinned(from, width)) {
        const std::vector<char> taken((const char *)from,
                                      (const char *)from + (height - 1) * from_pitch + width);
        return submit(stream, host_node(cudaGraphNodeTypeMemcpy, [=] { copy(taken.data()); }));
    }
    return submit(stream, host_node(cudaGraphNodeTypeMemcpy, [=] { copy(from); }));
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream) {
    lock l(emulator_mutex);
    if (stuck() != cudaSuccess) return stuck();
    if (!lies_on_device(to, bytes)) return result(cudaErrorInvalidValue);
    return submit(stream, host_node(cudaGraphNodeTypeMemset, [=] {
                      memset(to, byte, bytes);
                      checks_written(to, bytes);
                  }));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    lock l(emulator_mutex);
    if (stuck() != cudaSuccess) return stuck();
    *stream = new emulated_stream();
    streams.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    lock l(emulator_mutex);
    if (stuck() != cudaSuccess) return stuck();
    if (stream->capture) return refuse(stream->capture);
    catch_up(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    lock l(emulator_mutex);
    catch_up(stream);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
    lock l(emulator_mutex);
    if (emulated_graph *capture = any_capture(true)) return refuse(capture);
    finish_all();
    return cudaSuccess;
}

void finish_all() {
    for (emulated_stream *stream : streams) catch_up(stream);
}
cudaError_t may_touch_device() {
    emulated_graph *capture = any_capture(false);
    return capture ? refuse(capture) : cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = new emulated_event();
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    lock l(emulator_mutex);
    return submit(stream, host_node(cudaGraphNodeTypeMemset,
                                    [=] { clock_gettime(CLOCK_MONOTONIC, &event->at); }));
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaDeviceSynchronize(); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    *milliseconds = 1e3f * (float)(to->at.tv_sec - from->at.tv_sec) +
                    1e-6f * (float)(to->at.tv_nsec - from->at.tv_nsec);
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

/* --- the device -------------------------------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *number) {
    *number = 0;
    return cudaSuccess;
}

/* Few multiprocessors, so that loops over more blocks than fit come about with small tensors. */
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "emulated");
    const int i = kind();
    p->major = capability() / 10;
    p->minor = capability() % 10;
    p->multiProcessorCount = 4;
    p->maxThreadsPerMultiProcessor = kinds[i].threads;
    p->l2CacheSize = 1 << 20;
    p->totalGlobalMem = memory_size();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = kinds[i].block_most;
    p->sharedMemPerMultiprocessor = kinds[i].shared;
    return cudaSuccess;
}

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidDeviceFunction: return "invalid device function";
    case cudaErrorNoKernelImageForDevice:
        return "no kernel image is available for execution on the device";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
        return "operation failed due to a previous error during capture";
    default: return "unknown error";
    }
}
