/* ops_fixture.h: every operation of hk_ops.h with inputs that suit it.
   SPDX-License-Identifier: MIT */
#ifndef HK_OPS_FIXTURE_H
#define HK_OPS_FIXTURE_H

#include "testing.h"

enum { LABELS = 1, MASK = 2, INDEX = 3 };

typedef struct operand {
    hk_shape shape;
    double low, high, grid;
    int integers; /* LABELS and INDEX: i32 in [0, 3); MASK: u8 in [0, 2) */
} operand;

typedef struct row {
    const char *name;
    hk_function *fn;
    int n;
    operand in[3];
    bool none;  /* carries no gradient */
    bool other; /* cast: has a test of its own, as f32 is too coarse for differences */
} row;

#define FN(name, expr)                                                                             \
    static hk_tensor *f_##name(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {          \
        (void)ctx, (void)n, (void)arg;                                                             \
        return (expr);                                                                             \
    }                                                                                              \
    WANTS_SEMICOLON
#define FN1(name) FN(name, hk_##name(in[0]))
#define FN2(name) FN(name, hk_##name(in[0], in[1]))
FN2(add);
FN2(sub);
FN2(mul);
FN2(div);
FN2(pow);
FN2(maximum);
FN2(minimum);
FN1(neg);
FN1(abs);
FN1(exp);
FN1(log);
FN1(sqrt);
FN(clamp, hk_clamp(in[0], -0.45, 0.65));
FN(scale, hk_scale(in[0], -1.5, 0.25));
FN(where, hk_where(in[0], in[1], in[2]));
FN2(less);
FN2(less_equal);
FN2(greater);
FN2(greater_equal);
FN2(equal);
FN2(not_equal);
FN(cast, hk_cast(hk_cast(in[0], HK_F32), HK_F64));
FN2(matmul);
FN(affine, hk_affine(in[0], in[1], in[2]));
FN(sum, hk_sum(in[0], HK_AXIS(1), false));
FN(mean, hk_mean(in[0], HK_AXIS(0) | HK_AXIS(2), true));
FN(var, hk_var(in[0], HK_AXIS(0) | HK_AXIS(2), 1, false));
FN(max, hk_max(in[0], HK_AXIS(1), false));
FN(argmax, hk_argmax(in[0], 1, false));
FN(uniform_like, hk_uniform_like(in[0], -1, 1, "uniform"));
FN(softmax, hk_softmax(in[0], 1));
FN(log_softmax, hk_log_softmax(in[0], -1));
FN(reshape, hk_reshape(in[0], HK_SHAPE(5, -1)));
FN(flatten_from, hk_flatten_from(in[0], 1));
FN(transpose, hk_transpose(in[0], 0, 2));
FN(permute, hk_permute(in[0], (const int[]){2, 0, 1}));
FN(slice, hk_slice(in[0], 1, 1, 2));
FN(broadcast_to, hk_broadcast_to(in[0], HK_SHAPE(2, 3, 5)));
FN(concat, hk_concat(2, in, -1));
FN(stack, hk_stack(2, in, 1));
FN(pad, hk_pad(in[0], (const int64_t[]){1, 0, 2}, (const int64_t[]){0, 3, 1}, 0.5));
FN2(gather_rows);
FN(contiguous, hk_contiguous(hk_transpose(in[0], 0, 1)));
FN(dropout_op, hk_dropout_op(in[0], 0.4, "walk"));
FN(alpha_dropout_op, hk_alpha_dropout_op(in[0], 0.4, "walk"));
FN2(cross_entropy);
FN(cross_entropy_smooth, hk_cross_entropy_smooth(in[0], in[1], 0.1));
FN2(mse);
FN2(l1);
FN(huber, hk_huber(in[0], in[1], 0.55));
FN2(bce_with_logits);

static hk_tensor *f_split(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    hk_tensor *part[3];
    const int64_t sizes[] = {1, 3, 1};
    if (hk_split(in[0], 2, 3, sizes, part) != HK_OK) return NULL;
    return hk_mul(part[1], hk_add(part[0], hk_exp(part[2])));
}

#define CUBE                                                                                       \
    { {3, {2, 3, 5}}, -2, 2, 0, 0 }
#define PAIR                                                                                       \
    {                                                                                              \
        {{2, {3, 5}}, -2.0, 2, 0.1, 0}, { {2, {3, 5}}, -2.03, 2, 0.1, 0 }                          \
    }
