"""The results of compare.py as Markdown."""

import statistics

from cases import CASES
from models import module_of

HEAD = """\
| step | Longhaul ms | PyTorch ms | ratio, same work | ratio, published code | MiB | PyTorch MiB, same form | whole batch |
|---|---|---|---|---|---|---|---|"""
ROUNDED_HEAD = """\
| products rounded to bf16 | Longhaul ms | PyTorch ms | ratio | ratio to PyTorch in float32 |
|---|---|---|---|---|"""


def milliseconds(values):
    return f"{1e3 * statistics.median(values):.1f}"


def ratio(theirs, ours):
    """Median of the rounds and their range."""
    rounds = [a / b for a, b in zip(theirs, ours)]
    return f"**{statistics.median(rounds):.2f}** ({min(rounds):.2f}-{max(rounds):.2f})"


def form(result):
    one = result["threads"] > 1 and result["best_threads"] == 1
    return result["best"] + (", one thread" if one else "")


def mebibytes(count):
    return f"{count / 2**20:.0f}"


def row(case, result):
    cells = [
        case.title,
        milliseconds(result["ours"]),
        f"{milliseconds(result['same_work'])} ({form(result)})",
        ratio(result["same_work"], result["ours"]),
        ratio(result["published"], result["ours"]),
        mebibytes(result["ours_bytes"]),
        f"{mebibytes(result['best_bytes'])} ({result['best_bytes'] / result['ours_bytes']:.1f}x)",
        f"{mebibytes(result['whole_bytes'])} ({result['whole_bytes'] / result['ours_bytes']:.1f}x)",
    ]
    return "| " + " | ".join(cells) + " |"


def rounded_row(case, result):
    ours, theirs = result["rounded"]["ours"], result["rounded"]["theirs"]
    cells = [case.title, milliseconds(ours), milliseconds(theirs), ratio(theirs, ours),
             ratio(result["same_work"], ours)]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def tried(case, result):
    """Every form with its time in the trial; compare within a line only."""
    texts = []
    for entry in result["tried"]:
        name = entry["form"]
        if result["threads"] > 1:
            name += f" [{entry['threads']}]"
        time = f"{1e3 * entry['seconds']:.0f} ms" if "seconds" in entry else f"failed ({entry['failed']})"
        texts.append(f"{name}: {time}")
    worst = max(entry.get("difference", 0) for entry in result["tried"])
    settings = dict(pair.split("=", 1) for pair in case.settings.split())
    note = getattr(module_of({"model": case.model, **settings}), "NOTE", "")
    return f"- {case.key}: {'; '.join(texts)}. Published code: {case.source}. Difference at most {worst:.0e}. {note}".rstrip()


def block(threads, results):
    """The table and the forms of one number of threads; results by key."""
    rows = [case for case in CASES if case.key in results]
    words = {1: "One thread", 2: "Two threads"}.get(threads, f"{threads} threads")
    version = sorted({results[case.key]["torch"] for case in rows})
    lines = [f"### {words}, PyTorch {', '.join(version)}", "", HEAD]
    lines += [row(case, results[case.key]) for case in rows]
    rounded = [case for case in rows if results[case.key]["rounded"]["ours"]]
    if rounded:
        lines += ["", ROUNDED_HEAD]
        lines += [rounded_row(case, results[case.key]) for case in rounded]
    lines += ["", "Forms tried:", ""]
    lines += [tried(case, results[case.key]) for case in rows]
    return "\n".join(lines)


def markdown(results):
    """results: list of what compare.py wrote."""
    counts = sorted({result["threads"] for result in results})
    return "\n\n".join(block(n, {r["key"]: r for r in results if r["threads"] == n}) for n in counts) + "\n"
