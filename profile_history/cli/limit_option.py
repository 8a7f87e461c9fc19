"""The option `--limit` of `serve`: a limiter as one word."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs

from profile_history.errors import ConfigurationError
from profile_history.testing import ConcurrencyLimiter, FixedWindow, LeakyBucket, Limiter, SlidingWindow, TokenBucket

_KINDS: dict[str, type[Limiter]] = {
    "concurrency": ConcurrencyLimiter,
    "token-bucket": TokenBucket,
    "leaky-bucket": LeakyBucket,
    "sliding-window": SlidingWindow,
    "fixed-window": FixedWindow,
}


def parse_limiter(text: str) -> Limiter:
    """Return the limiter that a word describes.

    Example:
        >>> parse_limiter("sliding-window:30,count-refused,retry-after=exact").start().admit(now=0.0).granted
        True

    Args:
        text: The kind, a colon and its number, and after commas the attributes that are not as by default. One that is
            true or false is given by its name alone.

    Raises:
        ConfigurationError: There is no such kind or attribute, or a value is wrong.
    """
    kind, _, rest = text.partition(":")
    number, *options = rest.split(",")
    if kind not in _KINDS or not number:
        raise ConfigurationError(
            f"--limit takes {' or '.join(_KINDS)} and a number, such as token-bucket:50,burst=5, not {text!r}"
        )
    limiter: Any = _KINDS[kind]
    # The only one that has no name is the number behind the colon.
    names = {field.name.replace("_", "-"): field.name for field in attrs.fields(limiter) if field.kw_only}
    settings = {}
    for option in options:
        name, equals, value = option.partition("=")
        if name not in names:
            raise ConfigurationError(
                f"--limit {kind}:{number} may be followed by {', '.join(names)}, not by {option!r}"
            )
        if names[name] in settings:
            raise ConfigurationError(f"--limit {text} gives {name} twice; leave out one of them")
        settings[names[name]] = _parse_value(value) if equals else True
    try:
        made: Limiter = limiter(_parse_value(number), **settings)
    except ConfigurationError as error:
        raise ConfigurationError(f"--limit {text}: {error.summary()}") from None
    return made


def _parse_value(text: str) -> int | float | str:
    """Return a number, or the text if it is none, which the limiter refuses by name."""
    if not text.isascii() or "_" in text:
        # Python would take them for digits and for what stands between digits.
        return text
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
