/* hook.h: lists of hooks.
   SPDX-License-Identifier: MIT */
#ifndef HK_HOOK_PRIVATE_H
#define HK_HOOK_PRIVATE_H

#include "context.h"
#include "hk_hook.h"

HK_BEGIN_DECLS

/* Any function of a hook; whoever runs the list casts it back. */
typedef void hk__hook_fn(void);

typedef struct hk__hooks {
    hk_hook *first;
    int running;   /* > 0 while they are called */
    uint64_t runs; /* so far */
} hk__hooks;       /* {0} is empty */

struct hk_hook {
    hk_context *ctx;
    hk__hooks *list;
    hk_hook *next;
    hk__hook_fn *fn; /* NULL: removed while hooks were running */
    void *arg;
    void (*ended)(void *arg); /* called when it ends with what is hooked; not when it is removed */
    uint64_t
        ran; /* number of the last run that called it, which calls it once wherever it is put meanwhile */
    bool off;
    bool of_step; /* its memory is the step's */
    bool replays; /* a step that is replayed, where it is not called, does without it */
};

/* Adds one at the end. of_step: it ends with the step, whose memory it takes. NULL and the sticky error, under the name
   `where`, if fn is NULL or memory is out. */
hk_hook *hk__hook_add(hk_context *ctx, hk__hooks *list, const char *where, hk__hook_fn *fn,
                      void *arg, bool of_step);
/* Whether any would be called. */
bool hk__hooks_on(const hk__hooks *list);
/* Calls `call` for each that is on, also for those that are added meanwhile. */
void hk__hooks_run(hk__hooks *list, void (*call)(const hk_hook *hook, void *what), void *what);
/* Frees them; the list is empty then. */
void hk__hooks_free(hk__hooks *list);

HK_END_DECLS
#endif
