/* doctor_units.c: dead and saturated units of a network that is being examined.
   SPDX-License-Identifier: MIT */
#include "doctor.h"

#include "hk_units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool has_activation(const hk__doctor *d) {
    for (int i = 0; i < d->n_layers; i++)
        if (d->layers[i].ran && d->layers[i].module->cls == &hk__activation_class) return true;
    return false;
}

static const hk_activation_spec *spec_of(const hk__doctor *d, const char *name) {
    for (int i = 0; i < d->n_layers; i++)
        if (d->layers[i].module->cls == &hk__activation_class &&
            strcmp(hk_module_name(d->layers[i].module), name) == 0)
            return hk__activation_spec_of(d->layers[i].module);
    return NULL;
}

static bool is_bounded(const hk_activation_spec *spec) {
    return fabs(hk_activation_value(spec, 1e6)) < 1e3 &&
           fabs(hk_activation_value(spec, -1e6)) < 1e3;
}

/* What is dead with an output of 0 is named so; what is dead where it is flat elsewhere, as tanh at 1, is
   saturated. A relu that is seldom on has small slopes too, but is not saturated. */
static void note_layer(const hk__doctor *d, const hk_units_layer *layer, hk__worst *worst) {
    const hk_activation_spec *spec = spec_of(d, layer->name);
    /* With a stand-in for f', f' itself says nothing of what gradients do. */
    if (layer->units < 2 || !spec || spec->info->surrogate > 0) return;
    const int64_t zero = layer->dead < layer->zero ? layer->dead : layer->zero;
    const double dead = (double)zero / (double)layer->units;
    const double saturated = is_bounded(spec) ? (double)layer->saturated / (double)layer->units : 0;
    if (dead > worst->dead) {
        worst->dead = dead;
        worst->units = layer->units;
        worst->by_bias = layer->dead_by_bias;
        snprintf(worst->dead_place, sizeof worst->dead_place, "%s", layer->name);
        snprintf(worst->dead_name, sizeof worst->dead_name, "%s", layer->activation);
    }
    if (saturated > worst->saturated) {
        worst->saturated = saturated;
        snprintf(worst->saturated_place, sizeof worst->saturated_place, "%s", layer->name);
        snprintf(worst->saturated_name, sizeof worst->saturated_name, "%s", layer->activation);
    }
}

static hk_status look(hk__doctor *d, hk_units *units, hk__worst *worst) {
    for (int i = 0; i < d->n_probes; i++) {
        HK_TRY(hk_units_add(units, d->probes[i]));
        HK_TRY(hk_step_end(d->ctx));
    }
    HK_TRY(hk_units_end(units));
    for (int i = 0; i < hk_units_count(units); i++)
        note_layer(d, hk_units_layer_at(units, i), worst);
    return HK_OK;
}

static void swap(hk_tensor *a, hk_tensor *b) {
    hk_tensor *was = hk_tensor_keep(a);
    if (!was) return;
    hk__doctor_copy(a, b);
    hk__doctor_copy(b, was);
    hk_tensor_destroy(was);
}

/* The weights and buffers of the start for those of the end, and back. */
static void exchange(hk__doctor *d) {
    for (int i = 0; i < d->n_params; i++) swap(d->params[i].param, d->params[i].start);
    for (int i = 0; i < d->n_buffers; i++) swap(d->net->all_buffers[i], d->buffers[i]);
}

hk_status hk__doctor_look_at_units(hk__doctor *d) {
    if (d->n_probes == 0 || d->data.x_nonfinite > 0 || !has_activation(d)) return HK_OK;
    hk_units *units = hk_units_create(d->net, NULL);
    hk_status status = d->ctx->status;
    if (status == HK_OK && d->nonfinite_step == 0) status = look(d, units, &d->ended);
    if (status == HK_OK && d->nonfinite_step != 1) {
        exchange(d);
        status = look(d, units, &d->begun);
        exchange(d);
    }
    hk_units_destroy(units);
    return status;
}
