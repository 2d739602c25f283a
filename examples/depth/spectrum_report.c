/* spectrum_report.c: what depth spectrum prints and draws.
   SPDX-License-Identifier: MIT */
#include "spectrum_report.h"

#include <inttypes.h>
#include <math.h>

#include "chart.h"

static const char *const way_names[] = {"gaussian", "orthogonal"};

spectrum_cell *spectrum_cell_of(const spectrum_result *r, way how, int name, int column) {
    return &r->cells[((int)how * r->names + name) * r->count + column];
}

static void print_name(const study *s, const spectrum_result *r, int name) {
    char text[6][SHORT_MOST];
    printf("\n%s: sigma_w^2 = %.5g, sigma_b^2 = %.5g\n", s->names.item[name],
           r->weight_variance[name], r->bias_variance[name]);
    printf("%-10s %6s %9s %9s %9s  %11s %8s %9s\n", "", "layers", "smallest", "median", "largest",
           "mean square", "+-", "theory");
    for (int how = 0; how < WAYS; how++)
        for (int k = 0; k < r->count; k++) {
            const spectrum_cell *c = spectrum_cell_of(r, (way)how, name, k);
            if (c->median.n == 0) continue;
            printf("%-10s %6.0f %9s %9s %9s  %11s %8s %9s\n", k ? "" : way_names[how], r->depths[k],
                   short_number(c->smallest.mean, text[0]), short_number(c->median.mean, text[1]),
                   short_number(c->largest.mean, text[2]),
                   short_number(c->mean_square.mean, text[3]),
                   short_number(spread_error(&c->mean_square), text[4]),
                   short_number(c->theory, text[5]));
        }
}

static void write_rows(study *s, const spectrum_result *r, way how, int name) {
    for (int k = 0; k < r->count; k++) {
        const spectrum_cell *c = spectrum_cell_of(r, how, name, k);
        row_begin(s);
        row_text(s, "activation", s->names.item[name]);
        row_text(s, "weights", way_names[how]);
        row_int(s, "layers", (int64_t)r->depths[k]);
        row_int(s, "nets", c->median.n);
        row_number(s, "smallest", c->smallest.mean);
        row_number(s, "median", c->median.mean);
        row_number(s, "largest", c->largest.mean);
        row_number(s, "mean_square", c->mean_square.mean);
        row_number(s, "mean_square_error", spread_error(&c->mean_square));
        row_number(s, "mean_square_theory", c->theory);
        row_end(s);
    }
}

/* --- picture ---------------------------------------------------------------------------------- */

static const double floor_shown = 1e-6, ceiling_shown = 1e6;

/* A bar from the smallest singular value to the largest one, a point at the median. What is 0, or below the
   axis, ends there. */
static void draw_name(chart *c, const spectrum_result *r, way how, int name, double bottom) {
    double x[DEPTHS_MOST], y[DEPTHS_MOST], low[DEPTHS_MOST], high[DEPTHS_MOST];
    int n = 0;
    for (int k = 0; k < r->count; k++) {
        const spectrum_cell *cell = spectrum_cell_of(r, how, name, k);
        if (cell->median.n == 0 || !(cell->largest.mean > bottom)) continue;
        x[n] = r->depths[k] * (1 + 0.05 * (name - (r->names - 1) / 2.0));
        y[n] = fmax(cell->median.mean, 0.5 * bottom);
        low[n] = fmax(cell->smallest.mean, bottom);
        high[n++] = cell->largest.mean;
    }
    chart_bars(c, name, n, x, y, low, high, true);
}

static void limits(const spectrum_result *r, double *low, double *high) {
    *low = 0.5;
    *high = 2;
    for (int i = 0; i < WAYS * r->names * r->count; i++) {
        const spectrum_cell *c = &r->cells[i];
        if (c->median.n == 0) continue;
        *low = fmin(*low, c->smallest.mean);
        *high = fmax(*high, c->largest.mean);
    }
    *low = fmax(*low, floor_shown) / 1.3;
    *high = fmin(*high, ceiling_shown) * 1.3;
}

static void draw(study *s, const spectrum_result *r) {
    static const char *const titles[] = {"gaussian weights: singular values",
                                         "orthogonal weights: singular values"};
    char title[256], note[64], ticks[TICKS_MOST];
    double low, high;
    chart c;
    limits(r, &low, &high);
    depths_ticks(r->depths, r->count, ticks);
    snprintf(title, sizeof title, "Jacobian of random nets of width %" PRId64 ", weights by %s",
             r->width, r->weights_by);
    snprintf(note, sizeof note, "means of %" PRId64 " net%s", s->seeds, plural(s->seeds));
    if (chart_open(&c, s->opts.program, s->out, "spectrum", title, WAYS)) {
        for (int i = 0; i < r->names; i++) chart_key(&c, i, s->names.item[i]);
        chart_note(&c, "points: median");
        chart_note(&c, "bars: all of them");
        chart_note(&c, note);
        for (int how = 0; how < WAYS; how++) {
            chart_begin(&c, &(chart_panel){.title = titles[how],
                                           .x_label = "layers",
                                           .log_x = true,
                                           .log_y = true,
                                           .x_low = r->depths[0] / 1.3,
                                           .x_high = r->depths[r->count - 1] * 1.3,
                                           .y_low = low,
                                           .y_high = high,
                                           .x_ticks = ticks,
                                           .level = 1});
            for (int i = 0; i < r->names; i++) draw_name(&c, r, (way)how, i, low);
            chart_end(&c);
        }
    }
    s->code = chart_close(&c, !study_prints(s));
}

void spectrum_report(study *s, const spectrum_result *r) {
    if (r->cells[0].median.n == 0) return; /* stopped before there was anything */
    if (study_prints(s))
        printf("Singular values of the Jacobian of nets of width %" PRId64 ",\nweights by %s; "
               "means over %" PRId64 " net%s, +-: standard error\n",
               r->width, r->weights_by, s->seeds, plural(s->seeds));
    for (int i = 0; i < r->names; i++) {
        if (study_prints(s)) print_name(s, r, i);
        for (int how = 0; !study_prints(s) && how < WAYS; how++) write_rows(s, r, (way)how, i);
    }
    if (s->out) draw(s, r);
}
