/* test_optim.c: the update rules against a scalar reference, on every instruction set and any
   threads, in groups and with clipping.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include "optim_fixture.h"

/* --- a second implementation of the rules, one number at a time, in double -------------------- */

typedef struct rule {
    const char *text;
    enum { SGD, ADAM, ADAMW, RMSPROP } kind;
    double lr, momentum, dampening, decay;
    bool nesterov;
    double beta1, beta2, alpha, eps;
} rule;

static const rule rules[] = {
    {.text = "sgd", .kind = SGD, .lr = 0.1},
    {.text = "sgd, decay", .kind = SGD, .lr = 0.1, .decay = 0.01},
    {.text = "momentum", .kind = SGD, .lr = 0.1, .momentum = 0.9},
    {.text = "momentum, decay", .kind = SGD, .lr = 0.1, .momentum = 0.9, .decay = 0.01},
    {.text = "dampening", .kind = SGD, .lr = 0.1, .momentum = 0.8, .dampening = 0.3},
    {.text = "nesterov", .kind = SGD, .lr = 0.05, .momentum = 0.9, .nesterov = true, .decay = 0.02},
    {.text = "adam", .kind = ADAM, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    {.text = "adam, decay",
     .kind = ADAM,
     .lr = 0.01,
     .beta1 = 0.8,
     .beta2 = 0.95,
     .eps = 1e-6,
     .decay = 0.05},
    {.text = "adam, no first moment", .kind = ADAM, .lr = 0.01, .beta2 = 0.99, .eps = 1e-8},
    {.text = "adamw",
     .kind = ADAMW,
     .lr = 0.01,
     .beta1 = 0.9,
     .beta2 = 0.999,
     .eps = 1e-8,
     .decay = 0.1},
    {.text = "rmsprop", .kind = RMSPROP, .lr = 0.01, .alpha = 0.99, .eps = 1e-8},
    {.text = "rmsprop, decay",
     .kind = RMSPROP,
     .lr = 0.01,
     .alpha = 0.9,
     .eps = 1e-7,
     .decay = 0.1},
    {.text = "rmsprop, momentum",
     .kind = RMSPROP,
     .lr = 0.001,
     .alpha = 0.99,
     .eps = 1e-8,
     .momentum = 0.9},
};
enum { RULES = sizeof rules / sizeof *rules, STEPS = 10 };

/* One weight: its state, and how far it has moved, which is what errors are measured by. */
typedef struct cell {
    double w, m, v, path;
} cell;

static void reference(const rule *r, double lr, double decay, double g, int t, cell *c) {
    const double before = c->w;
    double w = c->w;
    if (r->kind == ADAMW)
        w *= 1 - lr * decay;
    else
        g += decay * w;
    switch (r->kind) {
    case SGD:
        c->m = t == 1 ? g : r->momentum * c->m + (1 - r->dampening) * g;
        if (r->momentum == 0)
            w -= lr * g;
        else
            w -= lr * (r->nesterov ? g + r->momentum * c->m : c->m);
        break;
    case ADAM:
    case ADAMW: {
        c->m += (1 - r->beta1) * (g - c->m);
        c->v = r->beta2 * c->v + (1 - r->beta2) * g * g;
        const double first = c->m / (1 - pow(r->beta1, t));
        const double second = c->v / (1 - pow(r->beta2, t));
        w -= lr * first / (sqrt(second) + r->eps);
        break;
    }
    case RMSPROP: {
        c->v = r->alpha * c->v + (1 - r->alpha) * g * g;
        const double step = g / (sqrt(c->v) + r->eps);
        c->m = r->momentum * c->m + step;
        w -= lr * c->m;
        break;
    }
    }
    c->w = w;
    c->path += fabs(w - before) + fabs(lr * decay * before);
}

static hk_optimizer *make(const rule *r, const net *t) {
    hk_sgd_config sgd = hk_sgd_defaults();
    hk_adam_config adam = {r->lr, r->beta1, r->beta2, r->eps, r->decay};
    hk_rmsprop_config rms = {.lr = r->lr,
                             .alpha = r->alpha,
                             .eps = r->eps,
                             .weight_decay = r->decay,
                             .momentum = r->momentum};
    hk_optimizer *opt = NULL;
    sgd.lr = r->lr;
    sgd.momentum = r->momentum;
    sgd.dampening = r->dampening;
    sgd.weight_decay = r->decay;
    sgd.nesterov = r->nesterov;
    if (r->kind == SGD) opt = hk_sgd(t->ctx, t->params, sgd);
    if (r->kind == ADAM) opt = hk_adam(t->ctx, t->params, adam);
    if (r->kind == ADAMW) opt = hk_adamw(t->ctx, t->params, adam);
    if (r->kind == RMSPROP) opt = hk_rmsprop(t->ctx, t->params, rms);
    if (!opt) print_message("%s: %s\n", r->text, hk_error_message(t->ctx));
    assert_non_null(opt);
    return opt;
}

static cell *cells_of(const net *t, int64_t *count) {
    double *w = snapshot(t, count);
    cell *cells = calloc((size_t)*count, sizeof *cells);
    assert_non_null(cells);
    for (int64_t i = 0; i < *count; i++) cells[i].w = w[i];
    free(w);
    return cells;
}

/* How gradients reach the rule: the settings of a parameter, and clipping. */
typedef struct setting {
    double factor, decay; /* of odd parameters, if groups */
    bool groups;
    double max_norm, max_value;
} setting;

static double clipped(const setting *s, double norm, double g) {
    if (s->max_norm > 0 && norm > s->max_norm) g *= s->max_norm / (norm + 1e-6);
    if (s->max_value > 0) g = fmin(fmax(g, -s->max_value), s->max_value);
    return g;
}

static void reference_step(const rule *r, const setting *s, const net *t, int step, cell *cells) {
    double squares = 0, *gradient[MAX_PARAMS];
    for (int i = 0; i < t->params.count; i++) {
        gradient[i] = malloc((size_t)(count_of(t->p[i]) + 1) * sizeof **gradient);
        assert_non_null(gradient[i]);
        get_all(t->p[i]->grad, gradient[i]);
        for (int64_t k = 0; k < count_of(t->p[i]); k++) squares += pow(gradient[i][k], 2);
    }
    const double norm = sqrt(squares);
    int64_t at = 0;
    for (int i = 0; i < t->params.count; i++) {
        const bool second = s->groups && i % 2 == 1;
        const double lr = second ? r->lr * s->factor : r->lr;
        const double decay = second ? s->decay : r->decay;
        for (int64_t k = 0; k < count_of(t->p[i]); k++) {
            const double g = clipped(s, norm, gradient[i][k]);
            reference(r, lr, decay, g, step, &cells[at++]);
        }
        free(gradient[i]);
    }
}

/* The largest error, relative to weight and path. */
static double worst_error(const net *t, const cell *cells) {
    int64_t count;
    double worst = 0, *w = snapshot(t, &count);
    for (int64_t at = 0; at < count && !isnan(worst); at++) {
        const double error = fabs(w[at] - cells[at].w);
        const double scale = fabs(cells[at].w) + cells[at].path;
        const double relative = error == 0 ? 0 : error / scale;
        worst = isnan(relative) ? relative : fmax(worst, relative);
    }
    free(w);
    return worst;
}

static void apply(const setting *s, const net *t, hk_optimizer *opt) {
    hk_tensor *odd[MAX_PARAMS];
    int n = 0;
    for (int i = 1; i < t->params.count; i += 2) odd[n++] = t->p[i];
    if (s->groups)
        assert_int_equal(hk_optimizer_group(opt, (hk_parameters){n, odd}, s->factor, s->decay),
                         HK_OK);
    assert_int_equal(hk_optimizer_clip_norm(opt, s->max_norm), HK_OK);
    assert_int_equal(hk_optimizer_clip_value(opt, s->max_value), HK_OK);
}

static void check_rule(const rule *r, const setting *s, net *t, double tolerance) {
    hk_optimizer *opt = make(r, t);
    int64_t count;
    cell *cells = cells_of(t, &count);
    apply(s, t, opt);
    for (int step = 1; step <= STEPS; step++) {
        new_gradients(t, (uint64_t)step);
        reference_step(r, s, t, step, cells);
        char *before = bytes_at(t, t->g);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        assert_true(has_bytes(t, t->g, before));
        free(before);
    }
    const double worst = worst_error(t, cells);
    if (!(worst <= tolerance)) print_message("%s: error %g\n", r->text, worst);
    assert_true(worst <= tolerance);
    check_gaps(t, t->w);
    check_gaps(t, t->g);
    for (int k = 0; k < opt->cls.n_state; k++)
        check_gaps(t, opt->state + k * opt->lines * HK_ALIGN);
    free(cells);
}

static const char *const isas[] = {"base", "avx2", "avx512"};
static const int64_t sizes[] = {1, 3, 16, 17, 1000, 257};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void check_all_rules(const setting *s) {
    int ran = 0;
    for (int d = HK_F32; d <= HK_F64; d++)
        for (size_t isa = 0; isa < (on_gpu() ? 1 : sizeof isas / sizeof *isas); isa++)
            for (int r = 0; r < RULES; r++) {
                hk_context *ctx = context_of(2, (hk_dtype)d, isas[isa]);
                if (hk_error(ctx) == HK_OK) { /* else this machine does not have it */
                    net t;
                    net_make(&t, ctx, (hk_dtype)d, true, SIZES, sizes);
                    check_rule(&rules[r], s, &t, d == HK_F64 ? 1e-14 : 1e-6);
                    net_free(&t);
                    ran++;
                }
                hk_context_destroy(ctx);
            }
    assert_true(ran >= 2 * RULES);
}

static void rules_match_the_reference(void **state) {
    (void)state;
    check_all_rules(&(setting){0});
}

static void groups_match_the_reference(void **state) {
    (void)state;
    check_all_rules(&(setting){.groups = true, .factor = 0.25, .decay = 0.03});
}

static void clipping_matches_the_reference(void **state) {
    (void)state;
    check_all_rules(&(setting){.max_norm = 0.7});
    check_all_rules(&(setting){.max_norm = 1e9}); /* never reached */
    check_all_rules(&(setting){.max_value = 0.05});
    check_all_rules(&(setting){.max_norm = 1e9, .max_value = 0.05});
    check_all_rules(
        &(setting){.max_norm = 40, .max_value = 0.5, .groups = true, .factor = 2, .decay = 0});
}

/* --- bits ------------------------------------------------------------------------------------- */

typedef struct way {
    int threads;
    bool flat;
    const char *isa;
} way;

/* The weights after three steps; NULL if this machine cannot go that way. */
static double *train(const rule *r, const way *how, const int64_t *n, int64_t *count, bool *cut) {
    hk_context *ctx = context_of(how->threads, HK_F32, how->isa);
    if (hk_error(ctx) != HK_OK) {
        hk_context_destroy(ctx);
        return NULL;
    }
    net t;
    net_make(&t, ctx, HK_F32, how->flat, 3, n);
    hk_optimizer *opt = make(r, &t);
    *cut = opt->shared;
    assert_int_equal(opt->n_segments, how->flat ? 1 : 3);
    for (uint64_t step = 1; step <= 3; step++) {
        new_gradients(&t, step);
        const uint64_t before = hk__pool_parallel_regions(ctx->pool);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        assert_int_equal(hk__pool_parallel_regions(ctx->pool) - before,
                         *cut && how->threads > 1 && !on_gpu());
    }
    double *w = snapshot(&t, count);
    net_free(&t);
    hk_context_destroy(ctx);
    return w;
}

static void same_bits(const rule *r, const int64_t *n, bool large) {
    static const way ways[] = {
        {1, true, "base"},  {2, true, "base"}, {3, true, "base"},   {1, false, "base"},
        {2, false, "base"}, {2, true, "avx2"}, {1, true, "avx512"},
    };
    double *first = NULL;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int64_t count;
        bool cut;
        double *w = train(r, &ways[i], n, &count, &cut);
        if (!w) continue;
        assert_int_equal(cut, large);
        if (first)
            assert_memory_equal(first, w, (size_t)count * sizeof *w);
        else
            first = w;
        if (w != first) free(w);
    }
    free(first);
}

