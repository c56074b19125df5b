"""Mamba: a gated block around a short convolution and a selective scan."""

import torch
import torch.nn.functional as F

from models import convolution, scan
from models.backbone import linear
from models.form import Form, both, published

JOINED = {"in": ("in_x", "in_z"), "x": ("x_dt", "x_B", "x_C")}


def before(short, w, u):
    """u (B, L, D) to input, gate, step sizes, decay rates, B and C of the scan."""
    x, z = linear(w["in"], u).chunk(2, dim=2)
    x = F.silu(short(w["convolution"], x))
    states = w["A_log"].shape[1]
    steps, B, C = linear(w["x"], x).split([w["dt"]["weight"].shape[1], states, states], dim=2)
    return x, z, F.softplus(linear(w["dt"], steps) + w["dt_bias"]), -torch.exp(w["A_log"]), B, C


def after(w, y, x, z):
    return linear(w["out"], torch.addcmul(y, w["D"], x) * F.silu(z))


def block(scan, short=convolution.short_rows, wrap=lambda f: f):
    """The mixer with one form of the scan; wrap = torch.compile where the scan itself cannot be traced."""
    first, last = wrap(before), wrap(after)

    def mixer(w, s, u):
        x, z, delta, A, B, C = first(short, w, u)
        return last(w, scan(x, delta, A, B, C), x, z)

    return mixer


def around(scan):
    return block(scan, convolution.short_sum, torch.compile)


FORMS = [
    Form("step loop, eager", block(scan.step_loop)),
    Form("step loop compiled 4 steps at a time", around(scan.pieces)),
    Form("the same, recomputed in backward", around(scan.recomputed)),
] + both("log-depth scan in chunks", block(scan.log_depth, convolution.short_sum))
PUBLISHED = published(block(scan.indexed))
