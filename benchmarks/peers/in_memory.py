"""Limits: decoding the bytes of a response that is in memory already, and freeing what came of it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.base import Peer


class Row(msgspec.Struct):
    """A row as a typed struct, without checks beyond the types."""

    action: str
    datetime: dt.datetime
    count: int | None = None
    email: str | None = None
    list_id: int | None = None
    message_id: int | None = None
    xxh: str | None = None
    campaign_id: int | None = None
    profile_id: str | None = None
    event_id: str | None = None
    smid: str | None = None
    channel: str | None = None
    campaign_name: str | None = None
    message_name: str | None = None
    subscription: dict[str, Any] | None = None
    subscriptions: list[Any] | None = None


class Response(msgspec.Struct):
    """The envelope."""

    data: list[Row]
    error: int
    error_text: str


class Untyped(Peer):
    """To dictionaries."""

    def open(self) -> None:
        """Read the bytes."""
        self.body = Path(self.site.body).read_bytes()

    def fetch(self, requests: int) -> int:
        """Decode as often."""
        events = 0
        for _ in range(requests):
            response = msgspec.json.decode(self.body)
            events += len(response["data"])
            # Before the next is made, as in a program that streams.
            del response
        return events


class Struct(Untyped):
    """To structs."""

    def fetch(self, requests: int) -> int:
        """Decode as often."""
        decoder = msgspec.json.Decoder(Response)
        events = 0
        for _ in range(requests):
            response = decoder.decode(self.body)
            events += len(response.data)
            del response
        return events
