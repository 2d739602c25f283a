/* conv_block.c: convolution, activation and 2 x 2 max pooling as one operation.
   SPDX-License-Identifier: MIT

   One after the other, these write an image of the convolution's size five times and read it as often, forward and
   backward, where the pooled one is a quarter of it. Here the image stays in the cache of the core that made it:

     forward    z = x * w + b, a = f(z), y = the largest of each 2 x 2 of a; kept are y, which of the four it was,
                and z there if f' wants it.
     backward   g·f'(z) where the largest was, 0 elsewhere, straight to the convolution's backward.

   The arithmetic is that of the three operations, so the bits are too. A GPU has a launch for all of forward
   (conv_block_kernels.cu), and its convolution reads g and winners as they are. */
#include "conv_block.h"

#include <string.h>

#include "activation.h"
#include "conv_block_kernels.h"
#include "conv_ops.h"
#include "gpu.h"
#include "pool_kernels.h"

typedef struct block_attr {
    hk_conv2d_config conv;
    hk_activation_spec spec;
} block_attr;

enum { WINNER = 1, CHOSEN = 2 };

/* --- what both directions look at ------------------------------------------------------------------------- */

typedef struct block {
    const block_attr *attr;
    const hk__activation_kernels_row *f;
    const hk__pool2d_kernels *pool; /* the CPU's */
    hk__conv c;
    size_t size;      /* of an element */
    int64_t channels; /* all of them */
    char *y, *chosen;
    uint8_t *winner;
    char *room; /* forward: f(z), by worker */
    size_t room_bytes;
    const char *g; /* backward: the gradient of z where the largest was */
} block;

static int64_t pooled(const block *b) { return b->c.oh / 2 * (b->c.ow / 2); }

static block block_of(hk_op_call *c, const hk__conv *sizes) {
    const block_attr *attr = c->attr;
    const hk__stamp stamp = hk__stamp_of(c->ctx, c->in[0]->dtype);
    return (block){.attr = attr,
                   .f = &hk__activation_tables[stamp]->row[hk__row_of(attr->spec.info)],
                   .pool = HK_ON_GPU(c->ctx) ? NULL : hk__pool2d_tables[stamp],
                   .c = *sizes,
                   .size = hk_dtype_size(c->in[0]->dtype),
                   .channels = sizes->groups * sizes->oc,
                   .y = c->out[0]->data,
                   .winner = c->out[WINNER]->data,
                   .chosen = c->n_out > CHOSEN ? c->out[CHOSEN]->data : NULL};
}

/* out[i] = the element of plane that won window i. */
static void choose(const block *b, const char *plane, const uint8_t *winner, char *out) {
    const int64_t w = b->c.ow, ow = w / 2;
    for (int64_t i = 0; i < b->c.oh / 2; i++)
        for (int64_t j = 0; j < ow; j++, winner++, out += b->size) {
            const int64_t at = (2 * i + *winner / 2) * w + 2 * j + *winner % 2;
            memcpy(out, plane + (size_t)at * b->size, b->size);
        }
}

/* --- forward ---------------------------------------------------------------------------------------------------- */

static void take(void *arg, int64_t image, void *z, int worker) {
    const block *b = arg;
    const int64_t plane = b->c.oh * b->c.ow, n = b->channels * plane, small = pooled(b);
    char *a = b->room + (size_t)worker * b->room_bytes;
    const int64_t whole = (n + HK_MAP_STEP - 1) / HK_MAP_STEP * HK_MAP_STEP;
    memset((char *)z + (size_t)n * b->size, 0, (size_t)(whole - n) * b->size);
    b->f->plain_value(whole, (void *[]){a, z}, b->attr->spec.value);
    for (int64_t o = 0; o < b->channels; o++) {
        const int64_t at = (image * b->channels + o) * small;
        b->pool->max_2x2(a + (size_t)(o * plane) * b->size, b->c.oh, b->c.ow,
                         b->y + (size_t)at * b->size, b->winner + at);
        if (b->chosen)
            choose(b, (const char *)z + (size_t)(o * plane) * b->size, b->winner + at,
                   b->chosen + (size_t)at * b->size);
    }
}

