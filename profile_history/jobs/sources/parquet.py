"""Profiles from a Parquet file; needs the extra `arrow`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import attrs

from profile_history.errors import ConfigurationError
from profile_history.jobs.sources.base import Line, SourceError, format_url, parse_line
from profile_history.jobs.sources.columns import Mode, cells_of, mode_or_none
from profile_history.jobs.sources.files import File, file_of

_ROWS = 1 << 14


@attrs.frozen
class ParquetSource:
    """The rows of a Parquet file.

    Attributes:
        place: The file, a path when it is passed.
        mode: The matching mode; None where each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none
            is given.
    """

    place: File = attrs.field(converter=file_of)
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None

    repeatable = True

    @property
    def url(self) -> str:
        """The file, and how it is read."""
        return format_url(str(self.place), matching=self.mode, column=self.column)

    def check(self) -> None:
        """Reads the names of the columns.

        Raises:
            ConfigurationError: Those that are needed are not among them.
        """
        with self._open() as file:
            cells_of(file.schema_arrow.names, self.mode, self.column)

    def lines(self) -> Iterator[Line]:
        """The entries by the number of their row."""
        with self._open() as file:
            names = file.schema_arrow.names
            cells = cells_of(names, self.mode, self.column)
            wanted = [names[place] for place in cells.places]
            batches = file.iter_batches(_ROWS, columns=wanted)
            rows = chain.from_iterable(zip(*map(_values, map(batch.column, wanted)), strict=True) for batch in batches)
            for number, row in enumerate(rows, 1):
                yield parse_line(number, row, cells.build, *row)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            import pyarrow as pa  # noqa: PLC0415 (it comes with an extra)
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ModuleNotFoundError:
            raise ConfigurationError(
                'Parquet files need pyarrow: python -m pip install "profile-history[arrow]"'
            ) from None
        self.place.check_exists()
        try:
            # pyarrow does not open a path that is no UTF-8, and takes some for addresses.
            with self.place.path.open("rb") as opened, pq.ParquetFile(opened) as file:
                yield file
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.place}: {error}") from None
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self.place} cannot be read ({error}); mend or replace it, and begin again") from None


def _values(column: Any) -> list[Any]:
    """The values of a column; its texts as bytes if one of them is no UTF-8."""
    try:
        values: list[Any] = column.to_pylist()
    except ValueError:
        # UnicodeDecodeError is one, and so are pyarrow's own errors about values.
        import pyarrow as pa  # noqa: PLC0415 (it comes with an extra)

        values = column.cast(pa.large_binary()).to_pylist()
    return values
