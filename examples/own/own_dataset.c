/* own_dataset.c: a data set of one's own: points on two spirals, made when they are asked for.
   SPDX-License-Identifier: MIT

   get could as well read a file: keep what is open in the state, and close it in destroy. */
#include <hillock/hillock.h>

#include <math.h>
#include <stdlib.h>

typedef struct spirals_state {
    int64_t n;
    double turns;
} spirals_state;

/* Item i: x and y in [-1, 1], and which spiral it lies on. Any status but HK_OK is an error. */
static hk_status spirals_get(void *state, int64_t i, float *item, int32_t *label) {
    const spirals_state *s = state;
    const double along = ((double)(i / 2) + 0.5) / ((double)s->n / 2);
    const double angle = 6.283185307179586 * (s->turns * along + 0.5 * (double)(i % 2));
    item[0] = (float)(along * cos(angle));
    item[1] = (float)(along * sin(angle));
    *label = (int32_t)(i % 2);
    return HK_OK;
}

/* The state belongs to the data set from now on. */
static hk_dataset *spirals(hk_context *ctx, int64_t n, double turns) {
    const hk_dataset_class cls = {.get = spirals_get, .destroy = free};
    spirals_state *s = malloc(sizeof *s);
    if (!s) {
        hk_fail(ctx, HK_ERR_MEMORY, "spirals", "no memory");
        return NULL;
    }
    *s = (spirals_state){n, turns};
    return hk_dataset_create(ctx, &cls, s, n, HK_SHAPE(2), 2);
}
