/* own_flow.c: looking into one's own training: how gradients flow, and which units are dead.
   SPDX-License-Identifier: MIT

       hk_flow *flow = hk_flow_create(net, &(hk_flow_config){.every = 47, .report = print_flow, .arg = stdout});
       ... the training loop, unchanged; at the end of each epoch: ...
       if (print_dead_units(net, probe, stdout)) ... hk_error_message(ctx) ... */
#include <hillock/hillock.h>

#include <stdio.h>

/* Called by the flow for each recorded step, when its update is known. */
static void print_flow(const hk_flow_record *r, void *arg) {
    FILE *to = arg;
    for (int i = 0; i < r->n_parameters; i++) {
        const hk_flow_parameter *p = &r->parameters[i];
        fprintf(to, "step %lld  %-12s |gradient| %.3e  |update|/|weight| %.1e\n",
                (long long)r->step, p->name, p->grad.l2, p->update_ratio);
    }
}

/* probe: a loader of training images, the same ones every time. */
static hk_status print_dead_units(hk_module *net, hk_loader *probe, FILE *to) {
    hk_context *ctx = hk_module_context(net);
    hk_units *units = hk_units_create(net, NULL);
    hk_batch batch;
    while (hk_loader_next(probe, &batch))
        if (hk_units_add(units, batch.x) || hk_step_end(ctx)) break;
    if (hk_error(ctx) == HK_OK && hk_units_end(units) == HK_OK)
        for (int i = 0; i < hk_units_count(units); i++) {
            const hk_units_layer *l = hk_units_layer_at(units, i);
            fprintf(to, "layer %s (%s): %lld of %lld units are dead\n", l->name, l->activation,
                    (long long)l->dead, (long long)l->units);
        }
    hk_units_destroy(units);
    return hk_error(ctx);
}
