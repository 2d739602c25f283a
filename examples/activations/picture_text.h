/* picture_text.h: text in gnuplot's scripts.
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATIONS_PICTURE_TEXT_H
#define ACTIVATIONS_PICTURE_TEXT_H

#include "pictures.h"

/* Letters, not bytes. */
int picture_width(const char *text);

#endif
