"""xLSTM[1:0]: the matrix memory with weights for all pairs of tokens, or in chunks. s, r and m as in
engine/ops/mlstm/mlstm_plan.h, to base e; r takes no gradient, because the result does not depend on it."""

import math

import torch
import torch.nn.functional as F

from models import convolution
from models.backbone import linear
from models.form import Form, both, published

JOINED = {"in": ("in_a", "in_z")}
NOTE = "Published code: its parallel form; kernels for chunks are released for GPUs alone"
EPSILON = 1e-6


def weights(q, k, s, r):
    """Of earlier tokens at tokens, (.., T, T)."""
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores * torch.exp((s.unsqueeze(-2) - r.unsqueeze(-1)).masked_fill(later, -math.inf))


def normalised(sums, dots, m):
    return sums / (torch.maximum(dots.abs(), torch.exp(-m)) + EPSILON).unsqueeze(-1)


def pairs(q, k, v, i, f):
    b = F.logsigmoid(f).cumsum(-1)
    s = i - b
    r = s.detach().cummax(-1).values.clamp_min(0)
    p = weights(q, k, s, r)
    return normalised(p @ v, p.sum(-1), b + r)


def chunked(chunk):
    """Stabilisers chunk by chunk, then what all chunks add to the state, the states, and all results."""

    def memory(q, k, v, i, f):
        q, k, v, i, f = (x.unflatten(2, (-1, chunk)) for x in (q, k, v, i, f))
        b = F.logsigmoid(f).cumsum(-1)
        s = i - b
        highest = s.detach().cummax(-1).values
        m, top = [torch.zeros_like(b[:, :, 0, 0])], []
        for n in range(s.shape[2]):
            top.append(torch.maximum(m[n], highest[:, :, n, -1]).detach())
            m.append(b[:, :, n, -1] + top[n])
        before, last = torch.stack(m[:-1], 2).unsqueeze(-1), torch.stack(top, 2).unsqueeze(-1)
        r = torch.maximum(before, highest).detach()
        v = F.pad(v, (0, 1), value=1.0)  # the normaliser as one more channel
        added = (k * torch.exp(s - last).unsqueeze(-1)).transpose(-1, -2) @ v
        kept = torch.exp(before - last).unsqueeze(-1)
        states = [torch.zeros_like(added[:, :, 0])]
        for n in range(added.shape[2] - 1):
            states.append(kept[:, :, n] * states[n] + added[:, :, n])
        entry = (torch.exp(before - r) / math.sqrt(q.shape[-1])).unsqueeze(-1)
        sums = weights(q, k, s, r) @ v + (q * entry) @ torch.stack(states, 2)
        return normalised(sums[..., :-1], sums[..., -1], b + r).flatten(2, 3)

    return memory


def by_einsum(w, x):
    """Block-diagonal map, weights (G, I, O)."""
    return torch.einsum("blgi,gio->blgo", x.unflatten(2, (w["weight"].shape[0], -1)), w["weight"]).flatten(2)


def by_sums(w, x):
    blocks = x.unflatten(2, (w["weight"].shape[0], -1))
    return sum(blocks[..., i, None] * w["weight"][:, i] for i in range(w["weight"].shape[1])).flatten(2)


def block(memory, blockwise=by_einsum, short=convolution.short_rows):
    def mixer(w, s, u):
        a, z = linear(w["in"], u).chunk(2, dim=2)
        c = F.silu(short(w["convolution"], a))
        q, k, v = blockwise(w["q"], c), blockwise(w["k"], c), blockwise(w["v"], a)
        gates = sum(linear(w["gates"][n], x) for n, x in zip("qkv", (q, k, v))) + w["gates"]["bias"]
        count = int(s["heads"])
        q, k, v = (x.unflatten(2, (count, -1)).transpose(1, 2) for x in (q, k, v))
        h = memory(q, k, v, *gates.transpose(1, 2).chunk(2, dim=1)).transpose(1, 2)
        h = F.layer_norm(h, h.shape[3:], eps=1e-5).flatten(2) * w["head_norm"]["gamma"] + w["skip"] * c
        return linear(w["out"], h * F.silu(z))

    return mixer


FORMS = [Form("all pairs, eager", block(pairs)), Form("all pairs, compiled", block(pairs, by_sums), compiled=True)]
for size in (64, 128):
    FORMS += both(f"chunks of {size}", block(chunked(size)))
    FORMS += both(f"chunks of {size}, blocks by sums", block(chunked(size), by_sums, convolution.short_sum))
PUBLISHED = published(block(pairs))
