#include "engine/ops/attention/attention_kernels.h"

const OpKernels ISA(attention_cpu) = {ISA(attention_forward), ISA(attention_backward)};
