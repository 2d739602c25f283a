/* test_born_dead.c: how many narrow deep relu nets are dead before training, counted, against the closed form.
   SPDX-License-Identifier: MIT

   Weights that are symmetric around 0, no bias, one input point: a hidden layer of N units that is alive sees an input
   that is not 0, so each of its units is off with probability 1/2, independent of the others. The layer is dead with
   2^-N, and one dead layer makes the rest of the net constant: P(dead) = 1 - (1 - 2^-N)^H for H hidden layers (Lu, Shin,
   Su and Karniadakis, "Dying ReLU and initialization", 2019, give a bound for data in one dimension that this is the case
   of a single point of). */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include "net_fixture.h"

#include "hk_units.h"
#include "module.h"

enum { NETS = 4000, NETS_EMULATED = 120, MOST_LAYERS = 20 };

static int count_nets(void) { return on_emulator() ? NETS_EMULATED : NETS; }

/* 1 - N - ... - N - 1 with H hidden layers. */
static hk_module *narrow(hk_context *ctx, int width, int hidden) {
    hk_module *members[2 * MOST_LAYERS + 1];
    int n = 0;
    for (int i = 0; i < hidden; i++) {
        members[n++] = hk_linear(ctx, i == 0 ? 1 : width, width);
        members[n++] = hk_activation(ctx, "relu");
    }
    members[n++] = hk_linear(ctx, width, 1);
    hk_module *net = hk_sequential_n(ctx, n, members);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1), "kaiming"), HK_OK);
    return net;
}

/* Weights of net number `which`; the biases stay 0. */
static void draw(hk_module *net, const char *stream, uint64_t which) {
    const hk_parameters all = hk_module_parameters(net);
    const hk_random random = hk_random_stream(2019, stream, which);
    uint64_t at = 0;
    for (int p = 0; p < all.count; p++) {
        hk_tensor *t = all.items[p];
        if (t->shape.rank != 2) continue;
        const double deviation = sqrt(2.0 / (double)t->shape.dim[1]);
        float *w = host(t);
        for (int64_t i = 0; i < hk_tensor_count(t); i++)
            w[i] = (float)(deviation * hk_random_normal(random, at++));
        host_done(t, w);
    }
}

/* Whether in some layer no unit of the net gives anything but 0, for this one point. A relu has no slope at 0 either, so
   these units are the dead ones. */
static bool is_dead(hk_units *units) {
    bool dead = false;
    for (int i = 0; i < hk_units_count(units); i++) {
        const hk_units_layer *l = hk_units_layer_at(units, i);
        assert_int_equal(l->samples, 1);
        assert_int_equal(l->dead, l->zero);
        dead |= l->zero == l->units;
    }
    return dead;
}

static double share_dead(int width, int hidden) {
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = narrow(ctx, width, hidden);
    hk_units *units = hk_units_create(net, NULL);
    char stream[32];
    snprintf(stream, sizeof stream, "born/%d/%d", width, hidden);
    int dead = 0;
    for (int i = 0; i < count_nets(); i++) {
        draw(net, stream, (uint64_t)i);
        assert_int_equal(hk_units_add(units, hk_full(ctx, HK_F32, HK_SHAPE(1, 1), 0.7)), HK_OK);
        assert_int_equal(hk_units_end(units), HK_OK);
        assert_int_equal(hk_units_count(units), hidden);
        dead += is_dead(units);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    hk_context_destroy(ctx);
    return (double)dead / count_nets();
}

static void as_many_as_the_closed_form(void **state) {
    (void)state;
    static const int widths[3] = {2, 3, 5}, depths[3] = {5, 10, 20};
    int outside = 0;
    double squares = 0;
    for (int w = 0; w < 3; w++)
        for (int d = 0; d < 3; d++) {
            const double p = 1 - pow(1 - pow(2, -widths[w]), depths[d]);
            const double error = sqrt(p * (1 - p) / count_nets()),
                         share = share_dead(widths[w], depths[d]);
            const double off = (share - p) / error;
            print_message("width %d, %2d hidden layers: %.4f of %d dead, closed form %.4f, %+.2f "
                          "standard errors\n",
                          widths[w], depths[d], share, count_nets(), p, off);
            outside += !(fabs(off) <= 3);
            squares += off * off;
        }
    assert_int_equal(outside, 0);
    /* Nine such errors are not all large, nor all 0: chi square with 9 degrees of freedom, 0.001 to 0.999. */
    assert_true(squares > 1.15 && squares < 27.9);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_many_as_the_closed_form)};
    return cmocka_run_group_tests_name("born dead", tests, NULL, NULL);
}
