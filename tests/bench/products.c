/* products.c: times products alone, by OpenBLAS or (-DWITH_ONEDNN) oneDNN, for products.py.
   SPDX-License-Identifier: MIT

   products M,N,K,tt ...   C (M x N) = op(A) op(B), row-major; t is n (as stored) or t (transposed)
            conv:BATCH,IN,SIZE,OUT,KERNEL,PADDING,PASS   a convolution of square images, stride 1:
                           f forward, d gradient of the data, w gradient of the weights
   Prints one line a product: its specification and the median seconds of one call, caches warm,
   by the fastest of the library's ways. The number of threads is the environment's. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef WITH_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#else
#include <cblas.h>
#include <pthread.h>
extern char *openblas_get_corename(void);
extern int openblas_get_num_threads(void);
extern void openblas_set_num_threads(int threads);
#endif

enum { REPEATS = 9 };

typedef struct {
    int m, n, k;
    char ta, tb;
    float *a, *b, *c;
} product;

static double spent; /* set by a way that knows better than the clock around it, else -1 */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stop(const char *why) {
    fprintf(stderr, "products: %s\n", why);
    exit(1);
}

static float *matrix(int64_t rows, int64_t cols) {
    const size_t count = (size_t)rows * (size_t)cols;
    float *p = aligned_alloc(64, (count * sizeof *p + 63) / 64 * 64);
    if (!p) stop("out of memory");
    for (size_t i = 0; i < count; i++) p[i] = (float)((i * 2654435761u) % 1000) * 1e-3f - 0.5f;
    return p;
}

/* --- products of matrices: every way is a function that does it `calls` times in a row -------- */

typedef void way(const void *job, int calls);

#ifndef WITH_ONEDNN
static void by_gemm(const void *job, int calls) {
    const product *p = job;
    for (int i = 0; i < calls; i++)
        cblas_sgemm(CblasRowMajor, p->ta == 't' ? CblasTrans : CblasNoTrans,
                    p->tb == 't' ? CblasTrans : CblasNoTrans, p->m, p->n, p->k, 1, p->a,
                    p->ta == 't' ? p->m : p->k, p->b, p->tb == 't' ? p->k : p->n, 0, p->c, p->n);
}

static way *const ways[] = {by_gemm};
static const char *const way_names[] = {"sgemm"};
#else
static void check(dnnl_status_t status) {
    if (status != dnnl_success) stop("oneDNN refused the product");
}

static void by_gemm(const void *job, int calls) {
    const product *p = job;
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

static void by_matmul(const void *job, int calls) {
    const product *p = job;
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
static way *const ways[] = {by_gemm, by_matmul};
static const char *const way_names[] = {"sgemm", "matmul"};
#endif
enum { WAYS = sizeof ways / sizeof *ways };

/* --- convolutions ----------------------------------------------------------------------------- */

typedef struct {
    int n, ic, size, oc, kernel, pad;
    char pass;
    int out, places, patch; /* of one image: size and elements of a result, elements of a window */
    float *columns, *result, *weights;
} convolution;

#ifndef WITH_ONEDNN
/* The products that do a convolution's work once its windows are laid out as columns: (patch,
   places), or, as rows, (places, patch). Nobody counts what laying them out costs. */
static void columns_product(const convolution *c, int places, const float *result, float *columns,
                            float *weights, int accumulate) {
    if (c->pass == 'f')
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, c->oc, places, c->patch, 1, weights,
                    c->patch, columns, places, 0, (float *)result, places);
    else if (c->pass == 'd')
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, c->patch, places, c->oc, 1, weights,
                    c->patch, result, places, 0, columns, places);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, c->oc, c->patch, places, 1, result,
                    places, columns, places, (float)accumulate, weights, c->patch);
}

static void by_batch(const void *job, int calls) {
    const convolution *c = job;
    for (int i = 0; i < calls; i++)
        columns_product(c, c->n * c->places, c->result, c->columns, c->weights, 0);
}

static void by_batch_rows(const void *job, int calls) {
    const convolution *c = job;
    const int places = c->n * c->places;
    for (int i = 0; i < calls; i++)
        if (c->pass == 'f')
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, places, c->oc, c->patch, 1,
                        c->columns, c->patch, c->weights, c->patch, 0, c->result, c->oc);
        else if (c->pass == 'd')
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, places, c->patch, c->oc, 1,
                        c->result, c->oc, c->weights, c->patch, 0, c->columns, c->patch);
        else
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, c->oc, c->patch, places, 1,
                        c->result, c->oc, c->columns, c->patch, 0, c->weights, c->patch);
}

/* One image after the other, its columns always in the same memory, where copying would just have
   put them. */
typedef struct {
    const convolution *c;
    float *columns, *weights; /* a thread's own */
    int begin, end, calls;
} share;

