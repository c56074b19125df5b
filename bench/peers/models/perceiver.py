"""Perceiver AR on every prefix that ends with a block of latents: a causal cross-attention over the whole
sequence, then attention inside blocks."""

import math

import torch
import torch.nn.functional as F

from models import backbone
from models.backbone import linear, norm
from models.form import both, published

JOINED = {}
NOTE = "Published code: all prefixes share one cross-attention, where it would run one after the other"


def stack(w, s, x, mixer):
    """mixer holds attention over (B, H, L, d) for the cross-attention and for blocks."""
    cross, own = mixer

    def crossing(w, s, z):
        q = linear(w["q"], z).unflatten(2, (int(s["heads"]), -1)).transpose(1, 2)
        kv = linear(w["kv"], norm(w["norm_kv"], s, x)).unflatten(2, (2, int(s["heads"]), -1))
        return attend(w, s, cross, q, *kv.permute(2, 0, 3, 1, 4).unbind(0))

    def inside(w, s, z):
        qkv = linear(w["qkv"], z).unflatten(2, (3, int(s["heads"]), -1))
        return attend(w, s, own, *qkv.permute(2, 0, 3, 1, 4).unbind(0))

    z = backbone.blocks(w["cross"], s, linear(w["z"], x), crossing)
    return backbone.blocks(w, s, z, inside)


def attend(w, s, attention, q, k, v):
    q, k = rotated(s, q), rotated(s, k)
    return linear(w["out"], attention(q, k, v, int(s["latents"])).transpose(1, 2).flatten(2))


def rotated(s, x):
    """Neighbouring channels (a, b) of the first part of a head, by position times frequency."""
    pairs = int(float(s["rotary_fraction"]) * x.shape[3] / 2)
    frequency = torch.exp(torch.arange(pairs) * (-math.log(float(s["wavelength"])) / (pairs - 1)))
    angle = torch.arange(x.shape[2]).unsqueeze(1) * frequency
    turned, rest = x.split([2 * pairs, x.shape[3] - 2 * pairs], dim=3)
    a, b = turned.unflatten(3, (pairs, 2)).unbind(4)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], 4).flatten(3)
    return torch.cat([turned, rest], 3)


def whole(q, k, v, size=None):
    """All scores in memory."""
    later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1 + k.shape[-2] - q.shape[-2])
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    return scores.masked_fill(later, -math.inf).softmax(-1) @ v


def fused(q, k, v, size=None):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def in_blocks(attention):
    def inside(q, k, v, size):
        blocks = q.shape[2] // size
        q, k, v = (x.unflatten(2, (-1, size)).flatten(1, 2) for x in (q, k, v))
        return attention(q, k, v).unflatten(1, (-1, blocks)).flatten(2, 3)

    return inside


def query_blocks(q, k, v, size=None, rows=128):
    """Blocks of queries, each with the keys up to its end."""
    ends = range(rows, q.shape[2] + 1, rows)
    return torch.cat([whole(q[:, :, n - rows : n], k[:, :, :n], v[:, :, :n]) for n in ends], 2)


FORMS = both("fused", (fused, in_blocks(fused))) + both("blocks of 128 queries", (query_blocks, in_blocks(whole)))
PUBLISHED = published((whole, in_blocks(whole)))
