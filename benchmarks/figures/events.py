"""Responses of 1,000 rows: what an event costs, against the serial limit and against what one writes by hand.

The serial limit is a program that first moves the bytes and then decodes them, in one thread, and does nothing else:
seconds of bare aiohttp, plus seconds of msgspec decoding the same bytes to plain values and freeing those.
"""

from __future__ import annotations

from benchmarks.bodies import Body
from benchmarks.comparing import Comparison, Turn, compare, rates, times_faster
from benchmarks.options import Options
from benchmarks.report import Bar, Chart, Report, Target, at_least
from benchmarks.rounds import Spread
from benchmarks.sides import Sample

METHOD = "1,000-row responses, 16 in flight; our events/s as share of the serial limit, and over theirs"
IN_FLIGHT = 16
SEED, NEWER = Body(1000), Body(1000, "newer")
SEED_GZIP, NEWER_GZIP = Body(1000, "seed", True), Body(1000, "newer", True)

# How many requests make about half a second of work.
REQUESTS = {SEED: 300, SEED_GZIP: 300, NEWER: 60, NEWER_GZIP: 60}
_BARE, _UNTYPED, _STRUCT = (
    "bare aiohttp, session tuned as ours",
    "decoding, msgspec untyped",
    "decoding, msgspec Struct",
)


def run(options: Options) -> Report:
    """Measure it."""
    comparisons = [
        *(_limit(options, body, _UNTYPED, at_least(0.85)) for body in (SEED, NEWER)),
        *(_limit(options, body, _UNTYPED, None) for body in (SEED_GZIP, NEWER_GZIP)),
        *(_limit(options, body, _STRUCT, None) for body in (SEED, NEWER)),
        *(_over(options, body, "aiohttp + orjson", 1, at_least(1.0)) for body in (SEED, NEWER)),
        *(_over(options, body, "aiohttp + json", 1, None) for body in (SEED, NEWER)),
        _over(options, SEED, "aiohttp + json + cattrs", 0.3, at_least(4.0)),
        # No target: most of a newer row is nested values, which cattrs passes on as they are.
        _over(options, NEWER, "aiohttp + json + cattrs", 0.3, None),
        *(_over(options, body, "aiohttp + orjson + cattrs", 0.3, None) for body in (SEED, NEWER)),
        *(_over(options, SEED, peer, 0.3, None) for peer in ("httpx", "niquests", "openapi-python-client")),
        *(_over(options, SEED, peer, 0.3, None) for peer in ("dlt rest_api", "dlt async resource")),
        _over(options, SEED, "Singer SDK", 0.05, None),
    ]
    compared = compare(comparisons, options.repeats, options.loop)
    charts = []
    for body, rows in ((SEED, "rows as in the seed"), (NEWER, "larger rows of newer installs")):
        bars = [
            Bar(peer, Spread.of(1 / sample.event for sample in samples))
            for (peer, served), samples in compared.samples.items()
            if served == body
        ]
        title = f"Events per second, 1,000-row responses, {rows} (more is better)"
        charts.append(Chart(f"events-{body.shape}", title, bars))
    return Report("events", METHOD, compared.findings, charts)


def _turn(options: Options, peer: str, body: Body, share: float = 1.0) -> Turn:
    return Turn(peer, body, IN_FLIGHT, options.scaled(REQUESTS[body] * share, IN_FLIGHT))


def _limit(options: Options, body: Body, decoding: str, target: Target | None) -> Comparison:
    return Comparison(
        f"share of the serial limit ({decoding}), {body.name}",
        # Those that do less get more of it: a turn of a few hundredths of a second is mostly its beginning and end.
        (_turn(options, "ours", body), _turn(options, _BARE, body, 4), _turn(options, decoding, body, 3)),
        _share,
        unit="%",
        target=target,
        detail=rates("event"),
    )


def _share(row: list[Sample]) -> float:
    ours, bare, decoding = row
    return (bare.event + decoding.event) / ours.event


def _over(options: Options, body: Body, peer: str, share: float, target: Target | None) -> Comparison:
    return Comparison(
        f"over {peer}, {body.name}",
        (_turn(options, "ours", body), _turn(options, peer, body, share)),
        times_faster("event"),
        target=target,
        detail=rates("event"),
    )
