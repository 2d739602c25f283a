/* main.c: trains a network for a few hundred steps and says what is wrong, with faults to plant on purpose.
   SPDX-License-Identifier: MIT */
#include "patient.h"

#include "device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    patient_plan plan;
    const char *fault, *data, *device;
    int64_t depth, width, batch, steps, images, seed, threads;
    bool list;
} settings;

static const char *net_choice(int i) {
    static const char *const names[] = {"mlp", "cnn", "residual", NULL};
    return names[i];
}
static const char *activation_choice(int i) {
    const hk_activation_info *row = hk_activation_row(NULL, i);
    return row ? row->name : NULL;
}
static const char *fault_choice(int i) {
    return i == 0 ? "none" : fault_at(i - 1) ? fault_at(i - 1)->name : NULL;
}

static void add_options(options *opts, settings *set) {
    patient_plan *p = &set->plan;
    /* clang-format off */
    const option_row rows[] = {
        {.name = "fault", .form = "NAME", .kind = OPTION_TEXT, .value = &set->fault, .choice = fault_choice,
         .help = "plant this fault (--list tells what each does): one of", .example = "rate-high",
         .flags = OPTION_EVERYDAY},
        {.name = "list", .kind = OPTION_FLAG, .value = &set->list,
         .help = "list the kinds of findings and the faults, and stop", .flags = OPTION_EVERYDAY},
        {.name = "net", .form = "NAME", .kind = OPTION_TEXT, .value = &p->net, .choice = net_choice,
         .help = "network: one of", .example = "mlp", .flags = OPTION_EVERYDAY},
        {.name = "depth", .form = "N", .kind = OPTION_INT, .value = &set->depth, .low = 1, .high = 100,
         .help = "hidden layers of mlp, blocks of residual", .example = "2", .flags = OPTION_EVERYDAY},
        {.name = "width", .form = "N", .kind = OPTION_INT, .value = &set->width, .low = 1, .high = 4096,
         .help = "units of a hidden layer", .example = "64", .flags = OPTION_EVERYDAY},
        {.name = "activation", .form = "SPEC", .kind = OPTION_TEXT, .value = &p->activation,
         .help = "behind each hidden layer: one of", .choice = activation_choice, .example = "relu",
         .flags = OPTION_EVERYDAY | OPTION_OPEN},
        {.name = "init", .form = "NAME", .kind = OPTION_TEXT, .value = &p->init, .choice = hk_init_name,
         .help = "how weights are drawn: one of", .example = "auto", .flags = OPTION_EVERYDAY},
        {.name = "optimizer", .form = "NAME", .kind = OPTION_TEXT, .value = &p->optimizer,
         .choice = hk_optimizer_row, .help = "one of", .example = "adam", .flags = OPTION_EVERYDAY},
        {.name = "lr", .form = "RATE", .kind = OPTION_NUMBER, .value = &p->lr, .low = 0, .high = HUGE_VAL,
         .help = "learning rate", .shown = "the optimizer's own", .example = "0.001",
         .flags = OPTION_EVERYDAY},
        {.name = "batch", .form = "N", .kind = OPTION_INT, .value = &set->batch, .low = 1, .high = 4096,
         .help = "images in a step", .example = "64"},
        {.name = "steps", .form = "N", .kind = OPTION_INT, .value = &set->steps, .low = 1, .high = 100000,
         .help = "steps to look at", .example = "300"},
        {.name = "images", .form = "N", .kind = OPTION_INT, .value = &set->images, .low = 1, .high = 60000,
         .help = "training images to use, the first of the set", .example = "5000"},
        {.name = "data", .form = "DIR", .kind = OPTION_TEXT, .value = &set->data,
         .help = "folder with images in MNIST's format", .example = "data/mnist"},
        {.name = "seed", .form = "N", .kind = OPTION_INT, .value = &set->seed, .low = 0, .high = 1e15,
         .help = "of every random draw", .example = "1"},
        {.name = "threads", .form = "N", .kind = OPTION_INT, .value = &set->threads, .low = 0, .high = 16,
         .help = "threads; 0: one for each core", .example = "2"},
        device_row(&set->device),
    };
    /* clang-format on */
    options_add(opts, (int)(sizeof rows / sizeof *rows), rows);
}

