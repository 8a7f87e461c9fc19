"""What a client tells while it works: small values for the hook `on_event`, and lines of the log `profile_history`.

The log holds metadata only: no body, no text of the server, no name of a profile, and never the token.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import attrs

from profile_history.errors import ApiError, ConfigurationError, HistoryError
from profile_history.profiles import Profile
from profile_history.windows import Window

logger = logging.getLogger("profile_history")


@attrs.frozen
class AttemptStarted:
    """A request is about to be sent.

    Attributes:
        profile: Whose history is asked for.
        window: Of which days.
        request_id: The `X-Request-ID`, the same for all attempts at the window.
        attempt: Its number, from 1.
    """

    profile: Profile
    window: Window
    request_id: str
    attempt: int


@attrs.frozen
class AttemptEnded:
    """A request was answered, or failed.

    Attributes:
        profile: Whose history was asked for.
        window: Of which days.
        request_id: The `X-Request-ID`.
        attempt: Its number, from 1.
        seconds: From sending to the verified answer.
        bytes: Of the verified answer, decompressed; 0 where it failed.
        error: Why it failed, or None.
    """

    profile: Profile
    window: Window
    request_id: str
    attempt: int
    seconds: float
    bytes: int
    error: HistoryError | None


@attrs.frozen
class RetryPlanned:
    """A failed request will be sent again.

    Attributes:
        profile: Whose history is asked for.
        window: Of which days.
        request_id: The `X-Request-ID`.
        attempt: The number of the attempt that failed.
        wait: Seconds until the next one may start.
        error: Why it failed.
    """

    profile: Profile
    window: Window
    request_id: str
    attempt: int
    wait: float
    error: HistoryError


@attrs.frozen
class Throttled:
    """The server said that there are too many requests.

    Attributes:
        retry_after: Seconds for which it asks to be left alone, so that all of the client pauses, or None.
        concurrency: How many requests may be on their way from now on.
    """

    retry_after: float | None
    concurrency: int


@attrs.frozen
class GateOpened:
    """The server fails for everyone: nothing is sent any more but one probe at a time.

    Attributes:
        reason: What was seen.
    """

    reason: str


@attrs.frozen
class GateClosed:
    """A probe succeeded, and the work goes on.

    Attributes:
        seconds: How long the gate was open.
    """

    seconds: float


@attrs.frozen
class WindowDone:
    """A window was fetched whole, or given up.

    Attributes:
        profile: Whose history.
        window: Which days.
        request_id: The `X-Request-ID` of its attempts.
        attempts: How many requests it took.
        seconds: From its first request, waiting included.
        rows: How many rows its answer holds.
        bytes: Of its answer, decompressed.
        error: Why it was given up, or None.
    """

    profile: Profile
    window: Window
    request_id: str
    attempts: int
    seconds: float
    rows: int
    bytes: int
    error: HistoryError | None


Observation = AttemptStarted | AttemptEnded | RetryPlanned | Throttled | GateOpened | GateClosed | WindowDone


class Observer:
    """Passes observations on to a hook and to the log. A hook that raises is told of once in the log, and goes on."""

    def __init__(self, hook: Callable[[Any], object] | None = None) -> None:
        if hook is not None and (not callable(hook) or inspect.iscoroutinefunction(hook)):
            raise ConfigurationError(f"on_event is a plain function of one argument, not {hook!r}")
        self._hook = hook
        self._complained = False

    @property
    def attentive(self) -> bool:
        """Whether anybody wants to know of single attempts; asked before such an observation is made."""
        return self._hook is not None or logger.isEnabledFor(logging.DEBUG)

    def note(self, observation: Observation) -> None:
        """Tells hook and log."""
        _log(observation)
        if self._hook is None:
            return
        try:
            self._hook(observation)
        except Exception as error:  # noqa: BLE001 (somebody else's bug must not cost an event)
            if not self._complained:
                self._complained = True
                kind = type(error).__name__
                logger.warning("on_event raised %s; the fetch goes on, and further ones are not reported", kind)


def _log(observation: Observation) -> None:
    match observation:
        case AttemptStarted(request_id=request_id, attempt=attempt):
            logger.debug("request %s attempt %d: sent", request_id, attempt)
        case AttemptEnded(request_id=request_id, attempt=attempt, seconds=seconds, bytes=size, error=None):
            logger.debug("request %s attempt %d: %d bytes in %.0f ms", request_id, attempt, size, 1000 * seconds)
        case AttemptEnded(request_id=request_id, attempt=attempt, seconds=seconds, error=HistoryError() as error):
            kind = _named(error)
            logger.debug("request %s attempt %d: %s after %.0f ms", request_id, attempt, kind, 1000 * seconds)
        case RetryPlanned(request_id=request_id, attempt=attempt, wait=wait):
            logger.debug("request %s attempt %d: again in %.2f s", request_id, attempt, wait)
        case Throttled(retry_after=retry_after, concurrency=concurrency):
            pause = f", pausing for {retry_after:g} s" if retry_after else ""
            logger.info("throttled: %d requests at once from now on%s", concurrency, pause)
        case GateOpened(reason=reason):
            logger.warning("the server fails for everyone (%s): waiting, with one probe at a time", reason)
        case GateClosed(seconds=seconds):
            logger.warning("the server answers again after %.0f s", seconds)
        case WindowDone(request_id=request_id, attempts=attempts, error=HistoryError() as error):
            logger.warning("request %s: given up after %d attempts: %s", request_id, attempts, _named(error))
        case WindowDone(request_id=request_id, attempts=attempts, rows=rows, bytes=size):
            logger.debug("request %s: %d rows, %d bytes, %d attempts", request_id, rows, size, attempts)


def _named(error: HistoryError) -> str:
    name = type(error).__name__
    return f"{name} (HTTP {error.http_status}, error {error.code})" if isinstance(error, ApiError) else name
