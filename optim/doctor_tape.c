/* doctor_tape.c: what the tape of a step tells: the loss for other weights, gradients against differences, the operation
   before the loss.
   SPDX-License-Identifier: MIT

   Nodes of the tape are run again with other inputs. What a run makes is taken back at its end, so that looking closely
   does not need the memory of many steps. */
#include "doctor.h"
#include "hk_random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hk_status forward(hk_context *ctx, const hk__node *node, hk_tensor *const *in,
                         hk_tensor **out) {
    hk_op_call c = {.ctx = ctx,
                    .op = node->op,
                    .attr = node->attr,
                    .n_in = node->n_in,
                    .n_out = node->n_out,
                    .in = in,
                    .out = out};
    for (int k = 0; k < node->n_out; k++) out[k] = NULL;
    ctx->tape->inside++;
    const bool moving = hk_buffers_enable(ctx, false);
    const hk_status status = node->op->forward(&c);
    hk_buffers_enable(ctx, moving);
    ctx->tape->inside--;
    return status != HK_OK ? status : ctx->status;
}

/* --- the loss for the weights as they are now ------------------------------------------------- */

/* What stands for a tensor in a run: the new output of the node that made it, or itself. */
static hk_tensor *stand_in(hk_tensor *t, hk_tensor *(*made)[HK_OP_MAX_OUT]) {
    const hk__node *node = t->node;
    if (!node) return t;
    for (int k = 0; k < node->n_out; k++)
        if (node->out[k] == t) return made[node->index][k];
    return t;
}

double hk__doctor_replay(hk_context *ctx, const hk_tensor *loss) {
    const hk__node *last = loss->node;
    if (!last || ctx->status != HK_OK) return NAN;
    const hk__step_place start = hk__step_mark(ctx);
    hk_tensor *(*made)[HK_OP_MAX_OUT] = calloc((size_t)last->index + 1, sizeof *made);
    hk_tensor **in = NULL;
    int room = 0;
    double value = NAN;
    for (int64_t i = 0; made && i <= last->index && ctx->status == HK_OK; i++) {
        const hk__node *node = ctx->tape->nodes[i];
        if (node->n_in > room) {
            hk_tensor **more = realloc(in, (size_t)node->n_in * sizeof *in);
            if (!more) break;
            in = more;
            room = node->n_in;
        }
        for (int k = 0; k < node->n_in; k++) in[k] = stand_in(node->in[k], made);
        if (forward(ctx, node, in, made[i]) != HK_OK) break;
        if (i == last->index) value = hk_tensor_item(stand_in((hk_tensor *)(uintptr_t)loss, made));
    }
    free(made);
    free(in);
    hk__step_rewind(ctx, start);
    return value;
}

/* --- one operation's gradient against differences --------------------------------------------- */

enum { DIRECTIONS = 6, STEPS = 3 };
#define CLOSE 0.01 /* no need to look closer */
static const double steps[STEPS] = {1e-2, 1e-3, 1e-4}, JITTER = 0.05;

typedef struct trial {
    hk_context *ctx;
    const hk__node *node;
    hk_tensor **in, **gin, **u; /* inputs off every kink; gradients; weights of the outputs */
    hk_tensor *out[HK_OP_MAX_OUT];
    hk_tensor *near_in, *near_gin, *near_u; /* the same where the host can look at them */
} trial;

static hk_random draws(const char *what, int64_t node, int i) {
    char name[64];
    snprintf(name, sizeof name, "doctor/%s/%d", what, i);
    return hk_random_stream(5, name, (uint64_t)node);
}

static double rms_of(const hk_tensor *t) {
    const int64_t n = hk_shape_count(t->shape);
    return n > 0 ? sqrt(hk__sum_squares(t->ctx, t->dtype, t->data, n) / (double)n) : 0;
}

