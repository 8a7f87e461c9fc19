"""The process whose instructions are counted: does each piece of work once unseen, and once between two marks."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs

from benchmarks.bodies import Body
from profile_history import HistoryClient, Pacing, Profile
from profile_history._decoding.event_decoder import EVENTS
from profile_history._decoding.raw_decoder import RAW
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._decoding.row_decoder import RowDecoder
from profile_history._protocol.chunking import Chunk, split_rows, verify_chunk
from profile_history._protocol.envelope import Rows, read_envelope
from profile_history._protocol.responses import Reply
from profile_history._sending.transport import Transport
from profile_history.windows import Order, Window

T = TypeVar("T")

SEED, NEWER, SMALL = Body(1000, "seed"), Body(1000, "newer"), Body(3, "seed")
BODIES = (SEED, NEWER, SMALL)

_PIECE = 64 * 1024
_ODD_ROWS = 200
_REQUESTS = 300
_IN_FLIGHT = 16
# All that the bodies hold but a day at either end, as where the border overlaps.
_WINDOW = Window(dt.date(2023, 1, 2), dt.date(2024, 12, 30))


@attrs.frozen
class Work:
    """Something whose instructions are counted.

    Attributes:
        name: What it is called in the reference.
        amount: How many rows or requests it deals with.
        run: Does it.
    """

    name: str
    amount: int
    run: Callable[[], object]


def main(folder: Path) -> None:
    """Do all of the work, and say in which order."""
    with asyncio.Runner() as runner:
        for work in _works(folder, runner):
            gc.collect()
            gc.disable()
            work.run()
            mark()
            work.run()
            mark()
            gc.enable()
            print(json.dumps([work.name, work.amount]))


def mark() -> None:
    """Call the function of the C library before which callgrind writes down what it has counted, and begin anew."""
    os.getppid()


def _works(folder: Path, runner: asyncio.Runner) -> Iterator[Work]:
    responses = {body: (folder / f"{body.name}.json").read_bytes() for body in BODIES}
    rows = {body: _verify(response) for body, response in responses.items()}
    for decoder, name in ((EVENTS, "events"), (RAW, "raw rows")):
        for body in (SEED, NEWER):
            yield Work(f"decoding to {name}, {body.shape} rows", body.rows, partial(_read, decoder, rows[body].chunks))
    odd = _with_unknown_key(rows[SEED].chunks[0])
    yield Work("decoding to events, with an unknown key", odd.rows, partial(_read, EVENTS, [odd]))
    for body in (SEED, NEWER):
        yield Work(f"verification, {body.shape} rows", body.rows, partial(_verify, responses[body]))
        yield Work(f"decoding of a window, {body.shape} rows", body.rows, partial(_decode_window, rows[body]))
    yield from _requests(responses[SMALL], runner)


def _read(decoder: RowDecoder[Any], chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        batch = decoder.decode(chunk.text, short_timestamps=chunk.short_timestamps)
        assert len(batch.rows) == chunk.rows


def _with_unknown_key(chunk: Chunk) -> Chunk:
    rows = split_rows(chunk.text)[:_ODD_ROWS]
    return verify_chunk(b",".join(b'{"unknown":1,' + row[1:] for row in rows))


def _verify(response: bytes) -> Rows:
    """Verify a response that came as from a network, in pieces."""
    pieces = deque(response[start : start + _PIECE] for start in range(0, len(response), _PIECE))
    rows = _driven(read_envelope(pieces.popleft(), pieces)).rows
    assert rows is not None
    return rows


def _driven(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _decode_window(rows: Rows) -> None:
    decoder = ResponseDecoder(EVENTS, _WINDOW, Order.NEWEST, owner="", strict=False, quarantine=_refuse)
    kept = sum(map(len, decoder.decode(rows)))
    assert 0 < kept < rows.count


def _refuse(row: object) -> None:
    raise AssertionError(row)


def _requests(response: bytes, runner: asyncio.Runner) -> Iterator[Work]:
    """Requests on their whole way but for the network: what sends them has the response after a turn of the loop."""
    reply = Reply(200, {}, response)

    async def send(_: Transport, *__: object, grow: Callable[[int], None], **___: object) -> Reply:
        await asyncio.sleep(0)
        grow(reply.size)
        return reply

    async def fetch() -> None:
        async with client.histories(profiles) as stream:
            assert sum([1 async for _ in stream]) == _REQUESTS * SMALL.rows

    # Not adaptive, and no pauses for the sake of the loop: both go by the clock, which would be counted with them.
    time.perf_counter = lambda: 0.0
    pacing = Pacing(concurrency=_IN_FLIGHT, adaptive=False)
    client = HistoryClient("http://127.0.0.1", token="none", list_id=1, pacing=pacing)
    profiles = [Profile.xxh(f"{number:016x}") for number in range(_REQUESTS)]
    Transport.send = send  # type: ignore[method-assign, assignment]
    yield Work("a request without the network, 3 rows", _REQUESTS, lambda: runner.run(fetch()))
    runner.run(client.aclose())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
