"""The command `demo`: the whole job end to end against a server that misbehaves, with proof."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from profile_history.actions import Channel
from profile_history.cli import exit_codes
from profile_history.cli.event_loop import run
from profile_history.cli.progress import ServerHealth, complain, show_stream
from profile_history.events import Event
from profile_history.options import RetryPolicy, Timeouts
from profile_history.profiles import Profile
from profile_history.results import WindowFailure
from profile_history.stats import Stats
from profile_history.testing import FaultPlan, HistoryServer

# The server stalls some requests for a minute; nobody who watches a demo wants to wait out the usual 30 seconds.
_READ_TIMEOUT = 1.0
_DAYS_A_WINDOW = 61

_FAULTS = {"none": "no", "light": "light", "heavy": "heavy"}


@attrs.define
class _Proof:
    expected: int = 0
    received: int = 0
    missing: int = 0
    doubled: int = 0
    out_of_order: int = 0

    def add(self, truth: list[Event], received: list[Event]) -> None:
        self.expected += len(truth)
        self.received += len(received)
        self.missing += (Counter(truth) - Counter(received)).total()
        self.doubled += (Counter(received) - Counter(truth)).total()
        self.out_of_order += received != sorted(received, key=lambda event: event.datetime, reverse=True)


def demo(
    *,
    profiles: Annotated[int, Parameter(validator=Number(gte=1))] = 500,
    seed: int = 7,
    faults: Literal["none", "light", "heavy"] = "light",
) -> int:
    """Fetch two years of many profiles from an embedded server that misbehaves, and prove that nothing is lost.

    Args:
        profiles: How many profiles.
        seed: Makes the histories and the faults.
        faults: How many requests fail on purpose: none, a tenth, or three tenths.
    """
    screen, out = Console(stderr=True), Console()
    with HistoryServer(profiles=profiles, seed=seed, faults=FaultPlan.named(faults, seed=seed)) as server:
        first, last = server.histories.first_day, server.histories.last_day
        out.print(
            f"Fetching {profiles} profiles from {first} to {last}, {_DAYS_A_WINDOW} days a request, "
            f"from {server.url} with {_FAULTS[faults]} faults",
            soft_wrap=True,
        )
        received, stats, failures = run(_fetch(server, screen))
        proof = _Proof()
        for profile in server.profiles():
            proof.add(server.truth(profile, first, last), received.get(profile, []))
        _report(out, server, received, stats, proof)
    for failure in failures:
        complain(screen, f"failed: {failure.error}")
    exact = not (failures or proof.missing or proof.doubled or proof.out_of_order)
    return exit_codes.DONE if exact else exit_codes.SOME_FAILED


async def _fetch(
    server: HistoryServer, screen: Console
) -> tuple[dict[Profile, list[Event]], Stats, list[WindowFailure]]:
    received: dict[Profile, list[Event]] = {}
    health = ServerHealth(RetryPolicy().patience)
    first, last = server.histories.first_day, server.histories.last_day
    async with (
        server.client(window=_DAYS_A_WINDOW, timeouts=Timeouts(read=_READ_TIMEOUT), on_event=health.observe) as client,
        client.histories(server.profiles(), first, last, on_error="collect") as stream,
        show_stream(stream.stats, server.histories.profiles, screen, health, lambda: client.pacing_state.reason),
    ):
        try:
            async for profile, event in stream:
                received.setdefault(profile, []).append(event)
        except asyncio.CancelledError:
            complain(screen, "interrupted: nothing is proven; run it again")
            raise
    return received, stream.stats, stream.failures


def _report(
    out: Console, server: HistoryServer, received: dict[Profile, list[Event]], stats: Stats, proof: _Proof
) -> None:
    events: Counter[Channel] = Counter()
    profiles: Counter[Channel] = Counter()
    for history in received.values():
        channels = Counter(event.action.channel for event in history)
        events += channels
        profiles.update(channels.keys())
    table = Table("channel", title="What arrived", title_justify="left", header_style="bold")
    for heading in ("events", "share", "profiles"):
        table.add_column(heading, justify="right")
    for channel, count in events.most_common():
        table.add_row(channel, f"{count:,}", f"{count / events.total():.1%}", f"{profiles[channel]:,}")
    table.add_section()
    table.add_row("all", f"{events.total():,}", "100.0%", f"{len(received):,}")
    out.print(table)
    injected = ", ".join(f"{fault} {count}" for fault, count in server.injected.most_common())
    out.print(
        f"{stats.requests:,} windows asked for with {stats.attempts:,} requests, {stats.retries} of them retries, "
        f"{stats.throttled} throttled, {stats.bytes / 1e6:.1f} MB in {stats.seconds:.1f} s",
        soft_wrap=True,
    )
    out.print(f"{server.injected.total()} faults injected: {injected or 'none'}", soft_wrap=True)
    out.print(
        f"[bold]expected {proof.expected:,} · received {proof.received:,} · missing {proof.missing} · "
        f"doubled {proof.doubled} · profiles out of order {proof.out_of_order}[/bold]",
        soft_wrap=True,
    )
