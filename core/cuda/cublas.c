/* cublas.c: cuBLAS by dlopen, with memory of its own that never changes.
   SPDX-License-Identifier: MIT

   Only linked, it costs a run on the CPU 155 MB and a tenth of a second. So it is opened when the first product needs it,
   and the few functions are declared here. What decides the bits of a result stays fixed: one stream, one workspace, no
   atomics, and float32 as it is unless TF32 was asked for. */
#include "cublas.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cublas_context *handle_type;
/* Values of cuBLAS's enumerations. */
enum {
    SUCCESS = 0,
    ALLOC_FAILED = 3,
    AS_STORED = 0,
    TRANSPOSED = 1,
    DEFAULT_MATH = 0,
    TF32_MATH = 3
};
enum { MAJOR_VERSION = 0, MINOR_VERSION = 1 };

typedef int sgemm_function(handle_type, int trans_a, int trans_b, int m, int n, int k,
                           const float *alpha, const float *a, int lda, long long step_a,
                           const float *b, int ldb, long long step_b, const float *beta, float *c,
                           int ldc, long long step_c, int count);
typedef int dgemm_function(handle_type, int trans_a, int trans_b, int m, int n, int k,
                           const double *alpha, const double *a, int lda, long long step_a,
                           const double *b, int ldb, long long step_b, const double *beta,
                           double *c, int ldc, long long step_c, int count);

/* The process has one cuBLAS: it is never unloaded. */
static struct {
    pthread_once_t once;
    bool there;
    char text[256]; /* its name, or why it is not there */
    int (*get_property)(int what, int *value);
    int (*create)(handle_type *);
    int (*destroy)(handle_type);
    int (*set_stream)(handle_type, void *stream);
    int (*set_workspace)(handle_type, void *memory, size_t bytes);
    int (*set_math_mode)(handle_type, int mode);
    const char *(*status_string)(int status);
    sgemm_function *sgemm;
    dgemm_function *dgemm;
} library = {.once = PTHREAD_ONCE_INIT};

struct hk__cublas {
    handle_type handle;
    void *workspace;
};

/* --- the library --------------------------------------------------------------------------------- */

/* Beside the toolkit that hillock was built with, else where the system looks. */
static void *open_library(void) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    enum { NAMES = sizeof names / sizeof *names };
    const char *own = getenv("HILLOCK_CUBLAS");
    if (own && *own) return dlopen(own, RTLD_NOW | RTLD_LOCAL);
    for (int i = 0; i < 2 * NAMES; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s%s", i < NAMES ? HK_CUBLAS_FOLDER "/" : "",
                 names[i % NAMES]);
        void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (handle) return handle;
    }
    return NULL;
}

