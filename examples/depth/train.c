/* train.c: depth train: accuracy on MNIST by depth.
   SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "chart.h"
#include "commands.h"
#include "digits.h"

typedef struct train_study {
    study s;
    digits_settings set;
    const char *depths_text;
    double depths[DEPTHS_MOST];
    int count;
    spread *accuracy, *loss; /* (names, depths) */
    int *diverged;
} train_study;

static bool parse(train_study *p, int argc, char **argv) {
    static const char *const examples[] = {
        "                                 seven activations, a minute or two",
        "sigmoid relu --init torch        as PyTorch starts: sigmoid fails early",
        "gelu --depths 5,10,20,40 --epochs 5 --seeds 5",
        "relu selu --out pictures         draws pictures/train.svg",
        NULL,
    };
    const option_row rows[] = {
        {.name = "depths",
         .form = "L,L,...",
         .kind = OPTION_TEXT,
         .value = &p->depths_text,
         .help = "numbers of hidden layers, rising",
         .example = "1,2,5,10",
         .flags = OPTION_EVERYDAY},
    };
    p->s.opts = (options){.purpose = "accuracy on MNIST after a short training, by depth",
                          .examples = examples};
    options_add(&p->s.opts, 1, rows);
    digits_add_options(&p->s, &p->set, true);
    if (!study_begin(&p->s, "relu,tanh,sigmoid,selu,silu,gelu,mish", argc, argv)) return false;
    const bool ok = depths_read(p->depths_text, p->depths, &p->count);
    if (!ok) p->s.code = options_bad_value(&p->s.opts, "depths", p->depths_text, depths_must_be);
    return ok;
}

/* --- training --------------------------------------------------------------------------------- */

/* Steps cost about as much as there are layers. */
static double work_of(const train_study *p, int columns) {
    double layers = 0;
    for (int k = 0; k < columns; k++) layers += p->depths[k] + 2;
    return layers;
}

static void train_seed(train_study *p, digits *d, int64_t seed) {
    study *s = &p->s;
    const double all = work_of(p, p->count) * s->names.count;
    for (int i = 0; i < s->names.count; i++)
        for (int k = 0; k < p->count; k++) {
            /* Progress counts in steps of this net, of which the whole work would be so many. */
            const double unit = (double)digits_steps(&p->set) / (p->depths[k] + 2);
            const double done = (double)seed * all + i * work_of(p, p->count) + work_of(p, k);
            digits_net n = {.activation = s->names.item[i], .depth = (int)p->depths[k], .lr = -1};
            const bool ok = digits_train(d, &n, done * unit, all * (double)s->seeds * unit);
            digits_free(&n);
            if (!ok) return;
            spread_add(&p->accuracy[i * p->count + k], n.accuracy);
            spread_add(&p->loss[i * p->count + k], n.loss);
            p->diverged[i * p->count + k] += n.diverged;
        }
}

/* Seeds outside: what Ctrl-C leaves has all activations. */
static void train_all(train_study *p) {
    study *s = &p->s;
    for (int64_t k = 0; k < s->seeds && study_goes_on(s, (double)k, (double)s->seeds, ""); k++) {
        digits d;
        if (digits_open(&d, s, &p->set, (uint64_t)(s->seed + k))) train_seed(p, &d, k);
        digits_close(&d);
    }
    study_clear();
}

/* --- report ----------------------------------------------------------------------------------- */

static void print_table(const train_study *p) {
    char text[DEPTHS_MOST][16];
    const char *heading[DEPTHS_MOST];
    int diverged = 0;
    printf("Test accuracy in %%, mean/deviation over %" PRId64
           " seed%s, by number of hidden layers\n"
           "of %" PRId64 " units; %" PRId64 " images, %" PRId64 " epoch%s, %s, weights by %s\n",
           p->s.seeds, plural(p->s.seeds), p->set.width, p->set.images, p->set.epochs,
           plural(p->set.epochs), p->set.optimizer, p->set.init);
    for (int k = 0; k < p->count; k++) {
        snprintf(text[k], sizeof text[k], "%.0f", p->depths[k]);
        heading[k] = text[k];
    }
    print_matrix(&p->s, p->count, heading, p->accuracy);
    for (int i = 0; i < p->s.names.count * p->count; i++) diverged += p->diverged[i];
    if (diverged)
        printf("\nThe loss of %d nets did not stay finite; they count as they are.\n", diverged);
}

