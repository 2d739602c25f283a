/* optimizer.c: what an optimizer is made of: parameters, state, segments, groups, settings.
   SPDX-License-Identifier: MIT */
#include "optimizer.h"

#include <math.h>
#include <string.h>

#include "gpu.h"
#include "values.h"

/* --- layout ----------------------------------------------------------------------------------- */

static int64_t lines_of(const hk__optim_slot *slot) {
    const int64_t bytes = slot->n * (int64_t)hk_dtype_size(slot->param->dtype);
    return (bytes + HK_ALIGN - 1) / HK_ALIGN;
}

/* Whether memory may be updated from a's start through b's end. Tensors without storage of their
   own lie in a module's buffer, where each starts on a line and the rest of its last line is zero;
   of any other neighbours nothing is known about what lies between them. */
static bool adjoin(const hk__optim_slot *a, const hk__optim_slot *b) {
    if (a->param->storage || b->param->storage || a->grad->storage || b->grad->storage)
        return false;
    const int64_t bytes = lines_of(a) * HK_ALIGN;
    return a->group == b->group && a->param->dtype == b->param->dtype &&
           (const char *)a->param->data + bytes == (const char *)b->param->data &&
           (const char *)a->grad->data + bytes == (const char *)b->grad->data;
}

static void cut_segments(hk_optimizer *opt) {
    opt->n_segments = 0;
    for (int i = 0; i < opt->n_slots; i++) {
        const hk__optim_slot *slot = &opt->slots[i];
        if (i > 0 && adjoin(slot - 1, slot)) {
            hk__segment *last = &opt->segments[opt->n_segments - 1];
            const int64_t per_line = HK_ALIGN / (int64_t)hk_dtype_size(last->dtype);
            last->n = (slot->line - last->line) * per_line + slot->n;
            continue;
        }
        opt->segments[opt->n_segments++] = (hk__segment){
            .dtype = slot->param->dtype,
            .group = slot->group,
            .line = slot->line,
            .n = slot->n,
            .w = slot->param->data,
            .g = slot->grad->data,
        };
    }
}

/* Bringing in a second thread costs about a microsecond, so an update is shared when it takes a few. */
static bool worth_sharing(int64_t lines, int n_state) {
    enum { ALONE = 256 << 10 };
    return lines * HK_ALIGN * (3 + 2 * n_state) > ALONE; /* bytes: w and state both ways, g once */
}

/* --- making one ------------------------------------------------------------------------------- */

hk_status hk__optim_check(hk_context *ctx, const char *where, const char *what, double value,
                          double end) {
    if (value >= 0 && value < end) return HK_OK;
    if (isinf(end))
        return hk_fail(ctx, HK_ERR_ARGUMENT, where, "%s is %g; it must be finite and not negative",
                       what, value);
    return hk_fail(ctx, HK_ERR_ARGUMENT, where, "%s is %g; it must be in [0, %g)", what, value,
                   end);
}

static hk_status check_parameter(hk_context *ctx, const char *where, hk_parameters params, int i) {
    const hk_tensor *p = params.items[i];
    char text[128];
    if (!p)
        return hk_fail(ctx, HK_ERR_ARGUMENT, where, "parameter %d of %d is NULL", i, params.count);
    HK_TRY(hk__check(ctx, p, where));
    if (p->step != 0 || !p->data || !p->grad || !p->grad->data)
        return hk_fail(ctx, HK_ERR_GRADIENT, where, "parameter %d, %s, has no gradient", i,
                       hk__tensor_text(p, text, sizeof text));
    for (int j = 0; j < i; j++)
        if (params.items[j] == p)
            return hk_fail(ctx, HK_ERR_ARGUMENT, where,
                           "parameter %s is listed twice, as %d and %d",
                           hk__tensor_text(p, text, sizeof text), j, i);
    return HK_OK;
}

static hk_status check_all(hk_context *ctx, const hk_optimizer_class *cls, hk_parameters params,
                           double lr, double weight_decay) {
    if (!cls || !cls->name || !cls->update)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "optimizer", "a class needs a name and an update");
    if (cls->n_state < 0 || cls->n_state > HK_OPTIMIZER_MAX_STATE)
        return hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "n_state is %d; it must be in 0 to %d",
                       cls->n_state, HK_OPTIMIZER_MAX_STATE);
    HK_TRY(hk__optim_check(ctx, cls->name, "the rate", lr, INFINITY));
    HK_TRY(hk__optim_check(ctx, cls->name, "weight decay", weight_decay, INFINITY));
    if (params.count < 1 || !params.items)
        return hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "there are no parameters to optimize");
    for (int i = 0; i < params.count; i++) HK_TRY(check_parameter(ctx, cls->name, params, i));
    return HK_OK;
}

/* Whether state and updates are on a GPU. A macro, so that without CUDA nothing of a GPU's is linked at any level of
   optimization. */
