/* interrupt.c: Ctrl-C asks for an end, and gets one at a good moment.
   SPDX-License-Identifier: MIT */
#include "interrupt.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t seen;

static void note(int signal_number) {
    (void)signal_number;
    seen = 1;
}

void interrupt_catch(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigemptyset(&action.sa_mask);
    seen = 0;
    sigaction(SIGINT, &action, NULL);
}

bool interrupt_seen(void) { return seen; }

void interrupt_release(void) { signal(SIGINT, SIG_DFL); }
