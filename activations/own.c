/* own.c: a user's own activation: functions in double, called element by element on the caller's thread.
   On a GPU its input comes over and its result goes back, and a step with one is not replayed.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "activation.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS };

/* --- the operation ------------------------------------------------------------------------------------------------ */

/* x and the parameters side by side: contiguous, of x's shape, and where the host can read them: their data is no longer
   that of a tensor on a GPU. In scratch memory; bracket. */
typedef struct operands {
    const hk_activation_functions *functions;
    hk_tensor x, p[MAX];
    const hk__activation_attr *a;
} operands;

static bool here(hk_tensor *t, hk_tensor *copy) {
    if (!t) return false;
    *copy = *t;
    copy->data = (void *)(uintptr_t)hk__host_view(t);
    return t->ctx->status == HK_OK;
}

static bool open_operands(hk_op_call *c, operands *o) {
    const hk__activation_attr *a = c->attr;
    *o = (operands){.functions = &hk__own_of(a->spec.info)->functions, .a = a};
    bool ok = here(hk_contiguous(c->in[0]), &o->x);
    for (int k = 0; k < a->spec.info->n_params && ok; k++)
        if (a->at[k])
            ok = here(hk_contiguous(hk_broadcast_to(c->in[a->at[k]], c->in[0]->shape)), &o->p[k]);
    return ok;
}

static void parameters_at(const operands *o, int64_t i, double p[MAX]) {
    for (int k = 0; k < MAX; k++)
        p[k] = o->a->at[k] ? hk__number_at(&o->p[k], i) : o->a->spec.value[k];
}

/* What each of the functions below does: out[i] = value, by way of the host. */
static hk_status fill_out(hk_tensor *out, const operands *o,
                          double (*at)(const operands *o, const void *arg, int64_t i),
                          const void *arg) {
    hk_tensor room = *out;
    room.data = hk__host_room(out);
    for (int64_t i = 0; room.data && i < hk_shape_count(out->shape); i++)
        hk__number_put(&room, i, at(o, arg, i));
    if (room.data) hk__host_done(out, room.data);
    return out->ctx->status;
}

static double value_at(const operands *o, const void *arg, int64_t i) {
    (void)arg;
    double p[MAX];
    parameters_at(o, i, p);
    return o->functions->value(hk__number_at(&o->x, i), p);
}

static hk_status own_forward(hk_op_call *c) {
    operands o;
    HK_TRY(hk__check_parameters(c));
    if (!hk_op_output(c, 0, c->in[0]->dtype, c->in[0]->shape)) return c->ctx->status;
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    if (open_operands(c, &o)) fill_out(c->out[0], &o, value_at, NULL);
    hk__arena_rewind(&c->ctx->scratch, mark);
    return c->ctx->status;
}

typedef struct slope_of {
    int input; /* 0 is x, k + 1 is parameter k */
    hk_tensor direction;
} slope_of;

static double slope_at(const operands *o, const void *arg, int64_t i) {
    const slope_of *s = arg;
    double p[MAX], d[MAX] = {0};
    parameters_at(o, i, p);
    const double x = hk__number_at(&o->x, i);
    if (s->input > 0) o->functions->param_slopes(x, p, d);
    return hk__number_at(&s->direction, i) *
           (s->input > 0 ? d[s->input - 1] : o->functions->slope(x, p));
}

/* A tensor of x's shape: along · ∂f/∂input. */
static hk_tensor *along(hk_op_call *c, int input, hk_tensor *direction) {
    operands o;
    slope_of s = {.input = input};
    hk_tensor *out = hk__empty(c->ctx, c->in[0]->dtype, c->in[0]->shape);
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    if (out && here(hk_contiguous(direction), &s.direction) && open_operands(c, &o))
        fill_out(out, &o, slope_at, &s);
    hk__arena_rewind(&c->ctx->scratch, mark);
    return c->ctx->status == HK_OK ? out : NULL;
}

static hk_status own_backward(hk_op_call *c) {
    const hk__activation_attr *a = c->attr;
    if (hk_op_needs(c, 0)) HK_TRY(hk_op_add_grad(c, 0, along(c, 0, c->gout[0])));
    for (int k = 0; k < a->spec.info->n_params; k++)
        if (a->at[k] && hk_op_needs(c, a->at[k]))
            HK_TRY(hk_op_add_grad(c, a->at[k], along(c, k + 1, c->gout[0])));
    return HK_OK;
}

