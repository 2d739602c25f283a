/* own_jacobian.c: what each layer of a network does to small changes and to gradients.
   SPDX-License-Identifier: MIT

   A layer whose singular values are all near 1 passes both on as they are; their product tells of the whole network. */
#include <hillock/hillock.h>
#include <stdio.h>

static hk_status print_jacobian(FILE *file, hk_module *m, hk_tensor *x) {
    hk_jacobian j;
    const hk_status status = hk_module_jacobian(m, x, NULL, &j, NULL);
    if (status != HK_OK) return status;
    fprintf(file, "%-12s%-12s%10.4f%12.4f +- %.4f\n", hk_module_name(m), hk_module_kind(m), j.norm,
            j.mean_square, j.mean_square_error);
    return HK_OK;
}

/* net: a sequential; x: (n, ...), samples to look at. */
static hk_status print_jacobians(FILE *file, hk_module *net, hk_tensor *x) {
    hk_tensor *at = hk_tensor_keep(x); /* each look ends the step */
    const bool was = hk_module_train(net, false);
    fprintf(file, "%-12s%-12s%10s%12s\n", "layer", "kind", "norm", "mean square");
    hk_status status = print_jacobian(file, net, at);
    for (int i = 0; status == HK_OK && i < hk_module_child_count(net); i++) {
        hk_module *layer = hk_module_child_at(net, i);
        status = print_jacobian(file, layer, at);
        hk_tensor *next = hk_tensor_keep(hk_forward(layer, at));
        hk_tensor_destroy(at);
        at = next;
    }
    hk_tensor_destroy(at);
    hk_module_train(net, was);
    return status != HK_OK ? status : hk_step_end(hk_module_context(net));
}
