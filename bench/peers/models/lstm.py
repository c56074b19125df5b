"""PyTorch's LSTM kernel, one layer in each residual block. It wants two biases; the second is zero."""

import torch

from models.form import both, published

JOINED = {}
NOTE = "torch.compile would unroll the 256 steps (it did not finish in 8 minutes): the kernel stays outside its graph"


@torch.compiler.disable
def kernel(x, weights):
    zero = x.new_zeros(1, x.shape[0], x.shape[2])
    return torch.lstm(x, (zero, zero), weights, True, 1, 0.0, True, False, True)[0]


def mixer(w, s, x):
    bias = w["input"]["bias"]
    return kernel(x, [w["input"]["weight"], w["recurrent"], bias, torch.zeros_like(bias)])


FORMS = both("", mixer)
PUBLISHED = published(mixer)
