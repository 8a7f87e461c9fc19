"""Long arrays of rows, cut in chunks that are verified and decoded quickly. No I/O.

A long array is never parsed in one go, since that would hold the event loop. It is cut where a row seems to end, and
each chunk is parsed alone. That is as strict as parsing the whole: a chunk that starts at a row and is valid between
brackets ends at a row, because what a parser has read of a text decides the state it is in.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from collections.abc import Generator, Iterator
from typing import Annotated, Any, NamedTuple

import msgspec

# Decoding a chunk of this many bytes stays well under the 5 ms that the loop may be held, in the lenient lane too.
CHUNK_SIZE = 32 * 1024

_TOKENS_A_STEP = 2048
_BLANKS = b" \t\r\n"

_BLANK = re.compile(rb"[ \t\r\n]*")
_BLANK_TEXT = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_FIRST_KEY = re.compile(rb'[ \t\r\n]*(\{[ \t\r\n]*"[^"\\]{1,64}")')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)


class _Label(msgspec.Struct, gc=False):
    # msgspec reads more digits, but rounds them. A longer label may have no more than six of them and a zone.
    datetime: Annotated[str, msgspec.Meta(max_length=len("2017-04-05T07:48:44.123456"))]


_labels = msgspec.json.Decoder(list[_Label])
_raw_rows = msgspec.json.Decoder(list[msgspec.Raw])
# Nothing is made of a number, since that fails for some.
_plain = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


class Chunk(NamedTuple):
    """Some verified rows.

    Attributes:
        text: Their bytes, with commas between them.
        rows: How many they are.
        short_timestamps: Whether each is an object whose `datetime` is a text too short to go beyond microseconds.
    """

    text: bytes
    rows: int
    short_timestamps: bool


def split_chunks(body: bytes, start: int, stop: int) -> Generator[None, None, list[Chunk]]:
    """Cuts the rows that stand between two places of a body, in short steps.

    Raises:
        ValueError: They are no JSON.
        RecursionError: They are nested too deeply.
    """
    chunks: list[Chunk] = []
    start, stop = _trimmed(body, start, stop)
    if start == stop:
        return chunks
    boundary = _boundary(body, start, stop)
    while True:
        chunk, end = yield from _next_chunk(body, start, stop, boundary)
        chunks.append(chunk)
        if end == stop:
            return chunks
        comma = _COMMA.match(body, end, stop)
        if comma is None:
            raise ValueError(f"a comma is missing at {end}")
        start = comma.end()
        yield


def split_chunks_ahead(
    body: bytes, start: int, pieces: deque[bytes]
) -> Generator[None, None, tuple[list[Chunk], bytes]]:
    """Cuts what can be cut without looking at the end, so that a long answer need not be put together.

    Args:
        body: The answer's beginning.
        start: Where its rows start.
        pieces: What follows; they are used up.

    Returns:
        The chunks, and all that follows them; that begins at a row, unless it is the one after a last comma.
    """
    chunks: list[Chunk] = []
    boundary = _boundary(body, start, len(body))
    while pieces and len(body) - start <= 32 * CHUNK_SIZE:
        if len(body) - start >= 5 * CHUNK_SIZE:
            with contextlib.suppress(ValueError, RecursionError):
                chunk, end = yield from _next_chunk(body, start, len(body), boundary)
                comma = _COMMA.match(body, end)
                if comma is not None and comma.end() < len(body):
                    chunks.append(chunk)
                    start = comma.end()
                    yield
                    continue
        body, start = body[start:] + pieces.popleft(), 0
    return chunks, b"".join([body[start:], *pieces])


def verify_chunk(text: bytes) -> Chunk:
    """Verifies some rows with commas between them.

    Raises:
        ValueError: They are no JSON.
        RecursionError: They are nested too deeply.
    """
    try:
        return Chunk(text, len(_labels.decode(_decodable(text))), short_timestamps=True)
    except msgspec.DecodeError:
        return Chunk(text, len(_parse(text)), short_timestamps=False)


def split_rows(text: bytes) -> list[bytes]:
    """Splits some rows with commas between them into one text a row.

    Raises:
        ValueError: They are no JSON.
        RecursionError: They are nested too deeply.
    """
    return [bytes(row) for row in _parse(text)]


def _next_chunk(
    body: bytes, start: int, stop: int, boundary: re.Pattern[bytes]
) -> Generator[None, None, tuple[Chunk, int]]:
    if stop - start <= 2 * CHUNK_SIZE:
        return _chunk(body, start, stop)
    if guess := boundary.search(body, start + CHUNK_SIZE, min(start + 4 * CHUNK_SIZE, stop)):
        with contextlib.suppress(ValueError):
            return _chunk(body, start, guess.start() + 1)
    end = yield from _row_end(body, start, start + CHUNK_SIZE, stop)
    return _chunk(body, start, end)


def _chunk(body: bytes, start: int, stop: int) -> tuple[Chunk, int]:
    chunk = verify_chunk(body[start:stop])
    if not chunk.rows:
        raise ValueError("a row is missing after a comma")
    return chunk, stop


def _trimmed(body: bytes, start: int, stop: int) -> tuple[int, int]:
    blank = _BLANK.match(body, start, stop)
    start = blank.end() if blank else start
    while start < stop and body[stop - 1] in _BLANKS:
        end = body[max(start, stop - CHUNK_SIZE) : stop]
        stop -= len(end) - len(end.rstrip(_BLANKS))
    return start, stop


def _boundary(body: bytes, start: int, stop: int) -> re.Pattern[bytes]:
    first_key = _FIRST_KEY.match(body, start, stop)
    row = re.escape(first_key[1]) if first_key else rb"\{"
    return re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=" + row + rb")")


def _row_end(body: bytes, start: int, least: int, stop: int) -> Generator[None, None, int]:
    depth = 0
    for number, token in enumerate(_TOKEN.finditer(body, start, stop), 1):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
            if depth == 0 and token.end() >= least:
                return token.end()
        elif token[0] == b"," and depth == 0 and token.start() >= least:
            return token.start()
        if number % _TOKENS_A_STEP == 0:
            yield
    return stop


def _decodable(text: bytes) -> bytes:
    if not text.isascii():
        text.decode()
    return b"[%b]" % text


def _parse(text: bytes) -> list[Any]:
    try:
        return _raw_rows.decode(_decodable(text))
    except msgspec.DecodeError:
        return list(_split_leniently(text.decode()))


# msgspec refuses a lone surrogate and a bare control character inside a string; one such row must not cost the rest.
def _split_leniently(text: str) -> Iterator[bytes]:
    place = _end_of_blank(text, 0)
    while place < len(text):
        _, end = _plain.raw_decode(text, place)
        yield text[place:end].encode()
        end = _end_of_blank(text, end)
        place = _end_of_blank(text, end + 1) if text.startswith(",", end) else end
        if (place > end) != (place < len(text)):
            raise ValueError(f"a comma or a row is missing at {end}")


def _end_of_blank(text: str, place: int) -> int:
    blank = _BLANK_TEXT.match(text, place)
    return blank.end() if blank else place
