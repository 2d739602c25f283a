/* gemm_run.c: chooses the way a product is computed, cuts it and deals the pieces to threads.
   SPDX-License-Identifier: MIT

   Which way and which cut follow from sizes alone, and a sum over k is never split between threads:
   any number of threads gives the same bits. */
#include "gemm.h"

#include "openblas.h"

#include <limits.h>
#include <stdatomic.h>

enum {
    LINE = 64,
    /* Multiply-adds of the smallest share worth handing to another thread: waking the others and
       waiting for them takes 0.3 us, in which a core does this many. */
    SHARE_WORK = 24 * 1024,
    MOST_DEPTH = 1024, /* steps of k in one pass: a packed panel of it stays in the L2 cache */
    LEAST_DEPTH = 128,
    P_BYTES = 1024 * 1024, /* what may lie in L2 beside that panel */
    /* Rows of Q beyond which a panel is better read from a copy: in place its rows lie on as many pages
       and, with a stride of a power of 2, in few cache sets (1024 x 1024 x 1024 runs twice as fast). */
    LONG_PANEL = 256,
    /* Sides of the blocks that OpenBLAS gets. Below about 390 it loses a tenth of its speed. */
    BLAS_SIDE = 576,
    BLAS_SMALL_SIDE = 128,
    BLAS_LEAST = 768
};

static atomic_uint_fast64_t chosen[HK__GEMM_KIND_COUNT];

uint64_t hk__gemm_chosen(hk__gemm_kind kind) {
    return atomic_load_explicit(&chosen[kind], memory_order_relaxed);
}

