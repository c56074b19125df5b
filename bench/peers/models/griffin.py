"""Griffin: blocks of a real gated linear recurrence take turns with local attention of one head of keys and
values. A form of the recurrence takes a and b (B, L, E) and gives h_t = a_t h_{t-1} + b_t."""

import torch
import torch.nn.functional as F

from models import convolution, scan
from models.backbone import linear
from models.form import Form, published

JOINED = {"in": ("in_x", "in_y")}


def blockwise(w, x):
    """Block-diagonal map, weights (G, I, O)."""
    y = torch.einsum("blgi,gio->blgo", x.unflatten(2, (len(w["weight"]), -1)), w["weight"])
    return torch.sigmoid(y.flatten(2) + w["bias"])


class BoundedRoot(torch.autograd.Function):
    """sqrt(x) with a derivative of at most 1000."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return torch.sqrt(x)

    @staticmethod
    def backward(context, g):
        (x,) = context.saved_tensors
        return g / torch.sqrt(torch.clamp_min(4 * x, 1e-6))


def recurrent(states, short):
    def mixer(w, s, n):
        x, y = linear(w["in"], n).chunk(2, dim=2)
        x = short(w["convolution"], x)
        log_a = -8 * blockwise(w["recurrence"], x) * F.softplus(w["lambda"])
        inflow = BoundedRoot.apply(-torch.expm1(2 * log_a))
        inflow = torch.cat([torch.ones_like(inflow[:, :1]), inflow[:, 1:]], 1)
        h = states(torch.exp(log_a), inflow * (blockwise(w["input"], x) * x))
        return linear(w["out"], h * F.gelu(y, approximate="tanh"))

    return mixer


def turn(x):
    """Rotary positions on the first half of a head's channels, x (B, H, L, d)."""
    half, length = x.shape[3] // 4, x.shape[2]
    angle = torch.arange(length).unsqueeze(1) * 10000.0 ** -(torch.arange(half) / half)
    cos, sin = angle.cos(), angle.sin()
    a, b, rest = x.split([half, half, 2 * half], 3)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], 3)


def attention(attend):
    def mixer(w, s, n):
        H, window = int(s["heads"]), int(s["attention_window"])
        q = linear(w["q"], n).unflatten(2, (H, -1)).transpose(1, 2)
        k, v = linear(w["kv"], n).unsqueeze(1).chunk(2, dim=3)
        o = attend(turn(q), turn(k), v, window)
        return linear(w["out"], o.transpose(1, 2).flatten(2))

    return mixer


def fused(q, k, v, window):
    assert q.shape[2] <= window + 1
    return F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q), is_causal=True)


def unfused(q, k, v, window):
    """All scores in memory, the hidden ones replaced."""
    time = torch.arange(q.shape[2])
    distance = time.unsqueeze(1) - time
    seen = (distance >= 0) & (distance <= window)
    scores = (q @ k.transpose(2, 3)) * q.shape[3] ** -0.5
    return torch.where(seen, scores, -2.3819763e38).softmax(-1) @ v


def block(states, attend=fused, short=convolution.short_rows):
    recurrence, local = recurrent(states, short), attention(attend)
    return lambda w, s, n: (local if "q" in w else recurrence)(w, s, n)


@torch.compiler.disable
def loop(a, b):
    a, b = scan.time_first(a, b)
    return scan.Recurrence.apply(a, b).transpose(0, 1)


def as_published(a, b):
    """The loop indexes the time axis and writes into a result that is there before."""
    h, y = torch.zeros_like(b[:, 0]), torch.zeros_like(b)
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        y[:, t] = h
    return y


FORMS = [
    Form("loop with its own backward, eager", block(loop)),
    Form("the same, the rest compiled", block(loop, short=convolution.short_sum), compiled=True),
]
PUBLISHED = published(block(as_published, unfused))
