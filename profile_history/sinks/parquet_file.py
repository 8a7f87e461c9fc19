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


def write_file(disk: Disk, path: Path, tables: Iterable[pa.Table], schema: pa.Schema = FULL_SCHEMA) -> WrittenFile:
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


@attrs.frozen
class StoredFile:
    """A file that was written by this program.

    Each method raises `SinkError` if the file cannot be read.

    Attributes:
        disk: The file system.
        path: The file.
    """

    disk: Disk
    path: Path

    def schema(self) -> pa.Schema:
        """Return its columns: those of today, or those of an earlier version."""
        with self._open() as file:
            return FULL_SCHEMA if ROW.name in file.schema_arrow.names else FIRST_SCHEMA

    def count_rows(self) -> int:
        """Return how many rows it says that it has."""
        with self._open() as file:
            return int(file.metadata.num_rows)

    def count_units(self) -> Iterator[tuple[int, int]]:
        """Yield the number of each unit in it and how many rows that has here; a unit may come again."""
        with self._open() as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["unit"]):
                units, rows = pc.value_counts(batch.column("unit")).flatten()
                yield from zip(units.to_pylist(), rows.to_pylist(), strict=True)

    def read(self, schema: pa.Schema = FULL_SCHEMA) -> Iterator[pa.Table]:
        """Yield its rows, some ten thousand at a time, in the columns of a schema."""
        with self._open() as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch]).cast(schema)

    def hash(self, size: int) -> str:
        """Return the SHA-256 of so many bytes at its beginning, in hexadecimal digits."""
        found = hashlib.sha256()
        for offset in range(0, size, _CHUNK):
            found.update(self.disk.read(self.path, offset, _CHUNK))
        return found.hexdigest()

    @contextlib.contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with self.disk.doing("read", self.path):
            try:
                with pq.ParquetFile(self.path) as file:
                    yield file
            except pa.ArrowInvalid as error:
                raise SinkError(
                    f"{self.path} is no whole Parquet file ({error}); put it back, and resume the job"
                ) from None


def drop_units(tables: Iterable[pa.Table], units: Collection[int]) -> Iterator[pa.Table]:
    """Yield the same rows but for those of some units.

    Args:
        tables: The rows.
        units: The numbers of the units.
    """
    gone = pa.array(sorted(units), pa.int64())
    for table in tables:
        yield table.filter(pc.invert(pc.is_in(table["unit"], gone)))
