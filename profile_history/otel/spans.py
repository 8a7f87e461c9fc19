"""A span for each window, current while its requests are sent, with its failed attempts as events."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextvars import Token

import attrs
from opentelemetry import context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from profile_history.errors import ApiError, HistoryError, UnexpectedPage
from profile_history.observing import AttemptEnded, AttemptStarted, WindowDone, WindowDropped
from profile_history.windows import Window

MOST_WINDOWS = 16_384

_NANOSECONDS = 1_000_000_000
_PROBE = "probe-"


@attrs.define
class _LiveSpan:
    """The span of a window that is not done.

    Attributes:
        span: The span.
        began: When it began, by the event loop's clock.
        began_at: The same by the wall clock, in nanoseconds; all later times are counted from it, so that a step of
            that clock disorders nothing.
        failure: The event for its last attempt and the time, if that failed; it counts once another attempt follows.
    """

    span: Span
    began: float
    began_at: int
    failure: tuple[dict[str, str | int | float], int] | None = None

    def now(self) -> int:
        """Return the time, in nanoseconds."""
        return self.began_at + _to_nanoseconds(_now() - self.began)


class WindowSpans:
    """A maker of spans of windows.

    A span begins when the first request of its window is sent, dated back to when the window was taken up. Of windows
    whose end nobody tells, since their event loop was closed under them, the last `MOST_WINDOWS` are remembered.

    Args:
        tracer: Makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._live: OrderedDict[str, _LiveSpan] = OrderedDict()
        self._attached: dict[str, Token[context.Context]] = {}

    def attempt_started(self, started: AttemptStarted) -> None:
        """Make the span of the window current, for whatever instruments the sending of requests.

        This is called in the task that sends, which sends one request at a time.
        """
        if started.request_id.startswith(_PROBE):
            return
        live = self._live.get(started.request_id)
        if live is None:
            live = self._live[started.request_id] = self._begin(started.request_id, started.window, started.waited)
            self._forget_oldest()
            if started.server_address:
                live.span.set_attribute("server.address", started.server_address)
                live.span.set_attribute("server.port", started.server_port)
        elif live.failure is not None:
            (attributes, when), live.failure = live.failure, None
            live.span.add_event("profile_history.retry", attributes, when)
        self._attached[started.request_id] = context.attach(set_span_in_context(live.span))

    def attempt_ended(self, ended: AttemptEnded) -> None:
        """Make the span that was current before current again, and record a failure."""
        token = self._attached.pop(ended.request_id, None)
        if token is not None:
            context.detach(token)
        live = self._live.get(ended.request_id)
        if live is not None and ended.error is not None:
            attributes: dict[str, str | int | float] = {
                "profile_history.attempt.number": ended.attempt,
                "profile_history.attempt.duration": ended.seconds,
                **_describe(ended.error),
            }
            live.failure = attributes, live.now()

    def window_done(self, done: WindowDone) -> None:
        """End the span of a window that was fetched or given up; one that was never sent gets a span as well."""
        live = self._live.pop(done.request_id, None) or self._begin(done.request_id, done.window, done.seconds)
        live.span.set_attribute("profile_history.window.rows", done.rows)
        live.span.set_attribute("profile_history.window.bytes", done.bytes)
        if done.error is not None:
            for name, value in _describe(done.error).items():
                live.span.set_attribute(name, value)
            live.span.set_status(StatusCode.ERROR)
        _end(live, done.attempts)

    def window_dropped(self, dropped: WindowDropped) -> None:
        """End the span of a window that is split, or whose stream has ended."""
        live = self._live.pop(dropped.request_id, None)
        if live is not None:
            live.span.set_attribute("profile_history.window.dropped", "split" if dropped.split else "cancelled")
            _end(live, dropped.attempts)

    def _begin(self, request_id: str, window: Window, seconds_ago: float) -> _LiveSpan:
        # Both clocks at one moment: what is between them would be missing at the span's end.
        began, began_at = _now() - seconds_ago, time.time_ns() - _to_nanoseconds(seconds_ago)
        attributes = {"profile_history.window.request_id": request_id}
        if window.date_from is not None:
            attributes["profile_history.window.date_from"] = window.date_from.isoformat()
        if window.date_to is not None:
            attributes["profile_history.window.date_to"] = window.date_to.isoformat()
        span = self._tracer.start_span(
            "profile_history.window", kind=SpanKind.INTERNAL, attributes=attributes, start_time=began_at
        )
        return _LiveSpan(span, began, began_at)

    def _forget_oldest(self) -> None:
        if len(self._live) > MOST_WINDOWS:
            _, forgotten = self._live.popitem(last=False)
            forgotten.span.end()


def _end(live: _LiveSpan, attempts: int) -> None:
    live.span.set_attribute("profile_history.window.attempts", attempts)
    if attempts > 1:
        live.span.set_attribute("http.request.resend_count", attempts - 1)
    live.span.end(live.now())


def _describe(error: HistoryError) -> dict[str, str | int]:
    described: dict[str, str | int] = {"error.type": type(error).__name__}
    if isinstance(error, (ApiError, UnexpectedPage)) and error.http_status is not None:
        described["http.response.status_code"] = error.http_status
    return described


def _to_nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
