/* stats_log.c: gradients, updates and units as lines of the log.
   SPDX-License-Identifier: MIT */
#include "stats.h"

#include "runlog.h"

#include <math.h>

static void log_stats(json *line, const char *prefix, const hk_stats *s) {
    static const char *const names[] = {"mean", "std", "min", "max", "max_abs", "l2"};
    const double value[] = {s->mean, s->std, s->min, s->max, s->max_abs, s->l2};
    char key[32];
    for (int i = 0; i < 6; i++) {
        snprintf(key, sizeof key, "%s_%s", prefix, names[i]);
        json_rounded(line, key, value[i]);
    }
    snprintf(key, sizeof key, "%s_zeros", prefix);
    json_int(line, key, s->zeros);
    snprintf(key, sizeof key, "%s_nonfinite", prefix);
    json_int(line, key, s->nonfinite);
    json_int(line, "count", s->count);
}

void stats_log_flow(training *run, const hk_flow_record *record, double epoch) {
    json line;
    if (!runlog_begin(run, &line)) return;
    json_begin(&line, "flow");
    json_int(&line, "step", record->step);
    json_rounded(&line, "epoch", epoch);
    json_begin(&line, "parameters");
    for (int i = 0; i < record->n_parameters; i++) {
        const hk_flow_parameter *p = &record->parameters[i];
        json_begin(&line, p->name);
        log_stats(&line, "grad", &p->grad);
        json_rounded(&line, "weight_l2", p->weight_l2);
        json_rounded(&line, "update_ratio", p->update_ratio);
        json_rounded(&line, "one_sign", p->one_sign);
        json_end(&line);
    }
    json_end(&line);
    json_begin(&line, "layers");
    for (int i = 0; i < record->n_layers; i++) {
        const hk_flow_layer *l = &record->layers[i];
        json_begin(&line, l->name);
        json_text(&line, "kind", l->kind);
        log_stats(&line, "out", &l->out);
        json_rounded(&line, "grad_l2", l->grad_l2);
        json_rounded(&line, "ratio", l->ratio);
        json_rounded(&line, "one_sign_sample", l->one_sign_sample);
        json_end(&line);
    }
    json_end(&line);
    json_end(&line);
    runlog_end(run, &line);
}

/* What is not defined is -1 in the library. */
static void log_count(json *line, const char *key, int64_t count) {
    if (count < 0)
        json_number(line, key, NAN);
    else
        json_int(line, key, count);
}

static void log_layer(json *line, const hk_units_layer *u) {
    const struct {
        const char *key;
        int64_t count;
    } counts[] = {
        {"units", u->units},
        {"positions", u->positions},
        {"dead", u->dead},
        {"zero", u->zero},
        {"constant", u->constant},
        {"saturated_left", u->saturated_left},
        {"saturated_right", u->saturated_right},
        {"dormant", u->dormant},
        {"dormant_mean_free", u->dormant_mean_free},
        {"dead_by_bias", u->dead_by_bias},
        {"dead_positions", u->dead_positions},
        {"died", u->died},
        {"revived", u->revived},
        {"quiet", u->quiet},
    };
    json_begin(line, u->name);
    json_text(line, "activation", u->activation);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        log_count(line, counts[i].key, counts[i].count);
    json_rounded(line, "zero_share", u->zero_share);
    json_end(line);
}

void stats_log_units(training *run, int64_t epoch) {
    const stats *s = run->stats;
    json line;
    if (!runlog_begin(run, &line)) return;
    json_begin(&line, "units");
    json_int(&line, "epoch", epoch);
    json_int(&line, "images", s->images);
    json_begin(&line, "layers");
    for (int i = 0; i < hk_units_count(s->units); i++)
        log_layer(&line, hk_units_layer_at(s->units, i));
    json_end(&line);
    json_end(&line);
    runlog_end(run, &line);
}
