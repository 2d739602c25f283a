/* cpu.h: what this processor offers.
   SPDX-License-Identifier: MIT */
#ifndef HK_CPU_H
#define HK_CPU_H

#include "hk_base.h"
#include "stamp.h"

HK_BEGIN_DECLS

/* The best stamp whose instructions the processor and the system both run. */
hk__stamp hk__cpu_best_stamp(void);
/* "base", "avx2", "avx512", "f64". */
const char *hk__stamp_name(hk__stamp stamp);
/* Processors that this process may use, at least 1. */
int hk__cpu_count(void);

HK_END_DECLS
#endif
