/* The kernels of attention on one instruction set, a file each. */
#ifndef LONGHAUL_OPS_ATTENTION_KERNELS_H
#define LONGHAUL_OPS_ATTENTION_KERNELS_H

#include "engine/ops/attention/attention.h"

void ISA(attention_forward)(const OpCall *call, const Run *run);
void ISA(attention_forward_single)(const OpCall *call, const Run *run); /* Lq = 1, no dropout */
void ISA(attention_backward)(const OpCall *call, const Run *run);

#endif
