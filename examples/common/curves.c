/* curves.c: the curves of activations that learn.
   SPDX-License-Identifier: MIT */
#include "curves.h"

#include "figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ACROSS = 4, SHOWN_MOST = 40, WIDTH = 1000, HEAD = 60, PANEL = 250 };
static const double reach = 4; /* curves are drawn from -reach to reach */

static double x_of(int k) { return reach * (2.0 * k / (CURVE_POINTS - 1) - 1); }

/* Whether it is a function of one number, or a mixture of such. */
static bool has_curve(training *run, const net_row *r) {
    char text[ACTIVATION_NAME_MOST];
    hk_activation_spec spec;
    if (!run->activations || r->activation_place < 0) return false;
    train_activation_name(run->activations, r->activation_place, text);
    if (hk_activation_parse(run->ctx, text, &spec) != HK_OK) return false;
    return spec.candidates[0] || (spec.info->kind == HK_ACTIVATION_POINTWISE && !spec.info->random);
}

/* Adds the activation if it has parameters of its own. */
static void consider(curves *c, training *run, const net_row *r, hk_parameters own) {
    const size_t length = strlen(r->activation);
    bool learns = false;
    int64_t channels = 1;
    int axes = 2;
    for (int i = 0; i < own.count; i++) {
        const char *name = hk_tensor_name(own.items[i]);
        if (strncmp(name, r->activation, length) != 0 || name[length] != '.') continue;
        learns = true;
        if (strcmp(name + length, ".logits") == 0) continue; /* of a mixture, not of channels */
        if (hk_tensor_count(own.items[i]) > channels) channels = hk_tensor_count(own.items[i]);
        if (hk_tensor_rank(own.items[i]) >= axes) axes = hk_tensor_rank(own.items[i]) + 1;
    }
    if (!learns || !has_curve(run, r)) return;
    c->item[c->count].row = r;
    c->item[c->count].channels = channels;
    c->item[c->count++].axes = axes;
}

/* What the activation makes of the points, in all channels: (CURVE_POINTS, channels). */
static const float *evaluate(const curves *c, int i, training *run) {
    hk_shape shape = {.rank = c->item[i].axes, .dim = {CURVE_POINTS, 1, 1, 1, 1, 1}};
    const int64_t channels = shape.dim[1] = c->item[i].channels;
    float *x = malloc(CURVE_POINTS * (size_t)channels * sizeof *x);
    if (!x) {
        hk_fail(run->ctx, HK_ERR_MEMORY, "curves", "no memory for %d points", CURVE_POINTS);
        return NULL;
    }
    for (int k = 0; k < CURVE_POINTS; k++)
        for (int64_t j = 0; j < channels; j++) x[k * channels + j] = (float)x_of(k);
    const bool was_recording = hk_grad_enable(run->ctx, false);
    hk_module *m = rows_module(run->net, c->item[i].row->activation);
    const bool was_training = hk_module_train(m, false);
    hk_tensor *y = hk_forward(m, hk_constant(run->ctx, HK_F32, shape, x));
    const float *value = hk_tensor_values(y);
    hk_module_train(m, was_training);
    hk_grad_enable(run->ctx, was_recording);
    free(x);
    return value;
}

void curves_open(curves *c, training *run, const net_rows *r) {
    *c = (curves){0};
    const hk_parameters own = hk_module_parameters_of(run->net, HK_OF_ACTIVATIONS);
    for (int i = 0; own.count > 0 && i < r->count && c->count < CURVES_MOST; i++)
        if (r->item[i].activation) consider(c, run, &r->item[i], own);
    for (int i = 0; i < c->count; i++) {
        const float *value = evaluate(c, i, run);
        for (int k = 0; value && k < CURVE_POINTS; k++)
            c->item[i].start[k] = value[k * c->item[i].channels];
        if (hk_step_end(run->ctx)) return;
    }
}