static hk_status block_forward(hk_op_call *c) {
    const block_attr *attr = c->attr;
    hk__conv s;
    HK_TRY(hk__conv2d_check(c, &attr->conv, &s));
    if (s.oh < 2 || s.ow < 2)
        return hk__shapes_differ(c, "what comes out is too small for max_pool2d behind it",
                                 c->in[0], c->in[1]);
    const hk_dtype dtype = c->in[0]->dtype;
    const hk_shape shape = HK_SHAPE(s.n, s.groups * s.oc, s.oh / 2, s.ow / 2);
    hk_tensor *x = hk_contiguous(c->in[0]), *w = hk_contiguous(c->in[1]);
    hk_tensor *bias = c->n_in == 3 ? hk_contiguous(c->in[2]) : NULL;
    if (!x || !w || !hk_op_output(c, 0, dtype, shape) || !hk_op_output(c, WINNER, HK_U8, shape) ||
        (c->n_out > CHOSEN && !hk_op_output(c, CHOSEN, dtype, shape)))
        return hk_error(c->ctx);
    block b = block_of(c, &s);
    if (HK_ON_GPU(c->ctx)) {
        if (hk_shape_count(shape) > 0)
            hk__conv_block_gpu_tables[dtype]->forward(
                c->ctx, &s, hk__row_of(attr->spec.info), attr->spec.value, x->data, w->data,
                bias ? bias->data : NULL, b.y, b.winner, b.chosen);
        return hk_error(c->ctx);
    }
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    const size_t elements = (size_t)(b.channels * s.oh * s.ow + HK_MAP_STEP);
    b.room_bytes = (elements * b.size + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
    b.room = hk__scratch(c->ctx, b.room_bytes * (size_t)hk__pool_threads(c->ctx->pool));
    if (b.room && hk_shape_count(shape) > 0)
        (void)hk__conv_forward(c->ctx, dtype, &s, x->data, w->data, bias ? bias->data : NULL, NULL,
                               take, &b);
    hk__arena_rewind(&c->ctx->scratch, mark);
    return hk_error(c->ctx);
}

/* --- backward and forward mode ----------------------------------------------------------------------------------- */

/* out (+)= along · f', all of the pooled shape. */
static void along_slope(const hk_op_call *c, const block *b, hk_tensor *out, hk_tensor *along,
                        bool accumulate) {
    const int keeps = b->attr->spec.info->keeps;
    hk_tensor *operands[] = {along, keeps & HK_KEEP_INPUT ? c->out[CHOSEN] : along,
                             keeps & HK_KEEP_OUTPUT ? c->out[0] : along};
    hk__map(c->ctx, b->f->plain_slope, b->attr->spec.value, out, 3, operands, accumulate);
}

/* The gradient of one image's z: 0 but where the largest was. */
static void make(void *arg, int64_t image, void *g, int worker) {
    (void)worker;
    const block *b = arg;
    const int64_t plane = b->c.oh * b->c.ow, small = pooled(b);
    for (int64_t o = 0; o < b->channels; o++) {
        const int64_t at = (image * b->channels + o) * small;
        b->pool->max_2x2_backward(b->g + (size_t)at * b->size, b->winner + at, b->c.oh, b->c.ow,
                                  (char *)g + (size_t)(o * plane) * b->size);
    }
}

/* y = max f(z), z = x * w + b: ∂L/∂z = g·f'(z) where z won, and from there as conv2d. */
static hk_status block_backward(hk_op_call *c) {
    const block_attr *attr = c->attr;
    if (hk_shape_count(c->out[0]->shape) == 0) return HK_OK;
    const hk__conv sizes = hk__conv2d_sizes(c, &attr->conv);
    hk_tensor *x = hk_contiguous(c->in[0]), *w = hk_contiguous(c->in[1]);
    hk_tensor *g = hk__empty(c->ctx, c->in[0]->dtype, c->out[0]->shape);
    if (!x || !w || !g) return hk_error(c->ctx);
    block b = block_of(c, &sizes);
    along_slope(c, &b, g, c->gout[0], false);
    b.g = g->data;
    hk__conv_gradients to = {.x = x->data, .w = w->data, .make = make, .arg = &b};
    if (HK_ON_GPU(c->ctx)) {
        to.g = b.g;
        to.winner = b.winner;
    }
    hk_tensor *gx = hk__grad_target(c, 0, &to.add_x), *gw = hk__grad_target(c, 1, &to.add_w);
    hk_tensor *gb = c->n_in == 3 ? hk__grad_target(c, 2, &to.add_b) : NULL;
    to.gx = gx ? gx->data : NULL;
    to.gw = gw ? gw->data : NULL;
    to.gb = gb ? gb->data : NULL;
    return hk__conv_backward(c->ctx, g->dtype, &sizes, &to);
}

/* won = the elements of z that won their windows. */
static void choose_all(const hk_op_call *c, const block *b, hk_tensor *z, hk_tensor *won) {
    if (HK_ON_GPU(c->ctx)) {
        hk__pool2d_axis axis = {.kernel = 2, .stride = 2, .dilation = 1}, rows = axis, cols = axis;
        rows.in = b->c.oh;
        rows.out = b->c.oh / 2;
        cols.in = b->c.ow;
        cols.out = b->c.ow / 2;
        hk__pool2d_gpu_tables[z->dtype]->run(c->ctx, HK__POOL2D_PICK, &rows, &cols, false,
                                             b->c.n * b->channels, z->data, won->data,
                                             c->out[WINNER]->data, false);
        return;
    }
    for (int64_t p = 0; p < b->c.n * b->channels; p++)
        choose(b, (const char *)z->data + (size_t)(p * b->c.oh * b->c.ow) * b->size,
               b->winner + p * pooled(b), (char *)won->data + (size_t)(p * pooled(b)) * b->size);
}

/* Direction of y: that of z where z won, times f'. */
static hk_status block_jvp(hk_op_call *c) {
    const block_attr *attr = c->attr;
    if (hk_shape_count(c->out[0]->shape) == 0) return HK_OK;
    const hk__conv s = hk__conv2d_sizes(c, &attr->conv);
    const block b = block_of(c, &s);
    for (int i = 0; i < c->n_in; i++) {
        if (!c->tin[i]) continue;
        hk_tensor *z = hk__empty(c->ctx, c->in[0]->dtype, HK_SHAPE(s.n, b.channels, s.oh, s.ow));
        hk_tensor *won = hk__empty(c->ctx, c->in[0]->dtype, c->out[0]->shape);
        if (!z || !won) return hk_error(c->ctx);
        if (i == 2)
            hk__copy(c->ctx, z, hk_reshape(c->tin[2], HK_SHAPE(1, b.channels, 1, 1)), false);
        else
            HK_TRY(hk__conv2d_into(c, &s, i == 0 ? c->tin[0] : c->in[0],
                                   i == 1 ? c->tin[1] : c->in[1], NULL, z));
        choose_all(c, &b, z, won);
        bool accumulate;
        hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
        if (!t) return hk_error(c->ctx);
        along_slope(c, &b, t, won, accumulate);
    }
    return hk_error(c->ctx);
}

/* Errors speak of the convolution: the other two refuse nothing that it lets through. */
static const hk_op block_op = {"conv2d", block_forward, block_backward, block_jvp};

/* --- where it stands in for three modules ------------------------------------------------------------------------ */

int hk__conv_block_length(hk_module *const *members, int count) {
    hk_conv2d_config conv;
    hk_tensor *weight, *bias;
    if (count < 3 || !hk__is_conv2d(members[0], &conv, &weight, &bias) ||
        !hk__is_plain_activation(members[1]) || !hk__is_max_pool_2x2(members[2]))
        return 0;
    for (int i = 0; i < 3; i++)
        if (hk__is_hooked(members[i])) return 0;
    const hk_shape z = members[0]->output;
    const bool fits = z.rank == 4 && z.dim[2] >= 2 && z.dim[3] >= 2;
    return fits && !hk__nan_guarded(members[0]->object.ctx) ? 3 : 0;
}

hk_tensor *hk__conv_block_forward(hk_module *const *members, hk_tensor *x) {
    block_attr attr = {.spec = *hk__activation_spec_of(members[1])};
    hk_tensor *in[3] = {x};
    if (!hk__is_conv2d(members[0], &attr.conv, &in[1], &in[2])) return NULL;
    return hk_apply(&block_op, &attr, sizeof attr, in[2] == HK_NO_BIAS ? 2 : 3, in,
                    attr.spec.info->keeps & HK_KEEP_INPUT ? 3 : 2, NULL);
}