#define ROW(id, count, ...)                                                                        \
    { .name = #id, .fn = f_##id, .n = count, .in = __VA_ARGS__ }
static const row rows[] = {
    ROW(add, 2, PAIR),
    ROW(sub, 2, PAIR),
    ROW(mul, 2, PAIR),
    ROW(maximum, 2, PAIR),
    ROW(minimum, 2, PAIR),
    ROW(div, 2, {CUBE, {{2, {3, 5}}, 0.5, 2, 0, 0}}),
    ROW(pow, 2, {{{3, {2, 3, 5}}, 0.3, 2, 0, 0}, {{1, {5}}, -2, 3, 0, 0}}),
    ROW(neg, 1, {CUBE}),
    ROW(exp, 1, {CUBE}),
    ROW(scale, 1, {CUBE}),
    ROW(abs, 1, {{{3, {2, 3, 5}}, -1.95, 2, 0.1, 0}}),
    ROW(clamp, 1, {{{3, {2, 3, 5}}, -2, 2, 0.1, 0}}),
    ROW(log, 1, {{{3, {2, 3, 5}}, 0.3, 2, 0, 0}}),
    ROW(sqrt, 1, {{{3, {2, 3, 5}}, 0.3, 2, 0, 0}}),
    ROW(where, 3, {{{2, {3, 5}}, 0, 2, 0, MASK}, CUBE, CUBE}),
    ROW(less, 2, PAIR, .none = true),
    ROW(less_equal, 2, PAIR, .none = true),
    ROW(greater, 2, PAIR, .none = true),
    ROW(greater_equal, 2, PAIR, .none = true),
    ROW(equal, 2, PAIR, .none = true),
    ROW(not_equal, 2, PAIR, .none = true),
    ROW(argmax, 1, {CUBE}, .none = true),
    ROW(uniform_like, 1, {CUBE}, .none = true),
    ROW(cast, 1, {CUBE}, .other = true),
    ROW(matmul, 2, {{{3, {2, 3, 5}}, -2, 2, 0, 0}, {{2, {5, 7}}, -2, 2, 0, 0}}),
    ROW(affine, 3, {CUBE, {{2, {7, 5}}, -2, 2, 0, 0}, {{1, {7}}, -2, 2, 0, 0}}),
    ROW(sum, 1, {CUBE}),
    ROW(mean, 1, {CUBE}),
    ROW(var, 1, {CUBE}),
    ROW(max, 1, {CUBE}),
    ROW(softmax, 1, {CUBE}),
    ROW(log_softmax, 1, {CUBE}),
    ROW(reshape, 1, {CUBE}),
    ROW(flatten_from, 1, {CUBE}),
    ROW(transpose, 1, {CUBE}),
    ROW(permute, 1, {CUBE}),
    ROW(slice, 1, {CUBE}),
    ROW(split, 1, {CUBE}),
    ROW(broadcast_to, 1, {{{2, {3, 1}}, -2, 2, 0, 0}}),
    ROW(concat, 2, {CUBE, CUBE}),
    ROW(stack, 2, {CUBE, CUBE}),
    ROW(pad, 1, {CUBE}),
    ROW(gather_rows, 2, {{{2, {3, 5}}, -2, 2, 0, 0}, {{2, {2, 3}}, 0, 3, 0, INDEX}}),
    ROW(contiguous, 1, {CUBE}),
    ROW(dropout_op, 1, {CUBE}),
    ROW(alpha_dropout_op, 1, {CUBE}),
    ROW(cross_entropy, 2, {{{2, {5, 3}}, -2, 2, 0, 0}, {{1, {5}}, 0, 3, 0, LABELS}}),
    ROW(cross_entropy_smooth, 2, {{{2, {5, 3}}, -2, 2, 0, 0}, {{1, {5}}, 0, 3, 0, LABELS}}),
    ROW(mse, 2, PAIR),
    ROW(l1, 2, PAIR),
    ROW(huber, 2, PAIR),
    ROW(bce_with_logits, 2, {{{2, {3, 5}}, -2, 2, 0, 0}, {{2, {3, 5}}, 0, 1, 0, 0}}),
};

/* Makes a row's inputs; returns which are not to be differentiated for. */
static const bool *inputs(hk_context *ctx, hk_dtype dtype, const row *r, hk_tensor **in) {
    static bool skip[3];
    for (int i = 0; i < r->n; i++) {
        const operand *o = &r->in[i];
        char name[64];
        snprintf(name, sizeof name, "%s/%d", r->name, i);
        skip[i] = o->integers != 0;
        const hk_dtype integer = o->integers == MASK ? HK_U8 : HK_I32;
        in[i] = seeded(ctx, skip[i] ? integer : dtype, o->shape, name, o->low, o->high, o->grid);
    }
    return skip;
}

#endif
