"""The views of one stream: outcomes become rows, windows, or what a job stores, as the consumer asks for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from io import BytesIO
from typing import Any, Generic, Self, TypeVar

import attrs

from profile_history._decoding.ndjson_lines import encode_lines
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._decoding.row_decoder import RowDecoder
from profile_history._protocol.envelope import Rows
from profile_history._protocol.responses import http_date
from profile_history._redaction import redact_text
from profile_history._scheduling.scheduler import Outcome
from profile_history._scheduling.worker_pool import WorkerPool
from profile_history.errors import HistoryError
from profile_history.events import Event
from profile_history.observing import logger
from profile_history.profiles import Profile
from profile_history.results import OnError, QuarantinedRow, QuarantineEntry, UnitResult, WindowFailure, WindowResult
from profile_history.windows import Border, Order, Window

T = TypeVar("T")


@attrs.define(eq=False)
class Reader(Generic[T]):
    """The decoding, the counters, and the lists of failures and quarantined rows, shared by the views of one stream.

    Attributes:
        pool: Fetches the windows; it is entered by the one view that is read.
        row_decoder: Makes rows of bytes.
        single: Whether there is one profile, so that rows are handed out without it.
        border: Whether rows beyond the wanted days are dropped.
        order: The order of the rows.
        on_error: Whether a window that is given up ends the stream.
        strict: Whether a row that cannot be read fails its window.
        unpack: Makes chunks of the rows of one response.
        failures: The windows given up so far.
        quarantined: The rows so far that cannot be read.
        redacts: Whether the texts of profiles are redacted.
        finished: Whether everything was handed out.
    """

    pool: WorkerPool
    row_decoder: RowDecoder[T]
    single: bool
    border: Border
    order: Order
    on_error: OnError
    strict: bool
    unpack: Callable[[ResponseDecoder[Any], Rows], Iterator[Any]] = ResponseDecoder.decode
    failures: list[WindowFailure] = attrs.field(factory=list)
    quarantined: list[QuarantinedRow] = attrs.field(factory=list)
    redacts: bool = False
    finished: bool = False

    def with_decoder(
        self, row_decoder: RowDecoder[Any], unpack: Callable[[ResponseDecoder[Any], Rows], Iterator[Any]] | None = None
    ) -> Reader[Any]:
        """Return a reader of the same stream that decodes rows in another way; only one of them can be read.

        Args:
            row_decoder: Makes rows of bytes.
            unpack: Makes chunks of the rows of one response; `None` for lists of what `row_decoder` makes.
        """
        return attrs.evolve(self, row_decoder=row_decoder, unpack=unpack or ResponseDecoder.decode)

    def items(self) -> AsyncGenerator[Any, None]:
        """Yield the rows of one profile, or pairs of a profile and a row."""
        return self.rows() if self.single else self.pairs()

    async def rows(self) -> AsyncGenerator[T, None]:
        """Yield row by row, of one profile."""
        async with self.pool:
            async for outcome in _Outcomes(self):
                for chunk in self.decode(outcome):
                    for row in chunk:
                        yield row
                    if self.pool.loop_overdue:
                        await self.pool.yield_to_loop()

    async def pairs(self) -> AsyncGenerator[tuple[Profile, T], None]:
        """Yield row by row, each with its profile."""
        async with self.pool:
            async for outcome in _Outcomes(self):
                profile = outcome.profile
                for chunk in self.decode(outcome):
                    for row in chunk:
                        yield profile, row
                    if self.pool.loop_overdue:
                        await self.pool.yield_to_loop()

    async def chunks(self) -> AsyncGenerator[tuple[Profile, Window, list[T]], None]:
        """Yield many rows at a time: some of one profile's window, in order, and never none."""
        async with self.pool:
            async for outcome in _Outcomes(self):
                for chunk in self.decode(outcome):
                    if chunk:
                        yield outcome.profile, outcome.window, chunk
                    if self.pool.loop_overdue:
                        await self.pool.yield_to_loop()

    async def blocks(self: Reader[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield the rows of one window after another as lines of NDJSON; a window without rows yields nothing."""
        async with self.pool:
            async for outcome in _Outcomes(self):
                profile = outcome.profile.text
                # With room from the first: to copy a long block in one go, as it grows or ends, would hold the loop.
                block = BytesIO(bytes(_room_for(outcome.rows, profile)))
                for chunk in self.decode(outcome):
                    block.write(encode_lines(profile, chunk))
                    if self.pool.loop_overdue:
                        await self.pool.yield_to_loop()
                block.truncate()
                if block.tell():
                    yield block.getvalue()

    async def results(self: Reader[Event]) -> AsyncGenerator[WindowResult, None]:
        """Yield window by window, each with its outcome."""
        async with self.pool:
            async for outcome in _Outcomes(self):
                yield await self._result(outcome)

    async def unit_results(
        self, cut: Callable[[Window, dt.datetime | None], Sequence[Window]]
    ) -> AsyncGenerator[tuple[Sequence[UnitResult[T]], int], None]:
        """Yield window by window, each in the parts that `cut` makes of it, with the bytes of its response.

        A failed window stays whole.

        Args:
            cut: Returns the parts of a window, given the window and when the server says that it made the response
                (`None` if it does not say).
        """
        async with self.pool:
            async for outcome in _Outcomes(self):
                served_at = http_date(outcome.task.date)
                parts = [] if outcome.error else cut(outcome.window, served_at)
                try:
                    if outcome.error is not None:
                        raise outcome.error
                    results = [await self._unit_result(outcome, window, served_at) for window in parts]
                except Exception as failure:  # noqa: BLE001 (one window must not end a job of a million)
                    error = failure if isinstance(failure, HistoryError) else self._wrap_unexpected(failure)
                    self._sign(outcome, error)
                    results = [UnitResult(outcome.unit, outcome.window, [], error, outcome.task.log.attempts)]
                yield results, 0 if outcome.rows is None else outcome.rows.size

    def decode(self, outcome: Outcome) -> Iterator[list[T]]:
        """Yield the chunks of one window; an empty one stands where the caller can pause.

        Raises:
            HistoryError: The window was given up or cannot be read, and `on_error` is "raise".
        """
        try:
            yield from self._decoded(outcome)
        except HistoryError as error:
            self._give_up(outcome, error)
            if self.on_error == "raise":
                raise

    async def _unit_result(self, outcome: Outcome, window: Window, served_at: dt.datetime | None) -> UnitResult[T]:
        items: list[T] = []
        quarantined: list[QuarantineEntry] = []

        def quarantine(row: QuarantineEntry) -> None:
            # One that belongs to no day is told for each part; the last days have it.
            if row.datetime is not None or window.date_to == outcome.window.date_to:
                quarantined.append(row)
                self.pool.stats.quarantined += 1

        keep = window
        if self.border is Border.EXACT:
            # What came is passed on, also what lies beyond the days that were asked for.
            first, last = window.date_from == outcome.window.date_from, window.date_to == outcome.window.date_to
            keep = Window(None if first else window.date_from, None if last else window.date_to)
        assert outcome.rows is not None
        decoder = self._response_decoder(outcome, keep, quarantine)
        for chunk in self.unpack(decoder, outcome.rows):
            if chunk:
                items += chunk if self.unpack is ResponseDecoder.decode else [chunk]
                self.pool.stats.events += len(chunk)
            if self.pool.loop_overdue:
                await self.pool.yield_to_loop()
        self.pool.stats.windows_ok += bool(items)
        self.pool.stats.windows_empty += not items
        attempts = outcome.task.log.attempts
        return UnitResult(outcome.unit, window, items, None, attempts, tuple(quarantined), served_at)

    async def _result(self: Reader[Event], outcome: Outcome) -> WindowResult:
        known = len(self.quarantined)
        events: list[Event] = []
        failure: HistoryError | None = None
        try:
            for chunk in self._decoded(outcome):
                events += chunk
                if self.pool.loop_overdue:
                    await self.pool.yield_to_loop()
        except HistoryError as error:
            self._give_up(outcome, error)
            failure = error
        return WindowResult(outcome.profile, outcome.window, tuple(events), failure, tuple(self.quarantined[known:]))

    def _decoded(self, outcome: Outcome) -> Iterator[list[T]]:
        if outcome.error is not None:
            raise outcome.error
        assert outcome.rows is not None
        stats = self.pool.stats
        rows = 0

        def quarantine(row: QuarantineEntry) -> None:
            stats.quarantined += 1
            reason = redact_text(row.reason, outcome.profile)
            self.quarantined.append(QuarantinedRow(outcome.profile, outcome.window, reason, row.raw))

        window = outcome.window if self.border is Border.OVERLAP else Window()
        for chunk in self.unpack(self._response_decoder(outcome, window, quarantine), outcome.rows):
            rows += len(chunk)
            stats.events += len(chunk)
            yield chunk
        stats.windows_ok += rows > 0
        stats.windows_empty += rows == 0

    def _give_up(self, outcome: Outcome, error: HistoryError) -> None:
        self._sign(outcome, error)
        self.failures.append(WindowFailure(outcome.profile, outcome.window, error))

    def _sign(self, outcome: Outcome, error: HistoryError) -> None:
        outcome.task.sign(error)
        error.forget_frames()
        self.pool.stats.windows_failed += 1

    def _wrap_unexpected(self, error: Exception) -> HistoryError:
        # Message and frames may hold what the rows do.
        logger.error("a window cannot be read: %s", type(error).__name__, exc_info=None if self.redacts else error)
        return HistoryError(f"the response cannot be read: {type(error).__name__}: {error}")

    def _response_decoder(
        self, outcome: Outcome, window: Window, quarantine: Callable[[QuarantineEntry], None]
    ) -> ResponseDecoder[T]:
        owner = outcome.profile.known_id or ""
        return ResponseDecoder(self.row_decoder, window, self.order, owner, self.strict, quarantine)


class _Outcomes:
    """The outcomes of one stream, in order; each is released when the consumer asks for the next.

    It is no asynchronous generator: one inside another would have to be closed in the right order, also by the garbage
    collector.
    """

    def __init__(self, reader: Reader[Any]) -> None:
        self._reader = reader
        self._outcome: Outcome | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        pool = self._reader.pool
        if self._outcome is not None:
            pool.release(self._outcome)
        self._outcome = outcome = await pool.next_outcome()
        if outcome is None:
            self._reader.finished = True
            raise StopAsyncIteration
        return outcome


def _room_for(rows: Rows | None, profile: str) -> int:
    """Return how many bytes the lines of a response's rows take, or a few more."""
    return 0 if rows is None else rows.size + rows.count * len(encode_lines(profile, [b""]))
