/* activations.c: the list of activations, and their names.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "activation.h"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* fields that are not named are 0 */
#endif
const hk_activation_info hk__activation_rows[HK__ROW_COUNT] = {
#define HK_ACTIVATION(name_, n, keeps_, ...)                                                       \
    {.name = #name_, .n_params = n, .keeps = keeps_, __VA_ARGS__},
#include "activations.def"
#undef HK_ACTIVATION
#define HK_ACTIVATION(...)
#define HK_ACTIVATION_WIDE(name_, n, ...) {.name = #name_, .n_params = n, __VA_ARGS__},
#include "activations.def"
#undef HK_ACTIVATION
#undef HK_ACTIVATION_WIDE
};
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

const hk_activation_info *hk_activation_row(const hk_context *ctx, int i) {
    if (i < 0) return NULL;
    if (i < HK__ROW_COUNT) return &hk__activation_rows[i];
    const hk__own_activation *own = ctx ? hk__own_activation_at(ctx, i - HK__ROW_COUNT) : NULL;
    return own ? &own->info : NULL;
}

/* --- pieces of text -------------------------------------------------------------------------------------- */

typedef struct piece {
    const char *at;
    size_t length;
} piece;

/* What stands before the first of `stops`, or all. */
static piece until(const char *text, const char *stops) {
    return (piece){text, strcspn(text, stops)};
}

static bool is(piece p, const char *word) {
    return strlen(word) == p.length && memcmp(p.at, word, p.length) == 0;
}

/* The place of p in "none|identity|clip", -1 if it is not there. */
static int word_number(piece p, const char *words) {
    for (int i = 0; *words; i++) {
        const piece word = until(words, "|");
        if (word.length == p.length && memcmp(word.at, p.at, p.length) == 0) return i;
        words += word.length;
        if (*words) words++;
    }
    return -1;
}

/* Appends to a text of limited size. */
static void append(char *text, size_t size, const char *separator, const char *word) {
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used ? separator : "", word);
}

/* --- settings: parameter=value, per=, learn=, init= ------------------------------------------------------- */

static bool has_learnable(const hk_activation_info *info) {
    for (int k = 0; k < info->n_params; k++)
        if (info->params[k].role != HK_PARAM_FIXED) return true;
    return false;
}

/* Parameters of hinges beyond the number asked for do not exist. */
static bool exists(const hk_activation_spec *spec, int k) {
    const int from = spec->info->params[k].from;
    return from == 0 || from <= spec->value[0];
}

static hk_status unknown_setting(hk_context *ctx, const hk_activation_spec *spec, piece given) {
    char known[256] = "";
    for (int k = 0; k < spec->info->n_params; k++)
        if (exists(spec, k)) append(known, sizeof known, ", ", spec->info->params[k].name);
    for (int i = 0; i < HK_ACTIVATION_MAX_INITS && spec->info->inits[i].name; i++)
        append(known, sizeof known, i ? "|" : ", init=", spec->info->inits[i].name);
    if (has_learnable(spec->info))
        append(known, sizeof known, ", ", "learn=yes|no, per=layer|channel");
    return hk_fail(ctx, HK_ERR_NAME, "activation", "%s has no setting '%.*s'; there are: %s",
                   spec->info->name, (int)given.length, given.at, *known ? known : "none");
}

static hk_status bad_value(hk_context *ctx, const hk_activation_spec *spec,
                           const hk_activation_param *param, piece value) {
    char must[128];
    const char *what = param->whole ? "a whole number" : "a number";
    if (param->words)
        snprintf(must, sizeof must, "one of %s", param->words);
    else if (param->high < HUGE_VAL)
        snprintf(must, sizeof must, "%s from %g to %g", what, param->low, param->high);
    else if (param->low > -HUGE_VAL)
        snprintf(must, sizeof must, "%s %s %g", what, param->above ? "above" : "from", param->low);
    else
        snprintf(must, sizeof must, "%s", what);
    return hk_fail(ctx, HK_ERR_ARGUMENT, "activation", "%s: %s must be %s, not '%.*s'",
                   spec->info->name, param->name, must, (int)value.length, value.at);
}

