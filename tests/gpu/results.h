/* results.h: what the programs of tests/gpu measure, for ctest and for run.sh.
   SPDX-License-Identifier: MIT

   As tests they are small, so that they run on an emulated GPU too. HILLOCK_PARITY=full makes them as large as
   docs/performance.md says; run.sh does that, and collects the lines `RESULT name value <= limit`. */
#ifndef HK_RESULTS_H
#define HK_RESULTS_H

#include "device.h"

static inline bool full(void) {
    const char *wish = getenv("HILLOCK_PARITY");
    return wish && strcmp(wish, "full") == 0;
}

/* Notes what was measured, and fails beyond the limit and for NaN. */
static inline void note(const char *what, const char *of, double value, double limit) {
    printf("RESULT %s/%s %.6g <= %.6g\n", what, of, value, limit);
    fflush(stdout);
    if (!(value <= limit)) fail_msg("%s of %s: %.6g, allowed %.6g", what, of, value, limit);
}

#endif
