/* dead.c: depth dead: dead units after a short training, by learning rate and by where biases start.
   SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "chart.h"
#include "commands.h"
#include "digits.h"

enum { POINTS_MOST = 24, PROBE_BATCH = 250 };

/* One of the two curves: what is varied, and what came of it. */
typedef struct sweep {
    const char *option, *key, *what, *text; /* key: in rows; what: in tables */
    double value[POINTS_MOST];
    int count;
    spread *dead, *saturated, *accuracy; /* (names, count), percent */
    int *diverged;
} sweep;

enum { RATE, BIAS, SWEEPS };

typedef struct dead_study {
    study s;
    digits_settings set;
    int64_t depth, probe;
    sweep sweeps[SWEEPS];
} dead_study;

static bool parse(dead_study *p, int argc, char **argv) {
    static const char *const examples[] = {
        "                              relus and others, a minute or two",
        "relu leaky_relu elu --rates 0.01,0.1,1 --biases 0",
        "relu gelu --optimizer sgd --rates 0.01,0.1,1 --lr 0.1",
        "relu --init torch --out pictures",
        NULL,
    };
    /* clang-format off */
    const option_row rows[] = {
        {.name = "rates", .form = "RATE,...", .kind = OPTION_TEXT, .value = &p->sweeps[RATE].text,
         .help = "learning rates, rising", .example = "0.01,0.1,1", .flags = OPTION_EVERYDAY},
        {.name = "biases", .form = "B,...", .kind = OPTION_TEXT, .value = &p->sweeps[BIAS].text,
         .help = "where biases of hidden layers start, rising; with --lr",
         .example = "-2,-1,0", .flags = OPTION_EVERYDAY},
        {.name = "depth", .form = "L", .kind = OPTION_INT, .value = &p->depth,
         .help = "hidden layers", .low = 1, .high = 1000, .example = "3",
         .flags = OPTION_EVERYDAY},
        {.name = "probe", .form = "N", .kind = OPTION_INT, .value = &p->probe,
         .help = "training images that a unit must be dead for, all of them", .low = 1,
         .high = 1e9, .example = "2000", .flags = OPTION_EVERYDAY},
    };
    /* clang-format on */
    p->s.opts = (options){
        .purpose =
            "dead units after a short training on MNIST\n\n"
            "A unit is dead if no gradient can pass it: its activation's slope is 0 (at most\n"
            "1e-6 for smooth ones) for each image of the probe.",
        .examples = examples};
    options_add(&p->s.opts, (int)(sizeof rows / sizeof *rows), rows);
    digits_add_options(&p->s, &p->set, true);
    if (!study_begin(&p->s, "relu,leaky_relu,elu,gelu,sigmoid,tanh", argc, argv)) return false;
    static const double low[SWEEPS] = {1e-30, -1000}, high[SWEEPS] = {1e30, 1000};
    static const char *const must_be[SWEEPS] = {"at most 24 rising numbers from 1e-30",
                                                "at most 24 rising numbers from -1000 to 1000"};
    for (int k = 0; k < SWEEPS && p->s.code == 0; k++) {
        sweep *w = &p->sweeps[k];
        if (!numbers_read(w->text, low[k], high[k], POINTS_MOST, w->value, &w->count))
            p->s.code = options_bad_value(&p->s.opts, w->option, w->text, must_be[k]);
    }
    return p->s.code == 0;
}

/* --- one net ---------------------------------------------------------------------------------- */

/* Shares in percent over all hidden layers; NaN if dead is not defined for the activation. */
static bool count_units(const dead_study *p, digits *d, digits_net *n, double *dead,
                        double *saturated) {
    hk_units *units = hk_units_create(n->net, NULL);
    hk_loader *loader = hk_loader_create(d->train, &(hk_loader_config){.batch = PROBE_BATCH});
    int64_t images = 0, all = 0, none = 0, ends = 0;
    hk_batch batch;
    bool defined = true;
    while (units && images < p->probe && hk_loader_next(loader, &batch)) {
        images += batch.size;
        if (hk_units_add(units, batch.x) || hk_step_end(d->ctx)) break;
    }
    const bool ok = units && hk_error(d->ctx) == HK_OK && hk_units_end(units) == HK_OK;
    for (int i = 0; ok && i < hk_units_count(units); i++) {
        const hk_units_layer *layer = hk_units_layer_at(units, i);
        if (layer->dead < 0) defined = false;
        all += layer->units;
        none += layer->dead;
        ends += layer->saturated;
    }
    *dead = defined ? 100.0 * (double)none / (double)all : NAN;
    *saturated = defined ? 100.0 * (double)ends / (double)all : NAN;
    hk_units_destroy(units);
    hk_loader_destroy(loader);
    return !study_failed(d->s, d->ctx) && ok;
}

