/* doctor_data.c: what the inputs and labels of an examination are like.
   SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Labels of other places in the batch (cyclic), and of the same place in the batches before and after. */
enum { OWN, LATER, EARLIER, LATER2, EARLIER2, BATCH_BEFORE, BATCH_AFTER };
static const int64_t places[] = {0, 1, -1, 2, -2};

const char *hk__doctor_shift_name(int shift) {
    static const char *const names[HK__SHIFTS] = {
        "its own",           "one place later",    "one place earlier",
        "two places later",  "two places earlier", "in the batch before",
        "in the batch after"};
    return names[shift];
}

void hk__doctor_data_free(hk__data *data) {
    free(data->sum);
    free(data->rows);
    free(data->hashes);
    free(data->label[0]);
    free(data->last_labels);
    free(data->counts);
    *data = (hk__data){.features = 0};
}

static hk_status start(hk_context *ctx, hk__data *data, int64_t probe, int64_t features,
                       int64_t classes) {
    data->features = features;
    /* No more than 64 MB of them. */
    if (probe > (1 << 24) / (features + 1) + 1) probe = (1 << 24) / (features + 1) + 1;
    data->capacity = probe;
    data->classes = classes;
    data->first_nonfinite = -1;
    const size_t n = (size_t)features, p = (size_t)probe;
    data->sum = calloc(4 * n + 1, sizeof *data->sum);
    data->rows = calloc(n * p + 1, sizeof *data->rows);
    data->hashes = calloc(p + 1, sizeof *data->hashes);
    data->label[0] = calloc(HK__SHIFTS * p + 1, sizeof **data->label);
    data->counts = calloc((size_t)classes + 1, sizeof *data->counts);
    if (!data->sum || !data->rows || !data->hashes || !data->label[0] || !data->counts)
        return hk_fail(ctx, HK_ERR_MEMORY, "doctor", "no memory for a look at the inputs");
    data->sum2 = data->sum + n;
    data->low = data->sum2 + n;
    data->high = data->low + n;
    for (int k = 1; k < HK__SHIFTS; k++) data->label[k] = data->label[0] + (size_t)k * p;
    for (size_t i = 0; i < n; i++) {
        data->low[i] = HUGE_VAL;
        data->high[i] = -HUGE_VAL;
    }
    return HK_OK;
}

static uint64_t hash_of(const hk_tensor *x, int64_t row, int64_t n) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < n; i++) {
        const double v = hk__number_at(x, row * n + i);
        uint64_t bits;
        memcpy(&bits, &v, sizeof bits);
        hash = (hash ^ bits) * 0x100000001B3u;
        hash ^= hash >> 29;
    }
    return hash;
}

static bool is_known(const hk__data *data, uint64_t hash) {
    for (int64_t i = 0; i < data->kept; i++)
        if (data->hashes[i] == hash) return true;
    return false;
}

static void keep_row(hk__data *data, const hk_tensor *x, int64_t row, const int32_t *label,
                     int64_t size) {
    const int64_t n = data->features;
    if (data->kept == data->capacity) return;
    const uint64_t hash = hash_of(x, row, n);
    if (is_known(data, hash)) return;
    const int64_t at = data->kept++;
    data->hashes[at] = hash;
    for (int64_t i = 0; i < n; i++) data->rows[at * n + i] = (float)hk__number_at(x, row * n + i);
    for (int k = 0; k < HK__SHIFTS; k++) data->label[k][at] = -1;
    if (!label) return;
    for (int k = OWN; k <= EARLIER2; k++)
        data->label[k][at] = label[(row + places[k] + 2 * size) % size];
    if (row < data->last_size) data->label[BATCH_BEFORE][at] = data->last_labels[row];
}

static void add_features(hk__data *data, const hk_tensor *x, int64_t rows) {
    const int64_t n = data->features;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            const double v = hk__number_at(x, r * n + i);
            if (!isfinite(v)) {
                if (data->x_nonfinite++ == 0) data->first_nonfinite = r * n + i;
                continue;
            }
            data->sum[i] += v;
            data->sum2[i] += v * v;
            if (v < data->low[i]) data->low[i] = v;
            if (v > data->high[i]) data->high[i] = v;
        }
}

