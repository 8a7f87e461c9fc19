"""A span for each window, made when the window is done, with its failed attempts as events."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

import attrs
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from profile_history.errors import ApiError, HistoryError
from profile_history.observing import AttemptEnded, WindowDone

MOST_WINDOWS = 4096
MOST_FAILURES = 32

_NANOSECONDS = 1_000_000_000


@attrs.frozen
class _FailedAttempt:
    seen: float
    attempt: int
    seconds: float
    error: dict[str, str | int]


class WindowSpans:
    """A maker of spans of finished windows.

    Until then it keeps notes of failed attempts: the first `MOST_FAILURES` of each window, and of the `MOST_WINDOWS`
    windows that failed first most recently, since nobody says of a window that it was cancelled.

    Args:
        tracer: Makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._failures: OrderedDict[str, list[_FailedAttempt]] = OrderedDict()

    def attempt_ended(self, ended: AttemptEnded) -> None:
        """Record a failure, and when it was seen."""
        if ended.error is None:
            return
        failures = self._failures.setdefault(ended.request_id, [])
        if len(failures) < MOST_FAILURES:
            failures.append(_FailedAttempt(_now(), ended.attempt, ended.seconds, _describe(ended.error)))
        if len(self._failures) > MOST_WINDOWS:
            self._failures.popitem(last=False)

    def window_done(self, done: WindowDone) -> None:
        """Make the span of a window that is done."""
        failures = self._failures.pop(done.request_id, [])
        # One reading of the wall clock and the loop's clock for the rest: a step of the former disorders nothing.
        end, now = time.time_ns(), _now()
        start = end - _to_nanoseconds(done.seconds)
        span = self._tracer.start_span(
            "profile_history.window", kind=SpanKind.CLIENT, attributes=_list_attributes(done), start_time=start
        )
        if span.is_recording():
            for failure in failures:
                if failure.attempt < done.attempts:
                    _add_retry(span, failure, max(start, end - _to_nanoseconds(now - failure.seen)))
            if done.error is not None:
                span.set_status(StatusCode.ERROR)
        span.end(end)


def _list_attributes(done: WindowDone) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "profile_history.window.request_id": done.request_id,
        "profile_history.window.attempts": done.attempts,
        "profile_history.window.rows": done.rows,
        "profile_history.window.bytes": done.bytes,
    }
    if done.window.date_from is not None:
        attributes["profile_history.window.date_from"] = done.window.date_from.isoformat()
    if done.window.date_to is not None:
        attributes["profile_history.window.date_to"] = done.window.date_to.isoformat()
    if done.error is not None:
        attributes.update(_describe(done.error))
    return attributes


def _add_retry(span: Span, failure: _FailedAttempt, when: int) -> None:
    attributes: dict[str, str | int | float] = {
        "profile_history.attempt.number": failure.attempt,
        "profile_history.attempt.duration": failure.seconds,
        **failure.error,
    }
    span.add_event("profile_history.retry", attributes, when)


def _describe(error: HistoryError) -> dict[str, str | int]:
    described: dict[str, str | int] = {"error.type": type(error).__name__}
    if isinstance(error, ApiError) and error.http_status is not None:
        described["http.response.status_code"] = error.http_status
    return described


def _to_nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
