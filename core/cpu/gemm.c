/* gemm.c: register-blocked tiles of a matrix product, stamped for each instruction set.
   SPDX-License-Identifier: MIT

   The heart is `tile`: up to 8 x 3 vectors of sums live in registers while k runs; each step loads 3
   vectors of Q and broadcasts 8 numbers of P, so 24 FMAs need 11 loads and run at the speed of the FMA
   units, from L1 or L2 alike (measured 175 GF/s of about 177). P is never packed. Q is packed where its
   memory order is wrong or where a panel would not be whole vectors. Every tile size is stamped, and
   rows and columns are cut evenly, so an edge costs no more than its share. */
#include "gemm.h"
#include "simd.h"

/* Most rows of a tile by its width in vectors: sums, a row of Q and one of P fill the registers. */
#if HK_VECTOR_REGISTERS == 32
enum { VECS = 3, ROWS_1 = 12, ROWS_2 = 12, ROWS_3 = 8 };
#else
enum { VECS = 2, ROWS_1 = 12, ROWS_2 = 6, ROWS_3 = 0 };
#endif
enum {
    L = HK_LANES,
    ROWS = HK__GEMM_TILE_ROWS,
    WIDTH = VECS * L,                    /* most columns of a panel */
    BUFFER_ROWS = (ROWS + L - 1) / L * L /* a tile's rows, rounded up to whole transposes */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Where part i of `parts` nearly equal parts of `total` begins. Rounding to nearest keeps the first
   half as big as the second, so that two threads get equal shares. */
static int64_t part_begin(int64_t total, int64_t parts, int64_t i) {
    return (2 * i * total + parts) / (2 * parts);
}

/* ---- tiles ---- */

HK_INLINE void tile(const int rows, const int vecs, const hk__gemm_tile *args) {
    hk_vec sum[ROWS][VECS];
    HK_UNROLL
    for (int i = 0; i < rows; i++) {
        HK_UNROLL
        for (int v = 0; v < vecs; v++) sum[i][v] = hk_vset1(0);
    }
    /* Rows beyond the eighth get a base of their own: 16 general registers cannot hold more offsets. */
    const hk_real *p = args->p, *p8 = rows > 8 ? p + 8 * args->p_row : p, *q = args->q;
    const int64_t p_row = args->p_row, p_step = args->p_step, q_ld = args->q_ld;
    const int64_t p_skip = args->p_run - args->k * p_step, q_skip = args->q_run - args->k * q_ld;
    for (int64_t run = args->runs; run > 0; run--) {
        for (int64_t s = args->k; s > 0; s--) {
            hk_vec row_of_q[VECS];
            HK_UNROLL
            for (int v = 0; v < vecs; v++) row_of_q[v] = hk_vload(q + v * L);
            HK_UNROLL
            for (int i = 0; i < rows; i++) {
                const hk_vec x = hk_vset1(i < 8 ? p[i * p_row] : p8[(i - 8) * p_row]);
                HK_UNROLL
                for (int v = 0; v < vecs; v++) sum[i][v] = hk_vfma(x, row_of_q[v], sum[i][v]);
            }
            p += p_step;
            p8 += p_step;
            q += q_ld;
        }
        p += p_skip;
        p8 += p_skip;
        q += q_skip;
    }
    const hk_real *bias = args->bias;
    if (bias) {
        HK_UNROLL
        for (int v = 0; v < vecs; v++) {
            const hk_vec b = hk_vload(bias + v * L);
            HK_UNROLL
            for (int i = 0; i < rows; i++) sum[i][v] += b;
        }
    }
    hk_real *c = args->c;
    const int64_t ldc = args->ldc;
    const bool accumulate = args->accumulate;
    HK_UNROLL
    for (int i = 0; i < rows; i++) {
        HK_UNROLL
        for (int v = 0; v < vecs; v++) {
            hk_real *here = c + i * ldc + v * L;
            hk_vstore(here, accumulate ? sum[i][v] + hk_vload(here) : sum[i][v]);
        }
    }
}

#define TILE(rows, vecs)                                                                           \
    static void tile_##rows##x##vecs(const hk__gemm_tile *args) { tile(rows, vecs, args); }
#define TILE_NAME(rows, vecs) tile_##rows##x##vecs,
#define ROWS_TO_6(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v)
#define ROWS_TO_8(X, v) ROWS_TO_6(X, v) X(7, v) X(8, v)
#define ROWS_TO_12(X, v) ROWS_TO_8(X, v) X(9, v) X(10, v) X(11, v) X(12, v)
/* clang-format off */
#if HK_VECTOR_REGISTERS == 32
ROWS_TO_12(TILE, 1) ROWS_TO_12(TILE, 2) ROWS_TO_8(TILE, 3)
static hk__gemm_tile_fn *const tile_functions[VECS][HK__GEMM_TILE_ROWS] = {
    {ROWS_TO_12(TILE_NAME, 1)}, {ROWS_TO_12(TILE_NAME, 2)}, {ROWS_TO_8(TILE_NAME, 3)}};
#else
ROWS_TO_12(TILE, 1) ROWS_TO_6(TILE, 2)
static hk__gemm_tile_fn *const tile_functions[VECS][HK__GEMM_TILE_ROWS] = {
    {ROWS_TO_12(TILE_NAME, 1)}, {ROWS_TO_6(TILE_NAME, 2)}};
#endif
/* clang-format on */

/* ---- packing ---- */

/* hk_vcolumns of a corner of the matrix: zeros beyond rows and cols. */
static void corner_columns(const hk_real *src, int64_t ld, int64_t rows, int64_t cols,
                           hk_vec out[4]) {
    hk_real whole[L * 4] = {0};
    for (int64_t i = 0; i < least(rows, L); i++)
        for (int64_t j = 0; j < least(cols, 4); j++) whole[i * 4 + j] = src[i * ld + j];
    hk_vcolumns(whole, 4, out);
}

/* panel[s][j] = src[j][s] for s < k and j < cols; the panel is `width` wide, zeros beyond cols. */
static void pack_turned(const hk_real *src, int64_t ld, int64_t k, int64_t cols, int64_t width,
                        hk_real *panel) {
    for (int64_t j = 0; j < cols; j += L) {
        const hk_real *from = src + j * ld;
        hk_real *to = panel + j;
        int64_t s = 0;
        hk_vec out[4];
        for (; j + L <= cols && s + 4 <= k; s += 4, to += 4 * width) {
            hk_vcolumns(from + s, ld, out);
            HK_UNROLL
            for (int t = 0; t < 4; t++) hk_vstore(to + t * width, out[t]);
        }
        for (; s < k; s += 4) {
            corner_columns(from + s, ld, cols - j, k - s, out);
            for (int t = 0; t < least(4, k - s); t++, to += width) hk_vstore(to, out[t]);
        }
    }
}

/* panel[s][j] = src[s][j]. */
static void pack_copy(const hk_real *src, int64_t ld, int64_t k, int64_t cols, int64_t width,
                      hk_real *panel) {
    for (int64_t s = 0; s < k; s++, src += ld, panel += width)
        for (int64_t j = 0; j < cols; j += L)
            hk_vstore(panel + j, hk_vload_part(src + j, least(L, cols - j)));
}

/* ---- from a tile into C where it cannot write itself ---- */

typedef struct target {
    hk_real *c; /* top left */
    int64_t ldc;
    bool accumulate;
    const hk_real *bias; /* NULL, or of the first column of C here */
} target;

static void store_edge(const hk_real *buffer, int64_t rows, int64_t cols, const target *to) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j += L) {
            const int64_t count = least(L, cols - j);
            hk_real *here = to->c + i * to->ldc + j;
            hk_vec x = hk_vload(buffer + i * WIDTH + j);
            if (to->bias) x += hk_vload_part(to->bias + j, count);
            if (to->accumulate) x += hk_vload_part(here, count);
            hk_vstore_part(here, x, count);
        }
}

