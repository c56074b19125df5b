"""What the architectures share: projections, norms, MLP, the residual stack, and the loss."""

from functools import partial

import torch
import torch.nn.functional as F

from models import convolution

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}
# none: the one of xLSTM's own blocks
GATES = {"swiglu": F.silu, "geglu": ACTIVATIONS["gelu_tanh"], "none": F.gelu}


def linear(w, x):
    return F.linear(x, w["weight"], w.get("bias"))


def to_channels_first(w, x):
    """linear of x (B, L, D), as (B, E, L): the product turns it."""
    weight = w["weight"].expand(x.shape[0], -1, -1)
    if "bias" not in w:
        return torch.bmm(weight, x.transpose(1, 2))
    return torch.baddbmm(w["bias"].unsqueeze(1), weight, x.transpose(1, 2))


def from_channels_first(w, x):
    """linear of x (B, D, L), as (B, L, E)."""
    weight = w["weight"].t().expand(x.shape[0], -1, -1)
    if "bias" not in w:
        return torch.bmm(x.transpose(1, 2), weight)
    return torch.baddbmm(w["bias"], x.transpose(1, 2), weight)


def norm(w, s, x):
    gamma = w["gamma"]
    if s["norm"] == "rms":
        return F.rms_norm(x, gamma.shape, gamma, 1e-5)
    return F.layer_norm(x, gamma.shape, gamma, w.get("beta"), 1e-5)


def mlp(w, s, x):
    if "gate" in w:
        return linear(w["down"], linear(w["up"], x) * GATES[s["mlp"]](linear(w["gate"], x)))
    return linear(w["down"], ACTIVATIONS[s["mlp"]](linear(w["up"], x)))


def blocks(w, s, x, mixer):
    """Pre-norm, or post-norm with an MLP."""
    for block in w["layers"].values():
        if s["norm_place"] == "post":
            x = norm(block["norm1"], s, x + mixer(block["mixer"], s, x))
            x = norm(block["norm2"], s, x + mlp(block["mlp"], s, x))
            continue
        if "pre" in block:
            x = x + convolution.short_sum(block["pre"]["convolution"], norm(block["pre"]["norm"], s, x))
        x = x + mixer(block["mixer"], s, norm(block["norm1"], s, x))
        if s["mlp"] == "identity":
            x = x + norm(block["norm2"], s, x)
        elif "mlp" in block:
            x = x + mlp(block["mlp"], s, norm(block["norm2"], s, x))
    return x


def features(w, s, x, stack):
    """Embedded input (B, L, D) to features, normalised last unless the architecture does without."""
    if "positions" in w:
        x = x + w["positions"][: x.shape[1]]
    x = stack(w, s, x)
    return norm(w["norm"], s, x) if "norm" in w else x


def loss(w, s, stack, tokens, classes, rows=None):
    """Mean cross-entropy. With rows only those enter the head; without, every position does, and those
    of class -100 are left out of the loss."""
    table = w["embedding"]["table"]
    x = features(w, s, F.embedding(tokens, table), stack).flatten(0, 1)
    if rows is not None:
        x = x.index_select(0, rows)
    logits = F.linear(x, w["head"]["table"] if "head" in w else table)
    return F.cross_entropy(logits, classes)
