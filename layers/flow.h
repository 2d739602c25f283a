/* flow.h: the inside of a flow.
   SPDX-License-Identifier: MIT */
#ifndef HK_FLOW_PRIVATE_H
#define HK_FLOW_PRIVATE_H

#include "hk_flow.h"
#include "module.h"
#include "stats.h"

HK_BEGIN_DECLS

/* A module without children. */
typedef struct hk__flow_place {
    hk_flow *flow;
    hk_module *module;
    hk_hook *hook;
    char *name; /* a copy: the module may go first */
    const char *kind;
    bool weighted;    /* a linear layer or convolution */
    bool ran;         /* ever, while it was looked at */
    uint64_t step;    /* of the context, when it ran last */
    hk_tensor *x, *y; /* of that step */
} hk__flow_place;

/* What a record is made of, in memory of the context: on a GPU it is read in one piece when the record is complete. */
typedef struct hk__flow_seen {
    hk__moments moments; /* of a parameter's gradient; of a layer's output */
    double length2;      /* |w|², before the update; |∂L/∂y|² */
    double moved2;       /* |w after - w before|² */
    hk__tally signs;
} hk__flow_seen;

typedef struct hk__flow_room {
    hk_flow_record record;
    hk_flow_parameter *parameters;
    hk_flow_layer *layers;
} hk__flow_room;

struct hk_flow {
    hk__object object;
    hk_flow_config config;
    hk_module *net; /* NULL: destroyed */
    hk_parameters parameters;
    char **names;       /* of parameters */
    hk_hook **reaching; /* hooks of their gradients */
    hk_hook *after;     /* of backward */
    hk__flow_place *places;
    hk__flow_place **order; /* those that ran, in the order of their first time */
    int n_places, n_ran;
    /* In memory of the context: all weights, one parameter behind the other, as they were at the record that waits; what is
       seen of parameters, and then of places in their order. */
    char *before;
    hk__flow_seen *seen, *read; /* read: a copy on the host */

    int64_t step;
    bool reached;     /* this backward pass has reached a parameter */
    bool on;          /* forward hooks */
    uint64_t from;    /* the first step of the context that they see from its start */
    bool due;         /* the next step that they see is recorded */
    bool waits;       /* a record, for its update */
    uint64_t version; /* of the context's weights at that record */
    hk__flow_room room[2];
    int filled; /* of the two rooms, the one of the newest record */
    const hk_flow_record *last;
    bool busy, destroyed; /* inside of a report; destroyed there */
};

/* Whether it is a linear layer or a convolution. */
bool hk__flow_has_weight(const hk_module *m);
/* Bytes that a parameter takes in `before`. */
size_t hk__flow_bytes(const hk_tensor *t);
/* Looks at all that the newest record will say but what the update does. */
void hk__flow_look(hk_flow *flow, hk__flow_room *room);
/* Looks at the update, and writes the record; whether there was an update. Without a network: none. */
bool hk__flow_write(hk_flow *flow, hk__flow_room *room);

HK_END_DECLS
#endif
