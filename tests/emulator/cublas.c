/* cublas.c: a stand-in for cuBLAS on an emulated GPU: the functions that hillock opens, slow and in double.
   SPDX-License-Identifier: MIT

   A library of its own, so that it is found and opened as the real one is. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* emulator.cpp, in the program: work in its place in the stream. */
extern int emulated_submit(void *stream, void (*run)(const void *argument), const void *argument,
                           size_t size);

#define EXPORT __attribute__((visibility("default")))
enum { SUCCESS = 0, INVALID_VALUE = 7 };

typedef struct handle {
    void *stream, *workspace;
} handle;

typedef struct product {
    int left, right, m, n, k, count;
    int lda, ldb, ldc;
    long long step_a, step_b, step_c;
    double alpha, beta;
    const void *a, *b;
    void *c;
    bool f64;
} product;

static double get(const product *p, const void *data, long long at) {
    return p->f64 ? ((const double *)data)[at] : (double)((const float *)data)[at];
}

/* By columns: element (i, j) lies at i + j·ld. */
static void multiply(const void *argument) {
    const product *p = argument;
    for (int b = 0; b < p->count; b++)
        for (int j = 0; j < p->n; j++)
            for (int i = 0; i < p->m; i++) {
                double sum = 0;
                for (int s = 0; s < p->k; s++) {
                    const long long left =
                        p->left ? s + (long long)i * p->lda : i + (long long)s * p->lda;
                    const long long right =
                        p->right ? j + (long long)s * p->ldb : s + (long long)j * p->ldb;
                    sum += get(p, p->a, b * p->step_a + left) * get(p, p->b, b * p->step_b + right);
                }
                const long long at = b * p->step_c + i + (long long)j * p->ldc;
                double value = p->alpha * sum;
                if (p->beta != 0) value += p->beta * get(p, p->c, at);
                if (p->f64)
                    ((double *)p->c)[at] = value;
                else
                    ((float *)p->c)[at] = (float)value;
            }
}

static int run(handle *h, const product *p) {
    const bool fits = p->m >= 0 && p->n >= 0 && p->k >= 0 && p->count >= 0 &&
                      p->lda >= (p->left ? p->k : p->m) && p->ldb >= (p->right ? p->n : p->k) &&
                      p->ldc >= p->m;
    if (!fits || !h->stream || !h->workspace) return INVALID_VALUE;
    return emulated_submit(h->stream, multiply, p, sizeof *p);
}

#define PRODUCT(name, type, is_f64)                                                                \
    EXPORT int name(handle *h, int left, int right, int m, int n, int k, const type *alpha,        \
                    const type *a, int lda, long long step_a, const type *b, int ldb,              \
                    long long step_b, const type *beta, type *c, int ldc, long long step_c,        \
                    int count) {                                                                   \
        const product p = {.left = left,                                                           \
                           .right = right,                                                         \
                           .m = m,                                                                 \
                           .n = n,                                                                 \
                           .k = k,                                                                 \
                           .count = count,                                                         \
                           .lda = lda,                                                             \
                           .ldb = ldb,                                                             \
                           .ldc = ldc,                                                             \
                           .step_a = step_a,                                                       \
                           .step_b = step_b,                                                       \
                           .step_c = step_c,                                                       \
                           .alpha = (double)*alpha,                                                \
                           .beta = (double)*beta,                                                  \
                           .a = a,                                                                 \
                           .b = b,                                                                 \
                           .c = c,                                                                 \
                           .f64 = is_f64};                                                         \
        return run(h, &p);                                                                         \
    }
PRODUCT(cublasSgemmStridedBatched, float, false)
PRODUCT(cublasDgemmStridedBatched, double, true)

EXPORT int cublasCreate_v2(handle **h) {
    *h = calloc(1, sizeof **h);
    return *h ? SUCCESS : 3;
}
EXPORT int cublasDestroy_v2(handle *h) {
    free(h);
    return SUCCESS;
}
/* As the real one does, it forgets its workspace. */
EXPORT int cublasSetStream_v2(handle *h, void *stream) {
    *h = (handle){.stream = stream};
    return SUCCESS;
}
EXPORT int cublasSetWorkspace_v2(handle *h, void *memory, size_t bytes) {
    h->workspace = bytes >= 1 << 20 && (uintptr_t)memory % 256 == 0 ? memory : NULL;
    return h->workspace ? SUCCESS : INVALID_VALUE;
}
EXPORT int cublasSetMathMode(handle *h, int mode) {
    (void)h;
    return mode == 0 || mode == 3 ? SUCCESS : INVALID_VALUE;
}
EXPORT int cublasGetProperty(int what, int *value) {
    *value = what == 0 ? 13 : 0;
    return SUCCESS;
}
EXPORT const char *cublasGetStatusString(int status) {
    return status == SUCCESS ? "success" : "an invalid value";
}
