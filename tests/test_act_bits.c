/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_act_bits.c: same bits on one thread and on two, with x that needs a gradient and without,
   at sizes around those at which work is cut and dealt to threads.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"
#include "hk_layers.h"

/* Blocks of 512, 4096 and 8192 elements; 32768 are enough for a second thread. */
static const hk_shape shapes[] = {
    {1, {511}},          {1, {4095}},         {1, {4096}},          {1, {4097}},
    {1, {8193}},         {1, {32767}},        {1, {32768}},         {1, {32769}},
    {1, {100003}},       {2, {1000, 33}},     {2, {4097, 8}},       {4, {3, 5, 71, 31}},
    {4, {7, 2, 64, 64}}, {4, {2, 3, 65, 65}}, {4, {1, 33, 32, 32}}, {3, {129, 17, 15}},
    {4, {5, 3, 90, 91}},
};

typedef struct results {
    float *y, *gx, *gp[HK_ACTIVATION_MAX_PARAMS];
    int64_t n, own;
} results;

static float *copied(hk_tensor *t) {
    const size_t size = (size_t)hk_tensor_count(t) * sizeof(float);
    float *out = malloc(size);
    assert_non_null(out);
    must(hk_tensor_read(t, out, size));
    return out;
}

static void release(results *r) {
    free(r->y);
    free(r->gx);
    for (int k = 0; k < HK_ACTIVATION_MAX_PARAMS; k++) free(r->gp[k]);
}

/* Parameters of one element, or for each channel, all near their defaults. */
static results run(hk_context *ctx, const hk_activation_spec *spec, hk_shape shape, bool channels,
                   bool needs_x) {
    results r = {.n = hk_shape_count(shape)};
    hk_tensor *x = seeded(ctx, HK_F32, shape, "x", -4, 4, 0),
              *g = seeded(ctx, HK_F32, shape, "g", -1, 1, 0);
    hk_tensor *p[HK_ACTIVATION_MAX_PARAMS] = {NULL};
    if (needs_x) hk_require_grad(x);
    hk_shape own = {1, {channels ? shape.dim[1] : 1}};
    for (int i = 2; i < shape.rank && channels; i++) own.dim[own.rank++] = 1;
    r.own = hk_shape_count(own);
    for (int k = 0; k < spec->info->n_params; k++)
        if (spec->info->params[k].role == HK_PARAM_LEARNS)
            p[k] = hk_require_grad(seeded(ctx, HK_F32, own, spec->info->params[k].name,
                                          spec->value[k] - 0.2, spec->value[k] + 0.2, 0));
    hk_tensor *y = hk_activate_with(x, spec, p);
    must(hk_backward_from(ctx, y, g));
    r.y = copied(y);
    if (needs_x) r.gx = copied(hk_grad(x));
    for (int k = 0; k < spec->info->n_params; k++) {
        if (p[k]) r.gp[k] = copied(hk_grad(p[k]));
        hk_tensor_destroy(p[k]);
    }
    hk_tensor_destroy(x);
    hk_tensor_destroy(g);
    must(hk_step_end(ctx));
    return r;
}

static void same(const char *name, const char *what, hk_shape shape, const float *a, const float *b,
                 int64_t n) {
    char text[64];
    for (int64_t i = 0; a && b && i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s, %s of %s: element %d is %.9g and %.9g", name, what,
                     hk_shape_text(shape, text, sizeof text), (int)i, (double)a[i], (double)b[i]);
}

static void all_same(const char *name, hk_shape shape, const results *a, const results *b) {
    same(name, "y", shape, a->y, b->y, a->n);
    same(name, "gradient of x", shape, a->gx, b->gx, a->n);
    for (int k = 0; k < HK_ACTIVATION_MAX_PARAMS; k++)
        same(name, "gradient of a parameter", shape, a->gp[k], b->gp[k], a->own);
}

/* One row of each kind: from the output, from the input, one parameter, several. */
static const char *const texts[] = {"tanh", "gelu", "prelu", "swish_skip", "pau"};

static void threads(void **state) {
    (void)state;
    hk_context *one = new_context(1, NULL), *two = new_context(2, NULL);
    for (int64_t t = 0; t < COUNT(texts); t++)
        for (int64_t s = 0; s < COUNT(shapes); s++)
            for (int channels = 0; channels < (shapes[s].rank > 1 ? 2 : 1); channels++) {
                hk_activation_spec spec;
                must(hk_activation_parse(one, texts[t], &spec));
                results a = run(one, &spec, shapes[s], channels, true),
                        b = run(two, &spec, shapes[s], channels, true);
                all_same(texts[t], shapes[s], &a, &b);
                release(&b);
                b = run(two, &spec, shapes[s], channels, spec.info->n_params == 0);
                all_same(texts[t], shapes[s], &a, &b);
                release(&a);
                release(&b);
            }
    hk_context_destroy(one);
    hk_context_destroy(two);
}

/* Functions of a row, networks and mixtures as modules: parameters, values and gradients. */
static uint64_t module_bits(int threads, const char *text, hk_shape shape) {
    hk_context *ctx = new_context(threads, NULL);
    hk_module *m = hk_activation(ctx, text);
    must(hk_module_build(m, shape, NULL));
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F32, shape, "x", -2, 2, 0));
    hk_tensor *y = hk_forward(m, x);
    hk_tensor *g = seeded(ctx, HK_F32, hk_tensor_shape(y), "g", -1, 1, 0);
    must(hk_backward_from(ctx, y, g));
    const hk_parameters all = hk_module_parameters(m);
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (int k = -2; k < all.count; k++) {
        hk_tensor *t = k == -2 ? y : hk_grad(k == -1 ? x : all.items[k]);
        float *value = copied(t);
        for (int64_t i = 0; i < hk_tensor_count(t); i++) {
            uint32_t bits;
            memcpy(&bits, &value[i], sizeof bits);
            hash = (hash ^ bits) * UINT64_C(0x100000001B3);
        }
        free(value);
    }
    hk_context_destroy(ctx);
    return hash;
}

static void modules(void **state) {
    (void)state;
    static const char *const wide[] = {
        "softmax",   "log_softmax",     "maxout:k=3",    "swiglu", "dyrelu_a", "dyrelu_b",
        "meta_acon", "meta_acon:bn=on", "mix:relu+tanh", "rrelu",  "frelu"};
    static const hk_shape shape[] = {{2, {1001, 36}}, {4, {3, 12, 31, 33}}};
    for (int64_t k = 0; k < COUNT(wide); k++)
        for (int64_t s = 0; s < COUNT(shape); s++) {
            if (strcmp(wide[k], "frelu") == 0 && shape[s].rank != 4) continue;
            const uint64_t one = module_bits(1, wide[k], shape[s]);
            if (one != module_bits(2, wide[k], shape[s]))
                fail_msg("%s, shape %d: not the same on two threads", wide[k], (int)s);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads),
        cmocka_unit_test(modules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
