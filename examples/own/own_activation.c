/* own_activation.c: an activation of one's own: snake, x + sin(ax)²/a with a learned a.
   SPDX-License-Identifier: MIT

   Ziyin, Hartwig and Ueda, "Neural networks fail to learn periodic functions and how to fix it",
   2020.

       define_snake(ctx);
       hk_activation(ctx, "snake:a=0.5:per=channel") */
#include <hillock/hillock.h>

#include <math.h>

static double snake_value(double x, const double *p) {
    const double s = sin(p[0] * x);
    return x + s * s / p[0];
}

static double snake_slope(double x, const double *p) { return 1 + sin(2 * p[0] * x); }

/* d[k] is the derivative by parameter k. */
static void snake_param_slopes(double x, const double *p, double *d) {
    const double s = sin(p[0] * x);
    d[0] = (x * sin(2 * p[0] * x) - s * s / p[0]) / p[0];
}

/* From here on the name works wherever names do, in this context. Both derivatives are checked. */
static hk_status define_snake(hk_context *ctx) {
    const hk_activation_info info = {
        .name = "snake",
        .formula = "x + sin(a x)^2/a",
        .derivative = "1 + sin(2 a x)",
        .n_params = 1,
        .params = {{"a", 1, 0, HUGE_VAL, HK_PARAM_LEARNS, .above = true}},
    };
    const hk_activation_functions snake = {snake_value, snake_slope, snake_param_slopes};
    return hk_activation_define(ctx, &info, &snake);
}
