"""Profiles from a CSV file."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator

import attrs

from profile_history.errors import ConfigurationError
from profile_history.jobs.sources.base import Line, address, bad, entry
from profile_history.jobs.sources.cells import Cells, Mode, cells_of, mode_or_none
from profile_history.jobs.sources.files import LINE_LIMIT, Place, numbered, place_of

_DELIMITERS = (",", ";", "\t")


class _Unreadable(Exception):
    """A row that is no CSV."""


@attrs.frozen
class CsvSource:
    """The rows of a CSV file in UTF-8 whose first line names the columns; blank lines are passed over.

    A cell may be quoted, and then hold line breaks. A row that is no CSV, such as one with a quote that is never
    closed, is bad, and reading goes on with the line after the one where it begins. Blanks around a value are dropped.

    Attributes:
        place: The file or stream, a path or a binary stream when it is passed.
        mode: The matching mode; None where each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `profile_history.jobs.sources.cells.cells_of` says which it is if none
            is given.
        delimiter: What stands between cells; None where the first line tells: a comma, a semicolon or a tab.
    """

    place: Place = attrs.field(converter=place_of)
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None
    delimiter: str | None = attrs.field(default=None)

    @delimiter.validator
    def _one_character(self, _: object, delimiter: str | None) -> None:
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ConfigurationError(f"a delimiter is one character such as a semicolon, not {delimiter!r}")

    @property
    def url(self) -> str:
        """The file, and how it is read."""
        delimiter = repr(self.delimiter) if self.delimiter else None
        return address(str(self.place), matching=self.mode, column=self.column, delimiter=delimiter)

    @property
    def repeatable(self) -> bool:
        """Whether it is a file."""
        return self.place.repeatable

    def check(self) -> None:
        """Reads the names of the columns.

        Raises:
            ConfigurationError: Those that are needed are not among them.
        """
        with self.place.open() as stream:
            self._header(_Rows(numbered(stream, str(self.place))))

    def lines(self) -> Iterator[Line]:
        """The entries by the number of the line where their row begins."""
        with self.place.open() as stream:
            rows = _Rows(numbered(stream, str(self.place)))
            cells, width = self._header(rows)
            while (number := rows.begin()) is not None:
                try:
                    row = rows.read()
                except _Unreadable as error:
                    yield bad(number, rows.give_back(), f"the row is no CSV: {error}")
                    continue
                raw = rows.taken()
                if row and len(row) != width:
                    yield bad(number, raw, f"the row has {len(row)} cells, and the first line {width}")
                elif row:
                    line = entry(number, raw, cells.build, *(row[place].strip() for place in cells.places))
                    yield line if line.profile is not None else _explained(line, raw)

    def _header(self, rows: _Rows) -> tuple[Cells, int]:
        columns: list[str] = []
        while not columns and rows.begin() is not None:
            try:
                columns = rows.header(self.delimiter)
            except (_Unreadable, csv.Error, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"{self.place}: the names of the columns cannot be read ({error}); save the file as CSV in UTF-8"
                ) from None
            rows.taken()
        if not columns:
            raise ConfigurationError(f"{self.place} is empty; its first line has to name the columns")
        try:
            return cells_of(columns, self.mode, self.column), len(columns)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.place}: {error}") from None


class _Rows:
    """The rows of a text, with the bytes of each, and a way back to the line after its first."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._next: deque[tuple[int, bytes]] = deque()
        self._row: list[tuple[int, bytes]] = []
        self._size = 0
        self._reader = self._read_by(",")

    def header(self, delimiter: str | None) -> list[str]:
        """The names of the columns, after which rows are read with their delimiter."""
        if delimiter is None:
            first = self._next[0][1].decode()
            delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), ())))
        self._reader = self._read_by(delimiter)
        names = self.read()
        self.raw.decode()
        return [name.strip() for name in names]

    def begin(self) -> int | None:
        """The number of the line where the next row begins; None at the end."""
        if not self._next:
            line = next(self._lines, None)
            if line is None:
                return None
            self._next.append(line)
        return self._next[0][0]

    def read(self) -> list[str]:
        """The cells of the next row.

        Raises:
            _Unreadable: It is no CSV.
        """
        try:
            return next(self._reader)
        except csv.Error as error:
            self._reader = self._read_by(self._delimiter)
            raise _Unreadable(error) from None

    @property
    def raw(self) -> bytes:
        """The bytes of the row that was read."""
        return b"".join(line for _, line in self._row)

    def taken(self) -> bytes:
        """Goes on to the next row; returns the bytes of this one."""
        raw = self.raw
        self._row.clear()
        self._size = 0
        return raw

    def give_back(self) -> bytes:
        """Goes on to the line after the first one of this row; returns the bytes of that one."""
        (_, first), *rest = self._row
        self._next.extendleft(reversed(rest))
        self._row.clear()
        self._size = 0
        return first

    def _read_by(self, delimiter: str) -> Iterator[list[str]]:
        self._delimiter = delimiter
        return csv.reader(self._text(), delimiter=delimiter, strict=True)

    def _text(self) -> Iterator[str]:
        while self.begin() is not None:
            line = self._next.popleft()
            self._row.append(line)
            self._size += len(line[1])
            if self._size >= LINE_LIMIT:
                raise csv.Error(f"it is longer than {LINE_LIMIT} bytes")
            yield line[1].decode("utf-8", "surrogateescape")


def _explained(line: Line, raw: bytes) -> Line:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return attrs.evolve(line, reason="the line is no UTF-8")
    return line
