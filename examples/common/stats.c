/* stats.c: records gradients, updates and units while a network trains.
   SPDX-License-Identifier: MIT */
#include "stats.h"

#include "out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Probe images at a time: what a layer makes of them stays in the caches. */
enum { PROBE_BATCH = 50, WARM_UP = 3, PLAIN_LEAST = 10 };

/* --- gradients and updates -------------------------------------------------------------------- */

static const hk_flow_parameter *find_parameter(const hk_flow_record *r, const char *name) {
    for (int i = 0; i < r->n_parameters; i++)
        if (strcmp(r->parameters[i].name, name) == 0) return &r->parameters[i];
    return NULL;
}

static const hk_flow_layer *find_layer(const hk_flow_record *r, const char *name) {
    for (int i = 0; name && i < r->n_layers; i++)
        if (strcmp(r->layers[i].name, name) == 0) return &r->layers[i];
    return NULL;
}

/* Takes one more number into a mean. */
static void average(double *mean, int64_t *n, double value) {
    if (!isfinite(value)) return;
    *mean = *n == 0 ? value : *mean + (value - *mean) / (double)(*n + 1);
    ++*n;
}

/* hk_flow_report: a step is complete. */
static void take_record(const hk_flow_record *record, void *arg) {
    training *run = arg;
    stats *s = run->stats;
    const int n = s->rows.count;
    double *gradient = s->scratch, *update = s->scratch + n;
    for (int i = 0; i < n; i++) {
        const net_row *row = &s->rows.item[i];
        const hk_flow_parameter *p =
            row->weight ? find_parameter(record, hk_tensor_name(row->weight)) : NULL;
        const hk_flow_layer *layer =
            find_layer(record, row->activation ? row->activation : row->path);
        stats_row *now = &s->now[i];
        gradient[i] = p ? p->grad.l2 : NAN;
        update[i] = p ? p->update_ratio : NAN;
        average(&now->gradient, &now->records, gradient[i]);
        average(&now->update, &now->updates, update[i]);
        if (layer && !row->activation) {
            now->mean = layer->out.mean;
            now->deviation = layer->out.std;
        }
    }
    const double epoch = (double)(record->step - 1) / (double)s->per_epoch;
    stats_log_flow(run, record, epoch);
    out_step(run, epoch, gradient, update);
}

/* --- units ------------------------------------------------------------------------------------ */

/* Mean and deviation of all values of a layer, from those of its units. */
static void pool_units(const hk_units *units, int layer, int64_t n, stats_row *now) {
    double mean = 0, square = 0;
    for (int64_t k = 0; k < n; k++) {
        const hk_unit *u = hk_units_at(units, layer, k);
        mean += u->mean / (double)n;
        square += (u->std * u->std + u->mean * u->mean) / (double)n;
    }
    now->mean = mean;
    now->deviation = sqrt(fmax(square - mean * mean, 0));
}

static void take_units(stats *s, int layer) {
    const hk_units_layer *u = hk_units_layer_at(s->units, layer);
    for (int i = 0; u && i < s->rows.count; i++) {
        stats_row *now = &s->now[i];
        if (!s->rows.item[i].activation || strcmp(s->rows.item[i].activation, u->name) != 0)
            continue;
        now->units = s->rows.item[i].units = u->units;
        now->dead = u->dead;
        now->zero = u->zero;
        now->saturated = u->saturated;
        now->dormant = u->dormant;
        now->died = u->died;
        now->revived = u->revived;
        pool_units(s->units, layer, u->units, now);
    }
}

static double percent(int64_t part, int64_t whole) {
    return part < 0 || whole <= 0 ? NAN : 100.0 * (double)part / (double)whole;
}

/* What hk_units_add does where there are no units. */
static bool pass(training *run, hk_tensor *x) {
    const bool was_training = hk_module_train(run->net, false);
    const bool was_recording = hk_grad_enable(run->ctx, false);
    const bool done = hk_forward(run->net, x) != NULL;
    hk_grad_enable(run->ctx, was_recording);
    hk_module_train(run->net, was_training);
    return done;
}

/* Runs the probe images through the network. */
static void probe(training *run, int64_t epoch) {
    stats *s = run->stats;
    hk_batch batch;
    s->images = 0;
    out_watch_probe(run, true, epoch == 0);
    while (s->images < STATS_PROBE && hk_loader_next(s->probe, &batch)) {
        s->images += batch.size;
        if (s->units ? hk_units_add(s->units, batch.x) != HK_OK : !pass(run, batch.x)) break;
        if (hk_step_end(run->ctx)) break;
    }
    hk_loader_rewind(s->probe);
    out_watch_probe(run, false, epoch == 0);
    if (!s->units || hk_error(run->ctx) != HK_OK || hk_units_end(s->units)) return;
    const int n = s->rows.count;
    double *dead = s->scratch, *saturated = dead + n, *dormant = saturated + n;
    for (int i = 0; i < hk_units_count(s->units); i++) take_units(s, i);
    for (int i = 0; i < n; i++) {
        dead[i] = percent(s->now[i].dead, s->now[i].units);
        saturated[i] = percent(s->now[i].saturated, s->now[i].units);
        dormant[i] = percent(s->now[i].dormant, s->now[i].units);
    }
    stats_log_units(run, epoch);
    out_units(run, (double)epoch, dead, saturated, dormant);
}