/* Rows of the tile are columns of C. */
static void store_turned(const hk_real *buffer, int64_t rows, int64_t cols, const target *to) {
    for (int64_t i = 0; i < rows; i += L) {
        const int64_t count = least(L, rows - i);
        const hk_vec bias = to->bias ? hk_vload_part(to->bias + i, count) : hk_vset1(0);
        for (int64_t j = 0; j < cols; j += 4) {
            hk_vec out[4];
            hk_vcolumns(buffer + i * WIDTH + j, WIDTH, out);
            for (int t = 0; t < least(4, cols - j); t++) {
                hk_real *here = to->c + (j + t) * to->ldc + i;
                hk_vec x = out[t];
                if (to->bias) x += bias;
                if (to->accumulate) x += hk_vload_part(here, count);
                hk_vstore_part(here, x, count);
            }
        }
    }
}

/* ---- panels ---- */

/* Some tiles of one panel. */
typedef struct span {
    int64_t first_tile, end_tile, col, cols, vecs;
    bool first_chunk;
} span;

/* Tiles of whole vectors write C themselves. */
static void run_direct(const hk__gemm *job, const hk__gemm_cut *cut, const span *part,
                       hk__gemm_tile args) {
    const hk_real *p = args.p, *bias = part->first_chunk ? job->bias : NULL;
    args.ldc = job->ldc;
    args.accumulate = !part->first_chunk || job->accumulate;
    args.bias = bias ? bias + part->col : NULL;
    int64_t row = part_begin(cut->rows, cut->tiles, part->first_tile);
    for (int64_t t = part->first_tile; t < part->end_tile; t++) {
        const int64_t next = part_begin(cut->rows, cut->tiles, t + 1);
        args.p = p + row * cut->p_row;
        args.c = (hk_real *)job->c + row * job->ldc + part->col;
        tile_functions[part->vecs - 1][next - row - 1](&args);
        row = next;
    }
}

