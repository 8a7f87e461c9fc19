"""The streams that a client hands out: an asynchronous iterator over events, or over windows with their outcomes.

The work hangs on a private asynchronous generator with a `finally`, never on a task group: a `yield` inside one cancels
the consumer's own await (PEP 789). The tasks refer to the run and not to the stream, so that a stream dropped half-way
is collected and cleans up.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from types import AsyncGeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast, overload

from profile_history._checks import check_whole_number
from profile_history._decoding.event_decoder import EVENTS
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.raw_decoder import RAW
from profile_history._scheduling.reader import Reader
from profile_history.errors import UsageError
from profile_history.events import Event
from profile_history.profiles import Profile
from profile_history.results import QuarantinedRow, WindowFailure, WindowResult
from profile_history.stats import Stats
from profile_history.windows import Window

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

T_co = TypeVar("T_co", covariant=True)


class HistoryStream(Generic[T_co]):
    """An asynchronous iterator over what a client fetches; the fetching starts with the first step.

    Use it in `async with`, or in a bare `async for`: a `break` then cleans up as soon as the stream is dropped. It has
    one consumer, and is read once.
    """

    def __init__(self, reader: Reader[Any], items: AsyncGenerator[T_co, None]) -> None:
        self._reader = reader
        self._items = cast("AsyncGeneratorType[T_co, None]", items)
        self._consumer: asyncio.Task[Any] | None = None

    @property
    def stats(self) -> Stats:
        """Return what was done so far, in numbers."""
        return self._reader.pool.stats

    @property
    def failures(self) -> list[WindowFailure]:
        """Return the windows given up so far."""
        return self._reader.failures

    @property
    def quarantined(self) -> list[QuarantinedRow]:
        """Return the rows so far that cannot be read as events."""
        return self._reader.quarantined

    async def collect(self) -> list[T_co]:
        """Read everything into a list.

        Returns:
            All items, in the order in which iterating yields them.

        Raises:
            HistoryError: As iterating does.

        Example:
            >>> events = await client.history(profile, "2023-01-01", "2024-12-31").collect()
            >>> len(events)
            13
            >>> str(events[0].action)
            'telegram_bot_deliv'
        """
        async with self:
            try:
                return [item async for item in self]
            except BaseException as error:
                self._clear_frames(error)
                raise

    def windows(self) -> HistoryStream[WindowResult]:
        """Return the same, one item per window with its outcome; read either this or the events.

        A failed window is an item with its `error`, whatever `on_error` says. What stops everything, such as a bad
        token, is raised.

        Example:
            >>> async for result in client.history(profile, "2024-11-01", "2024-11-30").windows():
            ...     print(result.window, len(result.events), result.error)
            2024-11-01..2024-11-30 3 None
        """
        reader = self._reader.with_decoder(EVENTS)
        return HistoryStream(reader, reader.results())

    @overload
    def raw(self: HistoryStream[Event]) -> HistoryStream[bytes]: ...

    @overload
    def raw(self: HistoryStream[tuple[Profile, Event]]) -> HistoryStream[tuple[Profile, bytes]]: ...

    def raw(self: HistoryStream[Any]) -> HistoryStream[Any]:
        """Return the same, each row as the bytes that the server sent; read either this or the events.

        Nothing of a row is changed or lost, and no event is made of it: for NDJSON and message queues. Only its
        `datetime` is read, to keep the rows of the days asked for and to put them in order. A row without a readable
        one is listed in `quarantined`. A row that the server wrote on several lines stays on several lines; `ndjson()`
        brings it onto one.

        Example:
            >>> rows = await client.history(profile, "2024-11-14", "2024-11-14").raw().collect()
            >>> rows[0][:21]
            b'{"action":"form_load"'
        """
        reader = self._reader.with_decoder(RAW)
        return HistoryStream(reader, reader.items())

    def ndjson(self) -> HistoryStream[bytes]:
        """Return the same as lines of NDJSON, a block of them per window; read either this or the events.

        A line is `{"profile": ..., "event": ...}` and ends with a line break: the profile as `str(profile)` writes it,
        and the row as in `raw()`, but that a line break between its tokens is a blank, and a control character in a
        text is escaped. So blocks can be written to a file one after another, whatever the server's layout. A window
        without rows yields no block, nor does one that failed.

        Yields:
            The lines of one window, in order, as bytes.

        Example:
            >>> with open("history.ndjson", "w+b") as file:
            ...     async for block in client.histories(profiles).ndjson():
            ...         size = file.write(block)
            ...     start = file.seek(0)
            ...     print(len(file.readlines()))
            39
        """
        reader = self._reader.with_decoder(RAW)
        return HistoryStream(reader, reader.blocks())

    def batches(self, rows: int = 65_536) -> HistoryStream[pa.RecordBatch]:
        """Return the same as Arrow record batches, of the columns in `profile_history.arrow.SCHEMA`.

        Read either this or the events. Several windows share a batch, and a long one fills many. The rows of one
        profile come in order. With `on_error="raise"` what was complete before the error is handed out before it is
        raised. A nested value is the JSON that the server wrote, also where an event cannot hold a number in it.

        Args:
            rows: How many rows a batch has. The last has fewer, and so has one that reaches about 4 MiB.

        Raises:
            ConfigurationError: `rows` is no positive whole number.
            ImportError: pyarrow is not installed.

        Example:
            >>> batches = await client.histories(profiles).batches(rows=20).collect()
            >>> [batch.num_rows for batch in batches]
            [20, 19]
        """
        from profile_history import arrow  # noqa: PLC0415 (it needs an extra)

        check_whole_number("rows", rows, "rows")
        reader = self._reader.with_decoder(FLAT, arrow.decode_columns)
        pieces = cast("AsyncGenerator[tuple[Profile, Window, Any], None]", reader.chunks())
        return HistoryStream(reader, arrow.assemble_batches(pieces, rows))

    async def to_arrow(self) -> pa.Table:
        """Read everything into one Arrow table, of the columns in `profile_history.arrow.SCHEMA`.

        Raises:
            HistoryError: As iterating does.
            ImportError: pyarrow is not installed.

        Example:
            >>> table = await client.history(profile).to_arrow()
            >>> table.num_rows
            13
        """
        from profile_history import arrow  # noqa: PLC0415

        return await arrow.to_arrow(self.batches().collect)

    async def to_polars(self) -> pl.DataFrame:
        """Read everything into one polars frame, of the same columns.

        Raises:
            HistoryError: As iterating does.
            ImportError: pyarrow or polars is not installed.

        Example:
            >>> frame = await client.history(profile).to_polars()
            >>> frame.height
            13
        """
        from profile_history import arrow  # noqa: PLC0415

        return await arrow.to_polars(self.batches().collect)

    async def to_pandas(self) -> pd.DataFrame:
        """Read everything into one pandas frame, of the same columns: categories, and else the types of Arrow.

        Raises:
            HistoryError: As iterating does.
            ImportError: pyarrow or pandas is not installed.

        Example:
            >>> frame = await client.history(profile).to_pandas()
            >>> len(frame)
            13
        """
        from profile_history import arrow  # noqa: PLC0415

        return await arrow.to_pandas(self.batches().collect)

    def __aiter__(self) -> AsyncIterator[T_co]:
        if self._reader.pool.over:
            raise UsageError("this stream was read to its end or closed; ask the client for a new one")
        self._claim()
        # What is raised then passes through `__anext__`, which clears frames.
        return self if self._reader.redacts else self._items

    async def __anext__(self) -> T_co:
        self._claim()
        try:
            return await anext(self._items)
        except StopAsyncIteration:
            if not self._reader.finished:
                raise UsageError("this stream was closed before its end") from None
            raise
        except BaseException as error:
            self._clear_frames(error)
            raise

    async def aclose(self) -> None:
        """Cancel what is in flight, and wait until no task and no connection is left; safe to call twice."""
        await self._reader.pool.stop()
        # Closed under another task's hands it would end as if it were complete.
        consumer = self._consumer
        ours = consumer is None or consumer.done() or consumer is asyncio.current_task()
        if ours and not self._items.ag_running:
            await self._items.aclose()

    async def __aenter__(self) -> Self:
        self._reader.pool.check_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream is read once, by one consumer; it is neither copied nor pickled. Its stats can be")

    def __iter__(self) -> NoReturn:
        raise UsageError('a stream is asynchronous; use "async for", or "await stream.collect()" for a list')

    def __await__(self) -> NoReturn:
        raise UsageError('a stream is no awaitable; use "async for", or "await stream.collect()" for a list')

    def __enter__(self) -> NoReturn:
        raise UsageError('a stream is asynchronous; use "async with"')

    def __exit__(self, *_: object) -> None: ...

    def _clear_frames(self, error: BaseException) -> None:
        # Their local variables may be the last row, which crash reports would show.
        if self._reader.redacts:
            traceback.clear_frames(error.__traceback__)

    def _claim(self) -> None:
        self._reader.pool.check_loop()
        this = asyncio.current_task()
        if self._consumer is not None and self._consumer is not this and not self._consumer.done():
            raise UsageError("another task is reading this stream; it has one consumer, so feed an asyncio.Queue")
        self._consumer = this
