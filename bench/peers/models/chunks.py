"""Linear attention with decays, in chunks: what came before a chunk is one matrix, inside it weights are a
triangle. Queries, keys and values are (B, H, L, ..); log decays g of each token (B, H, L), of each channel of
the keys (B, H, L, d)."""

import math

import torch


def split(chunk, *tensors):
    return (x.unflatten(2, (-1, chunk)) for x in tensors)


def lower(gaps, diagonal=0):
    """exp(gaps) on and below a diagonal, 0 above it."""
    above = torch.ones(gaps.shape[-2:], dtype=torch.bool).triu(diagonal + 1)
    return torch.exp(gaps.masked_fill(above, -math.inf))


def decays(b):
    """Of earlier tokens at tokens, from running sums: (.., T) -> (.., T, T)."""
    return lower(b.unsqueeze(-1) - b.unsqueeze(-2))


def carried(kept, added):
    """What chunks add (.., n, x) to the state before each: all earlier ones, less by the log decays `kept`
    (.., n) of the chunks between. One product with a triangle of n chunks instead of a loop over them."""
    total = kept.cumsum(-1)
    return lower((total - kept).unsqueeze(-1) - total.unsqueeze(-2), -1) @ added


def of_tokens(chunk, q, k, v, g):
    q, k, v, g = split(chunk, q, k, v, g)
    b = g.cumsum(-1)
    last = b[..., -1:]
    added = (k * torch.exp(last - b).unsqueeze(-1)).transpose(-1, -2) @ v
    states = carried(last.squeeze(-1), added.flatten(3)).view_as(added)
    inside = (q @ k.transpose(-1, -2) * decays(b)) @ v
    return (inside + (q * torch.exp(b).unsqueeze(-1)) @ states).flatten(2, 3)


def of_channels(chunk, q, k, v, g):
    """Decays inside a chunk are a factor of the query and one of the key, relative to the chunk's middle. They
    overflow where a channel forgets all but e^-88 in half a chunk; trained decays are far from that."""
    q, k, v, g = split(chunk, q, k, v, g)
    b = g.cumsum(-2)
    last, middle = b[..., -1:, :], b[..., chunk // 2 - 1 : chunk // 2, :].detach()
    added = (k * torch.exp(last - b)).transpose(-1, -2) @ v
    states = carried(last.squeeze(-2).transpose(2, 3), added.transpose(2, 3)).transpose(2, 3)
    inside = ((q * torch.exp(b - middle)) @ (k * torch.exp(middle - b)).transpose(-1, -2)).tril() @ v
    return (inside + (q * torch.exp(b)) @ states).flatten(2, 3)