static hk_status own_jvp(hk_op_call *c) {
    const hk__activation_attr *a = c->attr;
    if (c->tin[0]) HK_TRY(hk_op_add_tangent(c, 0, along(c, 0, c->tin[0])));
    for (int k = 0; k < a->spec.info->n_params; k++) {
        hk_tensor *t = a->at[k] ? c->tin[a->at[k]] : NULL;
        if (!t) continue;
        t = hk_broadcast_to(t, c->in[0]->shape);
        HK_TRY(hk_op_add_tangent(c, 0, t ? along(c, k + 1, t) : NULL));
    }
    return HK_OK;
}

/* --- checking the derivatives ------------------------------------------------------------------------------------- */

static bool near_kink(const hk_activation_info *info, const double *p, double x) {
    for (int k = 0; k < info->n_kinks; k++)
        if (fabs(x - info->kinks[k]) < 0.01) return true;
    for (int k = 0; k < info->n_params; k++)
        if (info->params[k].kink && fabs(x - p[k]) < 0.01) return true;
    return false;
}

static hk_status compare(hk_context *ctx, const hk_activation_info *info, const char *by, double x,
                         double given, double numeric) {
    const double scale = fmax(1, fmax(fabs(given), fabs(numeric)));
    if (fabs(given - numeric) <= 1e-6 * scale) return HK_OK;
    return hk_fail(ctx, HK_ERR_CHECK, "hk_activation_define",
                   "%s: the derivative by %s at x = %g is given as %.9g, but differences say %.9g",
                   info->name, by, x, given, numeric);
}

static hk_status check_at(hk_context *ctx, const hk_activation_info *info,
                          const hk_activation_functions *f, const double *p, double x) {
    const double h = 6e-6 * fmax(1, fabs(x));
    HK_TRY(compare(ctx, info, "x", x, f->slope(x, p),
                   (f->value(x + h, p) - f->value(x - h, p)) / (2 * h)));
    double d[MAX] = {0};
    if (info->n_params > 0) f->param_slopes(x, p, d);
    for (int k = 0; k < info->n_params; k++) {
        double low[MAX], high[MAX];
        memcpy(low, p, sizeof low);
        memcpy(high, p, sizeof high);
        const double step = 6e-6 * fmax(1, fabs(p[k]));
        low[k] -= step;
        high[k] += step;
        HK_TRY(compare(ctx, info, info->params[k].name, x, d[k],
                       (f->value(x, high) - f->value(x, low)) / (2 * step)));
    }
    return HK_OK;
}

static hk_status check(hk_context *ctx, const hk_activation_info *info,
                       const hk_activation_functions *f) {
    double p[MAX] = {0};
    for (int k = 0; k < info->n_params; k++) p[k] = info->params[k].value;
    for (int i = 0; i < 400; i++) {
        const double x = -5 + (i + 0.37) / 40;
        if (!near_kink(info, p, x)) HK_TRY(check_at(ctx, info, f, p, x));
    }
    return HK_OK;
}

/* --- the context's list --------------------------------------------------------------------------------------------- */

static void own_free(hk__object *object) {
    hk__own_activation *own = (hk__own_activation *)object;
    free((void *)(uintptr_t)own->info.name);
    free((void *)(uintptr_t)own->info.formula);
    free((void *)(uintptr_t)own->info.derivative);
    free((void *)(uintptr_t)own->info.source);
    for (int k = 0; k < own->info.n_params; k++) free((void *)(uintptr_t)own->info.params[k].name);
    free(own);
}

/* The ring runs from the oldest object to the newest. */
const hk__own_activation *hk__own_activation_at(const hk_context *ctx, int i) {
    for (const hk__object *o = ctx->objects.next; o != &ctx->objects; o = o->next)
        if (o->destroy == own_free && i-- == 0) return (const hk__own_activation *)(const void *)o;
    return NULL;
}