static int list(void) {
    printf("Kinds of findings, in the order in which they are named:\n");
    for (int i = 0; hk_doctor_kind(i); i++)
        printf("  %-19s %s\n", hk_doctor_kind(i), hk_doctor_meaning(hk_doctor_kind(i)));
    printf("\nFaults to plant, --fault NAME:\n");
    for (int i = 0; fault_at(i); i++) printf("  %-16s %s\n", fault_at(i)->name, fault_at(i)->what);
    return EXIT_SUCCESS;
}

/* Which option of this program, or of mnist_mlp, the first finding is about. */
static const char *flag_for(const hk_finding *f, char text[64]) {
    static const struct {
        const char *kind, *flag;
    } flags[] = {{"initialisation", "--init auto"},
                 {"symmetric", "--init auto"},
                 {"vanishing", "--activation relu"},
                 {"exploding", "--clip-norm 1 (mnist_mlp)"},
                 {"saturated", "--init auto"},
                 {"dead", "--activation leaky_relu"},
                 {"rate_high", "--lr"},
                 {"rate_low", "--lr"},
                 {"not_finite", "--nan-guard (mnist_mlp)"}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (strcmp(flags[i].kind, f->kind) != 0) continue;
        if (isnan(f->advised)) return flags[i].flag;
        snprintf(text, 64, "%s %.2g", flags[i].flag, f->advised);
        return text;
    }
    return NULL;
}

static int complain(const options *opts, const hk_context *ctx) {
    fprintf(stderr, "%s: %s\n", opts->program, ctx ? hk_error_message(ctx) : "out of memory");
    return EXIT_BAD_INPUT;
}

static int examine(const options *opts, const settings *set, hk_context *ctx, const digits *d) {
    static hk_diagnosis found;
    static char text[1 << 16];
    patient p;
    if (!patient_make(&p, ctx, &set->plan, d)) return complain(opts, ctx);
    const hk_doctor_config config = {.train = patient_train, .arg = &p, .steps = set->steps};
    if (hk_doctor_examine(p.net, p.opt, &config, &found) != HK_OK) return complain(opts, ctx);
    hk_diagnosis_text(&found, text, sizeof text);
    fputs(text, stdout);
    char room[64];
    const char *flag = found.count > 0 ? flag_for(&found.finding[0], room) : NULL;
    if (flag) printf("Option to change first: %s\n", flag);
    return found.count > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    static const char *const examples[] = {
        "                              a healthy network",
        "--fault rate-high             what it says of a rate that is too high",
        "--fault vanishing --depth 12  sigmoid through 12 layers",
        "--net cnn --fault rolled-labels",
        "--activation sigmoid --depth 8 --optimizer sgd --lr 0.1",
        "--list",
        NULL,
    };
    settings set = {
        .plan = {.net = "mlp", .activation = "relu", .init = "auto", .optimizer = "adam", .lr = -1},
        .fault = "none",
        .data = "data/mnist",
        .device = "cpu",
        .depth = 2,
        .width = 64,
        .batch = 64,
        .steps = 300,
        .images = 5000,
        .seed = 1};
    options opts = {
        .purpose = "says what is wrong with a network that does not train",
        .examples = examples,
        .notes = "Exit code: 0 if nothing was found, 1 if something was, 2 after bad input."};
    add_options(&opts, &set);
    const int code = options_parse(&opts, argc, argv);
    if (code != OPTIONS_GO) return code;
    if (set.list) return list();
    set.plan.depth = (int)set.depth;
    set.plan.width = set.width;
    set.plan.batch = set.batch;
    set.plan.fault = fault_find(set.fault);

    hk_context *ctx = hk_context_create(&(hk_context_config){
        .device = device_of(set.device), .seed = (uint64_t)set.seed, .threads = (int)set.threads});
    digits d = {.count = 0};
    int end =
        ctx && digits_read(&d, ctx, set.data, set.images) ? EXIT_SUCCESS : complain(&opts, ctx);
    if (end == EXIT_SUCCESS) end = examine(&opts, &set, ctx, &d);
    digits_free(&d);
    hk_context_destroy(ctx);
    return end;
}
