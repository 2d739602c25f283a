/* ctest: labels=unit timeout=60 */
/* test_flow.c: gradient flow.
   SPDX-License-Identifier: MIT */
#include "net_fixture.h"

#include "hk_flow.h"

static void print_record(const hk_flow_record *r, void *arg) {
    (*(int *)arg)++;
    printf("step %d\n", (int)r->step);
    for (int i = 0; i < r->n_parameters; i++)
        printf("  %s mean %g std %g l2 %g w %g ratio %g one %g\n", r->parameters[i].name,
               r->parameters[i].grad.mean, r->parameters[i].grad.std, r->parameters[i].grad.l2,
               r->parameters[i].weight_l2, r->parameters[i].update_ratio,
               r->parameters[i].one_sign);
    for (int i = 0; i < r->n_layers; i++)
        printf("  %s %s out mean %g std %g zeros %d/%d grad %g ratio %g one %g\n",
               r->layers[i].name, r->layers[i].kind, r->layers[i].out.mean, r->layers[i].out.std,
               (int)r->layers[i].out.zeros, (int)r->layers[i].out.count, r->layers[i].grad_l2,
               r->layers[i].ratio, r->layers[i].one_sign_sample);
}

static void test_records(void **state) {
    (void)state;
    const recipe r = {.in = 36, .hidden = {20, 16}, .classes = 5, .threads = 2, .seed = 3};
    hk_context *ctx = recipe_context(&r);
    hk_module *net = recipe_net(ctx, &r);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1, 6, 6), NULL), HK_OK);
    hk_dataset *ds = patterns(ctx, 256, HK_SHAPE(1, 6, 6), 5);
    hk_loader *loader = hk_loader_create(ds, &(hk_loader_config){.batch = 32});
    hk_optimizer *opt = hk_sgd(ctx, hk_module_parameters(net), hk_sgd_defaults());
    int count = 0;
    hk_flow *flow =
        hk_flow_create(net, &(hk_flow_config){.every = 3, .report = print_record, .arg = &count});
    assert_ok(ctx);
    hk_batch batch;
    while (hk_loader_next(loader, &batch)) train_step(ctx, net, opt, &batch);
    assert_int_equal(count, 3);
    hk_flow_finish(flow);
    assert_int_equal(count, 3);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
