/* hook.c: lists of hooks.
   SPDX-License-Identifier: MIT */
#include "hook.h"

#include <stdlib.h>

#include "gpu.h"

/* A hook that lives on between steps is switched on or off: steps are other ones then. */
static void flip(const hk_hook *hook) {
    if (!hook->of_step)
        hk__setting_flip(hook->ctx, hook, (uint64_t)(uintptr_t)hook->fn ^ (uintptr_t)hook->arg);
}

hk_hook *hk__hook_add(hk_context *ctx, hk__hooks *list, const char *where, hk__hook_fn *fn,
                      void *arg, bool of_step) {
    if (ctx->status != HK_OK) return NULL;
    hk_hook *hook = NULL;
    if (!fn)
        hk_fail(ctx, HK_ERR_ARGUMENT, where, "a function must be given");
    else if (!(hook = of_step ? hk__arena_alloc(&ctx->memory, sizeof *hook) : malloc(sizeof *hook)))
        hk_fail(ctx, HK_ERR_MEMORY, where, "no memory");
    if (!hook) return NULL;
    *hook = (hk_hook){.ctx = ctx, .list = list, .fn = fn, .arg = arg, .of_step = of_step};
    hk_hook **end = &list->first;
    while (*end) end = &(*end)->next;
    *end = hook;
    flip(hook);
    return hook;
}

/* Takes those that were removed off the list. */
static void sweep(hk__hooks *list) {
    for (hk_hook **at = &list->first; *at;) {
        hk_hook *hook = *at;
        if (hook->fn) {
            at = &hook->next;
            continue;
        }
        *at = hook->next;
        if (!hook->of_step) free(hook);
    }
}

void hk_hook_remove(hk_hook *hook) {
    if (!hook) return;
    if (hook->fn && !hook->off) flip(hook);
    hook->fn = NULL;
    if (hook->list->running == 0) sweep(hook->list);
}

bool hk_hook_enable(hk_hook *hook, bool on) {
    if (!hook) return false;
    const bool was = !hook->off;
    if (was != on) flip(hook);
    hook->off = !on;
    return was;
}

hk_hook *hk_hook_prepend(hk_hook *hook) {
    if (!hook) return NULL;
    hk_hook **at = &hook->list->first;
    while (*at != hook) at = &(*at)->next;
    *at = hook->next;
    hook->next = hook->list->first;
    hook->list->first = hook;
    return hook;
}

bool hk__hooks_on(const hk__hooks *list) {
    for (const hk_hook *hook = list->first; hook; hook = hook->next)
        if (hook->fn && !hook->off) return true;
    return false;
}

void hk__hooks_run(hk__hooks *list, void (*call)(const hk_hook *hook, void *what), void *what) {
    const uint64_t run = ++list->runs;
    list->running++;
    for (hk_hook *hook = list->first; hook; hook = hook->next) {
        if (!hook->fn || hook->off || hook->ran == run) continue;
        hook->ran = run;
        if (HK_ON_GPU(hook->ctx) && !hook->replays) hk__gpu_eager(hook->ctx, "a hook looks in");
        call(hook, what);
    }
    if (--list->running == 0) sweep(list);
}

void hk__hooks_free(hk__hooks *list) {
    for (hk_hook *hook = list->first; hook; hook = hook->next) {
        if (hook->fn && hook->ended) hook->ended(hook->arg);
        hook->fn = NULL;
    }
    sweep(list);
}
