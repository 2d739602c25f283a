/* report.c: what runs, how an epoch went, and the final report.
   SPDX-License-Identifier: MIT */
#include "report.h"

#include "learned.h"
#include "out.h"
#include "stats.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 80, WORST_SHOWN = 10 };

/* --- before and during training --------------------------------------------------------------- */

void report_machine(const training *run) {
    if (run->set->quiet) return;
    const hk_context_info info = hk_context_describe(run->ctx);
    char left[240], right[80];
    snprintf(left, sizeof left, "hillock %s, %s", hk_version(), info.isa);
    if (info.device == HK_CUDA)
        snprintf(right, sizeof right, "%s, %s, seed %" PRId64,
                 run->set->no_graph ? "no graph" : "CUDA graph", info.tf32 ? "TF32" : "no TF32",
                 run->set->seed);
    else
        snprintf(right, sizeof right, "%d thread%s, seed %" PRId64, info.threads,
                 info.threads == 1 ? "" : "s", run->set->seed);
    const bool fits = strlen(left) + strlen(info.blas) + strlen(right) + 4 <= COLUMNS;
    if (fits && info.has_blas)
        printf("%s, %s, %s\n", left, info.blas, right);
    else
        printf("%s, %s\nBLAS: %s\n", left, right, info.blas);
}

void report_data(const training *run) {
    if (run->set->quiet) return;
    char shape[64], val[40] = "", text[200];
    hk_shape_text(run->item, shape, sizeof shape);
    if (run->val_data)
        snprintf(val, sizeof val, "%" PRId64 " validation, ", hk_dataset_count(run->val_data));
    snprintf(text, sizeof text, "%d classes of %s, %" PRId64 " train, %s%" PRId64 " test",
             run->classes, shape, hk_dataset_count(run->fit_data), val,
             hk_dataset_count(run->test_data));
    const bool fits = strlen(run->set->data) + strlen(text) + 2 <= COLUMNS;
    printf("%s:%s%s\n", run->set->data, fits ? " " : "\n  ", text);
}

void report_network(const training *run, hk_shape input) {
    if (run->set->quiet) return;
    const size_t length = hk_module_summary(run->net, input, NULL, 0);
    char *text = malloc(length + 1);
    if (!text) return; /* a table less; training itself will say what is missing */
    hk_module_summary(run->net, input, text, length + 1);
    printf("\n%s", text);
    free(text);
    printf("initial weights: %s; optimizer: %s, learning rate %g, schedule %s\n\n", run->set->init,
           run->set->optimizer, run->set->lr, run->set->schedule);
}

void report_epoch(const training *run) {
    if (run->set->quiet) return;
    const epoch_result *r = &run->last;
    printf("epoch %" PRId64 "/%" PRId64 "  loss %.4f", r->epoch, run->set->epochs, r->train_loss);
    if (run->val) printf("  val %.2f %%", r->val_accuracy);
    printf("  test %.2f %%  %.2f s  %.0f images/s\n", r->test_accuracy, r->seconds,
           r->images_per_s);
    const int64_t images = hk_dataset_count(run->fit_data);
    if (r->images < images)
        printf("stopped after %" PRId64 " of %" PRId64 " images\n", r->images, images);
}

/* --- after training --------------------------------------------------------------------------- */

static int64_t row_sum(const training *run, int row) {
    int64_t sum = 0;
    for (int k = 0; k < run->classes; k++) sum += run->counts[row * run->classes + k];
    return sum;
}

/* Percent of a class that was answered right; a class without images shows as "-". */
static void accuracy_text(const training *run, int row, char *text, size_t size) {
    const int64_t sum = row_sum(run, row), right = run->counts[row * run->classes + row];
    if (sum > 0)
        snprintf(text, size, "%.1f %%", 100.0 * (double)right / (double)sum);
    else
        snprintf(text, size, "-");
}

/* Characters of the widest number in the matrix and of the largest class. */
static int cell_width(const training *run) {
    int64_t most = run->classes;
    for (int i = 0; i < run->classes * run->classes; i++)
        if (run->counts[i] > most) most = run->counts[i];
    return snprintf(NULL, 0, "%" PRId64, most);
}

static void print_matrix(const training *run, int width) {
    const int classes = run->classes;
    char text[16];
    printf("test images by class (rows) and answer (columns), and how many are right\n\n%6s", "");
    for (int k = 0; k < classes; k++) printf(" %*d", width, k);
    printf("\n");
    for (int row = 0; row < classes; row++) {
        printf("%4d |", row);
        for (int k = 0; k < classes; k++)
            printf(" %*" PRId64, width, run->counts[row * classes + k]);
        accuracy_text(run, row, text, sizeof text);
        printf(" | %7s\n", text);
    }
}

static void print_classes(const training *run) {
    char text[16];
    printf("right by class\n\n");
    for (int row = 0; row < run->classes; row++) {
        accuracy_text(run, row, text, sizeof text);
        printf("%4d: %7s%s", row, text, row % 5 == 4 || row == run->classes - 1 ? "\n" : "  ");
    }
}

/* The place of the most frequent confusion behind `last` in the order of (count, place); -1: no
   more. */
static int next_confusion(const training *run, int last) {
    const int classes = run->classes;
    int best = -1;
    for (int i = 0; i < classes * classes; i++) {
        const int64_t count = run->counts[i];
        if (i / classes == i % classes || count == 0) continue;
        if (last >= 0 && (count > run->counts[last] || (count == run->counts[last] && i <= last)))
            continue;
        if (best < 0 || count > run->counts[best]) best = i;
    }
    return best;
}

/* Where the matrix is too wide to show. */
static void print_worst(const training *run) {
    int place = next_confusion(run, -1);
    printf("\n%s\n", place < 0 ? "no confusions" : "most frequent confusions\n");
    for (int n = 0; n < WORST_SHOWN && place >= 0; n++) {
        printf("  %4d taken for %4d: %" PRId64 " times\n", place / run->classes,
               place % run->classes, run->counts[place]);
        place = next_confusion(run, place);
    }
}

/* Commands to go on with, on the same images. */
static void print_next(const training *run, const char *const next[3]) {
    const char *data = run->set->data;
    const char *quote = strpbrk(data, " \t\"$&;()*?<>|") ? "'" : "";
    for (int i = 0; i < 3; i++) {
        printf("  %s %s", run->opts->command, next[i]);
        if (run->data_given && strncmp(next[i], "--help", 6) != 0)
            printf(" --data %s%s%s", quote, data, quote);
        printf("\n");
    }
}

void train_report(training *run, const char *const next[3]) {
    if (!run || run->code != 0) return;
    if (run->interrupted) run->code = EXIT_INTERRUPTED;
    if (!run->set->quiet) {
        const int width = cell_width(run);
        learned_report(run);
        printf("\n");
        if (run->classes * (width + 1) + 16 <= COLUMNS) {
            print_matrix(run, width);
        } else {
            print_classes(run);
            print_worst(run);
        }
        printf("\n");
    }
    printf("test accuracy %.2f %%\n", run->last.test_accuracy);
    if (run->set->quiet) return;
    printf("%.2f s of training, %.2f s in all\n", run->trained, clock_seconds() - run->started);
    const hk_context_info info = hk_context_describe(run->ctx);
    if (info.device == HK_CUDA)
        printf("%" PRIu64 " of %" PRId64 " steps were replayed\n", info.replayed, run->steps);
    if (run->set->stats) stats_report(run);
    out_report(run);
    printf("\nwhat to try next:\n");
    print_next(run, next);
}
