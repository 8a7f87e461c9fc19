"""`python -m benchmarks FIGURE`: measures one figure, or all."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import instructions, machine, pacing, publishing
from benchmarks.options import Options
from benchmarks.report import Finding, Report, text

FIGURES = ("requests", "events", "forms", "lag", "latency", "throttle", "memory", "export", "bulk", "import")
# No part of `all`: it takes half an hour, and other programs than those measure.
APART = ("limiters",)
_ENOUGH = {"limiters": 3}
_MODULES = {"export": "exporting", "import": "importing"}
_RESULTS = Path(__file__).with_name("results")


def main() -> int:
    """Run what the command line says."""
    arguments = _parser().parse_args()
    if arguments.figure == "instructions":
        try:
            return instructions.run(check=arguments.check, update=arguments.update)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"failed: {type(error).__name__}: {error}")
            return 1
    if arguments.figure == "pacing":
        return pacing.run(
            seed=arguments.seed,
            verbose=arguments.verbose,
            processes=arguments.processes,
            rates=arguments.rates,
            latencies=arguments.latencies and [milliseconds / 1000 for milliseconds in arguments.latencies],
        )
    options = Options(arguments.repeats, arguments.work, arguments.loop, arguments.profiles, _enough(arguments.figure))
    print(machine.description())
    if options.trial:
        print("a trial: too few rounds or too little work for a figure to be quoted")
    names = FIGURES if arguments.figure == "all" else (arguments.figure,)
    reports: list[Report] = []
    failed = False
    for name in names:
        try:
            reports.append(measured(name, options))
        except (OSError, RuntimeError) as error:
            failed = True
            reports.append(Report(name, "failed", [Finding("failed", None, detail=f"{type(error).__name__}: {error}")]))
        print(text(reports[-1]), flush=True)
        if arguments.out is not None:
            publishing.save(reports, options, arguments.out)
    if arguments.readme and arguments.out is not None:
        publishing.put_into_readme(Path(__file__).with_name("README.md"), arguments.out)
    return 1 if failed else 0


def measured(name: str, options: Options) -> Report:
    """Return one figure's report."""
    module = importlib.import_module(f"benchmarks.figures.{_MODULES.get(name, name)}")
    report: Report = module.run(options)
    return report


def _enough(name: str) -> int:
    return _ENOUGH.get(name, 7)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    for name in (*FIGURES, *APART, "all"):
        about = "all of them, saved with their charts"
        if name != "all":
            about = importlib.import_module(f"benchmarks.figures.{_MODULES.get(name, name)}").METHOD
        figure = figures.add_parser(name, help=about.replace("%", "%%"), description=about.replace("%", "%%"))
        enough = _enough(name)
        figure.add_argument("--repeats", type=int, default=enough, help=f"rounds that count ({enough})")
        figure.add_argument("--work", type=float, default=1.0, help="a factor on the work of a turn (1)")
        figure.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the event loop of all")
        figure.add_argument(
            "--profiles", type=int, default=100_000, help="the most profiles in `memory` and `bulk` (100,000)"
        )
        figure.add_argument("--out", type=Path, default=_RESULTS if name == "all" else None, help="where to save")
        figure.add_argument("--readme", action="store_true", help="put what was saved into the README")
    _add_instructions(figures)
    _add_pacing(figures)
    return parser


def _add_instructions(figures: Any) -> None:
    # Apart from the others: it measures nothing beside it, and so is no part of `all`.
    figure = figures.add_parser("instructions", help=instructions.METHOD, description=instructions.METHOD)
    what = figure.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail where there are more than in the reference")
    what.add_argument("--update", action="store_true", help="make what is counted the reference")


def _add_pacing(figures: Any) -> None:
    figure = figures.add_parser("pacing", help=pacing.METHOD, description=pacing.METHOD)
    figure.add_argument("--seed", type=int, default=1, help="draws jitter and the seconds of work (1)")
    figure.add_argument("--verbose", action="store_true", help="print each case that misses its aim")
    figure.add_argument("--processes", type=int, help="cases that are played at once (one on each processor)")
    figure.add_argument("--rates", type=int, nargs="+", help="only these requests per second (12 75 120, and others)")
    figure.add_argument("--latencies", type=float, nargs="+", help="only these milliseconds (35 200, and others)")


if __name__ == "__main__":
    sys.exit(main())
