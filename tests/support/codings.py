"""Bodies that are compressed as a `Content-Encoding` says, by the libraries that are installed."""

import gzip
import importlib
import importlib.util
import sys
import zlib

import pytest

# aiohttp asks for zstd where it finds one of them.
ZSTD = "backports.zstd" if sys.version_info < (3, 14) else "compression.zstd"


def is_installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


needs_brotli = pytest.mark.skipif(not is_installed("brotli"), reason="brotli is not installed")
needs_zstd = pytest.mark.skipif(not is_installed(ZSTD), reason=f"{ZSTD} is not installed")
BROTLI = pytest.param("br", marks=needs_brotli)
ZSTANDARD = pytest.param("zstd", marks=needs_zstd)


def pack(coding, body):
    """Return a body in a coding; "" is none."""
    match coding:
        case "gzip" | "x-gzip":
            return gzip.compress(body, mtime=0)
        case "deflate":
            return zlib.compress(body)
        case "br":
            return importlib.import_module("brotli").compress(body)
        case "zstd":
            return importlib.import_module(ZSTD).compress(body)
    return body
