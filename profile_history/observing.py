"""Tell what a client does while it works: small values for the hook `on_event`, and lines of the log `profile_history`.

The log holds metadata only: no body, no text of the server, no name of a profile, and never the token.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from profile_history._checks import describe
from profile_history._deprecated import deprecated_names
from profile_history.errors import ApiError, ConfigurationError, HistoryError, UnexpectedPage
from profile_history.profiles import Profile
from profile_history.windows import Window

logger: logging.Logger = logging.getLogger("profile_history")


@attrs.frozen
class AttemptStarted:
    """A request is about to be sent.

    Attributes:
        profile: Whose history is asked for.
        window: Of which days.
        request_id: The `X-Request-ID`, the same for all attempts at the window. One that begins with "probe-" repeats
            a request that has succeeded before, to see whether the server is back.
        attempt: Its number, from 1.
        waited: Seconds since the window was taken up: its wait for a turn to send, earlier attempts, waits between.
        server_address: The host that it is sent to.
        server_port: The port.
    """

    level: ClassVar[int] = logging.DEBUG

    profile: Profile
    window: Window
    request_id: str
    attempt: int
    waited: float = 0.0
    server_address: str = ""
    server_port: int = 0

    def __str__(self) -> str:
        return f"request {self.request_id} attempt {self.attempt}: sent"


@attrs.frozen
class AttemptEnded:
    """A request has succeeded or failed.

    Attributes:
        profile: Whose history was asked for.
        window: Of which days.
        request_id: The `X-Request-ID`.
        attempt: Its number, from 1.
        seconds: From sending to the verified response.
        bytes: Length of the verified response, decompressed; 0 if it failed.
        error: Why it failed, or `None` if it did not. `None` and 0 bytes: it was abandoned, for want of room or by a
            cancellation.
    """

    level: ClassVar[int] = logging.DEBUG

    profile: Profile
    window: Window
    request_id: str
    attempt: int
    seconds: float
    bytes: int
    error: HistoryError | None

    def __str__(self) -> str:
        how = f"{self.bytes} bytes in" if self.error is None else f"{_name_of(self.error)} after"
        return f"request {self.request_id} attempt {self.attempt}: {how} {1000 * self.seconds:.0f} ms"


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

    level: ClassVar[int] = logging.DEBUG

    profile: Profile
    window: Window
    request_id: str
    attempt: int
    wait: float
    error: HistoryError

    def __str__(self) -> str:
        return f"request {self.request_id} attempt {self.attempt}: again in {self.wait:.2f} s"


@attrs.frozen
class Throttled:
    """The server said that there are too many requests.

    Attributes:
        retry_after: Seconds for which it asks to be left alone, or `None` if it asks for no pause.
        concurrency: How many requests may be in flight from now on.
        rate: How many may start per second by what was learned of the server; `None` while no such rate holds it.
        paused: Whether the whole client pauses for these seconds, since no request has succeeded meanwhile.
    """

    level: ClassVar[int] = logging.INFO

    retry_after: float | None
    concurrency: int
    rate: float | None = None
    paused: bool = True

    def __str__(self) -> str:
        rate = f", {self.rate:.3g} per second" if self.rate else ""
        pause = f", pausing for {self.retry_after:g} s" if self.retry_after and self.paused else ""
        return f"throttled: {self.concurrency} requests at once{rate} from now on{pause}"


@attrs.frozen
class RateLearned:
    """The rate at which the server lets requests in was found, or has changed by more than a tenth.

    Attributes:
        rate: Requests per second at which the client is held from now on; `None` if no rate of the server holds it any
            more.
    """

    level: ClassVar[int] = logging.INFO

    rate: float | None

    def __str__(self) -> str:
        if self.rate is None:
            return "no longer held at a rate by the server"
        return f"held at {self.rate:.3g} requests/s by the server"


@attrs.frozen
class CircuitOpened:
    """The server fails for everyone: nothing is sent any more but one probe at a time.

    Attributes:
        reason: What was seen.
    """

    level: ClassVar[int] = logging.WARNING

    reason: str

    def __str__(self) -> str:
        return f"the server fails for everyone ({self.reason}): waiting, with one probe at a time"


@attrs.frozen
class CircuitClosed:
    """A probe succeeded, and the work goes on.

    Attributes:
        seconds: How long the circuit was open.
    """

    level: ClassVar[int] = logging.WARNING

    seconds: float

    def __str__(self) -> str:
        return f"the server responds again after {self.seconds:.0f} s"


@attrs.frozen
class RowCapSuspected:
    """Several responses have exactly the same round number of rows, and none has more: the server may cut them.

    Attributes:
        rows: How many. If your server has such a cap, say so by `Limits(row_cap=...)`, and no window is lost to it.
    """

    level: ClassVar[int] = logging.WARNING

    rows: int

    def __str__(self) -> str:
        return f"several responses have exactly {self.rows} rows and none has more: see Limits(row_cap=...)"


@attrs.frozen
class WindowDone:
    """A window was fetched whole, or given up.

    Attributes:
        profile: Whose history.
        window: Which days.
        request_id: The `X-Request-ID` of its attempts.
        attempts: How many requests it took.
        seconds: From its first request, waiting included.
        rows: How many rows its response holds.
        bytes: Length of its response, decompressed.
        error: Why it was given up, or `None` if it was not.
    """

    level: ClassVar[int] = logging.DEBUG

    profile: Profile
    window: Window
    request_id: str
    attempts: int
    seconds: float
    rows: int
    bytes: int
    error: HistoryError | None

    def __str__(self) -> str:
        if self.error is not None:
            return f"request {self.request_id}: given up after {self.attempts} attempts: {_name_of(self.error)}"
        return f"request {self.request_id}: {self.rows} rows, {self.bytes} bytes, {self.attempts} attempts"


@attrs.frozen
class WindowDropped:
    """A window that was taken up will not be fetched as it is: it is too much, or its stream has ended.

    Attributes:
        profile: Whose history.
        window: Which days.
        request_id: The `X-Request-ID` of its attempts.
        attempts: How many requests were sent for it.
        split: Whether its days are fetched in shorter windows; else its stream has ended.
    """

    level: ClassVar[int] = logging.DEBUG

    profile: Profile
    window: Window
    request_id: str
    attempts: int
    split: bool

    def __str__(self) -> str:
        return f"request {self.request_id}: {'split' if self.split else 'dropped'} after {self.attempts} attempts"


Observation = (
    AttemptStarted
    | AttemptEnded
    | RetryPlanned
    | Throttled
    | RateLearned
    | CircuitOpened
    | CircuitClosed
    | RowCapSuspected
    | WindowDone
    | WindowDropped
)


if not TYPE_CHECKING:
    _RENAMED = {"GateOpened": (__name__, "CircuitOpened"), "GateClosed": (__name__, "CircuitClosed")}
    __getattr__ = deprecated_names(__name__, _RENAMED)


class Observer:
    """The way of observations to a hook and to the log. A hook that raises is reported once, and is called further."""

    def __init__(self, hook: Callable[[Any], object] | None = None) -> None:
        called = getattr(hook, "__call__", None)  # noqa: B004 (its kind is asked for, not whether it is there)
        asynchronous = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(called)
        if hook is not None and (not callable(hook) or asynchronous):
            raise ConfigurationError(f"on_event is a plain function of one argument, not {describe(hook)}")
        self._hook = hook
        self._complained = False

    @property
    def enabled(self) -> bool:
        """Tell whether anybody wants to know of single attempts; asked before such an observation is made."""
        return self._hook is not None or logger.isEnabledFor(logging.DEBUG)

    def emit(self, observation: Observation) -> None:
        """Tell the hook and the log."""
        given_up = isinstance(observation, WindowDone) and observation.error is not None
        level = logging.WARNING if given_up else observation.level
        if logger.isEnabledFor(level):
            # As text: what ships logs elsewhere takes the arguments along, and the profile with them.
            logger.log(level, "%s", str(observation))
        if self._hook is None:
            return
        try:
            self._hook(observation)
        except Exception as error:  # noqa: BLE001 (somebody else's bug must not cost an event)
            if not self._complained:
                self._complained = True
                kind = type(error).__name__
                logger.warning("on_event raised %s; the fetch goes on, and further ones are not reported", kind)


def _name_of(error: HistoryError) -> str:
    name = type(error).__name__
    if isinstance(error, UnexpectedPage):
        return f"{name} (HTTP {error.http_status})"
    return f"{name} (HTTP {error.http_status}, error {error.code})" if isinstance(error, ApiError) else name
