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


class Transformed(torch.autograd.Function):
    """u with filter, of which backward takes transforms of real numbers alone; autograd's backward of rfft
    is a complex one of the full length."""

    @staticmethod
    def forward(context, u, filter, dim):
        length, taps = u.shape[dim], filter.shape[dim]
        n = 2 * length if taps == length else 128 * ((length + taps + 126) // 128)
        U, K = torch.fft.rfft(u, n=n, dim=dim), torch.fft.rfft(filter, n=n, dim=dim)
        context.save_for_backward(U, K)
        context.sizes = n, length, taps, dim
        return torch.fft.irfft(U * K, n=n, dim=dim).narrow(dim, 0, length)

    @staticmethod
    def backward(context, gradient):
        U, K = context.saved_tensors
        n, length, taps, dim = context.sizes
        G = torch.fft.rfft(gradient, n=n, dim=dim)
        gu = torch.fft.irfft(G * K.conj(), n=n, dim=dim).narrow(dim, 0, length)
        gk = torch.fft.irfft((G * U.conj()).sum_to_size(K.shape), n=n, dim=dim).narrow(dim, 0, taps)
        return gu, gk, None


def lean(u, filter, skip, dim):
    """As long, with a backward of its own; of a shorter filter, transforms as long as both need."""
    return torch.addcmul(Transformed.apply(u, filter, dim), u, skip)


class Triangular(torch.autograd.Function):
    """u (B, L, D) with one filter (L) for all channels, by the blocks of rows of its triangular matrix."""

    BLOCK = 256

    @staticmethod
    def forward(context, u, filter):
        length, block = u.shape[1], Triangular.BLOCK
        later = F.pad(filter.flip(0), (0, length))  # taps from the last to the first, then zeros
        matrix = later.as_strided((length, length), (1, 1)).flip(0)  # [t, s]: tap t - s
        context.save_for_backward(u, matrix)
        return torch.cat([matrix[i : i + block, : i + block] @ u[:, : i + block] for i in range(0, length, block)], 1)

    @staticmethod
    def backward(context, gradient):
        u, matrix = context.saved_tensors
        length, block = u.shape[1], Triangular.BLOCK
        turned, gm = matrix.t(), torch.zeros_like(matrix)
        gu = torch.cat([turned[i : i + block, i:] @ gradient[:, i:] for i in range(0, length, block)], 1)
        g, v = gradient.transpose(0, 1).flatten(1), u.transpose(0, 1).flatten(1).t()
        for i in range(0, length, block):
            gm[i : i + block, : i + block] = g[i : i + block] @ v[:, : i + block]
        # Rows from the last column to the first, one longer than the matrix: tap j of every row is in one column.
        rows = F.pad(gm.tril().flip(1), (0, 1)).flatten()[length - 1 : length - 1 + length * length]
        return gu, rows.view(length, length).sum(0)


def short(w, x):
    """Depthwise, channels first: x (B, E, L), taps (E, K)."""
    channels, taps = w["weight"].shape
    return F.conv1d(x, w["weight"].unsqueeze(1), w.get("bias"), padding=taps - 1, groups=channels)[..., : x.shape[2]]


def short_rows(w, x):
    """The same with x (B, L, E)."""
    return short(w, x.transpose(1, 2)).transpose(1, 2)


def short_sum(w, x):
    """The same as a sum over shifted inputs, x (B, L, E)."""
    length, taps = x.shape[1], w["weight"].t()
    x = F.pad(x, (0, 0, len(taps) - 1, 0))
    y = w.get("bias", 0)
    for j, tap in enumerate(taps):
        y = y + tap * x[:, j : j + length]
    return y
