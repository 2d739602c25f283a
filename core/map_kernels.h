/* map_kernels.h: moving bytes past the caches, for outputs larger than these.
   SPDX-License-Identifier: MIT */
#ifndef HK_MAP_KERNELS_H
#define HK_MAP_KERNELS_H

#include "map.h"

typedef struct hk__map_kernels {
    /* Copies bytes, a multiple of 64, to a place aligned to 64 with stores that do not read the lines they write.
       Widest stores: of 16 bytes they reach 27 GB/s where those of 64 reach 40. */
    void (*stream)(void *to, const void *from, size_t bytes);
} hk__map_kernels;

HK_STAMP_TABLES(hk__map_kernels, hk__map);

/* On a GPU (map.cu): converts, also to the same type, where an output may be added to; fills with param[0]. By dtype. */
typedef struct hk__convert_kernels {
    hk__map_fn *to[4][4], *fill[4];
} hk__convert_kernels;
extern const hk__convert_kernels hk__convert_gpu;

#endif
