"""A form of PyTorch's step with everything that a user may choose around it."""

from dataclasses import dataclass

import torch
import torch._inductor.config

from models import module_of
from models.form import Form

torch._dynamo.config.recompile_limit = 100  # one for each form, not eager in silence


@dataclass(frozen=True)
class Choice:
    form: Form
    parts: int = 1  # the batch in so many, one after the other: what fits a cache is faster
    threads: int = 1

    @property
    def name(self):
        parts = f", in {self.parts} parts" if self.parts > 1 else ""
        return f"{self.form.name}{parts}"

    def passes(self, step):
        torch.set_num_threads(self.threads)
        torch._inductor.config.cpp.threads = self.threads
        return step.passes(self.form, self.parts)

    def arguments(self):
        return [self.form.name, str(self.parts), str(self.threads)]


def forms(step):
    return module_of(step.settings).FORMS


def published(step):
    return module_of(step.settings).PUBLISHED


def named(step, name, parts, threads):
    form = next(f for f in forms(step) + [published(step)] if f.name == name)
    return Choice(form, int(parts), int(threads))
