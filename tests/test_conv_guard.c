/* ctest: labels=unit timeout=60 */
/* test_conv_guard.c: convolutions read and write their arrays alone: these stand against pages that
   nobody may touch.
   SPDX-License-Identifier: MIT */
#include "conv_fixture.h"

#include <sys/mman.h>
#include <unistd.h>

enum { CASES = 120, ARRAYS = 8 };

/* Memory between two forbidden pages; arrays lie at its start or at its end. */
typedef struct fenced {
    char *all, *data;
    size_t bytes; /* of `all` */
} fenced;

static fenced fence(size_t bytes, bool at_end) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (bytes + page - 1) / page * page;
    fenced f = {.bytes = inner + 2 * page};
    f.all = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.all != MAP_FAILED);
    assert_int_equal(mprotect(f.all, page, PROT_NONE), 0);
    assert_int_equal(mprotect(f.all + page + inner, page, PROT_NONE), 0);
    f.data = f.all + page + (at_end ? inner - bytes : 0);
    return f;
}

static fenced copied(size_t size, int64_t n, const double *from, bool at_end) {
    const fenced f = fence((size_t)n * size, at_end);
    for (int64_t i = 0; i < n; i++)
        if (size == sizeof(double))
            ((double *)(void *)f.data)[i] = from[i];
        else
            ((float *)(void *)f.data)[i] = (float)from[i];
    return f;
}

/* Finite and near; how near is test_conv.c's business. */
static void check(const char *what, const hk__conv *c, const fenced *f, size_t size, int64_t n,
                  const double *want, const double *terms) {
    for (int64_t i = 0; i < n; i++) {
        const void *data = f->data;
        const double got =
            size == sizeof(double) ? ((const double *)data)[i] : (double)((const float *)data)[i];
        if (fabs(got - want[i]) <= 1e-4 * terms[i]) continue;
        char text[256];
        conv_text(c, text, sizeof text);
        fail_msg("%s[%lld] is %g, not %g: %s", what, (long long)i, got, want[i], text);
    }
}

static void run_case(hk_context *ctx, hk_dtype dtype, int64_t i) {
    const hk__conv c = random_conv(4000 + i);
    const arrays a = make_arrays(&c, i, i % 2 ? 0.5 : 0);
    const size_t size = hk_dtype_size(dtype);
    const int64_t oc = c.groups * c.oc;
    const bool end = i % 4 != 3;
    const fenced f[ARRAYS] = {copied(size, a.nx, a.x, end), copied(size, a.nw, a.w, end),
                              copied(size, oc, a.b, end),   copied(size, a.ny, a.g, end),
                              copied(size, a.ny, a.g, end), copied(size, a.nx, a.x, end),
                              copied(size, a.nw, a.w, end), copied(size, oc, a.b, end)};
    must(hk__conv_forward(ctx, dtype, &c, f[0].data, f[1].data, f[2].data, f[4].data, NULL, NULL));
    check("y", &c, &f[4], size, a.ny, a.y, a.size_y);
    const hk__conv_gradients to = {.x = f[0].data,
                                   .w = f[1].data,
                                   .g = f[3].data,
                                   .gx = f[5].data,
                                   .gw = f[6].data,
                                   .gb = f[7].data};
    must(hk__conv_backward(ctx, dtype, &c, &to));
    check("gx", &c, &f[5], size, a.nx, a.gx, a.size_x);
    check("gw", &c, &f[6], size, a.nw, a.gw, a.size_w);
    check("gb", &c, &f[7], size, oc, a.gb, a.size_b);
    for (int k = 0; k < ARRAYS; k++) munmap(f[k].all, f[k].bytes);
    free_arrays(&a);
}

static void nothing_beyond_the_arrays(void **state) {
    (void)state;
    hk_context *ctx[4];
    int n = 0;
    for (; isa_number(n); n++) ctx[n] = new_context(1, isa_number(n));
    for (int64_t i = 0; i < CASES; i++) {
        for (int k = 0; k < n; k++) run_case(ctx[k], HK_F32, i);
        run_case(ctx[0], HK_F64, i);
    }
    for (int k = 0; k < n; k++) hk_context_destroy(ctx[k]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_beyond_the_arrays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
