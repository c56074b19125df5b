"""DeltaNet and Gated DeltaNet: tokens correct what the state holds under their key, and all of it may fade.
Inside a chunk the corrections are the solution of a triangular system, as in engine/ops/delta_rule/delta_rule.h."""

import math

import torch
import torch.nn.functional as F

from models import chunks, convolution
from models.backbone import linear
from models.form import Form, published

JOINED = {"in": ("q", "k", "v")}
NOTE = "Published code: the version in PyTorch that is released beside the kernels for GPUs"


def by_rows(lower, right):
    """(1 + lower)^-1 right: the inverse row by row, as released."""
    inverse = -lower
    for i in range(1, lower.shape[-1]):
        row, above = inverse[..., i, :i].clone(), inverse[..., :i, :i].clone()
        inverse[..., i, :i] = row + (row.unsqueeze(-1) * above).sum(-2)
    return (inverse + torch.eye(lower.shape[-1])) @ right


def by_solver(lower, right):
    return torch.linalg.solve_triangular(lower, right, upper=False, unitriangular=True)


def by_halves(lower, right):
    """The second half of a solution follows from the first; 16 rows by (1 - N) (1 + N^2) (1 + N^4) (1 + N^8)."""
    half = lower.shape[-1] // 2
    if half >= 16:
        first = by_halves(lower[..., :half, :half], right[..., :half, :])
        rest = right[..., half:, :] - lower[..., half:, :half] @ first
        return torch.cat((first, by_halves(lower[..., half:, half:], rest)), -2)
    right = right - lower @ right
    for _ in range(3):
        lower = lower @ lower
        right = right + lower @ right
    return right


def chunked(chunk, solve):
    def rule(q, k, v, beta, g):
        q, k, v, beta = chunks.split(chunk, q, k, v, beta.unsqueeze(3))
        inside, seen, far, near = (q @ k.transpose(-1, -2)).tril(), k * beta, q, k
        pairs = ((k * beta) @ k.transpose(-1, -2)).tril(-1)
        kept = None
        if g is not None:
            b = g.unflatten(2, (-1, chunk)).cumsum(-1)
            last, weights = b[..., -1:], chunks.decays(b)
            inside, pairs, kept = inside * weights, pairs * weights, torch.exp(last).unsqueeze(-1)
            e = torch.exp(b).unsqueeze(-1)
            seen, far, near = seen * e, q * e, k * torch.exp(last - b).unsqueeze(-1)
        solved = solve(pairs, torch.cat((v * beta, seen), -1))
        added, seen = solved.split([v.shape[-1], k.shape[-1]], -1)
        s, near, corrections, states = added.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]), near.mT, [], []
        for n in range(k.shape[2]):
            states.append(s)
            corrections.append(added[:, :, n] - seen[:, :, n] @ s)
            s = (s if kept is None else kept[:, :, n] * s) + near[:, :, n] @ corrections[n]
        return (inside @ torch.stack(corrections, 2) + far @ torch.stack(states, 2)).flatten(2, 3)

    return rule


def block(rule, short=convolution.short_rows):
    def mixer(w, s, x):
        count, gamma = int(s["heads"]), w["head_norm"]["gamma"]
        values, taps = w["out"]["weight"].shape[1], w["in"]["convolution"]
        keys = (len(taps["weight"]) - values) // 2
        q, k, v = F.silu(short(taps, linear(w["in"], x))).split([keys, keys, values], 2)
        q, k, v = (y.unflatten(2, (count, -1)).transpose(1, 2) for y in (q, k, v))
        q, k = (y * torch.rsqrt(y.square().sum(-1, keepdim=True) + 1e-6) for y in (q, k))
        beta = torch.sigmoid(linear(w["beta"], x)).transpose(1, 2)
        g = None
        if "A_log" in w:
            g = -torch.exp(w["A_log"]) * F.softplus(linear(w["in_dt"], x) + w["dt_bias"])
            g = g.transpose(1, 2)
        o = rule(q / math.sqrt(q.shape[-1]), k, v, beta, g).transpose(1, 2)
        o = F.rms_norm(o, gamma.shape, gamma, 1e-5).flatten(2)
        return linear(w["out"], o * F.silu(linear(w["gate"], x)) if "gate" in w else o)

    return mixer


def released(q, k, v, beta, g):
    return chunked(32 if g is None else 64, by_rows)(q, k, v, beta, g)


FORMS = [
    Form("triangular solver, eager", block(chunked(64, by_solver))),
    Form("solved by halves, eager", block(chunked(64, by_halves))),
]
PUBLISHED = published(block(released))
