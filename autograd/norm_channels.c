/* norm_channels.c: normalising over channels: batch norm.
   SPDX-License-Identifier: MIT

   x is (n, c, plane). A channel is cut into pieces that depend on the sizes alone, and what pieces sum is added in
   double, in order. A piece is some whole planes, or a part of a plane. Planes of few elements would be many short
   loops: there each sample is a row, and a piece is the channel's columns of some rows.

   A task is one piece of some channels: so tasks run through memory as it lies, and what the layer before left in a
   core's cache is found there. Where x is larger than near caches are, but a channel is not, a task is all pieces of
   some channels, from the first pass to the last: the later passes find them in the cache. */
#include "norm.h"

enum {
    SHORT = 64,       /* planes below are seen as columns, if there are */
    ENOUGH = 16,      /* so many rows */
    COLUMNS = 256,    /* of a task, and up to SHORT more */
    FAR = 1 << 18,    /* elements of x from which channels may go one after the other */
    NEAR = 1 << 17,   /* elements of a task then, at most */
    WORTH_SHARING = 8 /* tasks then, at least */
};

typedef struct pass pass;
struct pass {
    const hk__norm *s;
    const hk__norm_kernels *k;
    int64_t n, c, plane;
    bool columns, whole; /* a task is all pieces of its channels */
    int64_t images, length,
        chunks; /* a piece: so many samples, so much of a plane; pieces of a plane */
    int64_t pieces;
    int64_t group, groups; /* channels of a task; tasks of a piece */
    size_t size;
    const char *x, *g;
    hk_tensor *w, *b;
    char *out;
    bool accumulate;
    double *partial; /* pairs, of each piece and channel */
    double *sums;    /* Σ g·x̂ of each channel, then Σ g */
    double *k0;      /* arrays of coefficients, one after the other, c of each */
    void *reals;     /* columns: the same in x's type, for each column */
    hk__task *first, *second;
    void (*between)(const pass *p, int64_t channel, int64_t end);
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static void group_channels(pass *p) {
    const int64_t channel = p->n * p->plane;
    const int64_t apart =
        p->columns ? ceil_div(COLUMNS, p->plane) : ceil_div(HK__NORM_TASK, channel);
    p->group = least(p->c, apart);
    p->groups = ceil_div(p->c, p->group);
    p->whole = channel * p->c >= FAR && channel * p->group <= NEAR && p->groups >= WORTH_SHARING;
    if (p->whole || p->columns) return;
    p->group = least(p->c, ceil_div(HK__NORM_TASK, p->images * p->length));
    p->groups = ceil_div(p->c, p->group);
}

static pass pass_of(const hk__norm *s, hk_tensor *x, hk_tensor *w) {
    pass p = {.s = s,
              .k = hk__norm_tables[hk__stamp_of(s->ctx, s->dtype)],
              .n = s->n,
              .c = s->c,
              .plane = s->plane,
              .size = hk_dtype_size(s->dtype),
              .x = x->data,
              .w = w};
    if (p.c == 1) { /* all of x is one plane */
        p.plane *= p.n;
        p.n = 1;
    }
    p.columns = p.plane == 1 || (p.plane < SHORT && p.n >= ENOUGH);
    p.length = least(p.plane, HK__NORM_PIECE);
    p.chunks = ceil_div(p.plane, p.length);
    p.images = least(p.n, p.columns ? HK__NORM_ROWS : HK__NORM_PIECE / p.length);
    p.pieces = ceil_div(p.n, p.images) * p.chunks;
    group_channels(&p);
    return p;
}

/* What a task works on: one piece of its channels. */
typedef struct part {
    int64_t piece, image, images, start, length, channel, end; /* channels up to end */
} part;

static part part_of(const pass *p, int64_t task) {
    part t = {.piece = task / p->groups, .channel = task % p->groups * p->group};
    t.end = least(p->c, t.channel + p->group);
    t.image = t.piece / p->chunks * p->images;
    t.images = least(p->images, p->n - t.image);
    t.start = t.piece % p->chunks * p->length;
    t.length = least(p->length, p->plane - t.start);
    return t;
}

/* Bytes from x's start to the part's elements in a channel. */
static size_t place_of(const pass *p, const part *t, int64_t image, int64_t channel) {
    return (size_t)(((t->image + image) * p->c + channel) * p->plane + t->start) * p->size;
}

static double count_of(const pass *p, int64_t piece) {
    const part t = part_of(p, piece * p->groups);
    return (double)(t.images * t.length);
}

static void *column(const pass *p, int64_t channel) {
    return (char *)p->reals + (size_t)(channel * p->plane) * p->size;
}

/* --- the passes over x ----------------------------------------------------------------------------------- */

/* A channel's pairs of mean and Σ (x - mean)² are those of its columns, of `rows` elements each. */
static void join_columns(const double *pairs, int64_t plane, double rows, double *result) {
    double more = 0, squares = 0;
    for (int64_t i = 1; i < plane; i++) more += pairs[2 * i] - pairs[0];
    const double mean = pairs[0] + more / (double)plane;
    for (int64_t i = 0; i < plane; i++) {
        const double away = pairs[2 * i] - mean;
        squares += pairs[2 * i + 1] + away * away * rows;
    }
    result[0] = mean;
    result[1] = squares;
}

static void moments_task(void *arg, int64_t task, int worker) {
    (void)worker;
    const pass *p = arg;
    const part t = part_of(p, task);
    double *result = p->partial + 2 * (t.piece * p->c + t.channel);
    if (p->columns) {
        double room[2 * (COLUMNS + SHORT)], *pairs = p->plane == 1 ? result : room;
        p->k->column_moments(t.images, (t.end - t.channel) * p->plane, p->c * p->plane,
                             p->x + place_of(p, &t, 0, t.channel), pairs);
        for (int64_t i = 0; pairs != result && i < t.end - t.channel; i++)
            join_columns(pairs + 2 * i * p->plane, p->plane, (double)t.images, result + 2 * i);
        return;
    }
    for (int64_t c = t.channel; c < t.end; c++, result += 2)
        p->k->moments(t.images, t.length, p->c * p->plane, p->x + place_of(p, &t, 0, c), result);
}

/* Σ g and Σ g·(x - centre). */
static void sums_task(void *arg, int64_t task, int worker) {
    (void)worker;
    const pass *p = arg;
    const part t = part_of(p, task);
    double *result = p->partial + 2 * (t.piece * p->c + t.channel);
    if (p->columns) {
        double room[2 * (COLUMNS + SHORT)], *pairs = p->plane == 1 ? result : room;
        const size_t at = place_of(p, &t, 0, t.channel);
        p->k->column_sums(t.images, (t.end - t.channel) * p->plane, p->c * p->plane, p->x + at,
                          p->g + at, column(p, t.channel), pairs);
        for (int64_t i = 0; pairs != result && i < t.end - t.channel; i++) {
            result[2 * i] = result[2 * i + 1] = 0;
            for (int64_t k = 0; k < 2 * p->plane; k++)
                result[2 * i + k % 2] += pairs[2 * i * p->plane + k];
        }
        return;
    }
    for (int64_t c = t.channel; c < t.end; c++, result += 2) {
        const size_t at = place_of(p, &t, 0, c);
        p->k->sums(t.images, t.length, p->c * p->plane, p->x + at, p->g + at, p->k0[c], result);
    }
}

/* An affine function of x, or a slope if there is g. */
static void write_task(void *arg, int64_t task, int worker) {
    (void)worker;
    const pass *p = arg;
    const part t = part_of(p, task);
    const int64_t width = p->c * p->plane;
    if (p->columns) {
        const size_t at = place_of(p, &t, 0, t.channel);
        const int64_t columns = (t.end - t.channel) * p->plane;
        if (p->g)
            p->k->column_slope(t.images, columns, width, p->x + at, p->g + at, column(p, t.channel),
                               width, p->out + at, p->accumulate);
        else
            p->k->column_affine(t.images, columns, width, p->x + at, column(p, t.channel), width,
                                p->out + at, p->accumulate);
        return;
    }
    for (int64_t i = 0; i < t.images; i++)
        for (int64_t c = t.channel; c < t.end; c++) {
            const size_t at = place_of(p, &t, i, c);
            const double *from = p->k0 + c;
            const double k[4] = {from[0], from[p->c], from[2 * p->c], p->g ? from[3 * p->c] : 0};
            if (p->g)
                p->k->slope(t.length, p->x + at, p->g + at, k, p->out + at, p->accumulate);
            else
                p->k->affine(t.length, p->x + at, k, p->out + at, p->accumulate);
        }
}

/* All pieces of some channels, from the first pass to the last. */
static void whole_task(void *arg, int64_t group, int worker) {
    const pass *p = arg;
    for (int64_t i = 0; p->first && i < p->pieces; i++)
        p->first(arg, i * p->groups + group, worker);
    p->between(p, group * p->group, least(p->c, (group + 1) * p->group));
    for (int64_t i = 0; p->second && i < p->pieces; i++)
        p->second(arg, i * p->groups + group, worker);
}

/* The first pass over x, what follows from it for each channel, the second pass. */
static void run(pass *p, hk__task *first, void (*between)(const pass *, int64_t, int64_t),
                hk__task *second) {
    p->first = first;
    p->between = between;
    p->second = second;
    if (p->whole) {
        hk__norm_run(p->s, p->groups, whole_task, p);
        return;
    }
    if (first) hk__norm_run(p->s, p->pieces * p->groups, first, p);
    between(p, 0, p->c);
    if (second) hk__norm_run(p->s, p->pieces * p->groups, second, p);
}

/* --- coefficients ---------------------------------------------------------------------------------------- */

/* Room for `arrays` arrays of coefficients and, if there is a first pass, for what it sums. */
static bool make_room(pass *p, int arrays, bool sums) {
    hk_context *ctx = p->s->ctx;
    const size_t all = (size_t)(p->c * arrays);
    p->k0 = hk__scratch(ctx, sizeof *p->k0 * all);
    if (p->columns) p->reals = hk__scratch(ctx, p->size * all * (size_t)p->plane);
    if (sums) p->partial = hk__scratch(ctx, sizeof(double) * 2 * (size_t)(p->pieces * p->c));
    return ctx->status == HK_OK;
}

/* Columns: brings the coefficients of some channels, of arrays from `first` up to `end`, to x's type. */
static void use(const pass *p, int first, int end, int64_t channel, int64_t last) {
    for (int a = first; p->columns && a < end; a++) {
        const double *k = p->k0 + a * p->c;
        const int64_t at = a * p->c * p->plane;
        if (p->size == sizeof(double)) {
            double *to = (double *)p->reals + at;
            for (int64_t i = channel * p->plane; i < last * p->plane; i++) to[i] = k[i / p->plane];
        } else if (p->plane == 1) {
            float *to = (float *)p->reals + at;
            for (int64_t c = channel; c < last; c++) to[c] = (float)k[c];
        } else {
            float *to = (float *)p->reals + at + channel * p->plane;
            for (int64_t c = channel; c < last; c++)
                for (int64_t i = 0; i < p->plane; i++) *to++ = (float)k[c];
        }
    }
}

/* --- value: one pass for the statistics, one that writes ------------------------------------------------- */

static void join_moments(const pass *p, int64_t channel, int64_t end) {
    const double count = (double)p->n * (double)p->plane;
    double *stats = p->s->stats;
    for (int64_t c = channel; c < end; c++) stats[2 * c] = stats[2 * c + 1] = 0;
    /* Counted from the first piece's: equal values have just that mean. */
    for (int64_t i = 1; i < p->pieces; i++) {
        const double share = count_of(p, i) / count;
        for (int64_t c = channel; c < end; c++)
            stats[2 * c] += (p->partial[2 * (i * p->c + c)] - p->partial[2 * c]) * share;
    }
    for (int64_t c = channel; c < end; c++) stats[2 * c] += p->partial[2 * c];
    for (int64_t i = 0; i < p->pieces; i++) {
        const double share = count_of(p, i) / count;
        for (int64_t c = channel; c < end; c++) {
            const double *pair = p->partial + 2 * (i * p->c + c), away = pair[0] - stats[2 * c];
            stats[2 * c + 1] += pair[1] / count + away * away * share;
        }
    }
}

static void value_coefficients(const pass *p, int64_t channel, int64_t end) {
    if (p->first) join_moments(p, channel, end);
    for (int64_t c = channel; c < end; c++) {
        const hk__scale scale = hk__scale_of(p->s, c);
        const double weight = hk__norm_number(p->w, c, 1);
        p->k0[c] = scale.centre;
        p->k0[p->c + c] = scale.rate * weight;
        p->k0[2 * p->c + c] = scale.rest * weight + hk__norm_number(p->b, c, 0);
    }
    use(p, 0, 3, channel, end);
}

static bool write_value(const hk__norm *s, bool measure, hk_tensor *x, hk_tensor *w, hk_tensor *b,
                        hk_tensor *out) {
    pass p = pass_of(s, x, w);
    p.b = b;
    p.out = out->data;
    if (!make_room(&p, 3, measure)) return false;
    run(&p, measure ? moments_task : NULL, value_coefficients, write_task);
    return true;
}

/* --- pull: gx = w/σ·(g - mean(g) - x̂·mean(g·x̂)) ------------------------------------------------------------ */

static void join_sums(const pass *p, int64_t channel, int64_t end) {
    double *along = p->sums, *plain = p->sums + p->c;
    for (int64_t c = channel; c < end; c++) along[c] = plain[c] = 0;
    for (int64_t i = 0; i < p->pieces; i++)
        for (int64_t c = channel; c < end; c++) {
            plain[c] += p->partial[2 * (i * p->c + c)];
            along[c] += p->partial[2 * (i * p->c + c) + 1];
        }
    for (int64_t c = channel; c < end; c++) {
        const hk__scale scale = hk__scale_of(p->s, c);
        along[c] = scale.rate * along[c] + scale.rest * plain[c];
    }
}

static void slope_coefficients(const pass *p, int64_t channel, int64_t end) {
    const double count = (double)p->n * (double)p->plane;
    join_sums(p, channel, end);
    for (int64_t c = channel; p->second && c < end; c++) {
        const hk__scale scale = hk__scale_of(p->s, c);
        const double along = p->sums[c] / count, plain = p->sums[p->c + c] / count;
        const double by = scale.rate * hk__norm_number(p->w, c, 1);
        p->k0[p->c + c] = by;
        p->k0[2 * p->c + c] = -by * along * scale.rate;
        p->k0[3 * p->c + c] = -by * (plain + along * scale.rest);
    }
    use(p, 1, 4, channel, end);
}

/* The statistics are constants: gx = w/σ·g. */
static void given_coefficients(const pass *p, int64_t channel, int64_t end) {
    for (int64_t c = channel; c < end; c++) {
        p->k0[c] = p->k0[2 * p->c + c] = 0;
        p->k0[p->c + c] = hk__scale_of(p->s, c).rate * hk__norm_number(p->w, c, 1);
    }
    use(p, 0, 3, channel, end);
}

static bool pull(const hk__norm *s, hk_tensor *x, hk_tensor *g, hk_tensor *w, hk_tensor *gx,
                 bool accumulate, double *sums) {
    pass p = pass_of(s, x, w);
    p.g = g->data;
    p.out = gx ? gx->data : NULL;
    p.accumulate = accumulate;
    const bool slope = gx && !s->given;
    p.sums = sums || !slope ? sums : hk__scratch(s->ctx, sizeof *sums * 2 * (size_t)p.c);
    if (!make_room(&p, 4, true)) return false;
    if (p.sums) {
        for (int64_t c = 0; c < p.c; c++) p.k0[c] = hk__scale_of(s, c).centre;
        use(&p, 0, 1, 0, p.c);
        run(&p, sums_task, slope_coefficients, slope ? write_task : NULL);
    }
    if (!gx || slope) return true;
    p.x = p.g;
    p.g = NULL;
    run(&p, NULL, given_coefficients, write_task);
    return true;
}

const hk__norm_driver hk__norm_by_channel = {write_value, pull};