static hk_status set_parameter(hk_context *ctx, hk_activation_spec *spec, int k, piece value) {
    const hk_activation_param *param = &spec->info->params[k];
    double number;
    if (param->words) {
        number = word_number(value, param->words);
        if (number < 0) return bad_value(ctx, spec, param, value);
    } else {
        char *end;
        number = strtod(value.at, &end);
        const bool plain = value.length > 0 && strspn(value.at, "+-.0123456789e") >= value.length;
        const bool in_range = (param->above ? number > param->low : number >= param->low) &&
                              number <= param->high && isfinite(number) &&
                              (!param->whole || number == floor(number));
        if (!plain || end != value.at + value.length || !in_range)
            return bad_value(ctx, spec, param, value);
    }
    spec->value[k] = number;
    return HK_OK;
}

static void start_as(hk_activation_spec *spec, int init) {
    spec->init = init;
    memcpy(spec->value, spec->info->inits[init].value, sizeof spec->value);
}

/* learn=, per=. False if it is neither. */
static bool set_general(hk_activation_spec *spec, piece name, piece value) {
    const hk_activation_info *info = spec->info;
    if (is(name, "per") && has_learnable(info)) {
        spec->per_channel = is(value, "channel");
        return is(value, "channel") || is(value, "layer");
    }
    if (is(name, "learn") && has_learnable(info)) {
        for (int k = 0; k < info->n_params; k++)
            spec->learns[k] = is(value, "yes") && info->params[k].role != HK_PARAM_FIXED;
        return is(value, "yes") || is(value, "no");
    }
    return false;
}

/* Whether the setting is a start that there is. The last one given counts, whatever stands around it. */
static bool is_start(const hk_activation_spec *spec, piece setting, int *init) {
    if (setting.length < 5 || memcmp(setting.at, "init=", 5) != 0) return false;
    for (*init = 0; *init < HK_ACTIVATION_MAX_INITS && spec->info->inits[*init].name; ++*init)
        if (is((piece){setting.at + 5, setting.length - 5}, spec->info->inits[*init].name))
            return true;
    return false;
}

static hk_status parse_setting(hk_context *ctx, piece text, hk_activation_spec *spec) {
    int init;
    if (is_start(spec, text, &init)) return HK_OK; /* parse_settings saw to it */
    const char *equals = memchr(text.at, '=', text.length);
    const piece name = {text.at, equals ? (size_t)(equals - text.at) : text.length};
    const char *after = equals ? equals + 1 : text.at + text.length;
    const piece value = {after, (size_t)(text.at + text.length - after)};
    for (int k = 0; k < spec->info->n_params; k++)
        if (is(name, spec->info->params[k].name) && exists(spec, k))
            return set_parameter(ctx, spec, k, value);
    return set_general(spec, name, value) ? HK_OK : unknown_setting(ctx, spec, text);
}

/* ":a=1:b=2": the start first, then what changes it. */
static hk_status parse_settings(hk_context *ctx, const char *text, hk_activation_spec *spec) {
    int init;
    for (const char *at = text; *at; at += 1 + strcspn(at + 1, ":"))
        if (is_start(spec, until(at + 1, ":"), &init)) start_as(spec, init);
    for (const char *at = text; *at; at += 1 + strcspn(at + 1, ":"))
        HK_TRY(parse_setting(ctx, until(at + 1, ":"), spec));
    return HK_OK;
}

/* What no setting can check alone. */
static hk_status check_together(hk_context *ctx, hk_activation_spec *spec) {
    const hk_activation_info *info = spec->info;
    const double a = spec->value[0], b = spec->value[1];
    if (info->ordered && !(info->ordered == HK_ORDERED_STRICTLY ? a < b : a <= b))
        return hk_fail(ctx, HK_ERR_ARGUMENT, "activation", "%s: %s must be %s %s, not %g and %g",
                       info->name, info->params[0].name,
                       info->ordered == HK_ORDERED_STRICTLY ? "below" : "at most",
                       info->params[1].name, a, b);
    for (int k = 0; k < info->n_params; k++)
        if (!exists(spec, k)) {
            spec->value[k] = 0;
            spec->learns[k] = false;
        }
    return HK_OK;
}

