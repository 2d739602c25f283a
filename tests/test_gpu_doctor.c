/* ctest: labels=unit timeout=300 */
/* test_gpu_doctor.c: the doctor's findings on a GPU are the CPU's: for a network in good health, and for planted faults.
   SPDX-License-Identifier: MIT */
#include "doctor_fixture.h"

enum { SMALL = 240, WIDE = 6, CLASSES = 4, STEPS = 24 };

/* Images of noise with a bright spot in one of four corners. */
static digits corners(void) {
    static float pixels[SMALL * WIDE * WIDE];
    static int32_t labels[SMALL];
    const hk_random random = hk_random_stream(7, "corners", 0);
    for (int64_t i = 0; i < SMALL; i++) {
        labels[i] = (int32_t)(hk_random_bits(random, (uint64_t)i) % CLASSES);
        for (int64_t k = 0; k < WIDE * WIDE; k++) {
            const bool below = k / WIDE >= WIDE / 2, right = k % WIDE >= WIDE / 2;
            const double noise = hk_random_uniform(random, (uint64_t)(SMALL + i * WIDE * WIDE + k));
            const bool bright = labels[i] == 2 * below + right;
            pixels[i * WIDE * WIDE + k] = (float)(bright ? 0.5 + noise / 2 : noise / 3);
        }
    }
    return (digits){.count = SMALL,
                    .classes = CLASSES,
                    .item = HK_SHAPE(1, WIDE, WIDE),
                    .pixels = pixels,
                    .labels = labels};
}

static hk_diagnosis diagnosis_on(const char *device, const patient_plan *plan) {
    assert_int_equal(setenv("HILLOCK_TEST_DEVICE", device, 1), 0);
    return diagnose(plan, 1, STEPS);
}

/* Values of float arithmetic, over some steps. */
static bool near(double a, double b) {
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 0.02 * fabs(b) + 1e-6;
}

static void same_diagnosis(const char *name) {
    static const patient_plan plan = {.net = "mlp",
                                      .depth = 2,
                                      .width = 16,
                                      .activation = "relu",
                                      .init = "auto",
                                      .optimizer = "adam",
                                      .lr = 0.01,
                                      .batch = 20};
    patient_plan sick = plan;
    sick.fault = name ? fault_find(name) : NULL;
    assert_true(!name || sick.fault);
    all_digits = corners();
    const hk_diagnosis gpu = diagnosis_on("cuda", &sick), cpu = diagnosis_on("cpu", &sick);
    char want[512];
    snprintf(want, sizeof want, "%s", kinds_of(&cpu));
    if (strcmp(kinds_of(&gpu), want) != 0 || gpu.steps != cpu.steps || gpu.samples != cpu.samples)
        fail_msg("%s: '%s' on the GPU, '%s' on the CPU", name ? name : "healthy", kinds_of(&gpu),
                 want);
    if (!near(gpu.first_loss, cpu.first_loss) || !near(gpu.last_loss, cpu.last_loss))
        fail_msg("%s: losses differ", name ? name : "healthy");
    for (int i = 0; i < cpu.count; i++) {
        assert_string_equal(gpu.finding[i].where, cpu.finding[i].where);
        if (!near(gpu.finding[i].value, cpu.finding[i].value))
            fail_msg("%s: %g on the GPU, %g on the CPU", cpu.finding[i].kind, gpu.finding[i].value,
                     cpu.finding[i].value);
    }
    bool named = !name;
    for (int i = 0; name && i < cpu.count; i++)
        named |= strcmp(cpu.finding[i].kind, sick.fault->kind) == 0;
    if (!named) fail_msg("%s was not found: '%s'", name, want);
}

static void test_findings(void **state) {
    (void)state;
    static const char *const planted[] = {NULL,     "no-step", "not-zeroed",    "wrong-factor",
                                          "frozen", "softmax", "equal-weights", "nan-input",
                                          "dead"};
    for (size_t i = 0; i < sizeof planted / sizeof *planted; i++) same_diagnosis(planted[i]);
}

int main(void) {
    need_gpu();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_findings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
