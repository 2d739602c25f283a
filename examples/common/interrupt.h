/* interrupt.h: Ctrl-C asks for an end, and gets one at a good moment.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_INTERRUPT_H
#define EXAMPLES_INTERRUPT_H

#include <stdbool.h>

/* From now on the first Ctrl-C is noted; the second one kills as usual. */
void interrupt_catch(void);
bool interrupt_seen(void);
/* Back to killing. What was seen stays seen. */
void interrupt_release(void);

#endif
