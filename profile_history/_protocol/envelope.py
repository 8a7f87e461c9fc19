"""The envelope of a response: one complete JSON object with `error`, `error_text` and `data`. No I/O."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

import attrs

from profile_history._protocol.chunking import CHUNK_SIZE, Chunk, split_chunks, split_chunks_ahead, verify_chunk
from profile_history.errors import DecodeError, TruncatedResponse

# Bytes. The envelope without its rows is parsed at once, so a longer one would hold the loop; no error message is as
# long.
_OUTLINE_LIMIT = 1024 * 1024
# Bytes, in which `data` has to begin; and how many places are tried at which it might begin, or end.
_HEAD_LIMIT = 64 * 1024
_CANDIDATES = 64
BOM = b"\xef\xbb\xbf"
# RFC 1952, 2.3.1: how gzip begins, with the only method that there is.
_GZIP = b"\x1f\x8b\x08"

_DOCUMENTED_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"data"[ \t\r\n]*:[ \t\r\n]*\[')
_DOCUMENTED_RESPONSE = re.compile(
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
_rows_of = attrgetter("rows")
_pairs = json.JSONDecoder(object_pairs_hook=list)


@attrs.frozen
class Rows:
    """The rows of a verified response, still as bytes.

    Attributes:
        chunks: The rows, in the server's order.
        size: The length of the response in bytes.
    """

    chunks: Sequence[Chunk] = attrs.field(repr=False)
    size: int

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return sum(map(_rows_of, self.chunks))


@attrs.frozen
class Envelope:
    """The members of a response.

    Attributes:
        error: The `error` code, or `None` if there is none.
        error_text: The `error_text`, or "".
        rows: The rows, or `None` if `data` is no array.
    """

    error: int | None
    error_text: str = attrs.field(repr=False)
    rows: Rows | None


@attrs.frozen
class NullEnvelope(Envelope):
    """The members of a response whose `data` is null."""


@attrs.frozen
class BareEnvelope(Envelope):
    """The members of a response that has only the `error` of an envelope, as other programs' JSON may have as well."""


def read_envelope(body: bytes, rest: deque[bytes] | None = None) -> Generator[None, None, Envelope]:
    """Verify that a response is one complete JSON object, in short steps.

    Args:
        body: The response, or the beginning of a long one.
        rest: What follows, in parts as they arrived; they are used up, so that they need no memory beside the chunks.

    Returns:
        The members of the object.

    Raises:
        TruncatedResponse: The response stops before its end.
        DecodeError: The response is no such object.
    """
    rest = deque() if rest is None else rest
    size = len(body) + sum(map(len, rest))
    while rest and len(body) < 2 * CHUNK_SIZE:
        body += rest.popleft()
    if not rest and size <= 2 * CHUNK_SIZE and (documented := _read_documented(body)):
        return documented
    body = body.removeprefix(BOM)
    chunks: list[Chunk] = []
    if rest and (head := _DOCUMENTED_HEAD.match(body, 0, _HEAD_LIMIT)):
        chunks, tail = yield from split_chunks_ahead(body, head.end(), rest)
        body = head[0] + tail
    elif rest:
        body = b"".join([body, *rest])
    envelope = yield from _read_any(body, size)
    if envelope.rows is None or not chunks:
        return envelope
    if not envelope.rows.chunks:
        raise DecodeError("the rows are no JSON: a row is missing after a comma", path="$.data")
    return attrs.evolve(envelope, rows=Rows([*chunks, *envelope.rows.chunks], size))


def _read_any(body: bytes, size: int) -> Generator[None, None, Envelope]:
    _check_opening(body)
    start = yield from _find_data_start(body)
    if start is None:
        return _build_envelope(_parse_only_outline(body), None)
    failure: DecodeError | None = None
    for tries, stop in enumerate(_find_data_stops(body, start)):
        if tries:
            yield
        outline, problem = _try_outline(body[:start] + body[stop:])
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
                return _build_envelope(outline, Rows(chunks, size))
            failure = problem
    raise failure or TruncatedResponse(f"the response has no proper end after {size} bytes")


