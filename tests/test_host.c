/* test_host.c: hillock as a guest: what a context cannot do, two contexts at once, and a host
   that finds its environment and floating-point mode as it left them.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 */
#include "net_fixture.h"

#include <float.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static const recipe small_run = {.in = 784,
                                 .hidden = {128},
                                 .classes = 10,
                                 .items = 200,
                                 .batch = 64,
                                 .optimizer = "adam",
                                 .p = 0.2,
                                 .threads = 2};

/* Trains and returns the fingerprint of the end, 0 after an error. Other threads call it, and
   cmocka must not be used there. */
static uint64_t train(const recipe *r, int steps) {
    const hk_context_config config = {.threads = r->threads, .seed = r->seed};
    hk_context *ctx = hk_context_create(&config);
    hk_dataset *ds =
        hk_error(ctx) == HK_OK ? patterns(ctx, r->items, HK_SHAPE(r->in), r->classes) : NULL;
    hk_loader *loader =
        hk_loader_create(ds, &(hk_loader_config){.batch = r->batch, .shuffle = true});
    hk_module *net = recipe_net(ctx, r);
    hk_parameters params = hk_module_parameters(net);
    hk_optimizer *opt = hk_optimizer_by_name(ctx, r->optimizer, params, -1, -1);
    hk_batch batch;
    while (steps > 0 && hk_error(ctx) == HK_OK)
        if (hk_loader_next(loader, &batch)) {
            train_step(ctx, net, opt, &batch);
            steps--;
        }
    const uint64_t print = hk_error(ctx) == HK_OK ? fingerprint(params) : 0;
    hk_context_destroy(ctx);
    return print;
}

/* --- contexts that cannot be had ------------------------------------------------------------ */

static void refused(const hk_context_config *config, hk_status status, const char *message) {
    hk_context *ctx = hk_context_create(config);
    assert_non_null(ctx);
    /* Everything done with it does nothing, and says nothing new. */
    assert_null(hk_linear(ctx, 2, 2));
    assert_null(hk_tensor_new(ctx, HK_F32, HK_SHAPE(2)));
    assert_null(hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 2, 2)));
    assert_null(hk_adam(ctx, hk_module_parameters(NULL), hk_adam_defaults()));
    assert_null(hk_mnist(ctx, "nowhere", "train", 0));
    assert_int_equal(hk_backward(ctx, NULL), status);
    assert_int_equal(hk_step_end(ctx), status);
    expect_error(ctx, status, message);
    hk_context_destroy(ctx);
}

static void refused_contexts(void **state) {
    (void)state;
    refused(&(hk_context_config){.device = HK_CUDA}, HK_ERR_DEVICE, "no CUDA in this build");
    refused(&(hk_context_config){.isa = "avx9"}, HK_ERR_NAME,
            "unknown instruction set 'avx9'; there are: base, avx2, avx512");
    refused(&(hk_context_config){.threads = 65}, HK_ERR_ARGUMENT,
            "threads must be from 1 to 64, not 65");
    refused(&(hk_context_config){.threads = -1}, HK_ERR_ARGUMENT, "not -1");
    refused(&(hk_context_config){.dtype = HK_U8}, HK_ERR_DTYPE, "f32 or f64, not u8");
    setenv("HILLOCK_ISA", "sse9", 1);
    refused(NULL, HK_ERR_NAME, "unknown instruction set 'sse9'");
    setenv("HILLOCK_ISA", "base", 1);
    hk_context *ctx = hk_context_create(NULL);
    assert_string_equal(hk_context_describe(ctx).isa, "base");
    hk_context_destroy(ctx);
    unsetenv("HILLOCK_ISA");
    assert_int_equal(hk_error(NULL), HK_ERR_MEMORY);
    hk_context_destroy(NULL);
}

/* --- two contexts in two threads ------------------------------------------------------------ */

typedef struct job {
    recipe r;
    uint64_t print;
} job;

static void *run_job(void *arg) {
    job *j = arg;
    j->print = train(&j->r, 30);
    return NULL;
}

static void two_at_once(void **state) {
    (void)state;
    job alone[2] = {{.r = small_run}, {.r = small_run}}, together[2];
    alone[1].r.seed = 5;
    alone[1].r.hidden[1] = 40;
    for (int i = 0; i < 2; i++) {
        run_job(&alone[i]);
        assert_true(alone[i].print != 0);
        together[i] = (job){.r = alone[i].r};
    }
    assert_true(alone[0].print != alone[1].print);
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run_job, &together[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++) assert_true(together[i].print == alone[i].print);
}

/* --- the environment ------------------------------------------------------------------------ */

static const char *const variables[] = {"OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS"};

static bool variable_is(int i, const char *value) {
    const char *now = getenv(variables[i]);
    return value ? now && strcmp(now, value) == 0 : !now;
}

/* In a process of its own, as OpenBLAS is opened once in each: 0 if both variables come out as
   they went in. */
static int environment_after_training(const char *core, const char *threads) {
    const char *const values[] = {core, threads};
    for (int i = 0; i < 2; i++) {
        if (values[i])
            setenv(variables[i], values[i], 1);
        else
            unsetenv(variables[i]);
    }
    if (train(&small_run, 3) == 0) return 2;
    return variable_is(0, core) && variable_is(1, threads) ? 0 : 1;
}

static void environment(void **state) {
    (void)state;
    static const struct {
        const char *core, *threads;
    } rows[] = {{NULL, NULL}, {"Haswell", NULL}, {NULL, "1"}, {"Haswell", "2"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) _exit(environment_after_training(rows[i].core, rows[i].threads));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* --- the floating-point mode ---------------------------------------------------------------- */

#if defined(__x86_64__)
enum { FLAGS = 0x3f, FLUSH = 0x8040 }; /* flags tell what happened, they are no mode */
static unsigned mode(void) { return _mm_getcsr() & ~(unsigned)FLAGS; }
static void set_mode(unsigned bits) { _mm_setcsr(bits); }
#else
enum { FLUSH = 0 };
static unsigned mode(void) { return 0; }
static void set_mode(unsigned bits) { (void)bits; }
#endif

static bool keeps_denormals(void) {
    volatile float small = FLT_MIN;
    volatile float half = small / 2;
    return half > 0;
}

static void floating_point_mode(void **state) {
    (void)state;
    const unsigned before = mode();
    assert_true(keeps_denormals());
    assert_true(train(&small_run, 5) != 0);
    assert_int_equal(mode(), before);
    assert_true(keeps_denormals());
    if (FLUSH) { /* and a host that flushes goes on flushing */
        set_mode(before | FLUSH);
        assert_true(train(&small_run, 5) != 0);
        const bool still = mode() == (before | FLUSH) && !keeps_denormals();
        set_mode(before);
        assert_true(still);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment), /* forks: before there are threads */
        cmocka_unit_test(refused_contexts),
        cmocka_unit_test(two_at_once),
        cmocka_unit_test(floating_point_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
