/* signal_report.c: what depth signal prints and draws.
   SPDX-License-Identifier: MIT */
#include "signal_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "chart.h"

/* --- tables ----------------------------------------------------------------------------------- */

/* 1, 2, 5, 10, 20, 50, ... and the last. */
static bool is_shown(int layer, int depth) {
    int decade = 1;
    while (decade * 10 <= layer) decade *= 10;
    return layer == 0 || layer == depth || layer == decade || layer == 2 * decade ||
           layer == 5 * decade;
}

/* 0 where all nets agree but for rounding: at the ends, where both are given. */
static double shown_error(const spread *s) {
    const double error = spread_error(s);
    return error < 1e-12 * s->mean ? 0 : error;
}

static void print_layers(const signal_result *r) {
    char text[7][SHORT_MOST];
    printf("\n%s: sigma_w^2 = %.5g, sigma_b^2 = %.5g\n", r->name, r->weight_variance,
           r->bias_variance);
    printf("%5s  %8s %8s %9s  %9s %9s %9s  %7s\n", "layer", "q", "+-", "theory", "|g|^2", "+-",
           "theory", "chi_1");
    for (int l = 0; l <= r->depth; l++) {
        const signal_layer *at = &r->layers[l];
        if (!is_shown(l, r->depth)) continue;
        printf("%5d  %8s %8s %9s  %9s %9s %9s  %7s\n", l, short_number(at->q.mean, text[0]),
               short_number(shown_error(&at->q), text[1]), short_number(at->q_theory, text[2]),
               short_number(at->g.mean, text[3]), short_number(shown_error(&at->g), text[4]),
               short_number(at->g_theory, text[5]), short_number(at->chi, text[6]));
    }
}

/* In words, from the numbers of the fixed point alone. */
static const char *verdict(const signal_result *r) {
    const hk_mean_field *f = &r->field;
    const bool stays = fabs(r->layers[r->depth].q_theory / r->layers[0].q_theory - 1) < 1e-6;
    if (isnan(f->q)) return "no theory";
    if (isinf(f->q)) return "signal explodes";
    if (f->stability > 1 + 1e-6) return "unstable fixed point";
    if (f->q == 0 && !stays) return "signal dies out";
    if (r->layers[0].g_theory < 0.01) return "gradients vanish";
    if (r->layers[0].g_theory > 100) return "gradients explode";
    return "both get through";
}

static void print_summary(const study *s, const signal_result *results) {
    char text[5][SHORT_MOST];
    printf("\nFixed points in theory: q where signals settle, coming from 1; chi_1 there;\n"
           "dq'/dq, below 1 if signals come back to it; scale -1/ln chi_1 in layers.\n\n");
    printf("%-20s %9s %8s %8s %9s  %s\n", "", "q", "chi_1", "dq'/dq", "scale", "");
    for (int i = 0; i < s->names.count; i++) {
        const signal_result *r = &results[i];
        printf("%-20.20s %9s %8s %8s %9s  %s\n", r->name, short_number(r->field.q, text[0]),
               short_number(r->field.chi, text[1]), short_number(r->field.stability, text[2]),
               short_number(r->field.depth_scale, text[3]), verdict(r));
    }
}

/* --- rows ------------------------------------------------------------------------------------- */

static void write_rows(study *s, const signal_result *r) {
    for (int l = 0; l <= r->depth; l++) {
        const signal_layer *at = &r->layers[l];
        row_begin(s);
        row_text(s, "activation", r->name);
        row_number(s, "weight_variance", r->weight_variance);
        row_number(s, "bias_variance", r->bias_variance);
        row_int(s, "layer", l);
        row_int(s, "nets", at->q.n);
        row_number(s, "q", at->q.mean);
        row_number(s, "q_error", spread_error(&at->q));
        row_number(s, "q_theory", at->q_theory);
        row_number(s, "g2", at->g.mean);
        row_number(s, "g2_error", spread_error(&at->g));
        row_number(s, "g2_theory", at->g_theory);
        row_number(s, "ratio", l < r->depth ? at->ratio.mean : NAN);
        row_number(s, "ratio_error", l < r->depth ? spread_error(&at->ratio) : NAN);
        row_number(s, "chi", at->chi);
        row_end(s);
    }
}

/* --- picture ---------------------------------------------------------------------------------- */

typedef enum quantity { SIGNAL, GRADIENT, FACTOR, QUANTITIES } quantity;

static const spread *measured(const signal_layer *at, quantity what) {
    return what == SIGNAL ? &at->q : what == GRADIENT ? &at->g : &at->ratio;
}

static double predicted(const signal_layer *at, quantity what) {
    return what == SIGNAL ? at->q_theory : what == GRADIENT ? at->g_theory : at->chi;
}

