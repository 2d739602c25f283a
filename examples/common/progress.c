/* progress.c: the progress bar, or plain lines where there is no terminal.
   SPDX-License-Identifier: MIT */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const double redraw_seconds = 0.1, plain_seconds = 1.0;
enum { BAR_MOST = 30, LINE_MOST = 160 };

double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_open(progress *bar, bool quiet) {
    const char *term = getenv("TERM");
    *bar = (progress){.quiet = quiet};
    bar->terminal = isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

void progress_epoch(progress *bar, int64_t epoch, int64_t epochs, int64_t images) {
    bar->epoch = epoch;
    bar->epochs = epochs;
    bar->images = images;
    bar->quarters = 0;
    bar->started = clock_seconds();
    if (epoch == 1) bar->shown = bar->started;
}

static int terminal_columns(void) {
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
    return size.ws_col < LINE_MOST ? size.ws_col : LINE_MOST;
}

/* "1:23 left" or "2:01:05 left" until the last epoch ends, as if the rest took as long an image. */
static void left_text(const progress *bar, int64_t images, double rate, char *text, size_t size) {
    const double rest = (double)((bar->epochs - bar->epoch + 1) * bar->images - images) / rate;
    const int64_t s = rest < 1e9 ? (int64_t)(rest + 0.5) : 0;
    if (s >= 3600)
        snprintf(text, size, "%" PRId64 ":%02d:%02d left", s / 3600, (int)(s / 60 % 60),
                 (int)(s % 60));
    else
        snprintf(text, size, "%d:%02d left", (int)(s / 60), (int)(s % 60));
}

static void draw(const progress *bar, int64_t images, const char *facts) {
    char head[64], line[2 * LINE_MOST], fill[BAR_MOST + 1];
    const int columns = terminal_columns() - 1; /* some terminals wrap after a full line */
    snprintf(head, sizeof head, "epoch %" PRId64 "/%" PRId64, bar->epoch, bar->epochs);
    int width = columns - (int)(strlen(head) + strlen(facts)) - (int)sizeof " []  100 %  " + 1;
    if (width > BAR_MOST) width = BAR_MOST;
    if (width < 4) width = 0;
    const int done = bar->images > 0 ? (int)(width * images / bar->images) : 0;
    for (int i = 0; i < width; i++) fill[i] = i < done ? '#' : '.';
    fill[width] = 0;
    const int percent = (int)(100 * images / (bar->images > 0 ? bar->images : 1));
    snprintf(line, sizeof line, "%s %s%s%s%3d %%  %s", head, width ? "[" : "", fill,
             width ? "] " : "", percent, facts);
    printf("\r%.*s\033[K", columns, line);
    fflush(stdout);
}

static int quarters_of(const progress *bar, int64_t images) {
    return bar->images > 0 ? (int)(4 * images / bar->images) : 4;
}

bool progress_due(const progress *bar, int64_t images) {
    if (bar->quiet) return false;
    if (clock_seconds() - bar->shown < (bar->terminal ? redraw_seconds : plain_seconds))
        return false;
    const int quarters = quarters_of(bar, images);
    return bar->terminal || (quarters > bar->quarters && quarters < 4);
}

void progress_show(progress *bar, int64_t images, double loss) {
    const double now = clock_seconds();
    char facts[96], left[40];
    const double rate = (double)images / (now - bar->started + 1e-9);
    left_text(bar, images, rate, left, sizeof left);
    snprintf(facts, sizeof facts, "loss %.4f  %.0f images/s  %s", loss, rate, left);
    if (bar->terminal)
        draw(bar, images, facts);
    else
        printf("epoch %" PRId64 "/%" PRId64 "  %d %%  %s\n", bar->epoch, bar->epochs,
               (int)(100 * images / bar->images), facts);
    bar->quarters = quarters_of(bar, images);
    bar->shown = now;
}

void progress_clear(progress *bar) {
    if (bar->quiet || !bar->terminal) return;
    fputs("\r\033[K", stdout);
    fflush(stdout);
}