/* A copy of t where no element stands on a kink, such as a relu's at 0 or between the places of a pool. */
static hk_tensor *off_kinks(hk_tensor *t, int64_t node, int i, hk_tensor *near) {
    hk_tensor *copy = hk__empty(t->ctx, t->dtype, t->shape);
    if (!copy) return NULL;
    hk__copy(t->ctx, copy, t, false);
    const hk_random random = draws("base", node, i);
    const double rms = rms_of(copy), least = rms > 0 ? rms : 1;
    *near = hk__near(copy);
    for (int64_t k = 0; near->data && k < hk_shape_count(t->shape); k++) {
        const double x = hk__number_at(near, k), z = hk_random_normal(random, (uint64_t)k);
        hk__number_put(near, k, x != 0 ? x * (1 + JITTER * z) : JITTER * least * z);
    }
    if (near->data) hk__host_done(copy, near->data);
    return near->data ? copy : NULL;
}

/* <u, out>, and the length of the float rounding in it. flat: copies of what was weighed, for the host; data NULL:
   nothing was. */
static double weigh(const trial *t, hk_tensor *const *out, hk_tensor *flat, double *noise) {
    double sum = 0, squares = 0;
    for (int k = 0; k < t->node->n_out; k++) {
        hk_tensor *copy = t->u[k] ? hk__empty(t->ctx, out[k]->dtype, out[k]->shape) : NULL;
        if (!copy) continue;
        hk__copy(t->ctx, copy, out[k], false);
        flat[k] = hk__near(copy);
        for (int64_t i = 0; flat[k].data && i < hk_shape_count(copy->shape); i++) {
            const double term = hk__number_at(&flat[k], i) * hk__number_at(&t->near_u[k], i);
            sum += term;
            squares += term * term;
        }
    }
    *noise += sqrt(squares) * (t->ctx->config.dtype == HK_F64 ? 1e-16 : 6e-8);
    return sum;
}

/* One input moved along one direction v, and what becomes of it. */
typedef struct way {
    double numeric;  /* (<u, f(in + h·v)> - <u, f(in - h·v)>)/2h */
    double analytic; /* <gradient, v> */
    double spread; /* |f(in + h·v) - f(in - h·v)|²/4h²: what numeric² is on average over all u */
    double noise; /* of numeric, by rounding */
} way;

static double distance(const trial *t, const hk_tensor *a, const hk_tensor *b) {
    double sum = 0;
    for (int k = 0; k < t->node->n_out; k++)
        for (int64_t i = 0; a[k].data && b[k].data && i < hk_shape_count(a[k].shape); i++) {
            const double apart = hk__number_at(&a[k], i) - hk__number_at(&b[k], i);
            sum += apart * apart;
        }
    return sum;
}

static way go(trial *t, int i, int direction, double step) {
    hk_context *ctx = t->ctx;
    hk_tensor *base = t->in[i], *out[HK_OP_MAX_OUT], flat[2][HK_OP_MAX_OUT] = {{{.ctx = NULL}}};
    const hk_tensor *near = &t->near_in[i];
    const hk_random random = draws("direction", t->node->index * DIRECTIONS + direction, i);
    const hk__step_place start = hk__step_mark(ctx);
    const hk__mark scratch = hk__arena_mark(&ctx->scratch);
    double at[2] = {NAN, NAN};
    way w = {.analytic = 0};
    for (int side = 0; side < 2; side++) {
        hk_tensor *moved = hk__empty(ctx, base->dtype, base->shape), to = *base;
        to.data = moved ? hk__host_room(moved) : NULL;
        if (!to.data) break;
        const double h = side ? step : -step;
        for (int64_t k = 0; k < hk_shape_count(base->shape); k++) {
            const double x = hk__number_at(near, k);
            const double v = x * hk_random_normal(random, (uint64_t)k);
            hk__number_put(&to, k, x + h * v);
            /* What the float has really moved by. */
            w.analytic += hk__number_at(&t->near_gin[i], k) * (hk__number_at(&to, k) - x) / h / 2;
        }
        hk__host_done(moved, to.data);
        t->in[i] = moved;
        if (forward(ctx, t->node, t->in, out) == HK_OK)
            at[side] = weigh(t, out, flat[side], &w.noise);
        t->in[i] = base;
    }
    w.numeric = (at[1] - at[0]) / (2 * step);
    w.spread = distance(t, flat[0], flat[1]) / (4 * step * step);
    w.noise /= 2 * step;
    hk__arena_rewind(&ctx->scratch, scratch);
    hk__step_rewind(ctx, start);
    return w;
}

/* Error of the gradient by input i, relative to what is usual for such weights u: by chance <u, f> may hardly change. A
   wrong gradient is wrong for differences of any step, so the least of three counts; and it is 0 if no larger than what
   rounding explains, or bends and kinks, which shorter steps see less of. */
