"""RWKV-4: token shifts, and in every channel a mean of values with weights e^(k - age e^decay)."""

import math

import torch
import torch.nn.functional as F

from models.backbone import linear, norm
from models.form import both, published

JOINED = {}
NOTE = "Published code: the loop for machines without its CUDA kernel"
EMPTY = -1e38  # the exponent of no token yet


def indexed(k, v, w, u):
    """As in huggingface/transformers: indexes and assigns along the time axis. p and q are the sums of weighted
    values and of weights, o is the exponent that is taken out of both."""
    p, q, y = torch.zeros_like(k[:, 0]), torch.zeros_like(k[:, 0]), torch.zeros_like(k)
    o = p + EMPTY
    for t in range(k.shape[1]):
        top = torch.maximum(o, u + k[:, t])
        old, new = torch.exp(o - top), torch.exp(u + k[:, t] - top)
        y[:, t] = (old * p + new * v[:, t]) / (old * q + new)
        top = torch.maximum(o + w, k[:, t])
        old, new = torch.exp(o + w - top), torch.exp(k[:, t] - top)
        p, q, o = old * p + new * v[:, t], old * q + new, top
    return y


def chunked(chunk):
    """Inside chunks one triangular matrix a channel, constant along its diagonals, times the values of all
    chunks; from chunk to chunk a triangle of chunks. Exponents are taken out as in the loop, but once a chunk."""

    def wkv(k, v, w, u):
        k, v = (x.unflatten(1, (-1, chunk)) for x in (k, v))  # (B, n, T, D)
        count = k.shape[1]
        top = k.detach().amax(2)
        e = torch.exp(k - top.unsqueeze(2))
        ages = torch.arange(chunk + 1).unsqueeze(1) - torch.arange(1, chunk + 1)
        weights = torch.exp(w.view(-1, 1, 1) * ages.clamp_min(0)).tril(-1)  # a token reads earlier ones
        inputs = torch.stack((e * v, e)).permute(4, 3, 0, 1, 2)  # (D, T, 2, B, n)
        near = (weights @ inputs.flatten(2)).view(-1, chunk + 1, *inputs.shape[2:]).permute(2, 3, 4, 1, 0)
        gaps = chunk * (torch.arange(count).unsqueeze(1) - torch.arange(1, count + 1))
        exponents = w.view(-1, 1, 1) * gaps.clamp_min(0) + top.transpose(1, 2).unsqueeze(2)  # (B, D, n, n)
        exponents = exponents.masked_fill(torch.ones(count, count, dtype=torch.bool).triu(), -math.inf)
        o = exponents.detach().amax(3, keepdim=True).clamp_min(EMPTY)
        far = torch.exp(exponents - o) @ near[:, :, :, -1].permute(1, 3, 2, 0)  # (B, D, n, 2)
        aged = o.squeeze(3).transpose(1, 2).unsqueeze(2) + w * torch.arange(chunk).unsqueeze(1)
        top = top.unsqueeze(2)
        most = torch.maximum(torch.maximum(top, aged), u + k).detach()
        old, new, now = torch.exp(aged - most), torch.exp(top - most), torch.exp(u + k - most)
        p, q = (old * x.unsqueeze(2) + new * y[:, :, :-1] for x, y in zip(far.permute(3, 0, 2, 1), near))
        return ((p + now * v) / (q + now)).flatten(1, 2)

    return wkv


def shifts(w, x, names):
    """A linear map of each mixture with the token before."""
    before = F.pad(x, (0, 0, 1, 0))[:, :-1]
    return [linear(w[name], torch.lerp(before, x, w[mix])) for name, mix in names.items()]


def block(wkv):
    def mixer(w, s, x):
        k, v, r = shifts(w, x, {"key": "mix_k", "value": "mix_v", "receptance": "mix_r"})
        return linear(w["output"], torch.sigmoid(r) * wkv(k, v, -torch.exp(w["decay"]), w["first"]))

    return mixer


def channel_mixing(w, x):
    k, r = shifts(w, x, {"key": "mix_k", "receptance": "mix_r"})
    return torch.sigmoid(r) * linear(w["value"], F.relu(k).square())


def stack(w, s, x, mixer):
    x = norm(w["norm0"], s, x)
    for block in w["layers"].values():
        x = x + mixer(block["time"], s, norm(block["norm1"], s, x))
        x = x + channel_mixing(block["channel"], norm(block["norm2"], s, x))
    return x


FORMS = both("chunks of 32", block(chunked(32))) + both("chunks of 64", block(chunked(64)))
PUBLISHED = published(block(indexed))
