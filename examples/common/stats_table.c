/* stats_table.c: the statistics of an epoch as a table.
   SPDX-License-Identifier: MIT */
#include "stats.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *const stats_headings[STATS_COLUMNS] = {
    "layer", "|grad|", "update", "mean", "sd", "units", "dead", "zero", "satur", "dorm", "+/-"};
static const int widths[STATS_COLUMNS] = {-17, 8, 8, 7, 7, 6, 5, 5, 6, 5, 6};

static void power_text(double value, char *text) {
    if (isfinite(value))
        snprintf(text, STATS_CELL, "%.1e", value);
    else
        snprintf(text, STATS_CELL, "-");
}

static void plain_text(double value, char *text) {
    const double size = fabs(value);
    if (!isfinite(value))
        snprintf(text, STATS_CELL, "-");
    else if (size >= 1e4)
        snprintf(text, STATS_CELL, "%.0e", value);
    else
        snprintf(text, STATS_CELL, "%.*f", size < 10 ? 3 : size < 1000 ? 1 : 0, value);
}

static void count_text(int64_t count, char *text) {
    if (count < 0)
        snprintf(text, STATS_CELL, "-");
    else if (count < 10000)
        snprintf(text, STATS_CELL, "%d", (int)count);
    else
        snprintf(text, STATS_CELL, "%" PRId64 "k", count / 1000);
}

void stats_cells(const stats *s, int i, char cell[STATS_COLUMNS][STATS_CELL]) {
    const stats_row *now = &s->now[i];
    const int64_t count[] = {now->units, now->dead, now->zero, now->saturated, now->dormant};
    snprintf(cell[0], STATS_CELL, "%.60s", s->rows.item[i].title);
    power_text(now->gradient, cell[1]);
    power_text(now->update, cell[2]);
    plain_text(now->mean, cell[3]);
    plain_text(now->deviation, cell[4]);
    for (int k = 0; k < 5; k++) count_text(count[k], cell[5 + k]);
    if (now->died >= 0)
        snprintf(cell[10], STATS_CELL, "%d/%d", (int)now->died, (int)now->revived);
    else
        snprintf(cell[10], STATS_CELL, "-");
}

/* "1 linear relu", or what of it fits. */
static void shorten(const net_row *r, char *cell) {
    const int width = -widths[0];
    if (!r->path) {
        snprintf(cell, STATS_CELL, "%.*s", width, r->title);
        return;
    }
    snprintf(cell, STATS_CELL, "%.30s %.12s%s%.15s", r->path, r->kind, r->activation ? "+" : "",
             r->activation_name);
    if ((int)strlen(cell) > width) snprintf(cell, STATS_CELL, "%.30s %.12s", r->path, r->kind);
    if ((int)strlen(cell) > width) snprintf(cell, STATS_CELL, "%.*s", width, r->path);
}

static const char legend[] =
    "  |grad|, update  mean over the epoch's recorded steps: length of the gradient\n"
    "                  of the weights; how far a step moved them, as a share of them\n"
    "                  (about 0.001 is healthy)\n"
    "  mean, sd        of the layer's outputs, behind the activation\n"
    "  units           outputs, or channels; of so many are, over the probe images:\n"
    "  dead, zero      no gradient can pass; the output is always exactly 0\n"
    "  satur, dorm     slope nearly 0 nearly always; output small beside the others'\n"
    "  +/-             died / came back in this epoch\n";

void stats_print(training *run) {
    stats *s = run->stats;
    char cell[STATS_COLUMNS][STATS_CELL];
    const int64_t records = s->rows.count > 0 ? s->now[0].records : 0;
    printf("\n  statistics over %" PRId64 " steps and %" PRId64 " probe images\n", records,
           s->images);
    for (int k = 0; k < STATS_COLUMNS; k++) printf("%*s", widths[k], stats_headings[k]);
    printf("\n");
    for (int i = 0; i < s->rows.count; i++) {
        stats_cells(s, i, cell);
        shorten(&s->rows.item[i], cell[0]);
        for (int k = 0; k < STATS_COLUMNS; k++) printf("%*s", widths[k], cell[k]);
        printf("\n");
    }
    if (!s->legend_shown) printf("%s", legend);
    printf("\n");
    s->legend_shown = true;
}
