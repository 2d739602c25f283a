/* digits.c: short trainings of plain deep nets on MNIST.
   SPDX-License-Identifier: MIT */
#include "digits.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "elements.h"

#if defined(__has_include)
#if __has_include("hillock_build.h")
#include "hillock_build.h"
#endif
#endif
#ifndef HILLOCK_DATA_DIR
#define HILLOCK_DATA_DIR "data"
#endif

enum { EVALUATION_BATCH = 250, LOOK_EVERY = 50 };

static const char *init_choice(int i) { return hk_init_name(i); }
static const char *optimizer_choice(int i) {
    return i < hk_optimizer_count() ? hk_optimizer_row(i) : NULL;
}

void digits_add_options(study *s, digits_settings *set, bool with_lr) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "width", .form = "N", .kind = OPTION_INT, .value = &set->width,
         .help = "units in each hidden layer", .low = 1, .high = 10000, .example = "100",
         .flags = OPTION_EVERYDAY},
        {.name = "images", .form = "N", .kind = OPTION_INT, .value = &set->images,
         .help = "training images, chosen by the seed", .low = 1, .high = 1e9, .example = "10000",
         .flags = OPTION_EVERYDAY},
        {.name = "test", .form = "N", .kind = OPTION_INT, .value = &set->test,
         .help = "test images", .low = 1, .high = 1e9, .example = "5000",
         .flags = OPTION_EVERYDAY},
        {.name = "epochs", .form = "N", .kind = OPTION_INT, .value = &set->epochs,
         .help = "passes over the training images", .low = 1, .high = 1e6, .example = "2",
         .flags = OPTION_EVERYDAY},
        {.name = "batch", .form = "N", .kind = OPTION_INT, .value = &set->batch,
         .help = "images in a step", .low = 1, .high = 1 << 20, .example = "64",
         .flags = OPTION_EVERYDAY},
        {.name = "optimizer", .form = "NAME", .kind = OPTION_TEXT, .value = &set->optimizer,
         .help = "how steps are taken", .choice = optimizer_choice, .example = "adam",
         .flags = OPTION_EVERYDAY},
        {.name = "init", .form = "NAME", .kind = OPTION_TEXT, .value = &set->init,
         .help = "how weights start", .choice = init_choice, .example = "auto",
         .flags = OPTION_EVERYDAY},
        {.name = "data", .form = "DIR", .kind = OPTION_TEXT, .value = &set->data,
         .help = "folder with images and labels in MNIST's format", .example = "data/mnist",
         .shown = "data/mnist", .flags = OPTION_EVERYDAY},
        {.name = "lr", .form = "RATE", .kind = OPTION_NUMBER, .value = &set->lr,
         .help = "learning rate", .low = 0, .high = HUGE_VAL, .example = "0.001",
         .shown = "the optimizer's own; adam 0.001", .flags = OPTION_EVERYDAY | OPTION_ABOVE},
    };
    /* clang-format on */
    options_add(&s->opts, (int)(sizeof rows / sizeof *rows) - !with_lr, rows);
}

/* --- images ----------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

/* --data, or MNIST as it comes with the source, from wherever the program is started. */
static const char *folder_of(const digits_settings *set) {
    static const char *const places[] = {"data/mnist", HILLOCK_DATA_DIR "/mnist"};
    if (set->data) return set->data;
    return is_folder(places[0]) ? places[0] : places[1];
}

/* A part of the images of a folder: some, or all if that is what was asked for. */
static hk_dataset *part(digits *d, const char *prefix, const char *option, int64_t wanted) {
    hk_dataset *rest, *some, *all = hk_mnist(d->ctx, folder_of(d->set), prefix, d->classes);
    const int64_t count = hk_dataset_count(all);
    if (!all || wanted == count) return all;
    if (wanted > count) {
        study_fail(d->s, EXIT_BAD_INPUT,
                   "--%s %" PRId64 ": there are %" PRId64 " images (try --%s %" PRId64 ")", option,
                   wanted, count, option, count);
        return NULL;
    }
    return hk_dataset_split(all, wanted, &rest, &some) == HK_OK ? some : NULL;
}

