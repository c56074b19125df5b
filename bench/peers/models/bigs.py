"""BiGS as a causal mixer: a gated unit around a state space whose filter all channels share."""

import torch

from models import convolution, powers
from models.backbone import ACTIVATIONS, from_channels_first, linear, to_channels_first
from models.form import both, published

JOINED = {}
gelu = ACTIVATIONS["gelu_tanh"]


def modes(w):
    """dt lambda and C Bbar, (1, N) complex."""
    eigenvalue = torch.complex(w["A_real"].clamp(max=-1e-4), w["A_imag"])
    exponent = eigenvalue * torch.exp(w["log_dt"])
    return exponent, torch.view_as_complex(w["C"]) * torch.expm1(exponent) / eigenvalue


def block(convolve):
    """convolve: weights and x (B, L, D) to (B, L, D), with the projections before and behind."""

    def mixer(w, s, x):
        v = gelu(linear(w["v"], x))
        return linear(w["out"], gelu(linear(w["up"], convolve(w, x))) * v)

    return mixer


def released(w, x):
    """As jxiw/BiGS, forward half: every power of every mode, transforms along time."""
    u, own = gelu(linear(w["u_forward"], x)), w["forward"]
    filter = powers.direct(*modes(own), x.shape[1]).t()
    return linear(w["c_forward"], convolution.long(u, filter, own["skip"], dim=-2))


def transformed(w, x):
    u, own = gelu(to_channels_first(w["u_forward"], x)), w["forward"]
    y = convolution.lean(u, powers.blocked(*modes(own), x.shape[1]), own["skip"], dim=-1)
    return from_channels_first(w["c_forward"], y)


def triangular(w, x):
    u, own = gelu(linear(w["u_forward"], x)), w["forward"]
    filter = powers.blocked(*modes(own), x.shape[1])[0]
    return linear(w["c_forward"], torch.addcmul(convolution.Triangular.apply(u, filter), u, own["skip"]))


FORMS = both("transforms", block(transformed)) + both("one triangular matrix", block(triangular))
PUBLISHED = published(block(released))
