/* page.c: index.html: plain HTML with its style inside, light and dark.
   SPDX-License-Identifier: MIT */
#include "page.h"

#include "stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { PATH_MOST = 4096 };

void page_add(page *p, const char *name, const char *title, page_kind kind, const char *format,
              ...) {
    if (p->count == PAGE_MOST) return;
    p->item[p->count].name = name;
    p->item[p->count].title = title;
    p->item[p->count].kind = kind;
    va_list args;
    va_start(args, format);
    vsnprintf(p->item[p->count].text, PAGE_TEXT, format, args);
    va_end(args);
    p->count++;
}

/* Text that is not ours: options may hold anything. */
static void put(FILE *file, const char *text) {
    for (; *text; text++) switch (*text) {
        case '&': fputs("&amp;", file); break;
        case '<': fputs("&lt;", file); break;
        case '>': fputs("&gt;", file); break;
        case '"': fputs("&quot;", file); break;
        default: fputc(*text, file);
        }
}

/* Pictures have a white ground of their own, so in the dark they stand on a card. */
static const char style[] =
    "<style>\n"
    ":root { --ground: #fdfdfc; --text: #222; --soft: #667; --line: #ddd; --card: #fff;\n"
    "  --accent: #0072b2; color-scheme: light dark; }\n"
    "@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --text: #e4e4e0;\n"
    "  --soft: #9aa0aa; --line: #353941; --card: #fff; --accent: #6cb6e8; } }\n"
    "* { box-sizing: border-box; }\n"
    "body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 66rem; background: "
    "var(--ground);\n"
    "  color: var(--text); font: 1rem/1.55 system-ui, sans-serif; }\n"
    "h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .3rem; }\n"
    "p { max-width: 46rem; margin: .3rem 0 .8rem; } a { color: var(--accent); }\n"
    ".soft, figcaption { color: var(--soft); font-size: .87rem; }\n"
    ".facts { display: flex; flex-wrap: wrap; gap: .6rem 2.4rem; margin: 1.2rem 0; }\n"
    ".facts b { display: block; font-size: 1.5rem; font-weight: 600; }\n"
    "nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0; }\n"
    "figure { margin: 0; } figure img { display: block; max-width: 100%; height: auto;\n"
    "  background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 6px; "
    "}\n"
    ".wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .87rem; }\n"
    "th, td { text-align: right; padding: .18rem .7rem; border-bottom: 1px solid var(--line);\n"
    "  font-variant-numeric: tabular-nums; white-space: nowrap; }\n"
    "th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }\n"
    ".settings { columns: 3 15rem; } .settings div { break-inside: avoid; }\n"
    ".settings b { font-weight: 600; } .warning { border-left: 4px solid #d55e00;\n"
    "  padding-left: .8rem; }\n"
    "</style>\n";

/* --- parts ------------------------------------------------------------------------------------ */

static void fact(FILE *file, const char *what, const char *format, double value) {
    fputs("<div><b>", file);
    fprintf(file, format, value);
    fprintf(file, "</b>%s</div>\n", what);
}

static void head(FILE *file, const training *run) {
    const hk_context_info info = hk_context_describe(run->ctx);
    const epoch_result *r = &run->last;
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          file);
    put(file, run->opts->program);
    fputs(", inside training</title>\n", file);
    fputs(style, file);
    fputs("</head>\n<body>\n<h1>Inside training: ", file);
    put(file, run->opts->program);
    fprintf(file, "</h1>\n<p class=\"soft\">hillock %s, %s, %d thread%s, seed %" PRId64 "</p>\n",
            hk_version(), info.isa, info.threads, info.threads == 1 ? "" : "s", run->set->seed);
    if (run->code != 0)
        fputs("<p class=\"warning\">Training failed: the loss is not finite any more.</p>\n", file);
    if (run->interrupted)
        fputs("<p class=\"warning\">Training was stopped before its end.</p>\n", file);
    fputs("<div class=\"facts\">\n", file);
    fact(file, "test accuracy", "%.2f&thinsp;%%", r->test_accuracy);
    if (isfinite(r->val_accuracy))
        fact(file, "validation accuracy", "%.2f&thinsp;%%", r->val_accuracy);
    fact(file, "training loss", "%.4f", r->train_loss);
    fact(file, r->epoch == 1 ? "epoch" : "epochs", "%.0f", (double)r->epoch);
    fact(file, "of training", "%.1f&thinsp;s", run->trained);
    fputs("</div>\n", file);
}

