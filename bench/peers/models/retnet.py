"""RetNet: linear attention whose weights decay with age, at a fixed rate in every head."""

import math

import torch
import torch.nn.functional as F

from models import chunks
from models.backbone import linear
from models.form import both, published

JOINED = {"in": ("q", "k", "v", "gate")}
NOTE = "Published code: its parallel form, without the division by sums that the norm of the heads removes"


def rotated(x):
    """Rotary positions of x (.., L, d), the halves of a head as pairs."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2]).unsqueeze(1) * 10000.0 ** (-torch.arange(half) / half)
    cos, sin = torch.cos(angles), torch.sin(angles)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def pairs(q, k, v, g):
    weights = chunks.decays(g.unsqueeze(1) * torch.arange(q.shape[2]))
    return (q @ k.transpose(-1, -2) * weights) @ v


def chunked(chunk):
    """As chunks.of_tokens; tables of constant decays have no batch."""

    def attention(q, k, v, g):
        q, k, v = chunks.split(chunk, q, k, v)
        age = torch.arange(1, chunk + 1)
        b, kept = g.view(-1, 1, 1, 1) * age.unsqueeze(1), (g.unsqueeze(1) * chunk).expand(-1, q.shape[2])
        added = (k * torch.exp(b[:, :, -1:] - b)).transpose(-1, -2) @ v
        states = chunks.carried(kept, added.flatten(3)).view_as(added)
        inside = (q @ k.transpose(-1, -2) * chunks.decays(b.squeeze(-1))) @ v
        return (inside + (q * torch.exp(b)) @ states).flatten(2, 3)

    return attention


def block(attention):
    def mixer(w, s, x):
        values, count, gamma = w["out"]["weight"].shape[1], int(s["heads"]), w["head_norm"]["gamma"]
        q, k, v, g = linear(w["in"], x).split([x.shape[2], x.shape[2], values, values], dim=2)
        q, k, v = (y.unflatten(2, (count, -1)).transpose(1, 2) for y in (q, k, v))
        o = attention(rotated(q) / math.sqrt(q.shape[-1]), rotated(k), v, w["log_decay"]).transpose(1, 2)
        return linear(w["out"], F.rms_norm(o, gamma.shape, gamma, 1e-5).flatten(2) * F.silu(g))

    return mixer


FORMS = [form for chunk in (64, 128) for form in both(f"chunks of {chunk}", block(chunked(chunk)))]
PUBLISHED = published(block(pairs))
