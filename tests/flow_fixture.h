/* flow_fixture.h: copies of flow records, and small networks to look at.
   SPDX-License-Identifier: MIT */
#ifndef HK_FLOW_FIXTURE_H
#define HK_FLOW_FIXTURE_H

#include "hk_flow.h"
#include "net_fixture.h"

enum { RECORDS = 32, ROWS = 16 };

/* What a flow has reported; the record's own memory is its until the next one. */
typedef struct records {
    int n;
    int64_t step[RECORDS];
    int n_parameters[RECORDS], n_layers[RECORDS];
    hk_flow_parameter parameter[RECORDS][ROWS];
    hk_flow_layer layer[RECORDS][ROWS];
} records;

static inline void keep_record(const hk_flow_record *r, void *arg) {
    records *all = arg;
    assert_true(all->n < RECORDS && r->n_parameters <= ROWS && r->n_layers <= ROWS);
    const int i = all->n++;
    all->step[i] = r->step;
    all->n_parameters[i] = r->n_parameters;
    all->n_layers[i] = r->n_layers;
    memcpy(all->parameter[i], r->parameters, (size_t)r->n_parameters * sizeof *r->parameters);
    memcpy(all->layer[i], r->layers, (size_t)r->n_layers * sizeof *r->layers);
}

/* Equal, or both NaN. */
static inline bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static inline bool same_stats(const hk_stats *a, const hk_stats *b) {
    return a->count == b->count && a->zeros == b->zeros && a->nonfinite == b->nonfinite &&
           same(a->mean, b->mean) && same(a->std, b->std) && same(a->min, b->min) &&
           same(a->max, b->max) && same(a->max_abs, b->max_abs) && same(a->l2, b->l2);
}

static inline void assert_same_record(const records *a, int i, const records *b, int k) {
    assert_int_equal(a->n_parameters[i], b->n_parameters[k]);
    assert_int_equal(a->n_layers[i], b->n_layers[k]);
    for (int p = 0; p < a->n_parameters[i]; p++) {
        const hk_flow_parameter *x = &a->parameter[i][p], *y = &b->parameter[k][p];
        if (!same_stats(&x->grad, &y->grad) || !same(x->weight_l2, y->weight_l2) ||
            !same(x->update_ratio, y->update_ratio) || !same(x->one_sign, y->one_sign))
            fail_msg("records %d and %d differ in %s", i, k, x->name);
    }
    for (int l = 0; l < a->n_layers[i]; l++) {
        const hk_flow_layer *x = &a->layer[i][l], *y = &b->layer[k][l];
        if (!same_stats(&x->out, &y->out) || !same(x->grad_l2, y->grad_l2) ||
            !same(x->ratio, y->ratio) || !same(x->one_sign_sample, y->one_sign_sample))
            fail_msg("records %d and %d differ in layer %s", i, k, x->name);
    }
}

/* The newest record's row of that name. */
static inline const hk_flow_parameter *parameter_row(const hk_flow_record *r, const char *name) {
    for (int i = 0; i < r->n_parameters; i++)
        if (strcmp(r->parameters[i].name, name) == 0) return &r->parameters[i];
    fail_msg("no parameter %s", name);
    return NULL;
}
static inline const hk_flow_layer *layer_row(const hk_flow_record *r, const char *name) {
    for (int i = 0; i < r->n_layers; i++)
        if (strcmp(r->layers[i].name, name) == 0) return &r->layers[i];
    fail_msg("no layer %s", name);
    return NULL;
}

/* Forward, and backward from a fixed random gradient of the result. */
static inline void forward_backward(hk_context *ctx, hk_module *net, hk_tensor *x,
                                    const char *stream) {
    hk_tensor *y = hk_forward(net, x);
    assert_ok(ctx);
    assert_int_equal(hk_backward_from(ctx, y, normal(ctx, stream, hk_tensor_shape(y))), HK_OK);
}

static inline void sgd_step(hk_context *ctx, hk_module *net, hk_optimizer *opt, hk_tensor *x) {
    hk_optimizer_zero_grad(opt);
    forward_backward(ctx, net, x, "g");
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_int_equal(hk_step_end(ctx), HK_OK);
}

#endif
