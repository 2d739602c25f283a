/* properties.c: all that is known of an activation, put together from its kernels and from double.
   SPDX-License-Identifier: MIT */
#include "properties.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- where extremes are --------------------------------------------------------------------- */

/* An extreme of f or f' between x = a and b, which kernels reach there. */
typedef struct stretch {
    const properties *p;
    double value, sign; /* sign 1: a greatest value */
    bool slope;
    double a, b;
} stretch;

static bool is_tail(double x) { return fabs(x) > 1e38; }

/* Where f' jumps next to the stretch, the extreme belongs to one side. */
static bool beside_kink(const stretch *s, place *out) {
    const real_facts *real = &s->p->real;
    for (int i = 0; s->slope && i < real->singular_count; i++) {
        const double x = real->singular[i].x, near = 2e-6 * fmax(1, fabs(x));
        if (fabs(x - s->a) > near && fabs(x - s->b) > near) continue;
        const double left = hk_activation_slope(&s->p->spec, x - 1e-9 * fmax(1, fabs(x)));
        const double right = hk_activation_slope(&s->p->spec, x + 1e-9 * fmax(1, fabs(x)));
        const double off = fabs(left - s->value) - fabs(right - s->value);
        *out = (place){fabs(off) < 1e-6 ? PLACE_POINT : off < 0 ? PLACE_LEFT : PLACE_RIGHT, x, x};
        return true;
    }
    return false;
}

static place find_place(const stretch *s) {
    const properties *p = s->p;
    double from, to;
    if (p->spec.info->surrogate && s->slope) /* a stand-in: no use asking the function */
        return (place){PLACE_PIECE, is_tail(s->a) ? -HUGE_VAL : s->a,
                       is_tail(s->b) ? HUGE_VAL : s->b};
    if (is_tail(s->a) || is_tail(s->b)) {
        const double end = is_tail(s->b) ? DBL_MAX : -DBL_MAX;
        if (is_flat_piece(&p->spec, &p->real, end, s->slope, &from, &to))
            return (place){PLACE_PIECE, from, to};
        return (place){PLACE_TAIL, end > 0 ? HUGE_VAL : -HUGE_VAL, 0};
    }
    const double middle = (s->a + s->b) / 2, out = 1e-5 * fmax(1, fabs(middle));
    if (s->b - s->a > out && is_flat_piece(&p->spec, &p->real, middle, s->slope, &from, &to) &&
        from > s->a - out && to < s->b + out)
        return (place){PLACE_PIECE, from, to};
    place beside;
    if (beside_kink(s, &beside)) return beside;
    /* Kernels round, so the true place may lie outside of where they are greatest. */
    const double more = 2e-3 * fmax(1, fabs(middle));
    const double x = find_greatest(&p->spec, s->slope, s->sign, s->a - more, s->b + more);
    return (place){PLACE_POINT, fabs(x) < 1e-7 ? 0 : x, 0};
}

static extreme find_extreme(const properties *p, const scan_extreme *seen, bool slope, bool least) {
    extreme e = {.value = seen->value};
    stretch s = {.p = p, .value = seen->value, .sign = least ? -1 : 1, .slope = slope};
    const bool left = !isnan(seen->left_near), right = !isnan(seen->right_near);
    const bool joined = left && right && seen->left_near > -1e-30 && seen->right_near < 1e-30;
    if (joined && !(is_tail(seen->left_far) && is_tail(seen->right_far))) {
        s.a = seen->left_far;
        s.b = seen->right_far;
        e.at[e.places++] = find_place(&s);
        return e;
    }
    if (left) {
        s.a = seen->left_far;
        s.b = seen->left_near;
        e.at[e.places++] = find_place(&s);
    }
    if (right) {
        s.a = seen->right_near;
        s.b = seen->right_far;
        e.at[e.places++] = find_place(&s);
    }
    if (joined && isinf(e.at[0].to) && isinf(e.at[0].x)) e.places = 1; /* one piece, seen twice */
    if (!e.places) e.at[e.places++] = (place){PLACE_PIECE, -HUGE_VAL, HUGE_VAL}; /* no slope */
    return e;
}

