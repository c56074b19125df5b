/* What the kernels of ttt work with, on CPUs a thread's and on GPUs a block's. */
#ifndef LONGHAUL_OPS_TTT_WORK_H
#define LONGHAUL_OPS_TTT_WORK_H

#include "engine/ops/ttt/ttt_plan.h"

#ifdef __CUDACC__
#define TTT_DEVICE_TOO __host__ __device__
#else
#define TTT_DEVICE_TOO
#endif

enum { TTT_LINE = 16, TTT_COLUMNS = 32 }; /* widest vector, and widest tile of a product */

TTT_DEVICE_TOO static inline int64_t ttt_up(int64_t count, int64_t unit) {
    return (count + unit - 1) / unit * unit;
}
/* Lanes of a panel, p: the tokens of a mini-batch and zeros. */
TTT_DEVICE_TOO static inline int64_t ttt_lanes(const TttPlan *plan) {
    return ttt_up(plan->b, TTT_LINE);
}

/* Parts of scratch, taken one after the other; with base NULL only counted. */
typedef struct TttCarver {
    float *base;
    int64_t used;
} TttCarver;
TTT_DEVICE_TOO static inline float *ttt_take(TttCarver *carver, int64_t floats) {
    float *part = carver->base ? carver->base + carver->used : NULL;
    carver->used += ttt_up(floats, TTT_LINE);
    return part;
}

/* One mini-batch of one head. Pairs are panels side by side, [channel][2 p]: of keys and of
 * queries. */
typedef struct TttBatch {
    float *state;                 /* P: the weights before it */
    float *x[TTT_LAYERS];         /* pairs: what a layer reads */
    float *z[TTT_LAYERS];         /* pairs: what it gives, the last one normalised */
    float *g[TTT_LAYERS];         /* [channel][p]: gradient of the loss there, of keys */
    float *attention[TTT_LAYERS]; /* [key][query] */
    float *u;                     /* [channel][p]: g[1] W2^T */
    float *v;
    float *rate;    /* p: base / f rate_j, zero behind the end */
    float *inverse; /* 2 p: 1 / deviation of the last z */
} TttBatch;

TTT_DEVICE_TOO static inline TttBatch ttt_take_batch(TttCarver *carver, const TttPlan *plan) {
    const int64_t p = ttt_lanes(plan);
    TttBatch batch = {};
    batch.state = ttt_take(carver, plan->P);
    for (int64_t l = 0; l < plan->layers; l++) {
        batch.x[l] = ttt_take(carver, plan->in[l] * 2 * p);
        batch.z[l] = ttt_take(carver, plan->out[l] * 2 * p);
        batch.g[l] = ttt_take(carver, plan->out[l] * p);
        batch.attention[l] = ttt_take(carver, p * p);
    }
    if (plan->layers > 1) batch.u = ttt_take(carver, plan->out[0] * p);
    batch.v = ttt_take(carver, plan->f * p);
    batch.rate = ttt_take(carver, p);
    batch.inverse = ttt_take(carver, 2 * p);
    return batch;
}

/* What a thread works with. */
typedef struct TttWork {
    TttBatch batch[TTT_GROUP]; /* forward: one */
    float *tau;                /* p, zero behind the mini-batch's tokens */
    float *rows;               /* [2 p][row]: panels with tokens as rows */
    int64_t row;               /* widest layer, in whole tiles */
    float *square, *turned;    /* p x p */
    float *panel;              /* [f][p] */
    /* Backward alone: */
    float *dstate;         /* P */
    float *dx[TTT_LAYERS]; /* pairs, like x */
    float *dz[TTT_LAYERS]; /* pairs, like z */
    float *dg[TTT_LAYERS]; /* like g */
    float *scaled;         /* like the widest g */
    float *dE, *dA;        /* [key][query] */
    float *dlast;          /* p: gradient of E's last row from the weights that come next */
    float *dtau;           /* p: of all mini-batches */
    float *dgamma, *dbeta; /* [f][sums]: what has to be added up */
} TttWork;

TTT_DEVICE_TOO static inline TttWork ttt_take_work(TttCarver *carver, const TttPlan *plan,
                                                   Phase phase, int sums) {
    const int64_t p = ttt_lanes(plan);
    const int64_t wide = plan->layers > 1 && plan->out[0] > plan->f ? plan->out[0] : plan->f;
    TttWork work = {};
    work.row = ttt_up(wide, TTT_COLUMNS);
    for (int i = 0; i < (phase == PHASE_FORWARD ? 1 : TTT_GROUP); i++)
        work.batch[i] = ttt_take_batch(carver, plan);
    work.tau = ttt_take(carver, p);
    work.rows = ttt_take(carver, 2 * p * work.row);
    work.square = ttt_take(carver, p * p);
    work.turned = ttt_take(carver, p * p);
    work.panel = ttt_take(carver, plan->f * p);
    if (phase == PHASE_FORWARD) return work;
    work.dstate = ttt_take(carver, plan->P);
    for (int64_t l = 0; l < plan->layers; l++) {
        work.dx[l] = ttt_take(carver, plan->in[l] * 2 * p);
        work.dz[l] = ttt_take(carver, plan->out[l] * 2 * p);
        work.dg[l] = ttt_take(carver, plan->out[l] * p);
    }
    work.scaled = ttt_take(carver, wide * p);
    work.dE = ttt_take(carver, p * p);
    work.dA = ttt_take(carver, p * p);
    work.dlast = ttt_take(carver, p);
    work.dtau = ttt_take(carver, p);
    work.dgamma = ttt_take(carver, plan->f * sums);
    work.dbeta = ttt_take(carver, plan->f * sums);
    return work;
}

TTT_DEVICE_TOO static inline int64_t ttt_work_floats(const TttPlan *plan, Phase phase, int sums) {
    TttCarver carver = {NULL, 0};
    ttt_take_work(&carver, plan, phase, sums);
    return carver.used;
}

/* Backward cuts the sequences of each head into so many parts, which depend on the shape alone; a
 * part leaves gradients of the head's weights, gamma, beta and index, in this order. */
static inline int64_t ttt_parts(const TttPlan *plan) {
    const int64_t parts = TTT_PARTS / plan->H > 1 ? TTT_PARTS / plan->H : 1;
    return parts < plan->B ? parts : plan->B;
}
TTT_DEVICE_TOO static inline int64_t ttt_part_floats(const TttPlan *plan) {
    return ttt_up(plan->P + 2 * plan->f + plan->b, TTT_LINE);
}

#endif
