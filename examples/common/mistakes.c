/* mistakes.c: the test images with the highest loss.
   SPDX-License-Identifier: MIT */
#include "mistakes.h"

#include "figures.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORST = 20, ACROSS = 7, WIDTH = 1000, HEAD = 56, CELL = 172 };

typedef struct mistake {
    int64_t item; /* in the test set */
    int32_t label, answer;
    double probability, right, loss; /* given to the answer, to the label; -log of that */
    float *image;                    /* of the first channel */
} mistake;

typedef struct mistakes {
    int count; /* falling by loss */
    int64_t rows, columns;
    mistake item[WORST];
} mistakes;

/* --- looking for them ------------------------------------------------------------------------- */

/* Softmax in double. False if the answer is right, or the logits are no numbers. */
static bool judge(int classes, const float *logit, int32_t label, mistake *m) {
    double sum = 0;
    m->label = label;
    m->answer = 0;
    for (int k = 1; k < classes; k++)
        if (logit[k] > logit[m->answer]) m->answer = k;
    const double most = (double)logit[m->answer];
    for (int k = 0; k < classes; k++) sum += exp((double)logit[k] - most);
    m->loss = log(sum) + most - (double)logit[label];
    m->probability = 1 / sum;
    m->right = exp(-m->loss);
    return m->answer != label && isfinite(m->loss);
}

/* Keeps it if it is among the worst; equal ones stay in the order of the file. */
static bool insert(mistakes *all, const mistake *m, const float *image) {
    int at = all->count;
    while (at > 0 && all->item[at - 1].loss < m->loss) at--;
    if (at == WORST) return true;
    const size_t size = (size_t)(all->rows * all->columns) * sizeof *image;
    float *kept = all->count == WORST ? all->item[--all->count].image : malloc(size);
    if (!kept) return false;
    memmove(&all->item[at + 1], &all->item[at], (size_t)(all->count - at) * sizeof *all->item);
    all->item[at] = *m;
    all->item[at].image = kept;
    memcpy(kept, image, size);
    all->count++;
    return true;
}

static void look(training *run, mistakes *all, const hk_batch *batch, hk_tensor *logits) {
    const float *logit = hk_tensor_values(logits);
    const float *image = hk_tensor_values(batch->x);
    const int32_t *label = hk_tensor_values(batch->y);
    if (!logit || !image || !label) return;
    const int64_t stride = hk_tensor_count(batch->x) / batch->size;
    for (int64_t i = 0; i < batch->size; i++) {
        mistake m = {.item = batch->items[i]};
        if (judge(run->classes, logit + i * run->classes, label[i], &m) &&
            !insert(all, &m, image + i * stride))
            hk_fail(run->ctx, HK_ERR_MEMORY, "mistakes", "no memory for an image");
    }
}

static void search(training *run, mistakes *all) {
    all->rows = run->item.dim[run->item.rank - 2];
    all->columns = run->item.dim[run->item.rank - 1];
    const bool was_training = hk_module_train(run->net, false);
    const bool was_recording = hk_grad_enable(run->ctx, false);
    hk_batch batch;
    hk_loader_rewind(run->test);
    while (hk_loader_next(run->test, &batch)) {
        look(run, all, &batch, hk_forward(run->net, batch.x));
        if (hk_step_end(run->ctx)) break;
    }
    hk_grad_enable(run->ctx, was_recording);
    hk_module_train(run->net, was_training);
}

/* --- drawing ---------------------------------------------------------------------------------- */

static void write_data(const mistakes *all, FILE *file) {
    for (int i = 0; i < all->count; i++) {
        const mistake *m = &all->item[i];
        fprintf(file, "# image %" PRId64 " is %d; answer %d with probability %.6g; loss %.6g\n",
                m->item, (int)m->label, (int)m->answer, m->probability, m->loss);
        for (int64_t r = 0; r < all->rows; r++)
            for (int64_t c = 0; c < all->columns; c++)
                fprintf(file, "%.3g%c", (double)m->image[r * all->columns + c],
                        c == all->columns - 1 ? '\n' : ' ');
        fputs("\n\n", file);
    }
}

static void percent_text(double share, char *text, size_t size) {
    if (share > 0.9995)
        snprintf(text, size, "> 99.9 %%");
    else if (share < 0.0005)
        snprintf(text, size, "< 0.1 %%");
    else
        snprintf(text, size, "%.1f %%", 100 * share);
}

static void write_cell(const mistakes *all, int i, FILE *file, int height) {
    const mistake *m = &all->item[i];
    const double wide = 0.97 / ACROSS, row = (double)CELL / height;
    const double left = 0.02 + wide * (i % ACROSS),
                 top = 1 - (double)HEAD / height - row * (i / ACROSS);
    char answer[64], label[64], percent[24];
    percent_text(m->probability, percent, sizeof percent);
    snprintf(answer, sizeof answer, "answer %d, %s", (int)m->answer, percent);
    percent_text(m->right, percent, sizeof percent);
    snprintf(label, sizeof label, "is %d, %s", (int)m->label, percent);
    figures_label(file, answer, left, top - 10.0 / height,
                  "left font ''.F(9) textcolor rgb '#D55E00'");
    figures_label(file, label, left, top - 27.0 / height, "left font ''.F(9)");
    figures_panel(file, left, left + 0.112, top - row + 12.0 / height, top - 40.0 / height);
    fprintf(file, "plot 'data/mistakes.dat' index %d matrix with image notitle\nunset label\n", i);
}

int mistakes_script(training *run, gnuplot *plot) {
    mistakes all = {0};
    if (run->item.rank < 2) return 0;
    search(run, &all);
    const int count = hk_error(run->ctx) == HK_OK ? all.count : 0;
    FILE *file = count > 0 ? gnuplot_data(plot, "mistakes") : NULL;
    const bool written = file != NULL;
    if (written) write_data(&all, file);
    gnuplot_close(plot, file);
    const int height = HEAD + CELL * ((count + ACROSS - 1) / ACROSS);
    const bool drawn = written && (file = gnuplot_begin(plot, "mistakes", WIDTH, height)) != NULL;
    if (drawn) {
        fprintf(
            file,
            "set multiplot\nunset tics\nunset grid\nset border 15 lc rgb '#888888' lw 0.6\n"
            "unset zeroaxis\nunset colorbox\nset palette defined (0 'white', 1 'black')\n"
            "set cbrange [0:1]\nset size ratio -1\nset xrange [-0.5:%g]\nset yrange [%g:-0.5]\n",
            (double)all.columns - 0.5, (double)all.rows - 0.5);
        figures_label(file, "The worst mistakes among the test images", 0.02, 1 - 22.0 / height,
                      "left font ''.F(14)");
        for (int i = 0; i < count; i++) write_cell(&all, i, file, height);
        fputs("unset multiplot\n", file);
    }
    if (drawn) gnuplot_close(plot, file);
    for (int i = 0; i < all.count; i++) free(all.item[i].image);
    return drawn ? count : 0;
}
