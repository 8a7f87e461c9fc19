"""The base of sources with rows and named columns: Parquet files and queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from profile_history.jobs.sources.base import Line, parse_line
from profile_history.jobs.sources.columns import Mode, cells_of


class TableSource(ABC):
    """A source whose entries are rows, and whose columns have names.

    Attributes:
        mode: The matching mode; `None` if each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none is given.
        repeatable: True: what holds a table can be read more than once.
    """

    __slots__ = ()

    mode: Mode | None
    column: str | None

    repeatable = True

    def check(self) -> None:
        """Look at the names of the columns.

        Raises:
            ConfigurationError: The query is wrong, or the columns that are needed are not there.
            SourceError: The file or database cannot be opened.
        """
        with self._open() as opened:
            cells_of(self._columns_of(opened), self.mode, self.column)

    def lines(self) -> Iterator[Line]:
        """Yield the entries by the number of their row."""
        with self._open() as opened:
            cells = cells_of(self._columns_of(opened), self.mode, self.column)
            for number, values in enumerate(self._read(opened, cells.places), 1):
                yield parse_line(number, values, cells.build, *values)

    @abstractmethod
    def _open(self) -> AbstractContextManager[Any]:
        """Open the file or database for the length of a block, and turn its errors into ours."""

    @abstractmethod
    def _columns_of(self, opened: Any) -> Sequence[str]:
        """Return the names of the columns."""

    @abstractmethod
    def _read(self, opened: Any, places: Sequence[int]) -> Iterable[Sequence[object]]:
        """Yield the values of some columns, row by row; never much is held at once."""
