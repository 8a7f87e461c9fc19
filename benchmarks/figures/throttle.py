"""A server that refuses what is too much: how much of its places is used, and how many responses are refusals.

In real time a server's place is taken a little longer than its latency, so beside the share of the nominal capacity
stands that of a client which knows the capacity and keeps to it.
"""

from __future__ import annotations

from typing import Any

from benchmarks.options import Options
from benchmarks.report import Finding, Report, at_least, at_most
from benchmarks.rounds import Spread
from benchmarks.serving import serving
from benchmarks.sides import Side, Site

METHOD = "HistoryServer with 8 or 25 places and 100 ms latency, after 30 s: share of its places used, and of 429"
_LATENCY = 0.1
_PROFILES = 300
_WARM_UP = 30.0
_STRETCH = 4.0
_MOST = 64


def run(options: Options) -> Report:
    """Measure it."""
    findings = []
    for capacity in (8, 25):
        with serving("rehearsal", capacity, _LATENCY, _PROFILES) as url:
            adaptive = _read(url, options, concurrency=_MOST, adaptive=True, warm_up=_WARM_UP)
            knowing = _read(url, options, concurrency=capacity, adaptive=False, warm_up=3.0)
        possible = capacity / _LATENCY * _STRETCH
        used = Spread.of(good / possible for good, _ in adaptive)
        known = Spread.of(good / possible for good, _ in knowing)
        refused = Spread.of(bad / max(1, good + bad) for good, bad in adaptive)
        all_good, all_bad = (sum(column) for column in zip(*adaptive, strict=True))
        detail = f"{used.median * possible / _STRETCH:,.0f} good responses/s"
        findings += [
            Finding(f"capacity {capacity}: used", used, "%", at_least(0.95), detail),
            Finding(f"capacity {capacity}: used by a client that knows it and keeps to it", known, "%"),
            Finding(
                f"capacity {capacity}: used, over what the knowing client uses",
                Spread.of(good / known_good for (good, _), (known_good, _) in zip(adaptive, knowing, strict=True)),
                "%",
            ),
            Finding(
                f"capacity {capacity}: responses that are 429",
                refused,
                "%",
                at_most(0.01),
                f"{all_bad} of {all_good + all_bad}, {all_bad / max(1, all_good + all_bad):.2%} over all stretches",
            ),
        ]
    return Report("throttle", METHOD, findings)


def _read(url: str, options: Options, **arguments: Any) -> list[list[int]]:
    with Side("ours, throttled", Site(url, _MOST, loop=options.loop)) as side:
        stretches: list[list[int]] = side.ask("read", stretches=options.repeats, seconds=_STRETCH, **arguments)[
            "stretches"
        ]
    return stretches
