"""The suite's networks in PyTorch, doing exactly the same work from the same weights.

Each model is a function of a parameter dictionary (names and layouts as `longhaul export` writes them:
weights are (in, out)), the settings and the embedded input x (B, L, D). PyTorch is given its best tools:
fused scaled-dot-product attention, nn.LSTM's kernel, real FFTs.
"""

import math

import torch
import torch.nn.functional as F


def linear(p, name, x):
    bias = p.get(name + ".bias")
    y = torch.matmul(x, p[name + ".weight"])
    return y if bias is None else y + bias


def norm(p, s, name, x):
    gamma = p[name + ".gamma"]
    if s["norm"] == "rms":
        return F.rms_norm(x, gamma.shape, gamma, 1e-5)
    return F.layer_norm(x, gamma.shape, gamma, p[name + ".beta"], 1e-5)


def mlp(p, s, name, x):
    if s["mlp"] == "swiglu":
        return linear(p, name + ".down", linear(p, name + ".up", x) * F.silu(linear(p, name + ".gate", x)))
    kind = "tanh" if s["mlp"] == "gelu_tanh" else "none"
    return linear(p, name + ".down", F.gelu(linear(p, name + ".up", x), approximate=kind))


def attention(p, s, name, x):
    batch, length, _ = x.shape
    heads = int(s["heads"])
    q, k, v = linear(p, name + ".qkv", x).chunk(3, dim=-1)
    q, k, v = (t.view(batch, length, heads, -1).transpose(1, 2) for t in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return linear(p, name + ".out", y.transpose(1, 2).reshape(batch, length, -1))


MIXERS = {"transformer": attention}


def features(p, s, x):
    """Embedded input to normalised features, pre-norm residual blocks."""
    mixer = MIXERS[s["model"]]
    if "positions" in p:
        x = x + p["positions"][: x.shape[1]]
    for layer in range(int(s["layers"])):
        name = f"layers.{layer}."
        x = x + mixer(p, s, name + "mixer", norm(p, s, name + "norm1", x))
        if s["mlp"] == "identity":
            x = x + norm(p, s, name + "norm2", x)
        elif s["mlp"] != "none":
            x = x + mlp(p, s, name + "mlp", norm(p, s, name + "norm2", x))
    return norm(p, s, "norm", x)


def same_work_loss(p, s, tokens, rows, classes):
    """Only the labelled rows enter the head, as in the suite."""
    table = p["embedding.table"]
    x = features(p, s, F.embedding(tokens, table))
    x = x.reshape(-1, x.shape[-1]).index_select(0, rows)
    return F.cross_entropy(torch.matmul(x, p.get("head.table", table).t()), classes)


def published_code_loss(p, s, tokens, targets):
    """Logits at every position, unlabelled ones masked in the loss, as the field's training code does."""
    table = p["embedding.table"]
    x = features(p, s, F.embedding(tokens, table))
    logits = torch.matmul(x, p.get("head.table", table).t())
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1), ignore_index=-100)
