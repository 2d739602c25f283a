/* test_cpu_run.c: in a build with CUDA too, a run on the CPU loads nothing of CUDA and costs what it costs without; and a
   missing GPU is one clear error.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,gpu timeout=60 */
#include "testing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hk_autograd.h"

/* Sanitizers need memory and threads of their own, and not every system tells of them. */
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MEASURED 1
#endif
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef MEASURED
#endif
#endif

/* Whether a library whose name holds `name` is in this process. */
static bool is_loaded(const char *name) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    bool found = false;
    if (!maps) return false;
    while (!found && fgets(line, sizeof line, maps)) {
        const char *file = strrchr(line, '/');
        found = file && strstr(file, name);
    }
    fclose(maps);
    return found;
}

static void nothing_is_loaded(void **state) {
    (void)state;
    assert_true(is_loaded("libc.so") || !is_loaded("")); /* it can tell, where there are maps */
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1});
    assert_int_equal(hk_error(ctx), HK_OK);
    assert_false(is_loaded("libcuda"));
    assert_false(is_loaded("libcublas"));
    hk_context_destroy(ctx);
}

static void no_gpu_is_an_error(void **state) {
    (void)state;
    hk_context *ctx = hk_context_create(&(hk_context_config){.device = HK_CUDA});
    assert_non_null(ctx);
    if (hk_error(ctx) == HK_OK) {
        hk_context_destroy(ctx);
        skip(); /* there is one */
    }
    assert_int_equal(hk_error(ctx), HK_ERR_DEVICE);
    assert_non_null(strstr(hk_error_message(ctx), HK_WITH_CUDA ? "no GPU can be used" : "no CUDA"));
    assert_null(strchr(hk_error_message(ctx), '\n'));
    hk_context_destroy(ctx);
}

/* --- what a run costs -------------------------------------------------------------------------------------------- */

/* The number behind `field` in /proc/self/status. */
static long own(const char *field) {
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long value = -1;
    if (!status) return -1;
    while (fgets(line, sizeof line, status))
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtol(line + strlen(field), NULL, 10);
    fclose(status);
    return value;
}

/* An emulated GPU has memory of its own, and is C++. */
static bool emulator(void) {
    hk_context *ctx = hk_context_create(&(hk_context_config){.device = HK_CUDA, .threads = 1});
    const bool is = hk_error(ctx) == HK_OK && strstr(hk_context_describe(ctx).isa, "emulated");
    hk_context_destroy(ctx);
    return is;
}

/* This program again, as `test_cpu_run once`: a context comes and goes. */
static int once(void) {
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1, .no_blas = true});
    const bool good = ctx && hk_error(ctx) == HK_OK;
    struct rusage usage;
    hk_context_destroy(ctx);
    getrusage(RUSAGE_SELF, &usage);
    printf("%ld %ld %ld\n", own("VmHWM:"), usage.ru_minflt + usage.ru_majflt, own("Threads:"));
    return good ? 0 : 1;
}

/* And as `test_cpu_run train`: an epoch of mnist_mlp, and its memory. From a process of its own, since a program's memory
   counts from that which started it, and the test may have used a GPU. */
static const char trainer[] = HK_BUILD_DIR "/mnist_mlp";

static int train(void) {
    struct rusage usage = {0};
    int status = 1;
    const pid_t child = fork();
    if (child == 0) {
        const int nothing = open("/dev/null", O_WRONLY);
        dup2(nothing, STDOUT_FILENO);
        setenv("HILLOCK_BLAS", "off", 1); /* what OpenBLAS takes is its own affair */
        execl(trainer, trainer, "--device", "cpu", "--threads", "2", "--epochs", "1", "--quiet",
              "--data", HK_SOURCE_DIR "/data/mnist", (char *)NULL);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child) return 1;
    printf("%ld 0 1\n", usage.ru_maxrss);
    return status == 0 ? 0 : 1;
}

/* The three numbers that this program prints when it is started so. */
static void started(const char *how, long *numbers) {
    char path[4096], command[4200];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(length > 0);
    path[length] = 0;
    snprintf(command, sizeof command, "'%s' %s", path, how);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_int_equal(fscanf(out, "%ld %ld %ld", &numbers[0], &numbers[1], &numbers[2]), 3);
    assert_int_equal(pclose(out), 0);
}

/* A build without CUDA takes 1.4 MB and 80 page faults for that, one with CUDA 2 MB and 100. */
static void starts_as_without_cuda(void **state) {
    (void)state;
#ifndef MEASURED
    skip();
#endif
    if (own("VmHWM:") <= 0 || emulator()) skip();
    long kib = 1L << 30, faults = 1L << 30;
    for (int run = 0; run < 5; run++) { /* which pages are in the cache differs from run to run */
        long number[3];
        started("once", number);
        kib = number[0] < kib ? number[0] : kib;
        faults = number[1] < faults ? number[1] : faults;
        assert_int_equal(number[2], 1); /* thread */
    }
    print_message("a context that comes and goes: %ld KiB, %ld page faults\n", kib, faults);
    assert_in_range(kib, 1, 4 * 1024);
    assert_in_range(faults, 0, 250);
}

/* The README says 61 MB: the images are 52 of them. */
static void trains_in_as_little_memory(void **state) {
    (void)state;
#ifndef MEASURED
    skip();
#endif
    if (!HK_WITH_ZLIB || access(trainer, X_OK) != 0 || emulator()) skip();
    long number[3];
    started("train", number);
    if (number[0] == 0) skip(); /* not counted here */
    print_message("an epoch of mnist_mlp: %ld KiB\n", number[0]);
    assert_in_range(number[0], 55 * 1024, 64 * 1024);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "once") == 0) return once();
    if (argc == 2 && strcmp(argv[1], "train") == 0) return train();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_loaded),
        cmocka_unit_test(no_gpu_is_an_error),
        cmocka_unit_test(starts_as_without_cuda),
        cmocka_unit_test(trains_in_as_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
