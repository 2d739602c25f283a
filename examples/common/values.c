/* values.c: a tensor's elements to be changed by the host, and losses that are summed over steps.
   SPDX-License-Identifier: MIT */
#include "values.h"

#include <math.h>
#include <stdlib.h>

static size_t size_of(const hk_tensor *t) {
    return (size_t)hk_tensor_count(t) * hk_dtype_size(hk_tensor_dtype(t));
}

void *values_take(hk_tensor *t) {
    if (!t) return NULL;
    void *values = malloc(size_of(t) + 1);
    if (!values) hk_fail(hk_tensor_context(t), HK_ERR_MEMORY, "values", "no memory");
    if (values && hk_tensor_read(t, values, size_of(t)) == HK_OK) return values;
    free(values);
    return NULL;
}

/* An error is the context's. */
void values_put(hk_tensor *t, void *values) {
    if (t && values) (void)!hk_tensor_write(t, values, size_of(t));
    free(values);
}

bool losses_open(losses *l, hk_context *ctx) {
    *l = (losses){.sum = hk_tensor_new(ctx, HK_F32, HK_SCALAR)};
    return l->sum;
}

void losses_close(losses *l) {
    hk_tensor_destroy(l->sum);
    l->sum = NULL;
}

hk_status losses_add(losses *l, hk_tensor *loss) { return hk_tensor_add(l->sum, loss); }

void losses_count(losses *l, int64_t images) {
    l->steps++;
    l->images += images;
}

bool losses_take(losses *l) {
    const float zero = 0;
    if (l->steps == 0) return true;
    const double loss = hk_tensor_item(l->sum) / (double)l->steps;
    if (hk_tensor_write(l->sum, &zero, sizeof zero)) return false;
    l->seen += l->images;
    l->mean += (loss - l->mean) * (double)l->images / (double)l->seen;
    l->steps = l->images = 0;
    return isfinite(loss);
}

void losses_begin(losses *l) {
    l->steps = l->images = l->seen = 0;
    l->mean = 0;
}