/* --- begin ------------------------------------------------------------------------------------ */

static void forget_epoch(stats *s) {
    for (int i = 0; i < s->rows.count; i++) {
        s->now[i] = (stats_row){.gradient = NAN, .update = NAN, .mean = NAN, .deviation = NAN};
        s->now[i].units = s->now[i].dead = s->now[i].zero = s->now[i].saturated = -1;
        s->now[i].dormant = s->now[i].died = s->now[i].revived = -1;
    }
}

static bool has_activation(const net_rows *r) {
    for (int i = 0; i < r->count; i++)
        if (r->item[i].activation) return true;
    return false;
}

static bool allocate(training *run, stats *s) {
    if (!rows_open(&s->rows, run->net, run->activations)) return false;
    s->now = calloc((size_t)s->rows.count + 1, sizeof *s->now);
    s->scratch = calloc((size_t)s->rows.count * 3 + 1, sizeof *s->scratch);
    if (!s->now || !s->scratch)
        hk_fail(run->ctx, HK_ERR_MEMORY, "stats", "no memory for %d layers", s->rows.count);
    return s->now && s->scratch;
}

void stats_open(training *run) {
    if (!run->set->stats && !run->set->out) return;
    const double began = clock_seconds();
    stats *s = run->stats = calloc(1, sizeof *s);
    if (!s) {
        hk_fail(run->ctx, HK_ERR_MEMORY, "stats", "no memory");
        return;
    }
    if (!allocate(run, s)) return;
    out_open(run, &s->rows);
    forget_epoch(s);
    s->per_epoch = hk_loader_batches(run->fit);
    /* The last step of an epoch comes on top of these, or is one of them: 20 in either case. */
    s->every = (s->per_epoch - 1) / (STATS_RECORDS - 1);
    if (s->every < 1) s->every = 1;
    s->probe = hk_loader_create(run->fit_data, &(hk_loader_config){.batch = PROBE_BATCH});
    if (has_activation(&s->rows)) s->units = hk_units_create(run->net, NULL);
    if (hk_error(run->ctx) == HK_OK) probe(run, 0);
    s->flow = hk_flow_create(
        run->net, &(hk_flow_config){.every = s->every, .report = take_record, .arg = run});
    s->spent = clock_seconds() - began;
}

void stats_close(training *run) {
    stats *s = run->stats;
    if (!s) return;
    rows_close(&s->rows);
    free(s->now);
    free(s->scratch);
    free(s);
    run->stats = NULL;
}

/* --- steps and epochs ------------------------------------------------------------------------- */

void stats_step_begin(training *run, bool last) {
    stats *s = run->stats;
    if (!s) return;
    s->step_began = clock_seconds();
    if (s->epoch_over) forget_epoch(s);
    s->epoch_over = false;
    const bool completes = s->recorded; /* a record is completed in the step after its own */
    s->recorded = s->step % s->every == 0 || last;
    s->looks = s->recorded || completes;
    if (last) hk_flow_now(s->flow);
    if (s->step == 0 || last) out_watch_step(run, true, s->step == 0);
    s->step++;
}

/* Steps that are looked at cost more than the others: that is what the recording takes. */
void stats_step_end(training *run) {
    stats *s = run->stats;
    if (!s) return;
    out_watch_step(run, false, false);
    (void)!hk_context_wait(run->ctx); /* an error is seen by the next step */
    const double seconds = clock_seconds() - s->step_began;
    if (s->looks) s->all_looked++;
    if (s->step <= WARM_UP) return;
    *(s->looks ? &s->looked : &s->plain) += seconds;
    ++*(s->looks ? &s->n_looked : &s->n_plain);
}

void stats_epoch(training *run) {
    stats *s = run->stats;
    if (!s || hk_error(run->ctx) != HK_OK) return;
    const double began = clock_seconds();
    hk_flow_finish(s->flow);
    s->recorded = false;
    probe(run, run->last.epoch);
    s->spent += clock_seconds() - began;
    if (run->set->stats && !run->set->quiet && hk_error(run->ctx) == HK_OK) stats_print(run);
    s->epoch_over = true;
}

double stats_seconds(const training *run, double *share) {
    const stats *s = run->stats;
    double took = NAN;
    *share = NAN;
    if (s->n_plain >= PLAIN_LEAST && s->n_looked > 0) {
        const double more = s->looked / (double)s->n_looked - s->plain / (double)s->n_plain;
        took = s->spent + fmax(more, 0) * (double)s->all_looked;
        *share = took / (run->trained + s->spent - took);
    }
    return took;
}

void stats_report(const training *run) {
    double share;
    if (!run->stats) return;
    const double took = stats_seconds(run, &share);
    if (isfinite(took))
        printf("statistics took %.2f s, %.1f %% on top of %.2f s of training\n", took, 100 * share,
               took / share);
    else
        printf("statistics: every step was recorded, so what they took cannot be told apart\n");
}