static double error_of(trial *t, int i) {
    double least = HUGE_VAL, before[DIRECTIONS] = {0};
    for (int s = 0; s < STEPS; s++) {
        double apart = 0, size = 0, rounding = 0, wobble = 0;
        for (int d = 0; d < DIRECTIONS; d++) {
            const way w = go(t, i, d, steps[s]);
            apart += (w.numeric - w.analytic) * (w.numeric - w.analytic);
            size += fmax(fmax(w.numeric * w.numeric, w.analytic * w.analytic), w.spread);
            if (s > 0) wobble += (w.numeric - before[d]) * (w.numeric - before[d]);
            before[d] = w.numeric;
            rounding += w.noise * w.noise;
        }
        if (!isfinite(apart) || !isfinite(size)) return 0;
        if (!(size > 400 * rounding)) return s > 0 ? least : 0;
        if (!(apart > 4 * wobble)) return 0;
        least = fmin(least, sqrt(apart / size));
        if (least < CLOSE) return least;
    }
    return least;
}

static bool is_stand_in(const hk_context *ctx, const hk_op *op) {
    for (int i = 0; hk_activation_row(ctx, i); i++)
        if (hk_activation_row(ctx, i)->surrogate &&
            !strcmp(hk_activation_row(ctx, i)->name, op->name))
            return true;
    return false;
}

static bool prepare(trial *t) {
    const hk__node *node = t->node;
    hk_context *ctx = t->ctx;
    bool reached = false;
    for (int k = 0; k < node->n_out; k++) {
        if (!node->out[k]->grad) continue;
        t->u[k] = hk__empty(ctx, node->out[k]->dtype, node->out[k]->shape);
        if (!t->u[k]) return false;
        t->near_u[k] = *t->u[k];
        t->near_u[k].data = hk__host_room(t->u[k]);
        if (!t->near_u[k].data) return false;
        reached = true;
        const hk_random random = draws("weights", node->index, k);
        for (int64_t i = 0; i < hk_shape_count(t->u[k]->shape); i++)
            hk__number_put(&t->near_u[k], i, hk_random_normal(random, (uint64_t)i));
        hk__host_done(t->u[k], t->near_u[k].data);
    }
    for (int i = 0; i < node->n_in; i++) {
        hk_tensor *x = node->in[i];
        t->in[i] = x->requires ? off_kinks(x, node->index, i, &t->near_in[i]) : x;
        t->gin[i] = x->requires ? hk__empty(ctx, x->dtype, x->shape) : NULL;
        if (!t->in[i] || (x->requires && !t->gin[i])) return false;
        if (t->gin[i]) t->gin[i]->clean = true;
    }
    return reached && forward(ctx, node, t->in, t->out) == HK_OK;
}

static bool backward(trial *t) {
    const hk__node *node = t->node;
    hk_op_call c = {.ctx = t->ctx,
                    .op = node->op,
                    .attr = node->attr,
                    .n_in = node->n_in,
                    .n_out = node->n_out,
                    .in = t->in,
                    .out = t->out,
                    .gout = t->u,
                    .gin = t->gin};
    t->ctx->tape->inside++;
    const hk_status status = node->op->backward(&c);
    t->ctx->tape->inside--;
    for (int i = 0; i < node->n_in; i++) {
        if (!t->gin[i]) continue;
        hk__grad_settle(t->gin[i]);
        t->near_gin[i] = hk__near(t->gin[i]);
    }
    return status == HK_OK && t->ctx->status == HK_OK;
}

/* The worst error over the inputs of a node. */
static double check_node(hk_context *ctx, const hk__node *node) {
    const hk__step_place start = hk__step_mark(ctx);
    const hk__mark scratch = hk__arena_mark(&ctx->scratch);
    const size_t n = (size_t)(node->n_in + node->n_out);
    trial t = {.ctx = ctx, .node = node};
    t.in = calloc(2 * n, sizeof *t.in);
    t.near_in = calloc(2 * n, sizeof *t.near_in);
    double worst = 0;
    if (t.in && t.near_in) {
        t.gin = t.in + node->n_in;
        t.u = t.gin + node->n_in;
        t.near_gin = t.near_in + node->n_in;
        t.near_u = t.near_gin + node->n_in;
        if (prepare(&t) && backward(&t))
            for (int i = 0; i < node->n_in; i++)
                if (t.gin[i]) worst = fmax(worst, error_of(&t, i));
    }
    free(t.in);
    free(t.near_in);
    hk__arena_rewind(&ctx->scratch, scratch);
    hk__step_rewind(ctx, start);
    return worst;
}

