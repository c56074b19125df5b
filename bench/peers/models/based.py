"""Based, order=mqar: a short convolution with a gate, and attention by the exponential's Taylor polynomial."""

import math

import torch

from models import convolution
from models.backbone import linear
from models.form import both, published

JOINED = {}


def mixer(attend):
    def either(w, s, u):
        if "conv" in w:
            return convolution.short_sum(w["conv"], u) * linear(w["projection"], u) + u
        d, value = int(s["feature_width"]), u.shape[2]
        q, k, v = linear(w["qkv"], u).split([d, d, value], dim=2)
        return linear(w["out"], attend(q / math.sqrt(d), k, v))

    return either


def weights(q, k):
    """Of the keys at queries, which are the last ones."""
    scores = q @ k.transpose(1, 2)
    return (1 + scores + scores.square() / 2).tril(k.shape[1] - q.shape[1])


def in_blocks(size):
    """Blocks of queries, each with the keys up to its end."""

    def attend(q, k, v):
        results = []
        for end in range(size, q.shape[1] + 1, size):
            p = weights(q[:, end - size : end], k[:, :end])
            results.append((p @ v[:, :end]) / p.sum(2, keepdim=True))
        return torch.cat(results, 1)

    return attend


def features(x):
    """1, x and all products of two channels over sqrt(2)."""
    squares = (x.unsqueeze(3) * x.unsqueeze(2)).flatten(2) / math.sqrt(2)
    return torch.cat([torch.ones_like(x[..., :1]), x, squares], 2)


def by_features(q, k, v):
    """As in HazyResearch/zoology: all products of features, denominators from running sums."""
    q, k = features(q), features(k)
    o = torch.einsum("bij,bjm->bim", torch.einsum("bif,bjf->bij", q, k).tril(), v)
    return o / (torch.einsum("bif,bif->bi", q, k.cumsum(1)) + 1e-12).unsqueeze(2)


FORMS = [form for n in (128, 256) for form in both(f"blocks of {n} queries", mixer(in_blocks(n)))]
PUBLISHED = published(mixer(by_features))
