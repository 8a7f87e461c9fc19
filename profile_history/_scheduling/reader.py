"""Outcomes become rows, windows, or what a job keeps, as the consumer asks for them; the books are kept here."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from io import BytesIO
from typing import Any, Generic, TypeVar

import attrs

from profile_history._decoding.ndjson_lines import encode_lines
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._decoding.row_decoder import RowDecoder
from profile_history._protocol.envelope import Rows
from profile_history._protocol.responses import http_date
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
    """Turns outcomes into rows as the consumer asks for them, and keeps the books."""

    run: WorkerPool
    row_decoder: RowDecoder[T]
    single: bool
    border: Border
    order: Order
    on_error: OnError
    strict: bool
    unpack: Callable[[ResponseDecoder[Any], Rows], Iterator[Any]] = ResponseDecoder.decode
    failures: list[WindowFailure] = attrs.field(factory=list)
    quarantined: list[QuarantinedRow] = attrs.field(factory=list)
    finished: bool = False

    def to(
        self, row_decoder: RowDecoder[Any], unpack: Callable[[ResponseDecoder[Any], Rows], Iterator[Any]] | None = None
    ) -> Reader[Any]:
        """Another view of the same run; only one of them can be read."""
        return attrs.evolve(self, row_decoder=row_decoder, unpack=unpack or ResponseDecoder.decode)

    def items(self) -> AsyncGenerator[Any, None]:
        """The rows of one profile, or pairs of a profile and a row."""
        return self.rows() if self.single else self.pairs()

    async def rows(self) -> AsyncGenerator[T, None]:
        """Row by row, of one profile."""
        async with self.run:
            while (outcome := await self.run.next_outcome()) is not None:
                for batch in self._batches(outcome):
                    for row in batch:
                        yield row
                    if self.run.loop_overdue:
                        await self.run.yield_to_loop()
                self.run.release(outcome)
            self.finished = True

    async def pairs(self) -> AsyncGenerator[tuple[Profile, T], None]:
        """Row by row, each with its profile."""
        async with self.run:
            while (outcome := await self.run.next_outcome()) is not None:
                profile = outcome.profile
                for batch in self._batches(outcome):
                    for row in batch:
                        yield profile, row
                    if self.run.loop_overdue:
                        await self.run.yield_to_loop()
                self.run.release(outcome)
            self.finished = True

    async def chunks(self) -> AsyncGenerator[tuple[Profile, Window, list[T]], None]:
        """Many rows at a time: some of one profile's window, in order."""
        async with self.run:
            while (outcome := await self.run.next_outcome()) is not None:
                for batch in self._batches(outcome):
                    if batch:
                        yield outcome.profile, outcome.window, batch
                    if self.run.loop_overdue:
                        await self.run.yield_to_loop()
                self.run.release(outcome)
            self.finished = True

    async def blocks(self: Reader[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield the rows of one window after another as lines of NDJSON; a window without rows yields nothing."""
        async with self.run:
            while (outcome := await self.run.next_outcome()) is not None:
                profile = str(outcome.profile)
                # With room from the first: to copy a long block in one go, as it grows or ends, would hold the loop.
                block = BytesIO(bytes(_room_for(outcome.rows, profile)))
                for batch in self._batches(outcome):
                    block.write(encode_lines(profile, batch))
                    if self.run.loop_overdue:
                        await self.run.yield_to_loop()
                block.truncate()
                if block.tell():
                    yield block.getvalue()
                self.run.release(outcome)
            self.finished = True

    async def results(self: Reader[Event]) -> AsyncGenerator[WindowResult, None]:
        """Window by window."""
        async with self.run:
            while (outcome := await self.run.next_outcome()) is not None:
                yield await self._result(outcome)
                self.run.release(outcome)
            self.finished = True

    async def unit_results(
        self, cut: Callable[[Window, dt.datetime | None], Sequence[Window]]
    ) -> AsyncGenerator[tuple[Sequence[UnitResult[T]], int], None]:
        """Yield window by window, each in the parts that `cut` makes of it, with the bytes of its response.

        A failed window stays whole.

        Args:
            cut: Given the window, and when the server says that it made the response (None if it does not say).
        """
        async with self.run:
            while (outcome := await self.run.next_outcome()) is not None:
                served_at = http_date(outcome.task.date)
                parts = [] if outcome.error else cut(outcome.window, served_at)
                try:
                    if outcome.error is not None:
                        raise outcome.error
                    contents = [await self._content(outcome, window, served_at) for window in parts]
                except Exception as failure:  # noqa: BLE001 (one window must not end a job of a million)
                    error = failure if isinstance(failure, HistoryError) else _unexpected(failure)
                    self._sign(outcome, error)
                    contents = [UnitResult(outcome.unit, outcome.window, [], error, outcome.task.log.attempts)]
                yield contents, 0 if outcome.rows is None else outcome.rows.size
                self.run.release(outcome)
            self.finished = True

    async def _content(self, outcome: Outcome, window: Window, served_at: dt.datetime | None) -> UnitResult[T]:
        items: list[T] = []
        quarantined: list[QuarantineEntry] = []

        def quarantine(row: QuarantineEntry) -> None:
            # One that belongs to no day is told for each part; the last days have it.
            if row.datetime is not None or window.date_to == outcome.window.date_to:
                quarantined.append(row)
                self.run.stats.quarantined += 1

        keep = window
        if self.border is Border.EXACT:
            # What came is passed on, also what lies beyond the days that were asked for.
            first, last = window.date_from == outcome.window.date_from, window.date_to == outcome.window.date_to
            keep = Window(None if first else window.date_from, None if last else window.date_to)
        assert outcome.rows is not None
        decoder = self._response_decoder(outcome, keep, quarantine)
        for batch in self.unpack(decoder, outcome.rows):
            if batch:
                items += batch if self.unpack is ResponseDecoder.decode else [batch]
                self.run.stats.events += len(batch)
            if self.run.loop_overdue:
                await self.run.yield_to_loop()
        self.run.stats.windows_ok += bool(items)
        self.run.stats.windows_empty += not items
        attempts = outcome.task.log.attempts
        return UnitResult(outcome.unit, window, items, None, attempts, tuple(quarantined), served_at)

    async def _result(self: Reader[Event], outcome: Outcome) -> WindowResult:
        known = len(self.quarantined)
        events: list[Event] = []
        failure: HistoryError | None = None
        try:
            for batch in self._unpacked(outcome):
                events += batch
                if self.run.loop_overdue:
                    await self.run.yield_to_loop()
        except HistoryError as error:
            self._give_up(outcome, error)
            failure = error
        return WindowResult(outcome.profile, outcome.window, tuple(events), failure, tuple(self.quarantined[known:]))

    def _batches(self, outcome: Outcome) -> Iterator[list[T]]:
        try:
            yield from self._unpacked(outcome)
        except HistoryError as error:
            self._give_up(outcome, error)
            if self.on_error == "raise":
                raise

    def _unpacked(self, outcome: Outcome) -> Iterator[list[T]]:
        """The rows of one window; empty lists stand where the caller can pause."""
        if outcome.error is not None:
            raise outcome.error
        assert outcome.rows is not None
        stats = self.run.stats
        rows = 0

        def quarantine(row: QuarantineEntry) -> None:
            stats.quarantined += 1
            self.quarantined.append(QuarantinedRow(outcome.profile, outcome.window, row.reason, row.raw))

        window = outcome.window if self.border is Border.OVERLAP else Window()
        for batch in self.unpack(self._response_decoder(outcome, window, quarantine), outcome.rows):
            rows += len(batch)
            stats.events += len(batch)
            yield batch
        stats.windows_ok += rows > 0
        stats.windows_empty += rows == 0

    def _give_up(self, outcome: Outcome, error: HistoryError) -> None:
        self._sign(outcome, error)
        self.failures.append(WindowFailure(outcome.profile, outcome.window, error))

    def _sign(self, outcome: Outcome, error: HistoryError) -> None:
        outcome.task.sign(error)
        error.forget_frames()
        self.run.stats.windows_failed += 1

    def _response_decoder(
        self, outcome: Outcome, window: Window, quarantine: Callable[[QuarantineEntry], None]
    ) -> ResponseDecoder[T]:
        owner = outcome.profile.known_id or ""
        return ResponseDecoder(self.row_decoder, window, self.order, owner, self.strict, quarantine)


def _unexpected(error: Exception) -> HistoryError:
    logger.exception("a window cannot be read")
    return HistoryError(f"the response cannot be read: {type(error).__name__}: {error}")


def _room_for(rows: Rows | None, profile: str) -> int:
    """Return how many bytes the lines of a response's rows take, or a few more."""
    return 0 if rows is None else rows.size + rows.count * len(encode_lines(profile, [b""]))