const char *hk__doctor_place(const hk__doctor *d, const hk__node *node) {
    const hk__watched *best = NULL;
    int64_t least = INT64_MAX;
    for (int i = 0; i < d->n_layers; i++) {
        const hk_tensor *out = d->layers[i].out;
        const hk__node *made = out ? out->node : NULL;
        if (!made || made->index < node->index || made->index >= least) continue;
        best = &d->layers[i];
        least = made->index;
    }
    return best ? hk__place_of(best->module) : "the loss";
}

void hk__doctor_check_gradients(hk__doctor *d, const hk_tensor *loss) {
    const hk__node *last = loss->node;
    for (int64_t i = 0; last && i <= last->index && d->ctx->status == HK_OK; i++) {
        const hk__node *node = d->ctx->tape->nodes[i];
        if (!node->op->backward || is_stand_in(d->ctx, node->op)) continue;
        const double error = check_node(d->ctx, node);
        d->derivative.checked++;
        if (!(error > d->derivative.error)) continue;
        d->derivative.error = error;
        snprintf(d->derivative.op, sizeof d->derivative.op, "%s", node->op->name);
        snprintf(d->derivative.place, sizeof d->derivative.place, "%s", hk__doctor_place(d, node));
    }
}

/* --- what stands before the loss -------------------------------------------------------------- */

static bool is_view(const hk_op *op) {
    static const char *const names[] = {"reshape", "contiguous", "permute", "slice", "cast"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(op->name, names[i]) == 0) return true;
    return false;
}

static bool suits(const char *op) {
    return strcmp(op, "identity") == 0 || strcmp(op, "log_softmax") == 0;
}

static bool is_activation(const hk_context *ctx, const char *op) {
    for (int i = 0; hk_activation_row(ctx, i); i++)
        if (strcmp(hk_activation_row(ctx, i)->name, op) == 0) return !suits(op);
    return false;
}

const hk_tensor *hk__doctor_look_at_loss(hk__doctor *d, const hk_tensor *loss) {
    const hk__node *last = loss->node;
    const hk__node *found = NULL;
    for (int64_t i = last ? last->index : -1; i >= 0 && !found; i--) {
        const hk__node *node = d->ctx->tape->nodes[i];
        if (strcmp(node->op->name, "cross_entropy") == 0 ||
            strcmp(node->op->name, "bce_with_logits") == 0)
            found = node;
    }
    if (!found) return NULL;
    const hk__node *made = found->in[0]->node;
    while (made && is_view(made->op)) made = made->in[0]->node;
    if (made && is_activation(d->ctx, made->op->name)) {
        snprintf(d->output_op, sizeof d->output_op, "%s", made->op->name);
        snprintf(d->output_loss, sizeof d->output_loss, "%s", found->op->name);
        snprintf(d->output_place, sizeof d->output_place, "%s", hk__doctor_place(d, made));
    }
    return strcmp(found->op->name, "cross_entropy") == 0 ? found->out[0] : NULL;
}

/* --- what is not finite ----------------------------------------------------------------------- */

void hk__doctor_find_nonfinite(hk__doctor *d) {
    hk_context *ctx = d->ctx;
    for (int64_t i = 0; ctx->tape && i < ctx->tape->count; i++) {
        const hk__node *node = ctx->tape->nodes[i];
        for (int k = 0; k < node->n_out; k++) {
            hk_tensor *out = node->out[k];
            if ((out->dtype != HK_F32 && out->dtype != HK_F64) || hk__first_nonfinite(ctx, out) < 0)
                continue;
            snprintf(d->nonfinite_place, sizeof d->nonfinite_place, "%s",
                     hk__doctor_place(d, node));
            snprintf(d->nonfinite_what, sizeof d->nonfinite_what, "the result of %s",
                     node->op->name);
            return;
        }
    }
}
