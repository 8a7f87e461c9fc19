"""Limiters of real proxies, and proxies that refuse all or one: requests, failed windows, the share of the rate.

The client and the API behind the proxy share one process and event loop: at the rates of these limits neither is busy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import attrs

from benchmarks.limited import (
    FINDING,
    LIMITED_SERVERS,
    LimitedServer,
    Reading,
    read_limited,
    read_with_dead_profile,
    read_without_bodies,
)
from benchmarks.options import Options
from benchmarks.report import Finding, Report, Target, at_least, at_most
from benchmarks.rounds import Spread

METHOD = (
    "nginx and HAProxy that limit: requests, failed windows, and the share of the permitted rate, seconds 20 to 100"
)
_SECONDS = 100.0
# Windows behind a limit on concurrency, which are read to the end.
_WINDOWS = 1500
_DEAD_PROFILE, _DENIED = "nginx 504 for one profile of 50, a year", "nginx 413 for all of 20 profiles, a year"


@attrs.frozen
class _Case:
    """What is run once a round, and what is made of its rounds."""

    read: Callable[[], Reading]
    report: Callable[[list[Reading]], list[Finding]]


def run(options: Options) -> Report:
    """Measure it."""
    # What it tells of outages is counted.
    logging.getLogger("profile_history").setLevel(logging.ERROR)
    seconds = _SECONDS * min(1.0, options.work)
    cases = [_make_case(limited, seconds, options) for limited in LIMITED_SERVERS.values()]
    cases.append(_Case(lambda: asyncio.run(read_with_dead_profile()), _report_dead_profile))
    cases.append(_Case(lambda: asyncio.run(read_without_bodies()), _report_denied))
    rounds = [[case.read() for case in cases] for _ in range(options.repeats)]
    columns = zip(cases, zip(*rounds, strict=True), strict=True)
    return Report(
        "limiters", METHOD, [finding for case, readings in columns for finding in case.report(list(readings))]
    )


def _make_case(limited: LimitedServer, seconds: float, options: Options) -> _Case:
    if limited.concurrency:
        windows = options.scaled(_WINDOWS)
        return _Case(
            lambda: asyncio.run(read_limited(limited, windows, seconds=1.5 * seconds)),
            lambda readings: _report_concurrency(limited, readings),
        )
    # More than it can let in, so that there is something to ask for until the end.
    windows = int(1.2 * limited.rate * seconds)
    start = FINDING * seconds / _SECONDS
    return _Case(
        lambda: asyncio.run(read_limited(limited, windows, seconds=seconds)),
        lambda readings: _report_rate(limited, readings, start, seconds),
    )


def _report_concurrency(limited: LimitedServer, readings: list[Reading]) -> list[Finding]:
    return [
        *_report_requests(limited.name, readings, at_most(1.05)),
        _find(limited.name, "refused, of all responses", (one.refused() for one in readings), "%", at_most(0.01)),
        _find(
            limited.name,
            "reached, of the permitted rate",
            (one.rate(0, one.seconds) / limited.rate for one in readings),
            "%",
            None,
            f"{limited.rate:g}/s permitted, from the first second on",
        ),
    ]


def _report_rate(limited: LimitedServer, readings: list[Reading], start: float, end: float) -> list[Finding]:
    reached = Spread.of(one.rate(start, end) for one in readings)
    return [
        *_report_requests(limited.name, readings, None),
        _find(
            limited.name,
            f"reached, seconds {start:g} to {end:g}",
            (one.rate(start, end) / limited.rate for one in readings),
            "%",
            at_least(0.85),
            f"{reached.median:.1f} of {limited.rate:g}/s permitted",
        ),
        _find(
            limited.name,
            f"refused, seconds {start:g} to {end:g}",
            (one.refused(start, end) for one in readings),
            "%",
            at_most(0.02),
        ),
    ]


def _report_requests(name: str, readings: list[Reading], most: Target | None) -> list[Finding]:
    requests = Spread.of(len(one.responses) for one in readings)
    windows = Spread.of(one.done for one in readings)
    detail = f"{requests.median:,.0f} requests, {windows.median:,.0f} windows"
    errors = {type(one.error).__name__ for one in readings if one.error is not None}
    return [
        _find(name, "requests per window", (one.requests_per_window for one in readings), "x", most, detail),
        _find(
            name,
            "failed windows",
            (len(one.failed) for one in readings),
            "windows",
            at_most(0),
            ", ".join(sorted(errors)),
        ),
        _find(name, "outages seen", (one.openings for one in readings), "outages", at_most(0)),
    ]


def _report_dead_profile(readings: list[Reading]) -> list[Finding]:
    name = _DEAD_PROFILE
    return [
        _find(name, "requests for it", (one.statuses()[504] for one in readings), "requests", at_most(40)),
        _find(
            name, "good responses for the others", (one.statuses()[200] for one in readings), "responses", at_most(49)
        ),
        _find(name, "profiles that failed", (len(set(one.failed)) for one in readings), "profiles", at_most(1)),
        _find(name, "outages seen", (one.openings for one in readings), "outages", at_most(0)),
    ]


def _report_denied(readings: list[Reading]) -> list[Finding]:
    name = _DENIED
    return [
        _find(name, "requests", (len(one.responses) for one in readings), "requests", at_most(20)),
        _find(name, "failed windows", (len(one.failed) for one in readings), "windows", at_most(20)),
    ]


def _find(
    case: str, what: str, values: Iterable[float], unit: str, target: Target | None = None, detail: str = ""
) -> Finding:
    return Finding(f"{case}: {what}", Spread.of(values), unit, target, detail)
