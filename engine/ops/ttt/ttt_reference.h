/* The primal form, token by token, in plain loops: what both operations are checked with. */
#ifndef LONGHAUL_OPS_TTT_REFERENCE_H
#define LONGHAUL_OPS_TTT_REFERENCE_H

#include "engine/ops/ttt/ttt_plan.h"

/* One token of a head. state (P): the weights before its mini-batch; sum (P): the gradients of the
 * mini-batch so far, times their step sizes without tau, to which the token adds its own. q, k, v
 * and y: f numbers. rate: base / f times the token's. space: 2 P + 4 h + 4 f numbers. */
void ttt_reference_token(const TttPlan *plan, const double *gamma, const double *beta, double tau,
                         double rate, const double *q, const double *k, const double *v,
                         const double *state, double *sum, double *y, double *space);

/* A head's weights as they are when a sequence begins: (P). */
void ttt_reference_weights(const TttPlan *plan, const double *const *in, int64_t head,
                           double *weights);

#endif
