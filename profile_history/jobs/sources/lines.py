"""Profiles line by line: plain text, and NDJSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import attrs

from profile_history.errors import ConfigurationError
from profile_history.jobs.profile_text import profile_of_words, read_printed, words_of
from profile_history.jobs.sources.base import Line, format_url, parse_line, reject_line
from profile_history.jobs.sources.columns import Mode, mode_of, mode_or_none
from profile_history.jobs.sources.files import LINE_LIMIT, Place, number_lines, peek, place_of
from profile_history.profiles import Profile

_TOO_LONG = f"the line is longer than {LINE_LIMIT} bytes"


@attrs.frozen
class _LineSource(ABC):
    """The lines of a file or stream, each of which names one profile; blank ones are skipped.

    Attributes:
        place: The file or stream, a path or a binary stream when it is passed.
        mode: The matching mode of a line that does not name one.
    """

    place: Place = attrs.field(converter=place_of)
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")

    @property
    def url(self) -> str:
        """Return the file and the mode."""
        return format_url(str(self.place), matching=self.mode)

    @property
    def repeatable(self) -> bool:
        """Return whether it is a file."""
        return self.place.repeatable

    def check(self) -> None:
        """Read the first line.

        Raises:
            ConfigurationError: It is no text, or cannot be opened.
            SourceError: It is damaged.
        """
        peek(self.place)

    def lines(self) -> Iterator[Line]:
        """Yield the entries by the number of their line."""
        with self.place.open() as stream:
            for number, raw in number_lines(stream, str(self.place)):
                if len(raw) >= LINE_LIMIT:
                    yield reject_line(number, raw, _TOO_LONG)
                elif raw.strip():
                    yield parse_line(number, raw, self._parse, raw)

    @abstractmethod
    def _parse(self, raw: bytes) -> Profile:
        """Return the profile of a line, its end included.

        Raises:
            ConfigurationError: It names none.
        """


@attrs.frozen
class TextSource(_LineSource):
    r"""One value per line, UTF-8. Blank lines are skipped; there are no comments, since `#a@example.com` is a value.

    Attributes:
        place: The file or stream, a path or a binary stream when it is passed.
        mode: The matching mode; `custom:FIELD_NAME` if the lines hold the values of that field alone.

    >>> import io
    >>> lines = io.BytesIO(b"john@example.com\nnobody\n")
    >>> [line.profile or line.text for line in TextSource(lines, "email").lines()]
    [Profile.email(email='john@example.com'), 'nobody']
    """

    mode: Mode = attrs.field(converter=mode_of, alias="matching")

    def _parse(self, raw: bytes) -> Profile:
        try:
            return self.mode.profile(raw.removesuffix(b"\n").removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            raise ConfigurationError("the line is no UTF-8") from None


@attrs.frozen
class NdjsonSource(_LineSource):
    """One JSON value per line. Blank lines are skipped.

    A line is an object in the API's own words, such as `{"matching": "email", "email": "john@example.com"}` or
    `{"xxh": "0eb51aefd919f90a"}`; an object such as `{"profile": "email:john@example.com"}`, which is what `fetch`
    writes; or a bare string, the value for `matching`. Other keys are ignored.

    Attributes:
        place: The file or stream, a path or a binary stream when it is passed.
        mode: The matching mode of strings, and of objects that do not name one.
    """

    def _parse(self, raw: bytes) -> Profile:
        words = words_of(raw)
        if isinstance(words, dict):
            if "profile" in words and "matching" not in words:
                return read_printed(_as_string(words["profile"]))
            return profile_of_words(words, self.mode.matching if self.mode else None)
        value = _as_string(words)
        if self.mode is None:
            raise ConfigurationError("a string needs a matching mode; pass one, or write an object that names it")
        return self.mode.profile(value)


def _as_string(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError("a profile is a JSON object or a string")
    return value
