/* mnist_cnn.c: trains a convolutional network on MNIST, or on any images in the same format.
   SPDX-License-Identifier: MIT

   Three networks are described here, layer by layer. The training loop, which every program shares,
   is in common/train.c; what --out draws, in common/out.c. */
#include <hillock/hillock.h>

#include "network.h"
#include "train.h"

#include <string.h>

enum { LAYERS_MOST = 100 };

typedef struct cnn_settings {
    network_settings net;
    const char *model;
    bool batch_norm;
} cnn_settings;

/* --- layers, one after the other -------------------------------------------------------------- */

/* A list that grows, and the size of what its last layer gives. */
typedef struct layers {
    hk_context *ctx;
    const cnn_settings *set;
    int64_t channels, height, width;
    int activations; /* so far, in the whole network */
    int count;
    hk_module *member[LAYERS_MOST];
} layers;

static void add(layers *l, hk_module *layer) {
    if (l->count < LAYERS_MOST)
        l->member[l->count++] = layer;
    else
        hk_fail(l->ctx, HK_ERR_ARGUMENT, "mnist_cnn", "more than %d layers", LAYERS_MOST);
}

static hk_module *join(const layers *l) { return hk_sequential_n(l->ctx, l->count, l->member); }

/* With stride 1 the images keep their size. Batch norm shifts by itself: no bias before it. */
static void conv(layers *l, int64_t kernel, int64_t channels, int64_t stride, bool norm) {
    const hk_conv2d_config config = {.stride = HK_SQUARE(stride), .padding = HK_SQUARE(kernel / 2)};
    add(l, (norm ? hk_conv2d_no_bias : hk_conv2d)(l->ctx, l->channels, channels, HK_SQUARE(kernel),
                                                  &config));
    if (norm) add(l, hk_batch_norm2d(l->ctx, NULL));
    l->channels = channels;
    l->height = (l->height - 1) / stride + 1;
    l->width = (l->width - 1) / stride + 1;
}

/* Maxout and gated units have the layer before widened: the number of channels stays. */
static void act(layers *l) {
    char name[ACTIVATION_NAME_MOST];
    train_activation_name(l->set->net.activation, l->activations++, name);
    add(l, hk_activation(l->ctx, name));
}

static void max_pool(layers *l) {
    if (l->height < 2 || l->width < 2)
        hk_fail(l->ctx, HK_ERR_SHAPE, "mnist_cnn", "the images are too small for this model");
    add(l, hk_max_pool2d(l->ctx, &(hk_pool2d_config){.kernel = HK_SQUARE(2)}));
    l->height /= 2;
    l->width /= 2;
}

static void flatten(layers *l) {
    add(l, hk_flatten(l->ctx));
    l->channels *= l->height * l->width;
}

static void linear(layers *l, int64_t width) {
    add(l, hk_linear(l->ctx, l->channels, width));
    l->channels = width;
}

static void last_linear(layers *l, int classes) {
    if (l->set->net.dropout > 0) add(l, hk_dropout(l->ctx, l->set->net.dropout));
    linear(l, classes);
}

/* --- small and lenet -------------------------------------------------------------------------- */

static void small(layers *l, int classes) {
    const bool norm = l->set->batch_norm;
    conv(l, 3, 8, 1, norm);
    act(l);
    max_pool(l);
    conv(l, 3, 16, 1, norm);
    act(l);
    max_pool(l);
    flatten(l);
    last_linear(l, classes);
}

/* After LeNet-5 (LeCun et al. 1998), wider. */
static void lenet(layers *l, int classes) {
    const bool norm = l->set->batch_norm;
    conv(l, 5, 32, 1, norm);
    act(l);
    max_pool(l);
    conv(l, 5, 64, 1, norm);
    act(l);
    max_pool(l);
    flatten(l);
    linear(l, 512);
    act(l);
    last_linear(l, classes);
}

/* --- deep ------------------------------------------------------------------------------------- */

/* A residual network (He et al. 2016): a convolution, then stages of blocks. The stride is that of a
   stage's first block, which makes the images smaller. */
static const struct {
    int64_t channels, stride;
    int blocks;
} stages[] = {{32, 2, 2}, {64, 2, 2}};
enum { STAGES = sizeof stages / sizeof *stages };

/* Whether activation i of the network gives fewer channels than it gets. */
static bool narrows(const layers *l, int i) {
    char name[ACTIVATION_NAME_MOST];
    hk_activation_spec spec;
    train_activation_name(l->set->net.activation, i, name);
    return hk_activation_parse(l->ctx, name, &spec) == HK_OK && hk_activation_widens(&spec) > 1;
}

