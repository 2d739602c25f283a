/* ctest: labels=golden timeout=60 devices=cpu,cuda */
/* test_act_golden_wide.c: functions of a row, small networks and parameters for each channel
   against values computed elsewhere: forward and every gradient, in double and in float, functions
   of a row on images too.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"
#include "hk_layers.h"

enum { MOST_TENSORS = 128, MOST_VALUES = 256, MOST_PARAMETERS = 12 };

typedef struct entry {
    char name[24], group[24], tensor[24];
    int64_t n;
    hk_shape shape;
    double value[MOST_VALUES];
    bool used, compared;
} entry;

typedef struct entries {
    int n;
    entry at[MOST_TENSORS];
} entries;

static void read_entry(entry *e, const table *t) {
    snprintf(e->name, sizeof e->name, "%s", t->field[0]);
    snprintf(e->group, sizeof e->group, "%s", t->field[1]);
    snprintf(e->tensor, sizeof e->tensor, "%s", t->field[2]);
    char *at = t->field[3];
    for (; e->shape.rank < HK_MAX_RANK; at++) {
        e->shape.dim[e->shape.rank++] = strtol(at, &at, 10);
        if (*at != 'x') break;
    }
    char *end;
    for (at = t->field[4];; at = end) {
        const double value = strtod(at, &end);
        if (end == at) break;
        assert_true(e->n < MOST_VALUES);
        e->value[e->n++] = value;
    }
    if (e->n != hk_shape_count(e->shape)) fail_msg("%s has %d values", e->tensor, (int)e->n);
}

static int read_entries(void **state) {
    entries *all = calloc(1, sizeof *all);
    table *t = malloc(sizeof *t);
    table_open(t, "activations-golden-vector.csv");
    while (table_next(t)) {
        assert_true(all->n < MOST_TENSORS);
        read_entry(&all->at[all->n++], t);
    }
    fclose(t->file);
    free(t);
    *state = all;
    return 0;
}

static int free_entries(void **state) {
    free(*state);
    return 0;
}

static entry *find(entries *all, const char *name, const char *group, const char *tensor) {
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->at[i].name, name) && !strcmp(all->at[i].group, group) &&
            !strcmp(all->at[i].tensor, tensor)) {
            all->at[i].used = true;
            return &all->at[i];
        }
    return NULL;
}

/* --- the cases ------------------------------------------------------------------------------- */

/* What the table calls a parameter, and its path in the module. */
typedef struct parameter {
    const char *tensor, *path;
} parameter;

typedef struct golden_case {
    const char *name, *group, *text;
    const char *input; /* x or z */
    bool rows;         /* of (n, c): also runs on images */
    hk_shape shape;    /* of the input where the module wants another than the table's */
    parameter parameters[MOST_PARAMETERS];
} golden_case;

#define TWO_LINEAR                                                                                 \
    {"w1", "fc1.weight"}, {"c1", "fc1.bias"}, {"w2", "fc2.weight"}, { "c2", "fc2.bias" }

static const golden_case cases[] = {
    {.name = "softmax", .group = "rows", .text = "softmax", .input = "x", .rows = true},
    {.name = "log_softmax", .group = "rows", .text = "log_softmax", .input = "x", .rows = true},
    {.name = "prelu",
     .group = "per_channel",
     .text = "prelu:per=channel",
     .input = "x",
     .parameters = {{"alpha", "alpha"}}},
    {.name = "maxout",
     .group = "k3_tie",
     .text = "maxout:k=3",
     .input = "z",
     .rows = true,
     .shape = {2, {3, 12}}},
    {.name = "glu", .group = "half_split", .text = "glu", .input = "z", .rows = true},
    {.name = "reglu", .group = "half_split", .text = "reglu", .input = "z", .rows = true},
    {.name = "geglu", .group = "half_split", .text = "geglu", .input = "z", .rows = true},
    {.name = "swiglu", .group = "half_split", .text = "swiglu", .input = "z", .rows = true},
    {.name = "dyrelu_a",
     .group = "K2_r2",
     .text = "dyrelu_a:r=2",
     .input = "x",
     .parameters = {TWO_LINEAR}},
    {.name = "dyrelu_b",
     .group = "K2_r2",
     .text = "dyrelu_b:r=2",
     .input = "x",
     .parameters = {TWO_LINEAR}},
    {.name = "meta_acon",
     .group = "no_bn",
     .text = "meta_acon:r=2",
     .input = "x",
     .parameters = {{"p1", "p1"}, {"p2", "p2"}, TWO_LINEAR}},
    {.name = "meta_acon",
     .group = "bn_train",
     .text = "meta_acon:r=2:bn=on",
     .input = "x",
     .parameters = {{"p1", "p1"},
                    {"p2", "p2"},
                    TWO_LINEAR,
                    {"g1", "bn1.weight"},
                    {"b1", "bn1.bias"},
                    {"g2", "bn2.weight"},
                    {"b2", "bn2.bias"}}},
    {.name = "frelu",
     .group = "train",
     .text = "frelu",
     .input = "x",
     .parameters = {{"w", "conv.weight"}, {"gamma", "bn.weight"}, {"beta", "bn.bias"}}},
};

/* How many tensors the table has: inputs and what comes out. */
enum { TENSORS = 108, RESULTS = 54 };

/* Row i, column j of a table of so many columns, in an image (1, columns, 1, rows). */
static int64_t in_image(int64_t i, int64_t rows, int64_t columns) {
    return i % columns * rows + i / columns;
}

