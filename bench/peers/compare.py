"""One row at one number of threads: checks every form of PyTorch's step against the suite's loss and
gradients, then times the two programs in turn, the suite against PyTorch's fastest forms.

    python bench/peers/compare.py PROGRAM CASE THREADS ROUNDS OUTPUT.json

With 0 rounds it checks only (and fills the compiler's cache), and writes nothing.
"""

import csv
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

import choice
from cases import CASES
from choice import Choice
from step import Step, read

SLOW = 20  # seconds: such a step is timed once
# Without instructions for them, products of bf16 are slower than those of float32 on both sides: not compared.
HAS_BF16 = "avx512_bf16" in Path("/proc/cpuinfo").read_text()


def clean_environment():
    """Without the settings that are meant for PyTorch's timings."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "LD_PRELOAD"))}


def export(program, case, path):
    """Where matrices that start at zero leave other weights without gradients, they are drawn instead."""
    command = [program, "export", f"--output={path}", f"model={case.model}", *case.settings.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    tensors = read(path)[1]
    if all(x.any() for name, x in tensors.items() if name.startswith("gradient.")):
        return
    weights = {name.removeprefix("parameter."): x for name, x in tensors.items() if name.startswith("parameter.")}
    random = torch.Generator().manual_seed(1)
    for name, x in weights.items():
        if x.dim() == 2 and not x.any():
            weights[name] = torch.randn(x.shape, generator=random) / x.shape[0] ** 0.5
    save_file(weights, f"{path}.weights")
    subprocess.run([*command, f"--weights={path}.weights"], check=True, stdout=subprocess.DEVNULL)


def ours(program, case, threads, products="float"):
    flags = [f"--model={case.model}", f"--threads={threads}", "--seconds=1", "--format=csv"]
    output = subprocess.run(
        [program, "speed", *flags, *case.settings.split(), f"products={products}"],
        check=True, capture_output=True, text=True, env=clean_environment(),
    ).stdout  # fmt: skip
    return next(csv.DictReader(io.StringIO(output)))


def seconds(step, passes, budget):
    """Median of at least three steps, for about `budget` seconds, after half as long to warm up."""

    def timed():
        start = time.perf_counter()
        step.train(passes)
        return time.perf_counter() - start

    warm = timed()
    if warm > SLOW:
        return warm
    while warm < budget / 2:
        warm += timed()
    samples = []
    while len(samples) < 3 or sum(samples) < budget:
        samples.append(timed())
    return statistics.median(samples)


class Trials:
    """Forms that have been checked and timed briefly."""

    def __init__(self, step):
        self.step, self.passes, self.seconds, self.log = step, {}, {}, []

    def run(self, candidate):
        entry = {"form": candidate.name, "threads": candidate.threads}
        try:
            passes = candidate.passes(self.step)
            entry["difference"] = self.step.check(passes)
            entry["seconds"] = seconds(self.step, passes, 0.5)
            self.passes[candidate], self.seconds[candidate] = passes, entry["seconds"]
        except ArithmeticError:
            raise
        except Exception as error:  # a compiler that is missing or gives up is a result
            entry["failed"] = re.sub(r"/\S+", "..", f"{type(error).__name__}: {error}".splitlines()[0])[:200]
        self.log.append(entry)
        print(f"    {entry}", file=sys.stderr, flush=True)

    def fastest(self, count, accept=lambda candidate: True):
        return sorted(filter(accept, self.seconds), key=self.seconds.get)[:count]


def try_same_work(trials, threads):
    """Every form with the whole batch at once, for each number of threads; then parts of it, for the
    fastest eager form and, if that pays, for the compiled ones."""
    for count in sorted({1, threads}):
        for form in choice.forms(trials.step):
            trials.run(Choice(form, threads=count))
    (eager,) = trials.fastest(1, lambda c: not c.form.compiled)
    for parts in (2, 4, 8, 16):
        if trials.step.batch % parts == 0:
            trials.run(replace(eager, parts=parts))
            if trials.seconds[replace(eager, parts=parts)] > 1.3 * trials.seconds[eager]:
                break
    (eager,) = trials.fastest(1, lambda c: not c.form.compiled)
    (compiled,) = trials.fastest(1, lambda c: c.form.compiled) or (eager,)
    if eager.parts > 1 and compiled != eager:
        trials.run(replace(compiled, parts=eager.parts))


def rounded_seconds(step, passes):
    """Of a step whose products round their inputs to bf16, as products=bf16 does."""
    torch.set_float32_matmul_precision("medium")
    try:
        return seconds(step, passes, 1.0)
    finally:
        torch.set_float32_matmul_precision("highest")


def in_turn(program, case, threads, rounds, trials, choices):
    """Seconds of a step in each round: ours, ours with products=bf16, PyTorch's by choice, and with products
    rounded likewise its fastest eager form (a compiled one keeps what it was compiled with)."""
    mine, rounded, theirs = [], {"ours": [], "theirs": []}, {candidate: [] for candidate in choices}
    (eager,) = trials.fastest(1, lambda c: not c.form.compiled)
    for _ in range(rounds):
        mine.append(ours(program, case, threads))
        if HAS_BF16:
            rounded["ours"].append(float(ours(program, case, threads, "bf16")["train_seconds"]))
            torch.set_num_threads(eager.threads)
            rounded["theirs"].append(rounded_seconds(trials.step, trials.passes[eager]))
        for candidate, values in theirs.items():
            if trials.seconds[candidate] > SLOW:
                values.append(trials.seconds[candidate])
                continue
            torch.set_num_threads(candidate.threads)
            values.append(seconds(trials.step, trials.passes[candidate], 1.0))
    return mine, rounded, theirs


def peak_memory(path, candidate):
    script = Path(__file__).with_name("memory.py")
    command = [sys.executable, script, path, *candidate.arguments()]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=clean_environment()).stdout)


def compare(program, case, threads, rounds, path):
    export(program, case, path)
    step = Step(path)
    trials = Trials(step)
    try_same_work(trials, threads)
    finalists = trials.fastest(2)
    published = Choice(choice.published(step), threads=threads)
    trials.run(published)
    if rounds == 0:
        return None
    mine, rounded, theirs = in_turn(program, case, threads, rounds, trials, [*finalists, published])
    best = min(finalists, key=lambda candidate: statistics.median(theirs[candidate]))
    whole = trials.fastest(1, lambda c: c.parts == 1 and c.threads == best.threads and c != published)[0]
    return {
        "key": case.key,
        "threads": threads,
        "torch": torch.__version__ + (", MKL with all its kernels" if "mkl.so" in os.environ.get("LD_PRELOAD", "") else ""),
        "ours": [float(row["train_seconds"]) for row in mine],
        "ours_bytes": int(float(mine[0]["bytes"])),
        "best": best.name,
        "best_threads": best.threads,
        "same_work": theirs[best],
        "published": theirs[published],
        "rounded": rounded,
        "best_bytes": peak_memory(path, best),
        "whole_bytes": peak_memory(path, whole),
        "tried": trials.log,
    }


def main():
    program, key, threads, rounds, output = sys.argv[1:]
    case = next(case for case in CASES if case.key == key)
    with tempfile.TemporaryDirectory() as folder:
        result = compare(program, case, int(threads), int(rounds), os.path.join(folder, "step.safetensors"))
    if result:
        Path(output).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
