/* stamp.h: one kernel source, compiled once per instruction set ("stamp").

   CMake compiles each stamped source with HK_STAMP set to base, avx2, avx512 or f64 and the matching
   -m flags. A stamped source defines its functions `static` and exports one constant table named
   HK_STAMPED(hk__<tables>); a plain source next to it lists the tables by hk__stamp index, and a
   context knows which index it runs (hk__stamp_of in context.h).

   base, avx2 and avx512 compute in float; f64 compiles the same source for double, with libm instead
   of polynomials: it is the reference that the fast kernels are tested against.

   A build with CUDA has two more: *_kernels.cu is compiled once for float ("cuda") and once for double ("cuda64").
   SPDX-License-Identifier: MIT */
#ifndef HK_STAMP_H
#define HK_STAMP_H

typedef enum hk__stamp {
    HK__STAMP_base = 0, /* x86-64 SSE2, or whatever the target's baseline is (NEON on AArch64) */
    HK__STAMP_avx2 = 1, /* AVX2 and FMA */
    HK__STAMP_avx512 = 2,
    HK__STAMP_f64 = 3,
    HK__STAMPS = 4, /* of the CPU */
    HK__STAMP_cuda = 4,
    HK__STAMP_cuda64 = 5,
    HK__ALL_STAMPS = 6
} hk__stamp;

#if defined(__x86_64__) && !defined(HILLOCK_NO_SIMD)
#define HK_X86_STAMPS 1 /* avx2 and avx512 objects exist; elsewhere base takes their place */
#else
#define HK_X86_STAMPS 0
#endif

/* Marks a function that kernels of CPU and GPU share. */
#ifdef __CUDACC__
#define HK_HOST_DEVICE __host__ __device__
#else
#define HK_HOST_DEVICE
#endif

#define HK__JOIN2(a, b) a##_##b
#define HK__JOIN(a, b) HK__JOIN2(a, b)
#define HK_STAMPED(name) HK__JOIN(name, HK_STAMP)

/* Declares the tables of all stamps and the array that lists them:
   HK_STAMP_TABLES(hk__gemm_kernels, hk__gemm) gives hk__gemm_base ... and hk__gemm_tables[stamp]. */
#if HK_X86_STAMPS
#define HK__CPU_EXTERN(type, name)                                                                 \
    extern const type name##_base, name##_avx2, name##_avx512, name##_f64
#define HK__CPU_TABLES(name) &name##_base, &name##_avx2, &name##_avx512, &name##_f64
#else
#define HK__CPU_EXTERN(type, name) extern const type name##_base, name##_f64
#define HK__CPU_TABLES(name) &name##_base, &name##_base, &name##_base, &name##_f64
#endif
#define HK_STAMP_TABLES(type, name)                                                                \
    HK__CPU_EXTERN(type, name);                                                                    \
    static const type *const name##_tables[HK__STAMPS] = {HK__CPU_TABLES(name)}

/* Tables of kernels that hk__map runs: one type for CPU and GPU, listed by any stamp. */
#if HK_WITH_CUDA
#define HK_MAP_TABLES(type, name)                                                                  \
    HK__CPU_EXTERN(type, name);                                                                    \
    extern const type name##_cuda, name##_cuda64;                                                  \
    static const type *const name##_tables[HK__ALL_STAMPS] = {HK__CPU_TABLES(name), &name##_cuda,  \
                                                              &name##_cuda64}
#else
#define HK_MAP_TABLES(type, name)                                                                  \
    HK__CPU_EXTERN(type, name);                                                                    \
    static const type *const name##_tables[HK__ALL_STAMPS] = {HK__CPU_TABLES(name), 0, 0}
#endif

/* Tables of whole drivers on the GPU, listed by dtype (HK_F32, HK_F64): HK_GPU_TABLES(hk__norm_gpu, hk__norm_gpu) gives
   hk__norm_gpu_cuda, hk__norm_gpu_cuda64 and hk__norm_gpu_tables[dtype]. Look into it behind HK_ON_GPU. */
#if HK_WITH_CUDA
#define HK_GPU_TABLES(type, name)                                                                  \
    extern const type name##_cuda, name##_cuda64;                                                  \
    static const type *const name##_tables[2] = {&name##_cuda, &name##_cuda64}
#else
#define HK_GPU_TABLES(type, name) static const type *const name##_tables[2] = {0, 0}
#endif

#endif
