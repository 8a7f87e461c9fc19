"""How the body of an answer is compressed, properly or not. No I/O."""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib
import lzma
from collections.abc import Callable

from profile_history.testing.api import Answer
from profile_history.testing.attempt import Meeting
from profile_history.testing.faults import Fault

_HEAD, _TAIL = 10, 8  # of gzip, around what is compressed
_MEMBER = 2**20
_EMPTY_MEMBERS = 10_000


def encode(meeting: Meeting, fault: Fault | None, answer: Answer) -> None:
    """Compresses the body as the fault says; without one, if the server does and the client accepts it."""
    if fault is not None:
        answer.headers["Content-Encoding"], answer.body = _ENCODERS[fault](meeting, answer.body)
    elif meeting.behaviour.gzip and "gzip" in meeting.accepts and answer.body:
        answer.headers["Content-Encoding"], answer.body = "gzip", gzip.compress(answer.body, 1)


def _truncated(meeting: Meeting, body: bytes) -> tuple[str, bytes]:
    chance = meeting.chance(Fault.TRUNCATED_GZIP)
    forms: list[tuple[str, bytes]] = [("gzip", gzip.compress(body, 1, mtime=0))]
    if (brotli := _brotli()) and "br" in meeting.accepts:
        forms.append(("br", brotli(body)))
    encoding, packed = chance.one_of(forms)
    # So much is cut that some of the text is missing: the last bytes may hold nothing but a checksum.
    return encoding, packed[: chance.between(1, _HEAD + (len(packed) - _HEAD - _TAIL) * 3 // 4)]


def _bomb(meeting: Meeting, body: bytes) -> tuple[str, bytes]:
    # JSON may be blank in front; a client that takes it all would find a good answer at the end.
    members = -(-meeting.settings(Fault.GZIP_BOMB).bomb // _MEMBER)
    return "gzip", _blank_member() * members + gzip.compress(body, 1, mtime=0)


def _chained(_: Meeting, body: bytes) -> tuple[str, bytes]:
    return "gzip, gzip", gzip.compress(gzip.compress(body, 1, mtime=0), 1, mtime=0)


def _unknown(meeting: Meeting, body: bytes) -> tuple[str, bytes]:
    forms = (("bzip2", bz2.compress(body)), ("xz", lzma.compress(body)))
    return meeting.chance(Fault.UNKNOWN_ENCODING).one_of(forms)


def _many_members(_: Meeting, body: bytes) -> tuple[str, bytes]:
    return "gzip", gzip.compress(b"", mtime=0) * _EMPTY_MEMBERS + gzip.compress(body, 1, mtime=0)


@functools.cache
def _blank_member() -> bytes:
    return gzip.compress(b" " * _MEMBER, mtime=0)


@functools.cache
def _brotli() -> Callable[[bytes], bytes] | None:
    try:
        return importlib.import_module("brotli").compress  # type: ignore[no-any-return]
    except ImportError:
        return None


_ENCODERS: dict[Fault, Callable[[Meeting, bytes], tuple[str, bytes]]] = {
    Fault.TRUNCATED_GZIP: _truncated,
    Fault.GZIP_BOMB: _bomb,
    Fault.CHAINED_GZIP: _chained,
    Fault.UNKNOWN_ENCODING: _unknown,
    Fault.EMPTY_GZIP_MEMBERS: _many_members,
}