/* --- mixtures ------------------------------------------------------------------------------------------------ */

hk_status hk_activation_candidate(hk_context *ctx, const hk_activation_spec *mix, int i,
                                  hk_activation_spec *spec) {
    const char *at = mix->candidates;
    for (; i > 0 && *at; i--) {
        at += strcspn(at, "+");
        if (*at) at++;
    }
    if (i > 0 || !*at) return HK_ERR_NAME;
    char text[HK_ACTIVATION_MAX_MIX];
    snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "+"), at);
    const bool learns = strstr(text, ",learn=") || strstr(text, ",per=");
    for (char *c = text; *c; c++)
        if (*c == ',') *c = ':';
    HK_TRY(hk_activation_parse(ctx, text, spec));
    if (!learns &&
        (spec->info->kind == HK_ACTIVATION_POINTWISE || spec->info->kind == HK_ACTIVATION_OWN) &&
        !spec->info->random && !(spec->info->surrogate && spec->value[spec->info->surrogate] == 0))
        return HK_OK;
    if (learns)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "activation",
                       "mix: %s: a candidate's own parameters are not learned", text);
    return hk_fail(ctx, HK_ERR_ARGUMENT, "activation", "mix: %s cannot be mixed", text);
}

static hk_status parse_candidates(hk_context *ctx, piece list, hk_activation_spec *spec) {
    hk_activation_spec one;
    if (list.length == 0 || list.length >= sizeof spec->candidates)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "activation",
                       "mix needs a list of up to %d characters, such as mix:relu+tanh+silu",
                       HK_ACTIVATION_MAX_MIX - 1);
    snprintf(spec->candidates, sizeof spec->candidates, "%.*s", (int)list.length, list.at);
    int n = 0;
    while (hk_activation_candidate(ctx, spec, n, &one) == HK_OK) n++;
    HK_TRY(hk_error(ctx));
    if (n < 2)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "activation",
                       "mix needs two candidates or more, not '%s': mix:relu+tanh",
                       spec->candidates);
    return HK_OK;
}

/* --- a whole specification ---------------------------------------------------------------------------------- */

static hk_status unknown_name(hk_context *ctx, piece name) {
    char known[640] = "";
    const hk_activation_info *info;
    for (int i = 0; (info = hk_activation_row(ctx, i)) != NULL; i++)
        append(known, sizeof known, ", ", info->name);
    return hk_fail(ctx, HK_ERR_NAME, "activation", "unknown activation '%.*s'; there are: %s",
                   (int)name.length, name.at, known);
}

hk_status hk_activation_parse(hk_context *ctx, const char *text, hk_activation_spec *spec) {
    if (!ctx) return HK_ERR_MEMORY;
    if (ctx->status != HK_OK) return ctx->status;
    if (!text) return hk_fail(ctx, HK_ERR_NAME, "activation", "no name was given");
    const piece name = until(text, ":");
    const hk_activation_info *info;
    for (int i = 0; (info = hk_activation_row(ctx, i)) != NULL; i++)
        if (is(name, info->name) || (info->alias && is(name, info->alias))) break;
    if (!info) return unknown_name(ctx, name);
    *spec = (hk_activation_spec){.info = info};
    for (int k = 0; k < info->n_params; k++) {
        spec->value[k] = info->params[k].value;
        spec->learns[k] = info->params[k].role == HK_PARAM_LEARNS;
    }
    text += name.length;
    if (info == &hk__activation_rows[HK__WIDE_mix]) {
        const piece list = until(text + (*text == ':'), ":");
        HK_TRY(parse_candidates(ctx, list, spec));
        text = list.at + list.length;
    }
    HK_TRY(parse_settings(ctx, text, spec));
    return check_together(ctx, spec);
}

int hk_activation_widens(const hk_activation_spec *spec) {
    if (spec->info == &hk__activation_rows[HK__WIDE_maxout]) return (int)spec->value[0];
    return spec->info->gate ? 2 : 1;
}
