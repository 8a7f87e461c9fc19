"""The envelope of an answer: is it one complete JSON object, and what does it say? No I/O."""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Any

import attrs

from profile_history._protocol.chunking import CHUNK_SIZE, Chunk, split_chunks, split_chunks_ahead, verify_chunk
from profile_history.errors import DecodeError, TruncatedResponse

_OUTLINE_LIMIT = 1024 * 1024
_HEAD_LIMIT = 64 * 1024
_CANDIDATES = 64
BOM = b"\xef\xbb\xbf"

_DOCUMENTED_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"data"[ \t\r\n]*:[ \t\r\n]*\[')
_DOCUMENTED_ANSWER = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*"data"[ \t\r\n]*:[ \t\r\n]*\[(.*)\][ \t\r\n]*,[ \t\r\n]*"error"[ \t\r\n]*:[ \t\r\n]*0'
    rb'[ \t\r\n]*,[ \t\r\n]*"error_text"[ \t\r\n]*:[ \t\r\n]*"[ !#-\[\]-~]{0,64}"[ \t\r\n]*\}[ \t\r\n]*',
    re.DOTALL,
)
_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*\[')
_OPENING = re.compile(rb"[ \t\r\n]*\{")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")
_UNCLOSED = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*\\?\Z', re.DOTALL)
_BEFORE_A_TEXT = frozenset("{[,:")
_JSON_BLANKS = " \t\r\n"
_pairs = json.JSONDecoder(object_pairs_hook=list)


@attrs.frozen
class Rows:
    """The rows of a verified answer, still as bytes.

    Attributes:
        chunks: They, in the server's order.
        size: Bytes; how long the answer is.
    """

    chunks: Sequence[Chunk] = attrs.field(repr=False)
    size: int

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(chunk.rows for chunk in self.chunks)


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


def read_envelope(body: bytes, pieces: deque[bytes] | None = None) -> Generator[None, None, Envelope]:
    """Verifies that an answer is one complete JSON object, in short steps.

    Args:
        body: The answer, or if it is long, some of its beginning.
        pieces: What follows; they are used up, so that they need no memory beside what is made of them.

    Raises:
        TruncatedResponse: The answer stops before its end.
        DecodeError: The answer is no such object.
    """
    pieces = deque() if pieces is None else pieces
    size = len(body) + sum(map(len, pieces))
    while pieces and len(body) < 2 * CHUNK_SIZE:
        body += pieces.popleft()
    if not pieces and size <= 2 * CHUNK_SIZE and (usual := _usual_envelope(body)):
        return usual
    body = body.removeprefix(BOM)
    chunks: list[Chunk] = []
    if pieces and (head := _DOCUMENTED_HEAD.match(body, 0, _HEAD_LIMIT)):
        chunks, tail = yield from split_chunks_ahead(body, head.end(), pieces)
        body = head[0] + tail
    elif pieces:
        body = b"".join([body, *pieces])
    envelope = yield from _any_envelope(body, size)
    if envelope.rows is None or not chunks:
        return envelope
    if not envelope.rows.chunks:
        raise DecodeError("the rows are no JSON: a row is missing after a comma", path="$.data")
    return attrs.evolve(envelope, rows=Rows([*chunks, *envelope.rows.chunks], size))


def _any_envelope(body: bytes, size: int) -> Generator[None, None, Envelope]:
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
            chunks = yield from split_chunks(body, start, stop)
        except (ValueError, RecursionError) as error:
            if problem is None:
                failure = failure or DecodeError(f"the rows are no JSON: {type(error).__name__}", path="$.data")
        else:
            if problem is None:
                return _envelope(outline, Rows(chunks, size))
            failure = problem
    raise failure or TruncatedResponse(f"the answer has no proper end after {size} bytes")


def _usual_envelope(body: bytes) -> Envelope | None:
    """What as good as every small answer is: a success in the documented order of keys, in one slice."""
    documented = _DOCUMENTED_ANSWER.fullmatch(body)
    if documented is None:
        return None
    start, stop = documented.span(1)
    with contextlib.suppress(ValueError, RecursionError):
        chunk = verify_chunk(body[start:stop])
        return Envelope(0, "", Rows((chunk,) if chunk.rows else (), len(body)))
    return None


def _check_opening(body: bytes) -> None:
    if _OPENING.match(body, 0, _HEAD_LIMIT) is None:
        blank = len(body) <= _HEAD_LIMIT and not body.strip()
        raise TruncatedResponse("the answer is empty") if blank else DecodeError("the answer is no JSON object")


def _data_start(body: bytes) -> Generator[None, None, int | None]:
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


def _data_stops(body: bytes, start: int) -> Iterator[int]:
    stop = len(body)
    for _ in range(_CANDIDATES):
        stop = body.rfind(b"]", start, stop)
        if stop < 0 or len(body) - stop + start > _OUTLINE_LIMIT:
            return
        yield stop


def _outline(text: bytes) -> tuple[dict[str, Any], DecodeError | None]:
    """Return an object, or what stands behind its end: that is asked here, since a library words it as it likes."""
    if len(text) > _OUTLINE_LIMIT:
        raise DecodeError("the answer is longer than any error message and holds no `data`", path="$.data")
    document = text.decode(json.detect_encoding(text), "surrogatepass")
    pairs, end = _pairs.raw_decode(document, len(document) - len(document.lstrip(_JSON_BLANKS)))
    if document[end:].strip(_JSON_BLANKS):
        return {}, DecodeError("something follows after the end of the answer")
    outline = dict(pairs)
    if len(outline) < len(pairs):
        raise DecodeError("a key stands twice in the answer, so it says two things")
    return outline, None


def _outline_or_problem(text: bytes) -> tuple[dict[str, Any] | None, DecodeError | None]:
    try:
        # Something seems to follow as well where a cut answer's last bracket stands inside a row; then the rows are
        # no JSON.
        return _outline(text)
    except DecodeError as error:
        return None, error
    except (ValueError, RecursionError):
        return None, None


def _only_outline(text: bytes) -> dict[str, Any]:
    try:
        outline, problem = _outline(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or _breaks_off_in_a_text(error.doc, error.pos):
            raise TruncatedResponse(f"the answer stops before its end, after {len(text)} bytes") from None
        raise DecodeError(f"the answer is no JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the answer is no JSON: {type(error).__name__}") from None
    if problem is not None:
        raise problem
    return outline


def _breaks_off_in_a_text(document: str, place: int) -> bool:
    """Tell whether a text begins at the place where a document went wrong, and never ends."""
    before = document[:place].rstrip(_JSON_BLANKS)[-1:]
    return before in _BEFORE_A_TEXT and _UNCLOSED.match(document, place) is not None


def _envelope(outline: dict[str, Any], rows: Rows | None) -> Envelope:
    code = outline.get("error")
    if isinstance(code, str) and _WHOLE_NUMBER.fullmatch(code):
        code = int(code)
    if "error" not in outline or not isinstance(code, int) or isinstance(code, bool):
        raise DecodeError("`error` is no whole number, so nothing says whether the request succeeded", path="$.error")
    text = outline.get("error_text")
    return Envelope(code, text if isinstance(text, str) else "", rows)
