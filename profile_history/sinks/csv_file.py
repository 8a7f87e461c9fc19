"""Rows as CSV by RFC 4180, for spreadsheets and for tools that read nothing better.

Text stands in quotes, null is an empty cell without any, and lines end in LF. The columns are those of
`profile_history.arrow.SCHEMA`, `unit` and `row`.

A spreadsheet takes a text that begins with `=`, `+`, `-`, `@`, their full-width forms, TAB, CR or LF for a formula, and
what a stranger once typed into a form then runs. So such texts get an apostrophe before them, and a NUL, which hides
what follows it, becomes U+FFFD. Who needs the texts as they came uses `formulas="keep"`, or another sink.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from profile_history.errors import ConfigurationError
from profile_history.sinks.arrow_table import FIRST_SCHEMA, FULL_SCHEMA
from profile_history.sinks.base import RowFormat
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.disk import DISK, Disk
from profile_history.sinks.row_text import split_quoted
from profile_history.sinks.single_file import SingleFileSink
from profile_history.sinks.unit_rows import Refused

Formulas = Literal["defuse", "keep"]

_FORMULA = "\\A([=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"


class CsvSink(SingleFileSink):
    """A CSV file; compressed if its name ends in `.gz` or `.zst`.

    While the job runs, it is named `<path>.partial`.

    Args:
        path: The file.
        formulas: Whether to "defuse" texts that a spreadsheet would take for formulas, or to "keep" them.
        disk: The file system.

    Raises:
        ConfigurationError: A library is missing, the path names no file, or there is no such option.

        >>> from profile_history.sinks.csv_file import CsvSink
        >>> CsvSink("/data/history.csv", formulas="keep").url
        '/data/history.csv?formulas=keep'
    """

    row_format: RowFormat = "arrow"
    transactional = False
    compacts_on_finish = True

    def __init__(self, path: str | Path, *, formulas: Formulas = "defuse", disk: Disk = DISK) -> None:
        if formulas not in get_args(Formulas):
            raise ConfigurationError(f"formulas is one of {', '.join(get_args(Formulas))}, not {formulas!r}")
        self.url: str = Path(path).absolute().as_posix() + ("?formulas=keep" if formulas == "keep" else "")
        super().__init__(Path(path), _CellFormat(defused=formulas == "defuse"), disk)

    def check(self, batch: SinkBatch) -> list[Refused]:  # noqa: ARG002 (any text has its place between quotes)
        """Return no rows: any text has its place between quotes."""
        return []


def _make_heading(names: Sequence[str]) -> bytes:
    return ",".join(f'"{name}"' for name in names).encode() + b"\n"


class _CellFormat:
    def __init__(self, *, defused: bool) -> None:
        self._defused = defused
        self._names = FULL_SCHEMA.names

    @property
    def heading(self) -> bytes:
        return _make_heading(self._names)

    headings = (_make_heading(FULL_SCHEMA.names), _make_heading(FIRST_SCHEMA.names))

    def adopt(self, heading: bytes) -> None:
        self._names = {_make_heading(schema.names): schema.names for schema in (FULL_SCHEMA, FIRST_SCHEMA)}[heading]

    def encode(self, batch: SinkBatch) -> list[bytes]:
        columns = [self._column(batch.table[name]) for name in self._names]
        target = io.BytesIO()
        csv.write_csv(pa.table(columns, self._names), target, csv.WriteOptions(include_header=False))
        return split_quoted(target.getvalue())

    def _column(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        if not self._defused or column.type != pa.string():
            return column
        return pc.replace_substring_regex(pc.replace_substring(column, "\0", "\ufffd"), _FORMULA, r"'\1")

    def split(self, data: bytes) -> list[bytes]:
        return split_quoted(data)
