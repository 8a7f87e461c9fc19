"""Accept a response that states the same `Content-Length` more than once.

RFC 9112, 6.3 lets a recipient take equal lengths for one. aiohttp's parser in C refuses them, and cannot be told not
to. So the head of the response is rewritten before it gets there, but only on connections to a server that was found to
do so: with any other server aiohttp is left as it is.
"""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

# Bytes of a head; a longer one is passed on as it is, for the parser to judge.
_LONGEST_HEAD = 128 * 1024
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.IGNORECASE | re.MULTILINE)
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d\b")


def is_about_length(error: Exception) -> bool:
    """Tell whether a response was refused for the way in which it states its length, and not for chunks beside it."""
    return (
        isinstance(error, aiohttp.ClientResponseError)
        and "Content-Length" in error.message
        and "Transfer-Encoding" not in error.message
    )


def unify_lengths(head: bytes) -> bytes:
    """Return the head of a response with one `Content-Length`, if it has several that are equal; else as it is.

    Args:
        head: The status line and the headers, with their line ends.
    """
    stated = _LENGTH.findall(head)
    values = {value.strip(b" \t") for line in stated for value in line.split(b",")}
    if len(values) != 1:
        return head
    first = _LENGTH.search(head)
    assert first is not None
    return head[: first.start()] + b"Content-Length: %b\r\n" % values.pop() + _LENGTH.sub(b"", head[first.end() :])


class UnifyingProtocol(ResponseHandler):
    """A connection on which each response's head is completed, and its equal lengths unified, before it is parsed."""

    _head: bytes | None = None

    def set_response_params(self, **parameters: Any) -> None:
        """Expect the head of a response; aiohttp calls it with each request."""
        self._head = b""
        super().set_response_params(**parameters)

    def data_received(self, data: bytes) -> None:
        """Pass on what arrives, the head of a response only as a whole."""
        if self._head is not None and data:
            data, self._head = self._head + data, None
            end = _HEAD_END.search(data)
            if end is None:
                if len(data) < _LONGEST_HEAD:
                    self._head = data
                    return
            else:
                head, data = data[: end.end()], data[end.end() :]
                if _INTERIM.match(head):
                    self._head = b""
                super().data_received(unify_lengths(head))
                if data:
                    self.data_received(data)
                return
        super().data_received(data)
