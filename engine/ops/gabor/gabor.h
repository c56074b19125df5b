/* Gabor filters of one variable, the features of a multiplicative filter network (FlexConv, Romero
 * et al. 2022, arXiv 2110.08059, equations 5 and 6; Fathony et al. 2021):
 *
 *     y[k, h] = exp(-(rate[h] (s[k] - centre[h]))^2 / 2) sin(frequency[h] s[k] + phase[h])
 *
 * The four numbers of a filter are the rows of one parameter, so that an initialiser can draw
 * frequencies in proportion to rates. Positions s take no gradient. */
#ifndef LONGHAUL_OPS_GABOR_H
#define LONGHAUL_OPS_GABOR_H

#include "engine/tape.h"

extern const Op op_gabor;

enum { GABOR_RATE, GABOR_CENTRE, GABOR_FREQUENCY, GABOR_PHASE, GABOR_ROWS };

/* positions (K) or (K, 1), bank (4, H) -> (K, H). */
Tensor *gabor(Tape *tape, Tensor *positions, Tensor *bank);

#endif
