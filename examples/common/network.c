/* network.c: the options that describe a network of any kind.
   SPDX-License-Identifier: MIT */
#include "network.h"

#include "train.h"

#include <string.h>

static const char *activation_choice(int i) {
    const hk_activation_info *row = hk_activation_row(NULL, i);
    return row ? row->name : NULL;
}

void network_add_options(options *opts, network_settings *net, const char *dropped) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "activation", .form = "SPEC", .kind = OPTION_TEXT, .value = &net->activation,
         .help = "behind each hidden layer, or one for each: relu/gelu; settings follow colons: "
                 "prelu:alpha=0.1:per=channel; candidates of a mixture: mix:relu+tanh; any of",
         .choice = activation_choice, .example = "relu", .flags = OPTION_EVERYDAY | OPTION_OPEN},
        {.name = "dropout", .form = "P", .kind = OPTION_NUMBER, .value = &net->dropout,
         .help = dropped, .low = 0, .high = 1, .example = "0.2", .flags = OPTION_BELOW},
    };
    /* clang-format on */
    options_add(opts, (int)(sizeof rows / sizeof *rows), rows);
}

/* How many specifications the list holds, 0 if one is too long. */
static int count_names(const char *list) {
    for (int n = 1;; n++) {
        const size_t length = strcspn(list, "/");
        if (length >= ACTIVATION_NAME_MOST) return 0;
        if (!list[length]) return n;
        list += length + 1;
    }
}

int network_check(const options *opts, const network_settings *net, int layers) {
    char text[96];
    const int names = count_names(net->activation);
    if (names == 1 || names == layers) return OPTIONS_GO;
    if (names == 0)
        snprintf(text, sizeof text, "shorter, at most %d characters for a layer",
                 ACTIVATION_NAME_MOST - 1);
    else
        snprintf(text, sizeof text, "one name, or as many as there are hidden layers (%d)", layers);
    return options_bad_value(opts, "activation", net->activation, text);
}
