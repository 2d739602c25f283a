/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_own_jacobian.c: the example of Jacobians in examples/own works, and is short.
   SPDX-License-Identifier: MIT */
#include "net_fixture.h"

#include "../examples/own/own_jacobian.c"

/* A line of the table: the numbers behind the name and the kind, which must be these. */
static void expect_line(FILE *file, const char *start, double *norm, double *square,
                        double *error) {
    char line[128];
    assert_non_null(fgets(line, sizeof line, file));
    if (strncmp(line, start, strlen(start)) != 0) fail_msg("'%s' instead of '%s'", line, start);
    if (sscanf(line + 24, "%lf %lf +- %lf", norm, square, error) != 3)
        fail_msg("no numbers in '%s'", line);
    assert_true(strlen(line) <= 60);
}

/* Diagonal layers of 2 and 3 around a relu: each line can be told in advance. */
static void prints_layers(void **state) {
    (void)state;
    enum { N = 8 };
    hk_context *ctx = context(HK_F32, 1, 2);
    hk_module *net =
        hk_sequential(ctx, hk_linear(ctx, N, N), hk_activation(ctx, "relu"), hk_linear(ctx, N, N));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, N), NULL), HK_OK);
    for (int l = 0; l < 2; l++) {
        hk_tensor *w = hk_module_find(net, l ? "2.weight" : "0.weight");
        for (int i = 0; i < N * N; i++) element_put(w, i, i % (N + 1) ? 0 : l ? 3 : 2);
    }
    FILE *file = tmpfile();
    assert_non_null(file);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(4, N));
    int active = 0;
    for (int i = 0; i < 4 * N; i++) active += number(x, i) > 0;
    assert_int_equal(print_jacobians(file, net, x), HK_OK);
    rewind(file);
    char head[128];
    assert_non_null(fgets(head, sizeof head, file));
    double norm, square, error;
    const double share = active / (4.0 * N);
    static const char *const starts[] = {"            sequential  ", "0           linear      ",
                                         "1           activation  ", "2           linear      "};
    static const double gains[] = {6, 2, 1, 3};
    for (int i = 0; i < 4; i++) {
        expect_line(file, starts[i], &norm, &square, &error);
        const double want = gains[i] * gains[i] * (i == 0 || i == 2 ? share : 1);
        if (!(fabs(norm - gains[i]) <= 1e-4)) fail_msg("line %d: norm %g", i, norm);
        /* Diagonal matrices: every probe gives the same. */
        if (!(fabs(square - want) <= 1e-3 && error <= 1e-4))
            fail_msg("line %d: %g +- %g", i, square, error);
    }
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    assert_true(hk_module_is_training(net));
    assert_int_equal(ctx->train_step, 0);
    hk_context_destroy(ctx);
}

static void passes_errors_on(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 2);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 4, 4), hk_activation(ctx, "step"));
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(print_jacobians(file, net, normal(ctx, "x", HK_SHAPE(2, 4))), HK_ERR_GRADIENT);
    expect_error(ctx, HK_ERR_GRADIENT, "step");
    assert_true(hk_module_is_training(net));
    fclose(file);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_layers),
        cmocka_unit_test(passes_errors_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
