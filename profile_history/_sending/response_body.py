"""Read the body of a response, decoded, up to a number of bytes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import aiohttp

from profile_history._aio import MAX_SLICE_SECONDS
from profile_history._sending.content_decoder import ContentDecoder, find_decoder
from profile_history.errors import ResponseError, ResponseTooLarge

# Bytes; shorter parts are joined, since each one costs the reader of the envelope a step. As much as aiohttp buffers.
_LEAST_PART = 64 * 1024


async def read_body(
    response: aiohttp.ClientResponse, limit: int, grow: Callable[[int], None]
) -> deque[bytes] | ResponseError:
    """Read a body to its end.

    Args:
        response: The response, which aiohttp has not decompressed.
        limit: The length of the longest body that is accepted, in bytes after decompression, inclusive.
        grow: Called with the number of bytes of each part; it may raise.

    Returns:
        The body in parts, the first of which is empty if the body is; or why it is not accepted.
    """
    decoder = find_decoder(response.headers.get("Content-Encoding", ""))
    if decoder is None:
        return await _read(response.content, limit, grow)
    try:
        return await _read_decoded(response.content, decoder, limit, grow)
    except ResponseError as error:
        error.forget_frames()
        return error


async def _read(
    content: aiohttp.StreamReader, limit: int, grow: Callable[[int], None]
) -> deque[bytes] | ResponseTooLarge:
    parts = deque([await content.readany()])
    size = len(parts[0])
    grow(size)
    while size <= limit and not content.at_eof():
        part = await content.readany()
        size += len(part)
        grow(len(part))
        _append(parts, part)
    return _too_large(limit) if size > limit else parts


async def _read_decoded(
    content: aiohttp.StreamReader, decoder: ContentDecoder, limit: int, grow: Callable[[int], None]
) -> deque[bytes]:
    parts = deque([b""])
    size = 0
    while not content.at_eof():
        data = await content.readany()
        since = time.perf_counter()
        for part in decoder.decode(data):
            size += len(part)
            grow(len(part))
            if size > limit:
                raise _too_large(limit)
            _append(parts, part)
            if time.perf_counter() - since > MAX_SLICE_SECONDS:
                await asyncio.sleep(0)
                since = time.perf_counter()
    decoder.finish()
    return parts


def _append(parts: deque[bytes], part: bytes) -> None:
    if len(parts[-1]) < _LEAST_PART:
        part = parts.pop() + part
    parts.append(part)


def _too_large(limit: int) -> ResponseTooLarge:
    return ResponseTooLarge(f"the response is longer than {limit} bytes; ask for fewer days or raise Limits.body")