static void write_rows(train_study *p) {
    study *s = &p->s;
    for (int i = 0; i < s->names.count; i++)
        for (int k = 0; k < p->count; k++) {
            const int at = i * p->count + k;
            row_begin(s);
            row_text(s, "activation", s->names.item[i]);
            row_int(s, "depth", (int64_t)p->depths[k]);
            row_int(s, "seeds", p->accuracy[at].n);
            row_number(s, "accuracy", p->accuracy[at].n ? p->accuracy[at].mean : NAN);
            row_number(s, "accuracy_deviation", spread_deviation(&p->accuracy[at]));
            row_number(s, "train_loss", p->loss[at].n ? p->loss[at].mean : NAN);
            row_int(s, "diverged", p->diverged[at]);
            row_end(s);
        }
}

static void draw(train_study *p) {
    study *s = &p->s;
    char title[256], note[64], ticks[TICKS_MOST];
    chart c;
    depths_ticks(p->depths, p->count, ticks);
    snprintf(title, sizeof title,
             "Trained on %" PRId64 " images of MNIST, %" PRId64 " epoch%s, %s, --init %s",
             p->set.images, p->set.epochs, plural(p->set.epochs), p->set.optimizer, p->set.init);
    snprintf(note, sizeof note, "bars: deviation, %" PRId64 " seed%s", s->seeds, plural(s->seeds));
    if (chart_open(&c, s->opts.program, s->out, "train", title, 1)) {
        for (int i = 0; i < s->names.count; i++) chart_key(&c, i, s->names.item[i]);
        chart_note(&c, note);
        chart_begin(&c, &(chart_panel){.title = "test accuracy, %",
                                       .x_label = "hidden layers",
                                       .log_x = true,
                                       .x_low = p->depths[0] / 1.15,
                                       .x_high = p->depths[p->count - 1] * 1.15,
                                       .y_high = 100,
                                       .x_ticks = ticks});
        for (int i = 0; i < s->names.count; i++) {
            double x[DEPTHS_MOST], y[DEPTHS_MOST], error[DEPTHS_MOST];
            int n = 0;
            for (int k = 0; k < p->count; k++) {
                const spread *a = &p->accuracy[i * p->count + k];
                if (a->n == 0) continue;
                /* A little beside each other, or bars would hide bars. */
                x[n] = p->depths[k] * (1 + 0.012 * (i - (s->names.count - 1) / 2.0));
                y[n] = a->mean;
                error[n++] = spread_deviation(a);
            }
            chart_points(&c, i, n, x, y, error, true);
        }
        chart_end(&c);
    }
    s->code = chart_close(&c, !study_prints(s));
}

static void report(train_study *p) {
    if (p->accuracy[0].n == 0) return; /* stopped before there was anything */
    if (study_prints(&p->s))
        print_table(p);
    else
        write_rows(p);
    if (p->s.out) draw(p);
}

int command_train(int argc, char **argv) {
    train_study p = {.s = {.seeds = 3, .seed = 1},
                     .depths_text = "1,2,5,10,20,50",
                     .set = {.init = "auto",
                             .optimizer = "adam",
                             .images = 10000,
                             .test = 5000,
                             .epochs = 1,
                             .batch = 64,
                             .width = 100,
                             .lr = -1}};
    if (parse(&p, argc, argv)) {
        const size_t cells = (size_t)p.s.names.count * (size_t)p.count;
        p.accuracy = calloc(cells, sizeof *p.accuracy);
        p.loss = calloc(cells, sizeof *p.loss);
        p.diverged = calloc(cells, sizeof *p.diverged);
        if (!p.accuracy || !p.loss || !p.diverged) study_fail(&p.s, EXIT_FAILURE, "out of memory");
        train_all(&p);
        if (p.s.code == 0) report(&p);
    }
    free(p.accuracy);
    free(p.loss);
    free(p.diverged);
    return study_end(&p.s);
}
