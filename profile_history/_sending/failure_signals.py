"""The news that the end of a request brings about the server: it works, is down, has too much to do. No I/O."""

from __future__ import annotations

from enum import Enum, auto

from profile_history._protocol.error_rules import RETRIED_KINDS, find_rules
from profile_history.errors import (
    ApiError,
    AttemptTimeout,
    ConnectionFailed,
    HistoryError,
    Kind,
    ResponseError,
    UnexpectedPage,
)


class Signal(Enum):
    """The news that the end of a request brings about the server, for the circuit breaker and the concurrency limit.

    Attributes:
        SUCCESS: It works.
        RESPONSIVE: It works, and reports an error that lies in the request.
        FAILED: It failed.
        OVERLOADED: It failed as servers do that have too much to do.
        BUSY: It says that it has no room just now, or that it is down: 503.
        QUEUED: It took too long while it served others, as where requests wait for a place.
        THROTTLED: It says that there are too many requests.
        PAGE: Something else responded in its place; ten in a row are an outage.
        NEUTRAL: Nothing, as when the request was cancelled, failed again while others succeed, or asked for too many
            days.
    """

    SUCCESS = auto()
    RESPONSIVE = auto()
    FAILED = auto()
    OVERLOADED = auto()
    BUSY = auto()
    QUEUED = auto()
    THROTTLED = auto()
    PAGE = auto()
    NEUTRAL = auto()


def signal_of(failure: HistoryError) -> Signal:
    """Return what a failure says about the server by itself, whatever has become of other requests."""
    responded = isinstance(failure, (ApiError, ResponseError))
    if failure.fatal and not responded:
        return Signal.NEUTRAL
    if failure.kind is Kind.THROTTLED:
        return Signal.THROTTLED
    if is_refusing_page(failure):
        return Signal.PAGE
    if is_refusal(failure):
        return Signal.BUSY
    if is_overload(failure):
        return Signal.OVERLOADED
    if failure.kind in RETRIED_KINDS:
        return Signal.FAILED
    return Signal.RESPONSIVE if responded else Signal.NEUTRAL


def is_server_wide(failure: HistoryError) -> bool:
    """Tell whether a failure cannot lie in the request, so that a single window that meets it tells of an outage."""
    if isinstance(failure, ApiError):
        return any(rule.server_wide for rule in find_rules(failure.code, failure.http_status))
    return isinstance(failure, ConnectionFailed) and not failure.connected


def is_refusing_page(failure: HistoryError) -> bool:
    """Tell whether something else responded in place of the API, in a way that no repetition cures."""
    return isinstance(failure, UnexpectedPage) and failure.kind not in RETRIED_KINDS


def is_refusal(failure: HistoryError) -> bool:
    """Tell whether the server says "not now", which is about how much is asked for and not about the window."""
    if failure.kind is Kind.THROTTLED:
        return True
    return isinstance(failure, ApiError) and any(rule.refusal for rule in find_rules(failure.code, failure.http_status))


def is_retried(failure: HistoryError) -> bool:
    """Tell whether a repetition may cure a failure."""
    return not failure.fatal and failure.kind in RETRIED_KINDS


def is_overload(failure: HistoryError) -> bool:
    """Tell whether a response took too long, as where a server lets requests wait, or where too much is asked for."""
    if isinstance(failure, ApiError):
        return any(rule.overload for rule in find_rules(failure.code, failure.http_status))
    return isinstance(failure, AttemptTimeout)
