"""Profiles from a Parquet file; needs the extra `arrow`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from profile_history._extras import require
from profile_history.errors import ConfigurationError
from profile_history.jobs.sources.base import SourceError, format_url
from profile_history.jobs.sources.columns import Mode, mode_or_none
from profile_history.jobs.sources.files import File, file_of
from profile_history.jobs.sources.table import TableSource

# Rows that are read at once: some megabytes of addresses.
_ROWS = 1 << 14
_NEEDS = "Parquet files need pyarrow"


@attrs.frozen
class ParquetSource(TableSource):
    """The rows of a Parquet file.

    Attributes:
        place: The file, a path when it is passed.
        mode: The matching mode; `None` if each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none is given.
    """

    place: File = attrs.field(converter=file_of)
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None

    @property
    def url(self) -> str:
        """Return the file, and how it is read."""
        return format_url(str(self.place), matching=self.mode, column=self.column)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        pq, pa = require("pyarrow.parquet", "arrow", _NEEDS), require("pyarrow", "arrow", _NEEDS)
        self.place.check_exists()
        try:
            # pyarrow does not open a path that is no UTF-8, and takes some for addresses.
            with self.place.path.open("rb") as opened, pq.ParquetFile(opened) as file:
                yield file
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.place}: {error}") from None
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self.place} cannot be read ({error}); mend or replace it, and begin again") from None

    def _columns_of(self, opened: Any) -> Sequence[str]:
        names: list[str] = opened.schema_arrow.names
        return names

    def _read(self, opened: Any, places: Sequence[int]) -> Iterator[Sequence[object]]:
        wanted = [opened.schema_arrow.names[place] for place in places]
        for batch in opened.iter_batches(_ROWS, columns=wanted):
            yield from zip(*map(_values_of, map(batch.column, wanted)), strict=True)


def _values_of(column: Any) -> list[Any]:
    """Return the values of a column; its texts as bytes if one of them is no UTF-8."""
    try:
        values: list[Any] = column.to_pylist()
    except ValueError:
        # UnicodeDecodeError is one, and so are pyarrow's own errors about values.
        pa = require("pyarrow", "arrow", _NEEDS)
        values = column.cast(pa.large_binary()).to_pylist()
    return values
