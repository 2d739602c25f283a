/* test_bits.c: training gives the same bits twice, on any number of threads, with evaluation
   in between.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include <time.h>

#include "net_fixture.h"

typedef struct outcome {
    uint64_t weights, losses,
        items;       /* fingerprints: of the end, of every step, of who was in a batch */
    uint64_t shares; /* of work that another thread than the caller really ran */
} outcome;

static uint64_t stir(uint64_t hash, const void *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001B3u;
    return hash;
}

/* A pass without gradients over another batch size, as between epochs. */
static void evaluate(hk_context *ctx, hk_module *net, hk_loader *loader) {
    hk_batch batch;
    hk_module_train(net, false);
    hk_grad_enable(ctx, false);
    while (hk_loader_next(loader, &batch)) {
        assert_non_null(hk_argmax(hk_forward(net, batch.x), 1, false));
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    hk_grad_enable(ctx, true);
    hk_module_train(net, true);
}

/* Trains as the recipe says; `evaluate_every` 0: never. */
static outcome train(const recipe *r, int evaluate_every) {
    hk_context *ctx = recipe_context(r);
    hk_dataset *ds = patterns(ctx, r->items, HK_SHAPE(r->in), r->classes);
    hk_loader *loader =
        hk_loader_create(ds, &(hk_loader_config){.batch = r->batch, .shuffle = true});
    hk_loader *test = hk_loader_create(ds, &(hk_loader_config){.batch = r->batch + 5});
    hk_module *net = recipe_net(ctx, r);
    hk_parameters params = hk_module_parameters(net);
    hk_optimizer *opt = hk_optimizer_by_name(ctx, r->optimizer, params, -1, 0.01);
    assert_int_equal(hk_optimizer_clip_norm(opt, 0.7), HK_OK);
    assert_ok(ctx);
    outcome o = {.losses = 1, .items = 1};
    hk_batch batch;
    const uint64_t before = hk__pool_worker_shares(ctx->pool);
    for (int step = 0; step < r->steps;) {
        if (!hk_loader_next(loader, &batch)) continue; /* the next epoch */
        o.items = stir(o.items, batch.items, (size_t)batch.size * sizeof *batch.items);
        const double loss = train_step(ctx, net, opt, &batch);
        assert_ok(ctx);
        o.losses = stir(o.losses, &loss, sizeof loss);
        if (evaluate_every > 0 && ++step % evaluate_every == 0)
            evaluate(ctx, net, test);
        else if (evaluate_every == 0)
            step++;
    }
    o.shares = hk__pool_worker_shares(ctx->pool) - before;
    o.weights = fingerprint(params);
    hk_context_destroy(ctx);
    return o;
}

/* Both sides of every threshold: nothing to share; some products; products, updates and batches. */
static const struct {
    recipe r;
    bool shared; /* whether two threads have something to do together */
} nets[] = {
    {{.in = 4,
      .hidden = {3},
      .classes = 2,
      .optimizer = "adam",
      .items = 10,
      .batch = 3,
      .steps = 9},
     false},
    {{.in = 1, .classes = 2, .optimizer = "sgd", .items = 7, .batch = 1, .steps = 9}, false},
    {{.in = 97,
      .hidden = {61, 33},
      .classes = 7,
      .optimizer = "rmsprop",
      .items = 100,
      .batch = 37,
      .steps = 7},
     true},
    {{.in = 784,
      .hidden = {128},
      .classes = 10,
      .optimizer = "adam",
      .items = 200,
      .batch = 64,
      .steps = 9},
     true},
    {{.in = 784,
      .hidden = {128},
      .classes = 10,
      .optimizer = "momentum",
      .items = 200,
      .batch = 64,
      .steps = 5,
      .p = 0.3,
      .activation = "prelu:per=channel"},
     true},
    {{.in = 784,
      .hidden = {512, 256},
      .classes = 10,
      .optimizer = "sgd",
      .items = 300,
      .batch = 128,
      .steps = 4,
      .activation = "tanh"},
     true},
    {{.in = 300,
      .hidden = {1023, 65},
      .classes = 3,
      .optimizer = "adamw",
      .items = 131,
      .batch = 130,
      .steps = 4,
      .activation = "sigmoid"},
     true},
};
enum { NETS = sizeof nets / sizeof *nets };

/* Those behind them are too slow for an emulated GPU, and go no other way there. */
static size_t count_nets(void) { return on_emulator() ? 3 : NETS; }

static void assert_same(size_t net, const char *what, outcome a, outcome b) {
    if (a.weights == b.weights && a.losses == b.losses && a.items == b.items) return;
    fail_msg("net %zu, %s: %s", net, what,
             a.items != b.items     ? "other items"
             : a.losses != b.losses ? "other losses"
                                    : "other weights in the end");
}

/* Trains on several threads, and makes sure that more than one really ran (on a busy machine one may
   do all before the others wake), or that there was nothing to share, as always on a GPU. */
static outcome train_shared(size_t net, const recipe *r, bool shared) {
    shared = shared && !on_gpu();
    outcome o = train(r, 0);
    for (int attempt = 1; shared && o.shares == 0 && attempt < 1000; attempt++) {
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL); /* others may get done */
        const outcome again = train(r, 0);
        assert_same(net, "again on threads", o, again);
        o = again;
    }
    assert_true(shared == (o.shares > 0));
    return o;
}

