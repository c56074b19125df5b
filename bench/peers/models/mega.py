"""Mega: a moving average as a long convolution, and attention of one head with a bias for each distance."""

import math

import torch
import torch.nn.functional as F

from models import convolution
from models.backbone import linear, norm
from models.form import both, published

JOINED = {"mx": ("shared", "reset", "update", "candidate")}


def stack(w, s, x, mixer):
    for block in w["layers"].values():
        x = mixer(block["mega"], s, x)
        half = block["feedforward"]
        x = x + linear(half["down"], F.silu(linear(half["up"], norm(half["norm"], s, x))))
    return x


def averages(w):
    """Factor and weight of every average, (N, D)."""
    p = torch.sigmoid(w["delta"])
    return 1 - p * torch.sigmoid(w["alpha"]), p * w["beta"] * w["gamma"] / math.sqrt(len(p))


def direct(w, length):
    """As in facebookresearch/mega: every power of every average, (D, N, L). -> (D, L)"""
    factor, weight = (t.t() for t in averages(w))
    powers = torch.exp(torch.arange(length) * torch.log(factor).unsqueeze(2))
    return torch.einsum("dn,dnl->dl", weight, powers)


def blocked(w, length, block=32):
    """l = block i + j: powers of block i times powers of j, one small product a channel."""
    factor, weight = (t.t() for t in averages(w))
    exponent = torch.log(factor)
    far = weight.unsqueeze(1) * torch.exp(exponent.unsqueeze(1) * torch.arange(0, length, block).unsqueeze(1))
    near = torch.exp(exponent.unsqueeze(2) * torch.arange(block))
    return (far @ near).flatten(1)[:, :length]


class Biases(torch.autograd.Function):
    """behind[i - j] of the last `size` queries i and all keys j, -inf where j > i. Backward sums along
    diagonals, which are columns in rows that are one element shorter."""

    @staticmethod
    def forward(context, behind, size):
        length = len(behind)
        rows = F.pad(behind.flip(0), (0, size - 1)).unfold(0, length, 1).flip(0)
        later = torch.ones(size, length, dtype=torch.bool).triu(length - size + 1)
        return rows.masked_fill(later, -math.inf)

    @staticmethod
    def backward(context, gradient):
        size, length = gradient.shape
        sheared = F.pad(gradient.flip(0), (0, size)).flatten()[:-size].view(size, -1)
        return sheared.sum(0)[:length].flip(0), None


def in_blocks(size):
    """Blocks of queries, each with the keys up to its end: fewer hidden scores."""

    def attend(q, k, v, behind):
        results = []
        for end in range(size, len(behind) + 1, size):
            bias = Biases.apply(behind[:end], size)
            scores = torch.baddbmm(bias, q[:, end - size : end], k[:, :end].transpose(1, 2))
            results.append(scores.softmax(-1) @ v[:, :end])
        return torch.cat(results, 1)

    return attend


def bias_matrix(behind):
    """behind[i - j] at (i, j), anything above the diagonal, as facebookresearch/mega cuts it from copies."""
    length = len(behind)
    rows = F.pad(behind.flip(0), (0, length)).repeat(length)[:-length]
    return rows.view(length, -1)[:, length - 1 :]


def whole(q, k, v, behind):
    """All scores of a sequence at once."""
    scores = q @ k.transpose(1, 2) + bias_matrix(behind)
    later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -math.inf).softmax(-1) @ v


def layer(kernel, attend):
    def mixer(w, s, residual):
        x = norm(w["norm"], s, residual)
        v = F.silu(linear(w["value"], x))
        m = F.silu(convolution.long(x, kernel(w["past"], x.shape[1]).t(), w["omega"], dim=-2))
        width, parts = x.shape[2], [w["query"]["gain"].shape[0], v.shape[2]]
        z, reset, update, candidate = linear(w["mx"], m).split([*parts, width, width], dim=2)
        z = F.silu(z)
        q, k = (z * w[name]["gain"] + w[name]["offset"] for name in ("query", "key"))
        o = attend(q / math.sqrt(q.shape[2]), k, v, w["bias"]["behind"][: x.shape[1]])
        candidate = F.silu(candidate + linear(w["out"], o * F.silu(reset)))
        return torch.addcmul(residual, torch.sigmoid(update), candidate - residual)

    return mixer


FORMS = [form for n in (128, 256) for form in both(f"blocks of {n} queries", layer(blocked, in_blocks(n)))]
PUBLISHED = published(layer(direct, whole))
