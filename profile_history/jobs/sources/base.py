"""The protocol of a source, the place that the profiles of a job come from, and the entries that it yields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import attrs

from profile_history._text import escape_surrogates
from profile_history.errors import ConfigurationError, HistoryError
from profile_history.profiles import Profile

# Characters. Enough to find the entry again, and a million rejects still fit into a ledger.
_EXCERPT = 500


class SourceError(HistoryError):
    """A source cannot be read to its end; the message names the place and says what to do."""

    fatal = True


@attrs.frozen
class Line:
    """One entry of a source: a profile, or the reason why it is none.

    Attributes:
        number: Of the line where it begins in a text, of the row in a table, counted from 1.
        profile: The profile, if there is one.
        reason: Why it cannot be read, at most 500 characters.
        text: What stands there instead, at most 500 characters.
    """

    number: int
    profile: Profile | None = None
    reason: str | None = None
    text: str = ""


class Source(Protocol):
    """A place that the profiles of a job come from.

    A class of your own is a source if it has these three members; it need not inherit from anything.

    Attributes:
        url: The place, and how it is read, as text without a password. It is part of the plan of a job.
        repeatable: Whether it can be read more than once.
    """

    @property
    def url(self) -> str:
        """Return the place, and how it is read, as text without a password. It is part of the plan of a job."""

    @property
    def repeatable(self) -> bool:
        """Return whether the place can be read more than once."""

    def lines(self) -> Iterator[Line]:
        """Yield the entries from the beginning on.

        It blocks, so that a job calls it in a thread; it never holds much at once.

        Raises:
            ConfigurationError: It cannot be read the way it was asked for.
            SourceError: It cannot be read to its end.
        """


def parse_line(number: int, raw: bytes | Sequence[object], build: Callable[..., Profile], *values: object) -> Line:
    """Return the entry for the profile that `build` makes of some values, or a rejected one that shows the raw text.

    Args:
        number: The number of the entry.
        raw: The line, or the cells of the row.
        build: Makes the profile, or raises `ConfigurationError`.
        values: What it is called with.
    """
    try:
        return Line(number, build(*values))
    except ConfigurationError as error:
        return reject_line(number, raw, str(error))


def reject_line(number: int, raw: bytes | Sequence[object], reason: str) -> Line:
    """Return an entry that is no profile. All of it can be stored, whatever the bytes are.

    Args:
        number: The number of the entry.
        raw: The line, or the cells of the row, which are shown as JSON.
        reason: Why it is no profile.
    """
    if isinstance(raw, bytes):
        # No character has more than four bytes.
        text = raw[: 4 * _EXCERPT].decode("utf-8", "backslashreplace").rstrip("\r\n")
    else:
        cells = [cell if isinstance(cell, (str, int, type(None))) else str(cell) for cell in raw]
        text = escape_surrogates(json.dumps(cells, ensure_ascii=False))
    return Line(number, None, escape_surrogates(reason)[:_EXCERPT], text[:_EXCERPT])


def format_url(place: str, **options: object) -> str:
    """Return the `url` of a source.

    Args:
        place: Where the profiles are.
        options: What decides which profiles it gives; an option that is `None` is left out.
    """
    given = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
    return f"{place} ({given})" if given else place
