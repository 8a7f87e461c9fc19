"""The frozen values that tune a client: how often, how fast, how long, how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from profile_history._checks import MOST, check_flag, check_number, check_whole_number, describe
from profile_history.errors import ConfigurationError

MIB = 1024 * 1024


def _number(unit: str, *, optional: bool = False) -> Callable[..., None]:
    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_number(_name(instance, attribute), value, unit, optional=optional)

    return check


def _count(unit: str, *, optional: bool = False) -> Callable[..., None]:
    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        check_whole_number(_name(instance, attribute), value, unit, optional=optional)

    return check


def _flag(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    check_flag(_name(instance, attribute), value)


def _name(instance: Any, attribute: attrs.Attribute[Any]) -> str:
    return f"{type(instance).__name__}({attribute.name}=...)"


WindowRule: TypeAlias = Literal["auto"] | int | None


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """The rule by which failed requests are sent again: how often, and after how long a wait.

    The wait after attempt n of a pass is drawn evenly from 0 to min(cap, base * 2 ** (n - 1)) seconds, with twice the
    base after a throttle; a `Retry-After` of the server is a floor under it. Source of the rule: full jitter, as the
    AWS architecture notes on back-off recommend. While it waits, a window does not occupy a concurrency slot.

    A retry must be affordable, too: all streams of a client share a budget, which holds out as long as most requests
    succeed. Without it a failed window goes to the back of the queue at once.

    Attributes:
        attempts: Requests in one pass over a window, the first included.
        passes: How often that many; between two passes a window goes to the back of the queue.
        base: Seconds; the upper end of the first wait.
        cap: Seconds; no drawn wait is longer.
        patience: Seconds; how long a server that fails for every request is waited for, with one probe at a time,
            before `ServerUnavailable` ends the stream. Also the longest `Retry-After` that is waited for, if it is
            more than 120.

    Example:
        >>> patient = RetryPolicy(attempts=2, patience=600.0)
        >>> patient.attempts * patient.passes
        6
    """

    attempts: int = attrs.field(default=4, validator=_count("requests"))
    passes: int = attrs.field(default=3, validator=_count("passes"))
    base: float = attrs.field(default=0.5, validator=_number("seconds"))
    cap: float = attrs.field(default=20.0, validator=_number("seconds"))
    patience: float = attrs.field(default=60.0, validator=_number("seconds"))


@attrs.frozen(kw_only=True)
class Pacing:
    """The limits of sending: how many requests may be in flight at once, and how many may start in a second.

    Attributes:
        concurrency: The most requests in flight at once, over all streams of a client.
        adaptive: Whether to start lower and adapt to the server's capacity.
        requests_per_second: The most requests that start in any one second, or `None` for no such limit.

    Example:
        >>> Pacing(concurrency=0)
        Traceback (most recent call last):
        ConfigurationError: Pacing(concurrency=...) takes a whole number of requests, 1 or more, not 0
    """

    concurrency: int = attrs.field(default=16, validator=_count("requests"))
    adaptive: bool = attrs.field(default=True, validator=_flag)
    requests_per_second: float | None = attrs.field(default=None, validator=_number("requests a second", optional=True))


@attrs.frozen(kw_only=True)
class Timeouts:
    """The seconds that an attempt and a window may take.

    They are measured on a monotonic clock, which neither a suspended laptop nor a change of the wall clock moves.

    Attributes:
        connect: Looking up the host, connecting and the TLS handshake.
        read: The longest silence of the server while a response is awaited.
        attempt: The whole attempt, from connecting to the last byte.
        window: All attempts at one window and the waits between them. Waiting for a turn to send, or for a server that
            is down for everyone, does not count.

    Example:
        >>> Timeouts(read=60.0)
        Timeouts(connect=10.0, read=60.0, attempt=120.0, window=600.0)
    """

    connect: float = attrs.field(default=10.0, validator=_number("seconds"))
    read: float = attrs.field(default=30.0, validator=_number("seconds"))
    attempt: float = attrs.field(default=120.0, validator=_number("seconds"))
    window: float = attrs.field(default=600.0, validator=_number("seconds"))


@attrs.frozen(kw_only=True)
class Limits:
    """The bytes that may be held in memory, and the number of rows that the server gives at most.

    Attributes:
        body: Bytes; the longest response taken, counted after decompression.
        in_flight: Bytes; responses being received or waiting for the consumer, over all streams of a client. Each
            stream may have one response beyond it, so that none stands still.
        row_cap: The number of rows at which the server is known to cut a response; `None` if it is not. A response
            with exactly that many rows is not believed to be complete.

    Example:
        >>> Limits(row_cap=10_000).row_cap
        10000
    """

    body: int = attrs.field(default=64 * MIB, validator=_count("bytes"))
    in_flight: int = attrs.field(default=256 * MIB, validator=_count("bytes"))
    row_cap: int | None = attrs.field(default=None, validator=_count("rows", optional=True))


def parse_window_rule(rule: object) -> WindowRule:
    """Return the `window` option.

    Raises:
        ConfigurationError: It is neither "auto", nor a whole number of days above 0, nor `None`.
    """
    if rule is None:
        return None
    if isinstance(rule, str) and rule == "auto":
        return "auto"
    if isinstance(rule, int) and not isinstance(rule, bool) and 0 < rule < MOST:
        return rule
    raise ConfigurationError(
        f'window is "auto", a number of days above 0, or None for one request, not {describe(rule)}'
    )
