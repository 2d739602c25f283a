/* activate.c: the tape operation of pointwise activations, y = f(x; parameters).
   SPDX-License-Identifier: MIT

   in[0] is x, the other inputs are those parameters that are tensors. Two ways through:
   - Parameters that are the same number for long stretches of x, the whole of it (one for the layer) or one
     channel's plane: kernels take them as numbers, and backward forms the input's gradient and the sums of the
     parameters' gradients in one pass.
   - Any other shape that broadcasts: parameters are operands like x; their gradients are formed element by
     element, then summed. */
#include <string.h>

#include "activation.h"
#include "gpu.h"

enum { PIECE = 4096, TILE = HK__ACTIVATION_TILE, MAX = HK_ACTIVATION_MAX_PARAMS };

/* --- parameters as numbers ---------------------------------------------------------------------------------- */

/* Whether every parameter is one number. Then they are in value. Those that lie on a GPU stay there. */
static bool all_numbers(const hk_op_call *c, double value[MAX]) {
    const hk__activation_attr *a = c->attr;
    for (int i = 1; i < c->n_in; i++)
        if (HK_ON_GPU(c->ctx) || hk_shape_count(c->in[i]->shape) != 1) return false;
    for (int k = 0; k < a->spec.info->n_params; k++)
        value[k] = a->at[k] ? hk__number_at(c->in[a->at[k]], 0) : a->spec.value[k];
    return true;
}

static bool is_channel_vector(const hk_tensor *t, hk_shape x) {
    const int axis = t->shape.rank - (x.rank - 1); /* where x's axis 1 is in t */
    return axis >= 0 && axis < t->shape.rank && t->shape.dim[axis] == x.dim[1] &&
           hk_shape_count(t->shape) == x.dim[1] && hk__is_contiguous(t);
}

/* Whether x falls into stretches that are long enough for a call each. */
static bool has_stretches(const hk_op_call *c, hk__stretches *s) {
    const hk__activation_attr *a = c->attr;
    const hk_shape x = c->in[0]->shape;
    *s = (hk__stretches){.length = hk_shape_count(x), .count = 1, .channels = 1};
    if (!hk__is_contiguous(c->in[0]) || s->length == 0) return false;
    bool per_channel = false;
    for (int i = 1; i < c->n_in; i++) per_channel |= hk_shape_count(c->in[i]->shape) != 1;
    if (!per_channel) return true;
    if (x.rank < 3) return false;
    s->channels = x.dim[1];
    s->count = x.dim[0] * x.dim[1];
    s->length /= s->count;
    for (int k = 0; k < a->spec.info->n_params; k++) {
        const hk_tensor *t = a->at[k] ? c->in[a->at[k]] : NULL;
        if (!t || hk_shape_count(t->shape) == 1) continue;
        if (!is_channel_vector(t, x)) return false;
        s->stride[k] = 1;
    }
    return s->length >= HK_MAP_STEP;
}

/* One pass over stretches, cut into pieces. */
typedef struct pass {
    const hk_op_call *c;
    const hk__activation_kernels_row *kernels;
    hk__stretches s;
    int n_params;
    int64_t pieces; /* of each stretch */
    size_t size;    /* bytes of an element */
    char *out;      /* y, or the gradient of x, or NULL if that is not needed */
    const char *g;  /* NULL: forward */
    bool accumulate, streamed;
    double *sums; /* [stretch·pieces][n_params] */
} pass;

/* m <= TILE elements from byte `at` on. Where the kernel cannot write in place, it writes to a tile. */
static void pass_tile(const pass *p, size_t at, int64_t m, const double *value, void *lanes) {
    _Alignas(HK_ALIGN) char tile[4][TILE * sizeof(double)];
    const hk_op_call *c = p->c;
    const int64_t whole = (m + HK_MAP_STEP - 1) / HK_MAP_STEP * HK_MAP_STEP;
    const size_t bytes = (size_t)m * p->size;
    const int keeps = ((const hk__activation_attr *)c->attr)->spec.info->keeps;
    const char *x = c->in[0]->data, *y = c->out[0]->data;
    const char *from[4] = {NULL, p->g ? p->g : x, keeps & HK_KEEP_INPUT ? x : p->g,
                           keeps & HK_KEEP_OUTPUT ? y : p->g};
    const int operands = p->g ? 4 : 2;
    void *place[4];
    place[0] = p->out && m == whole && !p->accumulate && !p->streamed ? p->out + at : tile[0];
    for (int k = 1; k < operands; k++) {
        place[k] = (void *)(uintptr_t)(from[k] + at);
        if (p->streamed) hk__map_ask(from[k] + at + HK_MAP_AHEAD * p->size, bytes);
        if (m == whole) continue;
        memcpy(tile[k], from[k] + at, bytes);
        memset(tile[k] + bytes, 0, (size_t)(whole - m) * p->size);
        place[k] = tile[k];
    }
    if (lanes)
        p->kernels->learn(whole, place, value, lanes);
    else
        (p->g ? p->kernels->plain_slope : p->kernels->plain_value)(whole, place, value);
    if (!p->out || place[0] != (void *)tile[0]) return;
    if (p->accumulate)
        hk__map_add(p->out + at, tile[0], m, p->size);
    else if (p->streamed && bytes % HK_ALIGN == 0)
        hk__map_stream(c->ctx, p->out + at, tile[0], bytes);
    else
        memcpy(p->out + at, tile[0], bytes);
}

