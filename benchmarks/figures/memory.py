"""Memory and cost over many profiles, and memory for one very long response; each in a fresh process."""

from __future__ import annotations

from benchmarks.bodies import Body, rows_of
from benchmarks.machine import MIB
from benchmarks.nginx import Nginx
from benchmarks.options import Options
from benchmarks.report import Bar, Chart, Finding, Report, at_most
from benchmarks.rounds import Spread, in_rounds
from benchmarks.sides import Sample, Side, Site, Unavailable

METHOD = "from 10,000 profiles to --profiles, 3-row responses, 64 in flight; and one response of 64 MiB"
_SMALL = Body(3)
_FEW = 10_000
_IN_FLIGHT = 64
_LONG_RESPONSE = 64 * MIB
_TARGETS = {"ours": at_most(3.0), "ours, raw rows": at_most(2.0)}
_READERS = ("ours", "ours, raw rows", "ours, Arrow batches", "aiohttp + json", "aiohttp + orjson")


def run(options: Options) -> Report:
    """Measure it."""
    long = Body(rows_of(_LONG_RESPONSE, "seed"))
    with Nginx([_SMALL, long]) as nginx:
        findings = _many(nginx, options)
        large, bars = _one(nginx, long, options)
    chart = Chart("memory", "Peak memory for one response of 64 MiB, over its size (less is better)", bars)
    return Report("memory", METHOD, [*findings, *large], [chart])


def _many(nginx: Nginx, options: Options) -> list[Finding]:
    few, many = (options.scaled(number, 1000) for number in (_FEW, options.profiles))
    rounds = in_rounds(
        options.repeats,
        [lambda: _fresh(nginx, "ours", _SMALL, few, options), lambda: _fresh(nginx, "ours", _SMALL, many, options)],
    )
    peaks = [Spread.of(samples[number].peak / MIB for samples in rounds).median for number in (0, 1)]
    spent = [Spread.of(1e6 * samples[number].request for samples in rounds).median for number in (0, 1)]
    name = f"from {few:,} to {many:,} profiles"
    return [
        Finding(
            f"growth of peak memory, {name}",
            Spread.of((large.peak - small.peak) / MIB for small, large in rounds),
            "MiB",
            at_most(32),
            f"{peaks[0]:.0f} and {peaks[1]:.0f} MiB",
        ),
        Finding(
            f"time a request, {name}",
            Spread.of(large.request / small.request for small, large in rounds),
            "x",
            at_most(1.05),
            f"{spent[0]:.0f} and {spent[1]:.0f} µs",
        ),
        Finding(
            f"processor time a request, {name}",
            Spread.of((large.cpu / large.requests) / (small.cpu / small.requests) for small, large in rounds),
            "x",
        ),
    ]


def _one(nginx: Nginx, body: Body, options: Options) -> tuple[list[Finding], list[Bar]]:
    size = nginx.prepared[body].size
    findings, bars, able = [], [], []
    for reader in _READERS:
        try:
            _fresh(nginx, reader, body, 1, options)
            able.append(reader)
        except Unavailable as error:
            name = f"one response of {size / MIB:.0f} MiB, {reader}"
            findings.append(Finding(name, None, "x", _TARGETS.get(reader), f"not available: {error}"))
    rounds = in_rounds(
        options.repeats, [lambda reader=reader: _fresh(nginx, reader, body, 1, options) for reader in able]
    )
    for reader, samples in zip(able, zip(*rounds, strict=True), strict=True):
        over = Spread.of((sample.peak - sample.before) / size for sample in samples)
        name = f"one response of {size / MIB:.0f} MiB, {reader if reader != 'ours' else 'ours, events'}"
        detail = f"peak over its size; {over.median * size / MIB:.0f} MiB"
        findings.append(Finding(name, over, "x", _TARGETS.get(reader), detail))
        bars.append(Bar(reader if reader != "ours" else "ours, events", over))
    return findings, bars


def _fresh(nginx: Nginx, peer: str, body: Body, requests: int, options: Options) -> Sample:
    in_flight = min(_IN_FLIGHT, requests)
    site = Site.serving(nginx.prepared[body], nginx.base_url(body), in_flight, options.loop)
    with Side(peer, site) as side:
        return side.fetch(requests)
