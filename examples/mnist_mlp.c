/* mnist_mlp.c: trains a multi-layer perceptron on MNIST, or on any images in the same format.
   SPDX-License-Identifier: MIT

   The network is described here; the training loop, which every program shares, is in
   common/train.c. */
#include <hillock/hillock.h>

#include "network.h"
#include "train.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS_MOST = 1000, WIDTH_MOST = 65536 };

typedef struct mlp_settings {
    network_settings net;
    const char *hidden;
    int layers;                 /* read from `hidden` */
    int64_t width[LAYERS_MOST]; /* of each hidden layer */
} mlp_settings;

/* --- options ---------------------------------------------------------------------------------- */

/* A whole number from 1 to `most` at *text, which moves behind it; 0 if there is none. */
static int64_t read_count(const char **text, int64_t most) {
    char *end;
    if (**text < '0' || **text > '9') return 0;
    const long long v = strtoll(*text, &end, 10);
    *text = end;
    return v >= 1 && v <= most ? v : 0;
}

/* "512-256", "128x10", "256-128x3" or "none" becomes the width of each layer. */
static bool read_hidden(mlp_settings *mlp) {
    const char *text = mlp->hidden;
    mlp->layers = 0;
    if (strcmp(text, "none") == 0) return true;
    do {
        const int64_t width = read_count(&text, WIDTH_MOST);
        int64_t times = 1;
        if (*text == 'x') {
            text++;
            times = read_count(&text, LAYERS_MOST - mlp->layers);
        }
        if (width == 0 || times == 0 || mlp->layers + times > LAYERS_MOST) return false;
        for (; times > 0; times--) mlp->width[mlp->layers++] = width;
    } while (*text++ == '-');
    return text[-1] == 0;
}

/* What the table of options cannot check. */
static int check(const options *opts, mlp_settings *mlp) {
    if (!read_hidden(mlp))
        return options_bad_value(opts, "hidden", mlp->hidden,
                                 "widths from 1 to 65536, such as 128 or 512-256 or 128x10");
    return network_check(opts, &mlp->net, mlp->layers);
}

/* --- the network ------------------------------------------------------------------------------ */

/* flatten; linear, activation, dropout if any, for each hidden layer; linear to the classes. */
static hk_module *describe(hk_context *ctx, const mlp_settings *mlp, hk_shape item, int classes) {
    hk_module *members[3 * LAYERS_MOST + 2];
    char name[ACTIVATION_NAME_MOST];
    int n = 0;
    int64_t width = hk_shape_count(item);
    members[n++] = hk_flatten(ctx);
    /* A mistake in a name is told even if no layer uses it. */
    hk_activation_spec unused;
    if (mlp->layers == 0 && hk_activation_parse(ctx, mlp->net.activation, &unused)) return NULL;
    for (int i = 0; i < mlp->layers; i++) {
        train_activation_name(mlp->net.activation, i, name);
        members[n++] = hk_linear(ctx, width, mlp->width[i]);
        members[n++] = hk_activation(ctx, name);
        if (mlp->net.dropout > 0) members[n++] = hk_dropout(ctx, mlp->net.dropout);
        width = mlp->width[i];
    }
    members[n++] = hk_linear(ctx, width, classes);
    return hk_sequential_n(ctx, n, members);
}

/* --- the program ------------------------------------------------------------------------------ */

static void add_options(options *opts, mlp_settings *mlp) {
    /* clang-format off */
    const option_row rows[] = {
        {.name = "hidden", .form = "WIDTHS", .kind = OPTION_TEXT, .value = &mlp->hidden,
         .help = "widths of the hidden layers: 512-256, 128x10 for ten of 128, or none",
         .example = "512-256", .flags = OPTION_EVERYDAY},
    };
    /* clang-format on */
    options_add(opts, (int)(sizeof rows / sizeof *rows), rows);
    network_add_options(opts, &mlp->net,
                        "share of each hidden layer that is switched off in a step");
}

int main(int argc, char **argv) {
    static const char *const examples[] = {
        "                                 the defaults: 784-128-10, about 97.5 %",
        "--hidden 512-256 --epochs 10     a larger network",
        "--activation tanh --optimizer sgd --lr 0.1",
        "--activation mix:relu+tanh+silu  which of them it learns to use",
        "--val 5000 --patience 3 --epochs 50 --log run.jsonl",
        NULL,
    };
    static const char *const next[3] = {
        "--hidden 512-256 --batch 128 --epochs 10 --schedule cosine",
        "--activation tanh --optimizer momentum --lr 0.05 --log run.jsonl",
        "--help",
    };
    static mlp_settings mlp = {.hidden = "128", .net.activation = "relu"};
    train_settings settings = train_defaults();
    options opts = {.purpose = "trains a multi-layer perceptron on MNIST", .examples = examples};
    add_options(&opts, &mlp);
    train_add_options(&opts, &settings);
    int code = options_parse(&opts, argc, argv);
    if (code == OPTIONS_GO) code = check(&opts, &mlp);
    if (code != OPTIONS_GO) return code;

    training *run = train_begin(&opts, &settings);
    if (run) run->activations = mlp.net.activation;
    if (run && run->code == 0) train(run, describe(run->ctx, &mlp, run->item, run->classes));
    train_report(run, next);
    return train_end(run);
}