const char *hk__gemm_kind_name(hk__gemm_kind kind) {
    static const char *const names[] = {
#define NAME(name, text) text,
        HK__GEMM_KINDS(NAME)
#undef NAME
    };
    return names[kind];
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static size_t whole_lines(int64_t bytes) { return (size_t)ceil_div(bytes, LINE) * LINE; }

/* How many shares the work is dealt in. */
static int64_t shares_of(const hk__gemm *job, int64_t n_jobs, int64_t pieces, int threads) {
    const int64_t work = n_jobs * job->m * job->n * most(1, job->k);
    return most(1, least(least(pieces, threads), work / SHARE_WORK));
}

/* ---- tiles ---- */

/* Time in FMA instructions: the tiles, and what it takes to read Q and write C against their order. */
static int64_t cost(int lanes, int64_t rows, int64_t cols, int64_t k, bool turned, bool swapped) {
    const int64_t vecs = ceil_div(cols, lanes);
    return vecs * (rows * k + (turned ? 4 * k : 0) + (swapped ? 6 * rows : 0));
}

/* P should stay in L2 if it is read across its rows in memory, half a cache line at a time. */
static int64_t depth_of(const hk__gemm_cut *cut, const hk__gemm_kernels *kernels) {
    if (cut->p_step == 1) return MOST_DEPTH;
    const int64_t room = P_BYTES / (cut->p_step * (int64_t)kernels->element);
    return most(LEAST_DEPTH, least(room, MOST_DEPTH));
}

static void cut_tiles(const hk__gemm *job, const hk__gemm_kernels *kernels, hk__gemm_cut *cut) {
    const int lanes = kernels->lanes;
    const bool swapped = cost(lanes, job->n, job->m, job->k, !job->trans_a, true) <
                         cost(lanes, job->m, job->n, job->k, job->trans_b, false);
    *cut = (hk__gemm_cut){.swapped = swapped, .k = job->k};
    if (swapped) {
        cut->rows = job->n;
        cut->cols = job->m;
        cut->p_row = job->trans_b ? job->ldb : 1;
        cut->p_step = job->trans_b ? 1 : job->ldb;
        cut->q_ld = job->lda;
        cut->q_turned = !job->trans_a;
    } else {
        cut->rows = job->m;
        cut->cols = job->n;
        cut->p_row = job->trans_a ? 1 : job->lda;
        cut->p_step = job->trans_a ? job->lda : 1;
        cut->q_ld = job->ldb;
        cut->q_turned = job->trans_b;
    }
    /* 9 to 12 rows, such as 10 classes, fit one tile if it is a vector narrower. */
    const int64_t vecs = ceil_div(cut->cols, lanes);
    const int *tile_rows = kernels->tile_rows;
    int64_t widest = kernels->tile_vecs;
    if (widest == 3 && cut->rows > tile_rows[2] && cut->rows <= tile_rows[1]) widest = 2;
    cut->panels = ceil_div(vecs, widest);
    cut->tiles = ceil_div(cut->rows, tile_rows[ceil_div(vecs, cut->panels) - 1]);
    cut->pack = cut->q_turned || (cut->k > LONG_PANEL && cut->tiles >= 4);
    cut->chunks = most(1, ceil_div(cut->k, depth_of(cut, kernels)));
}

/* One worker's part of scratch: its hk__gemm_worker, then room for a panel if one is ever packed. */
static size_t worker_bytes(const hk__gemm_kernels *kernels, const hk__gemm_cut *cut) {
    if (!cut->pack && cut->cols % kernels->lanes == 0) return LINE;
    const int64_t width = kernels->lanes * kernels->tile_vecs;
    const int64_t steps = ceil_div(cut->k, cut->chunks);
    return LINE + whole_lines(steps * width * (int64_t)kernels->element);
}

typedef struct tiles_run {
    const hk__gemm_kernels *kernels;
    const hk__gemm *jobs;
    hk__gemm_cut cut;
    int64_t tiles_per_job, total, shares;
    bool by_rows; /* a share is some rows of every panel, else some panels */
    char *scratch;
    size_t stride;
} tiles_run;

/* Whether a share is a stretch of rows (it then reads all of Q) or of panels (all of P). What another
   core wrote last comes several times slower than one's own. In a training step each core has updated its half
   of the weights, a stretch of their rows, and will do so again: so count what would cross. By panels,
   C crosses too, since the next pass over it takes a stretch of rows; by rows it does if it is turned. */
static bool deals_by_rows(const hk__gemm_cut *cut, int64_t shares) {
    const int64_t p = cut->rows * cut->k, q = cut->cols * cut->k, c = cut->rows * cut->cols;
    return shares > 1 && cut->tiles >= shares &&
           q + (cut->swapped ? c : 0) < p + (cut->swapped ? 0 : c);
}

static void tiles_task(void *arg, int64_t share, int w) {
    const tiles_run *run = arg;
    hk__gemm_worker *worker = (void *)(run->scratch + (size_t)w * run->stride);
    if (run->by_rows) {
        const int64_t tiles = run->cut.tiles, first = share * tiles / run->shares;
        const int64_t stop = (share + 1) * tiles / run->shares;
        for (int64_t panel = 0; panel < run->cut.panels; panel++)
            run->kernels->tiles(run->jobs, &run->cut, 0, panel * tiles + first,
                                panel * tiles + stop, worker);
        return;
    }
    int64_t begin = share * run->total / run->shares;
    const int64_t end = (share + 1) * run->total / run->shares;
    for (int64_t job = begin / run->tiles_per_job; begin < end; job++) {
        const int64_t first = job * run->tiles_per_job;
        const int64_t stop = least(end, first + run->tiles_per_job);
        run->kernels->tiles(&run->jobs[job], &run->cut, job, begin - first, stop - first, worker);
        begin = stop;
    }
}

static hk__gemm_kind run_tiles(hk__pool *pool, const hk__gemm_kernels *kernels,
                               const hk__gemm *jobs, int64_t n_jobs, void *scratch) {
    tiles_run run = {.kernels = kernels, .jobs = jobs, .scratch = scratch};
    const int threads = hk__pool_threads(pool);
    cut_tiles(jobs, kernels, &run.cut);
    run.stride = worker_bytes(kernels, &run.cut);
    run.tiles_per_job = run.cut.panels * run.cut.tiles;
    run.total = run.tiles_per_job * n_jobs;
    run.shares = shares_of(jobs, n_jobs, run.total, threads);
    run.by_rows = n_jobs == 1 && deals_by_rows(&run.cut, run.shares);
    for (int w = 0; w < threads; w++) {
        hk__gemm_worker *worker = (void *)(run.scratch + (size_t)w * run.stride);
        *worker = (hk__gemm_worker){.packed = -1, .panel = (char *)worker + LINE};
    }
    hk__parallel(pool, run.shares, tiles_task, &run);
    const hk__gemm_kind way = run.cut.swapped ? HK__GEMM_SWAPPED : HK__GEMM_TILES;
    return way + (run.cut.q_turned ? 2 : run.cut.pack || run.cut.cols % kernels->lanes != 0);
}

/* ---- dot products ---- */

/* A matrix whose rows lie along k times a vector. */
static bool is_dots(const hk__gemm *job) {
    return (job->n == 1 && !job->trans_a) || (job->m == 1 && job->trans_b);
}

typedef struct dots_run {
    const hk__gemm_kernels *kernels;
    const hk__gemm *jobs;
    bool matrix_is_a;
    int64_t rows, fours, total, shares; /* fours: of rows, which the kernel takes at a time */
    int64_t x_step;
    char *copies; /* of the vectors, one a job, if their elements lie apart */
    size_t copy_bytes;
} dots_run;

static void copy_vector(const dots_run *run, int64_t index) {
    const hk__gemm *job = &run->jobs[index];
    const size_t size = run->kernels->element;
    const char *from = run->matrix_is_a ? job->b : job->a;
    char *to = run->copies + (size_t)index * run->copy_bytes;
    for (int64_t s = 0; s < job->k; s++)
        for (size_t byte = 0; byte < size; byte++)
            to[(size_t)s * size + byte] = from[(size_t)(s * run->x_step) * size + byte];
}

static void dots_of(const dots_run *run, int64_t index, int64_t begin, int64_t end) {
    const hk__gemm *job = &run->jobs[index];
    const void *x = run->matrix_is_a ? job->b : job->a;
    if (run->x_step != 1) x = run->copies + (size_t)index * run->copy_bytes;
    if (run->matrix_is_a)
        run->kernels->dots(job->a, job->lda, x, job->k, begin, end, job->c, job->ldc,
                           job->accumulate, job->bias, 0);
    else
        run->kernels->dots(job->b, job->ldb, x, job->k, begin, end, job->c, 1, job->accumulate,
                           job->bias, 1);
}

static void dots_task(void *arg, int64_t share, int w) {
    (void)w;
    const dots_run *run = arg;
    int64_t begin = share * run->total / run->shares;
    const int64_t end = (share + 1) * run->total / run->shares;
    for (int64_t job = begin / run->fours; begin < end; job++) {
        const int64_t first = job * run->fours, stop = least(end, first + run->fours);
        dots_of(run, job, (begin - first) * 4, least(run->rows, (stop - first) * 4));
        begin = stop;
    }
}

static int64_t vector_step(const hk__gemm *job) {
    if (job->n == 1 && !job->trans_a) return job->trans_b ? 1 : job->ldb;
    return job->trans_a ? job->lda : 1;
}

static size_t vectors_bytes(const hk__gemm_kernels *kernels, const hk__gemm *job, int64_t n_jobs) {
    if (vector_step(job) == 1) return LINE;
    return (size_t)n_jobs * whole_lines(job->k * (int64_t)kernels->element);
}

static void run_dots(hk__pool *pool, const hk__gemm_kernels *kernels, const hk__gemm *jobs,
                     int64_t n_jobs, void *scratch) {
    dots_run run = {.kernels = kernels, .jobs = jobs, .copies = scratch};
    run.matrix_is_a = jobs->n == 1 && !jobs->trans_a;
    run.rows = run.matrix_is_a ? jobs->m : jobs->n;
    run.x_step = vector_step(jobs);
    run.copy_bytes = whole_lines(jobs->k * (int64_t)kernels->element);
    for (int64_t i = 0; run.x_step != 1 && i < n_jobs; i++) copy_vector(&run, i);
    run.fours = ceil_div(run.rows, 4);
    run.total = run.fours * n_jobs;
    run.shares = shares_of(jobs, n_jobs, run.total, hk__pool_threads(pool));
    hk__parallel(pool, run.shares, dots_task, &run);
}

/* ---- OpenBLAS ---- */

/* Own tiles are as fast or faster, measured with the same instructions, except for big products whose
   P is read across its rows in memory (by a tenth), and where the baseline has no FMA, while OpenBLAS
   uses all that the machine has. */
static bool is_blas(hk__stamp stamp, const hk__gemm *job) {
    if (stamp == HK__STAMP_f64) return false;
    const int64_t sizes = most(job->m, most(job->n, job->k));
    if (most(sizes, most(job->lda, most(job->ldb, job->ldc))) > INT_MAX) return false;
    if (!hk__gemm_tables[stamp]->fma)
        return job->m >= 8 && job->n >= 8 && job->k >= 8 &&
               job->m * job->n * job->k >= 64 * 64 * 64;
    return job->trans_a && job->m >= BLAS_LEAST && job->n >= BLAS_LEAST &&
           job->k * job->lda * (int64_t)sizeof(float) >= P_BYTES;
}

typedef struct blas_run {
    const hk__gemm *jobs;
    int64_t down, across; /* blocks */
} blas_run;

static void blas_task(void *arg, int64_t block, int w) {
    (void)w;
    const blas_run *run = arg;
    hk__gemm job = run->jobs[block / (run->down * run->across)];
    const int64_t i = block / run->across % run->down, j = block % run->across;
    const int64_t row = i * job.m / run->down, col = j * job.n / run->across;
    job.m = (i + 1) * job.m / run->down - row;
    job.n = (j + 1) * job.n / run->across - col;
    job.a = (const float *)job.a + row * (job.trans_a ? 1 : job.lda);
    job.b = (const float *)job.b + col * (job.trans_b ? job.ldb : 1);
    job.c = (float *)job.c + row * job.ldc + col;
    if (job.bias) job.bias = (const float *)job.bias + col;
    hk__openblas_gemm(&job);
}

static void run_blas(hk__pool *pool, const hk__gemm *jobs, int64_t n_jobs) {
    const bool big = jobs->m >= BLAS_LEAST && jobs->n >= BLAS_LEAST;
    const int64_t side = big ? BLAS_SIDE : BLAS_SMALL_SIDE;
    blas_run run = {jobs, ceil_div(jobs->m, side), ceil_div(jobs->n, side)};
    hk__parallel(pool, run.down * run.across * n_jobs, blas_task, &run);
}

/* ---- the door ---- */

size_t hk__gemm_scratch(hk__stamp stamp, const hk__gemm *job, int64_t n_jobs, int threads) {
    const hk__gemm_kernels *kernels = hk__gemm_tables[stamp];
    if (is_dots(job)) return vectors_bytes(kernels, job, n_jobs);
    hk__gemm_cut cut;
    cut_tiles(job, kernels, &cut);
    return (size_t)threads * worker_bytes(kernels, &cut);
}

static bool same_shape(const hk__gemm *x, const hk__gemm *y) {
    return x->m == y->m && x->n == y->n && x->k == y->k && x->trans_a == y->trans_a &&
           x->trans_b == y->trans_b && x->accumulate == y->accumulate && x->lda == y->lda &&
           x->ldb == y->ldb && x->ldc == y->ldc;
}

hk_status hk__gemm_run(hk__pool *pool, hk__stamp stamp, bool use_blas, const hk__gemm *jobs,
                       int64_t n_jobs, void *scratch, size_t scratch_bytes) {
    if (n_jobs < 1 || jobs->m < 1 || jobs->n < 1) return HK_OK;
    const hk__gemm_kernels *kernels = hk__gemm_tables[stamp];
    if (scratch_bytes < hk__gemm_scratch(stamp, jobs, n_jobs, hk__pool_threads(pool)))
        return HK_ERR_ARGUMENT;
    for (int64_t i = 1; i < n_jobs; i++)
        if (!same_shape(jobs, &jobs[i])) return HK_ERR_ARGUMENT;
    hk__gemm_kind kind;
    if (is_dots(jobs)) {
        kind = HK__GEMM_DOTS;
        run_dots(pool, kernels, jobs, n_jobs, scratch);
    } else if (use_blas && is_blas(stamp, jobs)) {
        kind = HK__GEMM_OPENBLAS;
        run_blas(pool, jobs, n_jobs);
    } else {
        kind = run_tiles(pool, kernels, jobs, n_jobs, scratch);
    }
    atomic_fetch_add_explicit(&chosen[kind], 1, memory_order_relaxed);
    return HK_OK;
}
