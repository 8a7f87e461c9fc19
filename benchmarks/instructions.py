"""How many instructions the hot paths take, counted by valgrind, and whether that is more than it was.

Seconds depend on the machine and on what else it does; instructions only on the programs. So a few percent more show on
any machine that has the same interpreter; with other versions of the libraries, some more percent.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from benchmarks.bodies import prepare
from benchmarks.counted import BODIES

METHOD = "instructions of decoding and of a request's path, counted by callgrind and compared with a reference"

_ROOT = Path(__file__).resolve().parent.parent
_REFERENCE = Path(__file__).with_suffix(".json")
# What `counted.mark` calls, by either of the names that it has in the C library.
_MARKS = ("getppid", "__getppid")
_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)
# Copies and searches as every x86-64 has them: else glibc takes what the processor is best at, and copies bytes by an
# instruction that is counted once a byte.
_TUNABLES = "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-ERMS"
_OPTIMISATIONS = ("--enable-optimizations", "--with-lto", "--with-pydebug", "--enable-shared")
_SECONDS = 600


@attrs.frozen
class Count:
    """The instructions of one piece of work.

    Attributes:
        name: What was done.
        instructions: How many each row or request took.
    """

    name: str
    instructions: int


@attrs.frozen
class Reference:
    """What is kept to compare with.

    Attributes:
        tolerance: The share by which a count may be above or below.
        wide_tolerance: The same where something in `similar` is another here.
        same: What has to be the same here, or comparing is no use.
        similar: What has little influence.
        counts: Instructions a row or request.
    """

    tolerance: float
    wide_tolerance: float
    same: Mapping[str, str]
    similar: Mapping[str, str]
    counts: Mapping[str, int]

    def tolerance_here(self, same: Mapping[str, str], similar: Mapping[str, str]) -> tuple[float | None, str]:
        """Return the tolerance to compare with, `None` if that is no use, and what differs here."""
        if differing := _differing(self.same, same):
            return None, differing
        differing = _differing(self.similar, similar)
        return self.wide_tolerance if differing else self.tolerance, differing


@attrs.frozen
class Comparison:
    """A count beside its reference; either may be missing."""

    name: str
    before: int | None
    now: int | None
    tolerance: float

    @property
    def change(self) -> float:
        """By which share there are more now; 0 where that cannot be told."""
        return self.now / self.before - 1 if self.now is not None and self.before else 0.0

    @property
    def failed(self) -> bool:
        """Tell whether there are too many, or there should be some and are not."""
        return self.now is None or self.change > self.tolerance

    @property
    def verdict(self) -> str:
        """Return what to make of it."""
        if self.now is None:
            return "NOT COUNTED: if that is meant, --update"
        if self.before is None:
            return "no reference: --update"
        if self.failed:
            return "MORE: if that is meant, --update"
        return "less: lower the reference by --update" if self.change < -self.tolerance else ""


def run(*, check: bool, update: bool) -> int:
    """Count, print, and do with the reference what is wanted.

    Returns:
        The exit code; 1 if `check` finds more instructions than there were.
    """
    reference = Reference(**json.loads(_REFERENCE.read_text(encoding="utf-8")))
    same, similar = _environment()
    tolerance, differing = reference.tolerance_here(same, similar)
    if tolerance is None:
        print(f"not compared, since instructions depend on it: {differing}")
        if check:
            return 0
    else:
        print(f"tolerance {tolerance:.0%}" + (f", since here is another {differing}" if differing else ""))
    counts = counted()
    comparisons = compared(reference.counts if tolerance is not None else {}, counts, tolerance or 0.0)
    print(table(comparisons))
    if update:
        kept = {count.name: count.instructions for count in counts}
        _save(attrs.evolve(reference, same=same, similar=similar, counts=kept))
    return 1 if check and any(comparison.failed for comparison in comparisons) else 0


def counted() -> list[Count]:
    """Count all of the work, in a process of its own.

    Raises:
        RuntimeError: That did not succeed.
        FileNotFoundError: valgrind is not installed.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise FileNotFoundError("valgrind is not installed; on Debian: apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="benchmarks-instructions-") as name:
        folder = Path(name)
        for body in BODIES:
            prepare(body, folder)
        out = folder / "callgrind"
        options = ["--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        options += [f"--dump-before={mark}" for mark in _MARKS]
        works = _works_done([valgrind, *options, sys.executable, "-m", "benchmarks.counted", name])
        totals = list(_totals(out))
    if len(totals) != 2 * len(works):
        raise RuntimeError(f"callgrind saw {len(totals)} marks of {2 * len(works)}")
    # The other totals are of what was done before each piece of work.
    pairs = zip(works, totals[1::2], strict=True)
    return [Count(what, round(total / amount)) for (what, amount), total in pairs]


def compared(before: Mapping[str, int], counts: Iterable[Count], tolerance: float) -> list[Comparison]:
    """Return the counts beside those of a reference."""
    now = {count.name: count.instructions for count in counts}
    return [Comparison(name, before.get(name), now.get(name), tolerance) for name in {**now, **before}]


def table(comparisons: Iterable[Comparison]) -> str:
    """Return the comparisons for a terminal."""
    lines = [f"{'instructions a row, or a request':<42}{'reference':>10}{'now':>10}{'change':>9}"]
    for one in comparisons:
        before, now = (f"{number:,}" if number is not None else "-" for number in (one.before, one.now))
        change = f"{one.change:+.1%}" if one.before and one.now is not None else ""
        lines.append(f"{one.name:<42}{before:>10}{now:>10}{change:>9}  {one.verdict}".rstrip())
    return "\n".join(lines)


def _works_done(command: list[str]) -> list[tuple[str, int]]:
    """Return what a process did: the name of each piece of work, and how many rows or requests it deals with."""
    process = subprocess.run(
        command, cwd=_ROOT, env=_child_environment(), capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if process.returncode != 0:
        raise RuntimeError(f"what is counted failed: {process.stderr}")
    return [tuple(json.loads(line)) for line in process.stdout.splitlines()]


def _totals(out: Path) -> Iterator[int]:
    number = 1
    while (dump := out.with_name(f"{out.name}.{number}")).exists():
        yield int(_TOTALS.findall(dump.read_text(encoding="utf-8", errors="replace"))[-1])
        number += 1


def _child_environment() -> dict[str, str]:
    # Nothing from outside that could change what Python or the package does.
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "GLIBC_TUNABLES": _TUNABLES}


def _environment() -> tuple[dict[str, str], dict[str, str]]:
    """Return what the counts depend on much, and what they depend on a little."""
    same = {
        "interpreter": f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}",
        "built": _build(),
        "machine": platform.machine(),
    }
    similar = {
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        **{name: importlib.metadata.version(name) for name in ("aiohttp", "attrs", "cattrs", "msgspec", "tenacity")},
    }
    return same, similar


def _build() -> str:
    """Return how the interpreter was compiled: that makes more of a difference than a few versions."""
    levels = re.findall(r"-O\w+", sysconfig.get_config_var("CFLAGS") or "")
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return " ".join([platform.python_compiler(), *levels[-1:], *(name for name in _OPTIMISATIONS if name in arguments)])


def _differing(wanted: Mapping[str, str], here: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} ({here.get(name)}; the reference's is {value})"
        for name, value in wanted.items()
        if here.get(name) != value
    )


def _save(reference: Reference) -> None:
    _REFERENCE.write_text(json.dumps(attrs.asdict(reference), indent=2) + "\n", encoding="utf-8")
