/* The kernels of pattern attention on one instruction set, a file each. */
#ifndef LONGHAUL_OPS_PATTERN_ATTENTION_KERNELS_H
#define LONGHAUL_OPS_PATTERN_ATTENTION_KERNELS_H

#include "engine/ops/pattern_attention/pattern_attention.h"

void ISA(pattern_attention_forward)(const OpCall *call, const Run *run);
void ISA(pattern_attention_step)(const OpCall *call, const Run *run);
void ISA(pattern_attention_backward)(const OpCall *call, const Run *run);

#endif