/* A net whose loss is not finite any more has weights that are no numbers: its units are not counted. */
static bool measure(dead_study *p, digits *d, digits_net *n, sweep *w, int at, double done,
                    double total) {
    double dead, saturated;
    bool ok = digits_train(d, n, done, total);
    if (ok && !n->diverged) {
        ok = count_units(p, d, n, &dead, &saturated);
        if (ok && !isnan(dead)) {
            spread_add(&w->dead[at], dead);
            spread_add(&w->saturated[at], saturated);
        }
        if (ok) spread_add(&w->accuracy[at], n->accuracy);
    }
    if (ok) w->diverged[at] += n->diverged;
    digits_free(n);
    return ok;
}

static void train_seed(dead_study *p, digits *d, int64_t seed, int64_t nets) {
    study *s = &p->s;
    const double steps = (double)digits_steps(&p->set);
    int64_t done = seed * nets;
    for (int k = 0; k < SWEEPS; k++)
        for (int i = 0; i < s->names.count; i++)
            for (int j = 0; j < p->sweeps[k].count; j++, done++) {
                sweep *w = &p->sweeps[k];
                digits_net n = {.activation = s->names.item[i],
                                .depth = (int)p->depth,
                                .lr = k == RATE ? w->value[j] : -1,
                                .bias = k == BIAS ? w->value[j] : 0};
                if (!measure(p, d, &n, w, i * w->count + j, (double)done * steps,
                             (double)(nets * s->seeds) * steps))
                    return;
            }
}

static void train_all(dead_study *p) {
    study *s = &p->s;
    const int64_t nets = s->names.count * (p->sweeps[RATE].count + p->sweeps[BIAS].count);
    for (int64_t k = 0; k < s->seeds && study_goes_on(s, (double)k, (double)s->seeds, ""); k++) {
        digits d;
        if (digits_open(&d, s, &p->set, (uint64_t)(s->seed + k))) train_seed(p, &d, k, nets);
        digits_close(&d);
    }
    study_clear();
}

/* --- report ----------------------------------------------------------------------------------- */

static void print_sweep(const dead_study *p, const sweep *w) {
    char text[POINTS_MOST][24];
    const char *heading[POINTS_MOST];
    int diverged = 0;
    for (int k = 0; k < w->count; k++) {
        snprintf(text[k], sizeof text[k], "%g", w->value[k]);
        heading[k] = text[k];
    }
    printf("\nDead units in %%, by %s", w->what);
    print_matrix(&p->s, w->count, heading, w->dead);
    printf("\nTest accuracy in %%, by %s", w->what);
    print_matrix(&p->s, w->count, heading, w->accuracy);
    for (int i = 0; i < p->s.names.count * w->count; i++) diverged += w->diverged[i];
    if (diverged) printf("\nNot counted: %d nets whose loss did not stay finite.\n", diverged);
}

static void print_tables(const dead_study *p) {
    printf("Mean/deviation over %" PRId64 " seed%s, after %" PRId64 " epoch%s of %" PRId64
           " images;\n%" PRId64 " hidden layers of %" PRId64 " units, %s, weights by %s\n",
           p->s.seeds, plural(p->s.seeds), p->set.epochs, plural(p->set.epochs), p->set.images,
           p->depth, p->set.width, p->set.optimizer, p->set.init);
    for (int k = 0; k < SWEEPS; k++) print_sweep(p, &p->sweeps[k]);
}

static void write_rows(dead_study *p, const sweep *w) {
    study *s = &p->s;
    for (int i = 0; i < s->names.count; i++)
        for (int k = 0; k < w->count; k++) {
            const int at = i * w->count + k;
            const bool has = w->dead[at].n > 0;
            row_begin(s);
            row_text(s, "activation", s->names.item[i]);
            row_text(s, "varied", w->key);
            row_number(s, "value", w->value[k]);
            row_int(s, "nets", w->accuracy[at].n);
            row_number(s, "dead_percent", has ? w->dead[at].mean : NAN);
            row_number(s, "dead_deviation", has ? spread_deviation(&w->dead[at]) : NAN);
            row_number(s, "saturated_percent", has ? w->saturated[at].mean : NAN);
            row_number(s, "accuracy", w->accuracy[at].n ? w->accuracy[at].mean : NAN);
            row_int(s, "diverged", w->diverged[at]);
            row_end(s);
        }
}

static void draw_sweep(chart *c, const study *s, const sweep *w, const spread *cells, bool is_log) {
    for (int i = 0; i < s->names.count; i++) {
        double x[POINTS_MOST], y[POINTS_MOST], error[POINTS_MOST];
        int n = 0;
        for (int k = 0; k < w->count; k++) {
            const spread *cell = &cells[i * w->count + k];
            const double aside = 0.004 * (i - (s->names.count - 1) / 2.0);
            const double first = w->value[0], last = w->value[w->count - 1];
            if (cell->n == 0) continue;
            x[n] = is_log ? w->value[k] * pow(last / first, aside)
                          : w->value[k] + aside * (last - first);
            y[n] = cell->mean;
            error[n++] = spread_deviation(cell);
        }
        chart_points(c, i, n, x, y, error, true);
    }
}

