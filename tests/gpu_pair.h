/* gpu_pair.h: a CPU and a GPU side by side.
   SPDX-License-Identifier: MIT */
#ifndef GPU_PAIR_H
#define GPU_PAIR_H

#include "testing.h"

static hk_context *cpu, *gpu;

static inline int open_both(void **state) {
    (void)state;
    need_gpu();
    cpu = hk_context_create(&(hk_context_config){.threads = 1, .seed = 1});
    gpu = hk_context_create(&(hk_context_config){.device = HK_CUDA, .threads = 1, .seed = 1});
    assert_ok(cpu);
    assert_ok(gpu);
    return 0;
}
static inline int close_both(void **state) {
    (void)state;
    hk_context_destroy(cpu);
    hk_context_destroy(gpu);
    return 0;
}

/* Whether the CPU's kernels use a fused multiply-add, as a GPU's do: then floats have the same bits. */
static inline bool same_bits(void) { return cpu->stamp != HK__STAMP_base; }

/* Forgets all tensors of both. */
static inline void forget(void) {
    must(hk_step_end(cpu));
    must(hk_step_end(gpu));
    while (cpu->kept) hk_tensor_destroy(cpu->kept);
    while (gpu->kept) hk_tensor_destroy(gpu->kept);
}

#endif