static double sum_of_lanes(const void *lanes, int k, size_t size) {
    double sum = 0;
    for (int i = k * HK__ACTIVATION_LANES; i < (k + 1) * HK__ACTIVATION_LANES; i++)
        sum +=
            size == sizeof(double) ? ((const double *)lanes)[i] : (double)((const float *)lanes)[i];
    return sum;
}

static void pass_piece(void *arg, int64_t b, int worker) {
    (void)worker;
    const pass *p = arg;
    const hk__activation_attr *a = p->c->attr;
    const int64_t stretch = b / p->pieces, channel = stretch % p->s.channels;
    const int64_t first = b % p->pieces * PIECE;
    const int64_t n = p->s.length - first < PIECE ? p->s.length - first : PIECE;
    double value[MAX];
    for (int k = 0; k < p->n_params; k++)
        value[k] = a->at[k] ? hk__number_at(p->c->in[a->at[k]], channel * p->s.stride[k])
                            : a->spec.value[k];
    _Alignas(HK_ALIGN) char lanes[MAX * HK__ACTIVATION_LANES * sizeof(double)];
    if (p->sums) memset(lanes, 0, (size_t)(p->n_params * HK__ACTIVATION_LANES) * p->size);
    const int64_t tile = p->streamed ? HK_MAP_STREAM_TILE : TILE;
    for (int64_t i = 0; i < n; i += tile)
        pass_tile(p, (size_t)(stretch * p->s.length + first + i) * p->size,
                  n - i < tile ? n - i : tile, value, p->sums ? lanes : NULL);
    for (int k = 0; p->sums && k < p->n_params; k++)
        p->sums[b * p->n_params + k] = sum_of_lanes(lanes, k, p->size);
    if (p->streamed) hk__map_streamed();
}

static void run_pass(pass *p) {
    const hk__activation_attr *a = p->c->attr;
    p->kernels = hk__kernels_of(p->c);
    p->n_params = a->spec.info->n_params;
    p->size = hk_dtype_size(p->c->in[0]->dtype);
    p->pieces = (p->s.length + PIECE - 1) / PIECE;
    const size_t bytes = (size_t)(p->s.length * p->s.count) * p->size;
    p->streamed = !p->accumulate && p->out && hk__map_streams(p->out, bytes);
    hk__run(p->c->ctx, p->s.count * p->pieces, pass_piece, p);
}

/* The sums of all pieces of a parameter, in order, as its gradient. */
static hk_status add_sums(hk_op_call *c, const pass *p, int k) {
    const hk__activation_attr *a = c->attr;
    const int input = a->at[k];
    if (!input || !hk_op_needs(c, input)) return HK_OK;
    bool accumulate;
    hk_tensor *grad = hk__grad_target(c, input, &accumulate);
    if (!grad) return c->ctx->status;
    const int64_t channels = p->s.stride[k] ? p->s.channels : 1;
    for (int64_t channel = 0; channel < channels; channel++) {
        double total = accumulate ? hk__number_at(grad, channel) : 0;
        for (int64_t s = channel; s < p->s.count; s += channels)
            for (int64_t i = 0; i < p->pieces; i++)
                total += p->sums[(s * p->pieces + i) * p->n_params + k];
        hk__number_put(grad, channel, total);
    }
    return HK_OK;
}

