"""S5: one diagonal system for all channels, P complex modes, as a loop, a convolution or products in chunks.

A form of the scan takes log lambdabar (P) and v (B, L, 2 P), real parts before imaginary ones, and gives the
states likewise."""

import torch
import torch.nn.functional as F

from models import scan
from models.backbone import linear
from models.form import Form, both, published

JOINED = {}
NOTE = "Published code: its associative scan, written out in PyTorch"


def modes(w):
    """log lambdabar and phi (P): zero-order hold."""
    eigenvalue = torch.complex(w["A_real"], w["A_imag"])
    exponent = eigenvalue * torch.exp(w["log_dt"])
    return exponent, torch.expm1(exponent) / eigenvalue


def as_complex(v):
    return torch.complex(*v.chunk(2, -1))


def as_real(x):
    return torch.cat([x.real, x.imag], -1)


def transforms(exponent, v):
    length = v.shape[1]
    kernel = torch.exp(exponent.unsqueeze(1) * torch.arange(length))
    x = as_complex(v).transpose(1, 2)
    x = torch.fft.ifft(torch.fft.fft(x, n=2 * length) * torch.fft.fft(kernel, n=2 * length))
    return as_real(x[..., :length].transpose(1, 2))


@torch.compiler.disable
def loop(exponent, v):
    v = as_complex(v).transpose(0, 1).contiguous()
    return as_real(scan.Recurrence.apply(torch.exp(exponent).expand(len(v), 1, -1), v).transpose(0, 1))


def chunked(chunk):
    """Inside a chunk one product with powers of every mode; a loop joins the chunks."""

    def states(exponent, v):
        x = as_complex(v).unflatten(1, (-1, chunk)).permute(3, 1, 0, 2)
        P, count, batch, _ = x.shape
        time = torch.arange(chunk + 1)
        powers = torch.exp(exponent.unsqueeze(1) * time)
        distance = time[:chunk].unsqueeze(1) - time[:chunk]
        inside = torch.where(distance >= 0, powers[:, distance.clamp_min(0)], 0)
        x = (x.reshape(P, -1, chunk) @ inside.transpose(1, 2)).unflatten(1, (count, batch))
        starts = [torch.zeros_like(x[:, 0, :, 0])]
        for n in range(count - 1):
            starts.append(torch.addcmul(x[:, n, :, -1], powers[:, -1:], starts[-1]))
        x = torch.addcmul(x, torch.stack(starts, 1).unsqueeze(3), powers[:, 1:].view(P, 1, 1, chunk))
        return as_real(x.permute(2, 1, 3, 0).reshape(batch, count * chunk, P))

    return states


def associative(a, b):
    """Both halves of every pair combined, those scanned, and the even places filled in; time first."""
    if len(a) < 2:
        return a, b
    odd, sums = associative(a[1::2] * a[:-1:2], a[1::2] * b[:-1:2] + b[1::2])
    even = torch.cat([a[:1], a[2::2] * odd[: len(a[2::2])]])
    rest = torch.cat([b[:1], a[2::2] * sums[: len(a[2::2])] + b[2::2]])
    return torch.stack([even, odd], 1).flatten(0, 1), torch.stack([rest, sums], 1).flatten(0, 1)


def output(w, y):
    z = F.gelu(y, approximate="tanh")
    return z * linear(w["out"]["gate"], z).sigmoid()


def layer(states):
    def mixer(w, s, u):
        exponent, phi = modes(w)
        v = u @ as_real(as_complex(w["B"]) * phi)
        return output(w, torch.addcmul(states(exponent, v) @ (2 * w["C"]), w["D"], u))

    return mixer


def as_published(w, s, u):
    """Complex products into and out of the scan, whose decay is there for every token."""
    exponent, phi = modes(w)
    v = u.to(phi.dtype) @ (as_complex(w["B"]) * phi)
    x = associative(torch.exp(exponent).expand(u.shape[1], 1, -1), v.transpose(0, 1))[1].transpose(0, 1)
    C = torch.complex(*(w["C"] * torch.tensor([1.0, -1.0]).repeat_interleave(len(phi)).unsqueeze(1)).chunk(2))
    return output(w, 2 * (x @ C).real + w["D"] * u)


FORMS = both("loop with its own backward", layer(loop)) + both("transforms", layer(transforms))
FORMS.append(Form("chunks of 32, eager", layer(chunked(32))))
PUBLISHED = published(as_published)
