/* products.c: times matrix products alone, by OpenBLAS or (-DWITH_ONEDNN) oneDNN, for products.py.
   SPDX-License-Identifier: MIT

   products M,N,K,tt ...   C (M x N) = op(A) op(B), row-major; t is n (as stored) or t (transposed)
   Prints one line a product: its specification and the median seconds of one call, caches warm.
   The library takes its number of threads from the environment. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef WITH_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#else
#include <cblas.h>
extern char *openblas_get_corename(void);
#endif

enum { REPEATS = 9 };

typedef struct {
    int m, n, k;
    char ta, tb;
    float *a, *b, *c;
} product;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stop(const char *why) {
    fprintf(stderr, "products: %s\n", why);
    exit(1);
}

static float *matrix(int rows, int cols) {
    const size_t count = (size_t)rows * (size_t)cols;
    float *p = aligned_alloc(64, (count * sizeof *p + 63) / 64 * 64);
    if (!p) stop("out of memory");
    for (size_t i = 0; i < count; i++) p[i] = (float)((i * 2654435761u) % 1000) * 1e-3f - 0.5f;
    return p;
}

/* Every way to compute a product is a function called `calls` times in a row. */
#ifndef WITH_ONEDNN
static void by_gemm(const product *p, int calls) {
    for (int i = 0; i < calls; i++)
        cblas_sgemm(CblasRowMajor, p->ta == 't' ? CblasTrans : CblasNoTrans,
                    p->tb == 't' ? CblasTrans : CblasNoTrans, p->m, p->n, p->k, 1, p->a,
                    p->ta == 't' ? p->m : p->k, p->b, p->tb == 't' ? p->k : p->n, 0, p->c, p->n);
}
#else
static void check(dnnl_status_t status) {
    if (status != dnnl_success) stop("oneDNN refused the product");
}

static void by_gemm(const product *p, int calls) {
    for (int i = 0; i < calls; i++)
        check(dnnl_sgemm(p->ta, p->tb, p->m, p->n, p->k, 1, p->a, p->ta == 't' ? p->m : p->k, p->b,
                         p->tb == 't' ? p->k : p->n, 0, p->c, p->n));
}

static dnnl_memory_t wrap(dnnl_engine_t engine, int rows, int cols, int transposed, float *data) {
    dnnl_memory_desc_t desc;
    dnnl_memory_t memory;
    check(dnnl_memory_desc_create_with_strides(&desc, 2, (dnnl_dims_t){rows, cols}, dnnl_f32,
                                               transposed ? (dnnl_dims_t){1, rows}
                                                          : (dnnl_dims_t){cols, 1}));
    check(dnnl_memory_create(&memory, desc, engine, data));
    check(dnnl_memory_desc_destroy(desc));
    return memory;
}

static void by_matmul(const product *p, int calls) {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    check(dnnl_engine_create(&engine, dnnl_cpu, 0));
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    dnnl_memory_t a = wrap(engine, p->m, p->k, p->ta == 't', p->a);
    dnnl_memory_t b = wrap(engine, p->k, p->n, p->tb == 't', p->b);
    dnnl_memory_t c = wrap(engine, p->m, p->n, 0, p->c);
    const_dnnl_memory_desc_t da, db, dc;
    check(dnnl_memory_get_memory_desc(a, &da));
    check(dnnl_memory_get_memory_desc(b, &db));
    check(dnnl_memory_get_memory_desc(c, &dc));
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t matmul;
    check(dnnl_matmul_primitive_desc_create(&desc, engine, da, db, NULL, dc, NULL));
    check(dnnl_primitive_create(&matmul, desc));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}};
    for (int i = 0; i < calls; i++) check(dnnl_primitive_execute(matmul, stream, 3, args));
    check(dnnl_stream_wait(stream));
    dnnl_primitive_destroy(matmul);
    dnnl_primitive_desc_destroy(desc);
    dnnl_memory_destroy(a);
    dnnl_memory_destroy(b);
    dnnl_memory_destroy(c);
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
}
#endif

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_seconds(void (*run)(const product *, int), const product *p) {
    /* About 15 ms a repeat: long against timer and set-up, short against a burst of noise. */
    run(p, 20);
    double start = now();
    run(p, 50);
    const int calls = 1 + (int)(0.015 / ((now() - start) / 50));
    double seconds[REPEATS];
    for (int r = 0; r < REPEATS; r++) {
        start = now();
        run(p, calls);
        seconds[r] = (now() - start) / calls;
    }
    qsort(seconds, REPEATS, sizeof *seconds, by_size);
    return seconds[REPEATS / 2];
}

int main(int argc, char **argv) {
#ifdef WITH_ONEDNN
    const dnnl_version_t *v = dnnl_version();
    printf("library oneDNN-%d.%d.%d\n", v->major, v->minor, v->patch);
#else
    printf("library OpenBLAS-%s\n", openblas_get_corename());
#endif
    for (int i = 1; i < argc; i++) {
        product p;
        if (sscanf(argv[i], "%d,%d,%d,%c%c", &p.m, &p.n, &p.k, &p.ta, &p.tb) != 5)
            stop("a product reads M,N,K,nt");
        p.a = matrix(p.m, p.k);
        p.b = matrix(p.k, p.n);
        p.c = matrix(p.m, p.n);
        double best = median_seconds(by_gemm, &p);
#ifdef WITH_ONEDNN
        const double other = median_seconds(by_matmul, &p);
        if (getenv("PRODUCTS_VERBOSE"))
            fprintf(stderr, "%s sgemm %g matmul %g\n", argv[i], best, other);
        best = other < best ? other : best;
#endif
        printf("%s %.9f\n", argv[i], best);
        free(p.a);
        free(p.b);
        free(p.c);
    }
    return 0;
}
