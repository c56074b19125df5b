"""GSS: a gated unit around a narrow diagonal state space whose eigenvalues all channels share."""

import torch
import torch.nn.functional as F

from models import convolution, powers
from models.backbone import from_channels_first, linear, to_channels_first
from models.form import both, published

JOINED = {}
NOTE = "Published code: an independent implementation, as none of the authors' is public; without its inner norm"


def modes(w):
    """lambda (N) and C (e^lambda - 1) / lambda (H, N), complex."""
    exponent = torch.complex(-torch.exp(w["A_real"]), torch.exp(w["A_imag"]))
    return exponent, torch.view_as_complex(w["C"]) * torch.expm1(exponent) / exponent


def released(w, s, x):
    """As in lucidrains/gated-state-spaces-pytorch: every power of every mode."""
    exponent, weight = modes(w)
    length = x.shape[1]
    table = torch.exp(exponent.unsqueeze(1) * torch.arange(length))
    kernel = torch.einsum("hn,nl->lh", weight, table).real
    u, v = F.gelu(linear(w["in_u"], x)), F.gelu(linear(w["in_v"], x))
    y = convolution.long(v, kernel, w["skip"], dim=-2)
    return linear(w["out"], u * linear(w["up"], y))


def shared(kernel):
    """kernel: shared modes (N) and weights (H, N) to (H, L)."""

    def mixer(w, s, x):
        exponent, weight = modes(w)
        u, v = F.gelu(linear(w["in_u"], x)), F.gelu(to_channels_first(w["in_v"], x))
        y = convolution.lean(v, kernel(exponent, weight, x.shape[1]), w["skip"].unsqueeze(1), dim=-1)
        return linear(w["out"], u * from_channels_first(w["up"], y))

    return mixer


FORMS = both("powers as products of two", shared(powers.shared)) + both("all powers", shared(powers.shared_table))
PUBLISHED = published(released)
