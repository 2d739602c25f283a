/* ctest: labels=unit timeout=300 devices=cpu,cuda emulated=slow */
/* test_doctor.c: the doctor names each fault in a small network, changes nothing, and says it in 80 columns; its example and
   its program work. The slow tests test_doctor_faults, _healthy and _cures try it on more networks.
   SPDX-License-Identifier: MIT */
#include "doctor_fixture.h"

#include "../examples/own/own_doctor.c"

#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof *(array)))

/* --- faults ----------------------------------------------------------------------------------- */

static const patient_plan small = {.net = "mlp",
                                   .depth = 2,
                                   .width = 32,
                                   .activation = "relu",
                                   .init = "auto",
                                   .optimizer = "adam",
                                   .lr = 0.003,
                                   .batch = 40};

static void names_each_fault(void **state) {
    (void)state;
    for (int i = 0; fault_at(i); i++) {
        patient_plan plan = small;
        plan.fault = fault_at(i);
        const hk_diagnosis d = diagnose(&plan, 7, 120);
        if (d.count == 0 || strcmp(d.finding[0].kind, plan.fault->kind) != 0)
            fail_msg("%s: found '%s'", plan.fault->name, kinds_of(&d));
        assert_true(d.finding[0].text[0] && d.finding[0].advice[0] && d.finding[0].source[0]);
        assert_false(isnan(d.finding[0].value));
    }
    const hk_diagnosis d = diagnose(&small, 7, 120);
    assert_string_equal(kinds_of(&d), "");
    assert_int_equal(d.steps, 120);
    assert_int_equal(d.samples, 120 * 40);
    assert_true(d.last_loss < 0.6 * d.first_loss);
    assert_true(fabs(d.chance - log(10)) < 0.02);
}

/* What the finding points to. */
static void names_the_place(void **state) {
    (void)state;
    static const struct {
        const char *fault, *where, *text;
    } rows[] = {{"wrong-factor", "3", "signed_square"},
                {"frozen", "1.weight and 1.bias", "2 of 6"},
                {"detached", "1.weight and 1.bias", "2 of 6"},
                {"softmax", "6", "softmax"},
                {"dead", "4", "relu"},
                {"logarithm", "3", "log"},
                {"no-threes", "y", "class 3"},
                {"rolled-labels", "y", "one place earlier"},
                {"rate-high", "", "own gradient"}};
    for (int64_t i = 0; i < COUNT(rows); i++) {
        patient_plan plan = small;
        plan.fault = fault_find(rows[i].fault);
        assert_non_null(plan.fault);
        const hk_diagnosis d = diagnose(&plan, 3, 100);
        assert_true(d.count > 0);
        if (strcmp(d.finding[0].where, rows[i].where) != 0 ||
            !strstr(d.finding[0].text, rows[i].text))
            fail_msg("%s: at '%s': %s", rows[i].fault, d.finding[0].where, d.finding[0].text);
    }
}

static void lists_its_kinds(void **state) {
    (void)state;
    int n = 0;
    for (; hk_doctor_kind(n); n++) {
        assert_true(hk_doctor_meaning(hk_doctor_kind(n))[0]);
        for (int k = 0; k < n; k++) assert_string_not_equal(hk_doctor_kind(k), hk_doctor_kind(n));
    }
    assert_in_range(n, 16, 40);
    assert_null(hk_doctor_kind(-1));
    assert_string_equal(hk_doctor_meaning("nothing"), "");
    assert_string_equal(hk_doctor_meaning(NULL), "");
    for (int i = 0; fault_at(i); i++) assert_true(hk_doctor_meaning(fault_at(i)->kind)[0]);
}

/* --- it only looks ---------------------------------------------------------------------------- */

/* Dropout and batch norm: random draws and buffers. */
static program program_of(hk_dtype dtype, double lr) {
    hk_context *ctx = context(dtype, 1, 5);
    hk_module *net =
        hk_sequential(ctx, hk_linear(ctx, 20, 16), hk_batch_norm1d(ctx, NULL),
                      hk_activation(ctx, "relu"), hk_dropout(ctx, 0.1), hk_linear(ctx, 16, 4));
    hk_dataset *data = patterns(ctx, 400, HK_SHAPE(20), 4);
    program p = {ctx, net, NULL,
                 hk_loader_create(data, &(hk_loader_config){.batch = 20, .shuffle = true})};
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 20), NULL), HK_OK);
    hk_adam_config adam = hk_adam_defaults();
    adam.lr = lr;
    p.opt = hk_adam(ctx, hk_module_parameters(net), adam);
    assert_ok(ctx);
    return p;
}

static uint64_t prints(program *p) {
    return fingerprint(hk_module_parameters(p->net)) * 31 + fingerprint(hk_module_buffers(p->net));
}

static void step_by_hand(program *p) {
    hk_doctor_step made = {.x = NULL};
    assert_true(program_step(&made, p));
    assert_int_equal(hk_step_end(p->ctx), HK_OK);
}

