/* simd.h: one vector type for each stamp, so that one kernel source serves every instruction set.
   SPDX-License-Identifier: MIT

   Only stamped sources include this. hk_real is the stamp's element, hk_vec holds HK_LANES of them;
   + - * / and comparisons work on hk_vec as they do on numbers (a GCC and clang extension). Loads and
   stores need no alignment. */
#ifndef HK_SIMD_H
#define HK_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#if defined(HK_STAMP_avx512) || defined(HK_STAMP_avx2)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(HK_STAMP_f64)
typedef double hk_real;
#else
typedef float hk_real;
#endif

#if defined(HK_STAMP_avx512)
#define HK_LANES 16
#elif defined(HK_STAMP_avx2)
#define HK_LANES 8
#elif defined(HK_STAMP_f64)
#define HK_LANES 2
#else
#define HK_LANES 4
#endif

/* AVX-512 and AArch64 have 32 vector registers, the others 16: kernels block their loops by this. */
#if defined(HK_STAMP_avx512) || defined(__aarch64__)
#define HK_VECTOR_REGISTERS 32
#else
#define HK_VECTOR_REGISTERS 16
#endif

#define HK_INLINE static inline __attribute__((always_inline))

/* Loops over registers must be unrolled whole, or the compiler keeps the array in memory. Not with a sanitizer, which
   puts checks around every element: clang would compile for minutes. */
#if defined(__clang__)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HK_UNROLL
#else
#define HK_UNROLL _Pragma("clang loop unroll(full)")
#endif
#else
#define HK_UNROLL _Pragma("GCC unroll 32")
#endif

typedef hk_real hk_vec __attribute__((vector_size(HK_LANES * sizeof(hk_real))));
typedef hk_real hk__vec_anywhere
    __attribute__((vector_size(HK_LANES * sizeof(hk_real)), aligned(sizeof(hk_real)), may_alias));

HK_INLINE hk_vec hk_vload(const hk_real *p) { return *(const hk__vec_anywhere *)p; }
HK_INLINE void hk_vstore(hk_real *p, hk_vec v) { *(hk__vec_anywhere *)p = v; }

/* a*b + c for vectors and for numbers: one rounding where the hardware has FMA, two elsewhere. */
#if defined(HK_STAMP_avx512)
HK_INLINE hk_vec hk_vset1(hk_real x) { return _mm512_set1_ps(x); }
HK_INLINE hk_vec hk_vfma(hk_vec a, hk_vec b, hk_vec c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(HK_STAMP_avx2)
HK_INLINE hk_vec hk_vset1(hk_real x) { return _mm256_set1_ps(x); }
HK_INLINE hk_vec hk_vfma(hk_vec a, hk_vec b, hk_vec c) { return _mm256_fmadd_ps(a, b, c); }
#else
HK_INLINE hk_vec hk_vset1(hk_real x) { return x - (hk_vec){0}; }
#if defined(__aarch64__) && !defined(HK_STAMP_f64)
HK_INLINE hk_vec hk_vfma(hk_vec a, hk_vec b, hk_vec c) {
    return (hk_vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#else
HK_INLINE hk_vec hk_vfma(hk_vec a, hk_vec b, hk_vec c) { return a * b + c; }
#endif
#endif

#if defined(HK_STAMP_avx512) || defined(HK_STAMP_avx2) ||                                          \
    (defined(__aarch64__) && !defined(HK_STAMP_f64))
#define HK_HAS_FMA 1
#else
#define HK_HAS_FMA 0
#endif
#ifndef HK_FMA /* real_math.h has its own, where f64 is libm's */
#if HK_HAS_FMA
#define HK_FMA(a, b, c) __builtin_fmaf((a), (b), (c))
#else
#define HK_FMA(a, b, c) ((a) * (b) + (c))
#endif
#endif

/* The first `count` of the lanes, 0 <= count <= HK_LANES; the other lanes load as 0 and are not
   stored, and their memory is not touched. */
#if defined(HK_STAMP_avx512)
HK_INLINE __mmask16 hk__mask(int64_t count) { return (__mmask16)((1U << count) - 1); }
HK_INLINE hk_vec hk_vload_part(const hk_real *p, int64_t count) {
    return _mm512_maskz_loadu_ps(hk__mask(count), p);
}
HK_INLINE void hk_vstore_part(hk_real *p, hk_vec v, int64_t count) {
    _mm512_mask_storeu_ps(p, hk__mask(count), v);
}
#elif defined(HK_STAMP_avx2)
HK_INLINE __m256i hk__mask(int64_t count) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane);
}
HK_INLINE hk_vec hk_vload_part(const hk_real *p, int64_t count) {
    return _mm256_maskload_ps(p, hk__mask(count));
}
HK_INLINE void hk_vstore_part(hk_real *p, hk_vec v, int64_t count) {
    _mm256_maskstore_ps(p, hk__mask(count), v);
}
#else
HK_INLINE hk_vec hk_vload_part(const hk_real *p, int64_t count) {
    hk_vec v = {0};
    for (int64_t i = 0; i < count; i++) v[i] = p[i];
    return v;
}
HK_INLINE void hk_vstore_part(hk_real *p, hk_vec v, int64_t count) {
    for (int64_t i = 0; i < count; i++) p[i] = v[i];
}
#endif

/* The larger of two in each lane; a NaN in b, or in a alone, stays. */
HK_INLINE hk_vec hk_vlarger(hk_vec a, hk_vec b) {
#if defined(HK_STAMP_avx512)
    return _mm512_mask_mov_ps(
        a, _mm512_cmp_ps_mask(b, a, _CMP_NLE_UQ) & _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), b);
#elif defined(HK_STAMP_avx2)
    const __m256 take =
        _mm256_and_ps(_mm256_cmp_ps(b, a, _CMP_NLE_UQ), _mm256_cmp_ps(a, a, _CMP_ORD_Q));
    return _mm256_blendv_ps(a, b, take);
#else
    for (int i = 0; i < HK_LANES; i++) a[i] = !(b[i] <= a[i]) && a[i] == a[i] ? b[i] : a[i];
    return a;
#endif
}

