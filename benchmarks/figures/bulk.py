"""A durable job over many profiles into Parquet, and the resume of one with very many units; in fresh processes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.bodies import Body
from benchmarks.ledgers import ROWS, make_ledger
from benchmarks.machine import MIB
from benchmarks.nginx import Nginx
from benchmarks.options import Options
from benchmarks.report import Finding, Report, at_most
from benchmarks.rounds import Spread
from benchmarks.sides import Sample, Side, Site

METHOD = "a job over --profiles profiles, one window each, 4-row responses into Parquet; the resume of 10,000,000 units"
_BODY = Body(ROWS)
_IN_FLIGHT = 64
_UNITS = 10_000_000
_PEER = "ours, a durable job"
# A turn takes minutes, and is its own warming up.
_MOST_ROUNDS = 3


def run(options: Options) -> Report:
    """Measure it."""
    with Nginx([_BODY]) as nginx:
        site = Site.serving(nginx.prepared[_BODY], nginx.base_url(_BODY), _IN_FLIGHT, options.loop)
        repeats = range(min(options.repeats, _MOST_ROUNDS))
        findings = _exported(site, options.scaled(options.profiles, 1000), repeats)
        return Report("bulk", METHOD, [*findings, *_resumed(site, options.scaled(_UNITS, 1000), repeats)])


def _exported(site: Site, profiles: int, repeats: range) -> list[Finding]:
    samples, sizes = zip(*(_export(site, profiles) for _ in repeats), strict=True)
    name = f"{profiles:,} profiles"
    return [
        Finding(f"units a second, {name}", Spread.of(1 / sample.request for sample in samples), "units/s"),
        Finding(f"events a second, {name}", Spread.of(1 / sample.event for sample in samples), "events/s"),
        Finding(f"processor time a unit, {name}", Spread.of(1e6 * sample.cpu / profiles for sample in samples), "µs"),
        Finding(f"peak memory, {name}", Spread.of(sample.peak / MIB for sample in samples), "MiB"),
        Finding(f"ledger a unit, {name}", Spread.of(size / profiles for size in sizes), "bytes"),
    ]


def _export(site: Site, profiles: int) -> tuple[Sample, int]:
    with Side(_PEER, site) as side:
        return side.fetch(profiles), side.ask("ledger")["size"]


def _resumed(site: Site, units: int, repeats: range) -> list[Finding]:
    with tempfile.TemporaryDirectory(prefix="benchmarks-bulk-") as folder:
        size = make_ledger(Path(folder), site.base_url, units)
        resumed = [_resume(site, folder) for _ in repeats]
    name = f"resume of {units:,} units, half of them done"
    return [
        Finding(f"{name}: to the first request", Spread.of(one["seconds"] for one in resumed), "s", at_most(5)),
        Finding(
            f"{name}: peak memory",
            Spread.of(one["peak"] / MIB for one in resumed),
            "MiB",
            at_most(300),
            f"{size / MIB:,.0f} MiB of ledger",
        ),
    ]


def _resume(site: Site, folder: str) -> dict[str, float]:
    with Side(_PEER, site) as side:
        return side.ask("resume", folder=folder)
