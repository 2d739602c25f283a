/* samples_draw.c: histograms of activations and of gradients.
   SPDX-License-Identifier: MIT */
#include "samples.h"

#include "figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 60, ACROSS = 4, WIDTH = 1000, HEAD = 60, PANEL = 235 };

/* --- activations ------------------------------------------------------------------------------ */

static int ascending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* All but the outermost thousandth at each end, of both samples; what is not finite is dropped. */
static span range_of(sample *two) {
    span s = span_empty;
    for (int t = 0; t < SAMPLE_TIMES; t++) {
        int n = 0;
        for (int i = 0; i < two[t].count; i++)
            if (isfinite(two[t].value[i])) two[t].value[n++] = two[t].value[i];
        two[t].count = n;
        if (n == 0) continue;
        qsort(two[t].value, (size_t)n, sizeof *two[t].value, ascending);
        span_take(&s, (double)two[t].value[n / 1000]);
        span_take(&s, (double)two[t].value[n - 1 - n / 1000]);
    }
    if (s.low <= s.high && s.high - s.low < 1e-6 * fmax(fabs(s.low), 1)) {
        s.low -= 0.5;
        s.high += 0.5;
    }
    return s;
}

static double zero_share(const sample *s) {
    int zeros = 0;
    for (int i = 0; i < s->count; i++) zeros += s->value[i] == 0;
    return s->count > 0 ? 100.0 * zeros / s->count : NAN;
}

/* Percent of the sample in each bin; beyond the ends: in the outermost. */
static void write_bins(FILE *file, const sample *s, span r) {
    int bin[BINS] = {0};
    const double wide = (r.high - r.low) / BINS;
    for (int i = 0; i < s->count; i++) {
        const double at = ((double)s->value[i] - r.low) / wide;
        bin[at < 0 ? 0 : at >= BINS ? BINS - 1 : (int)at]++;
    }
    for (int k = 0; k < BINS; k++)
        fprintf(file, "%.6g %.6g\n", r.low + (k + 0.5) * wide, 100.0 * bin[k] / s->count);
    fputs("\n\n", file);
}

/* So that there are two to five of them. */
static double tick(span r) {
    const double unit = pow(10, floor(log10((r.high - r.low) / 2)));
    const double n = (r.high - r.low) / unit;
    return unit * (n > 10 ? 5 : n > 5 ? 2 : 1);
}

static void write_panel(FILE *file, const panel *p, int i, int across, int height, span r) {
    const double wide = 0.97 / across, tall = (double)PANEL / height;
    const double left = 0.025 + wide * (i % across) + 0.03;
    const double top = 1 - (HEAD + 45.0) / height - tall * (i / across);
    const double start = zero_share(&p->sample[SAMPLE_START]),
                 end = zero_share(&p->sample[SAMPLE_END]);
    char text[96];
    figures_label(file, p->row->title, left - 0.02, top + 29.0 / height, "left font ''.F(10)");
    if (start > 0.05 || end > 0.05) {
        snprintf(text, sizeof text, "zeros: %.1f → %.1f %%", start, end);
        figures_label(file, text, left - 0.02, top + 11.0 / height,
                      "left font ''.F(9) textcolor rgb '#777777'");
    }
    figures_panel(file, left, left + wide - 0.05, top - tall + 72.0 / height, top);
    fprintf(file, "set xrange [%.9g:%.9g]\nset xtics %g\n", r.low, r.high, tick(r));
    if (p->sample[SAMPLE_END].count > 0)
        fprintf(file,
                "plot 'data/activations.dat' index %d using 1:2 with boxes fs solid 0.55 noborder "
                "lc rgb "
                "'%s' notitle, \\\n     ",
                2 * i + 1, gnuplot_colours[5]);
    else
        fputs("plot ", file);
    fprintf(file,
            "'data/activations.dat' index %d using 1:2 with histeps lc rgb '#333333' lw 1.4 "
            "notitle\nunset label\nunset arrow\nunset object\n",
            2 * i);
}

