"""A real HTTP server of this API on loopback, over synthetic histories, which misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gzip
import json
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any, Self

import attrs
from aiohttp import web

from profile_history.client import HistoryClient
from profile_history.events import Event
from profile_history.profiles import Matching, Profile
from profile_history.protocol import PATH
from profile_history.testing.api import Answer, Behaviour, answer, envelope, error_answer
from profile_history.testing.faults import Fault, FaultPlan
from profile_history.testing.histories import Histories
from profile_history.windows import asked_window

_LOG_LENGTH = 100_000


@attrs.frozen
class LoggedRequest:
    """One request as the server saw it; the token is not in it.

    Attributes:
        profile: The profile's number, None where there is no such profile.
        matching: The matching mode.
        date_from: The `date_from` as it was sent, None where it was left out.
        date_to: The `date_to`, likewise.
        request_id: The `X-Request-ID`.
        user_agent: The `User-Agent`.
        auth: Where the token was.
        fault: What was done to it on purpose.
        status: The HTTP status, None where the connection was cut.
        rows: How many rows were answered.
    """

    profile: int | None
    matching: str
    date_from: str | None
    date_to: str | None
    request_id: str | None
    user_agent: str | None
    auth: str
    fault: Fault | None
    status: int | None
    rows: int


class HistoryServer:
    """The documented API on 127.0.0.1.

    Use it in `async with`, and it runs on your event loop; use it in a plain `with`, and it runs in a thread of its
    own, for whatever kind of code you test.

    Args:
        profiles: How many profiles there are, numbered from 0.
        seed: Makes the histories.
        token: The only token that is let in.
        list_id: The only database there is.
        first_day: Where the histories begin.
        last_day: Where they end, inclusive.
        behaviour: The settings; `server.behaviour` may be set while it runs.
        faults: What goes wrong; `server.faults` may be set while it runs.
        port: The port; 0 for a free one.
    """

    def __init__(
        self,
        *,
        profiles: int = 1000,
        seed: int = 7,
        token: str = "loopback-token",
        list_id: int = 20,
        first_day: dt.date = dt.date(2023, 1, 1),
        last_day: dt.date = dt.date(2024, 12, 31),
        behaviour: Behaviour = Behaviour(),
        faults: FaultPlan = FaultPlan(),
        port: int = 0,
    ) -> None:
        self.histories = Histories(profiles, seed, list_id, first_day, last_day)
        self.behaviour = behaviour
        self._faults = faults
        self.token = token
        self.log: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self.injected: Counter[Fault] = Counter()
        self._tried: Counter[tuple[int | None, str]] = Counter()
        self._port = port
        self._busy = 0
        self._runner: web.ServerRunner | None = None
        self._thread: _LoopThread | None = None

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong; setting it begins the new plan at its beginning."""
        return self._faults

    @faults.setter
    def faults(self, plan: FaultPlan) -> None:
        self._faults = plan
        self._tried.clear()

    @property
    def url(self) -> str:
        """The base URL, while the server runs."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def list_id(self) -> int:
        """The database."""
        return self.histories.list_id

    def client(self, **options: Any) -> HistoryClient:
        """A client of this server; `options` are those of `HistoryClient`."""
        return HistoryClient(self.url, **{"token": self.token, "list_id": self.list_id, **options})

    def profile(self, number: int, matching: Matching | str = Matching.XXH) -> Profile:
        """Profile `number`, counted from 0, named by a matching mode."""
        return self.histories.profile(number, matching)

    def profiles(self, matching: Matching | str = Matching.XXH) -> list[Profile]:
        """All profiles."""
        return [self.profile(number, matching) for number in range(self.histories.profiles)]

    def truth(
        self, profile: Profile, date_from: dt.date | str | None = None, date_to: dt.date | str | None = None
    ) -> list[Event]:
        """What a correct client receives for a profile and a closed range of days, newest first."""
        number = self.histories.find(profile.body())
        window = asked_window(date_from, date_to)
        if number is None:
            return []
        events = self.histories.events(number, self.behaviour.rows)
        return [event for event in events if window.holds(event.datetime.date())]

    async def start(self) -> None:
        """Begins to listen."""
        server = web.Server(self._serve, handler_cancellation=True)
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Ends all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self._thread = _LoopThread()
        try:
            self._thread.run(self.start())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._thread.run(self.stop())
        self._thread.close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body, auth = await self._read(request)
        fault = None
        number: int | None = None
        self._busy += 1
        try:
            answer = self._refusal(request, body, auth)
            if answer is None:
                number, answer = self._answer(body)
                fault = self._draw(number, body)
            if self.behaviour.latency:
                await asyncio.sleep(self.behaviour.latency)
            answer = self._spoil(fault, answer)
            cut = fault in _CUTS
            self._note(request, body, auth, number, fault, None if cut else answer.status, answer.rows)
            return await self._send(request, answer, fault)
        finally:
            self._busy -= 1

    async def _read(self, request: web.BaseRequest) -> tuple[dict[str, Any], str]:
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return {}, "none"
        header = request.headers.get("Authorization", "")
        if "token" in body:
            return {**body, "token": body["token"] == self.token}, "body"
        return {**body, "token": header == f"Bearer {self.token}"}, "header" if header else "none"

    def _refusal(self, request: web.BaseRequest, body: dict[str, Any], auth: str) -> Answer | None:
        if request.path != PATH:
            return Answer(404, b"<html><h1>Not found</h1></html>", content_type="text/html")
        if request.method != "POST":
            return self._error(405, "Method not allowed")
        if self.behaviour.capacity is not None and self._busy > self.behaviour.capacity:
            return self._error(429, "Too many requests")
        if not body:
            return self._error(400, "Incorrect request")
        if auth == "none":
            return self._error(401, "Token required")
        if not body["token"]:
            return self._error(403, "No access")
        if body.get("list_id") != self.list_id:
            return self._error(403, "No access to this database")
        if body.get("format", "json") != "json":
            return self._error(400, "Incorrect request: format")
        return None

    def _answer(self, body: dict[str, Any]) -> tuple[int | None, Answer]:
        return answer(self.histories, self.behaviour, body)

    def _error(self, code: int, text: str) -> Answer:
        return error_answer(self.behaviour, code, text)

    def _draw(self, number: int | None, body: dict[str, Any]) -> Fault | None:
        window = f"{body.get('date_from')}..{body.get('date_to')}"
        attempt = self._tried[number, window]
        fault = self.faults.draw(number, window, attempt)
        self._tried[number, window] += 1
        if fault is not None:
            self.injected[fault] += 1
        elif attempt + 1 >= len(self.faults.script):
            del self._tried[number, window]
        return fault

    def _spoil(self, fault: Fault | None, answer: Answer) -> Answer:
        match fault:
            case Fault.THROTTLED:
                return self._error(429, "Too many requests")
            case Fault.THROTTLED_WITH_RETRY_AFTER:
                throttled = self._error(429, "Too many requests")
                throttled.headers["Retry-After"] = str(self.faults.retry_after)
                return throttled
            case Fault.ERROR_500:
                return self._error(500, "Internal error")
            case Fault.ERROR_502 | Fault.ERROR_503:
                status = int(fault.removeprefix("error_"))
                return Answer(status, b"<html><h1>Bad gateway</h1></html>", content_type="text/html")
            case Fault.HTML_PAGE:
                return Answer(200, b"<html><h1>Maintenance</h1></html>", content_type="text/html")
            case Fault.API_ERROR:
                return Answer(200, envelope(self.faults.api_error, "Internal error"))
        return answer

    async def _send(self, request: web.BaseRequest, answer: Answer, fault: Fault | None) -> web.StreamResponse:
        body = answer.body
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_type = answer.content_type
        if self.behaviour.gzip and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 1)
        response.content_length = len(body)
        if fault is Fault.SLOW_FIRST_BYTE:
            await asyncio.sleep(self.faults.slow)
        if fault is Fault.STALL:
            await asyncio.sleep(self.faults.stall)
        if fault in (Fault.STALL, Fault.RESET_BEFORE_ANSWER):
            _reset(request)
            return response
        with contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            if fault in (Fault.RESET_IN_BODY, Fault.TRUNCATED_BODY):
                await response.write(body[: len(body) // 2])
                await asyncio.sleep(0)
                _reset(request) if fault is Fault.RESET_IN_BODY else _hang_up(request)
            else:
                await response.write(body)
                await response.write_eof()
        return response

    def _note(
        self,
        request: web.BaseRequest,
        body: dict[str, Any],
        auth: str,
        number: int | None,
        fault: Fault | None,
        status: int | None,
        rows: int,
    ) -> None:
        self.log.append(
            LoggedRequest(
                number,
                str(body.get("matching", "xxh" if "xxh" in body else "email")),
                body.get("date_from"),
                body.get("date_to"),
                request.headers.get("X-Request-ID"),
                request.headers.get("User-Agent"),
                auth,
                fault,
                status,
                rows,
            )
        )


_CUTS = frozenset({Fault.RESET_BEFORE_ANSWER, Fault.RESET_IN_BODY, Fault.TRUNCATED_BODY, Fault.STALL})


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="history-server", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()


def _hang_up(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()
