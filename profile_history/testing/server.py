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
from profile_history.matching import Matching
from profile_history.profiles import Profile
from profile_history.testing.api import ApiResponse, Behaviour, list_known_rows, make_error, respond
from profile_history.testing.attempt import Attempt
from profile_history.testing.delivery import CUTS, deliver
from profile_history.testing.fault_plan import FaultPlan
from profile_history.testing.fault_responses import spoil
from profile_history.testing.faults import Fault, sort_by_stage
from profile_history.testing.histories import Histories, to_events
from profile_history.testing.limiter_chain import LimiterChain, make_refusal
from profile_history.testing.listener import Listener
from profile_history.testing.loop_thread import LoopThread, run_on_loop_of
from profile_history.testing.request_log import LoggedRequest
from profile_history.windows import Window, parse_window

_LOG_LENGTH = 100_000


class HistoryServer:
    """A server of the documented API on 127.0.0.1.

    Use it in `async with`, and it runs on your event loop; use it in a plain `with`, and it runs in a thread of its
    own, for whatever kind of code you test.

    Example:
        >>> from profile_history.testing import Fault, FaultPlan, HistoryServer
        >>> async with HistoryServer(profiles=10, faults=FaultPlan(script=[Fault.ERROR_500])) as server:
        ...     profile = server.profile(3)
        ...     async with server.client() as client:
        ...         events = await client.history(profile, "2024-01-01", "2024-12-31").collect()
        >>> events == server.truth(profile, "2024-01-01", "2024-12-31")
        True
        >>> [(request.status, request.fault) for request in server.log]
        [(500, <Fault.ERROR_500: 'error_500'>), (200, None)]

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
        self.histories: Histories = Histories(profiles, seed, list_id, first_day, last_day)
        self.behaviour = behaviour
        self._faults = faults
        self._limiters = LimiterChain(faults.all_limiters)
        self.token = token
        self.log: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self.injected: Counter[Fault] = Counter()
        self._attempts: Counter[tuple[int | None, str]] = Counter()
        self._busy = 0
        self._listener = Listener(self._serve, port)
        self._thread: LoopThread | None = None

    @property
    def faults(self) -> FaultPlan:
        """Return what goes wrong; setting it begins the new plan at its beginning."""
        return self._faults

    @faults.setter
    def faults(self, plan: FaultPlan) -> None:
        self._faults = plan
        self._limiters = LimiterChain(plan.all_limiters)
        self._attempts.clear()

    @property
    def url(self) -> str:
        """Return the base URL, while the server runs."""
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def list_id(self) -> int:
        """Return the database."""
        return self.histories.list_id

    def client(self, **options: Any) -> HistoryClient:
        """Return a client of this server; `options` are those of `HistoryClient`.

        No proxy of the environment is used: it would not find the way to this machine.
        """
        token = {} if "token_file" in options else {"token": self.token}
        return HistoryClient(self.url, **{**token, "list_id": self.list_id, "proxy": "direct", **options})

    def profile(self, number: int, matching: Matching | str = Matching.XXH) -> Profile:
        """Return a profile, named by a matching mode.

        Args:
            number: Its number, counted from 0.
            matching: The mode.
        """
        return self.histories.profile(number, matching)

    def profiles(self, matching: Matching | str = Matching.XXH) -> list[Profile]:
        """Return all profiles, named by a matching mode."""
        return [self.profile(number, matching) for number in range(self.histories.profiles)]

    def truth(
        self, profile: Profile, date_from: dt.date | str | None = None, date_to: dt.date | str | None = None
    ) -> list[Event]:
        """Return what a correct client receives now, newest first.

        Args:
            profile: The profile.
            date_from: The first day, inclusive; `None` for the beginning.
            date_to: The last day, inclusive; `None` for the end.
        """
        number = self.histories.find(profile.body())
        window = parse_window(date_from, date_to)
        if number is None:
            return []
        events = to_events(list_known_rows(self.histories, self.behaviour, number))
        return [event for event in events if window.holds(event.datetime.date())]

    async def start(self) -> None:
        """Begin to listen."""
        await self._listener.start()

    async def stop(self) -> None:
        """End all connections and stop listening; safe to call twice."""
        await self._listener.stop()

    async def pause(self) -> None:
        """Begin an outage: cut all connections, and refuse new ones until `resume`.

        May be awaited on any event loop, also where the server runs in a thread.
        """
        await run_on_loop_of(self._thread, self._listener.pause())

    async def resume(self) -> None:
        """End an outage: listen again, on the same port."""
        await run_on_loop_of(self._thread, self._listener.resume())

    def outage(self) -> Outage:
        """Return an outage that lasts as long as a block.

        `async with server.outage():` works everywhere, a plain `with` where the server runs in a thread, as that of the
        fixture `history_server` does.
        """
        return Outage(self._listener, self._thread)

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

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        reused = self._listener.reuses(request)
        body, auth = await self._read(request)
        passage = self._limiters.admit(asyncio.get_running_loop().time())
        try:
            if passage.refused_by is not None:
                response = make_refusal(self.behaviour, passage.refused_by, passage.wait)
                attempt = self._make_attempt(request, body, None, met=False, reused=reused)
                self._record(request, body, auth, attempt, response)
                return await deliver(request, response, attempt)
            if passage.wait:
                await asyncio.sleep(passage.wait)
            return await self._serve_admitted(request, body, auth, reused=reused)
        finally:
            passage.release()

    async def _serve_admitted(
        self, request: web.BaseRequest, body: dict[str, Any], auth: str, *, reused: bool
    ) -> web.StreamResponse:
        self._busy += 1
        try:
            refusal = self._find_refusal(request, body, auth)
            number, response = (None, refusal) if refusal else respond(self.histories, self.behaviour, body)
            attempt = self._make_attempt(request, body, number, met=refusal is None, reused=reused)
            if self.behaviour.latency:
                await asyncio.sleep(self.behaviour.latency)
            response = spoil(attempt, response)
            self._record(request, body, auth, attempt, response)
            return await deliver(request, response, attempt)
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

    def _find_refusal(self, request: web.BaseRequest, body: dict[str, Any], auth: str) -> ApiResponse | None:
        if request.path != PATH:
            return ApiResponse(404, b"<html><h1>Not found</h1></html>", content_type="text/html")
        if request.method != "POST":
            return self._make_error(405, "Method not allowed")
        if self.behaviour.capacity is not None and self._busy > self.behaviour.capacity:
            return self._make_error(429, "Too many requests")
        if not body:
            return self._make_error(400, "Incorrect request")
        if auth == "none":
            return self._make_error(401, "Token required")
        if not body["token"]:
            return self._make_error(403, "No access")
        if body.get("list_id") != self.list_id:
            return self._make_error(403, "No access to this database")
        if body.get("format", "json") != "json":
            return self._make_error(400, "Incorrect request: format")
        return None

    def _make_error(self, code: int, text: str) -> ApiResponse:
        return make_error(self.behaviour, code, text)

    def _make_attempt(
        self, request: web.BaseRequest, body: dict[str, Any], number: int | None, *, met: bool, reused: bool
    ) -> Attempt:
        window = f"{body.get('date_from')}..{body.get('date_to')}"
        index = self._attempts[number, window]
        return Attempt(
            faults=self._draw(number, window, index, reused=reused) if met else (),
            plan=self._faults,
            profile=number,
            asked=_read_window(body),
            window=window,
            index=index,
            histories=self.histories,
            behaviour=self.behaviour,
            token=self.token,
            accepts=request.headers.get("Accept-Encoding", ""),
        )

    def _draw(self, number: int | None, window: str, attempt: int, *, reused: bool) -> tuple[Fault, ...]:
        faults = sort_by_stage(self.faults.draw(number, window, attempt))
        if not reused:
            faults = tuple(fault for fault in faults if fault is not Fault.STALE_CONNECTION)
        self._attempts[number, window] += 1
        self.injected.update(faults)
        if not faults and attempt + 1 >= self.faults.scripted:
            del self._attempts[number, window]
        return faults

    def _record(
        self, request: web.BaseRequest, body: dict[str, Any], auth: str, attempt: Attempt, response: ApiResponse
    ) -> None:
        faults = attempt.faults
        self.log.append(
            LoggedRequest(
                attempt.profile,
                str(body.get("matching", "xxh" if "xxh" in body else "email")),
                body.get("date_from"),
                body.get("date_to"),
                request.headers.get("X-Request-ID"),
                request.headers.get("User-Agent"),
                auth,
                faults[0] if faults else None,
                None if CUTS.intersection(faults) else response.status,
                response.rows,
                faults,
            )
        )


class Outage:
    """A time in which a server cannot be reached: see `HistoryServer.outage`.

    Args:
        listener: What the server listens by.
        thread: The thread that the server runs in, `None` if it runs on an event loop of the user.
    """

    def __init__(self, listener: Listener, thread: LoopThread | None) -> None:
        self._listener = listener
        self._thread = thread

    async def __aenter__(self) -> None:
        await self._run(self._listener.pause())

    async def __aexit__(self, *_: object) -> None:
        await self._run(self._listener.resume())

    def __enter__(self) -> None:
        self._require_thread().run(self._listener.pause())

    def __exit__(self, *_: object) -> None:
        self._require_thread().run(self._listener.resume())

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        await run_on_loop_of(self._thread, work)

    def _require_thread(self) -> LoopThread:
        if self._thread is None:
            raise RuntimeError("the server runs on your own event loop: use `async with server.outage()`")
        return self._thread


def _read_window(body: dict[str, Any]) -> Window:
    try:
        return parse_window(body.get("date_from"), body.get("date_to"))
    except ConfigurationError:
        return Window()
