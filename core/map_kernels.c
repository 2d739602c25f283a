/* map_kernels.c: streaming stores (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "map_kernels.h"

#include <string.h>

#if defined(HK_STAMP_avx512) || defined(HK_STAMP_avx2)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

static void stream(void *to, const void *from, size_t bytes) {
#if defined(HK_STAMP_avx512)
    for (size_t i = 0; i < bytes / 64; i++)
        _mm512_stream_si512((__m512i *)to + i, _mm512_load_si512((const __m512i *)from + i));
#elif defined(HK_STAMP_avx2)
    for (size_t i = 0; i < bytes / 32; i++)
        _mm256_stream_si256((__m256i *)to + i, _mm256_load_si256((const __m256i *)from + i));
#elif defined(__SSE2__)
    for (size_t i = 0; i < bytes / 16; i++)
        _mm_stream_si128((__m128i *)to + i, _mm_load_si128((const __m128i *)from + i));
#else
    memcpy(to, from, bytes);
#endif
}

const hk__map_kernels HK_STAMPED(hk__map) = {stream};
