"""The envelope of an answer, and its rows as verified bytes in slices that decode quickly. No I/O.

A long array is never parsed in one go, since that would hold the event loop. It is cut where a row seems to end, and
each slice is parsed alone. That is as strict as parsing the whole: a slice that starts at a row and is valid between
brackets ends at a row, because what a parser has read of a text decides the state it is in.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Annotated, Any, NamedTuple

import attrs
import msgspec

from profile_history.errors import DecodeError, TruncatedResponse

# Decoding a slice of this many bytes stays well under the 5 ms that the loop may be held, in the lenient lane too.
SLICE = 32 * 1024

_OUTLINE_LIMIT = 1024 * 1024
_HEAD_LIMIT = 64 * 1024
_CANDIDATES = 64
_TOKENS_A_STEP = 2048
_BLANKS = b" \t\r\n"
BOM = b"\xef\xbb\xbf"

_DOCUMENTED_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"data"[ \t\r\n]*:[ \t\r\n]*\[')
_DOCUMENTED_ANSWER = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*"data"[ \t\r\n]*:[ \t\r\n]*\[(.*)\][ \t\r\n]*,[ \t\r\n]*"error"[ \t\r\n]*:[ \t\r\n]*0'
    rb'[ \t\r\n]*,[ \t\r\n]*"error_text"[ \t\r\n]*:[ \t\r\n]*"[ !#-\[\]-~]{0,64}"[ \t\r\n]*\}[ \t\r\n]*',
    re.DOTALL,
)
_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*\[')
_OPENING = re.compile(rb"[ \t\r\n]*\{")
_BLANK = re.compile(rb"[ \t\r\n]*")
_BLANK_TEXT = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_FIRST_KEY = re.compile(rb'[ \t\r\n]*(\{[ \t\r\n]*"[^"\\]{1,64}")')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")


class _Label(msgspec.Struct, gc=False):
    # msgspec reads a longer one, but rounds it.
    datetime: Annotated[str, msgspec.Meta(max_length=len("2017-04-05T07:48:44.123456Z"))]


_labels = msgspec.json.Decoder(list[_Label])
_raw_rows = msgspec.json.Decoder(list[msgspec.Raw])
_plain = json.JSONDecoder(strict=False)


class Slice(NamedTuple):
    """Some rows of the body.

    Attributes:
        start: Where they start.
        stop: Where they end.
        rows: How many they are.
        usual: Whether each is an object whose `datetime` is a text that goes down to microseconds at most.
    """

    start: int
    stop: int
    rows: int
    usual: bool


@attrs.frozen
class Rows:
    """The rows of a verified answer, still as bytes.

    Attributes:
        body: The answer.
        slices: Where its rows stand.
    """

    body: bytes | bytearray = attrs.field(repr=False)
    slices: tuple[Slice, ...] = attrs.field(repr=False)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(part.rows for part in self.slices)

    @property
    def size(self) -> int:
        """How many bytes they keep in memory."""
        return len(self.body)

    def chunk(self, part: Slice) -> bytes:
        """One slice: some rows with commas between them."""
        return bytes(self.body[part.start : part.stop])


@attrs.frozen
class Envelope:
    """What an answer says about itself.

    Attributes:
        error: The `error` code, or None where there is none.
        error_text: The `error_text`, or "".
        rows: The rows, or None where `data` is no array.
    """

    error: int | None
    error_text: str = attrs.field(repr=False)
    rows: Rows | None


def read_envelope(body: bytes | bytearray) -> Generator[None, None, Envelope]:
    """Verifies that a body is one complete JSON object, in short steps.

    Raises:
        TruncatedResponse: The body stops before its end.
        DecodeError: The body is no such object.
    """
    if len(body) <= 2 * SLICE and (usual := _usual_envelope(body)):
        return usual
    return (yield from _any_envelope(body))


def _any_envelope(body: bytes | bytearray) -> Generator[None, None, Envelope]:
    if body.startswith(BOM):
        body = _without_bom(body)
    _check_opening(body)
    start = yield from _data_start(body)
    if start is None:
        return _envelope(_only_outline(body), None)
    failure: DecodeError | None = None
    for tries, stop in enumerate(_data_stops(body, start)):
        if tries:
            yield
        outline, problem = _outline_or_problem(body[:start] + body[stop:])
        if outline is None:
            failure = failure or problem
            continue
        try:
            slices = yield from _cut(body, start, stop)
        except (ValueError, RecursionError) as error:
            if problem is None:
                failure = failure or DecodeError(f"the rows are no JSON: {type(error).__name__}", path="$.data")
        else:
            if problem is None:
                return _envelope(outline, Rows(body, tuple(slices)))
            failure = problem
    raise failure or TruncatedResponse(f"the answer has no proper end after {len(body)} bytes")


def _usual_envelope(body: bytes | bytearray) -> Envelope | None:
    """What as good as every small answer is: a success in the documented order of keys, in one slice."""
    documented = _DOCUMENTED_ANSWER.fullmatch(body)
    if documented is None:
        return None
    start, stop = documented.span(1)
    with contextlib.suppress(ValueError, RecursionError):
        part = _slice(body, start, stop)
        return Envelope(0, "", Rows(body, (part,) if part.rows else ()))
    return None


def _check_opening(body: bytes | bytearray) -> None:
    if _OPENING.match(body, 0, _HEAD_LIMIT) is None:
        blank = len(body) <= _HEAD_LIMIT and not body.strip()
        raise TruncatedResponse("the answer is empty") if blank else DecodeError("the answer is no JSON object")


def split_rows(chunk: bytes) -> list[bytes]:
    """Splits some rows with commas between them into one text a row.

    Raises:
        ValueError: They are no JSON.
        RecursionError: They are nested too deeply.
    """
    return [bytes(row) for row in _parse(chunk)]


def _decodable(chunk: bytes) -> bytes:
    if not chunk.isascii():
        chunk.decode()
    return b"[%b]" % chunk


def _parse(chunk: bytes) -> list[Any]:
    try:
        return _raw_rows.decode(_decodable(chunk))
    except msgspec.DecodeError:
        return list(_split_leniently(chunk.decode()))


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


def _without_bom(body: bytes | bytearray) -> bytes | bytearray:
    if isinstance(body, bytearray):
        # In place: a copy of a long body would hold the loop.
        body[: len(BOM)] = b" " * len(BOM)
        return body
    return body.removeprefix(BOM)


def _data_start(body: bytes | bytearray) -> Generator[None, None, int | None]:
    if documented := _DOCUMENTED_HEAD.match(body, 0, _HEAD_LIMIT):
        return documented.end()
    for found in islice(_DATA.finditer(body, 0, _HEAD_LIMIT), _CANDIDATES):
        yield
        try:
            head = json.loads(body[: found.end()] + b"]}")
        except (ValueError, RecursionError):
            continue
        if head.get("data") == []:
            return found.end()
    return None


def _data_stops(body: bytes | bytearray, start: int) -> Iterator[int]:
    stop = len(body)
    for _ in range(_CANDIDATES):
        stop = body.rfind(b"]", start, stop)
        if stop < 0 or len(body) - stop + start > _OUTLINE_LIMIT:
            return
        yield stop


def _outline(text: bytes | bytearray) -> dict[str, Any]:
    if len(text) > _OUTLINE_LIMIT:
        raise DecodeError("the answer is longer than any error message and holds no `data`", path="$.data")
    pairs = json.loads(text, object_pairs_hook=list)
    outline = dict(pairs)
    if len(outline) < len(pairs):
        raise DecodeError("a key stands twice in the answer, so it says two things")
    return outline


def _outline_or_problem(text: bytes | bytearray) -> tuple[dict[str, Any] | None, DecodeError | None]:
    try:
        return _outline(text), None
    except DecodeError as error:
        return None, error
    except json.JSONDecodeError as error:
        # So it looks as well where a cut answer's last bracket stands inside a row; then the rows are no JSON.
        junk = error.msg == "Extra data"
        return ({}, DecodeError("something follows after the end of the answer")) if junk else (None, None)
    except (ValueError, RecursionError):
        return None, None


def _only_outline(text: bytes | bytearray) -> dict[str, Any]:
    try:
        return _outline(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
            raise TruncatedResponse(f"the answer stops before its end, after {len(text)} bytes") from None
        raise DecodeError(f"the answer is no JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the answer is no JSON: {type(error).__name__}") from None


def _envelope(outline: dict[str, Any], rows: Rows | None) -> Envelope:
    code = outline.get("error")
    if isinstance(code, str) and _WHOLE_NUMBER.fullmatch(code):
        code = int(code)
    if "error" not in outline or not isinstance(code, int) or isinstance(code, bool):
        raise DecodeError("`error` is no whole number, so nothing says whether the request succeeded", path="$.error")
    text = outline.get("error_text")
    return Envelope(code, text if isinstance(text, str) else "", rows)


def _cut(body: bytes | bytearray, start: int, stop: int) -> Generator[None, None, list[Slice]]:
    slices: list[Slice] = []
    start, stop = _trimmed(body, start, stop)
    if start == stop:
        return slices
    boundary = _boundary(body, start, stop) if stop - start > 2 * SLICE else None
    while True:
        part = yield from _next_slice(body, start, stop, boundary)
        if part.rows == 0:
            raise ValueError("a row is missing after a comma")
        slices.append(part)
        end = part.stop
        if end == stop:
            return slices
        comma = _COMMA.match(body, end, stop)
        if comma is None:
            raise ValueError(f"a comma is missing at {end}")
        start = comma.end()
        yield


def _next_slice(
    body: bytes | bytearray, start: int, stop: int, boundary: re.Pattern[bytes] | None
) -> Generator[None, None, Slice]:
    if boundary is None or stop - start <= 2 * SLICE:
        return _slice(body, start, stop)
    if guess := boundary.search(body, start + SLICE, min(start + 4 * SLICE, stop)):
        with contextlib.suppress(ValueError):
            return _slice(body, start, guess.start() + 1)
    end = yield from _row_end(body, start, start + SLICE, stop)
    return _slice(body, start, end)


def _slice(body: bytes | bytearray, start: int, stop: int) -> Slice:
    chunk = bytes(body[start:stop])
    try:
        return Slice(start, stop, len(_labels.decode(_decodable(chunk))), usual=True)
    except msgspec.DecodeError:
        return Slice(start, stop, len(_parse(chunk)), usual=False)


def _trimmed(body: bytes | bytearray, start: int, stop: int) -> tuple[int, int]:
    blank = _BLANK.match(body, start, stop)
    start = blank.end() if blank else start
    while start < stop and body[stop - 1] in _BLANKS:
        end = body[max(start, stop - SLICE) : stop]
        stop -= len(end) - len(end.rstrip(_BLANKS))
    return start, stop


def _boundary(body: bytes | bytearray, start: int, stop: int) -> re.Pattern[bytes]:
    first_key = _FIRST_KEY.match(body, start, stop)
    row = re.escape(first_key[1]) if first_key else rb"\{"
    return re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=" + row + rb")")


def _row_end(body: bytes | bytearray, start: int, least: int, stop: int) -> Generator[None, None, int]:
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