/* What is kept is what training without a doctor makes, to the bit; else all is as before. */
static void changes_nothing(void **state) {
    (void)state;
    program alone = program_of(HK_F32, 0.01), watched = program_of(HK_F32, 0.01);
    for (int i = 0; i < 30; i++) step_by_hand(&alone);
    hk_diagnosis found;
    hk_doctor_config config = {.train = program_step, .arg = &watched, .steps = 30, .keep = true};
    const uint64_t start = prints(&watched);
    assert_int_equal(hk_doctor_examine(watched.net, watched.opt, &config, &found), HK_OK);
    assert_true(prints(&watched) != start);
    assert_true(prints(&watched) == prints(&alone));

    /* The same number of examined steps more, put back: the next step by hand must be the same, momentum
       included. */
    const uint64_t before = prints(&watched);
    config.keep = false;
    assert_int_equal(hk_doctor_examine(watched.net, watched.opt, &config, &found), HK_OK);
    assert_true(prints(&watched) == before);
    assert_int_equal(hk_optimizer_steps(watched.opt), 30);
    hk_optimizer_zero_grad(watched.opt);
    hk_optimizer_zero_grad(alone.opt);
    assert_int_equal(hk_optimizer_step(watched.opt), HK_OK);
    assert_int_equal(hk_optimizer_step(alone.opt), HK_OK);
    assert_true(prints(&watched) == prints(&alone));
    hk_context_destroy(alone.ctx);
    hk_context_destroy(watched.ctx);
}

/* --- the interface ---------------------------------------------------------------------------- */

static bool fails(hk_doctor_step *step, void *arg) {
    program *p = arg;
    step->loss = hk_matmul(hk_full(p->ctx, HK_F32, HK_SHAPE(2, 3), 1),
                           hk_full(p->ctx, HK_F32, HK_SHAPE(2, 3), 1));
    return step->loss;
}

static bool ends(hk_doctor_step *step, void *arg) {
    program *p = arg;
    return hk_optimizer_steps(p->opt) < 10 && program_step(step, p);
}

static void refuses_and_ends(void **state) {
    (void)state;
    program p = program_of(HK_F32, 0.01);
    hk_diagnosis found;
    hk_doctor_config config = {.train = program_step, .arg = &p, .steps = 10};
    assert_int_equal(hk_doctor_examine(NULL, p.opt, &config, &found), HK_ERR_ARGUMENT);
    assert_int_equal(hk_doctor_examine(p.net, p.opt, NULL, &found), HK_ERR_ARGUMENT);
    expect_error(p.ctx, HK_ERR_ARGUMENT, "config.train");
    assert_int_equal(hk_doctor_examine(p.net, p.opt, &(hk_doctor_config){.steps = 1}, &found),
                     HK_ERR_ARGUMENT);
    expect_error(p.ctx, HK_ERR_ARGUMENT, "config.train");
    config.steps = -1;
    assert_int_equal(hk_doctor_examine(p.net, p.opt, &config, &found), HK_ERR_ARGUMENT);
    expect_error(p.ctx, HK_ERR_ARGUMENT, "negative");
    config.steps = 10;
    assert_int_equal(hk_doctor_examine(hk_linear(p.ctx, 2, 2), p.opt, &config, &found),
                     HK_ERR_STATE);
    expect_error(p.ctx, HK_ERR_STATE, "build the network first");
    assert_int_equal(hk_doctor_examine(hk_module_child_at(p.net, 0), p.opt, &config, &found),
                     HK_ERR_STATE);
    expect_error(p.ctx, HK_ERR_STATE, "root");

    const uint64_t start = prints(&p);
    config.train = fails;
    assert_int_equal(hk_doctor_examine(p.net, p.opt, &config, &found), HK_ERR_SHAPE);
    expect_error(p.ctx, HK_ERR_SHAPE, "matmul");
    assert_true(prints(&p) == start);

    config.train = ends;
    config.steps = 100;
    assert_int_equal(hk_doctor_examine(p.net, p.opt, &config, &found), HK_OK);
    assert_int_equal(found.steps, 10);
    assert_int_equal(found.samples, 200);
    assert_true(found.last_loss > 0.1);
    assert_true(prints(&p) == start);
    hk_context_destroy(p.ctx);
}

/* A NaN that the guard refuses is found, and no error. */
static void survives_the_guard(void **state) {
    (void)state;
    patient_plan plan = small;
    plan.fault = fault_find("logarithm");
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_nan_guard(ctx, true);
    patient sick;
    assert_true(patient_make(&sick, ctx, &plan, &all_digits));
    hk_diagnosis found;
    const hk_doctor_config config = {.train = patient_train, .arg = &sick, .steps = 20};
    assert_int_equal(hk_doctor_examine(sick.net, sick.opt, &config, &found), HK_OK);
    assert_ok(ctx);
    assert_string_equal(found.finding[0].kind, "not_finite");
    hk_context_destroy(ctx);
}