static void twice_and_on_threads(void **state) {
    (void)state;
    for (size_t i = 0; i < count_nets(); i++) {
        recipe r = nets[i].r;
        r.threads = 1;
        const outcome one = train(&r, 0);
        assert_same(i, "again", one, train(&r, 0));
        assert_int_equal(one.shares, 0);
        for (r.threads = 2; r.threads <= 3; r.threads++) {
            const outcome more = train_shared(i, &r, nets[i].shared);
            assert_same(i, r.threads == 2 ? "two threads" : "three threads", one, more);
        }
        recipe other = nets[i].r;
        other.threads = 1;
        other.seed = 1;
        assert_true(train(&other, 0).weights != one.weights); /* and the fingerprint tells */
    }
}

static void on_every_instruction_set(void **state) {
    (void)state;
    static const char *const isas[] = {"base", "avx2", "avx512"};
    for (int k = 0; k < (on_gpu() ? 1 : 3); k++)
        for (size_t i = 2; i < count_nets(); i += 2) {
            recipe r = nets[i].r;
            r.isa = isas[k];
            r.no_blas = true;
            r.threads = 1;
            hk_context *ctx = recipe_context(&r);
            const bool have = hk_error(ctx) == HK_OK;
            hk_context_destroy(ctx);
            if (!have) continue;
            const outcome one = train(&r, 0);
            r.threads = 2;
            assert_same(i, isas[k], one, train_shared(i, &r, true));
        }
}

static void evaluation_in_between(void **state) {
    (void)state;
    for (size_t i = 0; i < count_nets(); i++) {
        recipe r = nets[i].r;
        r.threads = 2;
        r.p = 0.3; /* the next masks must not know that there was an evaluation */
        const outcome plain = train(&r, 0);
        assert_same(i, "evaluated after every step", plain, train(&r, 1));
        assert_same(i, "evaluated after every third", plain, train(&r, 3));
    }
}

static void dropout_and_the_shuffle(void **state) {
    (void)state;
    recipe r = nets[on_emulator() ? 2 : 3].r;
    const outcome without = train(&r, 0);
    r.p = 0.5;
    const outcome with = train(&r, 0);
    assert_true(with.items == without.items);
    assert_true(with.weights != without.weights);
    r.hidden[1] = 20; /* nor does another layer */
    assert_true(train(&r, 0).items == without.items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twice_and_on_threads),
        cmocka_unit_test(on_every_instruction_set),
        cmocka_unit_test(evaluation_in_between),
        cmocka_unit_test(dropout_and_the_shuffle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
