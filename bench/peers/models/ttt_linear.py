"""TTT-Linear: the model is x W + c."""

import torch

from models import ttt
from models.form import Form, published

JOINED = ttt.JOINED


def start(w, heads):
    return torch.cat([ttt.each_head(w, "W1", heads), ttt.each_head(w, "c1", heads).unsqueeze(1)], 1)


def step(descent):
    def step(W, gain, both, back, wanted, m, eta):
        z, zq = torch.bmm(both, W).chunk(2, 1)
        g = descent(z, gain, wanted)
        return torch.baddbmm(zq, m, g, alpha=-1), torch.baddbmm(W, back, g, alpha=-1)

    return step


def separate(w, heads):
    return ttt.each_head(w, "W1", heads), ttt.each_head(w, "c1", heads).unsqueeze(1)


def published_step(state, q, k, descent, eta):
    W, c = state
    g = descent(k @ W + c)
    return ttt.update(W, c, q, k, g, eta)


FORMS = [
    Form("loop, eager", ttt.block(step(ttt.descent_by_kernels), start)),
    Form("loop of compiled steps, the rest eager", ttt.block(torch.compile(step(ttt.descent)), start)),
]
PUBLISHED = published(ttt.as_published(published_step, separate))