#define ON_DEVICE(opt) (HK_ON_GPU((opt)->object.ctx) && (opt)->builtin != NULL)

static void free_memory(hk_optimizer *opt) {
    if (ON_DEVICE(opt)) {
        hk__optimizer_gpu_close(opt);
        hk__values_free(opt->object.ctx, opt->state);
        opt->state = NULL;
    }
    hk__free(opt->hyper);
    hk__free(opt->slots);
    hk__free(opt->segments);
    hk__free(opt->groups);
    hk__free(opt->state);
    hk__free(opt);
}

static void destroy(hk__object *object) {
    free_memory((hk_optimizer *)object); /* its first member */
}

static void fill_slots(hk_optimizer *opt, hk_parameters params) {
    opt->n_slots = params.count;
    for (int i = 0; i < params.count; i++) {
        hk_tensor *p = params.items[i];
        opt->slots[i] = (hk__optim_slot){
            .param = p, .grad = p->grad, .line = opt->lines, .n = hk_shape_count(p->shape)};
        opt->lines += lines_of(&opt->slots[i]);
    }
}

static hk_optimizer *out_of_memory(hk_optimizer *opt, hk_context *ctx, const char *where) {
    if (opt) free_memory(opt);
    hk_fail(ctx, HK_ERR_MEMORY, where, "no memory for the optimizer's state");
    return NULL;
}

/* A step that is replayed computes on the GPU what it did before, with the numbers of its turn. */
static bool prepare_replay(hk__object *object) {
    hk_optimizer *opt = (hk_optimizer *)object;
    return ON_DEVICE(opt) && hk__optimizer_gpu_cells(opt);
}

static void replayed(hk__object *object) {
    hk_optimizer *opt = (hk_optimizer *)object;
    opt->steps++;
    object->ctx->version++;
}

hk_optimizer *hk__optimizer_new(hk_context *ctx, const hk_optimizer_class *cls,
                                const hk__builtin *builtin, hk_parameters params, double lr,
                                double weight_decay, const void *hyper) {
    if (hk_error(ctx) != HK_OK || check_all(ctx, cls, params, lr, weight_decay) != HK_OK)
        return NULL;
    hk_optimizer *opt = hk__alloc(sizeof *opt, true);
    if (!opt) return out_of_memory(NULL, ctx, cls->name);
    opt->object.ctx = ctx;
    opt->builtin = builtin;
    const size_t count = (size_t)params.count;
    opt->hyper = hk__alloc(cls->hyper_size > 0 ? cls->hyper_size : 1, true);
    opt->slots = hk__alloc(count * sizeof *opt->slots, true);
    opt->segments = hk__alloc(count * sizeof *opt->segments, true);
    opt->groups = hk__alloc(sizeof *opt->groups, true);
    if (!opt->hyper || !opt->slots || !opt->segments || !opt->groups)
        return out_of_memory(opt, ctx, cls->name);
    fill_slots(opt, params);
    if (cls->n_state > 0 && opt->lines > 0) {
        const size_t bytes = (size_t)cls->n_state * (size_t)opt->lines * HK_ALIGN;
        opt->state = ON_DEVICE(opt) ? hk__values_alloc(ctx, bytes, true) : hk__alloc(bytes, true);
        if (!opt->state) return out_of_memory(opt, ctx, cls->name);
    }
    opt->cls = *cls;
    if (hyper && cls->hyper_size > 0) memcpy(opt->hyper, hyper, cls->hyper_size);
    opt->groups[0] = (hk__group){.lr_factor = 1, .weight_decay = weight_decay};
    opt->n_groups = 1;
    opt->lr = lr;
    cut_segments(opt);
    opt->shared = worth_sharing(opt->lines, cls->n_state);
    if (ON_DEVICE(opt) && hk__optimizer_gpu_open(opt) != HK_OK) {
        free_memory(opt);
        return NULL;
    }
    hk__object_add(ctx, &opt->object, destroy);
    if (ON_DEVICE(opt)) {
        opt->object.prepare = prepare_replay;
        opt->object.replayed = replayed;
        opt->object.report = hk__optimizer_report_norm;
        opt->object.key = opt->device.cells;
    }
    return opt;
}

hk_optimizer *hk_optimizer_create(hk_context *ctx, const hk_optimizer_class *cls,
                                  hk_parameters params, double lr, double weight_decay,
                                  const void *hyper) {
    return hk__optimizer_new(ctx, cls, NULL, params, lr, weight_decay, hyper);
}

void hk_optimizer_destroy(hk_optimizer *opt) {
    if (!opt) return;
    hk__object_remove(&opt->object);
    free_memory(opt);
}

size_t hk__optimizer_state_bytes(const hk_optimizer *opt) {
    return opt->state ? (size_t)opt->cls.n_state * (size_t)opt->lines * HK_ALIGN : 0;
}