def _read_documented(body: bytes) -> Envelope | None:
    """Return the envelope of a small success with its keys in the documented order, which almost every response is."""
    documented = _DOCUMENTED_RESPONSE.fullmatch(body)
    if documented is None:
        return None
    start, stop = documented.span(1)
    try:
        chunk = verify_chunk(body[start:stop])
    except (ValueError, RecursionError):
        return None
    return Envelope(0, "", Rows((chunk,) if chunk.rows else (), len(body)))


def _check_opening(body: bytes) -> None:
    if _OPENING.match(body, 0, _HEAD_LIMIT) is None:
        blank = len(body) <= _HEAD_LIMIT and not body.strip()
        if body.startswith(_GZIP):
            raise DecodeError("the body is compressed with gzip, and its Content-Encoding does not say so")
        raise TruncatedResponse("the response is empty") if blank else DecodeError("the response is no JSON object")


def _find_data_start(body: bytes) -> Generator[None, None, int | None]:
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


def _find_data_stops(body: bytes, start: int) -> Iterator[int]:
    stop = len(body)
    for _ in range(_CANDIDATES):
        stop = body.rfind(b"]", start, stop)
        if stop < 0 or len(body) - stop + start > _OUTLINE_LIMIT:
            return
        yield stop


def _parse_outline(text: bytes) -> tuple[dict[str, Any], DecodeError | None]:
    """Return an object, and an error if something follows it.

    The error is found here, since the words of the library's own error change from one version to the next.
    """
    if len(text) > _OUTLINE_LIMIT:
        raise DecodeError("the response is longer than any error message and holds no `data`", path="$.data")
    document = text.decode(json.detect_encoding(text), "surrogatepass")
    pairs, end = _pairs.raw_decode(document, len(document) - len(document.lstrip(_JSON_BLANKS)))
    if document[end:].strip(_JSON_BLANKS):
        return {}, DecodeError("something follows after the end of the response")
    outline = dict(pairs)
    if len(outline) < len(pairs):
        raise DecodeError("a key stands twice in the response, so it says two things")
    return outline, None


def _try_outline(text: bytes) -> tuple[dict[str, Any] | None, DecodeError | None]:
    try:
        # Something seems to follow as well if the last bracket of a truncated response stands inside of a row; then
        # the rows are no JSON.
        return _parse_outline(text)
    except DecodeError as error:
        return None, error
    except (ValueError, RecursionError):
        return None, None


def _parse_only_outline(text: bytes) -> dict[str, Any]:
    try:
        outline, problem = _parse_outline(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or _breaks_off_in_text(error.doc, error.pos):
            raise TruncatedResponse(f"the response stops before its end, after {len(text)} bytes") from None
        raise DecodeError(f"the response is no JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the response is no JSON: {type(error).__name__}") from None
    if problem is not None:
        raise problem
    return outline


def _breaks_off_in_text(document: str, place: int) -> bool:
    """Tell whether a text begins at the place where a document went wrong, and never ends."""
    before = document[:place].rstrip(_JSON_BLANKS)[-1:]
    return before in _BEFORE_A_TEXT and _UNCLOSED.match(document, place) is not None


def _build_envelope(outline: dict[str, Any], rows: Rows | None) -> Envelope:
    code = outline.get("error")
    if isinstance(code, str) and _WHOLE_NUMBER.fullmatch(code):
        code = int(code)
    if "error" not in outline or not isinstance(code, int) or isinstance(code, bool):
        raise DecodeError("`error` is no whole number, so nothing says whether the request succeeded", path="$.error")
    text = outline.get("error_text")
    make = Envelope
    if "data" not in outline and "error_text" not in outline:
        make = BareEnvelope
    elif rows is None and outline.get("data", ...) is None:
        make = NullEnvelope
    return make(code, text if isinstance(text, str) else "", rows)
