"""One Parquet file, which is written in big row groups and read some rows at a time. It needs the extra `arrow`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from profile_history.sinks.arrow_table import FIRST_SCHEMA, FULL_SCHEMA, ROW
from profile_history.sinks.base import SinkError
from profile_history.sinks.disk import Disk, OpenFile

# A row group is closed at whichever comes first. Readers skip whole row groups by their statistics, and the
# documentation of Parquet advises large ones.
_GROUP_ROWS, _GROUP_BYTES = 1024 * 1024, 64 * 1024 * 1024
_ROWS_AT_ONCE = 64 * 1024
# Bytes that are written or hashed at once.
_CHUNK = 1024 * 1024


@attrs.frozen
class WrittenFile:
    """A file that was brought to the disk.

    Attributes:
        size: How many bytes it has.
        rows: How many rows.
        checksum: The SHA-256 of its bytes, in hexadecimal digits.
    """

    size: int
    rows: int
    checksum: str


def write(disk: Disk, path: Path, tables: Iterable[pa.Table], schema: pa.Schema = FULL_SCHEMA) -> WrittenFile:
    """Write some tables, one below the other, and bring the file to the disk.

    Args:
        disk: The file system.
        path: The file, which must not be there.
        tables: The rows.
        schema: The columns of the tables.

    Raises:
        SinkError: It cannot be written.
    """
    rows = 0
    with disk.create(path) as file:
        target = _Target(file)
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for table in _regroup(tables):
                writer.write_table(table, row_group_size=_GROUP_ROWS)
                rows += len(table)
        target.flush()
        file.sync()
    return WrittenFile(target.size, rows, target.hash.hexdigest())


class _Target:
    """The methods that pyarrow needs of a file to write to. It writes little at a time, so that is gathered."""

    closed = False

    def __init__(self, file: OpenFile) -> None:
        self.size = 0
        self.hash = hashlib.sha256()
        self._file = file
        self._gathered = bytearray()

    def write(self, data: bytes) -> None:
        self._gathered += data
        if len(self._gathered) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        data, self._gathered = bytes(self._gathered), bytearray()
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Do nothing: the file is closed by who opened it."""


def _regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables that make big row groups."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        if waiting and (rows + len(table) > _GROUP_ROWS or size + table.nbytes > _GROUP_BYTES):
            yield pa.concat_tables(waiting).unify_dictionaries()
            waiting, rows, size = [], 0, 0
        waiting.append(table)
        rows += len(table)
        size += table.nbytes
    yield pa.concat_tables(waiting).unify_dictionaries()


def read(disk: Disk, path: Path, schema: pa.Schema = FULL_SCHEMA) -> Iterator[pa.Table]:
    """Yield the rows of a file, some ten thousand at a time.

    Args:
        disk: The file system.
        path: The file.
        schema: The columns that it has.

    Raises:
        SinkError: It cannot be read.
    """
    with _open(disk, path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield pa.Table.from_batches([batch]).cast(schema)


def drop_units(tables: Iterable[pa.Table], units: Collection[int]) -> Iterator[pa.Table]:
    """Yield the same rows but for those of some units.

    Args:
        tables: The rows.
        units: The numbers of the units.
    """
    gone = pa.array(sorted(units), pa.int64())
    for table in tables:
        yield table.filter(pc.invert(pc.is_in(table["unit"], gone)))


def count_units(disk: Disk, path: Path) -> Iterator[tuple[int, int]]:
    """Yield the number of each unit in a file and how many rows it has there; a unit may come again.

    Args:
        disk: The file system.
        path: The file.

    Raises:
        SinkError: It cannot be read.
    """
    with _open(disk, path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["unit"]):
            units, rows = pc.value_counts(batch.column("unit")).flatten()
            yield from zip(units.to_pylist(), rows.to_pylist(), strict=True)


def schema_of(disk: Disk, path: Path) -> pa.Schema:
    """Return the columns of a file that this program has written: those of today, or those of an earlier version.

    Args:
        disk: The file system.
        path: The file.

    Raises:
        SinkError: It cannot be read.
    """
    with _open(disk, path) as file:
        return FULL_SCHEMA if ROW.name in file.schema_arrow.names else FIRST_SCHEMA


def count_rows(disk: Disk, path: Path) -> int:
    """Return how many rows a file says that it has.

    Args:
        disk: The file system.
        path: The file.

    Raises:
        SinkError: It cannot be read.
    """
    with _open(disk, path) as file:
        return int(file.metadata.num_rows)


def hash_file(disk: Disk, path: Path, size: int) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Args:
        disk: The file system.
        path: The file.
        size: How many bytes it has.
    """
    found = hashlib.sha256()
    for offset in range(0, size, _CHUNK):
        found.update(disk.read(path, offset, _CHUNK))
    return found.hexdigest()


@contextlib.contextmanager
def _open(disk: Disk, path: Path) -> Iterator[pq.ParquetFile]:
    with disk.doing("read", path):
        try:
            with pq.ParquetFile(path) as file:
                yield file
        except pa.ArrowInvalid as error:
            raise SinkError(f"{path} is no whole Parquet file ({error}); put it back, and resume the job") from None