/* The sum of the lanes, always in the same order: halves are folded onto each other. */
HK_INLINE hk_real hk_vsum(hk_vec v) {
    hk_real lane[HK_LANES];
    hk_vstore(lane, v);
    for (int half = HK_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

/* Reads 4 columns of HK_LANES rows: lane i of out[j] is src[i * ld + j], 0 <= j < 4.

   z[q] takes the 4 elements of rows q, 4 + q, 8 + q, 12 + q straight from memory, which costs no
   shuffle, and 4 x 4 transposes inside the quarters finish the work with 8 shuffles. Only one port
   shuffles, so this takes half the time of transposing whole vectors. */
#if defined(HK_STAMP_avx512)
HK_INLINE hk_vec hk__quarters(const hk_real *p, int64_t ld) {
    const hk_vec v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    const hk_vec w = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(p + 4 * ld));
    const hk_vec x = _mm512_mask_broadcast_f32x4(w, 0x0f00, _mm_loadu_ps(p + 8 * ld));
    return _mm512_mask_broadcast_f32x4(x, 0xf000, _mm_loadu_ps(p + 12 * ld));
}
#define HK__UNPACK_1(half, x, y) _mm512_unpack##half##_ps(x, y)
#define HK__UNPACK_2(half, x, y) (hk_vec) _mm512_unpack##half##_pd((__m512d)(x), (__m512d)(y))
#elif defined(HK_STAMP_avx2)
HK_INLINE hk_vec hk__quarters(const hk_real *p, int64_t ld) {
    const __m256 v = _mm256_castps128_ps256(_mm_loadu_ps(p));
    return _mm256_insertf128_ps(v, _mm_loadu_ps(p + 4 * ld), 1);
}
#define HK__UNPACK_1(half, x, y) _mm256_unpack##half##_ps(x, y)
#define HK__UNPACK_2(half, x, y) (hk_vec) _mm256_unpack##half##_pd((__m256d)(x), (__m256d)(y))
#elif defined(__SSE2__) && !defined(HK_STAMP_f64)
HK_INLINE hk_vec hk__quarters(const hk_real *p, int64_t ld) {
    (void)ld;
    return _mm_loadu_ps(p);
}
#define HK__UNPACK_1(half, x, y) _mm_unpack##half##_ps(x, y)
#define HK__UNPACK_2(half, x, y) (hk_vec) _mm_unpack##half##_pd((__m128d)(x), (__m128d)(y))
#endif

HK_INLINE void hk_vcolumns(const hk_real *src, int64_t ld, hk_vec out[4]) {
#if defined(HK__UNPACK_1)
    const hk_vec z0 = hk__quarters(src, ld), z1 = hk__quarters(src + ld, ld);
    const hk_vec z2 = hk__quarters(src + 2 * ld, ld), z3 = hk__quarters(src + 3 * ld, ld);
    const hk_vec lo01 = HK__UNPACK_1(lo, z0, z1), hi01 = HK__UNPACK_1(hi, z0, z1);
    const hk_vec lo23 = HK__UNPACK_1(lo, z2, z3), hi23 = HK__UNPACK_1(hi, z2, z3);
    out[0] = HK__UNPACK_2(lo, lo01, lo23);
    out[1] = HK__UNPACK_2(hi, lo01, lo23);
    out[2] = HK__UNPACK_2(lo, hi01, hi23);
    out[3] = HK__UNPACK_2(hi, hi01, hi23);
#else
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < HK_LANES; i++) out[j][i] = src[i * ld + j];
#endif
}

#endif
