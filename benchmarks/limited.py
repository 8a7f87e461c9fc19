"""Limiters of real proxies before `HistoryServer`, and a client that reads all profiles through them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import attrs

from benchmarks.proxies import LoggedResponse, Proxy, haproxy, nginx
from profile_history import HistoryClient, HistoryError, Pacing, RetryPolicy
from profile_history.observing import CircuitOpened
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

# Seconds; until then a client may look for the rate, from then on it is to hold it.
FINDING = 20.0
REFUSALS = (429, 503)
# Seconds; the latency of the API behind the limits on concurrency, and behind those on the rate.
_LATENCY, _RATE_LATENCY = 0.05, 0.04
# A month, so that each profile is one window.
_DAYS = ("2024-05-01", "2024-05-30")
_YEAR = ("2024-01-01", "2024-12-31")
# Seconds.
_LONGEST, _LOGGING = 120.0, 0.2
DEAD_PROFILE = 7


@attrs.frozen
class LimitedServer:
    """A real limiter as the table of cases has it.

    Attributes:
        name: What it is.
        start: Runs its proxy before a host and port.
        rate: Requests per second that it permits.
        latency: Seconds that the API behind it takes.
        concurrency: Whether it limits requests in flight; else it limits the rate.
    """

    name: str
    start: Callable[[str], AbstractContextManager[Proxy]]
    rate: float
    latency: float = _RATE_LATENCY
    concurrency: bool = False


def _limit_conn(status: int) -> LimitedServer:
    places = 3

    def start(upstream: str) -> AbstractContextManager[Proxy]:
        return nginx(
            upstream,
            http="limit_conn_zone $binary_remote_addr zone=all:1m;",
            location=f"limit_conn all {places}; limit_conn_status {status};",
        )

    name = f"nginx limit_conn {places}, {status}"
    return LimitedServer(name, start, places / _LATENCY, latency=_LATENCY, concurrency=True)


def _limit_req(status: int, retry_after: str = "") -> LimitedServer:
    rate = 50

    def start(upstream: str) -> AbstractContextManager[Proxy]:
        return nginx(
            upstream,
            # A header without a value is left out, so good responses have none.
            http=f"limit_req_zone $binary_remote_addr zone=all:1m rate={rate}r/s; "
            f'map $status $retry {{ default ""; {status} "{retry_after}"; }}',
            location=f"limit_req zone=all burst=5 nodelay; limit_req_status {status}; "
            "add_header Retry-After $retry always;",
        )

    hint = f", Retry-After: {retry_after}" if retry_after else ""
    return LimitedServer(f"nginx limit_req {rate} r/s burst 5 nodelay, {status}{hint}", start, rate)


def _sliding_window() -> LimitedServer:
    most = 30

    def start(upstream: str) -> AbstractContextManager[Proxy]:
        return haproxy(
            upstream,
            frontend="stick-table type ip size 1k expire 10s store http_req_rate(1s)\n"
            "    http-request track-sc0 src\n"
            f"    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {most} }}",
        )

    return LimitedServer(f"HAProxy http_req_rate(1s) gt {most}, 429", start, most)


LIMITED_SERVERS: dict[str, LimitedServer] = {
    "limit_conn-503": _limit_conn(503),
    "limit_conn-429": _limit_conn(429),
    "sliding-429": _sliding_window(),
    "limit_req-429": _limit_req(429),
    "limit_req-503": _limit_req(503),
    "limit_req-retry-after": _limit_req(429, "1"),
}


@attrs.frozen
class Reading:
    """A stream that was read through a proxy.

    Attributes:
        began: When, in seconds of the system's clock.
        responses: What the proxy has logged.
        done: How many windows came to their end, the failed ones among them.
        failed: The profiles of the windows that failed, one for each window.
        openings: How often the circuit breaker opened.
        error: What ended the stream, `None` if it was read to its end or for as long as it was to be.
        seconds: How long it took.
    """

    began: float
    responses: list[LoggedResponse]
    done: int
    failed: list[str]
    openings: int
    error: HistoryError | None
    seconds: float

    @property
    def requests_per_window(self) -> float:
        """Return how many requests a window took."""
        return len(self.responses) / max(1, self.done)

    def statuses(self, start: float = 0.0, end: float = float("inf")) -> Counter[int]:
        """Count the responses by status.

        Args:
            start: Seconds after the beginning, inclusive.
            end: Likewise, exclusive.
        """
        return Counter(one.status for one in self.responses if start <= one.at - self.began < end)

    def rate(self, start: float, end: float) -> float:
        """Return the good responses per second.

        Args:
            start: Seconds after the beginning, inclusive.
            end: Likewise, exclusive.
        """
        return self.statuses(start, end)[200] / (end - start)

    def refused(self, start: float = 0.0, end: float = float("inf")) -> float:
        """Return which share of the responses were refusals.

        Args:
            start: Seconds after the beginning, inclusive.
            end: Likewise, exclusive.
        """
        statuses = self.statuses(start, end)
        return sum(statuses[status] for status in REFUSALS) / max(1, statuses.total())


async def read_limited(limited: LimitedServer, profiles: int, *, seconds: float) -> Reading:
    """Read through a limiter with a client of the usual settings.

    Args:
        limited: The limiter.
        profiles: How many there are, each of which is one window.
        seconds: The longest that it may take; what is left then is not read.
    """
    async with HistoryServer(profiles=profiles, behaviour=Behaviour(latency=limited.latency)) as server:
        with limited.start(upstream_of(server)) as proxy:
            return await read_through(proxy, server, seconds=seconds)


async def read_through(
    proxy: Proxy,
    server: HistoryServer,
    *,
    seconds: float,
    days: tuple[str, str] = _DAYS,
    patience: float = 60.0,
    **options: Any,
) -> Reading:
    """Read all profiles of a server through a proxy.

    Args:
        proxy: The proxy, which runs.
        server: The server behind it.
        seconds: The longest that it may take; what is left then is not read.
        days: The first and the last day, inclusive.
        patience: That of the client, in seconds.
        options: Others of the client.
    """
    notes: list[object] = []
    began, done, error = time.time(), 0, None
    chosen: dict[str, Any] = {"pacing": Pacing(concurrency=32), "retry": RetryPolicy(patience=patience), **options}
    async with HistoryClient(
        proxy.url, token=server.token, list_id=server.list_id, on_event=notes.append, **chosen
    ) as client:
        stream = client.histories(server.profiles("email"), *days, on_error="collect")
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds), stream.windows() as windows:
                    async for _ in windows:
                        done += 1
        except HistoryError as caught:
            error = caught
    seconds = time.time() - began
    # nginx logs a request whose body it did not read only when its connection has ended.
    await asyncio.sleep(_LOGGING)
    openings = sum(isinstance(note, CircuitOpened) for note in notes)
    failed = [str(failure.profile) for failure in stream.failures]
    return Reading(began, proxy.responses(), done, failed, openings, error, seconds)


async def read_without_bodies() -> Reading:
    """Read a year of 20 profiles through an nginx that takes no body: it says 413 to everything."""
    async with HistoryServer(profiles=20) as server:
        with nginx(upstream_of(server), server="client_max_body_size 10;") as proxy:
            return await read_through(proxy, server, days=_YEAR, seconds=_LONGEST)


async def read_with_dead_profile() -> Reading:
    """Read a year of 50 profiles through an nginx that waits for 0.3 s, one of which never gets a response."""
    stalled = FaultPlan.always(Fault.STALL, profiles=[DEAD_PROFILE])
    # The usual counts, with waits that are a tenth as long.
    quick = RetryPolicy(base=0.05, cap=2.0)
    async with HistoryServer(profiles=50, faults=stalled) as server:
        with nginx(upstream_of(server), location="proxy_read_timeout 300ms;") as proxy:
            return await read_through(proxy, server, days=_YEAR, seconds=_LONGEST, retry=quick)


def upstream_of(server: HistoryServer) -> str:
    """Return a server's host and port, as configurations of proxies have them."""
    return server.url.removeprefix("http://")