/* Tiles that end within a vector, or that are turned, go through a buffer. */
static void run_buffered(const hk__gemm *job, const hk__gemm_cut *cut, const span *part,
                         hk__gemm_tile args) {
    hk_real buffer[BUFFER_ROWS * WIDTH] = {0};
    const int64_t col = part->col;
    const hk_real *p = args.p, *bias = part->first_chunk ? job->bias : NULL;
    target to = {.ldc = job->ldc, .accumulate = !part->first_chunk || job->accumulate};
    args.c = buffer;
    args.ldc = WIDTH;
    int64_t row = part_begin(cut->rows, cut->tiles, part->first_tile);
    for (int64_t t = part->first_tile; t < part->end_tile; t++) {
        const int64_t next = part_begin(cut->rows, cut->tiles, t + 1);
        args.p = p + row * cut->p_row;
        tile_functions[part->vecs - 1][next - row - 1](&args);
        to.c = (hk_real *)job->c + (cut->swapped ? col * job->ldc + row : row * job->ldc + col);
        to.bias = bias ? bias + (cut->swapped ? row : col) : NULL;
        (cut->swapped ? store_turned : store_edge)(buffer, next - row, part->cols, &to);
        row = next;
    }
}

/* Some tiles of one panel over one chunk of k. */
static void run_panel(const hk__gemm *job, const hk__gemm_cut *cut, int64_t panel_id, int64_t chunk,
                      const span *part, hk__gemm_worker *worker) {
    const int64_t s = part_begin(cut->k, cut->chunks, chunk);
    const hk_real *p = cut->swapped ? job->b : job->a, *q = cut->swapped ? job->a : job->b;
    hk__gemm_tile args = {
        .runs = 1, .p = p + s * cut->p_step, .p_row = cut->p_row, .p_step = cut->p_step};
    args.k = part_begin(cut->k, cut->chunks, chunk + 1) - s;
    args.q = cut->q_turned ? q + part->col * cut->q_ld + s : q + s * cut->q_ld + part->col;
    args.q_ld = cut->q_ld;
    const bool whole = part->cols == part->vecs * L;
    if (cut->pack || !whole) {
        const int64_t id = panel_id * cut->chunks + chunk;
        if (worker->packed != id)
            (cut->q_turned ? pack_turned : pack_copy)(args.q, args.q_ld, args.k, part->cols,
                                                      part->vecs * L, worker->panel);
        worker->packed = id;
        args.q = worker->panel;
        args.q_ld = part->vecs * L;
    }
    (whole && !cut->swapped ? run_direct : run_buffered)(job, cut, part, args);
}