double hk__doctor_entropy(const int64_t *counts, int64_t classes, int64_t total) {
    double sum = 0;
    for (int64_t c = 0; c < classes; c++) {
        const double p = total > 0 ? (double)counts[c] / (double)total : 0;
        if (p > 0) sum -= p * log(p);
    }
    return sum;
}

static hk_status add_labels(hk_context *ctx, hk__data *data, const int32_t *label, int64_t size) {
    int64_t *own = calloc((size_t)data->classes + 1, sizeof *own);
    if (!own) return hk_fail(ctx, HK_ERR_MEMORY, "doctor", "no memory");
    for (int64_t i = 0; i < size; i++)
        if (label[i] >= 0 && label[i] < data->classes) {
            own[label[i]]++;
            data->counts[label[i]]++;
            data->labelled++;
        }
    data->batch_entropy += hk__doctor_entropy(own, data->classes, size) * (double)size;
    free(own);
    return HK_OK;
}

/* This batch is the last one now. */
static hk_status keep_labels(hk_context *ctx, hk__data *data, const int32_t *label, int64_t size) {
    if (size > data->last_room) {
        int32_t *more = realloc(data->last_labels, (size_t)size * sizeof *more);
        if (!more) return hk_fail(ctx, HK_ERR_MEMORY, "doctor", "no memory");
        data->last_labels = more;
        data->last_room = size;
    }
    memcpy(data->last_labels, label, (size_t)size * sizeof *label);
    data->last_size = size;
    return HK_OK;
}

/* x and label: in memory of the host. */
static void add_batch(hk_context *ctx, hk__data *data, const hk_tensor *x, const int32_t *label,
                      int64_t rows) {
    add_features(data, x, rows);
    /* Samples that the last batch added now learn which labels came after them. */
    for (int64_t i = data->last_begin; label && i < data->kept; i++) {
        const int64_t row = data->label[BATCH_AFTER][i];
        data->label[BATCH_AFTER][i] = row < rows ? label[row] : -1;
    }
    data->last_begin = data->kept;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t had = data->kept;
        keep_row(data, x, r, label, rows);
        /* Its row for now; the label when the next batch has come. */
        if (data->kept > had) data->label[BATCH_AFTER][had] = (int32_t)r;
    }
    if (label) {
        if (add_labels(ctx, data, label, rows) != HK_OK) return;
        if (keep_labels(ctx, data, label, rows) != HK_OK) return;
    }
    data->batches++;
    data->samples += rows;
}

hk_status hk__doctor_data_add(hk_context *ctx, hk__data *data, int64_t probe, hk_tensor *x,
                              hk_tensor *y, hk_tensor *out) {
    if (!x || x->shape.rank < 1 || (x->dtype != HK_F32 && x->dtype != HK_F64)) return HK_OK;
    hk_tensor *flat = hk_contiguous(x);
    const int64_t rows = x->shape.dim[0];
    if (!flat || rows < 1) return ctx->status;
    const int64_t features = hk_shape_count(x->shape) / rows;
    const bool classes = out && out->shape.rank == 2 && y && y->dtype == HK_I32 &&
                         y->shape.rank == 1 && y->shape.dim[0] == rows;
    if (data->features == 0)
        HK_TRY(start(ctx, data, probe, features, classes ? out->shape.dim[1] : 0));
    if (features != data->features) return HK_OK;
    hk_tensor *labels = classes && data->classes == out->shape.dim[1] ? hk_contiguous(y) : NULL;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    const hk_tensor here = hk__near(flat);
    const int32_t *label = labels ? hk__host_view(labels) : NULL;
    if (ctx->status == HK_OK) add_batch(ctx, data, &here, label, rows);
    hk__arena_rewind(&ctx->scratch, mark);
    return ctx->status;
}

/* --- questions -------------------------------------------------------------------------------- */

