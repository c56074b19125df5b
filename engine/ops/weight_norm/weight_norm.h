/* Weight normalisation (Salimans and Kingma 2016, arXiv 1602.07868, equation 2): a weight matrix by
 * directions and lengths of its columns,
 *
 *     w[i, o] = g[o] v[i, o] / |v[., o]|
 *
 * v and g are rows 0 .. I-1 and row I of one parameter, so that an initialiser can set g to |v|. */
#ifndef LONGHAUL_OPS_WEIGHT_NORM_H
#define LONGHAUL_OPS_WEIGHT_NORM_H

#include "engine/tape.h"

extern const Op op_weight_norm;

/* v and g (I + 1, O) -> w (I, O). */
Tensor *weight_norm(Tape *tape, Tensor *parameter);

#endif
