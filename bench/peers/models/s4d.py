"""S4D: a diagonal state space as a long convolution."""

import torch
import torch.nn.functional as F

from models import convolution, powers
from models.backbone import from_channels_first, linear
from models.form import both, published

JOINED = {"out": ("out.value", "out.gate")}


def modes(w):
    """dt lambda and 2 C Bbar, (D, M) complex: zero-order hold, B = 1."""
    eigenvalue = torch.complex(-torch.exp(w["A_real"]), w["A_imag"])
    exponent = eigenvalue * torch.exp(w["log_dt"]).unsqueeze(1)
    return exponent, 2 * torch.view_as_complex(w["C"]) * torch.expm1(exponent) / eigenvalue


def released(w, s, u):
    """As in state-spaces/s4's minimal version."""
    u = u.transpose(1, 2)
    y = convolution.long(u, powers.direct(*modes(w), u.shape[2]), w["skip"].unsqueeze(1), dim=-1)
    return F.glu(linear(w["out"], F.gelu(y).transpose(1, 2)))


def blocked(w, s, u):
    u = u.transpose(1, 2).contiguous()
    y = convolution.lean(u, powers.blocked(*modes(w), u.shape[2]), w["skip"].unsqueeze(1), dim=-1)
    return F.glu(from_channels_first(w["out"], F.gelu(y)))


FORMS = both("powers in blocks", blocked)
PUBLISHED = published(released)
