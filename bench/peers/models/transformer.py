"""Attention with learned positions."""

import math

import torch
import torch.nn.functional as F

from models.backbone import linear
from models.form import both, published

JOINED = {}


def heads(w, s, x):
    """q, k, v, each (B, H, L, D / H)."""
    qkv = linear(w["qkv"], x).unflatten(-1, (3, int(s["heads"]), -1))
    return qkv.permute(2, 0, 3, 1, 4).unbind(0)


def merge(w, o):
    return linear(w["out"], o.transpose(1, 2).flatten(2))


def fused(w, s, x):
    return merge(w, F.scaled_dot_product_attention(*heads(w, s, x), is_causal=True))


def unfused(w, s, x):
    """As in HazyResearch/zoology: all scores in memory, a mask of -10000 added."""
    q, k, v = heads(w, s, x)
    mask = torch.full((x.shape[1], x.shape[1]), -10000.0).triu(1)
    scores = torch.einsum("bhtd,bhsd->bhts", q, k / math.sqrt(q.shape[-1])) + mask
    return merge(w, torch.einsum("bhts,bhsd->bhtd", scores.softmax(-1), v))


FORMS = both("", fused)
PUBLISHED = published(unfused)
