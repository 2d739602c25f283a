/* map_kernels.h: moving bytes past the caches, for outputs larger than these.
   SPDX-License-Identifier: MIT */
#ifndef HK_MAP_KERNELS_H
#define HK_MAP_KERNELS_H

#include <stddef.h>

#include "stamp.h"

typedef struct hk__map_kernels {
    /* Copies bytes, a multiple of 64, to a place aligned to 64 with stores that do not read the lines they write.
       Widest stores: of 16 bytes they reach 27 GB/s where those of 64 reach 40. */
    void (*stream)(void *to, const void *from, size_t bytes);
} hk__map_kernels;

HK_STAMP_TABLES(hk__map_kernels, hk__map);

#endif