/* Some layers, each activation others, so that points lie beside each other. */
static bool has_point(int layer, int depth, int which, int count) {
    const int step = depth > 24 ? depth / 12 : 1;
    const int shift = count > 1 ? step * which / count : 0;
    return layer == 0 || layer % step == shift;
}

static void draw_curve(chart *c, const signal_result *r, quantity what, int which, int count,
                       double *room) {
    const int most = r->depth + 1;
    double *x = room, *y = x + most, *error = y + most;
    int n = 0;
    for (int l = 0; l <= r->depth; l++) {
        const double v = predicted(&r->layers[l], what);
        if (!isfinite(v) || !(v > 0)) continue;
        x[n] = l;
        y[n++] = v;
    }
    if (n > 0) chart_line(c, which, n, x, y);
    n = 0;
    for (int l = 0; l <= r->depth; l++) {
        const spread *m = measured(&r->layers[l], what);
        if (!isfinite(m->mean) || !(m->mean > 0) || m->n == 0) continue;
        if (!has_point(l, r->depth, which, count)) continue;
        x[n] = l;
        y[n] = m->mean;
        error[n++] = spread_error(m);
    }
    chart_points(c, which, n, x, y, error, false);
}

/* The axis ends at `floor`, if curves go further down, so that the others can still be told apart. */
static void limits(const study *s, const signal_result *results, quantity what, double floor,
                   double ceiling, chart_panel *panel) {
    double low = HUGE_VAL, high = 0;
    for (int i = 0; i < s->names.count; i++)
        for (int l = 0; l <= results[i].depth; l++) {
            const signal_layer *at = &results[i].layers[l];
            const double both[] = {measured(at, what)->mean, predicted(at, what)};
            for (int k = 0; k < 2; k++) {
                if (!(both[k] > 0) || !isfinite(both[k])) continue;
                low = fmin(low, both[k]);
                high = fmax(high, both[k]);
            }
        }
    low = fmax(low, floor);
    high = fmin(high, ceiling);
    if (!(low < high)) low = high / 2;
    const double margin = fmax(pow(high / low, 0.06), 1.15);
    panel->y_low = low / margin;
    panel->y_high = high * margin;
}

static void draw(study *s, const signal_result *results, const char *way, int64_t width) {
    static const char *const titles[] = {"signal: q, mean square of z",
                                         "gradient: |∂/∂z|², 1 at the end",
                                         "χ₁: factor on |∂/∂z|² per layer, backward"};
    static const double floors[] = {1e-12, 1e-15, 1e-3}, ceilings[] = {1e12, 1e12, 1e3};
    char title[256], note[64];
    chart c;
    double *room = calloc(3 * ((size_t)results[0].depth + 1), sizeof *room);
    snprintf(title, sizeof title, "Random nets of width %" PRId64 ", weights by %s", width, way);
    snprintf(note, sizeof note, "points: %" PRId64 " net%s", s->seeds, plural(s->seeds));
    if (room && chart_open(&c, s->opts.program, s->out, "signal", title, QUANTITIES)) {
        for (int i = 0; i < s->names.count; i++) chart_key(&c, i, results[i].name);
        chart_note(&c, "lines: theory");
        chart_note(&c, note);
        for (quantity what = SIGNAL; what < QUANTITIES; what++) {
            chart_panel panel = {.title = titles[what],
                                 .x_label = "layer",
                                 .log_y = true,
                                 .x_high = results[0].depth,
                                 .level = 1};
            limits(s, results, what, floors[what], ceilings[what], &panel);
            chart_begin(&c, &panel);
            for (int i = 0; i < s->names.count; i++)
                draw_curve(&c, &results[i], what, i, s->names.count, room);
            chart_end(&c);
        }
        s->code = chart_close(&c, !study_prints(s));
    }
    if (!room) study_fail(s, EXIT_FAILURE, "out of memory");
    free(room);
}

void signal_report(study *s, const signal_result *results, const char *way, int64_t width) {
    if (results[0].layers[0].q.n == 0) return; /* stopped before there was anything */
    const int count = s->names.count;
    if (study_prints(s)) {
        printf("Means over %d random net%s of width %" PRId64 ", weights by %s\n"
               "q: mean square of z; |g|^2: squared length of the gradient there; +-: standard\n"
               "error; theory for infinite width\n",
               results[0].layers[0].q.n, plural(results[0].layers[0].q.n), width, way);
        for (int i = 0; i < count; i++) print_layers(&results[i]);
        print_summary(s, results);
    }
    for (int i = 0; i < count; i++)
        if (!study_prints(s)) write_rows(s, &results[i]);
    if (s->out) draw(s, results, way, width);
}
