/* flow.h: the inside of a flow.
   SPDX-License-Identifier: MIT */
#ifndef HK_FLOW_PRIVATE_H
#define HK_FLOW_PRIVATE_H

#include "hk_flow.h"
#include "module.h"

HK_BEGIN_DECLS

/* A module without children. */
typedef struct hk__flow_place {
    hk_flow *flow;
    hk_module *module;
    hk_hook *hook;
    char *name; /* a copy: the module may go first */
    const char *kind;
    bool ran;         /* ever, while it was looked at */
    uint64_t step;    /* of the context, when it ran last */
    hk_tensor *x, *y; /* of that step */
} hk__flow_place;

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
    char *
        before; /* all weights, one parameter behind the other, as they were at the record that waits */

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

/* Writes all of the newest record but what the update does. */
void hk__flow_write(hk_flow *flow, hk__flow_room *room);
/* Notes the update ratios; whether there was an update. Without a network: none. */
bool hk__flow_write_update(hk_flow *flow, hk__flow_room *room);

HK_END_DECLS
#endif