/* Tiles are counted down the rows of a panel before the next panel. */
static void run_tiles(const hk__gemm *job, const hk__gemm_cut *cut, int64_t job_index,
                      int64_t begin, int64_t end, hk__gemm_worker *worker) {
    const int64_t all_vecs = (cut->cols + L - 1) / L, tiles = cut->tiles;
    for (int64_t chunk = 0; chunk < cut->chunks; chunk++)
        for (int64_t t = begin, panel = begin / tiles; t < end; panel++) {
            const int64_t first = panel * tiles, stop = least(end, first + tiles);
            const int64_t vec = part_begin(all_vecs, cut->panels, panel);
            span part = {.first_tile = t - first, .end_tile = stop - first, .col = vec * L};
            part.vecs = part_begin(all_vecs, cut->panels, panel + 1) - vec;
            part.cols = least(part.vecs * L, cut->cols - part.col);
            part.first_chunk = chunk == 0;
            run_panel(job, cut, job_index * cut->panels + panel, chunk, &part, worker);
            t = stop;
        }
}

/* ---- dot products: a matrix whose rows lie along k times a vector ---- */

/* Two sums a row hide the latency of the FMAs. */
HK_INLINE void dot_rows(const int rows, const hk_real *m, int64_t ld, const hk_real *x, int64_t k,
                        hk_real *out) {
    hk_vec even[4], odd[4];
    HK_UNROLL
    for (int i = 0; i < rows; i++) even[i] = odd[i] = hk_vset1(0);
    int64_t s = 0;
    for (; s + 2 * L <= k; s += 2 * L) {
        const hk_vec x0 = hk_vload(x + s), x1 = hk_vload(x + s + L);
        HK_UNROLL
        for (int i = 0; i < rows; i++) {
            even[i] = hk_vfma(hk_vload(m + i * ld + s), x0, even[i]);
            odd[i] = hk_vfma(hk_vload(m + i * ld + s + L), x1, odd[i]);
        }
    }
    for (; s < k; s += L) {
        const int64_t count = least(L, k - s);
        const hk_vec x0 = hk_vload_part(x + s, count);
        HK_UNROLL
        for (int i = 0; i < rows; i++)
            even[i] = hk_vfma(hk_vload_part(m + i * ld + s, count), x0, even[i]);
    }
    HK_UNROLL
    for (int i = 0; i < rows; i++) out[i] = hk_vsum(even[i] + odd[i]);
}

static void run_dots(const void *matrix, int64_t ld, const void *x, int64_t k, int64_t begin,
                     int64_t end, void *y, int64_t y_step, bool accumulate, const void *bias,
                     int64_t bias_step) {
    const hk_real *m = matrix, *b = bias;
    for (int64_t i = begin; i < end; i += 4) {
        hk_real sum[4];
        const int64_t rows = least(4, end - i);
        if (rows == 4)
            dot_rows(4, m + i * ld, ld, x, k, sum);
        else
            for (int64_t r = 0; r < rows; r++) dot_rows(1, m + (i + r) * ld, ld, x, k, sum + r);
        for (int64_t r = 0; r < rows; r++) {
            hk_real *here = (hk_real *)y + (i + r) * y_step;
            hk_real value = sum[r];
            if (b) value += b[(i + r) * bias_step];
            *here = accumulate ? value + *here : value;
        }
    }
}

extern const hk__gemm_kernels HK_STAMPED(hk__gemm);
const hk__gemm_kernels HK_STAMPED(hk__gemm) = {
    .lanes = L,
    .tile_vecs = VECS,
    .tile_rows = {ROWS_1, ROWS_2, ROWS_3},
    .element = sizeof(hk_real),
    .fma = HK_HAS_FMA,
    .tile = tile_functions,
    .tiles = run_tiles,
    .dots = run_dots,
};
