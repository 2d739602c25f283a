/* test_random.c: Philox against its published vectors, and what is made of its bits.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "philox.h" /* hidden: outside cannot reach its full counter */
#include "random.h"

/* Vectors published with Random123 by the authors of the generator. */
static void known_answers(void **state) {
    (void)state;
    static const struct {
        uint64_t key, low, high;
        uint32_t want[4];
    } cases[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x85a308d3243f6a88,
         0x0370734413198a2e,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int64_t k = 0; k < COUNT(cases); k++) {
        uint32_t out[4];
        hk__philox(cases[k].key, cases[k].low, cases[k].high, out);
        for (int i = 0; i < 4; i++) assert_int_equal(out[i], cases[k].want[i]);
    }
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(hk_random_bits((hk_random){0, 0}, i), cases[0].want[i]);
}

/* Computed by a second implementation, in Python: these must never change, or seeds lose their
   meaning. */
static void pinned_draws(void **state) {
    (void)state;
    static const struct {
        uint64_t index;
        uint32_t bits;
        double uniform;
        uint64_t below;
        double normal;
    } cases[] = {
        {0, 0x3a990d54, 0.22889786958694458, 228, 1.5704676846477643},
        {5, 0x6b4980c1, 0.41909027099609375, 126, 1.5737425689826314},
        {1000003, 0xae11e402, 0.6799604892730713, 81, 0.46759678714534259},
    };
    const hk_random stream = hk_random_stream(42, "init/0.weight", 3);
    assert_int_equal(stream.key, 0x307c54a6c01d7635);
    assert_int_equal(stream.moment, 3);
    for (int64_t k = 0; k < COUNT(cases); k++) {
        assert_int_equal(hk_random_bits(stream, cases[k].index), cases[k].bits);
        assert_close("uniform", k, hk_random_uniform(stream, cases[k].index), cases[k].uniform, 0);
        assert_int_equal(hk_random_below(stream, cases[k].index, 1000), cases[k].below);
        assert_close("normal", k, hk_random_normal(stream, cases[k].index), cases[k].normal, 1e-15);
    }
    static const int64_t want[] = {2, 1, 3, 4, 5, 0, 7, 6};
    int64_t order[8];
    hk_random_permutation(stream, 8, order);
    assert_memory_equal(order, want, sizeof want);
}

static void bulk_equals_single(void **state) {
    (void)state;
    const hk_random stream = hk_random_stream(1, "bulk", 2);
    uint32_t bits[40];
    for (uint64_t first = 0; first < 9; first++)
        for (int64_t n = 0; n < 30; n++) {
            memset(bits, 0, sizeof bits);
            hk__random_fill(stream, first, n, bits);
            for (int64_t i = 0; i < n; i++)
                assert_int_equal(bits[i], hk_random_bits(stream, first + (uint64_t)i));
            assert_int_equal(bits[n], 0);
        }
}

enum { DRAWS = 1 << 18 };

/* Mean, variance, skewness and kurtosis, each within four standard errors. */
static void moments(void **state) {
    (void)state;
    const hk_random stream = hk_random_stream(9, "moments", 0);
    double u[5] = {0}, z[5] = {0};
    int64_t bins[256] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double x = hk_random_uniform(stream, i), y = hk_random_normal(stream, i);
        assert_true(x >= 0 && x < 1 && isfinite(y));
        assert_true((double)(float)x == x); /* exact in float */
        bins[(int)(256 * x)]++;
        for (int p = 1; p <= 4; p++) u[p] += pow(x - 0.5, p) / DRAWS, z[p] += pow(y, p) / DRAWS;
    }
    const double e = 4 / sqrt(DRAWS);
    assert_close("uniform mean", 0, u[1], 0, e * sqrt(1.0 / 12));
    assert_close("uniform variance", 0, u[2], 1.0 / 12, e * sqrt(1.0 / 180));
    assert_close("uniform skewness", 0, u[3], 0, e * sqrt(1.0 / 448));
    assert_close("uniform kurtosis", 0, u[4], 1.0 / 80, e * sqrt(1.0 / 2304));
    assert_close("normal mean", 0, z[1], 0, e);
    assert_close("normal variance", 0, z[2], 1, e * sqrt(2));
    assert_close("normal skewness", 0, z[3], 0, e * sqrt(15));
    assert_close("normal kurtosis", 0, z[4], 3, e * sqrt(96));
    double chi2 = 0;
    for (int b = 0; b < 256; b++)
        chi2 += (double)((bins[b] - DRAWS / 256) * (bins[b] - DRAWS / 256)) / (DRAWS / 256.0);
    assert_close("chi²", 0, chi2, 255, 4 * sqrt(2 * 255));
}

