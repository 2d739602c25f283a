/* hk_hook.h: handles of hooks, functions of the user that are called while a network runs.
   SPDX-License-Identifier: MIT

   What can be hooked: a module's forward pass (hk_hook_before, hk_hook_forward in hk_layers.h), the gradient of a
   tensor and the end of a backward pass (hk_hook_grad, hk_hook_backward in hk_autograd.h). A hook looks and reads; it
   changes nothing. Several on one thing run in the order in which they were added.

   The handle belongs to what is hooked, and ends with it. Every function here takes NULL. */
#ifndef HK_HOOK_H
#define HK_HOOK_H

#include "hk_context.h"

HK_BEGIN_DECLS

typedef struct hk_hook hk_hook;

/* Also from inside of a hook, itself included: it is not called any more. */
HK_API void hk_hook_remove(hk_hook *hook);
/* Off: it stays in its place, but is not called, and costs nothing. On at first; returns what it was. */
HK_API bool hk_hook_enable(hk_hook *hook, bool on);
/* Puts it before all others of its list. Returns it. */
HK_API hk_hook *hk_hook_prepend(hk_hook *hook);

HK_END_DECLS
#endif
