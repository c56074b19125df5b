"""Hyena, order 2."""

import torch

from models import convolution
from models.backbone import linear
from models.form import both, published

JOINED = {"in": ("x0.in", "x1.in", "v.in"), "short": ("x0.short", "x1.short", "v.short")}


def implicit_filter(w, s, length):
    """(L, D)"""
    longest = w["positions"].shape[0]
    a = torch.sin(w["frequency"] * linear(w["in"], w["positions"][:length]))
    for inner in w["inner"].values():
        a = torch.sin(w["frequency"] * linear(inner, a))
    time = torch.arange(length, device=a.device) / (longest - 1)
    return linear(w["out"], a) * (torch.exp(-time.unsqueeze(1) * w["rate"].abs()) + float(s["filter_shift"]))


def channels_first(convolve):
    """Layout and operations of HazyResearch/safari's stand-alone version."""

    def mixer(w, s, u):
        x0, x1, v = convolution.short(w["short"], linear(w["in"], u).transpose(1, 2)).chunk(3, dim=1)
        h = implicit_filter(w["filter"], s, u.shape[1]).t()
        y = x0 * convolve(x1 * v, h, w["skip"].unsqueeze(1), dim=-1)
        return linear(w["out"], y.transpose(1, 2))

    return mixer


def channels_last(w, s, u):
    x0, x1, v = convolution.short_sum(w["short"], linear(w["in"], u)).chunk(3, dim=2)
    h = implicit_filter(w["filter"], s, u.shape[1])
    return linear(w["out"], x0 * convolution.lean(x1 * v, h, w["skip"], dim=-2))


FORMS = both("channels first", channels_first(convolution.lean)) + both("channels last", channels_last)
PUBLISHED = published(channels_first(convolution.long))
