/* hooks.c: functions of the user that are called when a module runs.
   SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "module.h"

struct hk_hook {
    hk_module *module;
    hk_hook *next;
    hk_forward_hook *fn; /* NULL: removed while hooks were running */
    void *arg;
};

hk_hook *hk_hook_forward(hk_module *m, hk_forward_hook *fn, void *arg) {
    if (!m || hk_error(m->object.ctx) != HK_OK) return NULL;
    hk_hook *hook = fn ? malloc(sizeof *hook) : NULL;
    if (!hook) {
        hk_fail(m->object.ctx, fn ? HK_ERR_MEMORY : HK_ERR_ARGUMENT, "hook_forward",
                fn ? "no memory" : "a function must be given");
        return NULL;
    }
    *hook = (hk_hook){.module = m, .fn = fn, .arg = arg};
    hk_hook **end = &m->hooks;
    while (*end) end = &(*end)->next;
    *end = hook;
    return hook;
}

/* Frees those that were removed. */
static void sweep(hk_module *m) {
    for (hk_hook **at = &m->hooks; *at;) {
        hk_hook *hook = *at;
        if (hook->fn) {
            at = &hook->next;
            continue;
        }
        *at = hook->next;
        free(hook);
    }
}

void hk_hook_remove(hk_hook *hook) {
    if (!hook) return;
    hook->fn = NULL;
    if (hook->module->hooks_running == 0) sweep(hook->module);
}

void hk__run_hooks(hk_module *m, hk_tensor *x, hk_tensor *y) {
    m->hooks_running++;
    for (hk_hook *hook = m->hooks; hook; hook = hook->next)
        if (hook->fn) hook->fn(m, x, y, hook->arg);
    if (--m->hooks_running == 0) sweep(m);
}

void hk__free_hooks(hk_module *m) {
    for (hk_hook *hook = m->hooks; hook; hook = hook->next) hook->fn = NULL;
    sweep(m);
}
