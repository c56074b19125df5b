"""What the architectures share: projections, norms, MLP, the pre-norm residual stack, and the loss."""

import torch.nn.functional as F

from models import convolution


def linear(w, x):
    return F.linear(x, w["weight"], w.get("bias"))


def norm(w, s, x):
    gamma = w["gamma"]
    if s["norm"] == "rms":
        return F.rms_norm(x, gamma.shape, gamma, 1e-5)
    return F.layer_norm(x, gamma.shape, gamma, w.get("beta"), 1e-5)


def gelu_tanh(x):
    return F.gelu(x, approximate="tanh")


GATES = {"swiglu": F.silu, "geglu": gelu_tanh, "none": F.gelu}  # none: the one of xLSTM's own blocks


def mlp(w, s, x):
    if "gate" in w:
        return linear(w["down"], linear(w["up"], x) * GATES[s["mlp"]](linear(w["gate"], x)))
    activation = gelu_tanh if s["mlp"] == "gelu_tanh" else F.gelu
    return linear(w["down"], activation(linear(w["up"], x)))


def features(w, s, x, mixer):
    """Embedded input (B, L, D) to normalised features."""
    if "positions" in w:
        x = x + w["positions"][: x.shape[1]]
    for block in w["layers"].values():
        if "pre" in block:
            x = x + convolution.short_sum(block["pre"]["convolution"], norm(block["pre"]["norm"], s, x))
        x = x + mixer(block["mixer"], s, norm(block["norm1"], s, x))
        if s["mlp"] == "identity":
            x = x + norm(block["norm2"], s, x)
        elif "mlp" in block:
            x = x + mlp(block["mlp"], s, norm(block["norm2"], s, x))
    return norm(w["norm"], s, x)


def loss(w, s, mixer, tokens, classes, rows=None):
    """Mean cross-entropy. With rows only those enter the head; without, every position does, and those
    of class -100 are left out of the loss."""
    table = w["embedding"]["table"]
    x = features(w, s, F.embedding(tokens, table), mixer).flatten(0, 1)
    if rows is not None:
        x = x.index_select(0, rows)
    logits = F.linear(x, w["head"]["table"] if "head" in w else table)
    return F.cross_entropy(logits, classes)
