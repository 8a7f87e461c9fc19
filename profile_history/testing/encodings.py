"""The compression of a body, properly or as a fault says. No I/O."""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib
import lzma
from collections.abc import Callable

from profile_history.testing.api import ApiResponse
from profile_history.testing.attempt import Attempt
from profile_history.testing.faults import Fault

# Bytes of gzip around what is compressed, RFC 1952.
_HEAD, _TAIL = 10, 8
_MEMBER = 2**20
_EMPTY_MEMBERS = 10_000


def encode(attempt: Attempt, fault: Fault | None, response: ApiResponse) -> None:
    """Compress the body of a response, in place.

    Args:
        attempt: The attempt that the response is for.
        fault: How to compress it wrongly; `None` to do it properly, if the server does and the client accepts it.
        response: The response.
    """
    if fault is not None:
        response.headers["Content-Encoding"], response.body = _ENCODERS[fault](attempt, response.body)
    elif attempt.behaviour.gzip and "gzip" in attempt.accepts and response.body:
        response.headers["Content-Encoding"], response.body = "gzip", gzip.compress(response.body, 1)


def _truncate(attempt: Attempt, body: bytes) -> tuple[str, bytes]:
    chance = attempt.chance(Fault.TRUNCATED_GZIP)
    forms: list[tuple[str, bytes]] = [("gzip", gzip.compress(body, 1, mtime=0))]
    if (brotli := _find_brotli()) and "br" in attempt.accepts:
        forms.append(("br", brotli(body)))
    encoding, packed = chance.one_of(forms)
    # So much is cut that some of the text is missing: the last bytes may hold nothing but a checksum.
    return encoding, packed[: chance.between(1, _HEAD + (len(packed) - _HEAD - _TAIL) * 3 // 4)]


def _make_bomb(attempt: Attempt, body: bytes) -> tuple[str, bytes]:
    # JSON may begin with blanks; a client that takes them all would find a good response at the end.
    members = -(-attempt.settings(Fault.GZIP_BOMB).bomb // _MEMBER)
    return "gzip", _make_blank_member() * members + gzip.compress(body, 1, mtime=0)


def _compress_twice(_: Attempt, body: bytes) -> tuple[str, bytes]:
    return "gzip, gzip", gzip.compress(gzip.compress(body, 1, mtime=0), 1, mtime=0)


def _compress_oddly(attempt: Attempt, body: bytes) -> tuple[str, bytes]:
    forms = (("bzip2", bz2.compress(body)), ("xz", lzma.compress(body)))
    return attempt.chance(Fault.UNKNOWN_ENCODING).one_of(forms)


def _put_empty_members_before(_: Attempt, body: bytes) -> tuple[str, bytes]:
    return "gzip", gzip.compress(b"", mtime=0) * _EMPTY_MEMBERS + gzip.compress(body, 1, mtime=0)


@functools.cache
def _make_blank_member() -> bytes:
    return gzip.compress(b" " * _MEMBER, mtime=0)


def _find_brotli() -> Callable[[bytes], bytes] | None:
    try:
        return importlib.import_module("brotli").compress  # type: ignore[no-any-return]
    except ImportError:
        return None


_ENCODERS: dict[Fault, Callable[[Attempt, bytes], tuple[str, bytes]]] = {
    Fault.TRUNCATED_GZIP: _truncate,
    Fault.GZIP_BOMB: _make_bomb,
    Fault.CHAINED_GZIP: _compress_twice,
    Fault.UNKNOWN_ENCODING: _compress_oddly,
    Fault.EMPTY_GZIP_MEMBERS: _put_empty_members_before,
}
