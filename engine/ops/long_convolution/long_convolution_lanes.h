/* What the two ways of convolving share: reading and writing a sequence LANES channels at a time,
 * gates and skip term included. */
#ifndef LONGHAUL_LONG_CONVOLUTION_LANES_H
#define LONGHAUL_LONG_CONVOLUTION_LANES_H

#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/simd.h"

/* A gradient to be written or added to; at NULL nothing happens. */
typedef struct Sink {
    float *at;
    bool add;
} Sink;

typedef struct Convolution {
    int64_t B, L, D, K;
    const float *u, *filter, *reverse, *skip, *pre, *post;
    float *y, *sum; /* sum: what post multiplies, kept for its gradient; NULL outside training */
    const float *dy;
    Sink du, dpre, dpost, dskip, dfilter, dreverse;
    void *scratch;
} Convolution;

static inline Sink sink_of(const OpCall *call, int i) {
    if (i >= call->inputs || !call->in[i] || call->passed[i]) return (Sink){0};
    return (Sink){.at = call->in[i]->gradient, .add = call->accumulate[i]};
}

static inline Convolution convolution_of(const OpCall *call) {
    const Tensor *u = call->in[LONG_CONVOLUTION_U];
    return (Convolution){.B = extent(u, 0),
                         .L = extent(u, 1),
                         .D = extent(u, 2),
                         .K = extent(call->in[LONG_CONVOLUTION_FILTER], 0),
                         .u = u->data,
                         .filter = data_of(call, LONG_CONVOLUTION_FILTER),
                         .reverse = data_of(call, LONG_CONVOLUTION_REVERSE),
                         .skip = data_of(call, LONG_CONVOLUTION_SKIP),
                         .pre = data_of(call, LONG_CONVOLUTION_PRE),
                         .post = data_of(call, LONG_CONVOLUTION_POST),
                         .y = call->out[0]->data,
                         .sum = call->saves ? call->saved[0]->data : NULL,
                         .dy = call->out[0]->gradient,
                         .du = sink_of(call, LONG_CONVOLUTION_U),
                         .dpre = sink_of(call, LONG_CONVOLUTION_PRE),
                         .dpost = sink_of(call, LONG_CONVOLUTION_POST),
                         .dskip = sink_of(call, LONG_CONVOLUTION_SKIP),
                         .dfilter = sink_of(call, LONG_CONVOLUTION_FILTER),
                         .dreverse = sink_of(call, LONG_CONVOLUTION_REVERSE),
                         .scratch = call->scratch};
}

/* LANES channels from `channel` on, of which `width` exist. */
typedef struct Lanes {
    int64_t channel, width;
} Lanes;

static inline int64_t blocks_of(const Convolution *c) {
    return (c->D + LANES - 1) / LANES;
}
static inline Lanes lanes_of(const Convolution *c, int64_t block) {
    const int64_t left = c->D - block * LANES;
    return (Lanes){.channel = block * LANES, .width = left < LANES ? left : LANES};
}

ALWAYS_INLINE void sink(Sink to, int64_t at, vfloat value, Lanes lanes) {
    if (!to.at) return;
    if (to.add) value += v_load_part(to.at + at, lanes.width);
    v_store_part(to.at + at, value, lanes.width);
}

ALWAYS_INLINE int64_t token_at(const Convolution *c, int64_t row, int64_t t, Lanes lanes) {
    return (row * c->L + t) * c->D + lanes.channel;
}

ALWAYS_INLINE vfloat read_input(const Convolution *c, int64_t at, Lanes lanes) {
    const vfloat u = v_load_part(c->u + at, lanes.width);
    return c->pre ? u * v_load_part(c->pre + at, lanes.width) : u;
}

/* The skip term is a part of tap 0: every convolution reads its taps here. Negative taps are those
 * of the reverse filter. */
ALWAYS_INLINE vfloat read_tap(const Convolution *c, int64_t tap, Lanes lanes) {
    if (tap < 0) return v_load_part(c->reverse + (-1 - tap) * c->D + lanes.channel, lanes.width);
    const vfloat value = v_load_part(c->filter + tap * c->D + lanes.channel, lanes.width);
    return tap == 0 && c->skip ? value + v_load_part(c->skip + lanes.channel, lanes.width) : value;
}
ALWAYS_INLINE void write_tap_gradient(const Convolution *c, int64_t tap, vfloat value,
                                      Lanes lanes) {
    if (tap == 0) sink(c->dskip, lanes.channel, value, lanes);
    if (tap < 0)
        sink(c->dreverse, (-1 - tap) * c->D + lanes.channel, value, lanes);
    else
        sink(c->dfilter, tap * c->D + lanes.channel, value, lanes);
}

ALWAYS_INLINE void write_output(const Convolution *c, int64_t at, vfloat sum, Lanes lanes) {
    if (c->sum) v_store_part(c->sum + at, sum, lanes.width);
    if (c->post) sum *= v_load_part(c->post + at, lanes.width);
    v_store_part(c->y + at, sum, lanes.width);
}

/* Gradient of the sum: dy post. */
ALWAYS_INLINE vfloat read_cotangent(const Convolution *c, int64_t at, Lanes lanes) {
    const vfloat dy = v_load_part(c->dy + at, lanes.width);
    if (c->dpost.at) sink(c->dpost, at, dy * v_load_part(c->sum + at, lanes.width), lanes);
    return c->post ? dy * v_load_part(c->post + at, lanes.width) : dy;
}

/* dx: gradient of x. */
ALWAYS_INLINE void write_gradient(const Convolution *c, int64_t at, vfloat dx, Lanes lanes) {
    sink(c->du, at, c->pre ? dx * v_load_part(c->pre + at, lanes.width) : dx, lanes);
    if (c->dpre.at) sink(c->dpre, at, dx * v_load_part(c->u + at, lanes.width), lanes);
}

#endif
