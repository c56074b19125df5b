"""Mamba-2: a gated block around a short convolution and a state space with one decay a head."""

import math

import torch
import torch.nn.functional as F

from models import chunks, convolution
from models.backbone import linear
from models.form import both, published

JOINED = {"in": ("in_z", "in_CBx", "in_dt")}


def by_einsum(chunk, C, B, x, g):
    """As state-spaces/mamba's minimal version: C and B of every head, all of four steps by einsum, sums of
    decays with one cumulative sum for every pair of tokens."""

    def sums(g):
        """Of decays after j up to i, (.., T, T); minus infinity where j > i."""
        size = g.shape[-1]
        pairs = g.unsqueeze(-1).expand(*g.shape, size)
        pairs = pairs.masked_fill(torch.ones(size, size, dtype=torch.bool).triu(), 0).cumsum(-2)
        return pairs.masked_fill(torch.ones(size, size, dtype=torch.bool).triu(1), -math.inf)

    heads = x.shape[2]
    C, B, x = (y.unflatten(1, (-1, chunk)) for y in (C.expand(-1, -1, heads, -1), B.expand(-1, -1, heads, -1), x))
    g = g.unflatten(1, (-1, chunk)).permute(0, 3, 1, 2)
    total = g.cumsum(-1)
    inside = torch.einsum("bclhn,bcshn,bhcls,bcshp->bclhp", C, B, torch.exp(sums(g)), x)
    states = torch.einsum("bclhn,bhcl,bclhp->bchpn", B, torch.exp(total[..., -1:] - total), x)
    states = torch.cat((torch.zeros_like(states[:, :1]), states), 1)
    between = torch.exp(sums(F.pad(total[..., -1], (1, 0))))
    states = torch.einsum("bhzc,bchpn->bzhpn", between, states)[:, :-1]
    before = torch.einsum("bclhn,bchpn,bhcl->bclhp", C, states, torch.exp(total))
    return (inside + before).flatten(1, 2)


def head_by_head(chunk, C, B, x, g):
    """One product of C and B for all heads; the rest in batches of heads."""
    return chunks.of_tokens(chunk, *(y.transpose(1, 2) for y in (C, B, x, g))).transpose(1, 2)


def heads_together(chunk, C, B, x, g):
    """As C and B are those of all heads, so are the products with them: decays scale their results, and
    stand with x (B, n, T, H, P) where a chunk is added to the state."""
    C, B = (y.squeeze(2).unflatten(1, (-1, chunk)) for y in (C, B))
    x, g = (y.unflatten(1, (-1, chunk)) for y in (x, g))
    b = g.cumsum(2)
    last = b[:, :, -1:]
    added = B.transpose(2, 3) @ (x * torch.exp(last - b).unsqueeze(4)).flatten(3)  # (B, n, N, H P)
    added = added.unflatten(3, x.shape[3:]).permute(0, 3, 1, 2, 4)
    states = chunks.carried(last.squeeze(2).transpose(1, 2), added.flatten(3)).view_as(added)
    before = (C @ states.permute(0, 2, 3, 1, 4).flatten(3)).view_as(x) * torch.exp(b).unsqueeze(4)
    weights = (C @ B.transpose(2, 3)).unsqueeze(2) * chunks.decays(b.transpose(2, 3))
    inside = (weights @ x.transpose(2, 3)).transpose(2, 3)
    return (before + inside).flatten(1, 2)


def block(space, chunk, short=convolution.short_rows):
    def mixer(w, s, u):
        states, heads, width = int(s["state"]), len(w["D"]), w["norm"]["gamma"].shape
        z, CBx, dt = linear(w["in"], u).split([*width, 2 * states + width[0], heads], dim=2)
        C, B, x = F.silu(short(w["convolution"], CBx)).split([states, states, *width], dim=2)
        dt, x = F.softplus(dt + w["dt_bias"]), x.unflatten(2, (heads, -1))
        y = space(chunk, C.unsqueeze(2), B.unsqueeze(2), x * dt.unsqueeze(3), -torch.exp(w["A_log"]) * dt)
        y = (y + w["D"].unsqueeze(1) * x).flatten(2)
        return linear(w["out"], F.rms_norm(y * F.silu(z), width, w["norm"]["gamma"], 1e-5))

    return mixer


FORMS = both("heads in turn", block(head_by_head, 128))
FORMS += both("heads together", block(heads_together, 64, convolution.short_sum))
FORMS += both("heads together, chunks of 128", block(heads_together, 128, convolution.short_sum))
PUBLISHED = published(block(by_einsum, 64))
