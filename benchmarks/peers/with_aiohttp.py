"""aiohttp: doing nothing with the bytes, and with the decoders one writes behind it by hand."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import attrs
import orjson
from cattrs.preconf.json import make_converter as make_json_converter
from cattrs.preconf.orjson import make_converter as make_orjson_converter

from benchmarks.peers.base import HEADERS, REQUEST, AsyncPeer, fan_out
from profile_history import Action

BODY = json.dumps(REQUEST).encode()


@attrs.frozen
class Event:
    """What somebody who decodes by hand with cattrs would declare: the same fields and types as ours."""

    action: Action
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
    subscription: Mapping[str, Any] | None = None
    subscriptions: Sequence[Any] | None = None
    fields: Mapping[str, Any] | None = None


class Aiohttp(AsyncPeer):
    """One session; its limit of connections is the number of requests in flight."""

    async def start(self) -> None:
        """Make the session."""
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self.site.in_flight))

    async def work(self, requests: int) -> int:
        """Make some requests."""
        return await fan_out(requests, self.site.in_flight, self.one)

    async def stop(self) -> None:
        """Close the session."""
        await self.session.close()

    async def one(self) -> int:
        """Make one request."""
        raise NotImplementedError


class Bare(Aiohttp):
    """Reads the bytes and does nothing with them."""

    async def one(self) -> int:
        """Make one request, and recognise the response by its length."""
        async with self.session.post(self.url, data=BODY, headers=HEADERS) as response:
            body = await response.read()
        if len(body) != self.site.size:
            raise RuntimeError(f"{len(body)} bytes of {self.site.size}")
        return self.site.rows


class BareTuned(Bare):
    """The same on a session without a jar, a limit, or a look at the environment, as this library's is."""

    async def start(self) -> None:
        """Make the session."""
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=aiohttp.ThreadedResolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


class Json(Aiohttp):
    """Dictionaries by the standard library."""

    async def one(self) -> int:
        """Make one request and read its rows."""
        async with self.session.post(self.url, data=BODY, headers=HEADERS) as response:
            response.raise_for_status()
            return counted(await response.json())


class Orjson(Aiohttp):
    """Dictionaries by orjson."""

    async def one(self) -> int:
        """Make one request and read its rows."""
        async with self.session.post(self.url, data=BODY, headers=HEADERS) as response:
            response.raise_for_status()
            return counted(orjson.loads(await response.read()))


class JsonCattrs(Aiohttp):
    """Objects by cattrs, with the converter that its documentation has for json."""

    converter = make_json_converter()

    async def one(self) -> int:
        """Make one request and read its events."""
        async with self.session.post(self.url, data=BODY, headers=HEADERS) as response:
            response.raise_for_status()
            payload = await response.json()
        return counted({**payload, "data": self.converter.structure(payload["data"], list[Event])})


class OrjsonCattrs(Aiohttp):
    """Objects by cattrs, with the converter that its documentation has for orjson."""

    converter = make_orjson_converter()

    async def one(self) -> int:
        """Make one request and read its events."""
        async with self.session.post(self.url, data=BODY, headers=HEADERS) as response:
            response.raise_for_status()
            payload = orjson.loads(await response.read())
        return counted({**payload, "data": self.converter.structure(payload["data"], list[Event])})


def counted(payload: dict[str, Any]) -> int:
    """Check a response, and go through its rows one by one, as whoever wanted them would."""
    if payload["error"] != 0:
        raise RuntimeError(payload["error_text"])
    rows = 0
    for _row in payload["data"]:
        rows += 1
    return rows
