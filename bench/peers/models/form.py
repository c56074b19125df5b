"""One way in which PyTorch computes a step."""

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Form:
    name: str
    mixer: Callable
    compiled: bool = False  # the whole loss as one graph of torch.compile
    masked: bool = False  # logits at every position, unlabelled ones masked in the loss


def both(name, mixer):
    """Eager and compiled."""
    prefix = f"{name}, " if name else ""
    return [Form(prefix + "eager", mixer), Form(prefix + "compiled", mixer, compiled=True)]


def published(mixer):
    return Form("published code", mixer, masked=True)