/* Targets that are numbers, no optimizer that the doctor knows, double precision. */
static bool regress(hk_doctor_step *step, void *arg) {
    program *p = arg;
    hk_batch batch;
    if (!hk_loader_next(p->loader, &batch) && !hk_loader_next(p->loader, &batch)) return false;
    hk_optimizer_zero_grad(p->opt);
    step->x = batch.x;
    step->y = hk_slice(batch.x, 1, 3, 4);
    step->out = hk_forward(p->net, step->x);
    step->loss = hk_mse(step->out, step->y);
    return !hk_backward(p->ctx, step->loss) && !hk_optimizer_step(p->opt);
}

static void other_trainings(void **state) {
    (void)state;
    program p = program_of(HK_F64, 0.01);
    hk_diagnosis found;
    const hk_doctor_config config = {.train = regress, .arg = &p, .steps = 300};
    assert_int_equal(hk_doctor_examine(p.net, NULL, &config, &found), HK_OK);
    assert_true(isnan(found.chance));
    if (found.count > 0) fail_msg("%s: %s", kinds_of(&found), found.finding[0].text);
    hk_context_destroy(p.ctx);
}

/* --- words, the example and the program ------------------------------------------------------- */

static void expect_columns(const char *text) {
    while (*text) {
        const size_t n = strcspn(text, "\n");
        if (n > 80) fail_msg("%d columns: %.*s", (int)n, (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void says_it_in_words(void **state) {
    (void)state;
    patient_plan plan = small;
    char text[REPORT], start[40];
    static const char *const names[] = {"bytes", "wrong-sign", "large-weights", "blank",
                                        "exploding"};
    for (int64_t i = 0; i < COUNT(names); i++) {
        plan.fault = fault_find(names[i]);
        const hk_diagnosis d = diagnose(&plan, 2, 60);
        const size_t length = hk_diagnosis_text(&d, text, sizeof text);
        assert_int_equal(length, strlen(text));
        expect_columns(text);
        for (int k = 0; k < d.count; k++) {
            assert_non_null(strstr(text, d.finding[k].kind));
            /* Nothing was cut off. */
            assert_int_equal(d.finding[k].text[strlen(d.finding[k].text) - 1], '.');
            assert_int_equal(d.finding[k].advice[strlen(d.finding[k].advice) - 1], '.');
        }
        assert_int_equal(hk_diagnosis_text(&d, NULL, 0), length);
        assert_int_equal(hk_diagnosis_text(&d, start, sizeof start), length);
        assert_int_equal(strlen(start), sizeof start - 1);
        assert_memory_equal(start, text, sizeof start - 1);
    }
    assert_int_equal(hk_diagnosis_text(NULL, text, sizeof text), 0);
}

static void own_example(void **state) {
    (void)state;
    char text[REPORT];
    program p = program_of(HK_F32, 0.01);
    assert_int_equal(program_faults(&p, 200, text, sizeof text), 0);
    assert_non_null(strstr(text, "Healthy"));
    hk_context_destroy(p.ctx);
    p = program_of(HK_F32, 30);
    assert_true(program_faults(&p, 200, text, sizeof text) > 0);
    assert_non_null(strstr(text, "1. rate_high"));
    hk_context_destroy(p.ctx);
}

/* Runs the program with these options in the source folder; its exit code, or -1 if it is not there. */
static int run_program(const char *arguments, char *text, size_t size) {
    char command[512];
    if (access(HK_BUILD_DIR "/doctor", X_OK) != 0) return -1;
    snprintf(command, sizeof command, "cd '%s' && '%s/doctor' %s 2>&1", HK_SOURCE_DIR, HK_BUILD_DIR,
             arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    const size_t n = fread(text, 1, size - 1, pipe);
    text[n] = 0;
    const int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void program_works(void **state) {
    (void)state;
    static const struct {
        const char *arguments, *text;
        int code;
    } rows[] = {{"--images 2000 --steps 150", "Healthy", 0},
                {"--images 1000 --steps 20 --fault not-zeroed", "hk_optimizer_zero_grad(opt)", 1},
                {"--images 1000 --steps 60 --fault rate-high", "Option to change first: --lr", 1},
                {"--list", "exploding", 0},
                {"--help", "--fault rate-high", 0},
                {"--fault rate-hihg", "try --fault rate-high", 2},
                {"--activation nonsense", "nonsense", 2},
                {"--data nowhere", "nowhere", 2}};
    for (int64_t i = 0; i < COUNT(rows); i++) {
        char text[REPORT];
        const int code = run_program(rows[i].arguments, text, sizeof text);
        if (code < 0) skip();
        if (code != rows[i].code || !strstr(text, rows[i].text))
            fail_msg("doctor %s: code %d\n%s", rows[i].arguments, code, text);
        if (i < 4) expect_columns(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_each_fault), cmocka_unit_test(names_the_place),
        cmocka_unit_test(lists_its_kinds),  cmocka_unit_test(changes_nothing),
        cmocka_unit_test(refuses_and_ends), cmocka_unit_test(survives_the_guard),
        cmocka_unit_test(other_trainings),  cmocka_unit_test(says_it_in_words),
        cmocka_unit_test(own_example),      cmocka_unit_test(program_works),
    };
    return cmocka_run_group_tests(tests, read_all_digits, free_all_digits);
}
