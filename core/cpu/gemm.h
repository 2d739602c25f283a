/* gemm.h: matrix products on the CPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_GEMM_H
#define HK_GEMM_H

#include "hk_base.h"
#include "pool.h"
#include "stamp.h"

HK_BEGIN_DECLS

/* C (m, n) = op(A) (m, k) · op(B) (k, n), plus C if accumulate, plus bias (n) in every row if given.
   All row-major; A is stored (m, k), or (k, m) if trans_a; B is stored (k, n), or (n, k) if trans_b.
   k may be 0 (C becomes bias or 0). C overlaps nothing. Elements are of the stamp's real type. */
typedef struct hk__gemm {
    bool trans_a, trans_b, accumulate;
    int64_t m, n, k;
    const void *a;
    int64_t lda;
    const void *b;
    int64_t ldb;
    void *c;
    int64_t ldc;
    const void *bias;
} hk__gemm;

/* Bytes that hk__gemm_run needs as scratch for n_jobs products shaped like *job. */
size_t hk__gemm_scratch(hk__stamp stamp, const hk__gemm *job, int64_t n_jobs, int threads);

/* Computes n_jobs products that differ in their pointers alone. scratch: 64-byte aligned, contents
   do not matter, not shared with another call in flight. use_blas allows OpenBLAS (openblas.h) where
   it is faster. The bits of C depend on sizes, strides, stamp and use_blas, never on the number of
   threads. HK_ERR_ARGUMENT if scratch is too small or the jobs differ in shape. */
hk_status hk__gemm_run(hk__pool *pool, hk__stamp stamp, bool use_blas, const hk__gemm *jobs,
                       int64_t n_jobs, void *scratch, size_t scratch_bytes);

/* The ways to compute a product. Q is the operand that fills vectors, see hk__gemm_cut. */
#define HK__GEMM_KINDS(X)                                                                          \
    X(TILES, "tiles")                                                                              \
    X(TILES_COPIED, "tiles, Q copied")                                                             \
    X(TILES_TURNED, "tiles, Q transposed")                                                         \
    X(SWAPPED, "swapped tiles")                                                                    \
    X(SWAPPED_COPIED, "swapped tiles, Q copied")                                                   \
    X(SWAPPED_TURNED, "swapped tiles, Q transposed")                                               \
    X(DOTS, "dot products")                                                                        \
    X(OPENBLAS, "OpenBLAS")
typedef enum hk__gemm_kind {
#define HK__GEMM_ENUM(name, text) HK__GEMM_##name,
    HK__GEMM_KINDS(HK__GEMM_ENUM)
#undef HK__GEMM_ENUM
        HK__GEMM_KIND_COUNT
} hk__gemm_kind;

/* How many calls of hk__gemm_run took this way, since the process began. */
uint64_t hk__gemm_chosen(hk__gemm_kind kind);
const char *hk__gemm_kind_name(hk__gemm_kind kind);

/* ---- between gemm_run.c, which decides, and gemm.c, which is stamped and computes ---- */

/* A product cut into tiles. Tiles compute R (rows, cols) = P (rows, k) · Q (k, cols): elements of P
   are broadcast straight from memory, whatever its strides, rows of Q fill vectors. Either P = op(A),
   Q = op(B), R = C; or, swapped, everything transposed: P = op(B)ᵀ, Q = op(A)ᵀ, R = Cᵀ, and tiles are
   transposed on their way into C. Columns form panels of a few vectors, rows form tiles of a panel. */
typedef struct hk__gemm_cut {
    bool swapped;
    bool pack; /* panels of Q are laid out in scratch first, transposed if q_turned */
    bool q_turned;
    int64_t rows, cols, k;
    int64_t p_row, p_step; /* element (i, s) of P is p[i * p_row + s * p_step] */
    int64_t q_ld;          /* element (s, j) of Q is q[s * q_ld + j], q[j * q_ld + s] if q_turned */
    int64_t panels, tiles; /* tiles: of one panel */
    int64_t chunks;        /* k is cut too; one worker takes all chunks of a tile, in order */
} hk__gemm_cut;

/* What one worker keeps between the panels of one call. */
typedef struct hk__gemm_worker {
    int64_t packed; /* which chunk of which panel of which job lies in `panel`; -1 is none */
    void *panel;
} hk__gemm_worker;

/* One tile, of which convolutions are made too: c (rows, vecs) = Σ over runs of k steps, + c if accumulate, + bias
   (vecs) if given. In run r, element (i, s) of P is p[r * p_run + i * p_row + s * p_step], and row s of Q begins at
   q[r * q_run + s * q_ld]. Everything of the stamp's type, vecs in whole vectors. */
typedef struct hk__gemm_tile {
    int64_t runs, k;
    const void *p;
    int64_t p_row, p_step, p_run;
    const void *q;
    int64_t q_ld, q_run;
    void *c;
    int64_t ldc;
    bool accumulate;
    const void *bias;
} hk__gemm_tile;
typedef void hk__gemm_tile_fn(const hk__gemm_tile *args);
enum { HK__GEMM_TILE_ROWS = 12 };

typedef struct hk__gemm_kernels {
    int lanes;        /* elements of a vector */
    int tile_vecs;    /* most vectors across a tile, and so across a panel */
    int tile_rows[3]; /* most rows of a tile of 1, 2, 3 vectors */
    size_t element;   /* bytes */
    bool fma;         /* the instructions have it */
    /* [vectors across - 1][rows - 1] */
    hk__gemm_tile_fn *const (*tile)[HK__GEMM_TILE_ROWS];
    /* Tiles [begin, end) of one product, those of a panel first. */
    void (*tiles)(const hk__gemm *job, const hk__gemm_cut *cut, int64_t job_index, int64_t begin,
                  int64_t end, hk__gemm_worker *worker);
    /* Rows [begin, end) of y = M (rows, k) · x (k), y with stride y_step. */
    void (*dots)(const void *matrix, int64_t ld, const void *x, int64_t k, int64_t begin,
                 int64_t end, void *y, int64_t y_step, bool accumulate, const void *bias,
                 int64_t bias_step);
} hk__gemm_kernels;

HK_STAMP_TABLES(hk__gemm_kernels, hk__gemm);

HK_END_DECLS
#endif
