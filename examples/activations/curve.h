/* curve.h: f and f' of an activation as lines that can be drawn, from the kernels that train.
   SPDX-License-Identifier: MIT

   A jump must not be drawn as a steep line. So wherever two neighbours differ visibly, the space
   between is halved again and again: a steep but continuous curve gets the points it needs, and a jump
   is found between two adjacent floats. Nothing is assumed about where jumps are. */
#ifndef ACTIVATIONS_CURVE_H
#define ACTIVATIONS_CURVE_H

#include "subject.h"

typedef struct curve_point {
    double x, y;
    bool gap; /* the line is interrupted before this point */
} curve_point;

/* An end of a line at a jump; closed if the value at the jump itself is this end's. */
typedef struct curve_end {
    double x, y;
    bool closed;
} curve_end;

typedef struct curve_line {
    int count, capacity, ends, ends_capacity;
    curve_point *point;
    curve_end *end;
    double low, high; /* of all y; low > high if there is no finite one */
} curve_line;

enum { CURVE_VALUE, CURVE_SLOPE, CURVE_LINES };
typedef struct curve {
    curve_line line[CURVE_LINES];
} curve;

/* Samples s at `points` places from low to high. False with the context's error set, or false without
   one if memory is exhausted. Free it with curve_free in any case. */
bool curve_sample(subject *s, double low, double high, int points, curve *made);
void curve_free(curve *c);

#endif
