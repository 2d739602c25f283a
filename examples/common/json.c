/* json.c: writes one JSON object a line.
   SPDX-License-Identifier: MIT */
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Bytes of the UTF-8 sequence at s, 0 if it is none. Overlong forms and surrogates do not count. */
static int utf8_length(const unsigned char *s) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const int length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (length < 2) return length;
    uint32_t code = s[0] & (0xffu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0; /* the final 0 ends up here too */
        code = code << 6 | (s[i] & 0x3f);
    }
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < smallest[length] || code > 0x10ffff || surrogate ? 0 : length;
}

static void write_text(FILE *file, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    putc('"', file);
    while (*s) {
        const int length = utf8_length(s);
        if (*s == '"' || *s == '\\')
            fprintf(file, "\\%c", *s++);
        else if (*s < 0x20 || length == 0)
            fprintf(file, "\\u%04x", *s++);
        else
            s += fwrite(s, 1, (size_t)length, file) ? length : 1;
    }
    putc('"', file);
}

static void write_key(json *line, const char *key) {
    if (!line->first) putc(',', line->file);
    line->first = false;
    write_text(line->file, key);
    putc(':', line->file);
}

void json_open(json *line, FILE *file) {
    *line = (json){.file = file, .first = true};
    putc('{', file);
}

void json_text(json *line, const char *key, const char *value) {
    write_key(line, key);
    if (value)
        write_text(line->file, value);
    else
        fputs("null", line->file);
}

void json_number(json *line, const char *key, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    if (strtod(text, NULL) != value) snprintf(text, sizeof text, "%.17g", value);
    write_key(line, key);
    fputs(isfinite(value) ? text : "null", line->file);
}

void json_rounded(json *line, const char *key, double value) {
    write_key(line, key);
    if (isfinite(value))
        fprintf(line->file, "%.6g", value);
    else
        fputs("null", line->file);
}

void json_int(json *line, const char *key, int64_t value) {
    write_key(line, key);
    fprintf(line->file, "%" PRId64, value);
}

void json_bool(json *line, const char *key, bool value) {
    write_key(line, key);
    fputs(value ? "true" : "false", line->file);
}

void json_begin(json *line, const char *key) {
    write_key(line, key);
    putc('{', line->file);
    line->first = true;
}

void json_end(json *line) {
    putc('}', line->file);
    line->first = false;
}

bool json_close(json *line) {
    fputs("}\n", line->file);
    return fflush(line->file) == 0 && !ferror(line->file);
}
