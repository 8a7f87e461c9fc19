"""The raw lane and the Arrow lane over the object lane, responses of 1,000 rows."""

from __future__ import annotations

from benchmarks.comparing import Comparison, Turn, compare, rates, times_faster
from benchmarks.figures.events import IN_FLIGHT, NEWER, REQUESTS, SEED
from benchmarks.options import Options
from benchmarks.report import Bar, Chart, Report, at_least
from benchmarks.rounds import Spread

METHOD = "1,000-row answers, 16 in flight; rows/s of a lane over the object lane's"
_TARGETS = {"ours, raw lane": at_least(3.0), "ours, Arrow lane": at_least(1.0)}


def run(options: Options) -> Report:
    """Measure it."""
    comparisons = [
        Comparison(
            f"{lane.removeprefix('ours, ')} over object lane, {body.name}",
            tuple(
                Turn(peer, body, IN_FLIGHT, options.scaled(2 * REQUESTS[body], IN_FLIGHT)) for peer in (lane, "ours")
            ),
            times_faster("event"),
            target=target,
            detail=rates("event"),
        )
        for lane, target in _TARGETS.items()
        for body in (SEED, NEWER)
    ]
    compared = compare(comparisons, options.repeats, options.loop)
    bars = [
        Bar(f"{peer if peer != 'ours' else 'ours, object lane'}, {body.shape}", Spread.of(1 / s.event for s in samples))
        for (peer, body), samples in compared.samples.items()
    ]
    charts = [Chart("lanes", "Rows per second of each lane, 1,000-row answers (more is better)", bars)] if bars else []
    return Report("lanes", METHOD, compared.findings, charts)