static void values_head(FILE *file, int height) {
    const double y = 1 - 26.0 / height;
    fputs("set multiplot\nset logscale y\nset yrange [0.01:100]\nset format y '%g'\n"
          "set xtics font ''.F(8) offset 0,0.3\nset ytics font ''.F(8) offset 0.5,0\n"
          "unset zeroaxis\nset boxwidth 1 relative\n",
          file);
    figures_label(file, "Outputs of the layers over the probe images, % of the values", 0.015, y,
                  "left font ''.F(14)");
    fprintf(file,
            "set arrow from screen 0.80, screen %.4f to screen 0.825, screen %.4f nohead lc rgb "
            "'#333333' lw 1.8\n"
            "set object 1 rectangle from screen 0.895, screen %.4f to screen 0.92, screen %.4f "
            "fs solid 0.55 noborder fc rgb '%s'\n",
            y, y, y - 6.0 / height, y + 6.0 / height, gnuplot_colours[5]);
    figures_label(file, "start", 0.83, y, "left font ''.F(10)");
    figures_label(file, "end", 0.925, y, "left font ''.F(10)");
}

bool samples_script_values(samples *s, gnuplot *plot) {
    span range[PANELS_MOST];
    int n = 0;
    FILE *data = gnuplot_data(plot, "activations");
    if (!data) return false;
    for (int i = 0; i < s->panels; i++) {
        panel *p = &s->panel[i];
        if (!p->sample || p->sample[SAMPLE_START].count == 0) continue;
        const span r = range_of(p->sample);
        if (!(r.low < r.high)) continue;
        const panel other = s->panel[n]; /* those that are drawn come first, without gaps */
        s->panel[n] = *p;
        *p = n < i ? other : *p;
        range[n++] = r;
    }
    for (int i = 0; i < n; i++)
        for (int t = 0; t < SAMPLE_TIMES; t++) {
            const sample *one = &s->panel[i].sample[t];
            fprintf(data, "# %s, %s: middle of the bin, %% of %d values\n", s->panel[i].row->title,
                    t == SAMPLE_START ? "start" : "end", one->count);
            if (one->count > 0)
                write_bins(data, one, range[i]);
            else
                fputs("NaN NaN\n\n\n", data);
        }
    gnuplot_close(plot, data);
    const int across = n < 2 ? 2 : n < ACROSS ? n : ACROSS;
    const int height = HEAD + PANEL * ((n + across - 1) / across);
    FILE *file = n > 0 ? gnuplot_begin(plot, "activations", WIDTH, height) : NULL;
    if (!file) return false;
    values_head(file, height);
    for (int i = 0; i < n; i++) write_panel(file, &s->panel[i], i, across, height, range[i]);
    fputs("unset multiplot\n", file);
    gnuplot_close(plot, file);
    return true;
}

/* --- gradients -------------------------------------------------------------------------------- */

/* The greatest share of a size in a layer. */
static double sizes_most(const samples *s) {
    double most = 0;
    for (int i = 0; i < s->rows->count; i++)
        for (int t = 0; t < SAMPLE_TIMES; t++)
            for (int k = 0; k < SIZES && s->size[i][t].count > 0; k++)
                most =
                    fmax(most, 100.0 * (double)s->size[i][t].of[k] / (double)s->size[i][t].count);
    return most;
}

/* The sizes from the least to the greatest that occur in more than a thousandth of a layer. */
static bool sizes_span(const samples *s, int *low, int *high) {
    *low = SIZES;
    *high = -1;
    for (int i = 0; i < s->rows->count; i++)
        for (int t = 0; t < SAMPLE_TIMES; t++)
            for (int k = 0; k < SIZES; k++) {
                const sizes *z = &s->size[i][t];
                if ((double)z->of[k] * 1000 <= (double)z->count) continue;
                if (k < *low) *low = k;
                if (k > *high) *high = k;
            }
    return *high >= 0;
}

