"""One window of one profile, fetched whole: paced, sent, verified, and repeated where that is right."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

import attrs

from profile_history.envelope import Rows
from profile_history.errors import ApiError, AttemptTimeout, HistoryError, Kind, RateLimited, TruncatedResponse
from profile_history.options import Limits, Timeouts
from profile_history.pacing import Pacer
from profile_history.profiles import Profile
from profile_history.protocol import Requests, reading
from profile_history.retrying import Effort, Retrier
from profile_history.secrecy import SecretBytes, Token
from profile_history.stats import Stats
from profile_history.transport import Transport
from profile_history.windows import Border, Window

T = TypeVar("T")


@attrs.define(eq=False)
class Task:
    """One window to fetch, and what it has cost so far; `request_id` is the same for all its attempts."""

    profile: Profile
    window: Window
    request_id: str
    effort: Effort = attrs.field(factory=Effort)


@attrs.frozen
class Fetcher:
    """Fetches windows with one set of options; the parts it is made of are shared between streams."""

    transport: Transport
    requests: Requests
    token: Token = attrs.field(repr=False)
    pacer: Pacer
    retrier: Retrier
    border: Border
    timeouts: Timeouts
    limits: Limits

    async def fetch(self, task: Task, stats: Stats, *, divisible: bool) -> Rows:
        """Fetches one window; not one row of it is given before the whole answer is verified.

        Raises:
            HistoryError: It could not be had; the error names the profile, the window and the attempts.
        """
        body = self.requests.body(task.profile, self.border.asked(task.window))

        def before_retry(_: HistoryError) -> None:
            stats.retries += 1

        try:
            rows = await self.retrier.call(
                lambda: self._attempt(body, task.request_id, stats),
                task.effort,
                divisible=divisible,
                before_retry=before_retry,
            )
            self._check_row_cap(rows)
        except HistoryError as error:
            error.profile = task.profile
            error.window = task.window
            error.attempts = task.effort.attempts
            error.request_id = task.request_id
            raise
        stats.bytes += rows.size
        return rows

    async def _attempt(self, body: SecretBytes, request_id: str, stats: Stats) -> Rows:
        ticket = await self.pacer.acquire()
        stats.attempts += 1
        stats.in_flight += 1
        success = refused = False
        try:
            reply = await self.transport.send(body, request_id, self.timeouts, self.limits.body)
            rows = await unhurried(reading(reply, self.token))
            success = True
        except (ApiError, AttemptTimeout) as error:
            refused = _is_refusal(error)
            stats.throttled += isinstance(error, RateLimited)
            raise
        finally:
            stats.in_flight -= 1
            self.pacer.release(ticket, success=success, refused=refused)
        return rows

    def _check_row_cap(self, rows: Rows) -> None:
        if rows.count == self.limits.row_cap:
            error = TruncatedResponse(f"the answer has exactly row_cap={rows.count} rows, so there may be more")
            error.kind = Kind.CALLER
            error.too_much = True
            raise error


async def unhurried(steps: Generator[None, None, T]) -> T:
    """Runs short steps one after another, and lets the event loop do other work between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)


def _is_refusal(error: HistoryError) -> bool:
    if isinstance(error, ApiError):
        return error.kind is Kind.THROTTLED or error.http_status == 503
    return True
