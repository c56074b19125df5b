"""H3 with heads of one channel: a short filter of the keys, and a diagonal state space between two gates."""

import torch
import torch.nn.functional as F

from models import convolution, powers
from models.backbone import from_channels_first, linear, to_channels_first
from models.form import both, published

JOINED = {"qkv": ("0.q", "0.k", "0.v")}


def modes(w):
    """log lambdabar and 2 C Bbar, (D, M) complex: bilinear."""
    dt, real, imaginary = (w[name].double() for name in ("log_dt", "A_real", "A_imag"))
    dt = torch.exp(dt).unsqueeze(1)
    half = torch.complex(-torch.exp(real), imaginary) * dt / 2
    factor = (2 * dt / (1 - half)).to(torch.complex64)
    weight = torch.view_as_complex(w["C"]) * torch.view_as_complex(w["B"]) * factor
    return torch.log((1 + half) / (1 - half)).to(torch.complex64), weight


def shift_filter(w):
    """The correlation of B and C, (D, N)."""
    B, C = w["B"].t(), w["C"].t()
    n = 2 * B.shape[1]
    return torch.fft.irfft(torch.fft.rfft(B, n=n).conj() * torch.fft.rfft(C, n=n), n=n)[:, : B.shape[1]]


def released(w, s, u):
    """As in HazyResearch/H3 without its CUDA extensions."""
    q, k, v = linear(w["qkv"], u).transpose(1, 2).chunk(3, dim=1)
    shift, kernel = w["0"]["shift"], powers.direct(*modes(w), u.shape[1])
    kv = convolution.long(k, shift_filter(shift), shift["skip"].unsqueeze(1), dim=-1) * v
    y = convolution.long(kv, kernel, w["skip"].unsqueeze(1), dim=-1) * q
    return linear(w["out"]["0"], y.transpose(1, 2))


def transformed(k, filter, skip):
    return convolution.lean(k, filter, skip.unsqueeze(1), dim=-1)


def direct(k, filter, skip):
    """The short filter tap by tap; its first tap takes the skip in."""
    channels, taps = filter.shape
    filter = torch.cat([filter[:, :1] + skip.unsqueeze(1), filter[:, 1:]], 1)
    return F.conv1d(F.pad(k, (taps - 1, 0)), filter.flip(1).unsqueeze(1), groups=channels)


def layer(short):
    def mixer(w, s, u):
        q, k, v = to_channels_first(w["qkv"], u).chunk(3, dim=1)
        shift, kernel = w["0"]["shift"], powers.blocked(*modes(w), u.shape[1])
        kv = short(k, shift_filter(shift), shift["skip"]) * v
        y = convolution.lean(kv, kernel, w["skip"].unsqueeze(1), dim=-1) * q
        return from_channels_first(w["out"]["0"], y)

    return mixer


FORMS = both("powers in blocks", layer(transformed)) + both("the same, shift tap by tap", layer(direct))
PUBLISHED = published(released)
