"""Transformer-XL: attention to the own segment and, without gradient, to the memory before it, with
relative scores. Segments and memory are equally long here."""

import math

import torch
import torch.nn.functional as F

from models import backbone
from models.backbone import linear
from models.form import both, published

JOINED = {"qkv": ("q", "kv")}
NOTE = "Published code: segments one after the other, each with its relative shift of full score matrices"


def stack(w, s, x, mixer):
    shared = {name: w[name] for name in ("u", "w", "distances")}
    return backbone.blocks(w, s, x * math.sqrt(x.shape[2]), lambda own, s, x: mixer(own | shared, s, x))


def visible(queries, keys):
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


class Windows(torch.autograd.Function):
    """Queries, and keys with values of memory and segment, from one product; backward takes what comes from
    the memory to the weights alone."""

    @staticmethod
    def forward(context, x, weight, size):
        context.save_for_backward(x, weight)
        q, own = F.linear(x, weight).split([x.shape[2], 2 * x.shape[2]], dim=2)
        windows = F.pad(own, (0, 0, size, 0)).unflatten(1, (-1, size))
        return q.contiguous(), torch.cat([windows[:, :-1], windows[:, 1:]], 2)

    @staticmethod
    def backward(context, gq, gkv):
        x, weight = context.saved_tensors
        memory, own = gkv.chunk(2, dim=2)
        size = own.shape[2]
        g = torch.cat([gq, own.flatten(1, 2)], 2)
        gx = g @ weight
        g = g + F.pad(memory[:, 1:].flatten(1, 2), (x.shape[2], 0, 0, size))
        return gx, g.flatten(0, 1).t() @ x.flatten(0, 1), None


class Shifted(torch.autograd.Function):
    """Scores (.., T, 2 T) by distance, the largest first -> by key, -inf where none is seen. Rows that are
    one element longer or shorter do it without moving any."""

    @staticmethod
    def forward(context, scores, seen):
        size = scores.shape[-2]
        strides = (*scores.stride()[:-2], 2 * size - 1, 1)
        return scores.as_strided(scores.shape, strides, size - 1).masked_fill(~seen, -math.inf)

    @staticmethod
    def backward(context, gradient):
        size = gradient.shape[-2]
        padded = F.pad(gradient, (size - 1, 0)).flatten(-2)
        return F.pad(padded, (0, size)).unflatten(-1, (size, 3 * size))[..., : 2 * size], None


def all_segments(w, s, x):
    """Segments as a batch, scores (H B S, T, 2 T)."""
    count, size = int(s["heads"]), int(s["segment"])
    q, kv = Windows.apply(x, w["qkv"]["weight"], size)
    segments = kv.shape[1]
    q = q.unflatten(2, (count, -1)).permute(2, 0, 1, 3)
    k, v = kv.unflatten(3, (2, count, -1)).permute(3, 4, 0, 1, 2, 5).flatten(1, 3).unbind(0)
    r = linear(w["r"], w["distances"].flip(0)).unflatten(1, (count, -1)).permute(1, 2, 0)
    u, b = (w[name].view(count, 1, 1, -1) for name in "uw")
    position = ((q + b).flatten(1, 2) @ r).view(count, -1, segments, size, 2 * size)
    seen = visible(size, 2 * size).repeat(segments, 1, 1)
    seen[0, :, :size] = False
    scale = 1 / math.sqrt(q.shape[-1])
    position = Shifted.apply(position, seen).flatten(0, 2)
    q = (q + u).unflatten(2, (-1, size)).flatten(0, 2)
    scores = torch.baddbmm(position, q, k.transpose(1, 2), beta=scale, alpha=scale)
    o = (scores.softmax(-1) @ v).view(count, *x.shape[:2], -1)
    return linear(w["out"], o.permute(1, 2, 0, 3).flatten(2))


def one_segment(w, s, x, memory):
    """Layout and operations of kimiyoung/transformer-xl: time first, batch and heads last."""
    count = int(s["heads"])
    qkv = linear(w["qkv"], torch.cat([memory, x])).unflatten(2, (3, count, -1))
    q, k, v = qkv.unbind(2)
    q, r = q[-len(x) :], linear(w["r"], w["distances"][: len(k)].flip(0)).unflatten(1, (count, -1))
    u, b = (w[name].view(count, -1) for name in "uw")
    content = torch.einsum("ibnd,jbnd->ijbn", q + u, k)
    position = torch.einsum("ibnd,jnd->ijbn", q + b, r)
    zeros = position.new_zeros(len(q), 1, *position.shape[2:])
    position = torch.cat([zeros, position], 1).view(len(k) + 1, len(q), *position.shape[2:])[1:].view_as(content)
    scores = (content + position) / math.sqrt(q.shape[-1])
    later = ~visible(len(q), len(k))[:, :, None, None]
    o = torch.einsum("ijbn,jbnd->ibnd", scores.masked_fill(later, -math.inf).softmax(1), v)
    return linear(w["out"], o.flatten(2))


def segment_loop(w, s, x):
    x = x.transpose(0, 1)
    memory, results = x[:0], []
    for part in x.split(int(s["segment"])):
        results.append(one_segment(w, s, part, memory))
        memory = part.detach()
    return torch.cat(results).transpose(0, 1)


FORMS = both("segments as a batch", all_segments)
PUBLISHED = published(segment_loop)