/* A data pointer becomes a function pointer: POSIX allows it, ISO C has no words for it. */
static bool find(void *handle, const char *name, void *function) {
    void *symbol = dlsym(handle, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void load(void) {
    const char *own = getenv("HILLOCK_CUBLAS");
    void *handle = open_library();
    if (!handle) {
        if (own && *own)
            snprintf(library.text, sizeof library.text,
                     "none: HILLOCK_CUBLAS is %.160s, which cannot be opened", own);
        else
            snprintf(library.text, sizeof library.text,
                     "none: install libcublas 12 or 13 of the CUDA Toolkit, or set HILLOCK_CUBLAS "
                     "to the path of libcublas.so");
        return;
    }
    int major = 0, minor = 0;
    library.there = find(handle, "cublasGetProperty", &library.get_property) &&
                    find(handle, "cublasCreate_v2", &library.create) &&
                    find(handle, "cublasDestroy_v2", &library.destroy) &&
                    find(handle, "cublasSetStream_v2", &library.set_stream) &&
                    find(handle, "cublasSetWorkspace_v2", &library.set_workspace) &&
                    find(handle, "cublasSetMathMode", &library.set_math_mode) &&
                    find(handle, "cublasGetStatusString", &library.status_string) &&
                    find(handle, "cublasSgemmStridedBatched", &library.sgemm) &&
                    find(handle, "cublasDgemmStridedBatched", &library.dgemm) &&
                    library.get_property(MAJOR_VERSION, &major) == SUCCESS &&
                    library.get_property(MINOR_VERSION, &minor) == SUCCESS;
    if (library.there)
        snprintf(library.text, sizeof library.text, "cuBLAS %d.%d", major, minor);
    else
        snprintf(library.text, sizeof library.text,
                 "none: the cuBLAS found here lacks functions: install libcublas 12 or 13");
}

const char *hk__cublas_text(bool *there) {
    pthread_once(&library.once, load);
    if (there) *there = library.there;
    return library.text;
}

/* --- a context's ----------------------------------------------------------------------------------- */

static hk_status failed(hk_context *ctx, const char *what, int status) {
    return hk_fail(ctx, status == ALLOC_FAILED ? HK_ERR_MEMORY : HK_ERR_DEVICE, "product",
                   "cuBLAS cannot %s: %s", what, library.status_string(status));
}

/* What NVIDIA recommends for Hopper and newer, and for those before. */
static size_t workspace_bytes(int capability) { return (size_t)(capability >= 90 ? 32 : 4) << 20; }

static hk_status open_handle(hk_context *ctx, struct hk__cublas *blas) {
    int status = library.create(&blas->handle);
    if (status != SUCCESS) return failed(ctx, "be started", status);
    status = library.set_stream(blas->handle, hk__gpu_stream(ctx));
    if (status != SUCCESS) return failed(ctx, "use the stream", status);
    const size_t bytes = workspace_bytes(hk__gpu_capability(ctx));
    blas->workspace = hk__gpu_alloc(ctx, bytes, false);
    if (!blas->workspace)
        return hk_fail(ctx, HK_ERR_MEMORY, "product",
                       "no memory on the GPU for the workspace of cuBLAS, %zu bytes", bytes);
    status = library.set_workspace(blas->handle, blas->workspace, bytes);
    if (status != SUCCESS) return failed(ctx, "use its workspace", status);
    status = library.set_math_mode(blas->handle, ctx->config.tf32 ? TF32_MATH : DEFAULT_MATH);
    return status == SUCCESS ? HK_OK : failed(ctx, "set its precision", status);
}

static hk_status blas_of(hk_context *ctx, struct hk__cublas **out) {
    struct hk__cublas **place = hk__gpu_blas(ctx);
    *out = *place;
    if (*out) return HK_OK;
    bool there;
    const char *text = hk__cublas_text(&there);
    if (!there) return hk_fail(ctx, HK_ERR_DEVICE, "product", "no cuBLAS: %s", text);
    *out = *place = calloc(1, sizeof **out);
    if (!*out) return hk_fail(ctx, HK_ERR_MEMORY, "product", "no memory");
    if (open_handle(ctx, *out) != HK_OK) hk__cublas_close(ctx);
    return ctx->status;
}

void hk__cublas_close(hk_context *ctx) {
    struct hk__cublas **place = hk__gpu_blas(ctx);
    if (!*place) return;
    if ((*place)->handle) library.destroy((*place)->handle);
    hk__gpu_free(ctx, (*place)->workspace);
    free(*place);
    *place = NULL;
}

/* cuBLAS counts by columns: what is row-major to us is the transpose to it, so it is asked for cᵀ = bᵀ · aᵀ. */
hk_status hk__cublas_product(hk_context *ctx, const hk__gpu_product *p) {
    struct hk__cublas *blas = NULL;
    HK_TRY(ctx->status);
    HK_TRY(blas_of(ctx, &blas));
    const int64_t sizes[] = {p->m, p->n, p->k, p->lda, p->ldb, p->ldc, p->count};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] > INT_MAX)
            return hk_fail(ctx, HK_ERR_SHAPE, "product", "%lld rows or columns are too many",
                           (long long)sizes[i]);
    hk__gpu_note(ctx, p, sizeof *p);
    const int left = p->trans_b ? TRANSPOSED : AS_STORED;
    const int right = p->trans_a ? TRANSPOSED : AS_STORED;
    int status;
    if (p->dtype == HK_F64) {
        const double one = 1, beta = p->accumulate ? 1 : 0;
        status = library.dgemm(blas->handle, left, right, (int)p->n, (int)p->m, (int)p->k, &one,
                               p->b, (int)p->ldb, p->step_b, p->a, (int)p->lda, p->step_a, &beta,
                               p->c, (int)p->ldc, p->step_c, (int)p->count);
    } else {
        const float one = 1, beta = p->accumulate ? 1 : 0;
        status = library.sgemm(blas->handle, left, right, (int)p->n, (int)p->m, (int)p->k, &one,
                               p->b, (int)p->ldb, p->step_b, p->a, (int)p->lda, p->step_a, &beta,
                               p->c, (int)p->ldc, p->step_c, (int)p->count);
    }
    return status == SUCCESS ? HK_OK : failed(ctx, "multiply", status);
}
