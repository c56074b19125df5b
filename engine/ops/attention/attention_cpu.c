#include "engine/ops/attention/attention_kernels.h"

static void forward(const OpCall *call, const Run *run) {
    const Attention *attributes = call->attributes;
    if (extent(call->in[ATTENTION_Q], 1) == 1 && attributes->dropout <= 0)
        ISA(attention_forward_single)(call, run);
    else
        ISA(attention_forward)(call, run);
}

const OpKernels ISA(attention_cpu) = {forward, ISA(attention_backward)};