static void missing(FILE *file, const page *p) {
    if (p->no_curves)
        fputs("<p class=\"warning\">The curves are not drawn: gnuplot was missing, or failed. "
              "Install "
              "it (<code>apt install gnuplot-nox</code>), then run <code>gnuplot plot.gp</code> in "
              "this folder and load this page again.</p>\n",
              file);
    if (p->no_pixels)
        fputs("<p class=\"warning\">Weights are not shown as images: stb_image_write.h was missing "
              "when the program was built (<code>apt install libstb-dev</code>, then configure "
              "and build again).</p>\n",
              file);
}

static void contents(FILE *file, const page *p) {
    fputs("<nav>\n", file);
    for (int i = 0; i < p->count; i++)
        fprintf(file, "<a href=\"#%s\">%s</a>\n", p->item[i].name, p->item[i].title);
    fputs("<a href=\"#layers\">Layers</a>\n<a href=\"#settings\">Settings</a>\n</nav>\n", file);
}

static void figure(FILE *file, const page *p, int i) {
    const char *name = p->item[i].name;
    const bool curves = p->item[i].kind == PAGE_CURVES;
    fprintf(file, "<h2 id=\"%s\">%s</h2>\n<p>", name, p->item[i].title);
    put(file, p->item[i].text);
    fprintf(file,
            "</p>\n<figure><img src=\"%s.%s\" alt=\"%s\" loading=\"lazy\">\n"
            "<figcaption><a href=\"%s.png\">PNG</a>",
            name, curves ? "svg" : "png", p->item[i].title, name);
    if (curves)
        fprintf(file,
                " &middot; <a href=\"%s.svg\">SVG</a> &middot; <a href=\"data/%s.gp\">script</a>",
                name, name);
    fputs("</figcaption></figure>\n", file);
}

static void layers(FILE *file, const stats *s) {
    char cell[STATS_COLUMNS][STATS_CELL];
    fputs("<h2 id=\"layers\">Layers in the last epoch</h2>\n"
          "<p>|grad| and update: length of the gradient of the weights, and how far a step moved "
          "them as a share of their own length, means over the recorded steps. mean and sd: of the "
          "outputs. Of so many units are, over the probe images: dead (no gradient can pass), "
          "zero (output always exactly 0), satur (saturated), dorm (dormant). +/-: died / came "
          "back.</p>\n<div class=\"wide\"><table>\n<tr>",
          file);
    for (int k = 0; k < STATS_COLUMNS; k++) fprintf(file, "<th>%s</th>", stats_headings[k]);
    fputs("</tr>\n", file);
    for (int i = 0; i < s->rows.count; i++) {
        stats_cells(s, i, cell);
        fputs("<tr>", file);
        for (int k = 0; k < STATS_COLUMNS; k++) {
            fputs("<td>", file);
            put(file, cell[k]);
            fputs("</td>", file);
        }
        fputs("</tr>\n", file);
    }
    fputs("</table></div>\n", file);
}

static void settings(FILE *file, const training *run) {
    const options *opts = run->opts;
    fputs("<h2 id=\"settings\">Settings</h2>\n<div class=\"settings\">\n", file);
    for (int i = 0; i < opts->count; i++) {
        char text[4096];
        options_value(&opts->rows[i], text, sizeof text);
        fprintf(file, "<div><b>--%s</b> ", opts->rows[i].name);
        put(file, text);
        fputs("</div>\n", file);
    }
    fputs("</div>\n<h2>Files</h2>\n<p><a href=\"run.jsonl\">run.jsonl</a>: all numbers, a JSON "
          "object a "
          "line. <a href=\"plot.gp\">plot.gp</a> draws the curves again from what is in "
          "<a href=\"data/\">data/</a>: edit <a href=\"data/style.gp\">data/style.gp</a> or a "
          "script, "
          "then <code>gnuplot plot.gp</code> in this folder.</p>\n",
          file);
}

bool page_write(const page *p, const training *run) {
    char path[PATH_MOST];
    snprintf(path, sizeof path, "%.4000s/index.html", run->set->out);
    FILE *file = fopen(path, "w");
    if (!file) return false;
    head(file, run);
    missing(file, p);
    contents(file, p);
    for (int i = 0; i < p->count; i++) figure(file, p, i);
    if (run->stats) layers(file, run->stats);
    settings(file, run);
    fputs("</body>\n</html>\n", file);
    const bool bad = ferror(file) != 0;
    return fclose(file) == 0 && !bad;
}
