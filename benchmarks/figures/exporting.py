"""A whole export to Parquet, ours against dlt's; each in a fresh process, the files counted through."""

from __future__ import annotations

from benchmarks.bodies import Body
from benchmarks.machine import MIB
from benchmarks.nginx import Nginx
from benchmarks.options import Options
from benchmarks.report import Bar, Chart, Finding, Report
from benchmarks.rounds import Spread, in_rounds
from benchmarks.sides import Sample, Side, Site, Unavailable

METHOD = "1,000-row responses, 16 in flight, from the API to Parquet on disk; ours over dlt's"
_BODY = Body(1000)
_IN_FLIGHT = 16
_PROFILES = 200
_PEERS = ("export, ours", "export, dlt")
_NAMES = ("ours", "dlt")


def run(options: Options) -> Report:
    """Measure it."""
    requests = options.scaled(_PROFILES, 20)
    with Nginx([_BODY]) as nginx:
        site = Site.serving(nginx.prepared[_BODY], nginx.base_url(_BODY), _IN_FLIGHT, options.loop)
        try:
            rounds = in_rounds(options.repeats, [lambda peer=peer: _fresh(peer, site, requests) for peer in _PEERS])
        except Unavailable as error:
            return Report("export", METHOD, [Finding("events/s over dlt", None, detail=f"not available: {error}")])
    columns = list(zip(*rounds, strict=True))
    rates = [Spread.of(1 / sample.event for sample in column) for column in columns]
    peaks = [Spread.of(sample.peak / MIB for sample in column) for column in columns]
    findings = [
        Finding(
            "events/s over dlt",
            Spread.of(theirs.event / ours.event for ours, theirs in rounds),
            detail=f"{rates[0].median:,.0f} and {rates[1].median:,.0f} events/s, {requests * _BODY.rows:,} events",
        ),
        Finding(
            "peak memory over dlt's",
            Spread.of(ours.peak / theirs.peak for ours, theirs in rounds),
            detail=f"{peaks[0].median:.0f} and {peaks[1].median:.0f} MiB",
        ),
    ]
    charts = [
        Chart("export-rate", "Export to Parquet, events per second (more is better)", _bars(rates)),
        Chart("export-memory", "Export to Parquet, peak memory in MiB (less is better)", _bars(peaks)),
    ]
    return Report("export", METHOD, findings, charts)


def _fresh(peer: str, site: Site, requests: int) -> Sample:
    with Side(peer, site) as side:
        return side.fetch(requests)


def _bars(values: list[Spread]) -> list[Bar]:
    return [Bar(name, value) for name, value in zip(_NAMES, values, strict=True)]
