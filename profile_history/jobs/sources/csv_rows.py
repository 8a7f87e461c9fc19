"""The rows of CSV text, the bytes of each, and the character that cuts them."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator

from profile_history.errors import ConfigurationError
from profile_history.jobs.sources.files import LINE_LIMIT

_MARKS = ",;\t|"
# What spreadsheets write as a line of its own before the names of the columns.
_SEP = re.compile(rb'"?sep=(.)"?\1*\s*', re.IGNORECASE)
_NAMES = {"tab": "\t", "\\t": "\t"}


class CsvRowError(Exception):
    """A row that is no CSV."""


def delimiter_or_none(text: str | None) -> str | None:
    """Return the character that a delimiter is: itself, or a tab for "tab"; `None` if there is none.

    Raises:
        ConfigurationError: It is none.
    """
    if text is None:
        return None
    mark = _NAMES.get(text.lower(), text)
    if len(mark) != 1 or mark in '"\r\n\0@+' or mark.isalnum() or "\ud800" <= mark <= "\udfff":
        raise ConfigurationError(
            f'a delimiter is one character such as a semicolon, not {text!r}; write "tab" for a tab'
        )
    return mark


def foreign_marks(delimiter: str) -> str:
    """Return what stands between the cells of other files."""
    return _MARKS.replace(delimiter, "")


class CsvRows:
    """The rows of a text, with the bytes of each, and a way back to the line after its first.

    Args:
        lines: Its lines and their numbers.
        delimiter: What stands between cells; `None` if the first line tells.
    """

    def __init__(self, lines: Iterator[tuple[int, bytes]], delimiter: str | None) -> None:
        self._lines = lines
        self._given = delimiter
        self._next: deque[tuple[int, bytes]] = deque()
        self._row: list[tuple[int, bytes]] = []
        self._size = 0
        self._read_by(delimiter or ",")

    @property
    def is_given(self) -> bool:
        """Return whether the delimiter was given, or a line `sep=;` told it."""
        return self._given is not None

    @property
    def delimiter(self) -> str:
        """Return what stands between cells."""
        return self._delimiter

    def header(self) -> list[str]:
        """Return the names of the columns, after which rows are read with their delimiter; [] for a line without any.

        Raises:
            ConfigurationError: The delimiter cannot be told.
            UnicodeDecodeError: They are no UTF-8.
            Unreadable: They are no CSV.
        """
        number, first = self._next[0]
        said = _SEP.fullmatch(first) if number == 1 else None
        if said is not None:
            self._next.popleft()
            self._given = self._given or delimiter_or_none(said[1].decode())
            return []
        if first.strip():
            self._read_by(self._given or _delimiter_of(first.decode()))
        names = self.read()
        self._bytes().decode()
        return names

    def begin(self) -> int | None:
        """Return the number of the line where the next row begins; `None` at the end."""
        if not self._next:
            line = next(self._lines, None)
            if line is None:
                return None
            self._next.append(line)
        return self._next[0][0]

    def read(self) -> list[str]:
        """Return the cells of the next row.

        Raises:
            Unreadable: It is no CSV.
        """
        try:
            return next(self._reader)
        except csv.Error as error:
            self._read_by(self._delimiter)
            raise CsvRowError(error) from None

    @property
    def lines(self) -> int:
        """Return how many lines the row has that was read."""
        return len(self._row)

    def lines_inside(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the lines of the row that was read, after its first, as the rows that they would be for themselves."""
        for number, line in self._row[1:]:
            yield number, _cells(line.decode("utf-8", "surrogateescape"), self._delimiter)

    def take(self) -> bytes:
        """Go on to the next row; return the bytes of this one."""
        raw = self._bytes()
        self._row.clear()
        self._size = 0
        return raw

    def give_back(self) -> bytes:
        """Go on to the line after the first one of this row; return the bytes of that one."""
        (_, first), *rest = self._row
        self._next.extendleft(reversed(rest))
        self._row.clear()
        self._size = 0
        return first

    def _bytes(self) -> bytes:
        return b"".join(line for _, line in self._row)

    def _read_by(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._reader = csv.reader(self._text(), delimiter=delimiter, strict=True)

    def _text(self) -> Iterator[str]:
        while self.begin() is not None:
            line = self._next.popleft()
            self._row.append(line)
            self._size += len(line[1])
            if self._size >= LINE_LIMIT:
                raise csv.Error(f"it is longer than {LINE_LIMIT} bytes")
            yield line[1].decode("utf-8", "surrogateescape")


def _delimiter_of(line: str) -> str:
    """Return what cuts a line into the most cells; a bar only if nothing else does as well."""
    widths = {mark: len(_cells(line, mark)) for mark in _MARKS}
    best = [mark for mark in _MARKS if widths[mark] == max(widths.values())]
    if len(best) > 1 and widths[best[0]] > 1 and best[1] != "|":
        raise ConfigurationError(
            f"its first line can be cut by {best[0]!r} and by {best[1]!r}; pass --delimiter to say which it is"
        )
    return best[0]


def _cells(line: str, mark: str) -> list[str]:
    """Return the cells of a line by itself; [] if it is no CSV."""
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return []
