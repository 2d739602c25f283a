/* plain_mlp.c: the training of mnist_mlp in plain C with cblas and no framework, a yardstick.
   SPDX-License-Identifier: MIT

   plain_mlp DIR HIDDEN BATCH sgd|adam LR EPOCHS, as in plain_mlp data/mnist 512-256 128 adam 1e-3 3
   Prints one line an epoch: seconds of training alone, mean loss, test accuracy in percent.
   OpenBLAS takes its number of threads and its core from the environment. */
#include <cblas.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

enum { TRAIN = 60000, TEST = 10000, CLASSES = 10, PIXELS = 784, MAX_LAYERS = 8 };

/* y = relu(x w^T + b), without relu in the last layer. w, b, dw, db point into flat arrays. */
typedef struct {
    int in, out;
    float *w, *b, *dw, *db, *y, *dy;
} layer;

static void *need(void *p, const char *what) {
    if (!p) {
        fprintf(stderr, "plain_mlp: cannot get %s\n", what);
        exit(1);
    }
    return p;
}

static uint8_t *read_idx(const char *dir, const char *name, size_t header, size_t bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    gzFile f = need(gzopen(path, "rb"), path);
    uint8_t *all = need(malloc(header + bytes), "memory");
    if (gzread(f, all, (unsigned)(header + bytes)) != (int)(header + bytes)) need(NULL, path);
    gzclose(f);
    return all + header;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t rng = 88172645463325252u;
static uint64_t draw(void) {
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng;
}
static float uniform(void) { return (float)(draw() >> 40) * 0x1p-24f; }

static void forward(const layer *net, int layers, const float *x, int n) {
    for (int k = 0; k < layers; x = net[k++].y) {
        const layer *l = &net[k];
        for (int i = 0; i < n; i++) memcpy(l->y + i * l->out, l->b, sizeof(float) * (size_t)l->out);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, l->out, l->in, 1, x, l->in, l->w,
                    l->in, 1, l->y, l->out);
        for (int i = 0; k < layers - 1 && i < n * l->out; i++) l->y[i] = l->y[i] > 0 ? l->y[i] : 0;
    }
}

/* dy = (softmax(y) - onehot) / n; returns the sum of the losses. */
static double loss_gradient(const layer *l, const uint8_t *label, int n) {
    double loss = 0;
    for (int i = 0; i < n; i++) {
        const float *y = l->y + i * CLASSES;
        float *dy = l->dy + i * CLASSES, top = y[0], sum = 0;
        for (int j = 1; j < CLASSES; j++) top = y[j] > top ? y[j] : top;
        for (int j = 0; j < CLASSES; j++) sum += dy[j] = expf(y[j] - top);
        for (int j = 0; j < CLASSES; j++) dy[j] /= sum * (float)n;
        dy[label[i]] -= 1 / (float)n;
        loss += logf(sum) + top - y[label[i]];
    }
    return loss;
}

static void backward(const layer *net, int layers, const float *x, int n) {
    for (int k = layers - 1; k >= 0; k--) {
        const layer *l = &net[k], *below = k ? l - 1 : NULL;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, l->out, l->in, n, 1, l->dy, l->out,
                    below ? below->y : x, l->in, 0, l->dw, l->in);
        memset(l->db, 0, sizeof(float) * (size_t)l->out);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < l->out; j++) l->db[j] += l->dy[i * l->out + j];
        if (!below) return;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, l->in, l->out, 1, l->dy, l->out,
                    l->w, l->in, 0, below->dy, l->in);
        for (int i = 0; i < n * l->in; i++) below->dy[i] = below->y[i] > 0 ? below->dy[i] : 0;
    }
}

static void sgd(float *restrict p, const float *restrict g, size_t count, float lr) {
    for (size_t i = 0; i < count; i++) p[i] -= lr * g[i];
}

static void adam(float *restrict p, const float *restrict g, float *restrict m, float *restrict v,
                 size_t count, float lr, int64_t step) {
    const float scale = (float)(lr / (1 - pow(0.9, (double)step)));
    const float root = (float)(1 / sqrt(1 - pow(0.999, (double)step)));
    for (size_t i = 0; i < count; i++) {
        m[i] += 0.1f * (g[i] - m[i]);
        v[i] += 0.001f * (g[i] * g[i] - v[i]);
        p[i] -= scale * m[i] / (sqrtf(v[i]) * root + 1e-8f);
    }
}

