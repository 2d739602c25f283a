/* rows.h: the layers of a network as people count them: a layer with weights, and the activation
   behind it.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_ROWS_H
#define EXAMPLES_ROWS_H

#include "train.h"

typedef struct net_row {
    char title[96];           /* "1 linear + relu" */
    const char *path;         /* of the layer with weights: "1"; NULL: an activation alone */
    const char *kind;         /* "linear" */
    hk_tensor *weight;        /* NULL as path */
    const char *activation;   /* path of the activation: "2"; NULL: none stands behind */
    char activation_name[48]; /* "prelu" */
    int64_t units;            /* of the activation, once they were counted */
    int activation_place;     /* among all activations of the network */
} net_row;

typedef struct net_rows {
    int count;
    net_row *item;
} net_rows;

/* Of a built network, in the order of its parts. False, with the context's error, without memory.
   names: as training.activations. */
bool rows_open(net_rows *r, hk_module *net, const char *names);
void rows_close(net_rows *r);

/* The part of the network with this path; NULL if there is none. */
hk_module *rows_module(hk_module *net, const char *path);

#endif
