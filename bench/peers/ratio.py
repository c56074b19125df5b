"""Times training steps of the suite against PyTorch, in turn (A B A B), after checking that both compute
the same loss and gradients from the same weights. Prints a Markdown table.

    python bench/peers/ratio.py build/longhaul [--threads 1] [--rounds 5] [--only NAME] [--no-compile]
"""

import argparse
import csv
import io
import os
import statistics
import subprocess
import tempfile
import time

import torch
from safetensors import safe_open

import models

MQAR = "task=mqar vocabulary=8192 tied=yes dropout=0 model=transformer width=64 layers=2 mlp=gelu heads=2"
CASES = [
    ("Transformer, 2 layers, width 64, MQAR length 64, batch 64", MQAR + " length=64 pairs=4 batch=64"),
    ("the same, length 256, one label in 8", MQAR + " length=256 pairs=32 batch=64"),
    ("the same, length 512, one label in 8", MQAR + " length=512 pairs=64 batch=64"),
]


def settings_of(text):
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def load(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        settings = settings_of(file.metadata()["settings"])
        settings["model"] = file.metadata()["model"]
    return settings, tensors


class Peer:
    """One case in PyTorch."""

    def __init__(self, path):
        self.settings, t = load(path)
        self.parameters = {
            n.removeprefix("parameter."): v.clone().requires_grad_(True)
            for n, v in t.items()
            if n.startswith("parameter.")
        }
        self.tokens = t["tokens"].long()
        length = self.tokens.shape[1]
        first = torch.arange(self.tokens.shape[0]).unsqueeze(1) * length
        self.rows = (t["positions"].long() + first).reshape(-1)
        self.classes = t["classes"].long().reshape(-1)
        self.targets = torch.full((self.tokens.numel(),), -100)
        self.targets[self.rows] = self.classes
        self.expected_loss = t["loss"].item()
        self.expected = {n.removeprefix("gradient."): v for n, v in t.items() if n.startswith("gradient.")}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=1e-9, fused=True)

    def same_work(self):
        return models.same_work_loss(self.parameters, self.settings, self.tokens, self.rows, self.classes)

    def published_code(self):
        return models.published_code_loss(self.parameters, self.settings, self.tokens, self.targets)

    def check(self):
        """Largest relative difference of loss and gradients. The bound is float32 rounding of two
        different summation orders through the network."""
        loss = self.same_work()
        loss.backward()
        worst = abs(loss.item() / self.expected_loss - 1)
        for name, gradient in self.expected.items():
            actual = self.parameters[name].grad
            scale = gradient.abs().max().clamp_min(1e-12)
            worst = max(worst, ((actual - gradient).abs().max() / scale).item())
        assert worst < 1e-3, f"the two programs do not compute the same: {worst:.2e}"
        return worst

    def step(self, loss_function):
        self.optimizer.zero_grad(set_to_none=True)
        loss_function().backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()

    def seconds(self, loss_function, budget=1.0):
        samples = []
        start = time.perf_counter()
        while len(samples) < 3 or time.perf_counter() - start < budget:
            before = time.perf_counter()
            self.step(loss_function)
            samples.append(time.perf_counter() - before)
        return statistics.median(samples)


def ours(program, settings, threads):
    words = [w for w in settings.split() if not w.startswith("model=")]
    model = next(w for w in settings.split() if w.startswith("model="))[6:]
    command = [program, "speed", "--format=csv", f"--model={model}", f"--threads={threads}", "--seconds=1"]
    output = subprocess.run(command + words, check=True, capture_output=True, text=True).stdout
    return float(next(csv.DictReader(io.StringIO(output)))["train_seconds"])


def compare(program, name, settings, arguments):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "step.safetensors")
        subprocess.run([program, "export", f"--output={path}"] + settings.split(), check=True, capture_output=True)
        peer = Peer(path)
    difference = peer.check()
    forms = {"eager": peer.same_work}
    if not arguments.no_compile:
        forms["compiled"] = torch.compile(peer.same_work)
    forms["published"] = peer.published_code
    for form in forms.values():
        peer.seconds(form, 0)
    rounds = []
    for _ in range(arguments.rounds):
        mine = ours(program, settings, arguments.threads)
        rounds.append((mine, {key: peer.seconds(form) for key, form in forms.items()}))
    median = lambda values: statistics.median(list(values))
    best = min((k for k in forms if k != "published"), key=lambda k: median(r[1][k] for r in rounds))
    ratios = [r[1][best] / r[0] for r in rounds]
    published = [r[1]["published"] / r[0] for r in rounds]
    print(
        f"| {name} | {1e3 * median(r[0] for r in rounds):.1f} | "
        f"{1e3 * median(r[1][best] for r in rounds):.1f} ({best}) | "
        f"**{median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f}) | "
        f"{median(published):.2f} | {difference:.0e} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"PyTorch {torch.__version__}, {arguments.threads} thread(s), float32, {arguments.rounds} rounds in turn\n")
    print("| step | longhaul ms | PyTorch ms (best form) | ratio, same work (range) | ratio, published code | difference |")
    print("|---|---|---|---|---|---|")
    for name, settings in CASES:
        if arguments.only in name:
            compare(arguments.program, name, settings, arguments)


if __name__ == "__main__":
    main()
