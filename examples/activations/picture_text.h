/* picture_text.h: what gnuplot's scripts are made of: text, files, the call of gnuplot.
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATIONS_PICTURE_TEXT_H
#define ACTIVATIONS_PICTURE_TEXT_H

#include "pictures.h"

/* In single quotes, as gnuplot reads them. */
void picture_quote(FILE *file, const char *text);
/* Letters, not bytes. */
int picture_width(const char *text);

/* Starts the script of a picture of that size, and has plot.gp call it. NULL after an error. */
FILE *picture_begin(pictures *p, const char *name, int width, int height);
void picture_end(pictures *p, FILE *file);

#endif
