"""What TTT-Linear and TTT-MLP share: in each head a model learns, mini-batch after mini-batch of b tokens, all of
whose gradients are taken at the same weights (the dual form). Mini-batches come first: queries, keys and what is
wanted of the model (n, B H, b, f), step sizes (n, B H, b, b)."""

import torch
import torch.nn.functional as F

from models import convolution
from models.backbone import linear

JOINED = {}
EPSILON = 1e-6


def turn(x, period):
    """Rotary positions that count from the beginning of each mini-batch; x (B, L, H, f)."""
    f = x.shape[3]
    angle = (torch.arange(x.shape[1]) % period).unsqueeze(1) * 10000.0 ** -(torch.arange(0, f, 2) / f)
    cos, sin = angle.cos().unsqueeze(1), angle.sin().unsqueeze(1)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(3)


def minibatches(x, b):
    """(B, L, H, ..) -> (n, B H, b, ..)"""
    x = x.unflatten(1, (-1, b))
    return x.permute(1, 0, 3, 2, *range(4, x.dim())).flatten(1, 2)


def step_sizes(w, s, rate):
    """From a token (column) to those after it (row)."""
    b = int(s["mini_batch"])
    tau = (1 / torch.arange(1, b + 1) + w["index"]).clamp_min(0)
    return (tau.unsqueeze(1) * minibatches(rate, b).unsqueeze(2)).tril()


def before(w, s, u):
    """Queries, keys, what is wanted of the model, and step sizes."""
    (H, f), b = w["gamma"].shape, int(s["mini_batch"])
    p = linear(w["q"], u)
    q, k = (turn(convolution.short_rows(w[f"convolution_{name}"], p).unflatten(2, (H, f)), b) for name in "qk")
    wanted = linear(w["v"], u).unflatten(2, (H, f)) - k
    rate = linear(w["rate"], u).sigmoid() * (float(s["base_rate"]) / f)
    return *(minibatches(x, b) for x in (q, k, wanted)), step_sizes(w, s, rate)


def after(w, u, y):
    (B, L, D), H = u.shape, len(w["gamma"])
    y = y.unflatten(1, (B, H)).permute(1, 0, 3, 2, 4).reshape(B, L, D)
    y = F.layer_norm(y, (D,), w["norm"]["gamma"], w["norm"]["beta"], EPSILON)
    return linear(w["out"], y * F.gelu(linear(w["gate"], u), approximate="tanh"))


def each_head(w, name, heads):
    """A weight of every head (H, ..) for all sequences, (B H, ..)."""
    return w[name].repeat(heads // len(w[name]), *[1] * (w[name].dim() - 1))


def with_one(x):
    """The bias is a last row of the weights, which meets a one."""
    return F.pad(x, (0, 1), value=1.0)


def descent(z, gain, wanted):
    """Gradient of |gamma norm(z) - target|^2 / 2 by z; gain: gamma^2, wanted: gamma times the target."""
    z = z - z.mean(-1, keepdim=True)
    scale = torch.rsqrt(z.square().mean(-1, keepdim=True) + EPSILON)
    x = z * scale
    g = gain * x - wanted
    return (g - g.mean(-1, keepdim=True) - x * (g * x).mean(-1, keepdim=True)) * scale


def descent_by_kernels(z, gain, wanted):
    """The same by the two kernels of PyTorch's layer norm, which can be differentiated again."""
    width = [z.shape[-1]]
    x, mean, scale = torch.native_layer_norm(z, width, None, None, EPSILON)
    g = gain * x - wanted
    return torch.ops.aten.native_layer_norm_backward(g, z, width, mean, scale, None, None, [True, False, False])[0]


def loop(step, state, gain, inputs):
    results = []
    for each in zip(*(x.unbind(0) for x in inputs)):
        z, state = step(state, gain, *each)
        results.append(z)
    return torch.stack(results)


def prepared(start, w, s, u):
    """What does not depend on the learnt weights, for all mini-batches at once."""
    q, k, wanted, eta = before(w, s, u)
    gamma, beta = (each_head(w, name, q.shape[1]).unsqueeze(1) for name in ("gamma", "beta"))
    q1, k1 = with_one(q), with_one(k)
    back = (k1 * eta[:, :, -1].unsqueeze(3)).transpose(2, 3)
    inputs = torch.cat([k1, q1], 2), back, gamma * (wanted - beta), eta * (q1 @ k1.transpose(2, 3)), eta
    return q + beta, gamma, start(w, q.shape[1]), gamma.square(), inputs


def finished(w, u, q, gamma, z):
    return after(w, u, torch.addcmul(q, gamma, F.layer_norm(z, z.shape[3:], eps=EPSILON)))


def block(step, start):
    """start(w, B H): weights before the first mini-batch. The loop is too long for one compiled graph; what is
    around it was slower compiled than eager."""

    def mixer(w, s, u):
        q, gamma, *rest = prepared(start, w, s, u)
        return finished(w, u, q, gamma, loop(step, *rest))

    return mixer


def normalised(z):
    mean, variance = z.mean(-1, keepdim=True), z.var(-1, keepdim=True, unbiased=False)
    deviation = torch.sqrt(variance + EPSILON)
    return (z - mean) / deviation, deviation


def explicit_descent(z, gamma, beta, wanted):
    x, deviation = normalised(z)
    g = (gamma * x + beta - wanted) * gamma
    f = z.shape[-1]
    return (f * g - g.sum(-1, keepdim=True) - x * (g * x).sum(-1, keepdim=True)) / (f * deviation)


def update(W, c, q, k, g, eta):
    """What a published layer makes of q, and its weights after the mini-batch."""
    weights = torch.tril(q @ k.transpose(1, 2))
    z = q @ W - (eta * weights) @ g + (c - eta.tril() @ g)
    last = eta[:, -1].unsqueeze(2)
    return z, (W - (last * k).transpose(1, 2) @ g, c - (last * g).sum(1, keepdim=True))


def as_published(step, start):
    """A whole mini-batch in each step of the loop, written into a result that is there before."""

    def mixer(w, s, u):
        q, k, wanted, eta = before(w, s, u)
        gamma, beta = (each_head(w, name, q.shape[1]).unsqueeze(1) for name in ("gamma", "beta"))
        state, y = start(w, q.shape[1]), torch.empty_like(q)
        for i in range(len(q)):
            z, state = step(state, q[i], k[i], lambda z: explicit_descent(z, gamma, beta, wanted[i]), eta[i])
            y[i] = q[i] + gamma * normalised(z)[0] + beta
        return after(w, u, y)

    return mixer
