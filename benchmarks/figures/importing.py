"""What importing the package costs beside the libraries that it imports; each in a fresh process."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks import machine
from benchmarks.options import Options
from benchmarks.report import Finding, Report, at_most
from benchmarks.rounds import Spread, in_rounds
from benchmarks.sides import environment

METHOD = 'python -X importtime -c "import profile_history", over "import aiohttp, attrs, tenacity"'
_OURS, _THEIRS = ("profile_history",), ("aiohttp", "attrs", "tenacity")
_LINE = re.compile(r"import time:\s*\d+ \|\s*(\d+) \| (\S+)$", re.MULTILINE)
# Single imports are short and vary; each turn is the least of a few.
_ATTEMPTS = 3


def run(options: Options) -> Report:
    """Measure it."""
    rounds = in_rounds(options.repeats, [lambda: _least(_OURS), lambda: _least(_THEIRS)])
    ours, theirs = (Spread.of(column).median for column in zip(*rounds, strict=True))
    ratio = Spread.of(mine / other for mine, other in rounds)
    detail = f"{ours / 1000:.0f} and {theirs / 1000:.0f} ms"
    return Report("import", METHOD, [Finding("over aiohttp, attrs and tenacity", ratio, "x", at_most(1.10), detail)])


def _least(names: tuple[str, ...]) -> int:
    return min(_microseconds(names) for _ in range(_ATTEMPTS))


def _microseconds(names: tuple[str, ...]) -> int:
    command = [sys.executable, "-X", "importtime", "-c", f"import {', '.join(names)}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(), text=True)
    machine.pin(process.pid, machine.client_core())
    _, said = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(said)
    # Those at the left margin, which have in them all that they import.
    spent = {name: int(microseconds) for microseconds, name in _LINE.findall(said)}
    return sum(spent[name] for name in names)
