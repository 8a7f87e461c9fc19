"""Responses of 3 rows, 64 requests in flight: what a request costs."""

from __future__ import annotations

from benchmarks.bodies import Body
from benchmarks.comparing import Comparison, Turn, compare, rates, times_faster
from benchmarks.options import Options
from benchmarks.report import Bar, Chart, Report, Target, at_least
from benchmarks.rounds import Spread

METHOD = "3-row responses, 64 in flight; our requests/s over theirs"
_BODY = Body(3)
_IN_FLIGHT = 64
_OURS = 4000

# How many requests each makes in a turn: about half a second of work.
_PEERS: tuple[tuple[str, int, Target | None], ...] = (
    ("bare aiohttp", 6000, at_least(0.90)),
    ("bare aiohttp, session tuned as ours", 6000, at_least(0.90)),
    ("aiohttp + json", 6000, at_least(1.0)),
    ("aiohttp + orjson", 6000, None),
    ("aiohttp + json + cattrs", 6000, None),
    ("httpx", 300, at_least(10.0)),
    ("httpx, all connections kept", 150, None),
    ("niquests", 800, None),
    ("openapi-python-client", 300, None),
    ("dlt rest_api", 300, None),
    ("dlt async resource", 2000, None),
    ("Singer SDK", 500, None),
)


def run(options: Options) -> Report:
    """Measure it."""
    ours = Turn("ours", _BODY, _IN_FLIGHT, options.scaled(_OURS, 128))
    comparisons = [
        Comparison(
            f"over {peer}",
            (ours, Turn(peer, _BODY, _IN_FLIGHT, options.scaled(requests, 128))),
            times_faster("request"),
            target=target,
            detail=rates("request"),
        )
        for peer, requests, target in _PEERS
    ]
    compared = compare(comparisons, options.repeats, options.loop)
    bars = [
        Bar(peer, Spread.of(1 / sample.request for sample in samples))
        for (peer, _), samples in compared.samples.items()
    ]
    chart = Chart("requests", "Requests per second, 3-row responses, 64 in flight (more is better)", bars)
    return Report("requests", METHOD, compared.findings, [chart])
