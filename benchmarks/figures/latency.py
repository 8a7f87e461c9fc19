"""A server that takes 50 ms for each response: how much of what 64 requests in flight allow is reached."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from benchmarks import machine
from benchmarks.bodies import Body, prepare
from benchmarks.options import Options
from benchmarks.report import Finding, Report, at_least
from benchmarks.rounds import Spread, in_rounds
from benchmarks.serving import serving
from benchmarks.sides import Side, Site

METHOD = "3-row responses after 50 ms, 64 in flight; share of 64 / 0.05 s = 1,280 requests/s"
_LATENCY = 0.05
_IN_FLIGHT = 64
_BATCHES = 40
_PEERS = ("ours", "bare aiohttp, session tuned as ours", "aiohttp + json")


def run(options: Options) -> Report:
    """Measure it."""
    ideal = _IN_FLIGHT / _LATENCY
    requests = _IN_FLIGHT * options.scaled(_BATCHES)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        body = prepare(Body(3), Path(folder))
        spin = "spin" if machine.server_core() is not None else "sleep"
        url = stack.enter_context(serving("delayed", body.served, _LATENCY, spin))
        site = Site.serving(body, url, _IN_FLIGHT, options.loop)
        sides = [stack.enter_context(Side(peer, site)) for peer in _PEERS]
        rounds = in_rounds(options.repeats, [lambda side=side: side.fetch(requests) for side in sides])
    findings = []
    for peer, samples in zip(_PEERS, zip(*rounds, strict=True), strict=True):
        share = Spread.of(1 / sample.request / ideal for sample in samples)
        detail = f"{share.median * ideal:,.0f} requests/s"
        target = at_least(0.97) if peer == "ours" else None
        findings.append(Finding(f"share of what the latency allows, {peer}", share, "%", target, detail))
    return Report("latency", METHOD, findings)
