/* conv_kernels.h: kernels of two-dimensional convolutions, for one group of one image.
   SPDX-License-Identifier: MIT

   Inside a call an image is laid out as [row][column][channel] with its padding around it. Then the elements of a
   window that lie on one row are contiguous: a "run" of kw·ic elements (or, if columns are dilated, kw runs of
   ic). So no window is ever copied:

     forward      a row of outputs is a product of overlapping rows of the image, `run` long and stride·ic apart,
                  with the weights: the tiles of gemm.c, with output channels as lanes. An image of one channel
                  has places as lanes instead ("flat"): all of it is one long row, of which a step of the
                  product takes a piece that begins one element later; the columns between two output rows are
                  computed for nothing.
     by weights   each gradient g adds g times its window to the weights of its output channel.
     by data      each gradient g adds g times the weights of its output channel to its window.

   Both backward kernels first list the gradients that are not zero, and touch the others never: behind a max
   pooling of 2 x 2 three of four are zero, and behind a relu half of what is left. */
#ifndef HK_CONV_KERNELS_H
#define HK_CONV_KERNELS_H

#include "hk_base.h"
#include "stamp.h"

/* Sizes of a convolution; ic and oc are the channels of one group. */
typedef struct hk__conv {
    int64_t n, groups, ic, oc;
    int64_t h, w, kh, kw, sh, sw, ph, pw, dh, dw, oh, ow;
} hk__conv;

/* Vectors of a window that stay in registers together: `runs` runs, `vecs` vectors of each. */
typedef struct hk__conv_chunk {
    int runs, vecs;
    int64_t at;     /* place of the first in a packed window, in elements */
    int64_t offset; /* and in the image, from the window's first element */
} hk__conv_chunk;

typedef struct hk__conv_plan {
    hk__conv c;
    int64_t rows, cols; /* of the image with its padding, as far as windows reach */
    int64_t image;      /* its elements, and room to read vectors at its end */
    /* A window is `outer` times `runs` runs of `run` elements. */
    int64_t outer, outer_step, runs, run_step, run, run_vecs;
    int64_t window; /* elements of a packed window: whole vectors */
    int64_t places; /* oh * ow */
    int64_t width;  /* output channels in whole vectors, in elements */
    int64_t panels; /* of output channels, for tiles */
    int64_t packed; /* elements of the weights packed for forward, with the bias */
    bool flat;      /* the way of forward */
    int64_t length; /* flat: elements of one channel's outputs, in whole vectors */
    /* Of backward alone: */
    const int32_t *place; /* where each window begins in the image, output rows first */
    /* The places' numbers and where they begin, output columns first. */
    const int32_t *column, *column_place;
    const int32_t *weight; /* which of (ic, kh, kw) an element of a packed window is; -1: none */
    int n_chunks;
    const hk__conv_chunk *chunk;
} hk__conv_plan;

typedef struct hk__conv_kernels {
    int lanes;
    size_t element;
    int most_vecs[6]; /* of a chunk of so many runs; 0: there are no such chunks */

    /* x: (ic, h, w) -> image. */
    void (*pack_image)(const hk__conv_plan *p, const void *x, void *image);
    /* image -> gx: (ic, h, w), added if accumulate. */
    void (*unpack_image)(const hk__conv_plan *p, const void *image, void *gx, bool accumulate);

    /* w: (oc, ic, kh, kw) and bias: (oc) or NULL, for `forward`; of one panel. */
    void (*pack_forward)(const hk__conv_plan *p, const void *w, const void *bias, int64_t panel,
                         void *packed);
    /* y: [place][width], with room for a vector's worth of places behind; flat: [oc][length]. */
    void (*forward)(const hk__conv_plan *p, const void *image, const void *packed, void *y);
    /* y -> out: (oc, oh, ow). */
    void (*unpack_output)(const hk__conv_plan *p, const void *y, const void *packed, void *out);

    /* g: (oc, oh, ow); sum: [oc][window] is added to, if not NULL, bias: [oc] too. room: places + lanes
       elements, and as many int32. */
    void (*by_weights)(const hk__conv_plan *p, const void *g, const void *image, void *sum,
                       double *bias, void *room);
    /* gw: (ic, kh, kw) of one output channel (+)= Σ over parts; part b is at sum + b·step elements. */
    void (*unpack_weights)(const hk__conv_plan *p, void *sum, int64_t parts, int64_t step, void *gw,
                           bool accumulate);

    /* w: (oc, ic, kh, kw) for `by_data`. */
    void (*pack_data)(const hk__conv_plan *p, const void *w, void *packed);
    /* image += what g: (oc, oh, ow) gives. room: places·width elements, and as many
       and places more int32. */
    void (*by_data)(const hk__conv_plan *p, const void *g, const void *packed, void *image,
                    void *room);
} hk__conv_kernels;

HK_STAMP_TABLES(hk__conv_kernels, hk__conv);

#endif
