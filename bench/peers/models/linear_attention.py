"""Linear attention with elu(x) + 1 and learned positions, in chunks."""

import torch
import torch.nn.functional as F

from models.form import both, published
from models.transformer import heads, merge

JOINED = {}
NOTE = "Published code: with the masked product of a whole sequence in the place of its compiled extension"


def denominators(s, q, k):
    return torch.einsum("bhtd,bhtd->bht", q, k.cumsum(2)).add(float(s["epsilon"])).unsqueeze(-1)


def triangle(q, k, v):
    return (q @ k.transpose(-1, -2)).tril() @ v


def chunked(chunk):
    """What came before a chunk is one matrix, inside it weights are a triangle."""

    def products(q, k, v):
        q, k, v = (x.unflatten(2, (-1, chunk)) for x in (q, k, v))
        added = k.transpose(-1, -2) @ v
        return (q @ (added.cumsum(2) - added) + triangle(q, k, v)).flatten(2, 3)

    return products


def with_ones(products):
    """The denominator as one more channel of the values."""

    def mixer(w, s, x):
        q, k, v = heads(w, s, x)
        o = products(F.elu(q) + 1, F.elu(k) + 1, F.pad(v, (0, 1), value=1.0))
        return merge(w, o[..., :-1] / (o[..., -1:] + float(s["epsilon"])))

    return mixer


def with_sums(products):
    """The denominator from running sums of the keys."""

    def mixer(w, s, x):
        q, k, v = heads(w, s, x)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        return merge(w, products(q, k, v) / denominators(s, q, k))

    return mixer


FORMS = [
    form
    for chunk in (64, 128)
    for form in both(f"chunks of {chunk}, sums", with_sums(chunked(chunk)))
    + both(f"chunks of {chunk}, ones", with_ones(chunked(chunk)))
]
PUBLISHED = published(with_sums(triangle))
