/* openblas.h: OpenBLAS, opened when the first context asks for it and never linked.
   SPDX-License-Identifier: MIT */
#ifndef HK_OPENBLAS_H
#define HK_OPENBLAS_H

#include "gemm.h"

HK_BEGIN_DECLS

/* True when OpenBLAS can be used. text becomes "OpenBLAS 0.3.21 SkylakeX", or "none: " and the reason.
   The first call of the process opens the library; environment and library stay as the host has them:
   what has to be in the environment while it loads is removed again, and a copy that the host had
   loaded before is used only if it is fit as it is. $HILLOCK_BLAS=off makes every call answer false.
   May be called from any thread. */
bool hk__openblas_describe(char *text, size_t size);

/* One product in float on the calling thread. Call it only after hk__openblas_describe answered true,
   with sizes that fit an int. */
void hk__openblas_gemm(const hk__gemm *job);

HK_END_DECLS
#endif
