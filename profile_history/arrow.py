"""Histories as Arrow record batches and as tables; needs the extra `arrow`.

`SCHEMA` has the columns. The first import of pyarrow, pandas or polars takes a while.

Example:
    >>> async for batch in client.histories(profiles).batches(rows=1000):
    ...     assert batch.schema == SCHEMA
    >>> table = await client.history(profile).to_arrow()
    >>> table.column_names[:5]
    ['profile', 'action', 'datetime', 'utc_offset', 'count']
    >>> set(table["profile"].to_pylist()) == {str(profile)}
    True
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from profile_history._extras import missing_extra

try:
    import pyarrow as pa

    from profile_history._decoding.record_batches import SCHEMA, BatchAssembler, ColumnSlice
except ModuleNotFoundError as _error:
    if _error.name != "pyarrow":
        raise
    raise missing_extra("record batches need pyarrow", "arrow") from _error

from profile_history._aio import CooperativeRunner, in_thread
from profile_history._decoding.arrow_decoder import decode_columns
from profile_history._deprecated import deprecated_names
from profile_history.profiles import Profile
from profile_history.windows import Window

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

if not TYPE_CHECKING:
    __getattr__ = deprecated_names(
        __name__, {"batches": (__name__, "assemble_batches"), "tabled": (__name__, "decode_columns")}
    )

__all__ = ["SCHEMA", "assemble_batches", "decode_columns", "to_arrow", "to_pandas", "to_polars"]

Collect: TypeAlias = Callable[[], Awaitable[list[pa.RecordBatch]]]


async def assemble_batches(
    slices: AsyncGenerator[tuple[Profile, Window, ColumnSlice], None], rows: int
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Yield record batches that are put together of slices, one column at a time.

    What was complete before an error is yielded before the error is raised.

    Args:
        slices: Rows in columns, each slice with its profile and window.
        rows: The largest number of rows in a batch.

    Yields:
        Full batches, and the rest as a last one.
    """
    # On the loop's thread: a thread of its own was measured to hold the loop for longer if both share a core.
    assembler, runner = BatchAssembler(rows), CooperativeRunner()
    failure: Exception | None = None
    async with aclosing(slices):
        while True:
            try:
                profile, _, columns = await anext(slices)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 (it is raised below)
                failure = error
                break
            for steps in assembler.add(profile.text, columns):
                yield await runner.run(steps)
    for steps in assembler.flush():
        yield await runner.run(steps)
    if failure is not None:
        try:
            raise failure
        finally:
            # The error keeps this frame; if the frame kept the error, only the garbage collector would free both.
            failure = None


async def to_arrow(collect: Collect) -> pa.Table:
    """Return one table of all batches, with one dictionary per column."""
    table = pa.Table.from_batches(await collect(), SCHEMA)
    return await in_thread(table.unify_dictionaries)


async def to_polars(collect: Collect) -> pl.DataFrame:
    """Return one polars frame of all batches.

    Raises:
        ImportError: polars is not installed.
    """
    library = await _import_library("polars")
    return await in_thread(library.from_arrow, await to_arrow(collect))


async def to_pandas(collect: Collect) -> pd.DataFrame:
    """Return one pandas frame of all batches: a dictionary becomes a category, and all else keeps the type of Arrow.

    Raises:
        ImportError: pandas is not installed.
    """
    library = await _import_library("pandas")

    def find_dtype(type_: pa.DataType) -> Any:
        return None if pa.types.is_dictionary(type_) else library.ArrowDtype(type_)

    table = await to_arrow(collect)
    return await in_thread(partial(table.to_pandas, types_mapper=find_dtype))


async def _import_library(name: str) -> Any:
    try:
        return await in_thread(partial(importlib.import_module, name))
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(f"to_{name}() needs {name}: python -m pip install {name}") from error
