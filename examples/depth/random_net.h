/* random_net.h: deep random networks, z[l+1] = σw W f(z[l]) + σb b, measured layer by layer.
   SPDX-License-Identifier: MIT

   In double: after 50 layers of sigmoid a squared gradient is 1e-41 of what it was, or 1e-85. Every
   activation gets the same W and b of a seed, scaled by its own σw and σb. */
#ifndef DEPTH_RANDOM_NET_H
#define DEPTH_RANDOM_NET_H

#include <hillock/hillock.h>

typedef struct random_net {
    hk_context *ctx; /* of HK_F64 */
    int depth;
    int64_t width, widest, samples; /* widest: rows of W, enough for maxout and gated units */
    hk_tensor **weight;             /* depth of (widest, width), variance 1/width */
    hk_tensor **bias;               /* depth of (widest), variance 1 */
} random_net;

/* Draws all weights by the context's seed. False if memory is out. */
bool random_net_open(random_net *net, hk_context *ctx, int depth, int64_t width, int64_t widest,
                     int64_t samples, bool uniform);
void random_net_close(random_net *net);

/* Runs samples whose z[0] has mean square `start` through the net, forward, and back with a random
   gradient of length 1 at the end. q[l], g[l] for l = 0 to depth: means over samples of z[l]² and of the
   squared length of ∂/∂z[l]. False after an error of the context. */
bool random_net_measure(random_net *net, const char *activation, double weight_variance,
                        double bias_variance, double start, double *q, double *g);

#endif
