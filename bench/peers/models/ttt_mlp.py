"""TTT-MLP: the model is gelu(x W1 + c1) W2 + c2."""

import math

import torch

from models import ttt, ttt_linear
from models.backbone import ACTIVATIONS
from models.form import Form, published

JOINED = ttt.JOINED
gelu = ACTIVATIONS["gelu_tanh"]


def start(w, heads):
    return ttt_linear.start(w, heads), ttt.each_head(w, "W2", heads), ttt.each_head(w, "c2", heads).unsqueeze(1)


def times_slope(g, x):
    """g gelu'(x)"""
    inner = math.sqrt(2 / math.pi)
    t = torch.tanh(inner * x * (1 + 0.044715 * x * x))
    return g * (0.5 * x * ((1 - t * t) * (inner + 3 * 0.044715 * inner * x * x)) + 0.5 * (1 + t))


def times_slope_by_kernel(g, x):
    return torch.ops.aten.gelu_backward(g, x, approximate="tanh")


def step(descent, times_slope):
    def step(state, gain, both, back, wanted, m, eta):
        W1, W2, c2 = state
        z1, zq1 = torch.bmm(both, W1).chunk(2, 1)
        x = gelu(z1)
        g = descent(torch.baddbmm(c2, x, W2), gain, wanted)
        g1 = times_slope(g @ W2.transpose(1, 2), z1)
        xq = gelu(torch.baddbmm(zq1, m, g1, alpha=-1))
        m2 = eta * (xq @ x.transpose(1, 2) + 1)
        z = torch.baddbmm(torch.baddbmm(c2, xq, W2), m2, g, alpha=-1)
        last = eta[:, -1].unsqueeze(1)
        W2 = torch.baddbmm(W2, x.transpose(1, 2) * last, g, alpha=-1)
        return z, (torch.baddbmm(W1, back, g1, alpha=-1), W2, torch.baddbmm(c2, last, g, alpha=-1))

    return step


def separate(w, heads):
    return (*ttt_linear.separate(w, heads), *start(w, heads)[1:])


def published_step(state, q, k, descent, eta):
    W1, c1, W2, c2 = state
    z1 = k @ W1 + c1
    x = gelu(z1)
    g2 = descent(x @ W2 + c2)
    g1 = times_slope(g2 @ W2.transpose(1, 2), z1)
    zq, (W1, c1) = ttt.update(W1, c1, q, k, g1, eta)
    z, (W2, c2) = ttt.update(W2, c2, gelu(zq), x, g2, eta)
    return z, (W1, c1, W2, c2)


FORMS = [
    Form("loop, eager", ttt.block(step(ttt.descent_by_kernels, times_slope_by_kernel), start)),
    Form("loop of compiled steps, the rest eager", ttt.block(torch.compile(step(ttt.descent, times_slope)), start)),
]
PUBLISHED = published(ttt.as_published(published_step, separate))
