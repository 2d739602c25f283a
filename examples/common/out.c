/* out.c: the folder of --out.
   SPDX-License-Identifier: MIT */
#include "out.h"

#include "curves.h"
#include "feature_maps.h"
#include "figures.h"
#include "folder.h"
#include "mistakes.h"
#include "page.h"
#include "picture.h"
#include "runlog.h"
#include "samples.h"
#include "stats.h"
#include "weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MOST = 4096 };

struct out {
    gnuplot plot;
    figures figures;
    samples samples;
    curves curves;
    page page;
    bool finished; /* the page is there */
};

/* --- before training -------------------------------------------------------------------------- */

static const char *const files[] = {"index.html", "plot.gp", "run.jsonl", "data/style.gp"};
static const char *const pictures[] = {"training",    "gradients",      "updates", "units",
                                       "activations", "gradient_sizes", "learned", "mistakes",
                                       "weights",     "filters",        "features"};
static const char *const endings[] = {"png", "svg"};

/* False if the file cannot be written; that has then been printed. */
static bool place(training *run, const char *folder, const char *file) {
    char path[PATH_MOST];
    const char *culprit = folder_place(folder, file, path, sizeof path);
    if (culprit)
        train_fail(run, EXIT_BAD_INPUT, "--out %s: cannot write %s: %s", run->set->out, culprit,
                   strerror(errno));
    return !culprit;
}

bool out_place(training *run) {
    const char *folder = run->set->out;
    char path[PATH_MOST], file[64];
    if (!folder) return true;
    snprintf(path, sizeof path, "%.4000s/data", folder);
    if (!place(run, folder, "index.html") || !place(run, path, "style.gp")) return false;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!place(run, folder, files[i])) return false;
    for (size_t i = 0; i < 2 * sizeof pictures / sizeof *pictures; i++) {
        snprintf(file, sizeof file, "%s.%s", pictures[i / 2], endings[i % 2]);
        if (!place(run, folder, file)) return false;
        snprintf(path, sizeof path, "%.4000s/%s", folder, file);
        unlink(path); /* of an earlier run: not to be taken for one of this */
    }
    return true;
}

void out_open(training *run, const net_rows *rows) {
    if (!run->set->out) return;
    out *o = run->out = calloc(1, sizeof *o);
    if (!o) {
        hk_fail(run->ctx, HK_ERR_MEMORY, "out", "no memory");
        return;
    }
    o->plot = (gnuplot){.folder = run->set->out, .program = run->opts->program};
    if (gnuplot_open(&o->plot)) figures_open(&o->figures, &o->plot, rows);
    samples_open(&o->samples, run, rows);
    curves_open(&o->curves, run, rows);
}

void out_close(training *run) {
    out *o = run->out;
    if (!o) return;
    figures_close(&o->figures);
    if (o->plot.all) fclose(o->plot.all);
    samples_close(&o->samples);
    free(o);
    run->out = NULL;
}

/* --- while training --------------------------------------------------------------------------- */

void out_step(training *run, double epoch, const double *gradient, const double *update) {
    if (run->out) figures_step(&run->out->figures, epoch, gradient, update);
}

void out_units(training *run, double epoch, const double *dead, const double *saturated,
               const double *dormant) {
    const double *const share[FIGURES_UNITS] = {dead, saturated, dormant};
    if (run->out) figures_units(&run->out->figures, epoch, share);
}

void out_epoch(training *run) {
    if (run->out) figures_epoch(&run->out->figures, &run->last);
}

void out_watch_probe(training *run, bool on, bool start) {
    if (!run->out) return;
    if (on)
        samples_watch_values(&run->out->samples, start ? SAMPLE_START : SAMPLE_END);
    else
        samples_stop_values(&run->out->samples);
}

void out_watch_step(training *run, bool on, bool start) {
    if (!run->out) return;
    if (on)
        samples_watch_gradients(&run->out->samples, start ? SAMPLE_START : SAMPLE_END);
    else
        samples_stop_gradients(&run->out->samples);
}

/* --- after training --------------------------------------------------------------------------- */

static void draw_curves(out *o) {
    const unsigned drawn = figures_scripts(&o->figures);
    if (drawn & FIGURES_TRAINING)
        page_add(&o->page, "training", "Loss and accuracy", PAGE_CURVES,
                 "How the loss falls on the training images, and how many test images are "
                 "answered right. A loss that falls while the accuracy on images not trained on "
                 "stays or falls means that the network learns them by heart.");
    if (drawn & FIGURES_GRADIENTS)
        page_add(&o->page, "gradients", "Gradients by layer", PAGE_CURVES,
                 "How strong the learning signal is in each layer; dark lines are the first "
                 "layers. Lines that lie within two or three powers of ten of each other are "
                 "healthy. If the dark ones lie far below, gradients vanish on their way to the "
                 "front: the first layers hardly learn. Far above, they explode.");
    if (drawn & FIGURES_UPDATES)
        page_add(&o->page, "updates", "Size of the updates", PAGE_CURVES,
                 "How far a step moves the weights of a layer, as a share of their length. About "
                 "0.001, the dashed line, is usual. Far below: the layer stands still, the "
                 "learning rate is too small for it. Above 0.01 for long: it is thrown about.");
    if (drawn & FIGURES_DEAD)
        page_add(&o->page, "units", "Dead, saturated and dormant units", PAGE_CURVES,
                 "Looked for over %d training images that never change. Dead: no gradient can "
                 "reach the unit by any of them, so it cannot learn. Saturated: its slope is "
                 "nearly 0 for more than 95 %% of its values. Dormant: its output is at most "
                 "1/40 of its layer's mean.",
                 STATS_PROBE);
}

