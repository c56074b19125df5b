"""Causal convolutions along time."""

import torch
import torch.nn.functional as F


def long(u, filter, skip, dim):
    """Every channel of u with a filter as long as the sequence, by transforms of twice its length along
    dimension dim; skip is broadcast."""
    length = u.shape[dim]
    spectrum = torch.fft.rfft(u, n=2 * length, dim=dim) * torch.fft.rfft(filter, n=2 * length, dim=dim)
    y = torch.fft.irfft(spectrum, n=2 * length, dim=dim).narrow(dim, 0, length)
    return torch.addcmul(y, u, skip)


def short(w, x):
    """Depthwise, channels first: x (B, E, L), taps (E, K)."""
    channels, taps = w["weight"].shape
    return F.conv1d(x, w["weight"].unsqueeze(1), w["bias"], padding=taps - 1, groups=channels)[..., : x.shape[2]]


def short_rows(w, x):
    """The same with x (B, L, E)."""
    return short(w, x.transpose(1, 2)).transpose(1, 2)


def short_sum(w, x):
    """The same as a sum over shifted inputs, x (B, L, E)."""
    length, taps = x.shape[1], w["weight"].t()
    x = F.pad(x, (0, 0, len(taps) - 1, 0))
    y = w["bias"]
    for j, tap in enumerate(taps):
        y = y + tap * x[:, j : j + length]
    return y
