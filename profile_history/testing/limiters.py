"""Limiters as proxies and servers have them: who is admitted, who waits, who is refused. No I/O and no clock."""

from __future__ import annotations

import abc
import math
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import attrs

from profile_history._checks import check_flag, check_number, check_whole_number, describe
from profile_history.errors import ConfigurationError

# Keeps rounding from refusing a request that comes exactly when it may.
_ROUNDING = 1e-9


@attrs.frozen
class Admission:
    """The decision of a limiter on a request.

    Attributes:
        granted: Whether the request is let in.
        wait: Seconds. If it is let in, until it is passed on; if not, until one would be let in that comes alone.
    """

    granted: bool
    wait: float = 0.0


class LimiterState(abc.ABC):
    """The memory that a running limiter has of the requests so far."""

    @abc.abstractmethod
    def admit(self, now: float) -> Admission:
        """Decide on a request that comes now.

        Args:
            now: Seconds of any clock that never goes back.
        """

    def release(self) -> None:  # noqa: B027 (only one kind has places to give back)
        """Record that a request which was let in has its response."""


def _name(instance: object, attribute: attrs.Attribute[Any]) -> str:
    return f"{type(instance).__name__}({attribute.name}=...)"


def _count(least: int) -> Callable[..., None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_whole_number(_name(instance, attribute), value, "requests", least=least)

    return check


def _number(unit: str) -> Callable[..., None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_number(_name(instance, attribute), value, unit)

    return check


def _flag(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    check_flag(_name(instance, attribute), value)


@attrs.frozen
class Limiter(abc.ABC):
    """A limit on requests, and how what is beyond it is refused; `FaultPlan(limiters=[...])` puts it before a server.

    This is what all kinds have in common: `ConcurrencyLimiter`, `TokenBucket`, `LeakyBucket`, `SlidingWindow` and
    `FixedWindow`.

    Attributes:
        status: The HTTP status of a refusal: 429, or 503 as nginx has it by default.
        retry_after: The `Retry-After` of a refusal: seconds, or "exact" for those until a request would be let in,
            rounded up to whole ones since RFC 9110 knows no fractions; `None` for no such header.
        envelope: Whether a refusal is an error of the API; by default it is a page, as that of a proxy.
    """

    status: Literal[429, 503] = attrs.field(default=429, kw_only=True)
    retry_after: float | Literal["exact"] | None = attrs.field(default=None, kw_only=True)
    envelope: bool = attrs.field(default=False, kw_only=True, validator=_flag)

    @status.validator
    def _check_status(self, attribute: attrs.Attribute[Any], status: object) -> None:
        if not isinstance(status, int) or status not in (429, 503):
            raise ConfigurationError(f"{_name(self, attribute)} is 429 or 503, not {describe(status)}")

    @retry_after.validator
    def _check_retry_after(self, attribute: attrs.Attribute[Any], retry_after: object) -> None:
        if retry_after not in (None, "exact"):
            check_number(_name(self, attribute), retry_after, 'seconds, "exact"', optional=True)

    @abc.abstractmethod
    def start(self) -> LimiterState:
        """Return the state of this limiter before the first request."""

    def format_retry_after(self, wait: float) -> str | None:
        """Return the text of the `Retry-After` of a refusal; `None` if it has none.

        Args:
            wait: Seconds until a request would be let in.
        """
        if self.retry_after is None:
            return None
        if self.retry_after == "exact":
            return str(max(1, math.ceil(wait)))
        # Digits only: 1e+06 is no number of seconds to any client.
        return f"{Decimal(repr(self.retry_after)):f}".removesuffix(".0")


@attrs.frozen
class ConcurrencyLimiter(Limiter):
    """A limit on the requests in flight, as nginx's `limit_conn`.

    Example:
        >>> from profile_history.testing import ConcurrencyLimiter
        >>> state = ConcurrencyLimiter(2, status=503).start()
        >>> [state.admit(now=0.0).granted for _ in range(3)]
        [True, True, False]
        >>> state.release()
        >>> state.admit(now=0.1).granted
        True

    Nobody knows when a place becomes free, so its `retry_after` cannot be "exact".

    Attributes:
        most: How many requests may be in flight at once.
    """

    most: int = attrs.field(validator=_count(1))

    def __attrs_post_init__(self) -> None:
        if self.retry_after == "exact":
            raise ConfigurationError(
                'ConcurrencyLimiter(retry_after=...) takes seconds or None: when a place becomes free, which "exact" '
                "would tell, is not known"
            )

    def start(self) -> LimiterState:
        """Return the state of this limiter before the first request."""
        return _Places(self.most)


@attrs.frozen
class TokenBucket(Limiter):
    """A limit on the mean rate, as nginx's `limit_req` with `nodelay`: what is beyond the burst is refused.

    nginx counts its `burst` without the request that is served at once: `burst=5` there is `burst=6` here.
    Source: https://nginx.org/en/docs/http/ngx_http_limit_req_module.html

    Example:
        >>> from profile_history.testing import TokenBucket
        >>> state = TokenBucket(10, burst=2, retry_after="exact").start()
        >>> [state.admit(now).granted for now in (0.0, 0.0, 0.05, 0.1, 0.19)]
        [True, True, False, True, False]

    Attributes:
        rate: Requests per second, in the mean.
        burst: How many are let in at once after a rest.
    """

    rate: float = attrs.field(validator=_number("requests per second"))
    burst: int = attrs.field(default=1, kw_only=True, validator=_count(1))

    def start(self) -> LimiterState:
        """Return the state of this limiter before the first request."""
        return _Meter(1 / self.rate, self.burst - 1, delays=False)


@attrs.frozen
class LeakyBucket(Limiter):
    """A limit on the rate, as nginx's `limit_req` without `nodelay`: requests wait for their turn in a queue.

    Example:
        >>> from profile_history.testing import LeakyBucket
        >>> state = LeakyBucket(10, queue=2).start()
        >>> [state.admit(now=0.0) for _ in range(3)]
        [Admission(granted=True, wait=0.0), Admission(granted=True, wait=0.1), Admission(granted=True, wait=0.2)]
        >>> state.admit(now=0.0).granted
        False

    Attributes:
        rate: Requests per second that are passed on, one after the other.
        queue: How many may wait, which is nginx's `burst`; what is beyond them is refused.
    """

    rate: float = attrs.field(validator=_number("requests per second"))
    queue: int = attrs.field(default=0, kw_only=True, validator=_count(0))

    def start(self) -> LimiterState:
        """Return the state of this limiter before the first request."""
        return _Meter(1 / self.rate, self.queue, delays=True)


@attrs.frozen
class SlidingWindow(Limiter):
    """A limit on the requests within the last seconds, at any moment.

    HAProxy's `http_req_rate(1s)` counts refused requests as well: who goes on at too high a rate is refused for ever.
    Source: https://docs.haproxy.org/2.6/configuration.html

    Example:
        >>> from profile_history.testing import SlidingWindow
        >>> times = (0.0, 0.2, 0.4, 1.1, 1.3)
        >>> state = SlidingWindow(2, seconds=1.0).start()
        >>> [state.admit(now).granted for now in times]
        [True, True, False, True, True]
        >>> strict = SlidingWindow(2, seconds=1.0, count_refused=True).start()
        >>> [strict.admit(now).granted for now in times]
        [True, True, False, False, False]

    Attributes:
        most: How many requests are let in within `seconds`.
        seconds: How long the window is.
        count_refused: Whether refused requests count as well.
    """

    most: int = attrs.field(validator=_count(1))
    seconds: float = attrs.field(default=1.0, kw_only=True, validator=_number("seconds"))
    count_refused: bool = attrs.field(default=False, kw_only=True, validator=_flag)

    def start(self) -> LimiterState:
        """Return the state of this limiter before the first request."""
        return _Recent(self.most, self.seconds, count_refused=self.count_refused)


@attrs.frozen
class FixedWindow(Limiter):
    """A limit on the requests within a window that begins with a first request, as counters that expire.

    Around the end of a window up to twice as many are let in within a moment.

    Example:
        >>> from profile_history.testing import FixedWindow
        >>> state = FixedWindow(2, seconds=60.0).start()
        >>> [state.admit(now).granted for now in (7.0, 66.0, 66.5, 67.0, 67.0)]
        [True, True, False, True, True]

    Attributes:
        most: How many requests are let in within one window.
        seconds: How long a window is.
    """

    most: int = attrs.field(validator=_count(1))
    seconds: float = attrs.field(default=1.0, kw_only=True, validator=_number("seconds"))

    def start(self) -> LimiterState:
        """Return the state of this limiter before the first request."""
        return _Expiring(self.most, self.seconds)


class _Places(LimiterState):
    def __init__(self, most: int) -> None:
        self._free = most

    def admit(self, now: float) -> Admission:  # noqa: ARG002 (places know no time)
        if not self._free:
            return Admission(granted=False)
        self._free -= 1
        return Admission(granted=True)

    def release(self) -> None:
        self._free += 1


class _Meter(LimiterState):
    """The generic cell rate algorithm: `_due` is when the next request would come that keeps exactly to the rate."""

    def __init__(self, gap: float, early: int, *, delays: bool) -> None:
        self._gap = gap
        self._tolerance = early * gap
        self._delays = delays
        self._due = -math.inf

    def admit(self, now: float) -> Admission:
        ahead = max(0.0, self._due - now)
        if ahead > self._tolerance + _ROUNDING:
            return Admission(granted=False, wait=ahead - self._tolerance)
        self._due = max(now, self._due) + self._gap
        return Admission(granted=True, wait=ahead if self._delays else 0.0)


class _Recent(LimiterState):
    def __init__(self, most: int, seconds: float, *, count_refused: bool) -> None:
        # The oldest of the last `most` decides alone, so no more are remembered whoever floods it.
        self._times: deque[float] = deque(maxlen=most)
        self._most = most
        self._seconds = seconds
        self._count_refused = count_refused

    def admit(self, now: float) -> Admission:
        granted = len(self._times) < self._most or self._left(now) <= 0
        if granted or self._count_refused:
            self._times.append(now)
        return Admission(granted=True) if granted else Admission(granted=False, wait=self._left(now))

    def _left(self, now: float) -> float:
        return self._times[0] + self._seconds - now


class _Expiring(LimiterState):
    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._end = -math.inf
        self._count = 0

    def admit(self, now: float) -> Admission:
        if now >= self._end:
            self._end, self._count = now + self._seconds, 0
        if self._count >= self._most:
            return Admission(granted=False, wait=self._end - now)
        self._count += 1
        return Admission(granted=True)
