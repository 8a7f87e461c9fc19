"""How well the client finds a server's limit: its own parts that pace it, before simulated servers."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any, Literal

import attrs

from benchmarks.simulated import SimulatedServer, VirtualLoop, mean_round_trip
from profile_history import Pacing, RetryPolicy
from profile_history._sending.failure_policy import AttemptLog, Decision, decide
from profile_history._sending.failure_signals import Signal
from profile_history._sending.pacer import Pacer
from profile_history._sending.pacing_state import PacingState
from profile_history.errors import ApiError, Kind, RateLimited
from profile_history.testing import (
    ConcurrencyLimiter,
    FixedWindow,
    LeakyBucket,
    Limiter,
    SlidingWindow,
    TokenBucket,
)

METHOD = "share of the permitted rate that is used, and of the responses that are refusals, before simulated limiters"

_MOST_IN_FLIGHT = 32
# Seconds. Windows of a minute are measured from the beginning of one to the end of another.
_START, _END = 20.0, 100.0
_LONG_START, _LONG_END = 60.0, 300.0
_LONG_RESPONSE = 0.5
_NEIGHBOURING_RATES = (12, 75, 120)
_NEIGHBOURING_LATENCIES = (0.035, 0.2)
_STATUSES: tuple[Literal[429, 503], ...] = (429, 503)


@attrs.frozen
class Aim:
    """What is wanted: at least so much used, at most so much refused."""

    used: float
    refused: float


_CONCURRENCY_AIM, _RATE_AIM = Aim(0.95, 0.01), Aim(0.85, 0.02)


@attrs.frozen
class Case:
    """One server to find the limit of.

    Attributes:
        group: The line of the table that it belongs to.
        name: What tells it from the others of that line.
        limiter: Its limiter; `None` for none.
        permitted: Requests per second that it lets in.
        latency: Seconds that a response takes.
        concurrency: The most in flight that the client allows.
        settings: Those of `SimulatedServer`.
    """

    group: str
    name: str
    limiter: Limiter | None
    permitted: float
    latency: float
    concurrency: int = _MOST_IN_FLIGHT
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def aim(self) -> Aim:
        return _CONCURRENCY_AIM if self.group.startswith("concurrency") else _RATE_AIM

    @property
    def stretch(self) -> tuple[float, float]:
        return (_LONG_START, _LONG_END) if "60 s" in self.group else (_START, _END)


@attrs.frozen
class Outcome:
    """What became of a case: shares of what was permitted, and of all responses."""

    case: Case
    used: float
    refused: float

    @property
    def is_met(self) -> bool:
        return self.used >= self.case.aim.used - 0.0005 and self.refused <= self.case.aim.refused + 0.0005


@attrs.frozen
class Change:
    """Something that happens to a server while it runs."""

    at: float
    do: Callable[[SimulatedServer], None]


def play(
    server: SimulatedServer,
    seconds: float,
    *,
    concurrency: int = _MOST_IN_FLIGHT,
    seed: int = 1,
    changes: Iterable[Change] = (),
    watch: Callable[[float, PacingState], None] | None = None,
    **pacing: Any,
) -> None:
    """Send requests without end, as the workers of a stream do, until so many seconds are over.

    Args:
        server: Where to.
        seconds: On the virtual clock.
        concurrency: The most in flight.
        seed: Draws the jitter of the client's pauses.
        changes: What happens to the server.
        watch: Is told the time and the state twice a second.
        pacing: More settings of `Pacing`.
    """
    loop = VirtualLoop()
    draw = random.Random(seed).uniform
    logging.disable(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            pacer = Pacer(Pacing(concurrency=concurrency, **pacing), uniform=draw)
            runner.run(_play(loop, pacer, server, seconds, concurrency, tuple(changes), watch))
    finally:
        logging.disable(logging.NOTSET)


async def _play(
    loop: VirtualLoop,
    pacer: Pacer,
    server: SimulatedServer,
    seconds: float,
    workers: int,
    changes: tuple[Change, ...],
    watch: Callable[[float, PacingState], None] | None,
) -> None:
    for change in changes:
        loop.call_exactly(change.at, change.do, server)
    tasks = [loop.create_task(_work(loop, pacer, server, number)) for number in range(workers)]
    if watch is not None:
        tasks.append(loop.create_task(_watch(pacer, watch)))
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(error, asyncio.CancelledError):
            raise RuntimeError("a worker has ended") from (error if isinstance(error, BaseException) else None)


async def _work(loop: VirtualLoop, pacer: Pacer, server: SimulatedServer, number: int) -> None:
    decisions: dict[int, tuple[ApiError, Decision]] = {}
    while True:
        permit = await pacer.acquire(1e9)
        answer, sent = loop.create_future(), loop.time()
        server.send(loop, answer)
        status = await answer
        took = loop.time() - sent
        if status == 200:
            pacer.release(permit, Signal.SUCCESS, first_byte=took)
            continue
        if status not in decisions:
            decisions[status] = _decision_of(status, _hint_of(server.limiter, status))
        failure, decision = decisions[status]
        pacer.release(
            permit,
            decision.signal,
            request_id=f"{number}",
            failure=failure,
            seconds=took,
            retry_after=decision.pause,
        )


def _decision_of(status: int, hint: float | None) -> tuple[ApiError, Decision]:
    make = RateLimited if status == 429 else ApiError
    failure = make(None, "", status, kind=Kind.THROTTLED if status == 429 else Kind.TRANSIENT)
    failure.retry_after = hint
    log = AttemptLog()
    log.record(failure, seconds=0.0)
    return failure, decide(failure, log, RetryPolicy(patience=1e9))


def _hint_of(limiter: Limiter | None, status: int) -> float | None:
    if limiter is None or status != limiter.status or not isinstance(limiter.retry_after, (int, float)):
        return None
    return limiter.retry_after


async def _watch(pacer: Pacer, watch: Callable[[float, PacingState], None]) -> None:
    while True:
        await asyncio.sleep(0.5)
        watch(asyncio.get_running_loop().time(), pacer.state)


def used_and_refused(server: SimulatedServer, permitted: float, start: float, end: float) -> tuple[float, float]:
    """Return which share of a permitted rate was used, and which share of the requests was refused.

    Args:
        server: After it was played with.
        permitted: Requests per second.
        start: Seconds; where to begin to count.
        end: Where to end.
    """
    good, bad = (bisect_left(times, end) - bisect_left(times, start) for times in (server.accepted, server.refused))
    return good / (end - start) / permitted, bad / max(1, good + bad)


def play_case(case: Case, seed: int = 1) -> Outcome:
    """Play a case.

    Args:
        case: The case.
        seed: Draws jitter and the seconds of work.
    """
    server = SimulatedServer(case.limiter, case.latency, seed=seed, **case.settings)
    start, end = case.stretch
    play(server, end, concurrency=case.concurrency, seed=seed + 1000)
    return Outcome(case, *used_and_refused(server, case.permitted, start, end))


def cases_tuned_on() -> Iterator[Case]:
    """Yield the cases by which the figures of the algorithm were chosen."""
    yield from _cases(
        limits=(1, 3, 8, 25),
        rates=(5, 7, 30, 40, 50, 170, 200),
        windows=(5, 30, 40, 200),
        bursts=(1, 5, 100),
        latencies=(0.005, 0.05, 0.12, 0.5),
    )
    for hint, latency in product((1, 30), (0.005, 0.05, 0.5)):
        group = f"Retry-After: {hint}{_long(latency)}"
        yield _case(group, TokenBucket(50, burst=5, retry_after=hint), 50, latency)
        yield _case(group, SlidingWindow(30, count_refused=True, retry_after=hint), 30, latency)
    for fault in (500, 503):
        group, settings = f"5 % of {fault} besides", {"faults": 0.05, "fault": fault}
        yield _case(group, TokenBucket(50, burst=5), 50, 0.05, **settings)
        yield _case(group, ConcurrencyLimiter(8), 8 / mean_round_trip(0.05), 0.05, **settings)
        yield attrs.evolve(_case(group, None, 16 / mean_round_trip(0.05), 0.05, **settings), concurrency=16)


def neighbours(
    rates: Iterable[int] = _NEIGHBOURING_RATES, latencies: Iterable[float] = _NEIGHBOURING_LATENCIES
) -> Iterator[Case]:
    """Yield cases by which nothing was chosen.

    Args:
        rates: Requests per second.
        latencies: Seconds.
    """
    yield from _cases(
        limits=(2, 6, 12), rates=tuple(rates), windows=tuple(rates), bursts=(1, 10), latencies=tuple(latencies)
    )


def _cases(
    limits: Iterable[int],
    rates: Iterable[int],
    windows: Iterable[int],
    bursts: Iterable[int],
    latencies: tuple[float, ...],
) -> Iterator[Case]:
    for limit, latency, status in product(limits, latencies, _STATUSES):
        # So many in a second that it would take minutes to simulate them are left out.
        if limit / latency <= 600:
            group = f"concurrency, {status}{_long(latency)}"
            limiter = ConcurrencyLimiter(limit, status=status)
            yield _case(group, limiter, limit / mean_round_trip(latency), latency)
    for burst, rate, latency in product(bursts, rates, latencies):
        for status in _STATUSES:
            group = f"bucket, burst {burst}, {status}{_long(latency)}"
            yield _case(group, TokenBucket(rate, burst=burst, status=status), rate, latency)
        yield _case(f"leaky, queue {burst}{_long(latency)}", LeakyBucket(rate, queue=burst), rate, latency)
    for most, latency in product(windows, latencies):
        sliding = SlidingWindow(most, count_refused=True)
        yield _case(f"sliding window of 1 s{_long(latency)}", sliding, most, latency)
        yield _case(f"fixed window of 1 s{_long(latency)}", FixedWindow(most), most, latency)
    for most, latency in product((60, 600, 3000), latencies[1::2] or latencies):
        yield _case(f"fixed window of 60 s{_long(latency)}", FixedWindow(most, seconds=60.0), most / 60, latency)


def _case(group: str, limiter: Limiter | None, permitted: float, latency: float, **settings: Any) -> Case:
    name = f"{limiter}, {1000 * latency:g} ms"
    permitted = min(permitted, _MOST_IN_FLIGHT / mean_round_trip(latency))
    return Case(group, name, limiter, permitted, latency, settings=settings)


def _long(latency: float) -> str:
    return ", 500 ms" if latency >= _LONG_RESPONSE else ""


def run(
    *, seed: int, verbose: bool, processes: int | None, rates: Iterable[int] | None, latencies: Iterable[float] | None
) -> int:
    """Play all cases, or those of other rates and latencies, and print the table.

    Args:
        seed: Of the servers.
        verbose: Whether to print each case that misses its aim.
        processes: How many cases are played at once; `None` for one on each processor.
        rates: Requests per second, `None` for those of the neighbours.
        latencies: Seconds that a response takes, `None` for those of the neighbours.

    Returns:
        The exit code.
    """
    played = {"neighbours": list(neighbours(rates or _NEIGHBOURING_RATES, latencies or _NEIGHBOURING_LATENCIES))}
    if rates is None and latencies is None:
        played["the cases that it was made with"] = list(cases_tuned_on())
    for title, listed in played.items():
        with ProcessPoolExecutor(processes or os.cpu_count()) as pool:
            outcomes = list(pool.map(play_case, listed, [seed] * len(listed)))
        print(f"## {title}, seed {seed}\n\n{table(outcomes)}\n")
        for outcome in outcomes if verbose else ():
            if not outcome.is_met:
                case = outcome.case
                print(f"- {case.group}: {case.name}: {outcome.used:.1%} used, {outcome.refused:.1%} refused")
    return 0


def table(outcomes: Iterable[Outcome]) -> str:
    """Return a table with a line for each group, in Markdown."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.case.group, []).append(outcome)
    lines = [
        "| limiter | cases | used: least, median | refused: median, most | aims met |",
        "|---|---|---|---|---|",
    ]
    for group, members in sorted(groups.items()):
        used, refused = [one.used for one in members], [one.refused for one in members]
        lines.append(
            f"| {group} | {len(members)} | {min(used):.0%}, {statistics.median(used):.0%} | "
            f"{statistics.median(refused):.1%}, {max(refused):.1%} | {sum(one.is_met for one in members)} |"
        )
    return "\n".join(lines)
