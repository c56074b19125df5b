"""GLA: linear attention whose state forgets every channel of its keys at a rate that the token chooses."""

import math

import torch
import torch.nn.functional as F

from models import chunks
from models.backbone import linear
from models.form import both, published

JOINED = {"in": ("q", "k", "v", "gate", "decay_down")}
NOTE = "Published code: the recurrence that is released beside its kernels for GPUs"


def steps(q, k, v, g):
    """As flash-linear-attention's naive version: indexes and assigns along the time axis."""
    o, s = torch.zeros_like(v), q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3])
    for t in range(q.shape[2]):
        s = s * torch.exp(g[:, :, t])[..., None] + k[:, :, t, :, None] * v[:, :, t, None, :]
        o[:, :, t] = (q[:, :, t, :, None] * s).sum(-2)
    return o


def block(attention):
    def mixer(w, s, x):
        rank, keys, values = w["decay_up"]["weight"].shape[1], len(w["decay_up"]["bias"]), w["out"]["weight"].shape[1]
        q, k, v, r, low = linear(w["in"], x).split([keys, keys, values, values, rank], dim=2)
        g = F.logsigmoid(linear(w["decay_up"], low)) / float(s["temperature"])
        q, k, v, g = (y.unflatten(2, (int(s["heads"]), -1)).transpose(1, 2) for y in (q, k, v, g))
        o = attention(q / math.sqrt(q.shape[-1]), k, v, g).transpose(1, 2)
        gamma = w["head_norm"]["gamma"]
        return linear(w["out"], F.rms_norm(o, gamma.shape, gamma, 1e-5).flatten(2) * F.silu(r))

    return mixer


def chunked(chunk):
    return block(lambda *inputs: chunks.of_channels(chunk, *inputs))


FORMS = both("chunks of 32", chunked(32)) + both("chunks of 64", chunked(64))
PUBLISHED = published(block(steps))
