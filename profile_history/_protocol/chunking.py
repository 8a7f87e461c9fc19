"""Long arrays of rows, split into chunks that are verified and decoded quickly. No I/O.

A long array is never parsed at once, since that would hold the event loop. It is split where a row seems to end, and
each chunk is parsed alone. That is as strict as parsing the whole: a chunk that starts at a row and is valid between
brackets ends at a row, because the text that a parser has read decides the state it is in.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from collections.abc import Generator, Iterator
from typing import Annotated, Any, NamedTuple

import msgspec

# Bytes. To decode a chunk of this size takes well under the 5 ms that the loop may be held, row by row as well.
CHUNK_SIZE = 32 * 1024

# Tokens. To look at so many takes well under the 5 ms that the loop may be held.
_TOKENS_PER_STEP = 2048
_BLANKS = b" \t\r\n"

_BLANK = re.compile(rb"[ \t\r\n]*")
_BLANK_TEXT = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_FIRST_KEY = re.compile(rb'[ \t\r\n]*(\{[ \t\r\n]*"[^"\\]{1,64}")')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)


class _ShortTimestamp(msgspec.Struct, gc=False):
    # msgspec reads more than six digits of a second, but rounds them. A longer text may still have six digits and a
    # zone; it is then looked at again when it is decoded.
    datetime: Annotated[str, msgspec.Meta(max_length=len("2017-04-05T07:48:44.123456"))]


_short_timestamps = msgspec.json.Decoder(list[_ShortTimestamp])
_raw_rows = msgspec.json.Decoder(list[msgspec.Raw])
# Numbers stay texts, since Python refuses some of them.
_lenient = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


class Chunk(NamedTuple):
    """Consecutive verified rows.

    Attributes:
        text: Their bytes, separated by commas.
        rows: The number of rows.
        short_timestamps: Whether each row is an object whose `datetime` is too short to go beyond microseconds.
    """

    text: bytes
    rows: int
    short_timestamps: bool


def split_chunks(body: bytes, start: int, stop: int) -> Generator[None, None, list[Chunk]]:
    """Split the rows between two places of a body into verified chunks, in short steps.

    Args:
        body: The body of a response.
        start: Where its rows start, behind the bracket.
        stop: Where its rows stop, at the bracket.

    Returns:
        The chunks, in order.

    Raises:
        ValueError: The rows are no JSON.
        RecursionError: The rows are nested too deeply.
    """
    chunks: list[Chunk] = []
    start, stop = _trim_blanks(body, start, stop)
    if start == stop:
        return chunks
    boundary = _compile_boundary(body, start, stop)
    while True:
        chunk, end = yield from _take_chunk(body, start, stop, boundary)
        chunks.append(chunk)
        if end == stop:
            return chunks
        comma = _COMMA.match(body, end, stop)
        if comma is None:
            raise ValueError(f"a comma is missing at {end}")
        start = comma.end()
        yield


def split_chunks_ahead(body: bytes, start: int, rest: deque[bytes]) -> Generator[None, None, tuple[list[Chunk], bytes]]:
    """Split what can be split without the end of a response, so that a long one is never one long text.

    Args:
        body: The beginning of the response.
        start: Where its rows start, behind the bracket.
        rest: What follows, in parts as they arrived; they are used up.

    Returns:
        The verified chunks, and all that follows them, which begins at a row if there is one after the last comma.
    """
    chunks: list[Chunk] = []
    boundary = _compile_boundary(body, start, len(body))
    # If no chunk ends for so long, the rest is left to `split_chunks`: it would be copied with each part that arrives.
    while rest and len(body) - start <= 32 * CHUNK_SIZE:
        # That is more than the search for a boundary looks at, so that it never meets the end of what has arrived.
        if len(body) - start >= 5 * CHUNK_SIZE:
            with contextlib.suppress(ValueError, RecursionError):
                chunk, end = yield from _take_chunk(body, start, len(body), boundary)
                comma = _COMMA.match(body, end)
                if comma is not None and comma.end() < len(body):
                    chunks.append(chunk)
                    start = comma.end()
                    yield
                    continue
        body, start = body[start:] + rest.popleft(), 0
    return chunks, b"".join([body[start:], *rest])


def verify_chunk(text: bytes) -> Chunk:
    """Verify rows that are separated by commas, and return them as a chunk.

    Raises:
        ValueError: The rows are no JSON.
        RecursionError: The rows are nested too deeply.
    """
    try:
        return Chunk(text, len(_short_timestamps.decode(_wrap_rows(text))), short_timestamps=True)
    except msgspec.DecodeError:
        return Chunk(text, len(_parse_rows(text)), short_timestamps=False)


def split_rows(text: bytes) -> list[bytes]:
    """Split rows that are separated by commas into one text per row.

    Raises:
        ValueError: The rows are no JSON.
        RecursionError: The rows are nested too deeply.
    """
    return [bytes(row) for row in _parse_rows(text)]


def _take_chunk(
    body: bytes, start: int, stop: int, boundary: re.Pattern[bytes]
) -> Generator[None, None, tuple[Chunk, int]]:
    if stop - start <= 2 * CHUNK_SIZE:
        return _verify_between(body, start, stop)
    # A guess, since the boundary of two rows may also stand inside of a text; the chunk is no JSON then.
    if guess := boundary.search(body, start + CHUNK_SIZE, min(start + 4 * CHUNK_SIZE, stop)):
        with contextlib.suppress(ValueError):
            return _verify_between(body, start, guess.start() + 1)
    end = yield from _find_row_end(body, start, start + CHUNK_SIZE, stop)
    return _verify_between(body, start, end)


def _verify_between(body: bytes, start: int, stop: int) -> tuple[Chunk, int]:
    chunk = verify_chunk(body[start:stop])
    if not chunk.rows:
        raise ValueError("a row is missing after a comma")
    return chunk, stop


def _trim_blanks(body: bytes, start: int, stop: int) -> tuple[int, int]:
    blank = _BLANK.match(body, start, stop)
    start = blank.end() if blank else start
    while start < stop and body[stop - 1] in _BLANKS:
        end = body[max(start, stop - CHUNK_SIZE) : stop]
        stop -= len(end) - len(end.rstrip(_BLANKS))
    return start, stop


def _compile_boundary(body: bytes, start: int, stop: int) -> re.Pattern[bytes]:
    first_key = _FIRST_KEY.match(body, start, stop)
    row = re.escape(first_key[1]) if first_key else rb"\{"
    return re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=" + row + rb")")


def _find_row_end(body: bytes, start: int, least: int, stop: int) -> Generator[None, None, int]:
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
        if number % _TOKENS_PER_STEP == 0:
            yield
    return stop


def _wrap_rows(text: bytes) -> bytes:
    if not text.isascii():
        text.decode()
    return b"[%b]" % text


def _parse_rows(text: bytes) -> list[Any]:
    try:
        return _raw_rows.decode(_wrap_rows(text))
    except msgspec.DecodeError:
        return list(_split_leniently(text.decode()))


# msgspec refuses half of a surrogate pair and a bare control character in a text; one such row must not cost the rest.
def _split_leniently(text: str) -> Iterator[bytes]:
    place = _skip_blanks(text, 0)
    while place < len(text):
        _, end = _lenient.raw_decode(text, place)
        yield text[place:end].encode()
        end = _skip_blanks(text, end)
        place = _skip_blanks(text, end + 1) if text.startswith(",", end) else end
        if (place > end) != (place < len(text)):
            raise ValueError(f"a comma or a row is missing at {end}")


def _skip_blanks(text: str, place: int) -> int:
    blank = _BLANK_TEXT.match(text, place)
    return blank.end() if blank else place
