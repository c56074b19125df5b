#include "engine/ops/pattern_attention/pattern_attention_kernels.h"

static void forward(const OpCall *call, const Run *run) {
    if (call->inputs > PATTERN_POSITION)
        ISA(pattern_attention_step)(call, run);
    else
        ISA(pattern_attention_forward)(call, run);
}

const OpKernels ISA(pattern_attention_cpu) = {forward, ISA(pattern_attention_backward)};