double hk__doctor_constant_share(const hk__data *data) {
    int64_t constant = 0;
    for (int64_t i = 0; i < data->features; i++) constant += data->low[i] >= data->high[i];
    return data->features > 0 ? (double)constant / (double)data->features : 0;
}

double hk__doctor_nearest_mean(const hk__data *data, int shift, int64_t *tested) {
    const int64_t n = data->features, half = data->kept / 2, classes = data->classes;
    const int64_t end = shift == BATCH_AFTER ? data->last_begin : data->kept;
    double *mean = calloc((size_t)(classes * n) + 1, sizeof *mean);
    int64_t *count = calloc((size_t)classes + 1, sizeof *count), right = 0;
    *tested = 0;
    for (int64_t i = 0; mean && count && i < half; i++) {
        const int32_t c = data->label[shift][i];
        if (c < 0 || c >= classes) continue;
        count[c]++;
        for (int64_t k = 0; k < n; k++) mean[c * n + k] += (double)data->rows[i * n + k];
    }
    for (int64_t c = 0; mean && count && c < classes; c++)
        for (int64_t k = 0; count[c] > 0 && k < n; k++) mean[c * n + k] /= (double)count[c];
    for (int64_t i = half; mean && count && i < end; i++) {
        const int32_t truth = data->label[shift][i];
        int64_t answer = -1;
        double least = HUGE_VAL;
        for (int64_t c = 0; truth >= 0 && c < classes; c++) {
            double way = 0;
            for (int64_t k = 0; count[c] > 0 && k < n; k++) {
                const double apart = (double)data->rows[i * n + k] - mean[c * n + k];
                way += apart * apart;
            }
            if (count[c] == 0 || !(way < least)) continue;
            least = way;
            answer = c;
        }
        if (truth < 0) continue;
        ++*tested;
        right += answer == truth;
    }
    free(mean);
    free(count);
    return *tested > 0 ? (double)right / (double)*tested : 0;
}

/* v = C·v for the correlations C of the kept samples; its length before. */
static double power_step(const hk__data *data, const double *mean, const double *scale, double *v,
                         double *next) {
    const int64_t n = data->features;
    memset(next, 0, (size_t)n * sizeof *next);
    for (int64_t i = 0; i < data->kept; i++) {
        const float *row = data->rows + i * n;
        double dot = 0;
        for (int64_t k = 0; k < n; k++) dot += ((double)row[k] - mean[k]) * scale[k] * v[k];
        for (int64_t k = 0; k < n; k++) next[k] += ((double)row[k] - mean[k]) * scale[k] * dot;
    }
    double size = 0;
    for (int64_t k = 0; k < n; k++) size += next[k] * next[k];
    size = sqrt(size);
    for (int64_t k = 0; k < n; k++) v[k] = size > 0 ? next[k] / size : 0;
    return size / (double)data->kept;
}

double hk__doctor_structure(const hk__data *data) {
    const int64_t n = data->features;
    if (n == 0 || data->kept < 2) return NAN;
    double *mean = calloc((size_t)(4 * n), sizeof *mean);
    if (!mean) return NAN;
    double *scale = mean + n, *v = scale + n, *next = v + n, largest = 0;
    int64_t varying = 0;
    for (int64_t k = 0; k < n; k++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < data->kept; i++) sum += (double)data->rows[i * n + k];
        mean[k] = sum / (double)data->kept;
        for (int64_t i = 0; i < data->kept; i++) {
            const double apart = (double)data->rows[i * n + k] - mean[k];
            squares += apart * apart;
        }
        scale[k] = squares > 0 ? sqrt((double)data->kept / squares) : 0;
        v[k] = scale[k] > 0 ? (k % 2 ? 1.0 : -1.0) + (double)(k % 7) : 0;
        varying += squares > 0;
    }
    for (int i = 0; i < 20; i++) {
        /* The first round brings v to length 1. */
        const double size = power_step(data, mean, scale, v, next);
        if (i > 0) largest = size;
    }
    free(mean);
    const double edge = 1 + sqrt((double)varying / (double)data->kept);
    return largest / (edge * edge);
}