static hk_status backward_in_stretches(hk_op_call *c, const hk__stretches *s) {
    bool accumulate = false;
    hk_tensor *gx = hk__grad_target(c, 0, &accumulate);
    pass p = {.c = c,
              .s = *s,
              .accumulate = accumulate,
              .out = gx ? gx->data : NULL,
              .g = c->gout[0]->data};
    const hk__activation_attr *a = c->attr;
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    const int64_t pieces = s->count * ((s->length + PIECE - 1) / PIECE);
    p.sums = hk__scratch(c->ctx, (size_t)(pieces * a->spec.info->n_params) * sizeof(double));
    if (p.sums) run_pass(&p);
    for (int k = 0; p.sums && k < p.n_params && c->ctx->status == HK_OK; k++) add_sums(c, &p, k);
    hk__arena_rewind(&c->ctx->scratch, mark);
    return c->ctx->status;
}

/* --- parameters as operands ------------------------------------------------------------------------------------ */

/* out (+)= along · slope by a kernel whose first operands are along, x, y; `which` parameter it is about. A GPU's
   kernel is handed the numbers. */
static void by_operands(const hk_op_call *c, hk__map_fn *fn, int which, hk_tensor *out, int n_first,
                        hk_tensor *const *first, bool accumulate) {
    const hk__activation_attr *a = c->attr;
    const int n_params = a->spec.info->n_params;
    hk_tensor *operands[3 + MAX];
    hk_tensor number[MAX];
    double param[1 + MAX] = {which};
    union {
        float f32;
        double f64;
    } value[MAX];
    memcpy(operands, first, sizeof *first * (size_t)n_first);
    for (int k = 0; k < n_params; k++) {
        param[1 + k] = a->spec.value[k];
        operands[n_first + k] = a->at[k] ? c->in[a->at[k]] : &number[k];
        if (a->at[k]) continue;
        number[k] = (hk_tensor){
            .ctx = c->ctx, .data = HK_ON_GPU(c->ctx) ? NULL : &value[k], .dtype = out->dtype};
        if (out->dtype == HK_F64)
            value[k].f64 = a->spec.value[k];
        else
            value[k].f32 = (float)a->spec.value[k];
    }
    hk__map(c->ctx, fn, param, out, n_first + n_params, operands, accumulate);
}

/* The operands of a slope. What its formula does not look at is not fetched: g stands for it. */
static void slope_operands(const hk_op_call *c, hk_tensor *g, hk_tensor *first[3]) {
    const int keeps = ((const hk__activation_attr *)c->attr)->spec.info->keeps;
    first[0] = g;
    first[1] = keeps & HK_KEEP_INPUT ? c->in[0] : g;
    first[2] = keeps & HK_KEEP_OUTPUT ? c->out[0] : g;
}

/* out (+)= along · ∂f/∂p[k]. */
static void along_parameter(const hk_op_call *c, int k, hk_tensor *out, hk_tensor *along,
                            bool accumulate) {
    hk_tensor *first[3];
    slope_operands(c, along, first);
    by_operands(c, hk__kernels_of(c)->param_slope, k, out, 3, first, accumulate);
}

/* out (+)= along · f'. */
static void along_input(const hk_op_call *c, hk_tensor *out, hk_tensor *along, bool accumulate) {
    double value[MAX];
    hk_tensor *first[3];
    slope_operands(c, along, first);
    if (all_numbers(c, value))
        hk__map(c->ctx, hk__kernels_of(c)->plain_slope, value, out, 3, first, accumulate);
    else
        by_operands(c, hk__kernels_of(c)->slope, 0, out, 3, first, accumulate);
}

/* --- the operation -------------------------------------------------------------------------------------------------- */

hk_status hk__check_parameters(hk_op_call *c) {
    HK_TRY(hk__need_real(c, 0, c->n_in - 1));
    for (int i = 1; i < c->n_in; i++) {
        hk_shape shape;
        if (!hk__broadcast(c->in[0]->shape, c->in[i]->shape, &shape) ||
            !hk_shape_equal(shape, c->in[0]->shape))
            return hk__shapes_differ(c, "a parameter does not broadcast to x", c->in[0], c->in[i]);
    }
    return HK_OK;
}

static hk_status act_forward(hk_op_call *c) {
    HK_TRY(hk__check_parameters(c));
    if (!hk_op_output(c, 0, c->in[0]->dtype, c->in[0]->shape)) return c->ctx->status;
    double value[MAX];
    hk__stretches s;
    if (all_numbers(c, value))
        hk__map(c->ctx, hk__kernels_of(c)->plain_value, value, c->out[0], 1, c->in, false);
    else if (HK_ON_GPU(c->ctx) && has_stretches(c, &s) && hk__gpu_takes_stretches(&s))
        hk__value_gpu(c, &s);
    else if (!HK_ON_GPU(c->ctx) && has_stretches(c, &s))
        run_pass(&(pass){.c = c, .s = s, .out = c->out[0]->data});
    else
        by_operands(c, hk__kernels_of(c)->value, 0, c->out[0], 1, c->in, false);
    return c->ctx->status;
}

