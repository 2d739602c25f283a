/* hooks.c: functions of the user that are called when a module runs.
   SPDX-License-Identifier: MIT */
#include "module.h"

typedef struct pass {
    hk_module *module;
    hk_tensor *x, *y;
} pass;

static void call(const hk_hook *hook, void *what) {
    const pass *p = what;
    ((hk_forward_hook *)hook->fn)(p->module, p->x, p->y, hook->arg);
}

void hk__run_hooks(hk_module *m, hk__hooks *list, hk_tensor *x, hk_tensor *y) {
    if (list->first) hk__hooks_run(list, call, &(pass){m, x, y});
}

hk_hook *hk_hook_before(hk_module *m, hk_forward_hook *fn, void *arg) {
    return m ? hk__hook_add(m->object.ctx, &m->before, "hook_before", (hk__hook_fn *)fn, arg, false)
             : NULL;
}

hk_hook *hk_hook_forward(hk_module *m, hk_forward_hook *fn, void *arg) {
    return m ? hk__hook_add(m->object.ctx, &m->after, "hook_forward", (hk__hook_fn *)fn, arg, false)
             : NULL;
}

bool hk__is_hooked(const hk_module *m) {
    return hk__hooks_on(&m->before) || hk__hooks_on(&m->after);
}
