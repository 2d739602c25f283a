/* hk_jacobian.h: singular values of a module's Jacobian.
   SPDX-License-Identifier: MIT

   J = ∂y/∂x of a module at a sample x: what a small change of the input becomes, J·v, and what a gradient of the output
   becomes, Jᵀ·u. Both are computed on the tape, forward and reverse mode; J itself is not made unless asked for. All
   singular values near 1: signals and gradients keep their lengths in all directions (Pennington et al. 2017).

   What is reported is the spectral *norm*, the largest singular value. The spectral *radius*, the largest |eigenvalue|, is
   another number, often far smaller; it says how J^k grows and has a meaning only where J is applied to its own result. */
#ifndef HK_JACOBIAN_H
#define HK_JACOBIAN_H

#include "hk_layers.h"

HK_BEGIN_DECLS

/* {0}: the defaults. */
typedef struct hk_jacobian_config {
    int probes;     /* 16: of Hutchinson's estimate, for each sample */
    int iterations; /* 50: of the power iteration, at most */
    double
        tolerance; /* 1e-3: it ends when what its last two changes let expect is less than this share */
    int64_t
        full_up_to; /* 0: no full spectrum. Else of modules with at most so many inputs and outputs */
    bool radius;    /* the spectral radius too, of a module with as many outputs as inputs */
    uint64_t seed; /* of the probes and of the start; the context's seed is added */
} hk_jacobian_config;

typedef struct hk_jacobian {
    int64_t samples, inputs, outputs; /* inputs, outputs: of one sample */
    /* The largest singular value by power iteration on JᵀJ, of which all rounds are kept (Golub and Kahan 1965): a lower
       bound. Mean, smallest and largest over samples. */
    double norm, norm_min, norm_max;
    int iterations; /* used, by the slowest sample */
    bool converged;
    /* |J|²_F / outputs = mean of σ² over the outputs, by Hutchinson: E |Jᵀu|² with u = ±1; and the standard error of
       the mean over these samples, from what probes of one sample differ by (NaN with a single probe). At the start it
       estimates χ₁ of a layer, χ₁^L of L layers (hk_mean_field.h). */
    double mean_square, mean_square_error;
    /* Of the full spectrum, over all samples; count is 0 if it was not asked for or the module is too large. */
    int64_t count; /* singular values of one sample: the smaller of inputs and outputs */
    double smallest, median, largest;
    double
        condition; /* of the worst sample: its largest over its smallest that is not 0 (above 1e-7 of the largest in
                      f32, 1e-14 in f64); 0 if all are 0 */
    double radius; /* spectral radius, mean over samples; NaN unless asked for and J is square */
} hk_jacobian;

/* Of m at each sample of x: (n, ...), f32 or f64, step or kept; m in evaluation mode, buffers and gradients of parameters
   left alone, its mode put back. Samples must not meet inside of m (as in batch norm in training). Any module works, a
   whole network as well as one layer. Call it between steps: it ends the current step; random draws of later steps are
   the same as without. Hooks of modules see its forward pass; hooks of parameters and of backward passes see nothing.
   HK_ERR_NONFINITE if x or J is not finite, HK_ERR_GRADIENT if an operation in m has no forward mode. spectrum: NULL, or
   room for samples * count singular values, each sample's falling. */
HK_API HK_WARN_UNUSED hk_status hk_module_jacobian(hk_module *m, hk_tensor *x,
                                                   const hk_jacobian_config *config,
                                                   hk_jacobian *result, double *spectrum);

/* Singular values of a (rows, cols), row-major, falling, into s (the smaller of both): one-sided Jacobi (Hestenes 1958),
   in double, behind a QR decomposition. a is destroyed. HK_ERR_ARGUMENT without rows or columns, or if an element is not
   finite; HK_ERR_MEMORY. */
HK_API HK_WARN_UNUSED hk_status hk_singular_values(int64_t rows, int64_t cols, double *a,
                                                   double *s);

HK_END_DECLS
#endif