bool digits_open(digits *d, study *s, const digits_settings *set, uint64_t seed) {
    *d = (digits){.s = s, .set = set, .ctx = study_context(s, HK_F32, seed)};
    if (!d->ctx) return false;
    d->train = part(d, "train", "images", set->images);
    d->classes = hk_dataset_classes(d->train);
    d->item = hk_dataset_item_shape(d->train);
    d->test = d->train ? part(d, "t10k", "test", set->test) : NULL;
    return !study_failed(s, d->ctx);
}

void digits_close(digits *d) { hk_context_destroy(d->ctx); }

int64_t digits_steps(const digits_settings *set) {
    return set->epochs * ((set->images + set->batch - 1) / set->batch);
}

/* --- a net ------------------------------------------------------------------------------------ */

/* Moves the biases of all linear layers but the last one. */
static bool shift_biases(digits *d, const digits_net *n) {
    const hk_parameters p = hk_module_parameters_of(n->net, HK_OF_WEIGHTS);
    int left = n->depth;
    for (int i = 0; i < p.count && left > 0; i++) {
        const char *dot = strrchr(hk_tensor_name(p.items[i]), '.');
        if (!dot || strcmp(dot, ".bias") != 0) continue;
        float *at = elements_take(p.items[i]);
        for (int64_t k = 0; at && k < hk_tensor_count(p.items[i]); k++) at[k] += (float)n->bias;
        elements_put(p.items[i], at);
        left--;
    }
    return hk_error(d->ctx) == HK_OK;
}

static bool build(digits *d, digits_net *n) {
    hk_module **members = calloc(2 * (size_t)n->depth + 2, sizeof *members);
    int count = 0;
    int64_t in = hk_shape_count(d->item);
    if (!members) hk_fail(d->ctx, HK_ERR_MEMORY, "depth", "no memory for %d layers", n->depth);
    if (!members) return false;
    members[count++] = hk_flatten(d->ctx);
    for (int l = 0; l < n->depth; l++) {
        members[count++] = hk_linear(d->ctx, in, d->set->width);
        members[count++] = hk_activation(d->ctx, n->activation);
        in = d->set->width;
    }
    members[count++] = hk_linear(d->ctx, in, d->classes);
    n->net = hk_sequential_n(d->ctx, count, members);
    free(members);
    hk_shape input = {.rank = d->item.rank + 1, .dim = {-1}};
    for (int i = 0; i < d->item.rank; i++) input.dim[i + 1] = d->item.dim[i];
    return hk_module_build(n->net, input, d->set->init) == HK_OK &&
           (n->bias == 0 || shift_biases(d, n));
}

void digits_free(digits_net *n) {
    hk_module_destroy(n->net);
    n->net = NULL;
}

/* --- training --------------------------------------------------------------------------------- */

typedef struct trained {
    digits *d;
    digits_net *n;
    hk_loader *loader;
    hk_optimizer *opt;
    losses losses;
} trained;

/* A GPU replays it: it counts nothing. */
static hk_status train_step(hk_context *ctx, void *arg) {
    trained *t = arg;
    hk_batch batch;
    if (!hk_loader_next(t->loader, &batch)) return hk_error(ctx);
    hk_optimizer_zero_grad(t->opt);
    hk_tensor *loss = hk_cross_entropy(hk_forward(t->n->net, batch.x), batch.y);
    if (losses_add(&t->losses, loss) || hk_backward(ctx, loss)) return hk_error(ctx);
    return hk_optimizer_step(t->opt);
}

/* On the CPU the loss is looked at after each step, on a GPU now and then, so that it need not
   wait. */