void hk__optimizer_state_read(const hk_optimizer *opt, void *to) {
    const size_t bytes = hk__optimizer_state_bytes(opt);
    if (ON_DEVICE(opt))
        hk__values_read(opt->object.ctx, to, opt->state, bytes);
    else if (bytes > 0)
        memcpy(to, opt->state, bytes);
}

void hk__optimizer_state_write(hk_optimizer *opt, const void *from) {
    const size_t bytes = hk__optimizer_state_bytes(opt);
    if (ON_DEVICE(opt))
        hk__values_write(opt->object.ctx, opt->state, from, bytes);
    else if (bytes > 0)
        memcpy(opt->state, from, bytes);
}

/* --- groups and settings ---------------------------------------------------------------------- */

static bool contains(hk_parameters params, const hk_tensor *p) {
    for (int i = 0; i < params.count; i++)
        if (params.items[i] == p) return true;
    return false;
}

hk_status hk_optimizer_group(hk_optimizer *opt, hk_parameters params, double lr_factor,
                             double weight_decay) {
    if (!opt) return HK_ERR_ARGUMENT;
    hk_context *ctx = opt->object.ctx;
    HK_TRY(hk_error(ctx));
    HK_TRY(hk__optim_check(ctx, opt->cls.name, "a group's factor", lr_factor, INFINITY));
    HK_TRY(hk__optim_check(ctx, opt->cls.name, "a group's weight decay", weight_decay, INFINITY));
    int taken = 0;
    for (int i = 0; i < opt->n_slots; i++) taken += contains(params, opt->slots[i].param);
    if (taken == 0)
        return hk_fail(ctx, HK_ERR_ARGUMENT, opt->cls.name,
                       "none of the group's %d parameters is this optimizer's", params.count);

    hk__group *groups = hk__alloc(((size_t)opt->n_groups + 1) * sizeof *groups, true);
    if (!groups) return hk_fail(ctx, HK_ERR_MEMORY, opt->cls.name, "no memory for a group");
    memcpy(groups, opt->groups, (size_t)opt->n_groups * sizeof *groups);
    groups[opt->n_groups] = (hk__group){.lr_factor = lr_factor, .weight_decay = weight_decay};
    hk__free(opt->groups);
    opt->groups = groups;
    for (int i = 0; i < opt->n_slots; i++)
        if (contains(params, opt->slots[i].param)) opt->slots[i].group = opt->n_groups;
    opt->n_groups++;
    cut_segments(opt);
    hk__steps_forget(ctx);
    if (ON_DEVICE(opt)) return hk__optimizer_gpu_segments(opt);
    return HK_OK;
}

const char *hk_optimizer_name(const hk_optimizer *opt) { return opt ? opt->cls.name : ""; }

int64_t hk_optimizer_steps(const hk_optimizer *opt) { return opt ? opt->steps : 0; }

double hk_optimizer_lr(const hk_optimizer *opt) {
    if (!opt) return 0;
    return opt->scheduled ? hk_schedule_rate(&opt->schedule, opt->lr, opt->steps) : opt->lr;
}

hk_status hk_optimizer_set_lr(hk_optimizer *opt, double lr) {
    if (!opt) return HK_ERR_ARGUMENT;
    HK_TRY(hk_error(opt->object.ctx));
    HK_TRY(hk__optim_check(opt->object.ctx, opt->cls.name, "the rate", lr, INFINITY));
    opt->lr = lr;
    opt->scheduled = false;
    return HK_OK;
}

hk_status hk_optimizer_schedule(hk_optimizer *opt, const hk_schedule *schedule) {
    if (!opt) return HK_ERR_ARGUMENT;
    HK_TRY(hk_error(opt->object.ctx));
    HK_TRY(hk__schedule_check(opt->object.ctx, schedule));
    opt->schedule = *schedule;
    opt->scheduled = true;
    return HK_OK;
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static hk_status set_clip(hk_optimizer *opt, const char *what, double value, double *setting) {
    HK_TRY(hk_error(opt->object.ctx));
    HK_TRY(hk__optim_check(opt->object.ctx, opt->cls.name, what, value, INFINITY));
    hk__setting_flip(opt->object.ctx, setting, bits_of(*setting));
    hk__setting_flip(opt->object.ctx, setting, bits_of(value));
    *setting = value;
    return HK_OK;
}

hk_status hk_optimizer_clip_norm(hk_optimizer *opt, double max_norm) {
    return opt ? set_clip(opt, "max_norm", max_norm, &opt->max_norm) : HK_ERR_ARGUMENT;
}

hk_status hk_optimizer_clip_value(hk_optimizer *opt, double max_value) {
    return opt ? set_clip(opt, "max_value", max_value, &opt->max_value) : HK_ERR_ARGUMENT;
}
