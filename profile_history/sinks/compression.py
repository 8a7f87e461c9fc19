"""Compressed files that can be appended to: each batch is a member of gzip, or a frame of zstd, of its own."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import attrs

from profile_history._extras import require


@attrs.frozen
class Packing:
    """A way to compress the bytes of a file.

    Attributes:
        pack: Returns a member of some bytes.
        unpack: Returns the bytes of some members.
        errors: What `unpack` raises for bytes that `pack` has not made.
    """

    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]
    errors: tuple[type[Exception], ...] = ()


def packing_of(path: Path) -> Packing:
    """Return how a file is compressed by its name: that of `.gz`, of `.zst`, or not at all.

    Args:
        path: The file.

    Raises:
        ConfigurationError: zstandard is needed and not installed.
    """
    match path.suffix:
        case ".gz":
            # Without a time, the same rows give the same bytes.
            return Packing(
                lambda data: gzip.compress(data, 6, mtime=0), gzip.decompress, (OSError, EOFError, zlib.error)
            )
        case ".zst":
            zstd = require("zstandard", "zstd")
            return Packing(zstd.compress, zstd.decompress, (zstd.ZstdError,))
        case _:
            return Packing(bytes, bytes)
