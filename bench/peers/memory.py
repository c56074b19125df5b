"""Peak memory of one training step in PyTorch, in a process of its own with the stock allocator.

What the step adds to the resident set at its highest point, and the weights, moments and inputs that were
there before; interpreter, libraries and compiler are not counted.

    python bench/peers/memory.py STEP.safetensors FORM PARTS THREADS
"""

import ctypes
import gc
import sys

import choice
from step import Step


def resident(key):
    """Bytes: VmRSS now, VmHWM at most since the last reset."""
    with open("/proc/self/status") as status:
        return 1024 * int(next(line.split()[1] for line in status if line.startswith(key + ":")))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main():
    step = Step(sys.argv[1])
    passes = choice.named(step, *sys.argv[2:]).passes(step)
    for _ in range(2):  # the first one compiles and allocates the moments
        step.train(passes)
    step.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    moments = [v for state in step.optimizer.state.values() for v in state.values()]
    kept = sum(t.nbytes for t in [*step.parameters.values(), *moments, step.tokens, step.classes])
    before = resident("VmRSS")
    reset_peak()
    step.train(passes)
    print(resident("VmHWM") - before + kept)


if __name__ == "__main__":
    main()
