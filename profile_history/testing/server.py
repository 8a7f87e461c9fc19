"""A real HTTP server of this API on loopback, over synthetic histories, which misbehaves on demand."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any, Self

from aiohttp import web

from profile_history._protocol.requests import PATH
from profile_history.client import HistoryClient
from profile_history.errors import ConfigurationError
from profile_history.events import Event
from profile_history.profiles import Matching, Profile
from profile_history.testing.api import Answer, Behaviour, answer, error_answer, known_rows
from profile_history.testing.attempt import Meeting
from profile_history.testing.delivery import CUTS, deliver
from profile_history.testing.fault_plan import FaultPlan
from profile_history.testing.fault_responses import spoil
from profile_history.testing.faults import Fault, together
from profile_history.testing.histories import Histories, events_of
from profile_history.testing.listener import Listener
from profile_history.testing.loop_thread import LoopThread
from profile_history.testing.request_log import LoggedRequest
from profile_history.windows import Window, asked_window

_LOG_LENGTH = 100_000


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
        self._busy = 0
        self._listener = Listener(self._serve, port)
        self._thread: LoopThread | None = None

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
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def list_id(self) -> int:
        """The database."""
        return self.histories.list_id

    def client(self, **options: Any) -> HistoryClient:
        """A client of this server; `options` are those of `HistoryClient`."""
        token = {} if "token_file" in options else {"token": self.token}
        return HistoryClient(self.url, **{**token, "list_id": self.list_id, **options})

    def profile(self, number: int, matching: Matching | str = Matching.XXH) -> Profile:
        """Profile `number`, counted from 0, named by a matching mode."""
        return self.histories.profile(number, matching)

    def profiles(self, matching: Matching | str = Matching.XXH) -> list[Profile]:
        """All profiles."""
        return [self.profile(number, matching) for number in range(self.histories.profiles)]

    def truth(
        self, profile: Profile, date_from: dt.date | str | None = None, date_to: dt.date | str | None = None
    ) -> list[Event]:
        """What a correct client receives now for a profile and a closed range of days, newest first."""
        number = self.histories.find(profile.body())
        window = asked_window(date_from, date_to)
        if number is None:
            return []
        events = events_of(known_rows(self.histories, self.behaviour, number))
        return [event for event in events if window.holds(event.datetime.date())]

    async def start(self) -> None:
        """Begins to listen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Ends all connections."""
        await self._listener.stop()

    async def pause(self) -> None:
        """Begins an outage: cuts all connections, and refuses new ones until `resume`.

        May be awaited on any event loop, also where the server runs in a thread.
        """
        await self._elsewhere(self._listener.pause())

    async def resume(self) -> None:
        """Ends an outage: listens again, on the same port."""
        await self._elsewhere(self._listener.resume())

    def outage(self) -> Outage:
        """An outage that lasts as long as a block.

        `async with server.outage():` works everywhere, a plain `with` where the server runs in a thread, as that of the
        fixture `history_server` does.
        """
        return Outage(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self._thread = LoopThread()
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

    async def _elsewhere(self, work: Coroutine[Any, Any, None]) -> None:
        await (work if self._thread is None else self._thread.wait_for(work))

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        reused = self._listener.reuses(request)
        body, auth = await self._read(request)
        self._busy += 1
        try:
            refusal = self._refusal(request, body, auth)
            number, reply = (None, refusal) if refusal else self._answer(body)
            meeting = self._meeting(request, body, number, met=refusal is None, reused=reused)
            if self.behaviour.latency:
                await asyncio.sleep(self.behaviour.latency)
            reply = spoil(meeting, reply)
            self._note(request, body, auth, meeting, reply)
            return await deliver(request, reply, meeting)
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

    def _meeting(
        self, request: web.BaseRequest, body: dict[str, Any], number: int | None, *, met: bool, reused: bool
    ) -> Meeting:
        window = f"{body.get('date_from')}..{body.get('date_to')}"
        attempt = self._tried[number, window]
        return Meeting(
            faults=self._draw(number, window, attempt, reused=reused) if met else (),
            plan=self._faults,
            number=number,
            asked=_asked(body),
            window=window,
            attempt=attempt,
            histories=self.histories,
            behaviour=self.behaviour,
            token=self.token,
            accepts=request.headers.get("Accept-Encoding", ""),
        )

    def _draw(self, number: int | None, window: str, attempt: int, *, reused: bool) -> tuple[Fault, ...]:
        faults = together(self.faults.draw(number, window, attempt))
        if not reused:
            faults = tuple(fault for fault in faults if fault is not Fault.STALE_CONNECTION)
        self._tried[number, window] += 1
        self.injected.update(faults)
        if not faults and attempt + 1 >= self.faults.scripted:
            del self._tried[number, window]
        return faults

    def _note(self, request: web.BaseRequest, body: dict[str, Any], auth: str, meeting: Meeting, reply: Answer) -> None:
        faults = meeting.faults
        self.log.append(
            LoggedRequest(
                meeting.number,
                str(body.get("matching", "xxh" if "xxh" in body else "email")),
                body.get("date_from"),
                body.get("date_to"),
                request.headers.get("X-Request-ID"),
                request.headers.get("User-Agent"),
                auth,
                faults[0] if faults else None,
                None if CUTS.intersection(faults) else reply.status,
                reply.rows,
                faults,
            )
        )


class Outage:
    """A time in which a server cannot be reached: see `HistoryServer.outage`."""

    def __init__(self, server: HistoryServer) -> None:
        self._server = server

    async def __aenter__(self) -> None:
        await self._server.pause()

    async def __aexit__(self, *_: object) -> None:
        await self._server.resume()

    def __enter__(self) -> None:
        self._thread().run(self._server._listener.pause())

    def __exit__(self, *_: object) -> None:
        self._thread().run(self._server._listener.resume())

    def _thread(self) -> LoopThread:
        if self._server._thread is None:
            raise RuntimeError("the server runs on your own event loop: use `async with server.outage()`")
        return self._server._thread


def _asked(body: dict[str, Any]) -> Window:
    try:
        return asked_window(body.get("date_from"), body.get("date_to"))
    except ConfigurationError:
        return Window()
