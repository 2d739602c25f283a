/* pointwise_kernels.h: the kernels stamped from pointwise.def, and comparisons.
   SPDX-License-Identifier: MIT */
#ifndef HK_POINTWISE_KERNELS_H
#define HK_POINTWISE_KERNELS_H

#include "map.h"

/* One row of pointwise.def. value: (y; a, b). slope[i]: (out; g, a, b, y) = g·∂y/∂(a or b). Operand b is
   absent where operands is 1. */
typedef struct hk__pointwise {
    const char *name;
    int operands;
    hk__map_fn *value, *slope[2];
} hk__pointwise;

typedef enum hk__pointwise_id {
#define HK_ONE(name, y, da) HK__PW_##name,
#define HK_TWO(name, y, da, db) HK__PW_##name,
#include "pointwise.def"
#undef HK_ONE
#undef HK_TWO
    HK__PW_COUNT
} hk__pointwise_id;

typedef enum hk__comparison {
    HK__LT,
    HK__LE,
    HK__GT,
    HK__GE,
    HK__EQ,
    HK__NE,
    HK__COMPARISONS
} hk__comparison;

typedef struct hk__pointwise_kernels {
    hk__pointwise row[HK__PW_COUNT];
    hk__map_fn *compare[HK__COMPARISONS]; /* (u8 y; a, b) */
    hk__map_fn *where;                    /* (y; u8 cond, a, b) */
    hk__map_fn *masked;                   /* (y; x, u8 mask): mask ? param0·x + param1 : param2 */
    hk__map_fn *where_part[2]; /* (out; g, u8 cond): g where the condition holds, or does not */
} hk__pointwise_kernels;

/* Row `id` as an operation on the tape: its value at a and b, with parameter p0. */
hk_tensor *hk__pointwise_two(hk__pointwise_id id, hk_tensor *a, hk_tensor *b, double p0);

HK_MAP_TABLES(hk__pointwise_kernels, hk__pointwise);

#endif
