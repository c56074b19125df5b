"""S4, rank 1: a long convolution whose kernel comes from a generating function at the roots of unity. Names as in
engine/ops/dplr_kernel/dplr_kernel.h."""

import math

import torch
import torch.nn.functional as F

from models import convolution
from models.backbone import from_channels_first, linear
from models.form import both, published

JOINED = {"out": ("out.value", "out.gate")}
NOTE = "Published code: its Cauchy product without extensions, with B - beta P for B: else its gradient of dt is off"


def modes(w):
    """z = dt lambda (D, M), x = dt u v (D, M, 4) for u of Ct and conj P and v of B - beta P and P, and beta. Any
    beta gives the same kernel,

        Khat = r(Ct, v) + r(Ct, P) (beta - c r(conj P, v)) / (1 + c r(conj P, P));

    with that of the smallest v nothing cancels. With zero it does, and the gradient of dt loses four digits."""
    dt = torch.exp(w["log_dt"]).unsqueeze(1)
    B, C, P = (torch.view_as_complex(t) for t in (w["B"], w["C"], w["P"][0]))
    Q = P.conj()
    beta = ((Q * B).real.sum(1, keepdim=True) / (Q * P).real.sum(1, keepdim=True)).detach()
    B = B - beta * P
    x = torch.stack([C * B, C * P, Q * B, Q * P], 2) * dt.unsqueeze(2)
    return torch.complex(-torch.exp(w["A_real"]), w["A_imag"]) * dt, x, beta


def with_conjugates(x):
    return torch.cat([x, x.conj()], dim=1)


def released(w, length):
    """As in state-spaces/s4 without its extensions: four quotients of every mode at every node, summed."""
    turn = torch.exp(-2j * math.pi / length * torch.arange(length // 2 + 1, dtype=torch.float64))
    nodes, scale = (2 * (1 - turn) / (1 + turn)).to(torch.complex64), (2 / (1 + turn)).to(torch.complex64)
    z, x, beta = modes(w)
    poles, x = with_conjugates(z).unsqueeze(2), with_conjugates(x).permute(2, 0, 1).unsqueeze(3)
    a, b, d, e = (x / (nodes - poles)).sum(2)
    return torch.fft.irfft((a + b * (beta - d) / (1 + e)) * scale, n=length)


def multiplied(a, b):
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def quadratics(w, length):
    """In real arithmetic, a mode and its conjugate together: one quotient for all four sums."""
    z, x, beta = modes(w)
    y = x * z.conj().unsqueeze(2)
    numerators = 2 * torch.cat([x.real, y.real], 2)
    half = math.pi / length * torch.arange(length // 2 + 1, dtype=torch.float64)
    s, c = torch.sin(half).float().unsqueeze(1), torch.cos(half).float().unsqueeze(1)
    size, real = z.abs().unsqueeze(1), z.real.unsqueeze(1)
    p, q = (c * size - 2 * s) * (c * size + 2 * s), -4 * s * c * real  # (D, nodes, M)
    inverse = 1 / (p * p + q * q)
    px, py = torch.bmm(p * inverse, numerators).chunk(2, dim=2)
    qx, qy = torch.bmm(q * inverse, numerators).chunk(2, dim=2)
    a, b, d, e = zip((2 * s * qx - c * py).unbind(2), (2 * s * px + c * qy).unbind(2))
    s, c = s.squeeze(1), c.squeeze(1)
    e = 1 + c * e[0], c * e[1]
    size = e[0] * e[0] + e[1] * e[1]
    rest = multiplied(b, multiplied((beta - c * d[0], -c * d[1]), (e[0] / size, -e[1] / size)))
    result = multiplied((a[0] + rest[0], a[1] + rest[1]), (c, s))
    return torch.fft.irfft(torch.complex(*result), n=length)


def layer(kernel, convolve, out, more=None):
    """more: what a successor adds to the output, from the weights and u (B, D, L)."""

    def mixer(w, s, u):
        u = u.transpose(1, 2).contiguous()
        y = convolve(u, kernel(w, u.shape[2]), w["skip"].unsqueeze(1), dim=-1)
        return F.glu(out(w["out"], F.gelu(y if more is None else more(w, y, u))))

    return mixer


def linear_of_turned(w, y):
    return linear(w, y.transpose(1, 2))


def fast(kernel, more=None):
    return layer(kernel, convolution.lean, from_channels_first, more)


def code(more=None):
    return published(layer(released, convolution.long, linear_of_turned, more))


FORMS = both("one quotient of a pair", fast(quadratics))
PUBLISHED = code()
