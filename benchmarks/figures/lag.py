"""How late others on the event loop are while long responses arrive."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from benchmarks.bodies import Body
from benchmarks.nginx import Nginx
from benchmarks.options import Options
from benchmarks.report import Bar, Chart, Finding, Report, Target, at_most
from benchmarks.rounds import Spread, in_rounds
from benchmarks.sides import Side, Site, Unavailable

METHOD = "20,000-row responses, 8 in flight; lateness of a 1 ms ticker above that on the same loop when idle"
_IN_FLIGHT = 8
_SEED, _NEWER = Body(20_000), Body(20_000, "newer")
_REQUESTS = {_SEED: 64, _NEWER: 16}
_IDLE = 0.5
_FORMS = ("ours", "ours, raw rows", "ours, Arrow batches")
_PEERS = ("bare aiohttp", "aiohttp + json", "aiohttp + orjson")
_RUNS = [(peer, body) for peers in (_FORMS, _PEERS) for body in (_SEED, _NEWER) for peer in peers]


def run(options: Options) -> Report:
    """Measure it."""
    findings: list[Finding] = []
    with Nginx([_SEED, _NEWER]) as nginx, contextlib.ExitStack() as stack:
        able: list[tuple[str, Callable[[], dict[str, Any]]]] = []
        for peer, body in _RUNS:
            name = f"{peer if peer != 'ours' else 'ours, events'}, {body.name}"
            site = Site.serving(nginx.prepared[body], nginx.base_url(body), _IN_FLIGHT, options.loop)
            try:
                side = stack.enter_context(Side(peer, site))
            except Unavailable as error:
                findings.append(Finding(f"p99, {name}", None, "ms", at_most(2.0), f"not available: {error}"))
                findings.append(Finding(f"most, {name}", None, "ms", at_most(5.0), f"not available: {error}"))
                continue
            able.append((name, _asking(side, options.scaled(_REQUESTS[body], _IN_FLIGHT))))
        rounds = in_rounds(options.repeats, [turn for _, turn in able])
    p99, most = [], []
    for number, (name, _) in enumerate(able):
        taken = [a_round[number] for a_round in rounds]
        ours = name.startswith("ours")
        p99.append(_finding(f"p99, {name}", taken, "p99", at_most(2.0) if ours else None))
        most.append(_finding(f"most, {name}", taken, "max", at_most(5.0) if ours else None))
    charts = [
        _chart("lag-p99", "p99 of a 1 ms ticker's lateness above idle, ms (less is better)", p99, 2.0),
        _chart("lag-most", "Most lateness of a 1 ms ticker above idle, ms (less is better)", most, 5.0),
    ]
    return Report("lag", METHOD, [*p99, *most, *findings], charts)


def _asking(side: Side, requests: int) -> Callable[[], dict[str, Any]]:
    return lambda: side.ask("lag", requests=requests, idle=_IDLE)


def _finding(name: str, taken: list[dict[str, Any]], key: str, target: Target | None) -> Finding:
    above = Spread.of(1000 * (one[key] - one[f"idle_{key}"]) for one in taken)
    idle = Spread.of(1000 * one[f"idle_{key}"] for one in taken).median
    ticks = Spread.of(one["ticks"] for one in taken).median
    return Finding(name, above, "ms", target, f"idle {idle:.2f} ms; {ticks:.0f} ticks a round")


def _chart(name: str, title: str, findings: list[Finding], target: float) -> Chart:
    bars = [Bar(finding.name.partition(", ")[2], finding.value) for finding in findings if finding.value]
    return Chart(name, title, bars, (target, f"target {target:g} ms"))
