/* idx.h: the inside of the IDX reader.
   SPDX-License-Identifier: MIT */
#ifndef HK_IDX_H
#define HK_IDX_H

#include "hk_data.h"

HK_BEGIN_DECLS

/* As hk_idx_read, and an error before anything is unpacked if the file has another rank: images
   have 3 dimensions, labels 1. rank 0 takes any. */
hk_status hk__idx_read(hk_context *ctx, const char *path, int rank, hk_idx *idx);

HK_END_DECLS
#endif