static void to_float(float *x, const uint8_t *images, const int *order, int n) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < PIXELS; j++)
            x[i * PIXELS + j] = images[order[i] * PIXELS + j] * (1 / 255.0f);
}

static double test_accuracy(const layer *net, int layers, const uint8_t *images,
                            const uint8_t *labels, float *x, int batch) {
    int order[TEST], right = 0;
    for (int i = 0; i < TEST; i++) order[i] = i;
    for (int at = 0; at < TEST; at += batch) {
        const int n = at + batch > TEST ? TEST - at : batch;
        to_float(x, images, order + at, n);
        forward(net, layers, x, n);
        for (int i = 0, best; i < n; right += best == labels[at + i++]) {
            const float *y = net[layers - 1].y + i * CLASSES;
            best = 0;
            for (int j = 1; j < CLASSES; j++) best = y[j] > y[best] ? j : best;
        }
    }
    return 100.0 * right / TEST;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: plain_mlp DIR HIDDEN BATCH sgd|adam LR EPOCHS\n");
        return 2;
    }
    extern char *openblas_get_corename(void);
    const uint8_t *images = read_idx(argv[1], "train-images-idx3-ubyte.gz", 16, TRAIN * PIXELS);
    const uint8_t *labels = read_idx(argv[1], "train-labels-idx1-ubyte.gz", 8, TRAIN);
    const uint8_t *test_images = read_idx(argv[1], "t10k-images-idx3-ubyte.gz", 16, TEST * PIXELS);
    const uint8_t *test_labels = read_idx(argv[1], "t10k-labels-idx1-ubyte.gz", 8, TEST);
    const int batch = atoi(argv[3]), use_adam = !strcmp(argv[4], "adam"), epochs = atoi(argv[6]);
    const float lr = strtof(argv[5], NULL);

    int width[MAX_LAYERS + 1] = {PIXELS}, layers = 0;
    for (char *at = argv[2]; *at && layers < MAX_LAYERS - 1; at += *at == '-')
        width[++layers] = (int)strtol(at, &at, 10);
    width[++layers] = CLASSES;
    size_t count = 0;
    for (int k = 0; k < layers; k++) count += (size_t)(width[k] + 1) * (size_t)width[k + 1];
    float *p = need(calloc(4 * count, sizeof *p), "memory");
    float *g = p + count, *m = g + count, *v = m + count;
    float *x = need(malloc(sizeof *x * (size_t)(batch * PIXELS)), "memory");
    layer net[MAX_LAYERS];
    for (int k = 0, at = 0; k < layers; k++) {
        const int in = width[k], out = width[k + 1];
        float *y = need(malloc(2 * sizeof *y * (size_t)(batch * out)), "memory");
        net[k] = (layer){
            in, out, p + at, p + at + in * out, g + at, g + at + in * out, y, y + batch * out};
        const float span = sqrtf(6.0f / (float)in);
        for (int i = 0; i < in * out; i++) net[k].w[i] = (2 * uniform() - 1) * span;
        at += (in + 1) * out;
    }
#ifdef __SSE__
    /* Flush denormals: Adam's moments of the border pixels fill with them. */
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
    printf("openblas %s\n", openblas_get_corename());

    int *order = need(malloc(sizeof *order * TRAIN), "memory");
    uint8_t *label = need(malloc((size_t)batch), "memory");
    for (int i = 0; i < TRAIN; i++) order[i] = i;
    int64_t step = 0;
    for (int epoch = 1; epoch <= epochs; epoch++) {
        const double start = now();
        double loss = 0;
        for (int i = TRAIN - 1; i > 0; i--) {
            const int j = (int)(draw() % (uint64_t)(i + 1)), t = order[i];
            order[i] = order[j], order[j] = t;
        }
        for (int at = 0; at < TRAIN; at += batch) {
            const int n = at + batch > TRAIN ? TRAIN - at : batch;
            for (int i = 0; i < n; i++) label[i] = labels[order[at + i]];
            to_float(x, images, order + at, n);
            forward(net, layers, x, n);
            loss += loss_gradient(&net[layers - 1], label, n);
            backward(net, layers, x, n);
            if (use_adam)
                adam(p, g, m, v, count, lr, ++step);
            else
                sgd(p, g, count, lr);
        }
        const double seconds = now() - start;
        printf("epoch %d seconds %.4f loss %.4f accuracy %.2f\n", epoch, seconds, loss / TRAIN,
               test_accuracy(net, layers, test_images, test_labels, x, batch));
    }
    return 0;
}