/* An end of the range: infinite if f is at an end of the line. */
static extreme find_end(const properties *p, const scan_extreme *seen, bool least) {
    const double infinite = least ? -HUGE_VAL : HUGE_VAL;
    extreme e = {.value = infinite};
    if (p->scan.left == infinite) e.at[e.places++] = (place){PLACE_TAIL, -HUGE_VAL, 0};
    if (p->scan.right == infinite) e.at[e.places++] = (place){PLACE_TAIL, HUGE_VAL, 0};
    return e.places ? e : find_extreme(p, seen, false, least);
}

bool is_reached(const extreme *e) {
    for (int i = 0; i < e->places; i++)
        if (e->at[i].kind != PLACE_TAIL) return true;
    return false;
}

/* --- words ---------------------------------------------------------------------------------- */

static bool has_flat_value(const properties *p) {
    double from, to;
    if (is_flat_piece(&p->spec, &p->real, -DBL_MAX, false, &from, &to)) return true;
    for (int i = 0; i < p->real.singular_count; i++)
        if (is_flat_piece(&p->spec, &p->real, p->real.singular[i].x, false, &from, &to))
            return true;
    return false;
}

const char *monotone_word(const properties *p) {
    const double nothing = 1e-12;
    bool falls = p->real.fall > nothing, rises = p->real.rise > nothing;
    for (int i = 0; i < p->real.singular_count; i++) {
        const singular_point *s = &p->real.singular[i];
        if (s->order != 0 || !s->visible) continue;
        falls |= s->jump < 0;
        rises |= s->jump > 0;
    }
    if (falls && rises) return "no";
    if (!falls && !rises) return "constant";
    if (has_flat_value(p)) return falls ? "non-increasing" : "non-decreasing";
    return falls ? "decreasing" : "increasing";
}

/* --- all of it ------------------------------------------------------------------------------ */

static bool parse(const char *text, properties *p) {
    hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1, .no_blas = true});
    const bool known = hk_activation_parse(ctx, text, &p->spec) == HK_OK;
    const bool ok = known && p->spec.info->kind == HK_ACTIVATION_POINTWISE;
    if (!known)
        fprintf(stderr, "activations table: %s\n", ctx ? hk_error_message(ctx) : "out of memory");
    else if (!ok)
        fprintf(stderr,
                "activations table: %s is not a function of one number, so it has no range or "
                "slopes; leave it out (`activations list` shows which are pointwise)\n",
                p->spec.info->name);
    hk_context_destroy(ctx);
    return ok;
}

bool check_name(const char *text) {
    properties p;
    return parse(text, &p);
}

bool find_properties(const char *text, const properties_options *o, properties *p) {
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", text);
    if (!parse(text, p)) return false;
    if (!scan_cached(text, o->isa, o->stride, o->threads, o->cache, o->fresh, &p->scan, &p->cached))
        return false;
    find_real_facts(&p->spec, &p->real);
    p->low = find_end(p, &p->scan.low, true);
    p->high = find_end(p, &p->scan.high, false);
    p->least = find_extreme(p, &p->scan.least, true, true);
    p->steepest = find_extreme(p, &p->scan.steepest, true, false);
    p->lipschitz =
        p->real.smooth < 0 ? HUGE_VAL : fmax(fabs(p->least.value), fabs(p->steepest.value));
    p->mean = find_moment(&p->spec, &p->real, HK_MEAN);
    p->second = find_moment(&p->spec, &p->real, HK_SECOND_MOMENT);
    p->slope_second = find_moment(&p->spec, &p->real, HK_SLOPE_MOMENT);
    p->chi = p->slope_second / p->second;
    p->odd = p->scan.odd_error == 0;
    for (int k = 0; k < p->spec.info->n_params; k++) p->learnable += p->spec.learns[k];
    const int chooser = p->spec.info->surrogate;
    const bool has_slope = !chooser || p->spec.value[chooser] != 0;
    p->cost =
        (cost){.exponentials = hk_activation_exponentials(&p->spec, false),
               .exponentials_back = has_slope ? hk_activation_exponentials(&p->spec, true) : 0,
               .ns = NAN,
               .ns_back = NAN};
    return !o->timed || measure_cost(text, o->isa, &p->cost);
}
