/* device.h: the option --device.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_DEVICE_H
#define EXAMPLES_DEVICE_H

#include <hillock/hillock.h>

#include "options.h"

/* value: "cpu" or "cuda"; it holds the default. */
option_row device_row(const char **value);
hk_device device_of(const char *value);

#endif
