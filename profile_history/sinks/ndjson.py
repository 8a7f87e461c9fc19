"""Rows as the server wrote them, one JSON object per line, as `profile_history._decoding.ndjson_lines` makes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from profile_history._decoding.ndjson_lines import encode_lines
from profile_history.sinks.base import RowFormat
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.disk import DISK, Disk
from profile_history.sinks.single_file import SingleFileSink
from profile_history.sinks.unit_rows import Refused, UnitRows

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BLANK = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class NdjsonSink(SingleFileSink):
    """A file of lines; compressed if its name ends in `.gz` or `.zst`.

    While the job runs, it is named `<path>.partial`.

    Args:
        path: The file.
        disk: The file system.

    Raises:
        ConfigurationError: A library is missing, or the path names no file.

        >>> from profile_history.sinks.ndjson import NdjsonSink
        >>> NdjsonSink("/data/history.ndjson.gz").url
        '/data/history.ndjson.gz'
    """

    row_format: RowFormat = "raw"
    transactional = False
    compacts_on_finish = True

    def __init__(self, path: str | Path, *, disk: Disk = DISK) -> None:
        self.url: str = Path(path).absolute().as_posix()
        super().__init__(Path(path), _LineFormat(), disk)

    def check(self, batch: SinkBatch) -> list[Refused]:
        """Return the rows that cannot stand on one line, or are no UTF-8."""
        everything = b" ".join(row for unit in batch.units for row in unit.raw)
        if _is_utf8(everything) and not _NOT_BLANK.search(everything):
            return []
        return [refused for unit in batch.units for refused in _refuse(unit)]


class _LineFormat:
    heading = b""
    headings = (heading,)

    def adopt(self, heading: bytes) -> None:
        """Do nothing: there are no columns."""

    def encode(self, batch: SinkBatch) -> list[bytes]:
        return [line for unit in batch.units for line in self.split(encode_lines(unit.profile, unit.raw))]

    def split(self, data: bytes) -> list[bytes]:
        return data.splitlines(keepends=True)


def _is_utf8(data: bytes) -> bool:
    try:
        data.isascii() or data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse(unit: UnitRows) -> Iterator[Refused]:
    for offset, row in enumerate(unit.raw):
        if reason := _find_fault(row):
            yield Refused(unit.unit, offset, reason, row)


def _find_fault(row: bytes) -> str | None:
    """Return why a row cannot stand on one line; `None` if it can."""
    if not _is_utf8(row):
        return "it is no UTF-8"
    return "between its tokens stands a control character" if _NOT_BLANK.search(_STRING.sub(b"", row)) else None