static hk_shape image_of(hk_shape rows) { return HK_SHAPE(1, rows.dim[1], 1, rows.dim[0]); }

/* The table's values as a tensor of that shape, (n, c) or the image of it. */
static hk_tensor *given(hk_context *ctx, hk_dtype dtype, const entry *e, hk_shape shape,
                        bool image) {
    if (!image) return kept(ctx, dtype, shape, e->value);
    double turned[MOST_VALUES];
    for (int64_t i = 0; i < e->n; i++)
        turned[in_image(i, shape.dim[0], shape.dim[1])] = e->value[i];
    return kept(ctx, dtype, image_of(shape), turned);
}

typedef struct comparison {
    const golden_case *c;
    const char *isa;
    double tolerance;
    bool image;
} comparison;

/* rows: how many the table's tensor has. */
static void compare(const comparison *by, const char *tensor, hk_tensor *got, entry *want,
                    int64_t rows) {
    char name[96];
    snprintf(name, sizeof name, "%s, %s, %s, %s%s", by->c->name, by->c->group, tensor,
             hk_tensor_dtype(got) == HK_F64 ? "f64" : by->isa, by->image ? ", image" : "");
    const double *value = values(got);
    if (!want) fail_msg("%s is not in the table", name);
    assert_int_equal(hk_tensor_count(got), want->n);
    for (int64_t i = 0; i < want->n; i++)
        assert_close(name, i, value[by->image ? in_image(i, rows, want->n / rows) : i],
                     want->value[i], by->tolerance * fmax(1, fabs(want->value[i])));
    want->compared = true;
}

static void set_parameters(entries *all, const golden_case *c, hk_module *m) {
    const hk_parameters owned = hk_module_parameters(m);
    int n = 0;
    for (const parameter *p = c->parameters; p->tensor; p++, n++) {
        const entry *e = find(all, c->name, c->group, p->tensor);
        hk_tensor *t = hk_module_find(m, p->path);
        assert_non_null(e);
        assert_non_null(t);
        assert_int_equal(hk_tensor_count(t), e->n);
        hk_tensor *same =
            hk_reshape(kept(hk_module_context(m), HK_F64, e->shape, e->value), hk_tensor_shape(t));
        must(hk_tensor_copy(t, same));
    }
    assert_int_equal(owned.count, n);
}

static void run_case(entries *all, const comparison *by, hk_context *ctx) {
    const golden_case *c = by->c;
    const hk_dtype dtype = by->tolerance < 1e-8 ? HK_F64 : HK_F32;
    const entry *in = find(all, c->name, c->group, c->input),
                *gy = find(all, c->name, c->group, "gy");
    entry *y = find(all, c->name, c->group, "y");
    assert_true(in && gy && y);
    hk_module *m = hk_activation(ctx, c->text);
    const hk_shape shape = c->shape.rank > 0 ? c->shape : in->shape;
    must(hk_module_build(m, by->image ? image_of(shape) : shape, NULL));
    set_parameters(all, c, m);
    hk_tensor *x = hk_require_grad(given(ctx, dtype, in, shape, by->image));
    hk_tensor *got = hk_forward(m, x);
    assert_ok(ctx);
    compare(by, "y", got, y, shape.dim[0]);
    assert_shape(got, by->image ? image_of(y->shape) : y->shape);
    must(hk_backward_from(ctx, got, given(ctx, dtype, gy, y->shape, by->image)));
    char name[32];
    snprintf(name, sizeof name, "grad:%s", c->input);
    compare(by, name, hk_grad(x), find(all, c->name, c->group, name), shape.dim[0]);
    for (const parameter *p = c->parameters; p->tensor; p++) {
        snprintf(name, sizeof name, "grad:%s", p->tensor);
        compare(by, name, hk_grad(hk_module_find(m, p->path)), find(all, c->name, c->group, name),
                1);
    }
    must(hk_step_end(ctx));
}

static void run_all(entries *all, hk_dtype dtype, int threads, const char *isa) {
    const hk_context_config config = {.dtype = dtype, .threads = threads, .isa = isa, .seed = 1};
    hk_context *ctx = test_context(&config);
    assert_ok(ctx);
    for (int64_t k = 0; k < COUNT(cases); k++)
        for (int image = 0; image <= cases[k].rows; image++) {
            const comparison by = {&cases[k], isa, dtype == HK_F64 ? 1e-12 : 1e-5, image == 1};
            run_case(all, &by, ctx);
        }
    hk_context_destroy(ctx);
}

static void in_double(void **state) {
    for (int threads = 1; threads <= 2; threads++) run_all(*state, HK_F64, threads, NULL);
}

static void in_float(void **state) {
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++)
        for (int threads = 1; threads <= 2; threads++) run_all(*state, HK_F32, threads, isa);
}

/* Every tensor of the table went in, or was compared with what came out. */
static void nothing_is_left_out(void **state) {
    const entries *all = *state;
    int compared = 0;
    for (int i = 0; i < all->n; i++) {
        const entry *e = &all->at[i];
        const bool result = strcmp(e->tensor, "y") == 0 || strncmp(e->tensor, "grad:", 5) == 0;
        if (!e->used || e->compared != result)
            fail_msg("%s %s %s was not compared", e->name, e->group, e->tensor);
        compared += e->compared;
    }
    assert_int_equal(all->n, TENSORS);
    assert_int_equal(compared, RESULTS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_double),
        cmocka_unit_test(in_float),
        cmocka_unit_test(nothing_is_left_out),
    };
    return cmocka_run_group_tests(tests, read_entries, free_entries);
}