static bool train_epoch(trained *t, double done, double total) {
    digits *d = t->d;
    digits_net *n = t->n;
    const int64_t batch = d->set->batch;
    const int64_t often = hk_context_describe(d->ctx).device == HK_CPU ? 1 : LOOK_EVERY;
    losses_begin(&t->losses);
    for (int64_t left = hk_dataset_count(d->train); left > 0 && !n->diverged;) {
        const int64_t size = left < batch ? left : batch;
        if (!study_goes_on(d->s, done + (double)n->steps, total, n->activation)) return false;
        if (hk_step_run(d->ctx, train_step, t)) return false;
        losses_count(&t->losses, size);
        left -= size;
        n->steps++;
        if (n->steps % often == 0 || left < batch) n->diverged = !losses_take(&t->losses);
        n->loss = t->losses.mean;
    }
    hk_batch none;
    if (!n->diverged) (void)hk_loader_next(t->loader, &none); /* the end of the epoch */
    return hk_error(d->ctx) == HK_OK;
}

static bool evaluate(digits *d, digits_net *n) {
    hk_loader *loader = hk_loader_create(d->test, &(hk_loader_config){.batch = EVALUATION_BATCH});
    double right = 0;
    hk_batch batch;
    hk_module_train(n->net, false);
    const bool was_on = hk_grad_enable(d->ctx, false);
    while (hk_loader_next(loader, &batch)) {
        right += hk_accuracy(hk_forward(n->net, batch.x), batch.y) * (double)batch.size;
        if (hk_step_end(d->ctx)) break;
    }
    hk_grad_enable(d->ctx, was_on);
    hk_loader_destroy(loader);
    n->accuracy = 100 * right / (double)hk_dataset_count(d->test);
    return hk_error(d->ctx) == HK_OK;
}

bool digits_train(digits *d, digits_net *n, double done, double total) {
    const digits_settings *set = d->set;
    bool ok = build(d, n);
    trained t = {.d = d, .n = n};
    t.loader =
        hk_loader_create(d->train, &(hk_loader_config){.batch = set->batch, .shuffle = true});
    if (ok)
        t.opt = hk_optimizer_by_name(d->ctx, set->optimizer, hk_module_parameters(n->net),
                                     n->lr < 0 ? set->lr : n->lr, -1);
    ok = ok && t.opt && t.loader && losses_open(&t.losses, d->ctx);
    for (int64_t epoch = 0; ok && epoch < set->epochs && !n->diverged; epoch++)
        ok = train_epoch(&t, done, total);
    ok = ok && evaluate(d, n);
    losses_close(&t.losses);
    hk_optimizer_destroy(t.opt);
    hk_loader_destroy(t.loader);
    return !study_failed(d->s, d->ctx) && ok;
}

/* --- tables ----------------------------------------------------------------------------------- */

enum { NAME_COLUMNS = 14, CELL_COLUMNS = 11, CELLS_MOST = 6 };

static void print_cell(const spread *cell) {
    char text[32];
    if (cell->n == 0)
        snprintf(text, sizeof text, "-");
    else if (cell->n == 1)
        snprintf(text, sizeof text, "%.1f", cell->mean);
    else
        snprintf(text, sizeof text, "%.1f/%.1f", cell->mean, spread_deviation(cell));
    printf("%*s", CELL_COLUMNS, text);
}

void print_matrix(const study *s, int columns, const char *const *heading, const spread *cells) {
    for (int first = 0; first < columns; first += CELLS_MOST) {
        const int end = first + CELLS_MOST < columns ? first + CELLS_MOST : columns;
        printf("\n%-*s", NAME_COLUMNS, "");
        for (int k = first; k < end; k++) printf("%*s", CELL_COLUMNS, heading[k]);
        putchar('\n');
        for (int i = 0; i < s->names.count; i++) {
            printf("%-*.*s", NAME_COLUMNS, NAME_COLUMNS - 1, s->names.item[i]);
            for (int k = first; k < end; k++) print_cell(&cells[i * columns + k]);
            putchar('\n');
        }
    }
}
