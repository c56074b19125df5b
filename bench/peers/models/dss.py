"""DSS with the softmax: diagonal states, each a softmax over time, as a long convolution."""

import torch
import torch.nn.functional as F

from models import convolution, powers
from models.backbone import from_channels_first, linear
from models.form import both, published

JOINED = {}
NOTE = "Published code: with exponents from double precision, since its own miss the tolerance (7e-4)"


def modes(w, length):
    """a, W times the softmax's numerator and denominator, and whether a mode grows; (D, N) complex, (N)."""
    dt, real, imaginary = (w[name].double() for name in ("log_dt", "A_real", "A_imag"))
    dt, grows = torch.exp(dt), real > 0
    exponent = torch.complex(dt[:, :1] * real, dt[:, 1:] * imaginary)
    decay = torch.where(grows, -exponent, exponent)
    x = (torch.exp(decay * length) - 1) * torch.complex(real, imaginary)
    factor = (torch.exp(decay) - 1) * x.conj() / ((x * x.conj()).real + 1e-7)
    return powers.turned(exponent), torch.view_as_complex(w["W"]) * factor.to(torch.complex64), grows


def released(w, s, u):
    """As in ag1988/dss: every power of every mode, the largest exponent at zero."""
    u, length = u.transpose(1, 2), u.shape[1]
    exponent, weight, grows = modes(w, length)
    times = torch.arange(length) - grows.unsqueeze(1) * (length - 1)
    kernel = torch.einsum("dn,dnl->dl", weight, torch.exp(exponent.unsqueeze(2) * times)).real
    y = convolution.long(u, kernel, w["skip"].unsqueeze(1), dim=-1)
    return linear(w["out"], F.gelu(y).transpose(1, 2))


def blocked(w, s, u):
    u, length = u.transpose(1, 2).contiguous(), u.shape[1]
    exponent, weight, grows = modes(w, length)
    weight = weight * torch.exp(-exponent * (grows * (length - 1)))
    y = convolution.lean(u, powers.blocked(exponent, weight, length), w["skip"].unsqueeze(1), dim=-1)
    return from_channels_first(w["out"], F.gelu(y))


FORMS = both("powers in blocks", blocked)
PUBLISHED = published(released)