static void *run_share(void *arg) {
    const share *s = arg;
    const convolution *c = s->c;
    for (int k = 0; k < s->calls; k++)
        for (int i = s->begin; i < s->end; i++)
            columns_product(c, c->places, c->result + (int64_t)i * c->oc * c->places, s->columns,
                            s->weights, i > s->begin);
    return NULL;
}

static void by_images(const void *job, int calls) {
    const convolution *c = job;
    share all = {c, c->columns, c->weights, 0, c->n, calls};
    run_share(&all);
}

/* The images dealt over threads, each with products on its own; adding up weights is left out. */
static void by_dealt_images(const void *job, int calls) {
    const convolution *c = job;
    enum { MOST = 64 };
    const int given = openblas_get_num_threads(), threads = given > MOST ? MOST : given;
    pthread_t thread[MOST];
    share each[MOST]; /* weights, read or summed up: each thread has its own */
    openblas_set_num_threads(1);
    for (int t = 0; t < threads; t++)
        each[t] = (share){c,
                          c->columns + (int64_t)t * c->patch * c->places,
                          t ? matrix(c->oc, c->patch) : c->weights,
                          c->n * t / threads,
                          c->n * (t + 1) / threads,
                          calls};
    const double start = now();
    for (int t = 1; t < threads; t++)
        if (pthread_create(&thread[t], NULL, run_share, &each[t])) stop("no thread");
    run_share(&each[0]);
    for (int t = 1; t < threads; t++) pthread_join(thread[t], NULL);
    spent = now() - start;
    for (int t = 1; t < threads; t++) free(each[t].weights);
    openblas_set_num_threads(given);
}

static way *const conv_ways[] = {by_batch, by_batch_rows, by_images, by_dealt_images};
static const char *const conv_names[] = {"batch", "batch rows", "images", "images dealt"};
#else
typedef struct {
    dnnl_engine_t engine;
    dnnl_primitive_desc_t forward, desc; /* desc: of the pass, which may be forward */
} convolver;

static dnnl_memory_desc_t four(int a, int b, int c, int d, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t desc;
    check(dnnl_memory_desc_create_with_tag(&desc, 4, (dnnl_dims_t){a, b, c, d}, dnnl_f32, tag));
    return desc;
}

/* images: how images lie in memory; oneDNN chooses for weights, and for `any` itself. */
static convolver make_convolver(const convolution *c, dnnl_format_tag_t images) {
    convolver v;
    check(dnnl_engine_create(&v.engine, dnnl_cpu, 0));
    dnnl_memory_desc_t x = four(c->n, c->ic, c->size, c->size, images);
    dnnl_memory_desc_t w = four(c->oc, c->ic, c->kernel, c->kernel, dnnl_format_tag_any);
    dnnl_memory_desc_t y = four(c->n, c->oc, c->out, c->out, images);
    const dnnl_dims_t ones = {1, 1}, none = {0, 0}, pad = {c->pad, c->pad};
    check(dnnl_convolution_forward_primitive_desc_create(
        &v.forward, v.engine, dnnl_forward_training, dnnl_convolution_direct, x, w, NULL, y, ones,
        none, pad, pad, NULL));
    v.desc = v.forward;
    if (c->pass == 'd')
        check(dnnl_convolution_backward_data_primitive_desc_create(
            &v.desc, v.engine, dnnl_convolution_direct, x, w, y, ones, none, pad, pad, v.forward,
            NULL));
    else if (c->pass == 'w')
        check(dnnl_convolution_backward_weights_primitive_desc_create(
            &v.desc, v.engine, dnnl_convolution_direct, x, w, NULL, y, ones, none, pad, pad,
            v.forward, NULL));
    check(dnnl_memory_desc_destroy(x));
    check(dnnl_memory_desc_destroy(w));
    check(dnnl_memory_desc_destroy(y));
    return v;
}

static dnnl_exec_arg_t argument(const convolver *v, int name, dnnl_query_t what) {
    dnnl_exec_arg_t arg = {.arg = name};
    const_dnnl_memory_desc_t desc = dnnl_primitive_desc_query_md(v->desc, what, 0);
    void *data = NULL;
    check(dnnl_memory_create(&arg.memory, desc, v->engine, DNNL_MEMORY_ALLOCATE));
    check(dnnl_memory_get_data_handle(arg.memory, &data));
    const size_t count = dnnl_memory_desc_get_size(desc) / sizeof(float);
    for (size_t i = 0; i < count; i++)
        ((float *)data)[i] = (float)((i * 2654435761u) % 1000) * 1e-3f - 0.5f;
    return arg;
}

