"""Histories as Arrow record batches and as tables; needs the extra `arrow`.

    async for batch in client.histories(profiles).batches():
        ...
    table = await client.history(profile).to_arrow()

`SCHEMA` says which columns there are. The first import of pyarrow, pandas or polars takes a while.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from profile_history._extras import missing_extra

try:
    import pyarrow as pa

    from profile_history._decoding.record_batches import SCHEMA, BatchAssembler, ColumnSlice
except ModuleNotFoundError as error:
    if error.name != "pyarrow":
        raise
    raise missing_extra("record batches need pyarrow", "arrow") from error

from profile_history._aio import CooperativeRunner, in_thread
from profile_history._decoding.arrow_decoder import decode_columns
from profile_history.profiles import Profile
from profile_history.windows import Window

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["SCHEMA", "assemble_batches", "decode_columns", "to_arrow", "to_pandas", "to_polars"]

T = TypeVar("T")
Collect: TypeAlias = Callable[[], Awaitable[list[pa.RecordBatch]]]


async def assemble_batches(
    runs: AsyncGenerator[tuple[Profile, Window, ColumnSlice], None], rows: int
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Puts pieces together; what was gathered when an error comes is handed out before it is raised.

    That is done on the loop's thread, a column at a time: where both share a core, a thread of its own was measured to
    hold the loop for longer.
    """
    assembler, runner = BatchAssembler(rows), CooperativeRunner()
    failure: Exception | None = None
    async with aclosing(runs):
        while True:
            try:
                profile, _, piece = await anext(runs)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 (it is raised below)
                failure = error
                break
            for steps in assembler.add(str(profile), piece):
                yield await runner.run(steps)
    for steps in assembler.flush():
        yield await runner.run(steps)
    if failure is not None:
        try:
            raise failure
        finally:
            # A frame that its own error keeps is freed by the garbage collector only.
            failure = None


async def to_arrow(collect: Collect) -> pa.Table:
    """One table of all batches, with one dictionary a column."""
    table = pa.Table.from_batches(await collect(), SCHEMA)
    return await in_thread(table.unify_dictionaries)


async def to_polars(collect: Collect) -> pl.DataFrame:
    """The same for polars."""
    library = await _library("polars")
    return await in_thread(library.from_arrow, await to_arrow(collect))


async def to_pandas(collect: Collect) -> pd.DataFrame:
    """The same for pandas: what is a dictionary becomes categorical, all else stays Arrow's."""
    library = await _library("pandas")

    def dtype_of(kind: pa.DataType) -> Any:
        return None if pa.types.is_dictionary(kind) else library.ArrowDtype(kind)

    table = await to_arrow(collect)
    return await in_thread(partial(table.to_pandas, types_mapper=dtype_of))


async def _library(name: str) -> Any:
    try:
        return await in_thread(partial(importlib.import_module, name))
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(f"to_{name}() needs {name}: python -m pip install {name}") from error