static void below_any_bound(void **state) {
    (void)state;
    const hk_random stream = hk_random_stream(9, "below", 0);
    static const uint64_t bounds[] = {1, 2, 3, 10, 60000, UINT64_C(1) << 40, UINT64_MAX};
    for (int64_t k = 0; k < COUNT(bounds); k++) {
        double mean = 0;
        for (uint64_t i = 0; i < 20000; i++) {
            const uint64_t x = hk_random_below(stream, i, bounds[k]);
            assert_true(x < bounds[k]);
            mean += (double)x / (double)bounds[k] / 20000;
        }
        assert_close("mean", k, mean, 0.5 - 0.5 / (double)bounds[k], 4 * sqrt(1.0 / 12 / 20000));
    }
}

/* Any change of seed, name or moment gives another stream; neighbours are not correlated. */
static void streams_differ(void **state) {
    (void)state;
    const hk_random streams[] = {
        hk_random_stream(1, "a", 0),  hk_random_stream(2, "a", 0),  hk_random_stream(1, "b", 0),
        hk_random_stream(1, "a", 1),  hk_random_stream(1, "", 0),   hk_random_stream(0, "a", 0),
        hk_random_stream(1, "ab", 0), hk_random_stream(1, "ba", 0),
    };
    for (int64_t a = 0; a < COUNT(streams); a++)
        for (int64_t b = 0; b <= a; b++) {
            double dot = 0;
            for (uint64_t i = 0; i < 10000; i++)
                dot += hk_random_normal(streams[a], i) * hk_random_normal(streams[b], i) / 10000;
            assert_close("correlation", 10 * a + b, dot, a == b, a == b ? 0.06 : 0.04);
        }
    const hk_random none = hk_random_stream(3, NULL, 0), empty = hk_random_stream(3, "", 0);
    assert_int_equal(none.key, empty.key);
}

static void permutations(void **state) {
    (void)state;
    enum { LONGEST = 1000 };
    int64_t order[LONGEST + 1], other[LONGEST + 1];
    static const int64_t lengths[] = {0, 1, 2, 3, 17, LONGEST};
    for (int64_t k = 0; k < COUNT(lengths); k++)
        for (uint64_t moment = 0; moment < 3; moment++) {
            const int64_t n = lengths[k];
            bool seen[LONGEST] = {false};
            order[n] = -7;
            hk_random_permutation(hk_random_stream(1, "shuffle", moment), n, order);
            assert_int_equal(order[n], -7);
            for (int64_t i = 0; i < n; i++) {
                assert_in_range(order[i], 0, n - 1);
                assert_false(seen[order[i]]);
                seen[order[i]] = true;
            }
        }
    hk_random_permutation(hk_random_stream(1, "shuffle", 0), LONGEST, order);
    hk_random_permutation(hk_random_stream(1, "shuffle", 1), LONGEST, other);
    int same = 0;
    for (int i = 0; i < LONGEST; i++) same += order[i] == other[i];
    assert_true(same < 10); /* one is expected by chance */
    int64_t first[6] = {0}; /* all six orders of three about equally often */
    for (uint64_t m = 0; m < 6000; m++) {
        hk_random_permutation(hk_random_stream(1, "three", m), 3, order);
        first[order[0] * 2 + (order[1] > order[2])]++;
    }
    for (int i = 0; i < 6; i++)
        assert_close("orders of three", i, (double)first[i], 1000, 4 * sqrt(1000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),      cmocka_unit_test(pinned_draws),
        cmocka_unit_test(bulk_equals_single), cmocka_unit_test(moments),
        cmocka_unit_test(below_any_bound),    cmocka_unit_test(streams_differ),
        cmocka_unit_test(permutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
