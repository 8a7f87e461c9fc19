"""Raw rows and Arrow batches over events, responses of 1,000 rows."""

from __future__ import annotations

from benchmarks.comparing import Comparison, Turn, compare, rates, times_faster
from benchmarks.figures.events import IN_FLIGHT, NEWER, REQUESTS, SEED
from benchmarks.options import Options
from benchmarks.report import Bar, Chart, Report, at_least
from benchmarks.rounds import Spread

METHOD = "1,000-row responses, 16 in flight; rows/s of a form over those of events"
_TARGETS = {"ours, raw rows": at_least(3.0), "ours, Arrow batches": at_least(1.0)}


def run(options: Options) -> Report:
    """Measure it."""
    comparisons = [
        Comparison(
            f"{form.removeprefix('ours, ')} over events, {body.name}",
            tuple(
                Turn(peer, body, IN_FLIGHT, options.scaled(2 * REQUESTS[body], IN_FLIGHT)) for peer in (form, "ours")
            ),
            times_faster("event"),
            target=target,
            detail=rates("event"),
        )
        for form, target in _TARGETS.items()
        for body in (SEED, NEWER)
    ]
    compared = compare(comparisons, options.repeats, options.loop)
    bars = [
        Bar(f"{peer if peer != 'ours' else 'ours, events'}, {body.shape}", Spread.of(1 / s.event for s in samples))
        for (peer, body), samples in compared.samples.items()
    ]
    chart = Chart("forms", "Rows per second of each form, 1,000-row responses (more is better)", bars)
    return Report("forms", METHOD, compared.findings, [chart] if bars else [])