/* Two convolutions, with the input added to what they give. Where that has another shape, also
   because the activation behind wants it wider, a 1x1 convolution brings the input to it. */
static void block(layers *l, int64_t channels, int64_t stride) {
    layers body = *l, shortcut = *l;
    body.count = shortcut.count = 0;
    conv(&body, 3, channels, stride, true);
    act(&body);
    conv(&body, 3, channels, 1, true);
    if (stride > 1 || channels != l->channels || narrows(l, body.activations))
        conv(&shortcut, 1, channels, stride, true);
    add(l, hk_residual(l->ctx, join(&body), shortcut.count > 0 ? join(&shortcut) : NULL));
    l->channels = body.channels;
    l->height = body.height;
    l->width = body.width;
    l->activations = body.activations;
    act(l);
}

static void deep(layers *l, int classes) {
    conv(l, 3, stages[0].channels, 1, true);
    act(l);
    for (int s = 0; s < STAGES; s++)
        for (int b = 0; b < stages[s].blocks; b++)
            block(l, stages[s].channels, b == 0 ? stages[s].stride : 1);
    add(l, hk_global_avg_pool(l->ctx));
    last_linear(l, classes);
}

/* --- the network ------------------------------------------------------------------------------ */

typedef struct model {
    const char *name;
    void (*describe)(layers *l, int classes);
    int hidden; /* layers with an activation behind them; 0: counted from `stages` */
} model;

static const model models[] = {{"small", small, 2}, {"lenet", lenet, 3}, {"deep", deep, 0}};
enum { MODELS = sizeof models / sizeof *models };

static const char *model_choice(int i) { return i < MODELS ? models[i].name : NULL; }

static const model *find_model(const char *name) {
    int i = 0;
    while (strcmp(models[i].name, name) != 0) i++; /* the option takes no other name */
    return &models[i];
}

static int hidden_layers(const model *m) {
    int n = 1;
    for (int s = 0; s < STAGES; s++) n += 2 * stages[s].blocks;
    return m->hidden ? m->hidden : n;
}

static hk_module *describe(const training *run, const cnn_settings *cnn) {
    layers l = {.ctx = run->ctx,
                .set = cnn,
                .channels = run->item.dim[0],
                .height = run->item.dim[1],
                .width = run->item.dim[2]};
    find_model(cnn->model)->describe(&l, run->classes);
    return join(&l);
}

/* --- the program ------------------------------------------------------------------------------ */

static void add_options(options *opts, cnn_settings *cnn) {
    /* clang-format off */
    const option_row first[] = {
        {.name = "model", .form = "NAME", .kind = OPTION_TEXT, .value = &cnn->model,
         .help = "two convolutions, narrow or wide, or a residual network",
         .choice = model_choice, .example = "small", .flags = OPTION_EVERYDAY},
    };
    const option_row rest[] = {
        {.name = "batch-norm", .kind = OPTION_FLAG, .value = &cnn->batch_norm,
         .help = "normalise behind each convolution; deep always does"},
    };
    /* clang-format on */
    options_add(opts, 1, first);
    network_add_options(opts, &cnn->net,
                        "share of the last layer's input that is switched off in a step");
    options_add(opts, (int)(sizeof rest / sizeof *rest), rest);
}

int main(int argc, char **argv) {
    static const char *const examples[] = {
        "                              the defaults: small, 5 epochs",
        "--out pictures                a page that shows what happens inside",
        "--model lenet --schedule one-cycle --dropout 0.3",
        "--model deep --batch 128 --schedule one-cycle --shift 2 --rotation 10",
        "--activation gelu/maxout:k=3 --batch-norm",
        NULL,
    };
    static const char *const next[3] = {
        "--model lenet --schedule one-cycle",
        "--activation prelu:per=channel --batch-norm --out pictures",
        "--help",
    };
    cnn_settings cnn = {.net.activation = "relu", .model = "small"};
    train_settings settings = train_defaults();
    options opts = {.purpose = "trains a convolutional network on MNIST", .examples = examples};
    add_options(&opts, &cnn);
    train_add_options(&opts, &settings);
    int code = options_parse(&opts, argc, argv);
    if (code == OPTIONS_GO)
        code = network_check(&opts, &cnn.net, hidden_layers(find_model(cnn.model)));
    if (code != OPTIONS_GO) return code;

    training *run = train_begin(&opts, &settings);
    if (run) run->activations = cnn.net.activation;
    if (run && run->code == 0) train(run, describe(run, &cnn));
    train_report(run, next);
    return train_end(run);
}
