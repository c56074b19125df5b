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


def shifted(scores):
    """(.., T, K), column c for the distance K - 1 - c -> column j for the distance of key j."""
    *_, queries, keys = scores.shape
    return F.pad(scores, (1, 0)).flatten(-2)[..., queries:].unflatten(-1, (queries, keys))


def visible(queries, keys):
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


def two_products(qkv, x, size):
    """Queries and keys with values, and again those of the memory, whose inputs take no gradient."""
    width = x.shape[2]
    q, own = linear(qkv, x).split([width, 2 * width], dim=2)
    memory = F.linear(x.detach()[:, :-size], qkv["weight"][width:])
    memory, own = (t.unflatten(1, (-1, size)) for t in (F.pad(memory, (0, 0, size, 0)), own))
    return q, torch.cat([memory, own], 2)


class Windows(torch.autograd.Function):
    """The same from one product, of which backward takes the memory's part to the weights alone."""

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


def one_product(qkv, x, size):
    return Windows.apply(x, qkv["weight"], size)


def all_segments(windows):
    """Segments as a batch, scores (H, B, S, T, 2 T)."""

    def mixer(w, s, x):
        count, size = int(s["heads"]), int(s["segment"])
        q, kv = windows(w["qkv"], x, size)
        q = q.unflatten(2, (count, -1)).permute(2, 0, 1, 3)
        k, v = kv.unflatten(3, (2, count, -1)).permute(3, 4, 0, 1, 2, 5).unbind(0)
        r = linear(w["r"], w["distances"].flip(0)).unflatten(1, (count, -1)).permute(1, 2, 0)
        u, b = (w[name].view(count, 1, 1, -1) for name in "uw")
        content = (q + u).unflatten(2, (-1, size)) @ k.transpose(-1, -2)
        position = (q + b).flatten(1, 2) @ r
        position = position.unflatten(1, content.shape[1:4])
        seen = visible(size, 2 * size).repeat(content.shape[2], 1, 1)
        seen[0, :, :size] = False
        scores = (content + shifted(position)) / math.sqrt(q.shape[-1])
        o = scores.masked_fill(~seen, -math.inf).softmax(-1) @ v
        return linear(w["out"], o.permute(1, 2, 3, 0, 4).flatten(1, 2).flatten(2))

    return mixer


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


FORMS = both("two products", all_segments(two_products)) + both("one product", all_segments(one_product))
PUBLISHED = published(segment_loop)
