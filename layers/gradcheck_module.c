/* gradcheck_module.c: the gradient check of a whole module.
   SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "module.h"

static hk_tensor *run_module(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    return hk_forward(arg, in[0]);
}

hk_status hk_gradcheck_module(hk_module *m, hk_tensor *x, const hk_gradcheck_config *config,
                              hk_gradcheck_result *result) {
    if (!m || !x) return HK_ERR_ARGUMENT;
    hk_context *ctx = m->object.ctx;
    hk_shape input = x->shape;
    if (input.rank > 0) input.dim[0] = -1;
    HK_TRY(hk__ensure_built(m, input));
    const hk_parameters all = hk_module_parameters(m);
    hk_tensor **in = malloc(sizeof *in * (size_t)(all.count + 1));
    if (!in) return hk_fail(ctx, HK_ERR_MEMORY, "gradcheck", "no memory");
    in[0] = x;
    for (int i = 0; i < all.count; i++) in[1 + i] = all.items[i];
    const hk_status status = hk_gradcheck(ctx, run_module, m, 1 + all.count, in, config, result);
    free(in);
    return status;
}
