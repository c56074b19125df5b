"""xLSTM[0:1]: the scalar memory, a loop over tokens, with the gated MLP behind it."""

import math

import torch
import torch.nn.functional as F

from models import convolution
from models.form import Form, published

JOINED = {}


def gates(w, u):
    """i, f, z and o before what comes from the state, time first: (L, H, B, 4 U)."""
    H, U = w["recurrent"].shape[:2]
    c = F.silu(convolution.short_rows(w["convolution"], u))
    pairs = [
        torch.einsum("blgi,gio->lgbo", x.unflatten(2, (H, U)), w[name]["weight"])
        for name, x in (("gates_if", c), ("gates_zo", u))
    ]
    return torch.cat(pairs, 3) + w["bias"].flatten(1).unsqueeze(1)


def units(gates, c, n, m):
    """A step after the product with the state. h does not depend on m, which takes no gradient."""
    i, f, z, o = gates.chunk(4, -1)
    kept = F.logsigmoid(f) + m
    m = torch.maximum(i, kept).detach()
    keep, add = torch.exp(kept - m), torch.exp(i - m)
    c, n = keep * c + add * torch.tanh(z), keep * n + add
    return torch.sigmoid(o) * c / n, c, n, m


def piece(x, R, h, c, n, m):
    hs = []
    for gate in x.unbind(0):
        h, c, n, m = units(torch.baddbmm(gate, h, R), c, n, m)
        hs.append(h)
    return torch.stack(hs), h, c, n, m


def block(piece, size=None):
    """The loop in pieces of so many steps, or in one."""

    def mixer(w, s, u):
        x, R = gates(w, u), w["recurrent"].flatten(2)
        h = c = n = x.new_zeros(*x.shape[1:3], R.shape[1])
        m, hs = torch.full_like(h, -math.inf), []
        for each in x.split(size or len(x)):
            y, h, c, n, m = piece(each, R, h, c, n, m)
            hs.append(y)
        return head_norm(w, torch.cat(hs))

    return mixer


def head_norm(w, h):
    """h (L, H, B, U) -> (B, L, D)"""
    h = F.layer_norm(h, h.shape[3:], eps=1e-5).permute(2, 0, 1, 3).flatten(2)
    return h * w["head_norm"]["gamma"]


def as_published(w, s, u):
    """Its loop in PyTorch: asks at each step whether the state is still empty, and writes all four parts of the
    state into a tensor that is there before."""
    x, R = gates(w, u), w["recurrent"].flatten(2)
    h = c = n = m = x.new_zeros(*x.shape[1:3], R.shape[1])
    states = x.new_zeros(4, len(x) + 1, *h.shape)
    for t, gate in enumerate(x.unbind(0)):
        i, f, z, o = (gate + h @ R).chunk(4, -1)
        kept = m + F.logsigmoid(f)
        m = i if torch.all(n == 0) else torch.max(i, kept)
        keep, add = (torch.minimum(torch.exp(e - m), torch.ones_like(e)) for e in (kept, i))
        c, n = keep * c + add * torch.tanh(z), keep * n + add
        h = torch.sigmoid(o) * c / n
        states[:, t + 1] = torch.stack([h, c, n, m])
    return head_norm(w, states[0, 1:])


FORMS = [
    Form("loop, eager", block(piece)),
    Form("loop compiled 8 steps at a time", block(torch.compile(piece, dynamic=False), 8)),
]
PUBLISHED = published(as_published)