static hk_status refuse_without_slope(const hk_op_call *c) {
    const hk_activation_spec *spec = &((const hk__activation_attr *)c->attr)->spec;
    const int chooser = spec->info->surrogate;
    if (!chooser || spec->value[chooser] != 0) return HK_OK;
    return hk_fail(
        c->ctx, HK_ERR_GRADIENT, spec->info->name,
        "its slope is 0 everywhere, so nothing before it would train: choose a stand-in, "
        "%s:%s=%s",
        spec->info->name, spec->info->params[chooser].name,
        strchr(spec->info->params[chooser].words, '|') + 1);
}

static bool needs_parameters(const hk_op_call *c) {
    for (int i = 1; i < c->n_in; i++)
        if (hk_op_needs(c, i)) return true;
    return false;
}

static hk_status act_backward(hk_op_call *c) {
    const hk__activation_attr *a = c->attr;
    HK_TRY(refuse_without_slope(c));
    hk__stretches s;
    if (needs_parameters(c) && has_stretches(c, &s) && hk__is_contiguous(c->gout[0])) {
        if (!HK_ON_GPU(c->ctx)) return backward_in_stretches(c, &s);
        if (hk__gpu_learns(c, &s)) return hk__learn_gpu(c, &s);
    }
    bool accumulate;
    hk_tensor *gx = hk__grad_target(c, 0, &accumulate);
    if (gx) along_input(c, gx, c->gout[0], accumulate);
    for (int k = 0; k < a->spec.info->n_params; k++) {
        if (!a->at[k] || !hk_op_needs(c, a->at[k])) continue;
        hk_tensor *wide = hk__empty(c->ctx, c->in[0]->dtype, c->in[0]->shape);
        if (!wide) return c->ctx->status;
        along_parameter(c, k, wide, c->gout[0], false);
        HK_TRY(hk_op_add_grad(c, a->at[k], wide));
    }
    return c->ctx->status;
}

static hk_status act_jvp(hk_op_call *c) {
    const hk__activation_attr *a = c->attr;
    HK_TRY(refuse_without_slope(c));
    bool accumulate;
    if (c->tin[0]) {
        hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
        if (t) along_input(c, t, c->tin[0], accumulate);
    }
    for (int k = 0; k < a->spec.info->n_params; k++) {
        if (!a->at[k] || !c->tin[a->at[k]]) continue;
        hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
        if (t) along_parameter(c, k, t, c->tin[a->at[k]], accumulate);
    }
    return c->ctx->status;
}

/* One hk_op for each row, so that errors and listings name the activation. */
static const hk_op act_ops[HK__ACT_COUNT] = {
#define HK_ACTIVATION(name, ...) {#name, act_forward, act_backward, act_jvp},
#include "activations.def"
#undef HK_ACTIVATION
};

hk_tensor *hk__apply_activation(const hk_op *op, hk_tensor *x, const hk_activation_spec *spec,
                                hk_tensor *const *params) {
    hk__activation_attr a = {.spec = *spec};
    hk_tensor *in[1 + MAX] = {x};
    int n = 1;
    for (int k = 0; params && k < spec->info->n_params; k++) {
        if (!params[k]) continue;
        a.at[k] = n;
        in[n++] = params[k];
    }
    return hk_apply(op, &a, sizeof a, n, in, 1, NULL);
}

hk_tensor *hk_activate_with(hk_tensor *x, const hk_activation_spec *spec,
                            hk_tensor *const *params) {
    if (spec->info->kind == HK_ACTIVATION_OWN)
        return hk__apply_activation(&hk__own_of(spec->info)->op, x, spec, params);
    if (spec->info->kind != HK_ACTIVATION_POINTWISE) return hk__activate_axis(x, spec);
    return hk__apply_activation(&act_ops[hk__row_of(spec->info)], x, spec, params);
}

hk_tensor *hk_activate(hk_tensor *x, const char *text) {
    hk_activation_spec spec;
    if (!x || hk_activation_parse(x->ctx, text, &spec) != HK_OK) return NULL;
    return hk_activate_with(x, &spec, NULL);
}
