/* table.h: the parts of `activations table`.
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATIONS_TABLE_H
#define ACTIVATIONS_TABLE_H

#include "properties.h"

/* Blocks of at most 80 columns, or the same as Markdown. */
void print_blocks(int count, const properties *list, bool markdown);
/* Every fact as a column, numbers with all their digits. */
void print_csv(int count, const properties *list);

/* "0.25", "-inf", and 0 for what is nothing but rounding. */
const char *number_text(double v, int digits, char *text, size_t size);
/* "[0, inf)", with a round bracket where an end is not reached. */
void range_text(const properties *p, char *text, size_t size);
/* "f' at -3, 3": where something jumps; "none". */
void jumps_text(const properties *p, char *text, size_t size);
/* "1.4142", "x < 0", "x -> inf" */
void places_text(const extreme *e, char *text, size_t size);
/* What f does at an end of the line: "-> 1" tends to it, "is 0" all along, "slope 0.25". */
void end_text(const properties *p, bool right, char *text, size_t size);
/* A share of all x; "~0" if it is there, but less than a millionth. */
void share_text(double v, char *text, size_t size);
/* By how many units in the last place float32 goes back on the direction of a monotone
   function; NaN for others. */
double wiggle(const properties *p);
/* "discontinuous", "C0", "C1", "smooth" */
const char *class_word(const properties *p);

/* E of f(x), f(x)^2, f'(x)^2 or [f(x) = 0] for x ~ N(mean, deviation^2), by the trapezium rule. */
typedef enum expected { EXPECT_VALUE, EXPECT_SQUARE, EXPECT_SLOPE, EXPECT_ZERO } expected;
double expect_of(const hk_activation_spec *spec, double mean, double deviation, expected what);

/* --- table --textbook ----------------------------------------------------------------------- */

typedef enum verdict { TRUE_CLAIM, LOOSE_CLAIM, FALSE_CLAIM } verdict;
const char *verdict_word(verdict v);

/* The usual table beside what is computed; other common claims. False on an error, printed. */
bool print_textbook(const properties_options *options);
bool print_claims(const properties_options *options);

/* Claims about single neurons (table_neurons.c): judge, show what was computed. */
bool claim_refractory(const properties_options *options, int number);
bool claim_dead(const properties_options *options, int number);
void print_claim(int number, const char *claim, verdict v);

#endif