/* Of an axis, around what is varied. */
static void ends(const sweep *w, bool is_log, double *low, double *high) {
    const double first = w->value[0], last = w->value[w->count - 1];
    const double factor = last > first ? pow(last / first, 0.05) : 2;
    const double room = last > first ? 0.05 * (last - first) : 1;
    *low = is_log ? first / factor : first - room;
    *high = is_log ? last * factor : last + room;
}

static void begin_panel(chart *c, const sweep *w, const char *title, const char *x_label,
                        bool is_log) {
    double low, high;
    ends(w, is_log, &low, &high);
    chart_begin(c, &(chart_panel){.title = title,
                                  .x_label = x_label,
                                  .log_x = is_log,
                                  .x_low = low,
                                  .x_high = high,
                                  .y_low = -2,
                                  .y_high = 102});
}

static void draw(dead_study *p) {
    study *s = &p->s;
    const sweep *rate = &p->sweeps[RATE], *bias = &p->sweeps[BIAS];
    char title[256], note[64];
    chart c;
    snprintf(title, sizeof title,
             "%" PRId64 " hidden layers after %" PRId64 " epoch%s of %" PRId64
             " images, %s, --init %s",
             p->depth, p->set.epochs, plural(p->set.epochs), p->set.images, p->set.optimizer,
             p->set.init);
    snprintf(note, sizeof note, "bars: deviation, %" PRId64 " seed%s", s->seeds, plural(s->seeds));
    if (chart_open(&c, s->opts.program, s->out, "dead", title, 3)) {
        for (int i = 0; i < s->names.count; i++) chart_key(&c, i, s->names.item[i]);
        chart_note(&c, note);
        begin_panel(&c, rate, "dead units, %", "learning rate", true);
        draw_sweep(&c, s, rate, rate->dead, true);
        chart_end(&c);
        begin_panel(&c, rate, "test accuracy, %", "learning rate", true);
        draw_sweep(&c, s, rate, rate->accuracy, true);
        chart_end(&c);
        begin_panel(&c, bias, "dead units, %", "biases start at", false);
        draw_sweep(&c, s, bias, bias->dead, false);
        chart_end(&c);
    }
    s->code = chart_close(&c, !study_prints(s));
}

static bool reserve(dead_study *p) {
    bool ok = true;
    for (int k = 0; k < SWEEPS; k++) {
        sweep *w = &p->sweeps[k];
        const size_t cells = (size_t)p->s.names.count * (size_t)w->count;
        w->dead = calloc(cells, sizeof *w->dead);
        w->saturated = calloc(cells, sizeof *w->saturated);
        w->accuracy = calloc(cells, sizeof *w->accuracy);
        w->diverged = calloc(cells, sizeof *w->diverged);
        ok = ok && w->dead && w->saturated && w->accuracy && w->diverged;
    }
    if (!ok) study_fail(&p->s, EXIT_FAILURE, "out of memory");
    return ok;
}

static int finish(dead_study *p) {
    for (int k = 0; k < SWEEPS; k++) {
        free(p->sweeps[k].dead);
        free(p->sweeps[k].saturated);
        free(p->sweeps[k].accuracy);
        free(p->sweeps[k].diverged);
    }
    return study_end(&p->s);
}

int command_dead(int argc, char **argv) {
    dead_study p = {.s = {.seeds = 3, .seed = 1},
                    .depth = 3,
                    .probe = 2000,
                    .sweeps = {{.option = "rates",
                                .key = "lr",
                                .what = "learning rate",
                                .text = "0.001,0.003,0.01,0.03,0.1,0.3"},
                               {.option = "biases",
                                .key = "bias",
                                .what = "start of biases",
                                .text = "-2,-1.5,-1,-0.5,0,0.5"}},
                    .set = {.init = "auto",
                            .optimizer = "adam",
                            .images = 6000,
                            .test = 2000,
                            .epochs = 2,
                            .batch = 64,
                            .width = 100,
                            .lr = -1}};
    if (!parse(&p, argc, argv) || !reserve(&p)) return finish(&p);
    train_all(&p);
    if (p.s.code == 0) {
        if (study_prints(&p.s)) print_tables(&p);
        for (int k = 0; k < SWEEPS; k++)
            if (!study_prints(&p.s)) write_rows(&p, &p.sweeps[k]);
        if (p.s.out) draw(&p);
    }
    return finish(&p);
}
