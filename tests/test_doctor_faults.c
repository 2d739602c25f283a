/* ctest: labels=unit,slow timeout=900 */
/* test_doctor_faults.c: every fault in three networks with three seeds is found, and named first. HILLOCK_SEEDS=11-13 takes
   other seeds.
   SPDX-License-Identifier: MIT */
#include "doctor_fixture.h"

static void all_faults(void **state) {
    (void)state;
    int first_seed = 1, last_seed = 3, found = 0, first = 0, runs = 0;
    const char *seeds = getenv("HILLOCK_SEEDS");
    if (seeds) assert_int_equal(sscanf(seeds, "%d-%d", &first_seed, &last_seed), 2);
    for (int i = 0; fault_at(i); i++)
        for (int net = 0; net < 3; net++)
            for (int seed = first_seed; seed <= last_seed; seed++) {
                patient_plan plan = nets[net];
                plan.fault = fault_at(i);
                const hk_diagnosis d = diagnose(&plan, (uint64_t)seed, net_steps[net]);
                bool any = false;
                for (int k = 0; k < d.count; k++)
                    any |= strcmp(d.finding[k].kind, plan.fault->kind) == 0;
                const bool named = any && strcmp(d.finding[0].kind, plan.fault->kind) == 0;
                runs++;
                found += any;
                first += named;
                if (!named)
                    print_message("%s in %s, seed %d: %s\n", plan.fault->name, net_names[net], seed,
                                  kinds_of(&d));
            }
    print_message("%d runs: found in %d, named first in %d\n", runs, found, first);
    assert_true(runs >= 16 * 9);
    assert_int_equal(found, runs);
    assert_int_equal(first, runs);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_faults)};
    return cmocka_run_group_tests(tests, read_all_digits, free_all_digits);
}
