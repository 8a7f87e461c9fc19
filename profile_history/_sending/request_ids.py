"""The `X-Request-ID` of each window, the same for all of its attempts and no other window's, and of probes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

# Bytes; so many that no two streams, of whatever process, draw the same.
_RANDOM_BYTES = 8


def make_request_ids() -> Iterator[str]:
    """Yield the ids of one stream's windows, without end: a random part that they share, and a number."""
    prefix = make_request_id()
    for number in count(1):  # pragma: no branch (it has no end)
        yield f"{prefix}{number:016x}"


def make_request_id() -> str:
    """Return an id for a request that belongs to no stream."""
    return os.urandom(_RANDOM_BYTES).hex()


def make_probe_id(request_id: str) -> str:
    """Return the id of a probe that repeats the request with the given id."""
    return f"probe-{request_id}"