/* --- drawing ---------------------------------------------------------------------------------- */

/* At most so many of the channels, evenly. */
static int64_t shown(int64_t channels) { return channels < SHOWN_MOST ? channels : SHOWN_MOST; }

static void write_data(const curves *c, int i, FILE *file, const float *value) {
    const int64_t channels = c->item[i].channels, n = shown(channels);
    fprintf(file, "# %s: x, f at the start, then f at the end of %d of %d channels\n",
            c->item[i].row->title, (int)n, (int)channels);
    for (int k = 0; k < CURVE_POINTS; k++) {
        fprintf(file, "%.6g %.6g", x_of(k), (double)c->item[i].start[k]);
        for (int64_t j = 0; j < n; j++)
            fprintf(file, " %.6g", (double)value[k * channels + j * channels / n]);
        fputc('\n', file);
    }
    fputs("\n\n", file);
}

static void write_panel(const curves *c, int i, FILE *file, int height) {
    const double wide = 0.97 / ACROSS, row = (double)PANEL / height;
    const double left = 0.025 + wide * (i % ACROSS) + 0.02;
    const double top = 1 - (HEAD + 30.0) / height - row * (i / ACROSS);
    const int64_t channels = c->item[i].channels, n = shown(channels);
    const char *end = gnuplot_colours[0];
    figures_label(file, c->item[i].row->title, left, top + 15.0 / height, "left font ''.F(10)");
    figures_panel(file, left, left + wide - 0.045, top - row + 62.0 / height, top);
    if (channels > 1) /* the channels, pale; the eye sees where they lie densely */
        fprintf(file,
                "plot for [k=3:%d] 'data/learned.dat' index %d using 1:k with lines lc rgb "
                "'#A00072B2' lw 1 notitle, \\\n     ",
                (int)n + 2, i);
    else
        fprintf(file, "plot 'data/learned.dat' index %d using 1:3 with lines lc rgb '%s' lw 2.4, ",
                i, end);
    fprintf(file,
            "'data/learned.dat' index %d using 1:2 with lines lc rgb '#333333' lw 1.8 dt (6,5)\n"
            "unset label\nunset arrow\n",
            i);
}

static void write_legend(FILE *file, double y) {
    fprintf(file,
            "set arrow from screen 0.76, screen %.4f to screen 0.79, screen %.4f nohead lc rgb "
            "'#333333' lw 1.8 dt (6,5)\n"
            "set arrow from screen 0.87, screen %.4f to screen 0.90, screen %.4f nohead lc rgb "
            "'%s' lw 2.4\n",
            y, y, y, y, gnuplot_colours[0]);
    figures_label(file, "start", 0.795, y, "left font ''.F(10)");
    figures_label(file, "end", 0.905, y, "left font ''.F(10)");
}

bool curves_script(curves *c, training *run, gnuplot *plot) {
    if (c->count == 0) return false;
    FILE *file = gnuplot_data(plot, "learned");
    if (!file) return false;
    for (int i = 0; i < c->count; i++) {
        const float *value = evaluate(c, i, run);
        if (value) write_data(c, i, file, value);
        if (hk_step_end(run->ctx)) break;
    }
    gnuplot_close(plot, file);
    if (hk_error(run->ctx) != HK_OK) return false;
    const int height = HEAD + PANEL * ((c->count + ACROSS - 1) / ACROSS);
    file = gnuplot_begin(plot, "learned", WIDTH, height);
    if (!file) return false;
    fprintf(file, "set multiplot\nset xrange [%g:%g]\nset xtics 2\n", -reach, reach);
    figures_label(file, "What the activations became", 0.015, 1 - 26.0 / height,
                  "left font ''.F(14)");
    write_legend(file, 1 - 26.0 / height);
    for (int i = 0; i < c->count; i++) write_panel(c, i, file, height);
    fputs("unset multiplot\n", file);
    gnuplot_close(plot, file);
    return true;
}
