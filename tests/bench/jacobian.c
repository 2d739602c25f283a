/* jacobian.c: how long a look at Jacobians takes, and singular values of random matrices.
   SPDX-License-Identifier: MIT

       build/bench/jacobian            # a 784-512-256-10 network, 32 samples; n = 64, 256, 512, 1024 */
#include "hk_jacobian.h"
#include "hk_mean_field.h"
#include "hk_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Of the processor, so that what else runs does not count; one thread. */
static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

static double *normal_numbers(int64_t n) {
    double *a = malloc(sizeof *a * (size_t)n);
    const hk_random r = hk_random_stream(1, "bench", 0);
    for (int64_t i = 0; a && i < n; i++) a[i] = hk_random_normal(r, (uint64_t)i);
    return a;
}

static int look(hk_context *ctx, hk_module *net, hk_tensor *x, int64_t full_up_to,
                const char *what) {
    hk_jacobian j;
    double best = 1e9;
    for (int k = 0; k < 5; k++) {
        const double start = seconds();
        const hk_jacobian_config config = {.full_up_to = full_up_to};
        if (hk_module_jacobian(net, x, &config, &j, NULL) != HK_OK)
            return fprintf(stderr, "%s\n", hk_error_message(ctx)), 1;
        const double took = seconds() - start;
        if (took < best) best = took;
    }
    printf("%-28s %7.1f ms   norm %.4f in %d rounds, mean square %.4f +- %.4f\n", what, 1e3 * best,
           j.norm, j.iterations, j.mean_square, j.mean_square_error);
    return 0;
}

static int of_network(void) {
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1, .seed = 1});
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 784, 512), hk_activation(ctx, "relu"),
                                   hk_linear(ctx, 512, 256), hk_activation(ctx, "relu"),
                                   hk_linear(ctx, 256, 10));
    double *values = normal_numbers(32 * 784);
    hk_tensor *wide = values ? hk_tensor_from(ctx, HK_F64, HK_SHAPE(32, 784), values) : NULL;
    hk_tensor *x = hk_tensor_keep(hk_cast(wide, HK_F32));
    free(values);
    const int bad = look(ctx, net, x, 0, "norm and mean square") ||
                    look(ctx, net, x, 784, "with the full spectrum");
    hk_context_destroy(ctx);
    return bad;
}

static int of_matrix(int64_t n) {
    double *a = normal_numbers(n * n), *s = malloc(sizeof *s * (size_t)n);
    const double start = seconds();
    if (!a || !s || hk_singular_values(n, n, a, s) != HK_OK) return 1;
    printf("singular values, n = %-7lld %7.1f ms   largest %.4f, smallest %.3g\n", (long long)n,
           1e3 * (seconds() - start), s[0], s[n - 1]);
    free(a);
    free(s);
    return 0;
}

static int of_theory(const char *name, double variance) {
    hk_context *ctx = hk_context_create(NULL);
    hk_activation_spec spec;
    if (hk_activation_parse(ctx, name, &spec) != HK_OK) return 1;
    const double start = seconds();
    const hk_mean_field f = hk_mean_field_of(&spec, variance, 0);
    printf("mean field, %-16s %7.1f ms   q %.4g after %d layers\n", name, 1e3 * (seconds() - start),
           f.q, f.layers);
    hk_context_destroy(ctx);
    return 0;
}

int main(void) {
    return of_network() || of_matrix(64) || of_matrix(256) || of_matrix(512) || of_matrix(1024) ||
           of_theory("gelu", 2) || of_theory("tanh", 2) || of_theory("elu", 2);
}
