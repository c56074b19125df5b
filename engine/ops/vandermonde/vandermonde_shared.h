/* The kernel of modes that all channels share, and its gradients. */
#ifndef LONGHAUL_VANDERMONDE_SHARED_H
#define LONGHAUL_VANDERMONDE_SHARED_H

#include "engine/ops/vandermonde/vandermonde_modes.h"

void ISA(vandermonde_shared_forward)(const OpCall *call, const Run *run);
void ISA(vandermonde_shared_backward)(const OpCall *call, const Run *run, const ModeSinks *to,
                                      float *log_dt);

#endif
