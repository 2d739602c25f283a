/* json.h: writes one JSON object a line (JSON Lines).
   SPDX-License-Identifier: MIT

       json line;
       json_open(&line, file);
       json_int(&line, "epoch", 1);
       json_number(&line, "train_loss", loss);
       if (!json_close(&line)) ...            {"epoch":1,"train_loss":0.349}

   Text is escaped, and bytes that are not UTF-8 are taken for Latin-1, so that every line is
   valid. A number is written with the fewest of 9 or 17 digits that give it back exactly; NaN and
   infinity, which JSON has no words for, become null. */
#ifndef EXAMPLES_JSON_H
#define EXAMPLES_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json {
    FILE *file;
    bool first; /* no comma before the next member */
} json;

void json_open(json *line, FILE *file);

/* Members. A NULL text is null. */
void json_text(json *line, const char *key, const char *value);
void json_number(json *line, const char *key, double value);
/* Six digits, for what is measured. */
void json_rounded(json *line, const char *key, double value);
void json_int(json *line, const char *key, int64_t value);
void json_bool(json *line, const char *key, bool value);

/* An object as a member: what is written between the two belongs to it. */
void json_begin(json *line, const char *key);
void json_end(json *line);

/* Ends the line and hands it to the system, so that a reader can follow. False if the file has
   failed. */
bool json_close(json *line);

#endif
