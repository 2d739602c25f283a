/* hk_ops.h: operations on tensors. Each has a forward, a backward (reverse mode) and a jvp (forward mode).
   SPDX-License-Identifier: MIT

   All results are step-owned (see hk_tensor.h). No operation writes into its inputs. On failure the
   first error is kept in the context and NULL is returned; NULL inputs give NULL. Operands broadcast as
   in NumPy: shapes are aligned at the last axis, and a size of 1 stretches. A negative axis counts from
   the end. Inputs of one call share context and, unless said, dtype (HK_F32 or HK_F64); otherwise
   HK_ERR_DTYPE; shapes that do not fit give HK_ERR_SHAPE with both shapes. */
#ifndef HK_OPS_H
#define HK_OPS_H

#include "hk_tensor.h"

HK_BEGIN_DECLS

/* --- element by element ------------------------------------------------------------------------ */
HK_API hk_tensor *hk_add(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_sub(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_mul(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_div(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_pow(hk_tensor *a,
                         hk_tensor *b); /* a^b; d/da = 0 where b = 0, d/db = 0 where a = 0 <= b */
HK_API hk_tensor *hk_maximum(hk_tensor *a,
                             hk_tensor *b); /* a tie gives each half of the gradient; NaN stays */
HK_API hk_tensor *hk_minimum(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_neg(hk_tensor *x);
HK_API hk_tensor *hk_abs(hk_tensor *x); /* gradient 0 at 0 */
HK_API hk_tensor *hk_exp(hk_tensor *x);
HK_API hk_tensor *hk_log(hk_tensor *x);
HK_API hk_tensor *hk_sqrt(hk_tensor *x);
HK_API hk_tensor *hk_clamp(hk_tensor *x, double low,
                           double high); /* gradient 1 on [low, high], ends included */

/* x·scale + shift, with plain numbers. */
HK_API hk_tensor *hk_scale(hk_tensor *x, double scale, double shift);

/* cond (u8) ? a : b; all three broadcast. */
HK_API hk_tensor *hk_where(hk_tensor *cond, hk_tensor *a, hk_tensor *b);

/* Comparisons give u8 masks of 0 and 1 and carry no gradient. */
HK_API hk_tensor *hk_less(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_less_equal(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_greater(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_greater_equal(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_equal(hk_tensor *a, hk_tensor *b);
HK_API hk_tensor *hk_not_equal(hk_tensor *a, hk_tensor *b);

/* Another element type. From f32 to f64 and back it carries gradients; to and from u8 and i32 (which
   round toward zero) it does not. */
HK_API hk_tensor *hk_cast(hk_tensor *x, hk_dtype dtype);

/* --- products ---------------------------------------------------------------------------------- */
/* (..., m, k) · (..., k, n) -> (..., m, n); leading axes broadcast; both of rank 2 or more. */
HK_API hk_tensor *hk_matmul(hk_tensor *a, hk_tensor *b);
/* y: (..., out) = x: (..., in) · w: (out, in)ᵀ + b: (out). b may be HK_NO_BIAS. */
HK_API hk_tensor *hk_affine(hk_tensor *x, hk_tensor *w, hk_tensor *b);
#define HK_NO_BIAS ((hk_tensor *)-1)

/* --- reductions: over a set of axes, a bit for each ---------------------------------------------- */
#define HK_AXIS(i) (1u << (i)) /* axes are counted from the front here: HK_AXIS(0) | HK_AXIS(2) */
#define HK_ALL_AXES 0xffu
/* keep: reduced axes stay with size 1. An empty reduction is an error for mean, var and max. */
HK_API hk_tensor *hk_sum(hk_tensor *x, unsigned axes, bool keep);
HK_API hk_tensor *hk_mean(hk_tensor *x, unsigned axes, bool keep);
/* Sum of squared distances from the mean over (count - correction): 1 unbiased, 0 biased. */
HK_API hk_tensor *hk_var(hk_tensor *x, unsigned axes, double correction, bool keep);
/* Ties share the gradient equally. NaN wins. */
HK_API hk_tensor *hk_max(hk_tensor *x, unsigned axes, bool keep);
/* i32 index of the largest along one axis, the first of a tie, a NaN if there is one; no gradient. */
HK_API hk_tensor *hk_argmax(hk_tensor *x, int axis, bool keep);

HK_API hk_tensor *hk_softmax(hk_tensor *x, int axis);
HK_API hk_tensor *hk_log_softmax(hk_tensor *x, int axis);

/* --- shape: reshape, transpose, slice and split are views where the layout allows ------------------ */
HK_API hk_tensor *hk_reshape(hk_tensor *x, hk_shape shape); /* one size may be -1: worked out */
HK_API hk_tensor *hk_flatten_from(hk_tensor *x, int axis);  /* joins axis and all behind it */
HK_API hk_tensor *hk_transpose(hk_tensor *x, int axis_a, int axis_b);
HK_API hk_tensor *hk_permute(hk_tensor *x, const int *order); /* order: a permutation of the axes */
HK_API hk_tensor *hk_slice(hk_tensor *x, int axis, int64_t start, int64_t length);
/* parts[i] gets `sizes[i]` of the axis; the sizes add up to it. */
HK_API HK_WARN_UNUSED hk_status hk_split(hk_tensor *x, int axis, int n, const int64_t *sizes,
                                         hk_tensor **parts);
HK_API hk_tensor *hk_broadcast_to(hk_tensor *x, hk_shape shape);
HK_API hk_tensor *hk_concat(int n, hk_tensor *const *parts, int axis); /* along an axis they have */
HK_API hk_tensor *hk_stack(int n, hk_tensor *const *parts, int axis);  /* along a new one */
/* before[i], after[i] elements of `value` around axis i; arrays of x's rank. */
HK_API hk_tensor *hk_pad(hk_tensor *x, const int64_t *before, const int64_t *after, double value);
/* out[i...] = x[index[i...]]: rows of x along axis 0, index i32 of any shape. An index outside is
   HK_ERR_ARGUMENT with its place and value. */
HK_API hk_tensor *hk_gather_rows(hk_tensor *x, hk_tensor *index);
/* A contiguous copy, or x itself if it is contiguous. */
HK_API hk_tensor *hk_contiguous(hk_tensor *x);

/* --- dropout ------------------------------------------------------------------------------------ */
/* Zero with probability p in [0, 1), the rest times 1/(1-p). The mask depends on the context's seed, the
   name `stream` and the number of training steps so far alone. Modules call it in training mode only. */
HK_API hk_tensor *hk_dropout_op(hk_tensor *x, double p, const char *stream);
/* For SELU: dropped elements become α' = -λα, then a·x + b keeps mean 0 and variance 1 (Klambauer et al.,
   "Self-normalizing neural networks", 2017). */
HK_API hk_tensor *hk_alpha_dropout_op(hk_tensor *x, double p, const char *stream);

/* Uniform draws from [low, high), of x's shape and type, by the same rule as the masks of dropout. Carries no
   gradient. */
HK_API hk_tensor *hk_uniform_like(hk_tensor *x, double low, double high, const char *stream);

/* --- losses: scalars, means over all elements (cross-entropy: over rows) ------------------------------ */
/* logits: (n, classes), labels: i32 (n). mean over i of log Σ_j exp(logits[i,j]) - logits[i,labels[i]].
   A label outside [0, classes) is HK_ERR_ARGUMENT with its place. */
HK_API hk_tensor *hk_cross_entropy(hk_tensor *logits, hk_tensor *labels);
/* The target is (1 - smoothing)·onehot + smoothing/classes; smoothing in [0, 1]. */
HK_API hk_tensor *hk_cross_entropy_smooth(hk_tensor *logits, hk_tensor *labels, double smoothing);
HK_API hk_tensor *hk_mse(hk_tensor *x, hk_tensor *target);
HK_API hk_tensor *hk_l1(hk_tensor *x, hk_tensor *target); /* gradient 0 at 0 */
/* 0.5·d² where |d| <= delta, else delta·(|d| - delta/2); delta > 0. */
HK_API hk_tensor *hk_huber(hk_tensor *x, hk_tensor *target, double delta);
/* max(x,0) - x·t + log(1 + exp(-|x|)), targets in [0, 1]. */
HK_API hk_tensor *hk_bce_with_logits(hk_tensor *x, hk_tensor *target);

/* The share, from 0 to 1, of rows of logits (n, classes) whose largest element is at labels: i32 (n). NaN on an
   error. */
HK_API double hk_accuracy(hk_tensor *logits, hk_tensor *labels);

HK_END_DECLS
#endif
