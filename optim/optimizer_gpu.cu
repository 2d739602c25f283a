/* optimizer_gpu.cu: a step of a built-in optimizer on a GPU: one launch, or two where gradients are clipped by norm.
   SPDX-License-Identifier: MIT

   The segments lie in a table on the device, which is written when they change. What changes from step to step (the
   rate, corrections) lies in cells, so that a captured step can be replayed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "launch.cuh"
#include "optimizer.h"

enum { CELLS = 1 + HK__OPTIM_CHANGING, MOST_PARTIALS = 2 * 256 };

static bool is_whole(const hk__segment *s) { return ((uintptr_t)s->w | (uintptr_t)s->g) % 16 == 0; }

hk_status hk__optimizer_gpu_segments(hk_optimizer *opt) {
    hk_context *ctx = opt->object.ctx;
    hk__optim_device *d = &opt->device;
    hk__optim_segment *table = (hk__optim_segment *)calloc((size_t)opt->n_slots, sizeof *table);
    if (!table)
        return hk_fail(ctx, HK_ERR_MEMORY, opt->cls.name, "no memory for the optimizer's table");
    int n = 0;
    for (int dtype = HK_F32; dtype <= HK_F64; dtype++) {
        const int first = n;
        d->blocks[dtype] = 0;
        for (int i = 0; i < opt->n_segments; i++) {
            const hk__segment *s = &opt->segments[i];
            const hk__group *group = &opt->groups[s->group];
            if ((int)s->dtype != dtype || s->n == 0) continue;
            table[n++] = {s->w,
                          s->g,
                          s->n,
                          s->line,
                          d->blocks[dtype],
                          is_whole(s),
                          group->lr_factor,
                          group->weight_decay};
            d->blocks[dtype] += hk__optim_gpu_tables[dtype]->blocks(s->n);
        }
        d->n_segments[dtype] = n - first;
    }
    hk__gpu_write(ctx, d->table, table, (size_t)n * sizeof *table);
    free(table);
    return ctx->status;
}

hk_status hk__optimizer_gpu_open(hk_optimizer *opt) {
    hk_context *ctx = opt->object.ctx;
    hk__optim_device *d = &opt->device;
    d->cells = hk__gpu_cells_take(ctx, CELLS);
    if (d->cells < 0) return ctx->status;
    d->open = true;
    d->table =
        (hk__optim_segment *)hk__gpu_alloc(ctx, (size_t)opt->n_slots * sizeof *d->table, false);
    d->partial = (double *)hk__gpu_alloc(ctx, MOST_PARTIALS * sizeof *d->partial, false);
    if (!d->table || !d->partial)
        return hk_fail(ctx, HK_ERR_MEMORY, opt->cls.name,
                       "no memory on the GPU for the optimizer's table");
    return hk__optimizer_gpu_segments(opt);
}

void hk__optimizer_gpu_close(hk_optimizer *opt) {
    hk_context *ctx = opt->object.ctx;
    if (!opt->device.open) return;
    hk__gpu_free(ctx, opt->device.table);
    hk__gpu_free(ctx, opt->device.partial);
    hk__gpu_cells_give(ctx, opt->device.cells, CELLS);
    opt->device.open = false;
}

static void numbers_of(hk_optimizer *opt, hk__optim_numbers *numbers) {
    memset(numbers, 0, sizeof *numbers);
    if (opt->builtin->prepare) opt->builtin->prepare(opt->hyper, opt->steps + 1);
    opt->builtin->numbers(opt->hyper, numbers);
}

bool hk__optimizer_gpu_cells(hk_optimizer *opt) {
    hk_context *ctx = opt->object.ctx;
    const int cell = opt->device.cells;
    const double lr = hk_optimizer_lr(opt);
    hk__optim_numbers numbers;
    numbers_of(opt, &numbers);
    hk__gpu_cell_set(ctx, cell, lr);
    for (int i = 0; i < HK__OPTIM_CHANGING; i++)
        hk__gpu_cell_set(ctx, cell + 1 + i, numbers.changing[i]);
    return isfinite(lr);
}

hk_status hk__optimizer_gpu_step(hk_optimizer *opt) {
    hk_context *ctx = opt->object.ctx;
    const hk__optim_device *d = &opt->device;
    if (opt->object.step == ctx->step) hk__gpu_eager(ctx, "an optimizer takes two steps in one");
    opt->object.step = ctx->step;
    hk__optimizer_gpu_cells(opt);
    hk__optim_numbers numbers;
    numbers_of(opt, &numbers);
    hk__optim_launch u;
    memset(&u, 0, sizeof u);
    u.state = opt->state;
    u.lines = opt->lines;
    u.cells = hk__gpu_cells(ctx) + d->cells;
    u.max_norm = opt->max_norm;
    u.limit = opt->max_value > 0 ? opt->max_value : (double)INFINITY;
    u.flag = hk__gpu_flag_of(ctx);
    u.key = opt->object.key;
    u.rule = opt->builtin->rule(opt->hyper);
    memcpy(u.fixed, numbers.fixed, sizeof u.fixed);
    if (opt->max_norm > 0) u.partial = d->partial;
    for (int pass = opt->max_norm > 0 ? 0 : 1; pass < 2; pass++)
        for (int dtype = HK_F32; dtype <= HK_F64; dtype++) {
            u.n_segments = d->n_segments[dtype];
            u.blocks = d->blocks[dtype];
            u.segments = d->table + (dtype == HK_F64 ? d->n_segments[HK_F32] : 0);
            if (u.blocks == 0) continue;
            if (pass == 0)
                u.partials += hk__optim_gpu_tables[dtype]->squares(ctx, &u, u.partials);
            else
                hk__optim_gpu_tables[dtype]->update(ctx, &u);
        }
    if (ctx->status != HK_OK) return ctx->status;
    opt->steps++;
    ctx->version++;
    return HK_OK;
}
