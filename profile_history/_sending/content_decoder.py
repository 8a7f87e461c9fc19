"""Decompress the body of a response as its `Content-Encoding` says, in steps of bounded length. No I/O.

aiohttp's own decompression fails for zero padding behind gzip, does not know `x-gzip`, cannot tell a body that is cut
from one that is not compressed at all, and holds the event loop with members that are empty.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from aiohttp import compression_utils

from profile_history.errors import DecodeError, ResponseError, TruncatedResponse

# Bytes that a step takes in: a spent member gives back what is left of them as a copy.
_INPUT = 8 * 1024
# Bytes that a step yields at most, so that a bomb costs no more than that beyond the limit of a body.
_OUTPUT = 256 * 1024
# As many as aiohttp allows: each one costs some microseconds and yields nothing that a limit would count.
_MOST_EMPTY_MEMBERS = 1024
# Bytes as a power of two, which a frame may ask to keep: RFC 9659 allows no more under this content coding.
_ZSTD_WINDOW_LOG = 23
_GZIP, _ZLIB, _RAW_DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
# What the body of an API or of a page begins with, where an unknown coding is only a wrong label.
_TEXT_BEGINS_WITH = (b"{", b"[", b"<", b" ", b"\t", b"\r", b"\n", b"\xef\xbb\xbf")
_NO_CODING = ("", "identity")


class ContentDecoder(Protocol):
    """A decoder of one body."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the body decode to; an empty step stands where the caller can pause."""

    def finish(self) -> None:
        """Check that the body has come to its end."""


class _Members(ABC):
    """A decoder of members that follow one another, each with an end of its own.

    Args:
        make: Makes the decompressor of one member.
        kind: What the members are, for messages.
    """

    def __init__(self, make: Callable[[], Any], kind: str) -> None:
        self._make = make
        self._kind = kind
        self._member = make()
        self._begun = False
        self._empty_members = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        for start in range(0, len(data), _INPUT):
            yield from self._decode_some(data[start : start + _INPUT])

    @abstractmethod
    def _decode_some(self, data: bytes) -> Iterator[bytes]:
        """Yield what some bytes decode to, and pause at least once."""

    def _begin_member(self) -> None:
        self._empty_members += 1
        if self._empty_members > _MOST_EMPTY_MEMBERS:
            raise DecodeError(f"more than {_MOST_EMPTY_MEMBERS} empty {self._kind} follow one another")
        self._member = self._make()

    def finish(self) -> None:
        if self._begun and not self._member.eof:
            raise TruncatedResponse("the compressed body stops before its end")


class _Zlib(_Members):
    """A decoder of gzip, or of deflate.

    Args:
        wbits: The format, as zlib knows it.
    """

    def __init__(self, wbits: int) -> None:
        super().__init__(lambda: zlib.decompressobj(wbits), "gzip members")
        self._may_lack_head = wbits == _ZLIB

    def decode(self, data: bytes) -> Iterator[bytes]:
        # Servers that mean deflate without the head that RFC 9110, 8.4.1.2 asks for: its first byte tells (RFC 1950).
        if data and not self._begun and self._may_lack_head and data[0] & 0x0F != zlib.DEFLATED:
            self._member = zlib.decompressobj(_RAW_DEFLATE)
        return super().decode(data)

    def _decode_some(self, data: bytes) -> Iterator[bytes]:
        more = True
        while more:
            if self._member.eof:
                # Zeros pad a file to the length of a block; gzip itself skips them.
                data = data.lstrip(b"\0")
                if not data:
                    break
                self._begin_member()
            text = self._member.decompress(data, _OUTPUT)
            if text:
                self._empty_members = 0
                yield text
            data = self._member.unconsumed_tail or self._member.unused_data
            more = bool(data) or len(text) == _OUTPUT
        yield b""


class _ZstdFrames(_Members):
    """A decoder of zstd frames, RFC 8878.

    aiohttp's own says nothing of an end that is missing, and takes all frames of a step in one go: each costs as much
    as a page of text, so that empty ones would hold the event loop for tens of milliseconds.
    """

    def __init__(self) -> None:
        # The home of what aiohttp decompresses with, where it finds it.
        library = importlib.import_module("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
        options = {library.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        super().__init__(lambda: library.ZstdDecompressor(options=options), "zstd frames")

    def _decode_some(self, data: bytes) -> Iterator[bytes]:
        more = True
        while more:
            if self._member.eof:
                self._begin_member()
            text = self._member.decompress(data, _OUTPUT)
            if text:
                self._empty_members = 0
            yield text
            data = self._member.unused_data
            # It keeps what it was given beyond the length of a step.
            more = bool(data) if self._member.eof else not self._member.needs_input


class _Brotli:
    """A decoder of brotli: of an end that is missing it says nothing, the JSON does."""

    def __init__(self) -> None:
        self._decompressor = compression_utils.BrotliDecompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _INPUT):
            yield self._decompressor.decompress_sync(data[start : start + _INPUT], _OUTPUT)
            while self._decompressor.data_available:
                yield self._decompressor.decompress_sync(b"", _OUTPUT)

    def finish(self) -> None: ...


class _Checked:
    """A decoder whose failures say what the body should have been.

    Args:
        coding: The name of the coding.
        decoder: What decodes.
    """

    def __init__(self, coding: str, decoder: ContentDecoder) -> None:
        self._coding = coding
        self._decoder = decoder

    def decode(self, data: bytes) -> Iterator[bytes]:
        try:
            yield from self._decoder.decode(data)
        except ResponseError:
            raise
        except Exception:  # noqa: BLE001 (each library has an error of its own)
            raise DecodeError(f"the body is not {self._coding}, as its Content-Encoding says it is") from None

    def finish(self) -> None:
        self._decoder.finish()


class _Mislabelled:
    """A decoder of a coding that nobody asked for, or knows: a text under it is taken as it is."""

    def __init__(self) -> None:
        self._begun = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        if data and not self._begun and not data.startswith(_TEXT_BEGINS_WITH):
            # The header is not quoted: it may hold the token.
            raise DecodeError("the body is compressed in a way that was not asked for; see its Content-Encoding")
        self._begun = self._begun or bool(data)
        yield data

    def finish(self) -> None: ...


_DECODERS: dict[str, Callable[[], ContentDecoder]] = {
    "gzip": lambda: _Zlib(_GZIP),
    # RFC 9110, 8.4.1.3: to be taken for gzip.
    "x-gzip": lambda: _Zlib(_GZIP),
    "deflate": lambda: _Zlib(_ZLIB),
}
# Those that aiohttp asks for where it finds the libraries.
_OPTIONAL: dict[str, tuple[bool, Callable[[], ContentDecoder]]] = {
    "br": (compression_utils.HAS_BROTLI, _Brotli),
    "zstd": (compression_utils.HAS_ZSTD, _ZstdFrames),
}
_DECODERS.update({coding: make for coding, (found, make) in _OPTIONAL.items() if found})


def find_decoder(content_encoding: str) -> ContentDecoder | None:
    """Return a decoder for one body, or `None` if it is not encoded.

    Args:
        content_encoding: The header `Content-Encoding` of the response; "" if it has none.
    """
    coding = content_encoding.strip(" \t").lower()
    if coding in _NO_CODING:
        return None
    if "," in coding:
        # RFC 9110, 5.6.1: empty members of a list are to be ignored.
        named = [part for part in (member.strip(" \t") for member in coding.split(",")) if part not in _NO_CODING]
        if not named:
            return None
        coding = ",".join(named)
    make = _DECODERS.get(coding)
    return _Mislabelled() if make is None else _Checked(coding, make())
