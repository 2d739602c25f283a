/* init.c: initial values of parameters.
   SPDX-License-Identifier: MIT

   Each draw is a function of the seed, the parameter's stream and the element: it does not depend on what
   else there is, on threads, or on the compiler. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hk_random.h"
#include "module.h"

typedef enum shape_of_draw { NORMAL, UNIFORM, ORTHOGONAL } shape_of_draw;

/* One initialiser: its draw, the scale (deviation or bound) of weights, and whether biases are drawn too. */
static const struct {
    const char *name;
    shape_of_draw draw;
    bool biases;
} rows[] = {{"auto", NORMAL, false},    {"torch", UNIFORM, true},
            {"kaiming", NORMAL, false}, {"xavier", UNIFORM, false},
            {"lecun", NORMAL, false},   {"orthogonal", ORTHOGONAL, false}};
enum { AUTO, TORCH, KAIMING, XAVIER, LECUN, ORTHOGONAL_ROWS, COUNT };

int hk_init_count(void) { return COUNT; }
const char *hk_init_name(int i) { return i >= 0 && i < COUNT ? rows[i].name : NULL; }

static int find(const char *name) {
    for (int i = 0; i < COUNT; i++)
        if (strcmp(rows[i].name, name) == 0) return i;
    return -1;
}

hk_status hk__init_check(hk_context *ctx, const char *name) {
    if (!name || find(name) >= 0) return HK_OK;
    char known[128] = "";
    for (size_t used = 0, i = 0; i < COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 rows[i].name);
    return hk_fail(ctx, HK_ERR_NAME, "init", "unknown initialiser '%s'; there are: %s", name,
                   known);
}

static double scale_of(int row, const hk_module *m, const hk_init *init) {
    const double in = init->fan_in > 0 ? (double)init->fan_in : 1;
    const double out = init->fan_out > 0 ? (double)init->fan_out : 1;
    switch (row) {
    case TORCH: return 1 / sqrt(in);
    case KAIMING: return sqrt(2 / in);
    case XAVIER: return sqrt(6 / (in + out));
    case LECUN: return 1 / sqrt(in);
    case ORTHOGONAL_ROWS: return hk__gain_after(m);
    default: return hk__gain_after(m) / sqrt(in);
    }
}

/* Gram-Schmidt on `rows_` rows of `cols` elements, rows_ <= cols, twice for full precision. */
static void orthonormalise(double *a, int64_t rows_, int64_t cols) {
    for (int64_t r = 0; r < rows_; r++) {
        double *row = a + r * cols;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t k = 0; k < r; k++) {
                const double *other = a + k * cols;
                double dot = 0;
                for (int64_t i = 0; i < cols; i++) dot += row[i] * other[i];
                for (int64_t i = 0; i < cols; i++) row[i] -= dot * other[i];
            }
        double norm = 0;
        for (int64_t i = 0; i < cols; i++) norm += row[i] * row[i];
        norm = sqrt(norm);
        for (int64_t i = 0; i < cols; i++) row[i] /= norm;
    }
}

/* t as a matrix (first size, the rest): its rows or its columns, whichever are fewer, become orthonormal. */
static hk_status orthogonal(hk_context *ctx, hk_tensor *t, hk_random stream, double gain) {
    const int64_t count = hk_shape_count(t->shape);
    const int64_t rows_ = t->shape.rank > 0 && t->shape.dim[0] > 0 ? t->shape.dim[0] : 1;
    const int64_t cols = count / rows_;
    const bool wide = rows_ <= cols;
    double *a = malloc(sizeof *a * (size_t)(count + 1));
    if (!a) return hk_fail(ctx, HK_ERR_MEMORY, "init", "no memory");
    for (int64_t i = 0; i < count; i++) a[i] = hk_random_normal(stream, (uint64_t)i);
    orthonormalise(a, wide ? rows_ : cols, wide ? cols : rows_);
    for (int64_t r = 0; r < rows_; r++)
        for (int64_t k = 0; k < cols; k++)
            hk__number_put(t, r * cols + k, gain * (wide ? a[r * cols + k] : a[k * rows_ + r]));
    free(a);
    return HK_OK;
}

static void constant(hk_tensor *t, const hk_init *init, hk_random stream) {
    for (int64_t i = 0; i < hk_shape_count(t->shape); i++) {
        double v = init->value;
        if (init->normal != 0) v += init->normal * hk_random_normal(stream, (uint64_t)i);
        if (init->uniform != 0)
            v += init->uniform * (2 * hk_random_uniform(stream, (uint64_t)i) - 1);
        hk__number_put(t, i, v);
    }
}

/* t: the slot's tensor, in memory of the host. */
static hk_status draw(hk_module *m, const hk__slot *slot, int row, hk_tensor *t) {
    hk_context *ctx = m->object.ctx;
    const int64_t count = hk_shape_count(t->shape);
    const hk_random stream = hk_random_stream(ctx->config.seed, slot->stream, 0);
    if (slot->init.kind == HK_INIT_CONSTANT) {
        constant(t, &slot->init, stream);
        return HK_OK;
    }
    if (slot->init.kind == HK_INIT_ZERO || (slot->init.kind == HK_INIT_BIAS && !rows[row].biases)) {
        for (int64_t i = 0; i < count; i++) hk__number_put(t, i, 0);
        return HK_OK;
    }
    const double scale = scale_of(row, m, &slot->init);
    if (rows[row].draw == ORTHOGONAL && t->shape.rank >= 2)
        return orthogonal(ctx, t, stream, scale);
    for (int64_t i = 0; i < count; i++)
        hk__number_put(t, i,
                       rows[row].draw == UNIFORM
                           ? scale * (2 * hk_random_uniform(stream, (uint64_t)i) - 1)
                           : scale * hk_random_normal(stream, (uint64_t)i));
    return HK_OK;
}

hk_status hk__initialise(hk_module *m, const hk__slot *slot, const char *name) {
    hk_context *ctx = m->object.ctx;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    hk_tensor here = *slot->t;
    here.data = hk__host_room(slot->t);
    if (here.data && draw(m, slot, find(name), &here) == HK_OK) hk__host_done(slot->t, here.data);
    hk__arena_rewind(&ctx->scratch, mark);
    return ctx->status;
}