/* Memory that the primitive itself works in is oneDNN's affair. */
static void convolve(const convolution *c, int calls, dnnl_format_tag_t images) {
    convolver v = make_convolver(c, images);
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    check(dnnl_primitive_create(&primitive, v.desc));
    check(dnnl_stream_create(&stream, v.engine, dnnl_stream_default_flags));
    const int d = c->pass == 'd', w = c->pass == 'w';
    const dnnl_exec_arg_t args[] = {
        argument(&v, d ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC,
                 d ? dnnl_query_diff_src_md : dnnl_query_src_md),
        argument(&v, w ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS,
                 w ? dnnl_query_diff_weights_md : dnnl_query_weights_md),
        argument(&v, d || w ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST,
                 d || w ? dnnl_query_diff_dst_md : dnnl_query_dst_md)};
    const double start = now();
    for (int i = 0; i < calls; i++) check(dnnl_primitive_execute(primitive, stream, 3, args));
    check(dnnl_stream_wait(stream));
    spent = now() - start;
    for (int i = 0; i < 3; i++) dnnl_memory_destroy(args[i].memory);
    dnnl_stream_destroy(stream);
    dnnl_primitive_destroy(primitive);
    if (v.desc != v.forward) dnnl_primitive_desc_destroy(v.desc);
    dnnl_primitive_desc_destroy(v.forward);
    dnnl_engine_destroy(v.engine);
}

static void by_any(const void *job, int calls) { convolve(job, calls, dnnl_format_tag_any); }
static void by_nchw(const void *job, int calls) { convolve(job, calls, dnnl_nchw); }
static void by_nhwc(const void *job, int calls) { convolve(job, calls, dnnl_nhwc); }

static way *const conv_ways[] = {by_any, by_nchw, by_nhwc};
static const char *const conv_names[] = {"its own format", "nchw", "nhwc"};
#endif

/* --- timing ----------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double seconds_of(way *run, const void *job, int calls) {
    spent = -1;
    const double start = now();
    run(job, calls);
    return (spent >= 0 ? spent : now() - start) / calls;
}

static double median_seconds(way *run, const void *job) {
    /* About 15 ms a repeat: long against timer and set-up, short against a burst of noise. */
    const int few = seconds_of(run, job, 1) < 1e-3 ? 50 : 2;
    run(job, few / 2);
    const int calls = 1 + (int)(0.015 / seconds_of(run, job, few));
    double seconds[REPEATS];
    for (int r = 0; r < REPEATS; r++) seconds[r] = seconds_of(run, job, calls);
    qsort(seconds, REPEATS, sizeof *seconds, by_size);
    return seconds[REPEATS / 2];
}

/* The fastest of n ways. With PRODUCTS_VERBOSE in the environment each is told. */
static double best_way(const char *spec, const void *job, int n, way *const *list,
                       const char *const *names) {
    double best = 0;
    for (int i = 0; i < n; i++) {
        const double seconds = median_seconds(list[i], job);
        if (getenv("PRODUCTS_VERBOSE")) fprintf(stderr, "%s %s %g\n", spec, names[i], seconds);
        if (i == 0 || seconds < best) best = seconds;
    }
    return best;
}

static double time_product(const char *spec) {
    product p;
    if (sscanf(spec, "%d,%d,%d,%c%c", &p.m, &p.n, &p.k, &p.ta, &p.tb) != 5)
        stop("a product reads M,N,K,nt");
    p.a = matrix(p.m, p.k);
    p.b = matrix(p.k, p.n);
    p.c = matrix(p.m, p.n);
    const double best = best_way(spec, &p, WAYS, ways, way_names);
    free(p.a);
    free(p.b);
    free(p.c);
    return best;
}

static double time_convolution(const char *spec) {
    convolution c = {0};
    if (sscanf(spec, "conv:%d,%d,%d,%d,%d,%d,%c", &c.n, &c.ic, &c.size, &c.oc, &c.kernel, &c.pad,
               &c.pass) != 7 ||
        !strchr("fdw", c.pass))
        stop("a convolution reads conv:BATCH,IN,SIZE,OUT,KERNEL,PADDING,f");
    c.out = c.size + 2 * c.pad - c.kernel + 1;
    c.places = c.out * c.out;
    c.patch = c.ic * c.kernel * c.kernel;
    c.columns = matrix((int64_t)c.n * c.places, c.patch);
    c.result = matrix((int64_t)c.n * c.places, c.oc);
    c.weights = matrix(c.oc, c.patch);
    const int n = (int)(sizeof conv_ways / sizeof *conv_ways);
    const double best = best_way(spec, &c, n, conv_ways, conv_names);
    free(c.columns);
    free(c.result);
    free(c.weights);
    return best;
}

int main(int argc, char **argv) {
#ifdef WITH_ONEDNN
    const dnnl_version_t *v = dnnl_version();
    printf("library oneDNN-%d.%d.%d\n", v->major, v->minor, v->patch);
#else
    printf("library OpenBLAS-%s\n", openblas_get_corename());
#endif
    for (int i = 1; i < argc; i++) {
        const bool is_conv = strncmp(argv[i], "conv:", 5) == 0;
        printf("%s %.9f\n", argv[i], is_conv ? time_convolution(argv[i]) : time_product(argv[i]));
    }
    return 0;
}
