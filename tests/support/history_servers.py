"""Requests to an embedded server."""

import json
from typing import NamedTuple

import aiohttp
import pytest

from profile_history._protocol.requests import PATH
from profile_history.testing import HistoryServer

TOKEN = "a-token-that-nothing-prints"
# Seconds that a server was told to wait, and those that must be seen: uvloop's clock counts whole milliseconds, at
# both ends.
DELAY, DELAY_SEEN = 0.05, 0.048


class Reply(NamedTuple):
    """What a raw request came back with."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def rows(self):
        assert (self.status, self.json["error"]) == (200, 0), self
        return self.json["data"]


async def ask(server, *, method="POST", path=PATH, headers=None, content=None, session=None, **fields):
    """Send one raw request; `fields` change the body of a good one, and None takes a field out of it."""
    good = {"token": server.token, "list_id": server.list_id, "format": "json", "matching": "email"}
    body = {"email": "user1@example.com", **good, **fields}
    if content is None:
        content = json.dumps({name: value for name, value in body.items() if value is not None})
    async with (
        aiohttp.ClientSession() as own,
        (session or own).request(method, server.url + path, data=content, headers=headers) as response,
    ):
        return Reply(response.status, response.headers, await response.read())


@pytest.fixture
async def server():
    async with HistoryServer(profiles=300, token=TOKEN) as running:
        yield running


def page(reply):
    return reply.headers["Content-Type"] == "text/html" and reply.body.startswith(b"<html>")