static void draw_samples(out *o) {
    if (samples_script_values(&o->samples, &o->plot))
        page_add(&o->page, "activations", "What the layers give", PAGE_CURVES,
                 "Each layer's outputs over the same images, before training (line) and after "
                 "it (blue), on a logarithmic scale. Look for a layer where everything lies in one "
                 "bin, or at the ends of what the activation can give: hardly anything gets "
                 "through it.");
    if (samples_script_gradients(&o->samples, &o->plot))
        page_add(&o->page, "gradient_sizes", "Sizes of single gradients", PAGE_CURVES,
                 "The same as the lengths above, weight by weight, in the first and in the last "
                 "step. Humps that move to the left from layer to layer are gradients that "
                 "vanish. Zeros are counted apart: a pixel that is always black gives its weights "
                 "none.");
}

static void draw_learned(training *run, out *o) {
    if (curves_script(&o->curves, run, &o->plot))
        page_add(&o->page, "learned", "Learned activations", PAGE_CURVES,
                 "The function of each layer that learns its own, as it started (dashed) and as "
                 "it is now; with a parameter for each channel there is a line for each.");
    const int worst = mistakes_script(run, &o->plot);
    if (worst > 0)
        page_add(&o->page, "mistakes", "The worst mistakes", PAGE_CURVES,
                 "The %d test image%s with the highest loss: what was answered, and what is right, "
                 "with the probability that the network gave to each. Are they hard for you too?",
                 worst, worst == 1 ? "" : "s");
}

/* Pictures that need no gnuplot. */
static void draw_pixels(training *run, out *o) {
    if (!picture_possible()) return;
    const int units = weights_draw(run, run->set->out);
    if (units > 0)
        page_add(&o->page, "weights", "What the first layer looks at", PAGE_PIXELS,
                 "The incoming weights of %d units, each as an image: red pixels excite the unit, "
                 "blue ones inhibit it. Smooth shapes were learned; pixels that are black in all "
                 "images keep the noise that they started with.",
                 units);
    char text[200];
    if (feature_maps_filters(run, run->set->out, text, sizeof text))
        page_add(&o->page, "filters", "Filters of the first layer", PAGE_PIXELS, "%s", text);
    if (feature_maps_features(run, run->set->out, text, sizeof text))
        page_add(&o->page, "features", "What they make of images", PAGE_PIXELS, "%s", text);
}

static void draw(training *run) {
    out *o = run->out;
    const char *program = run->opts->program;
    if (!run->set->quiet && run->code == 0) printf("drawing pictures\n");
    draw_curves(o);
    draw_samples(o);
    if (run->code == 0) draw_learned(run, o);
    if (run->code == 0) draw_pixels(run, o);
    if (!picture_possible()) {
        o->page.no_pixels = true;
        fprintf(stderr,
                "%s: without stb_image_write.h this build draws no weights as images (install "
                "libstb-dev or stb-devel, then configure and build again)\n",
                program);
    }
    const gnuplot_result result = gnuplot_draw(&o->plot);
    o->page.no_curves = result != GNUPLOT_DONE;
    if (result == GNUPLOT_MISSING || result == GNUPLOT_FAILED)
        fprintf(stderr,
                "%s: gnuplot %s; then the curves can be drawn: cd %s && "
                "gnuplot plot.gp\n",
                program,
                result == GNUPLOT_MISSING ? "is not installed (apt install gnuplot-nox)" : "failed",
                run->set->out);
}

void out_finish(training *run) {
    out *o = run->out;
    if (!o || hk_error(run->ctx) != HK_OK) return;
    draw(run);
    if (hk_step_end(run->ctx) != HK_OK || o->plot.failed) return;
    o->finished = page_write(&o->page, run);
    if (!o->finished)
        fprintf(stderr, "%s: cannot write %s/index.html: %s\n", run->opts->program, run->set->out,
                strerror(errno));
    if (run->code != 0 && !run->set->quiet) out_report(run); /* there will be no other report */
}

void out_report(const training *run) {
    if (run->out && run->out->finished)
        printf("pictures and numbers: %s/index.html\n", run->set->out);
}
