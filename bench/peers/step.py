"""One training step, read from what `longhaul export` wrote, and the same step in PyTorch."""

from functools import partial

import torch
from safetensors import safe_open

from models import backbone, module_of

# Largest difference of a gradient from the suite's, as a part of the largest number in that gradient, and
# of the loss as a part of the loss: float32 sums through the whole network in two different orders.
TOLERANCE = 1e-4
# Gradients this small are those of weights that change nothing, such as an offset of all keys: rounding.
NOTHING = 1e-10


def read(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        notes = file.metadata()
    settings = dict(line.split(": ", 1) for line in notes["settings"].splitlines() if ": " in line)
    return settings | {"model": notes["model"]}, tensors


def as_pytorch_keeps_them(tensors, prefix, joined):
    """Weights (out, in) instead of (in, out), and those that act on the same input in one matrix."""
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            turned = tensor.dim() == 2 and name.endswith((".weight", ".recurrent"))
            found[name.removeprefix(prefix)] = tensor.t() if turned else tensor
    for whole, parts in joined.items():
        for first in [name for name in found if f".{parts[0]}." in name]:
            names = [first.replace(f".{parts[0]}.", f".{part}.") for part in parts]
            name = first.replace(f".{parts[0]}.", f".{whole}.")
            found[name] = torch.cat([found.pop(part) for part in names])
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}


def nest(flat):
    """a.b.c: x -> {a: {b: {c: x}}}"""
    tree = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree


class Step:
    def __init__(self, path):
        self.settings, tensors = read(path)
        assert float(self.settings["dropout"]) == 0
        model = module_of(self.settings)
        self.stack = getattr(model, "stack", backbone.blocks)
        self.gradients = as_pytorch_keeps_them(tensors, "gradient.", model.JOINED)
        self.parameters = as_pytorch_keeps_them(tensors, "parameter.", model.JOINED)
        self.weights = nest(self.parameters)
        self.trained = [self.parameters[name].requires_grad_(True) for name in self.gradients]
        # A rate of zero: as much work as any other, and the weights stay those that were checked.
        self.optimizer = torch.optim.AdamW(self.trained, lr=0.0, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        self.loss = tensors["loss"].item()
        self.tokens = tensors["tokens"].long()
        self.batch, self.length = self.tokens.shape
        self.classes = tensors["classes"].long().flatten()
        first = self.length * torch.arange(self.batch).unsqueeze(1)
        self.rows = (tensors["positions"].long() + first).flatten()

    def inputs(self, masked, parts):
        """(tokens, classes, rows) of each part of the batch; see backbone.loss."""
        everywhere = torch.arange(self.batch * self.length)
        classes, rows = self.classes, [None] * parts
        if masked:
            classes = torch.full_like(everywhere, -100)
            classes[self.rows] = self.classes
        elif not torch.equal(self.rows, everywhere):
            rows = [r % (self.batch // parts * self.length) for r in self.rows.chunk(parts)]
        return list(zip(self.tokens.chunk(parts), classes.chunk(parts), rows))

    def passes(self, form, parts=1):
        """Forward and backward in a form, as a function that returns the loss. The gradients of several
        parts of the batch, one after the other, add up."""

        stack = partial(self.stack, mixer=form.mixer)

        def loss(tokens, classes, rows):
            return backbone.loss(self.weights, self.settings, stack, tokens, classes, rows) / parts

        function = torch.compile(loss, dynamic=False) if form.compiled else loss
        inputs = self.inputs(form.masked, parts)

        def run():
            total = 0
            for each in inputs:
                value = function(*each)
                value.backward()
                total += value.item()
            return total

        return run

    def check(self, passes):
        """Largest relative difference of loss and gradients from the suite's."""
        self.optimizer.zero_grad(set_to_none=True)
        worst = abs(passes() / self.loss - 1)
        for name, expected in self.gradients.items():
            scale = expected.abs().max().clamp_min(NOTHING)
            worst = max(worst, ((self.parameters[name].grad - expected).abs().max() / scale).item())
        if not worst < TOLERANCE:
            raise ArithmeticError(f"not the same loss and gradients: {worst:.1e}")
        return worst

    def train(self, passes):
        self.optimizer.zero_grad(set_to_none=True)
        passes()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