static hk_status check_name(hk_context *ctx, const char *name, const char *letters) {
    if (name && *name && strspn(name, letters) == strlen(name)) return HK_OK;
    return hk_fail(ctx, HK_ERR_NAME, "hk_activation_define", "'%s' is no name: letters are %s",
                   name ? name : "", letters);
}

static hk_status check_parameter(hk_context *ctx, const hk_activation_info *info, int k) {
    static const char *const taken[] = {"learn", "per", "init"};
    const hk_activation_param *p = &info->params[k];
    HK_TRY(check_name(ctx, p->name,
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"));
    bool twice = false;
    for (int i = 0; i < k; i++) twice |= strcmp(p->name, info->params[i].name) == 0;
    for (int i = 0; i < 3; i++) twice |= strcmp(p->name, taken[i]) == 0;
    if (twice)
        return hk_fail(ctx, HK_ERR_NAME, "hk_activation_define", "%s: parameter '%s' is taken",
                       info->name, p->name);
    if ((p->above ? p->value > p->low : p->value >= p->low) && p->value <= p->high) return HK_OK;
    return hk_fail(ctx, HK_ERR_ARGUMENT, "hk_activation_define",
                   "%s: the default of %s, %g, is not from %g to %g", info->name, p->name, p->value,
                   p->low, p->high);
}

static hk_status check_names(hk_context *ctx, const hk_activation_info *info) {
    const char *name = info->name;
    const hk_activation_info *other;
    HK_TRY(check_name(ctx, name, "abcdefghijklmnopqrstuvwxyz_0123456789"));
    for (int i = 0; (other = hk_activation_row(ctx, i)) != NULL; i++)
        if (strcmp(name, other->name) == 0 || (other->alias && strcmp(name, other->alias) == 0))
            return hk_fail(ctx, HK_ERR_NAME, "hk_activation_define", "'%s' is taken", name);
    if (info->n_params < 0 || info->n_params > MAX)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "hk_activation_define", "%s: at most %d parameters",
                       name, MAX);
    if (info->n_kinks < 0 || info->n_kinks > HK_ACTIVATION_MAX_KINKS)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "hk_activation_define", "%s: at most %d kinks", name,
                       HK_ACTIVATION_MAX_KINKS);
    for (int k = 0; k < info->n_params; k++) HK_TRY(check_parameter(ctx, info, k));
    return HK_OK;
}

static const char *copy_of(const char *text, bool *ok) {
    char *copy = strdup(text ? text : "");
    if (!copy) *ok = false;
    return copy;
}

hk_status hk_activation_define(hk_context *ctx, const hk_activation_info *info,
                               const hk_activation_functions *functions) {
    if (!ctx) return HK_ERR_MEMORY;
    HK_TRY(ctx->status);
    if (!info || !functions || !functions->value || !functions->slope ||
        (info->n_params > 0 && !functions->param_slopes))
        return hk_fail(
            ctx, HK_ERR_ARGUMENT, "hk_activation_define",
            "a name, a value and a slope are needed, and slopes of parameters if there are any");
    HK_TRY(check_names(ctx, info));
    HK_TRY(check(ctx, info, functions));
    hk__own_activation *own = calloc(1, sizeof *own);
    if (!own) return hk_fail(ctx, HK_ERR_MEMORY, "hk_activation_define", "no memory");
    bool ok = true;
    own->info = *info;
    own->info.kind = HK_ACTIVATION_OWN;
    own->info.keeps = HK_KEEP_INPUT;
    own->info.alias = own->info.gate = own->info.starts_as = NULL;
    own->info.name = copy_of(info->name, &ok);
    own->info.formula = copy_of(info->formula, &ok);
    own->info.derivative = copy_of(info->derivative, &ok);
    own->info.source = copy_of(info->source, &ok);
    for (int k = 0; k < info->n_params; k++) {
        own->info.params[k].name = copy_of(info->params[k].name, &ok);
        own->info.params[k].words = NULL;
    }
    own->info.inits[0].name = NULL;
    own->functions = *functions;
    own->op = (hk_op){own->info.name, own_forward, own_backward, own_jvp};
    hk__object_add(ctx, &own->object, own_free);
    return ok ? HK_OK : hk_fail(ctx, HK_ERR_MEMORY, "hk_activation_define", "no memory");
}
