/* ctest: labels=unit,slow timeout=600 */
/* test_doctor_cures.c: who does what the doctor advises has a network that trains: for each fault that a change can cure.
   SPDX-License-Identifier: MIT */
#include "doctor_fixture.h"

/* A loss that a sick network does not reach, and a sound one does. */
#define BAR 0.8

/* Trains until the mean loss of twenty steps is below the bar, for so many steps at most; that loss. */
static double train_patient(const patient_plan *plan, uint64_t seed, int steps) {
    hk_context *ctx = context(HK_F32, 1, seed);
    patient p;
    double sum = 0, mean = NAN;
    if (!patient_make(&p, ctx, plan, &all_digits)) fail_msg("%s", hk_error_message(ctx));
    for (int t = 1; t <= steps && !(mean < BAR); t++) {
        hk_doctor_step made = {.x = NULL};
        if (!patient_train(&made, &p)) fail_msg("%s", hk_error_message(ctx));
        sum += hk_tensor_item(made.loss) / 20;
        assert_int_equal(hk_step_end(ctx), HK_OK);
        if (t % 20 != 0) continue;
        mean = sum;
        sum = 0;
    }
    hk_context_destroy(ctx);
    return mean;
}

/* What the advice says, as a change of the plan. Most advice is to undo what the fault did. */
static patient_plan follow(const patient_plan *sick, const hk_finding *advice) {
    patient_plan plan = *sick;
    plan.fault = NULL;
    const char *kind = advice->kind;
    if (strcmp(kind, "rate_high") == 0 || strcmp(kind, "rate_low") == 0) {
        assert_true(advice->advised > 0);
        plan.lr = advice->advised;
    } else if (strcmp(kind, "vanishing") == 0) { /* "relu or tanh with auto weights" */
        sick->fault->plan(&plan);
        plan.activation = "tanh";
    } else if (strcmp(kind, "exploding") == 0) { /* "norms between layers" */
        sick->fault->plan(&plan);
        plan.normed = true;
    }
    return plan;
}

static void cures(void **state) {
    (void)state;
    int cured = 0, tried = 0;
    for (int i = 0; fault_at(i); i++)
        for (int net = 0; net < 3; net++) {
            patient_plan plan = nets[net];
            plan.fault = fault_at(i);
            const hk_diagnosis d = diagnose(&plan, 5, net_steps[net]);
            assert_true(d.count > 0);
            assert_string_equal(d.finding[0].kind, plan.fault->kind);
            const patient_plan better = follow(&plan, &d.finding[0]);
            const double loss = train_patient(&better, 5, 1000);
            tried++;
            cured += loss < BAR;
            if (!(loss < BAR))
                print_message("%s in %s: loss %.3f after what was advised\n", plan.fault->name,
                              net_names[net], loss);
        }
    print_message("%d sick networks, %d cured\n", tried, cured);
    assert_int_equal(cured, tried);
}

/* The bar is one that most faults keep a network above; others, as a class that is missing, are seen elsewhere. */
static void sick_without(void **state) {
    (void)state;
    static const char *const names[] = {
        "no-step",   "zero-input", "noise",         "rolled-labels", "rate-high", "rate-low",
        "vanishing", "dead",       "small-weights", "equal-weights", "wrong-sign"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        patient_plan plan = nets[1];
        plan.fault = fault_find(names[i]);
        const double loss = train_patient(&plan, 5, 400);
        if (loss < BAR) fail_msg("%s: loss %.3f without a cure", names[i], loss);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cures), cmocka_unit_test(sick_without)};
    return cmocka_run_group_tests(tests, read_all_digits, free_all_digits);
}
