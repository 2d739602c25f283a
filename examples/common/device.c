/* device.c: the option --device.
   SPDX-License-Identifier: MIT */
#include "device.h"

#include <string.h>

static const char *const names[] = {[HK_CPU] = "cpu", [HK_CUDA] = "cuda"};

static const char *choice(int i) { return i < 2 ? names[i] : NULL; }

option_row device_row(const char **value) {
    return (option_row){.name = "device",
                        .form = "NAME",
                        .kind = OPTION_TEXT,
                        .value = value,
                        .help = "where to compute",
                        .choice = choice,
                        .example = "cpu",
                        .flags = OPTION_EVERYDAY};
}

hk_device device_of(const char *value) {
    return strcmp(value, names[HK_CUDA]) == 0 ? HK_CUDA : HK_CPU;
}
