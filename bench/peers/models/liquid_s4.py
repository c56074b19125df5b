"""Liquid-S4 of degree 2 as a causal mixer: S4, and products of neighbours with a gain that follows S4's parameters."""

import torch
import torch.nn.functional as F

from models import s4
from models.form import both

JOINED, NOTE = s4.JOINED, s4.NOTE


def add_products(w, y, u):
    dt = torch.exp(w["log_dt"]).unsqueeze(1)
    eigenvalue = torch.complex(-torch.exp(w["A_real"]), w["A_imag"])
    input = dt * torch.view_as_complex(w["B"]) / (1 - dt * eigenvalue / 2)
    gain = 4 * (torch.view_as_complex(w["C"]) * input).real.sum(1) * input.real.sum(1)
    return torch.addcmul(y, gain.unsqueeze(1), u * F.pad(u, (1, -1)))


FORMS = both("one quotient of a pair", s4.fast(s4.quadratics, add_products))
PUBLISHED = s4.code(add_products)
