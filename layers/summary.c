/* summary.c: a table of a network's layers.
   SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "module.h"

/* Text of any length into a buffer of a fixed one, as snprintf does it. */
typedef struct writer {
    char *text;
    size_t size, length;
} writer;

#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 2, 3)))
#endif
static void
put(writer *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const size_t room = w->length < w->size ? w->size - w->length : 0;
    const int n = vsnprintf(room ? w->text + w->length : NULL, room, format, args);
    va_end(args);
    if (n > 0) w->length += (size_t)n;
}

/* 101770 as "101,770". */
static const char *grouped(int64_t n, char *buffer, size_t size) {
    char digits[32];
    const int length = snprintf(digits, sizeof digits, "%lld", (long long)n);
    size_t at = 0;
    for (int i = 0; i < length && at + 2 < size; i++) {
        if (i > 0 && (length - i) % 3 == 0) buffer[at++] = ',';
        buffer[at++] = digits[i];
    }
    buffer[at] = 0;
    return buffer;
}

const char *hk__shape_pattern(hk_shape shape, char *buffer, size_t size) {
    if (shape.rank < 0) {
        snprintf(buffer, size, "?");
        return buffer;
    }
    size_t at = (size_t)snprintf(buffer, size, "(");
    for (int i = 0; i < shape.rank && at < size; i++) {
        const char *comma = i ? ", " : "";
        at += (size_t)(shape.dim[i] < 0
                           ? snprintf(buffer + at, size - at, "%s%s", comma, i == 0 ? "n" : "?")
                           : snprintf(buffer + at, size - at, "%s%lld", comma,
                                      (long long)shape.dim[i]));
    }
    if (at < size) snprintf(buffer + at, size - at, ")");
    return buffer;
}

static void put_row(writer *w, const char *name, const char *kind, const char *shape, int64_t count,
                    int64_t bytes) {
    char a[32], b[32];
    put(w, "%-14.14s %-19.19s %-18.18s %12s %13s\n", name, kind, shape, grouped(count, a, sizeof a),
        grouped(bytes, b, sizeof b));
}

/* output: of the place where m stands now. */
static void put_module(writer *w, hk_module *m, hk_shape output, int64_t *total) {
    int64_t count = 0;
    for (int i = 0; i < m->n_slots; i++) count += hk_shape_count(m->slots[i].t->shape);
    const bool again = m->visited;
    m->visited = true;
    char shape[96];
    if (m->n_children == 0 || count > 0) {
        const int64_t size = (int64_t)hk_dtype_size(m->object.ctx->config.dtype);
        put_row(w, m->name, m->cls == &hk__activation_class ? hk__activation_name(m) : m->cls->name,
                hk__shape_pattern(output, shape, sizeof shape), again ? 0 : count,
                again ? 0 : count * size);
        if (!again) *total += count;
    }
    for (int i = 0; i < m->n_children; i++) {
        const hk_shape known = m->child_outputs[i];
        put_module(w, m->children[i], known.rank >= 0 ? known : m->children[i]->output, total);
    }
}

size_t hk_module_summary(hk_module *m, hk_shape input, char *text, size_t size) {
    writer w = {.text = text, .size = size};
    if (size > 0) text[0] = 0;
    if (!m || hk__ensure_built(m, input) != HK_OK) return 0;
    int64_t total = 0;
    put(&w, "%-14s %-19s %-18s %12s %13s\n", "layer", "kind", "output", "parameters", "bytes");
    put_module(&w, m, m->output, &total);
    hk__unvisit(m);
    put_row(&w, "total", "", "", total,
            total * (int64_t)hk_dtype_size(m->object.ctx->config.dtype));
    return w.length;
}
