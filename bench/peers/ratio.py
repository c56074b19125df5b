"""Times training steps of the suite against PyTorch. Each row runs in a process of its own (compare.py) and
leaves its result in --results; the table is made of all results there.

    python bench/peers/ratio.py build/longhaul --results build/peers [--threads 1,2] [--rounds 5]
        [--only mqar,lstm] [--write docs/performance.md]

--rounds 0 checks every form and fills the compiler's cache without timing; --table only makes the table.
--write puts it between the lines <!-- peers --> and <!-- /peers --> of a file, with --section zen3 between
<!-- peers zen3 --> and <!-- /peers zen3 -->: a table for each machine.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import table
from cases import CASES


def run_rows(arguments):
    script = Path(__file__).with_name("compare.py")
    failed = 0
    for threads in arguments.threads.split(","):
        for case in CASES:
            if not any(case.key.startswith(word) for word in arguments.only.split(",")):
                continue
            output = arguments.results / f"{case.key}-{threads}.json"
            command = [sys.executable, script, arguments.program, case.key, threads, str(arguments.rounds), output]
            print(f"{case.key}, {threads} thread(s)", file=sys.stderr, flush=True)
            failed += subprocess.run(command).returncode != 0
    return failed


def write_between_markers(path, section, text):
    page = path.read_text()
    first, last = f"<!-- peers{section and ' ' + section} -->", f"<!-- /peers{section and ' ' + section} -->"
    pattern = f"({re.escape(first)}\n).*?({re.escape(last)})"
    whole, count = re.subn(pattern, lambda m: m[1] + text + m[2], page, flags=re.S)
    if count != 1:
        sys.exit(f"{path}: expected one pair of lines {first} and {last}")
    path.write_text(whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--section", default="")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    failed = 0 if arguments.table else run_rows(arguments)
    results = [json.loads(path.read_text()) for path in sorted(arguments.results.glob("*-*.json"))]
    if results:
        text = table.markdown(results)
        (arguments.results / "ratio.md").write_text(text)
        if arguments.write:
            write_between_markers(arguments.write, arguments.section, text)
        print(text)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
