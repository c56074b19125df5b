"""Sparse Transformer, the merged fixed pattern: the own segment, and of each earlier one the last few
positions, under one softmax."""

import math

import torch
import torch.nn.functional as F

from models.form import both, published
from models.transformer import heads, merge

JOINED = {}
NOTE = "Published code: its dense masked attention; kernels for blocks are released for GPUs alone"


def pattern(s, length):
    """What each query sees, (L, L)."""
    stride, summaries = int(s["pattern_stride"]), int(s["summaries"])
    query, key = torch.arange(length).unsqueeze(1), torch.arange(length)
    summary = key % stride >= stride - summaries
    return (key <= query) & (summary | (query // stride == key // stride))


def masked(w, s, x):
    """All scores in memory."""
    q, k, v = heads(w, s, x)
    scores = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(q.shape[-1]))
    hidden = ~pattern(s, x.shape[1])
    return merge(w, scores.masked_fill(hidden, -1e9).softmax(-1) @ v)


def fused(w, s, x):
    return merge(w, F.scaled_dot_product_attention(*heads(w, s, x), attn_mask=pattern(s, x.shape[1])))


def in_groups(count):
    """A few segments at a time: scores of the own segment beside those of the summaries so far."""

    def mixer(w, s, x):
        stride, summaries, results = int(s["pattern_stride"]), int(s["summaries"]), []
        q, k, v = (t.unflatten(2, (-1, stride)) for t in heads(w, s, x))
        q = q * (1 / math.sqrt(q.shape[-1]))
        far_k, far_v = (t[:, :, :, -summaries:] for t in (k, v))
        later = torch.ones(stride, stride, dtype=torch.bool).triu(1)
        for end in range(count, q.shape[2] + 1, count):
            own_q, own_k, own_v = (t[:, :, end - count : end] for t in (q, k, v))
            own = (own_q @ own_k.transpose(-1, -2)).masked_fill(later, -math.inf)
            earlier_k, earlier_v = (t[:, :, : end - 1].flatten(2, 3) for t in (far_k, far_v))
            far = (own_q.flatten(2, 3) @ earlier_k.transpose(-1, -2)).unflatten(2, (-1, stride))
            segment = torch.arange(end - 1).repeat_interleave(summaries)
            unseen = segment >= torch.arange(end - count, end).unsqueeze(1)
            far = far.masked_fill(unseen.unsqueeze(1), -math.inf)
            p, own_p = torch.cat([far, own], -1).softmax(-1).split([far.shape[-1], stride], dim=-1)
            results.append((p.flatten(2, 3) @ earlier_v).unflatten(2, (-1, stride)) + own_p @ own_v)
        return merge(w, torch.cat(results, 2).flatten(2, 3))

    return mixer


FORMS = both("fused, masked", fused) + both("segments and summaries", in_groups(8))
PUBLISHED = published(masked)
