"""S4D: a diagonal state space as a long convolution."""

import torch
import torch.nn.functional as F

from models import convolution
from models.backbone import linear
from models.form import both, published

JOINED = {"out": ("out.value", "out.gate")}


def modes(w):
    """dt lambda and 2 C Bbar, (D, M) complex: zero-order hold, B = 1."""
    eigenvalue = torch.complex(-torch.exp(w["A_real"]), w["A_imag"])
    exponent = eigenvalue * torch.exp(w["log_dt"]).unsqueeze(1)
    return exponent, 2 * torch.view_as_complex(w["C"]) * torch.expm1(exponent) / eigenvalue


def direct(w, length):
    """As in state-spaces/s4's minimal version: every power of every mode, (D, M, L). -> (D, L)"""
    exponent, weight = modes(w)
    powers = torch.exp(exponent.unsqueeze(2) * torch.arange(length))
    return torch.einsum("dm,dml->dl", weight, powers).real


def blocked(w, length, block=32):
    """l = block i + j: powers of block i times powers of j, one small product a channel."""
    exponent, weight = modes(w)
    far = torch.exp(exponent.unsqueeze(1) * torch.arange(0, length, block).unsqueeze(1))
    near = torch.exp(exponent.unsqueeze(2) * torch.arange(block))
    far = weight.unsqueeze(1) * far
    kernel = torch.baddbmm(far.real @ near.real, far.imag, near.imag, alpha=-1)
    return kernel.flatten(1)[:, :length]


def layer(kernel):
    def mixer(w, s, u):
        u = u.transpose(1, 2)
        y = convolution.long(u, kernel(w, u.shape[2]), w["skip"].unsqueeze(1), dim=-1)
        return F.glu(linear(w["out"], F.gelu(y).transpose(1, 2)))

    return mixer


FORMS = both("all powers", layer(direct)) + both("powers in blocks", layer(blocked))
PUBLISHED = published(layer(direct))
