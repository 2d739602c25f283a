/* test_context.c: creation, what was asked for and cannot be had, errors, owners, two contexts
   at once.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include <pthread.h>

#include "context.h"
#include "cpu.h"

static void defaults(void **state) {
    (void)state;
    hk_context *ctx = hk_context_create(NULL);
    assert_ok(ctx);
    const hk_context_info info = hk_context_describe(ctx);
    assert_int_equal(info.device, HK_CPU);
    assert_int_equal(info.dtype, HK_F32);
    assert_in_range(info.threads, 1, 16);
    assert_int_equal(info.threads, hk__cpu_count() < 16 ? hk__cpu_count() : 16);
    assert_int_equal(info.seed, 0);
    assert_int_equal(info.step, 1);
    assert_int_equal(info.step_bytes, 0);
    assert_true(*info.isa && *info.blas);
    assert_non_null(hk_full(ctx, HK_F32, HK_SHAPE(1000), 1));
    must(hk_step_end(ctx));
    assert_int_equal(hk_context_describe(ctx).step, 2);
    assert_in_range(hk_context_describe(ctx).step_bytes, 4000, 8000);
    hk_context_destroy(ctx);
    hk_context_destroy(NULL);
    assert_string_equal(hk_context_describe(NULL).isa, "");
}

static void what_was_asked_for(void **state) {
    (void)state;
    const hk_context_config config = {
        .dtype = HK_F64, .threads = 3, .seed = 7, .isa = "base", .no_blas = true};
    hk_context *ctx = hk_context_create(&config);
    assert_ok(ctx);
    const hk_context_info info = hk_context_describe(ctx);
    assert_int_equal(info.dtype, HK_F64);
    assert_int_equal(info.threads, 3);
    assert_int_equal(info.seed, 7);
    assert_string_equal(info.isa, "base");
    assert_false(info.has_blas);
    assert_non_null(strstr(info.blas, "as asked for"));
    hk_context_destroy(ctx);
}

/* A context that cannot be as asked says so and does nothing, but is there. */
static void what_cannot_be_had(void **state) {
    (void)state;
    static const struct {
        hk_context_config config;
        hk_status status;
        const char *words[2];
    } cases[] = {
        {{.device = HK_CUDA}, HK_ERR_DEVICE, {"[context]", "CUDA"}},
        {{.dtype = HK_U8}, HK_ERR_DTYPE, {"f32 or f64", "u8"}},
        {{.dtype = (hk_dtype)77}, HK_ERR_DTYPE, {"f32 or f64", "?"}},
        {{.threads = -1}, HK_ERR_ARGUMENT, {"threads", "-1"}},
        {{.threads = 65}, HK_ERR_ARGUMENT, {"threads", "65"}},
        {{.isa = "sse9"}, HK_ERR_NAME, {"'sse9'", "base, avx2, avx512"}},
        {{.isa = "f64"}, HK_ERR_NAME, {"'f64'", "base, avx2, avx512"}},
    };
    for (int64_t k = 0; k < COUNT(cases); k++) {
        hk_context *ctx = hk_context_create(&cases[k].config);
        assert_non_null(ctx);
        assert_int_equal(hk_error(ctx), cases[k].status);
        for (int w = 0; w < 2; w++)
            assert_non_null(strstr(hk_error_message(ctx), cases[k].words[w]));
        assert_null(hk_full(ctx, HK_F32, HK_SHAPE(2), 1));
        assert_null(hk_tensor_new(ctx, HK_F32, HK_SHAPE(2)));
        assert_int_equal(hk_step_end(ctx), cases[k].status);
        hk_context_destroy(ctx);
    }
    if (hk__cpu_best_stamp() < HK__STAMP_avx512) {
        hk_context *ctx = hk_context_create(&(hk_context_config){.isa = "avx512"});
        expect_error(ctx, HK_ERR_DEVICE, "no avx512");
        hk_context_destroy(ctx);
    }
}

static void environment(void **state) {
    (void)state;
    char before[32] = "";
    const char *was = getenv("HILLOCK_ISA");
    if (was) snprintf(before, sizeof before, "%s", was);
    setenv("HILLOCK_ISA", "base", 1);
    hk_context *ctx = hk_context_create(NULL);
    assert_ok(ctx);
    assert_string_equal(hk_context_describe(ctx).isa, "base");
    hk_context_destroy(ctx);
    setenv("HILLOCK_ISA", "mmx", 1);
    ctx = hk_context_create(NULL);
    expect_error(ctx, HK_ERR_NAME, "'mmx'");
    hk_context_destroy(ctx);
    ctx =
        hk_context_create(&(hk_context_config){.isa = "base"}); /* the program's word counts more */
    assert_ok(ctx);
    hk_context_destroy(ctx);
    if (was)
        setenv("HILLOCK_ISA", before, 1);
    else
        unsetenv("HILLOCK_ISA");
    char blas[64] = "";
    was = getenv("HILLOCK_BLAS");
    if (was) snprintf(blas, sizeof blas, "%s", was);
    setenv("HILLOCK_BLAS", "off", 1);
    ctx = hk_context_create(NULL);
    assert_ok(ctx);
    assert_false(hk_context_describe(ctx).has_blas);
    assert_true(*hk_context_describe(ctx).blas);
    hk_context_destroy(ctx);
    if (was)
        setenv("HILLOCK_BLAS", blas, 1);
    else
        unsetenv("HILLOCK_BLAS");
}

