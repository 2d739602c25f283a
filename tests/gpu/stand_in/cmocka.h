/* cmocka.h: as much of cmocka as hillock's tests use, for machines that have none: CMake falls back on this.
   SPDX-License-Identifier: MIT

   A GPU machine is often bare. A failed check prints where it stands and jumps out of its test; the others go on. The
   exit status is the number of tests that failed. A signal ends the program, which ctest reports too. */
#ifndef HK_CMOCKA_STAND_IN_H
#define HK_CMOCKA_STAND_IN_H

#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wunused-function"

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
    int (*setup)(void **state), (*teardown)(void **state);
};
#define cmocka_unit_test_setup_teardown(f, up, down)                                               \
    { #f, f, up, down }
#define cmocka_unit_test_setup(f, up)                                                              \
    { #f, f, up, NULL }
#define cmocka_unit_test(f)                                                                        \
    { #f, f, NULL, NULL }

enum { CMOCKA_FAILED = 1, CMOCKA_SKIPPED = 2 };
static jmp_buf cmocka_out;
static const char *cmocka_filter;

static void cmocka_set_test_filter(const char *pattern) { cmocka_filter = pattern; }

__attribute__((format(printf, 2, 3))) static void cmocka_print(FILE *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(to, format, arguments);
    va_end(arguments);
    fflush(to);
}
#define print_message(...) cmocka_print(stdout, __VA_ARGS__)
#define print_error(...) cmocka_print(stderr, __VA_ARGS__)

_Noreturn static void cmocka_end_test(int how) { longjmp(cmocka_out, how); }
_Noreturn static void cmocka_fail(const char *file, int line) {
    print_error("%s:%d: failed\n", file, line);
    cmocka_end_test(CMOCKA_FAILED);
}
#define skip() cmocka_end_test(CMOCKA_SKIPPED)
#define fail_msg(...) (print_error(__VA_ARGS__), print_error("\n"), cmocka_fail(__FILE__, __LINE__))

/* --- checks ------------------------------------------------------------------------------------------------------ */

#define cmocka_check(good, ...) ((good) ? (void)0 : fail_msg(__VA_ARGS__))
#define assert_true(c) cmocka_check((c) ? true : false, "not true: %s", #c)
#define assert_false(c) cmocka_check((c) ? false : true, "not false: %s", #c)
#define assert_null(p) cmocka_check((p) == NULL, "not NULL: %s", #p)
#define assert_non_null(p) cmocka_check((p) != NULL, "NULL: %s", #p)

static bool cmocka_ints(long long a, long long b, bool equal, const char *what) {
    if ((a == b) == equal) return true;
    print_error("%s: %lld and %lld\n", what, a, b);
    return false;
}
static bool cmocka_texts(const char *a, const char *b, bool equal) {
    if ((strcmp(a, b) == 0) == equal) return true;
    print_error("'%s'\nand '%s'\n", a, b);
    return false;
}
static bool cmocka_within(unsigned long long n, unsigned long long low, unsigned long long high) {
    if (low <= n && n <= high) return true;
    print_error("%llu is not within %llu and %llu\n", n, low, high);
    return false;
}
#define assert_int_equal(a, b)                                                                     \
    cmocka_check(cmocka_ints((long long)(a), (long long)(b), true, #a), "they differ")
#define assert_int_not_equal(a, b)                                                                 \
    cmocka_check(cmocka_ints((long long)(a), (long long)(b), false, #a), "they are equal")
#define assert_in_range(n, low, high)                                                              \
    cmocka_check(cmocka_within((unsigned long long)(n), (unsigned long long)(low),                 \
                               (unsigned long long)(high)),                                        \
                 "%s", #n)
#define assert_ptr_equal(a, b)                                                                     \
    cmocka_check((const void *)(a) == (const void *)(b), "%s is not %s", #a, #b)
#define assert_ptr_not_equal(a, b)                                                                 \
    cmocka_check((const void *)(a) != (const void *)(b), "%s is %s", #a, #b)
#define assert_string_equal(a, b) cmocka_check(cmocka_texts(a, b, true), "%s", #a)
#define assert_string_not_equal(a, b) cmocka_check(cmocka_texts(a, b, false), "%s", #a)
#define assert_memory_equal(a, b, n) cmocka_check(memcmp(a, b, n) == 0, "%s and %s differ", #a, #b)
#define assert_memory_not_equal(a, b, n)                                                           \
    cmocka_check(memcmp(a, b, n) != 0, "%s and %s are equal", #a, #b)

/* --- running ----------------------------------------------------------------------------------------------------- */

static int cmocka_call(int (*f)(void **), void **state) {
    const int how = setjmp(cmocka_out);
    return how == 0 ? (f ? f(state) : 0) : how;
}

static int cmocka_test(const struct CMUnitTest *t, void *state) {
    print_message("[ RUN      ] %s\n", t->name);
    int how = cmocka_call(t->setup, &state);
    if (how == 0 && (how = setjmp(cmocka_out)) == 0) t->run(&state);
    if (cmocka_call(t->teardown, &state) != 0 && how != CMOCKA_SKIPPED) how = CMOCKA_FAILED;
    print_message("[ %s ] %s\n",
                  how == 0                ? "      OK"
                  : how == CMOCKA_SKIPPED ? " SKIPPED"
                                          : "  FAILED",
                  t->name);
    return how != 0 && how != CMOCKA_SKIPPED;
}

static int cmocka_group(const struct CMUnitTest *tests, size_t count, int (*setup)(void **),
                        int (*teardown)(void **)) {
    void *state = NULL;
    int failed = 0;
    if (cmocka_call(setup, &state) != 0) {
        print_error("the setup of all tests failed\n");
        return 1;
    }
    for (size_t i = 0; i < count; i++)
        if (!cmocka_filter || fnmatch(cmocka_filter, tests[i].name, 0) == 0)
            failed += cmocka_test(&tests[i], state);
    if (cmocka_call(teardown, &state) != 0) failed++;
    print_message("%d of %d tests failed\n", failed, (int)count);
    return failed;
}
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    cmocka_group(tests, sizeof(tests) / sizeof *(tests), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                  \
    cmocka_run_group_tests(tests, setup, teardown)

#endif