static void write_sizes(const samples *s, FILE *file, int t, int low, int high) {
    fprintf(file,
            "# %s: middle of the bin, then for each layer the %% of its gradient's elements\n",
            t == SAMPLE_START ? "first step" : "last step");
    for (int k = low; k <= high; k++) {
        fprintf(file, "%.6g", exp2(k - SIZE_ZERO + 0.5));
        for (int i = 0; i < s->rows->count; i++) {
            const sizes *z = &s->size[i][t];
            if (z->count > 0)
                fprintf(file, " %.6g", 100.0 * (double)z->of[k] / (double)z->count);
            else
                fputs(" NaN", file);
        }
        fputc('\n', file);
    }
    fputs("\n\n", file);
}

static void sizes_legend(const samples *s, FILE *file) {
    int n = 0, shown = 0;
    for (int i = 0; i < s->rows->count; i++) n += s->size[i][SAMPLE_START].count > 0;
    for (int i = 0; i < s->rows->count; i++) {
        const sizes *z = s->size[i];
        char text[128], colour[8];
        if (z[SAMPLE_START].count == 0) continue;
        const double zeros = 100.0 * (double)z[SAMPLE_END].zeros /
                             (double)(z[SAMPLE_END].count > 0 ? z[SAMPLE_END].count : 1);
        if (zeros >= 0.5)
            snprintf(text, sizeof text, "%.40s, %.0f %% zeros", s->rows->item[i].title, zeros);
        else
            snprintf(text, sizeof text, "%.40s", s->rows->item[i].title);
        gnuplot_ramp(i, s->rows->count, colour);
        figures_key(file, text, shown++, n, colour);
    }
}

static void sizes_panel(const samples *s, FILE *file, int t) {
    bool first = true;
    figures_panel(file, t ? 0.43 : 0.065, t ? 0.745 : 0.38, 0.14, 0.83);
    figures_label(file, t ? "last step" : "first step", t ? 0.43 : 0.065, 0.87,
                  "left font ''.F(11)");
    for (int i = 0; i < s->rows->count; i++) {
        char colour[8];
        if (s->size[i][t].count == 0) continue;
        gnuplot_ramp(i, s->rows->count, colour);
        fprintf(file,
                "%s'data/gradient_sizes.dat' index %d using 1:%d with lines lc rgb '%s' lw 1.8 "
                "notitle",
                first ? "plot " : ", \\\n     ", t, i + 2, colour);
        first = false;
    }
    fputs(first ? "plot NaN notitle\n" : "\n", file);
    fputs("unset label\nunset arrow\n", file);
}

bool samples_script_gradients(samples *s, gnuplot *plot) {
    int low, high;
    if (!s->size || !sizes_span(s, &low, &high)) return false;
    FILE *file = gnuplot_data(plot, "gradient_sizes");
    if (!file) return false;
    for (int t = 0; t < SAMPLE_TIMES; t++) write_sizes(s, file, t, low, high);
    gnuplot_close(plot, file);
    file = gnuplot_begin(plot, "gradient_sizes", WIDTH, 420);
    if (!file) return false;
    const span r = span_decades((span){exp2(low - SIZE_ZERO + 0.5), exp2(high - SIZE_ZERO + 0.5)});
    fprintf(file,
            "set multiplot\nset logscale x\nset xrange [%g:%g]\nset format x '10^{%%T}'\n"
            "set xtics %g\nset yrange [0:%g]\nunset zeroaxis\n"
            "set xlabel '|gradient of a weight|' offset 0,0.3 font ''.F(10) textcolor rgb "
            "'#555555'\n",
            r.low, r.high, figures_decades(r), 1.08 * sizes_most(s));
    figures_title(file, "Sizes of the gradients of single weights, % of the weights of a layer");
    sizes_legend(s, file);
    for (int t = 0; t < SAMPLE_TIMES; t++) sizes_panel(s, file, t);
    fputs("unset multiplot\n", file);
    gnuplot_close(plot, file);
    return true;
}
