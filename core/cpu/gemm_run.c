/* gemm_run.c: chooses the way a product is computed, cuts it into blocks and deals them to threads.
   SPDX-License-Identifier: MIT

   Everything here is decided from sizes alone, so any number of threads gives the same bits. */
#include "gemm.h"

#include "openblas.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

HK_STAMP_TABLES(hk__gemm_kernels, hk__gemm);

enum {
    LINE = 64,
    /* Multiply-adds of the smallest share worth handing to another thread: waking the others and
       waiting for them takes 0.3 us, in which a core does this many. */
    SHARE_WORK = 24 * 1024,
    /* Longest stretch of k in one pass: a packed panel of it stays in the L2 cache. */
    DEPTH = 1024,
#ifndef DEPTH2
    DEPTH2 = 512,
#endif
#ifndef P_BYTES
    P_BYTES = 1024 * 1024,
#endif
    /* Rows of Q beyond which a panel is better read from a copy: in place its rows lie on as many pages
       and, with a stride of a power of 2, in few cache sets (1024 x 1024 x 1024 runs twice as fast). */
    LONG_PANEL = 256
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

/* ---- which way ---- */

/* Time of computing with given operands in Q, in FMA instructions: the tiles, plus reading Q against
   its order, plus writing C against its order. */
static int64_t cost(const hk__gemm_kernels *kernels, int64_t rows, int64_t cols, int64_t k,
                    bool turned, bool swapped) {
    const int64_t vecs = ceil_div(cols, kernels->lanes);
    int64_t total = rows * vecs * k;
    if (turned) total += vecs * k * 4;
    if (swapped) total += vecs * rows * 6;
    return total;
}

static bool is_dots(const hk__gemm *job) {
    return (job->n == 1 && !job->trans_a) || (job->m == 1 && job->trans_b);
}

static void cut_tiles(const hk__gemm *job, const hk__gemm_kernels *kernels, hk__gemm_cut *cut) {
    bool swapped = cost(kernels, job->n, job->m, job->k, !job->trans_a, true) <
                         cost(kernels, job->m, job->n, job->k, job->trans_b, false);
#ifdef EXPERIMENT
    extern int force_pack; if (force_pack==2) swapped=false;  if (force_pack==3) swapped=true;
#endif
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
    const int64_t vecs = ceil_div(cut->cols, kernels->lanes);
    int64_t widest = kernels->tile_vecs;
    if (widest == 3 && cut->rows > kernels->tile_rows[2] && cut->rows <= kernels->tile_rows[1]) widest = 2;
    cut->panels = ceil_div(vecs, widest);
    cut->tiles = ceil_div(cut->rows, kernels->tile_rows[ceil_div(vecs, cut->panels) - 1]);
    cut->pack = cut->q_turned || (cut->k > LONG_PANEL && cut->tiles >= 4);
#ifdef EXPERIMENT
    extern int force_pack; if (force_pack==1) cut->pack=true;
#endif
    const int64_t tile_rows = ceil_div(cut->rows, cut->tiles);
    const int64_t room = P_BYTES / (int64_t)kernels->element;
    const bool fits = cut->rows * cut->k <= room;
    cut->chunks = most(1, ceil_div(cut->k, fits ? DEPTH : DEPTH2));
    const int64_t depth = most(1, ceil_div(cut->k, cut->chunks));
    cut->round_tiles = fits ? cut->tiles : most(1, least(cut->tiles, room / (depth * tile_rows)));
}

static size_t panel_bytes(const hk__gemm_kernels *kernels, const hk__gemm_cut *cut) {
    if (!cut->pack && cut->cols % kernels->lanes == 0) return 0;
    const int64_t width = kernels->lanes * kernels->tile_vecs;
    const size_t bytes = (size_t)(ceil_div(cut->k, cut->chunks) * width) * kernels->element;
    return (bytes + LINE - 1) / LINE * LINE;
}

size_t hk__gemm_scratch(hk__stamp stamp, const hk__gemm *job, int64_t n_jobs, int threads) {
    (void)n_jobs;
    const hk__gemm_kernels *kernels = hk__gemm_tables[stamp];
    if (is_dots(job)) return ((size_t)job->k * kernels->element + LINE - 1) / LINE * LINE;
    hk__gemm_cut cut;
    cut_tiles(job, kernels, &cut);
    return (size_t)threads * (LINE + panel_bytes(kernels, &cut));
}

typedef struct tiles_run {
    const hk__gemm_kernels *kernels;
    const hk__gemm *jobs;
    hk__gemm_cut cut;
    int64_t tiles_per_job, total, shares;
    char *scratch;
    size_t stride;
} tiles_run;

static void tiles_task(void *arg, int64_t share, int w) {
    const tiles_run *run = arg;
    hk__gemm_worker *worker = (void *)(run->scratch + (size_t)w * run->stride);
    int64_t begin = share * run->total / run->shares;
    const int64_t end = (share + 1) * run->total / run->shares;
    for (int64_t job = begin / run->tiles_per_job; begin < end; job++) {
        const int64_t first = job * run->tiles_per_job;
        const int64_t stop = least(end, first + run->tiles_per_job);
        run->kernels->tiles(&run->jobs[job], &run->cut, job, begin - first, stop - first, worker);
        begin = stop;
    }
}

hk_status hk__gemm_run(hk__pool *pool, hk__stamp stamp, bool use_blas, const hk__gemm *jobs,
                       int64_t n_jobs, void *scratch, size_t scratch_bytes) {
    (void)use_blas;
    const int threads = hk__pool_threads(pool);
    tiles_run run = {.kernels = hk__gemm_tables[stamp], .jobs = jobs, .scratch = scratch};
    cut_tiles(jobs, run.kernels, &run.cut);
    run.stride = LINE + panel_bytes(run.kernels, &run.cut);
    if (scratch_bytes < (size_t)threads * run.stride) return HK_ERR_ARGUMENT;
    run.tiles_per_job = run.cut.panels * run.cut.tiles;
    run.total = run.tiles_per_job * n_jobs;
    const int64_t work = n_jobs * jobs->m * jobs->n * most(1, jobs->k);
    run.shares = most(1, least(least(run.total, threads), work / SHARE_WORK));
    for (int w = 0; w < threads; w++) {
        hk__gemm_worker *worker = (void *)(run.scratch + (size_t)w * run.stride);
        *worker = (hk__gemm_worker){.packed = -1, .panel = (char *)worker + LINE};
    }
    hk__parallel(pool, run.shares, tiles_task, &run);
    return HK_OK;
}
