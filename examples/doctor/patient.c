/* patient.c: describes and trains the network; faults.c plants the faults.
   SPDX-License-Identifier: MIT */
#include "patient.h"

#include "faults.h"

#include <stdlib.h>
#include <string.h>

enum { MEMBERS_MOST = 256 };

/* --- digits ----------------------------------------------------------------------------------- */

bool digits_read(digits *d, hk_context *ctx, const char *folder, int64_t most) {
    hk_dataset *all = hk_mnist(ctx, folder, "train", 0);
    const int64_t have = hk_dataset_count(all);
    *d = (digits){.count = have < most ? have : most,
                  .classes = hk_dataset_classes(all),
                  .item = hk_dataset_item_shape(all)};
    if (!all) return false;
    const size_t n = (size_t)d->count, size = (size_t)hk_shape_count(d->item);
    d->pixels = malloc(n * size * sizeof *d->pixels);
    d->labels = malloc(n * sizeof *d->labels);
    hk_loader *loader = hk_loader_create(all, &(hk_loader_config){.batch = d->count});
    hk_batch batch;
    if (!d->pixels || !d->labels)
        hk_fail(ctx, HK_ERR_MEMORY, "digits", "no memory for %lld images", (long long)d->count);
    else if (hk_loader_next(loader, &batch) &&
             hk_tensor_read(batch.x, d->pixels, n * size * sizeof *d->pixels) == HK_OK &&
             hk_tensor_read(batch.y, d->labels, n * sizeof *d->labels) == HK_OK &&
             hk_step_end(ctx) == HK_OK) {
        hk_loader_destroy(loader);
        hk_dataset_destroy(all);
        return true;
    }
    digits_free(d);
    return false;
}

void digits_free(digits *d) {
    free(d->pixels);
    free(d->labels);
    *d = (digits){.count = 0};
}

/* --- networks --------------------------------------------------------------------------------- */

typedef struct members {
    hk_module *member[MEMBERS_MOST];
    int n;
} members;

static void add(members *l, hk_module *m) {
    if (l->n < MEMBERS_MOST) l->member[l->n++] = m;
}

/* An activation, and what a fault puts behind the first one. */
static void add_activation(members *l, hk_context *ctx, const patient_plan *plan, bool first) {
    add(l, hk_activation(ctx, plan->activation));
    hk_module *planted = first ? fault_module(ctx, plan->fault) : NULL;
    if (planted) add(l, planted);
}

static void describe_mlp(members *l, hk_context *ctx, const patient_plan *plan, const digits *d) {
    int64_t width = hk_shape_count(d->item);
    add(l, hk_flatten(ctx));
    for (int i = 0; i < plan->depth; i++) {
        add(l, hk_linear(ctx, width, plan->width));
        add_activation(l, ctx, plan, i == 0);
        width = plan->width;
    }
    add(l, hk_linear(ctx, width, d->classes));
}

/* linear; y = x + activation(linear(x)) for each block; linear. */
static void describe_residual(members *l, hk_context *ctx, const patient_plan *plan,
                              const digits *d) {
    add(l, hk_flatten(ctx));
    add(l, hk_linear(ctx, hk_shape_count(d->item), plan->width));
    for (int i = 0; i < plan->depth; i++) {
        hk_module *linear = hk_linear(ctx, plan->width, plan->width);
        hk_module *act = hk_activation(ctx, plan->activation);
        add(l, hk_residual(ctx, hk_sequential(ctx, linear, act), NULL));
        if (plan->normed) add(l, hk_layer_norm(ctx, 1, NULL));
    }
    add(l, hk_linear(ctx, plan->width, d->classes));
}

/* Two convolutions, each with an activation and a pooling, and a linear layer. */
static void describe_cnn(members *l, hk_context *ctx, const patient_plan *plan, const digits *d) {
    const hk_pool2d_config by_two = {.kernel = {2, 2}};
    const int64_t h = d->item.dim[1], w = d->item.dim[2];
    add(l, hk_conv2d(ctx, 1, 8, (hk_pair){3, 3}, NULL));
    add_activation(l, ctx, plan, true);
    add(l, hk_max_pool2d(ctx, &by_two));
    add(l, hk_conv2d(ctx, 8, 16, (hk_pair){3, 3}, NULL));
    add_activation(l, ctx, plan, false);
    add(l, hk_max_pool2d(ctx, &by_two));
    add(l, hk_flatten(ctx));
    add(l, hk_linear(ctx, 16 * (((h - 2) / 2 - 2) / 2) * (((w - 2) / 2 - 2) / 2), d->classes));
}

static hk_module *describe(hk_context *ctx, const patient_plan *plan, const digits *d) {
    members l = {.n = 0};
    if (strcmp(plan->net, "cnn") == 0)
        describe_cnn(&l, ctx, plan, d);
    else if (strcmp(plan->net, "residual") == 0)
        describe_residual(&l, ctx, plan, d);
    else
        describe_mlp(&l, ctx, plan, d);
    hk_module *output = fault_output(ctx, plan->fault);
    if (output) add(&l, output);
    return hk_sequential_n(ctx, l.n, l.member);
}

/* --- making and training ---------------------------------------------------------------------- */

bool patient_make(patient *p, hk_context *ctx, const patient_plan *planned, const digits *d) {
    *p = (patient){.ctx = ctx, .plan = *planned, .digits = d};
    patient_plan *plan = &p->plan;
    if (plan->fault && plan->fault->plan) plan->fault->plan(plan);
    p->data = fault_dataset(ctx, plan->fault, d);
    const bool sorted = fault_is(plan->fault, FAULT_SORTED);
    p->loader =
        hk_loader_create(p->data, &(hk_loader_config){.batch = plan->batch, .shuffle = !sorted});
    p->net = describe(ctx, plan, d);
    const hk_shape in = {4, {-1, d->item.dim[0], d->item.dim[1], d->item.dim[2]}};
    if (!p->net || hk_module_build(p->net, in, plan->init) != HK_OK) return false;
    fault_weights(p);
    hk_parameters params = hk_module_parameters(p->net);
    if (fault_is(plan->fault, FAULT_FROZEN)) {
        params.items += 2;
        params.count -= 2;
    }
    p->opt = hk_optimizer_by_name(ctx, plan->optimizer, params, plan->lr, -1);
    if (fault_is(plan->fault, FAULT_EVALUATION)) hk_module_train(p->net, false);
    return hk_error(ctx) == HK_OK;
}

bool patient_train(hk_doctor_step *step, void *arg) {
    patient *p = arg;
    const fault *f = p->plan.fault;
    hk_batch batch;
    if (!hk_loader_next(p->loader, &batch) && !hk_loader_next(p->loader, &batch)) return false;
    step->x = fault_inputs(f, batch.x);
    step->y = fault_labels(f, batch.y);
    if (!fault_is(f, FAULT_NOT_ZEROED)) hk_optimizer_zero_grad(p->opt);
    step->out = hk_forward(p->net, step->x);
    step->loss = hk_cross_entropy(step->out, step->y);
    if (hk_backward(p->ctx, step->loss)) return false;
    return fault_is(f, FAULT_NO_STEP) || hk_optimizer_step(p->opt) == HK_OK;
}