static void errors(void **state) {
    hk_context *ctx = *state;
    assert_int_equal(hk_fail(ctx, HK_ERR_IO, "here", "%s %d", "file", 3), HK_ERR_IO);
    assert_string_equal(hk_error_message(ctx), "[here] file 3");
    assert_int_equal(hk_fail(ctx, HK_ERR_NAME, "there", "no"), HK_ERR_IO);
    expect_error(ctx, HK_ERR_IO, "[here] file 3");
    assert_int_equal(hk_fail(ctx, HK_OK, "odd", "an error must be one"), HK_ERR_STATE);
    hk_error_clear(ctx);
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(hk_fail(ctx, HK_ERR_IO, "long", "%s", text), HK_ERR_IO); /* cut, not overrun */
    assert_in_range(strlen(hk_error_message(ctx)), 100, sizeof ctx->message - 1);
    hk_error_clear(ctx);
    assert_int_equal(hk_fail(ctx, HK_ERR_IO, text, "long name"), HK_ERR_IO);
    assert_in_range(strlen(hk_error_message(ctx)), 100, sizeof ctx->message - 1);
    hk_error_clear(ctx);
    assert_int_equal(hk_error(NULL), HK_ERR_MEMORY);
    assert_true(*hk_error_message(NULL));
    hk_error_clear(NULL);
    assert_int_equal(hk_fail(NULL, HK_ERR_IO, "x", "y"), HK_ERR_MEMORY);
    assert_int_equal(hk_step_end(NULL), HK_ERR_MEMORY);
}

static void names(void **state) {
    (void)state;
#define HK_CHECK(name, value, meaning)                                                             \
    assert_int_equal(HK_##name, value);                                                            \
    assert_string_equal(hk_status_name(HK_##name), "HK_" #name);                                   \
    assert_string_equal(hk_status_meaning(HK_##name), meaning);
    HK_STATUS_LIST(HK_CHECK)
#undef HK_CHECK
    assert_non_null(hk_status_name((hk_status)999));
    assert_non_null(hk_status_meaning((hk_status)-1));
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", HK_VERSION_MAJOR, HK_VERSION_MINOR,
             HK_VERSION_PATCH);
    assert_string_equal(hk_version(), version);
    static const size_t sizes[] = {4, 8, 1, 4};
    static const char *const types[] = {"f32", "f64", "u8", "i32"};
    for (int d = HK_F32; d <= HK_I32; d++) {
        assert_int_equal(hk_dtype_size((hk_dtype)d), sizes[d]);
        assert_string_equal(hk_dtype_name((hk_dtype)d), types[d]);
    }
    assert_int_equal(hk_dtype_size((hk_dtype)4), 0);
    assert_int_equal(hk_dtype_size((hk_dtype)-1), 0);
    assert_string_equal(hk_dtype_name((hk_dtype)4), "?");
}

/* --- objects: destroyed with the context, newest first --------------------------------------- */

static int destroyed[4], destroyed_count;
typedef struct thing {
    hk__object object;
    int id;
} thing;
static void destroy_thing(hk__object *object) {
    destroyed[destroyed_count++] = ((thing *)object)->id;
}

static void objects(void **state) {
    (void)state;
    hk_context *ctx = new_context(1, NULL);
    thing things[4] = {{.id = 0}, {.id = 1}, {.id = 2}, {.id = 3}};
    destroyed_count = 0;
    for (int i = 0; i < 4; i++) hk__object_add(ctx, &things[i].object, destroy_thing);
    hk__object_remove(&things[1].object);
    hk__object_remove(&things[1].object); /* twice does no harm */
    hk_context_destroy(ctx);
    assert_int_equal(destroyed_count, 3);
    assert_memory_equal(destroyed, ((int[]){3, 2, 0}), 3 * sizeof *destroyed);
}

/* --- two contexts in two threads never meet -------------------------------------------------- */

static void *train(void *arg) {
    double *result = arg;
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 2, .seed = 5});
    hk_tensor *w = hk_require_grad(hk_tensor_from(ctx, HK_F32, HK_SCALAR, &(float){0.5F}));
    for (int i = 0; i < 60; i++) {
        hk_tensor *x = hk_mul(hk_full(ctx, HK_F32, HK_SHAPE(200, 200), 0.001), w);
        hk_tensor *loss =
            hk_sum(hk_exp(hk_dropout_op(hk_matmul(x, x), 0.5, "d")), HK_ALL_AXES, false);
        if (hk_backward(ctx, loss) || hk_step_end(ctx)) break;
    }
    *result = hk_error(ctx) ? NAN : hk_tensor_item(hk_grad(w));
    hk_context_destroy(ctx);
    return NULL;
}

static void two_at_once(void **state) {
    (void)state;
    double alone, together[2];
    pthread_t thread[2];
    train(&alone);
    assert_true(isfinite(alone) && alone != 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, train, &together[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++) assert_memory_equal(&together[i], &alone, sizeof alone);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(what_was_asked_for),
        cmocka_unit_test(what_cannot_be_had),
        cmocka_unit_test(environment),
        cmocka_unit_test_setup_teardown(errors, setup, teardown),
        cmocka_unit_test(names),
        cmocka_unit_test(objects),
        cmocka_unit_test(two_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
