/* picture.h: pictures made of arrays of numbers, written as PNG.
   SPDX-License-Identifier: MIT

       picture p;
       if (!picture_open(&p, 200, 100)) ...                        no memory
       picture_paste(&p, 10, 10, &(picture_cells){.rows = 3, .columns = 3, .value = filter,
                                                  .most = 0.5, .scale = 20,
                                                  .colours = PICTURE_SIGNED});
       if (!picture_write(&p, "out/filter.png")) ...               errno says why
       picture_close(&p);

   PNG files are written by stb_image_write. A build without it has picture_possible() false, and
   picture_write fails with ENOTSUP. */
#ifndef EXAMPLES_PICTURE_H
#define EXAMPLES_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct picture {
    int width, height;
    uint8_t *rgb; /* rows of pixels, three bytes each */
} picture;

/* A white picture. False if there is no memory for it. */
bool picture_open(picture *p, int width, int height);
void picture_close(picture *p);
bool picture_write(const picture *p, const char *path);
bool picture_possible(void);

typedef enum picture_colours {
    PICTURE_INK,   /* 0 is white, `most` and beyond is black */
    PICTURE_SIGNED /* 0 is white, above it red, below it blue; darkest from `most` on */
} picture_colours;

typedef struct picture_cells {
    int64_t rows, columns;
    const float *value; /* row by row; what is not finite becomes grey */
    double most;        /* above 0 */
    int scale;          /* pixels along each side of a cell */
    picture_colours colours;
} picture_cells;

/* Around the cells there is a frame so many pixels wide. */
enum { PICTURE_FRAME = 1 };

/* Puts the cells into the picture, framed, with the frame's upper left corner at (x, y). What lies
   outside of the picture is cut off. */
void picture_paste(picture *p, int x, int y, const picture_cells *cells);

/* The greatest absolute value of n numbers, for `most`; 1 if all are 0. */
double picture_most(int64_t n, const float *value);

#endif
