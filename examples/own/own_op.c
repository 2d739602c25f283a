/* own_op.c: an operation of one's own: y = exp(-(x/width)²), forward and both derivatives.
   SPDX-License-Identifier: MIT

   They may use every operation of hk_ops.h, or hk_op_output and loops over hk_tensor_data. */
#include <hillock/hillock.h>

static hk_status bump_forward(hk_op_call *c) {
    const double width = *(const double *)c->attr;
    c->out[0] = hk_exp(hk_scale(hk_mul(c->in[0], c->in[0]), -1 / (width * width), 0));
    return hk_error(c->ctx);
}

/* dy/dx = -2x/width² · y, times whatever comes from behind or ahead. */
static hk_tensor *bump_slope_times(const hk_op_call *c, hk_tensor *along) {
    const double width = *(const double *)c->attr;
    return hk_mul(hk_mul(hk_scale(c->in[0], -2 / (width * width), 0), c->out[0]), along);
}

static hk_status bump_backward(hk_op_call *c) {
    return hk_op_add_grad(c, 0, bump_slope_times(c, c->gout[0]));
}

static hk_status bump_jvp(hk_op_call *c) {
    return hk_op_add_tangent(c, 0, bump_slope_times(c, c->tin[0]));
}

static const hk_op bump_op = {"bump", bump_forward, bump_backward, bump_jvp};

static hk_tensor *bump(hk_tensor *x, double width) {
    if (x && !(width > 0)) {
        hk_fail(hk_tensor_context(x), HK_ERR_ARGUMENT, "bump", "width must be positive, not %g",
                width);
        return NULL;
    }
    return hk_apply(&bump_op, &width, sizeof width, 1, &x, 1, NULL);
}
