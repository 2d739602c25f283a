/* ctest: labels=unit,slow timeout=900 */
/* test_doctor_healthy.c: sound networks with every activation, 2 to 10 layers deep, by SGD and Adam: no alarm.
   HILLOCK_SEEDS=11-11 takes other seeds.
   SPDX-License-Identifier: MIT */
#include "doctor_fixture.h"

#include "activation_fixture.h"

static int runs, alarms;

static void expect_healthy(const patient_plan *plan, int seed, int64_t steps) {
    const hk_diagnosis d = diagnose(plan, (uint64_t)seed, steps);
    runs++;
    alarms += d.count > 0;
    if (getenv("HILLOCK_TELL") || d.count > 0)
        print_message("%-28s %s depth %2d %s lr %g seed %d: loss %.3f: %s\n", plan->activation,
                      plan->net, plan->depth, plan->optimizer, plan->lr, seed, d.last_loss,
                      kinds_of(&d));
}

/* Depths and rates with which the activation is known to train at all: softmax, say, does not through ten
   layers. */
static void make_sensible(patient_plan *plan) {
    static const struct {
        const char *name;
        int deepest;
        double sgd, adam; /* rates; SGD does not train with softmax in some hundred steps: 0 */
    } limits[] = {{"sigmoid", 2, 0.5, 0.002},      {"hard_sigmoid", 2, 0.5, 0.002},
                  {"softplus", 3, 0.1, 0.002},     {"softmax", 2, 0, 0.02},
                  {"log_softmax", 2, 0.01, 0.002}, {"swish_skip", 5, 0.1, 0.002},
                  {"reglu", 2, 0.03, 0.001},       {"geglu", 2, 0.03, 0.001},
                  {"swiglu", 2, 0.03, 0.001},      {"bilinear", 2, 0.03, 0.001}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (strcmp(limits[i].name, plan->activation) != 0) continue;
        if (plan->depth > limits[i].deepest) plan->depth = limits[i].deepest;
        if (limits[i].sgd == 0) plan->optimizer = "adam";
        plan->lr = strcmp(plan->optimizer, "sgd") == 0 ? limits[i].sgd : limits[i].adam;
    }
}

/* Other starts, other optimizers, the networks of the other tests, residual ones. */
static void expect_healthy_others(int seed) {
    static const char *const optimizers[] = {"momentum", "adamw", "rmsprop"};
    for (int net = 0; net < 3; net++) expect_healthy(&nets[net], seed, net_steps[net]);
    for (int i = 0; i < hk_init_count(); i++) {
        patient_plan plan = nets[i % 2];
        plan.init = hk_init_name(i);
        plan.optimizer = "adam";
        plan.lr = 0.002;
        plan.activation = i % 2 ? "relu" : "tanh";
        expect_healthy(&plan, seed, 300);
    }
    for (int i = 0; i < 3; i++) {
        patient_plan plan = nets[0];
        plan.optimizer = optimizers[i];
        plan.lr = i == 0 ? 0.02 : 0.001;
        expect_healthy(&plan, seed, 300);
    }
    patient_plan plan = nets[0];
    plan.net = "residual";
    plan.depth = 8;
    plan.normed = true;
    expect_healthy(&plan, seed, 200);
}

static void healthy(void **state) {
    (void)state;
    static const int depths[] = {2, 3, 5, 10};
    int first_seed = 1, last_seed = 1;
    const char *seeds = getenv("HILLOCK_SEEDS");
    if (seeds) assert_int_equal(sscanf(seeds, "%d-%d", &first_seed, &last_seed), 2);
    for (int seed = first_seed; seed <= last_seed; seed++) {
        const hk_activation_info *row;
        for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
            if (activation_needs_images(row)) continue;
            for (int adam = 0; adam < 2; adam++) {
                patient_plan plan = {.net = "mlp", .width = 64, .init = "auto", .batch = 50};
                plan.activation = activation_text(row);
                plan.depth = depths[(r + 2 * adam) % 4];
                plan.optimizer = adam ? "adam" : "sgd";
                plan.lr = adam ? 0.002 : 0.1;
                make_sensible(&plan);
                expect_healthy(&plan, seed, 400);
            }
        }
        expect_healthy_others(seed);
    }
    print_message("%d healthy runs, %d alarms\n", runs, alarms);
    assert_true(runs >= 40);
    assert_int_equal(alarms, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(healthy)};
    return cmocka_run_group_tests(tests, read_all_digits, free_all_digits);
}
