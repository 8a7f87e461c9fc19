"""Profiles from a CSV file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from profile_history._profile_fields import strip_marks, unquote
from profile_history._text import escape_surrogates
from profile_history.errors import ConfigurationError
from profile_history.jobs.sources.base import Line, format_url, parse_line, reject_line
from profile_history.jobs.sources.columns import Cells, Mode, cells_of, mode_or_none
from profile_history.jobs.sources.csv_rows import CsvRowError, CsvRows, delimiter_or_none, foreign_marks
from profile_history.jobs.sources.files import Place, number_lines, place_of
from profile_history.matching import CUSTOM, EITHER, Matching
from profile_history.profiles import Profile

_NO_UTF8 = "the line is no UTF-8"
_CUT_BY = "the file is cut by {!r}; if that is wrong, pass --delimiter"


@attrs.frozen
class CsvSource:
    r"""The rows of a CSV file in UTF-8 whose first line names the columns; blank lines are skipped.

    A first line such as `sep=;` says how the file is cut. A cell may be quoted, and then hold line breaks. A row that
    is no CSV, such as one with a quote that is never closed, is bad, and reading goes on with the line after the one
    where it begins. Rows are bad as well that have more or fewer cells than the first line, whose quote takes in lines
    that are rows themselves, or whose value holds what cuts other files.

    Attributes:
        place: The file or stream, a path or a binary stream when it is passed.
        mode: The matching mode; `None` if each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none is given.
        delimiter: What stands between cells, one character or "tab"; `None` if the first line tells: a comma, a
            semicolon, a tab or a bar.

    >>> import io
    >>> rows = io.BytesIO(b"name;email\nJohn;john@example.com\nMary;nobody\n")
    >>> for line in CsvSource(rows, "email").lines():
    ...     print(line.number, line.profile or line.text)
    2 email:john@example.com
    3 Mary;nobody
    """

    place: Place = attrs.field(converter=place_of)
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None
    delimiter: str | None = attrs.field(default=None, converter=delimiter_or_none)

    @property
    def url(self) -> str:
        """Return the file, and how it is read."""
        delimiter = repr(self.delimiter) if self.delimiter else None
        return format_url(str(self.place), matching=self.mode, column=self.column, delimiter=delimiter)

    @property
    def repeatable(self) -> bool:
        """Return whether it is a file."""
        return self.place.repeatable

    def check(self) -> None:
        """Read the names of the columns.

        Raises:
            ConfigurationError: Those that are needed are not among them.
        """
        with self.place.open() as stream:
            self._header(CsvRows(number_lines(stream, str(self.place)), self.delimiter))

    def lines(self) -> Iterator[Line]:
        """Yield the entries by the number of the line where their row begins."""
        with self.place.open() as stream:
            rows = CsvRows(number_lines(stream, str(self.place)), self.delimiter)
            table = self._header(rows)
            while (number := rows.begin()) is not None:
                try:
                    row = rows.read()
                except CsvRowError as error:
                    yield reject_line(number, rows.give_back(), f"the row is no CSV: {error}")
                    continue
                inner = table.row_inside(rows, row) if rows.lines > 1 else None
                if inner is not None:
                    line, profile = inner
                    # An address or a hash is no chance find: what the quote took in is read, row by row.
                    surely = profile.matching is Matching.XXH or "email" in dict(profile.fields)
                    reason = f"the quote that opens here takes in line {line}, which looks like a row; close the quote"
                    yield reject_line(number, rows.give_back() if surely else rows.take(), reason)
                    continue
                raw = rows.take()
                if row:
                    yield table.parse_row(number, raw, row)

    def _header(self, rows: CsvRows) -> _Table:
        try:
            columns = _columns(rows)
            marks = foreign_marks(rows.delimiter)
            cut = next((mark for mark in marks if mark in "".join(columns)), None)
            if len(columns) == 1 and cut is not None and self.column is None:
                raise ConfigurationError(
                    f"its only column is {columns[0]!r}; pass --delimiter {cut!r} if that is where it is to be cut, or "
                    "name the column"
                )
            cells = cells_of(columns, self.mode, self.column) if any(columns) else None
        except (CsvRowError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{self.place}: the names of the columns cannot be read ({error}); save the file as CSV in UTF-8"
            ) from None
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.place}: {error}") from None
        if cells is None:
            raise ConfigurationError(f"{self.place} is empty; its first line has to name the columns")
        return _Table(cells, len(columns), rows.delimiter, marks, rows.is_given or len(columns) > 1)


@attrs.frozen
class _Table:
    """The facts that hold for all rows of one file.

    Attributes:
        cells: The cells that hold the profile.
        width: How many cells a row has.
        delimiter: What stands between them.
        marks: What stands between the cells of other files.
        sure: Whether somebody, or the first line, says that this is the delimiter.
    """

    cells: Cells
    width: int
    delimiter: str
    marks: str
    sure: bool

    def parse_row(self, number: int, raw: bytes, row: Sequence[str]) -> Line:
        """Return the entry of a row.

        Args:
            number: The number of the line where it begins.
            raw: Its bytes.
            row: Its cells.
        """
        if len(row) != self.width:
            reason = f"the row has {len(row)} cells, and the first line {self.width}"
            return reject_line(
                number, raw, f"{reason}; {_CUT_BY.format(self.delimiter)}" if self.width == 1 else reason
            )
        values = [row[place] for place in self.cells.places]
        if any(map(_is_no_utf8, values)):
            return reject_line(number, raw, _NO_UTF8)
        line = parse_line(number, raw, self.cells.build, *values)
        if line.profile is None:
            held = self._find_mark(values)
            hint = f"; it holds {held!r}, and {_CUT_BY.format(self.delimiter)}" if held else ""
            return attrs.evolve(line, reason=f"{(line.reason or '')[: 500 - len(hint)]}{hint}")
        held = self._find_foreign_mark(line.profile)
        if held is not None:
            return reject_line(number, raw, f"the cell holds {held!r}, and {_CUT_BY.format(self.delimiter)}")
        return line

    def row_inside(self, rows: CsvRows, row: Sequence[str]) -> tuple[int, Profile] | None:
        """Return the first line within the row that was read that is a row itself, and its profile.

        The last line of a row may look like one, with the value that the row has anyway.

        Args:
            rows: The rows of the file.
            row: The cells of the row that was read last.

        Returns:
            The number of the line and the profile; `None` if there is no such line.
        """
        found = ((number, self._profile(cells)) for number, cells in rows.lines_inside())
        return next(
            ((number, profile) for number, profile in found if profile is not None and profile != self._profile(row)),
            None,
        )

    def _profile(self, row: Sequence[str]) -> Profile | None:
        if len(row) != self.width:
            return None
        return parse_line(0, b"", self.cells.build, *(row[place] for place in self.cells.places)).profile

    def _find_foreign_mark(self, profile: Profile) -> str | None:
        """Return what a value holds that it can only hold if the file is cut wrongly."""
        if profile.matching in EITHER or (self.sure and profile.matching in CUSTOM):
            return None
        return self._find_mark([value for _, value in profile.fields])

    def _find_mark(self, values: Sequence[object]) -> str | None:
        return next((mark for value in values for mark in self.marks if mark in str(value)), None)


def _columns(rows: CsvRows) -> list[str]:
    """Return the names of the columns, which the first line that is not blank holds; [] if there is none."""
    columns: list[str] = []
    while not columns and rows.begin() is not None:
        columns = [_column(name) for name in rows.header()]
        rows.take()
    return columns


def _column(name: str) -> str:
    bare = strip_marks(name)
    return (unquote(bare) or bare).strip()


def _is_no_utf8(text: str) -> bool:
    return text != escape_surrogates(text)