/* Below and above the size at which an update is cut and dealt to threads. */
static void same_bits_on_any_threads(void **state) {
    (void)state;
    static const int64_t small[] = {5001, 300, 7}, large[] = {30011, 300, 20007};
    for (int r = 0; r < RULES; r++) {
        same_bits(&rules[r], small, false);
        same_bits(&rules[r], large, true);
    }
}

/* Norms are sums, and sums are cut by size alone. */
static void same_bits_when_clipped(void **state) {
    (void)state;
    static const int64_t n[] = {30011, 300, 40007};
    double *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        hk_context *ctx = context_of(threads, HK_F32, NULL);
        net t;
        net_make(&t, ctx, HK_F32, true, 3, n);
        hk_optimizer *opt = make(&rules[6], &t);
        assert_int_equal(hk_optimizer_clip_norm(opt, 0.3), HK_OK);
        for (uint64_t step = 1; step <= 3; step++) {
            new_gradients(&t, step);
            assert_int_equal(hk_optimizer_step(opt), HK_OK);
        }
        int64_t count;
        double *w = snapshot(&t, &count);
        if (first) assert_memory_equal(first, w, (size_t)count * sizeof *w);
        if (first)
            free(w);
        else
            first = w;
        net_free(&t);
        hk_context_destroy(ctx);
    }
    free(first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_match_the_reference),
        cmocka_unit_test(groups_match_the_reference),
        cmocka_unit_test(clipping_matches_the_reference),
        cmocka_unit_test(same_bits_on_any_threads),
        cmocka_unit_test(same_bits_when_clipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
