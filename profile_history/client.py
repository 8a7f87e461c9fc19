"""The client: its options, and the two verbs `history` and `histories`."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import warnings
import weakref
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self

import aiohttp
import attrs
import yarl

from profile_history import _config
from profile_history._assembly import SharedParts, make_fetcher, make_planner, make_pool
from profile_history._checks import check_choice, check_flag, check_number, expect
from profile_history._config import ClientOptions
from profile_history._decoding.event_decoder import EVENTS
from profile_history._deprecated import warn_deprecated
from profile_history._redaction import make_redactor
from profile_history._scheduling.reader import Reader
from profile_history._scheduling.worker_pool import Profiles, Units, WorkerPool
from profile_history._secrets import SecretText
from profile_history._sending.pacer import Pacer
from profile_history._sending.pacing_state import PacingState
from profile_history._sending.transport import Transport
from profile_history.errors import ConfigurationError, UsageError
from profile_history.events import Event
from profile_history.observing import Observation, Observer
from profile_history.options import Limits, Pacing, RetryPolicy, Timeouts, WindowRule
from profile_history.profiles import Profile
from profile_history.results import OnError
from profile_history.streams import HistoryStream
from profile_history.units import Unit
from profile_history.windows import Border, Order, parse_window

Day = dt.date | str


class HistoryClient:
    """A client that downloads histories of profiles of one database.

    Make one for each event loop and share it; it is cheap until used, and its session is made with the first request.
    Use it in `async with`, or call `aclose`.

    Args:
        base_url: Scheme and host of the platform, such as "https://ru.altkraft.com"; else `PROFILE_HISTORY_URL`.
        token: The API token; else `token_file`, else `PROFILE_HISTORY_TOKEN`, else the file that
            `PROFILE_HISTORY_TOKEN_FILE` names.
        token_file: The file that holds the token instead. Nobody but its owner or root may be able to write it, and
            nobody else read it if it is yours. When the server refuses the token, the file is read again, and another
            token in it is gone on with.
        list_id: The database; else `PROFILE_HISTORY_LIST_ID`.
        session: An aiohttp session to send with; it is never closed here. By default one is made, which also notices
            bytes that a server sends unasked on a kept connection; in a session of yours they pass for a response, as
            they do for all users of aiohttp.
        auth: Where the token goes: "body" works with every version of the platform, "header" with newer ones.
        window: How a range is cut into requests: "auto" starts with the whole and halves it on evidence, a number of
            days is honoured as given, `None` means one request whatever happens.
        border: "overlap" asks for a few days more and keeps what is labelled with the wanted days, so that the result
            is right however the server reads its bounds; "exact" asks the days as they are and passes on what comes.
        order: Which end of each history comes first, "newest" or "oldest".
        retry: How often a failed request is sent again.
        pacing: How many requests are in flight at once.
        timeouts: How long one attempt may take.
        limits: How much is held in memory.
        empty_data: What a `data` of null means in a response without an error: "error" fails the window, "empty" takes
            it for no events. A missing `data`, an object and an empty body are failures in any case.
        allow_http: Whether plain http may be used with a host that is not this machine.
        proxy: The URL of an HTTP proxy, such as "http://proxy.example:3128", perhaps with user name and password; else
            `PROFILE_HISTORY_PROXY`. "direct" is none, whatever the environment says. An https server is reached
            through a tunnel (CONNECT) of which the proxy sees the host's name only; of plain http it sees the token.
        ca: Certificates to trust besides the system's store, such as that of a private CA: the path of a PEM file, read
            once; else the file that `PROFILE_HISTORY_CA` names. Or an `ssl.SSLContext`, used as it is, which may hold
            a client certificate. Neither this nor `proxy` goes with `session`.
        redact_profiles: Whether texts show a keyed hash instead of what identifies a profile: errors, logs, spans, and
            `str` and `repr` of the profiles that are handed out, whose values stay. True takes a key that is random for
            the process; pass 16 to 64 bytes as a key of your own to find the same hashes again in another one.
        on_event: A plain function that is told what the client does, such as `CircuitOpened` or `WindowDone` (the
            module `profile_history.observing` has them all). It is called on the event loop, so it must not
            block; what it raises is logged and does no harm.

    Raises:
        ConfigurationError: An argument is missing or wrong. Nothing was sent.

    Example:
        >>> async with HistoryClient(server.url, token="loopback-token", list_id=20) as client:
        ...     events = await client.history(profile, "2023-01-01", "2024-12-31").collect()
        >>> len(events)
        13
    """

    # What `__del__` looks at, also where `__init__` was not reached or did not end.
    _closed = True
    _copy = False

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        token_file: Path | str | None = None,
        list_id: int | None = None,
        session: aiohttp.ClientSession | None = None,
        auth: Literal["body", "header"] = "body",
        window: WindowRule = "auto",
        border: Literal["overlap", "exact"] = "overlap",
        order: Literal["newest", "oldest"] = "newest",
        retry: RetryPolicy = RetryPolicy(),
        pacing: Pacing = Pacing(),
        timeouts: Timeouts = Timeouts(),
        limits: Limits = Limits(),
        empty_data: Literal["error", "empty"] = "error",
        allow_http: bool = False,
        proxy: str | None = None,
        ca: Path | str | ssl.SSLContext | None = None,
        redact_profiles: bool | bytes = False,
        on_event: Callable[[Observation], object] | None = None,
    ) -> None:
        token = SecretText(token) if isinstance(token, str) else token
        base_url = SecretText(base_url) if isinstance(base_url, str) else base_url
        proxy = SecretText(proxy) if isinstance(proxy, str) else proxy
        environment = _config.Environment()
        self._token = _config.resolve_token(token, token_file, environment)
        url = _config.resolve_endpoint(base_url, environment, allow_http=allow_http)
        self._auth = check_choice("auth", auth, ("body", "header"))
        self._options = ClientOptions(
            _config.resolve_list_id(list_id, environment),
            window,
            check_choice("border", border, Border),
            check_choice("order", order, Order),
            retry,
            timeouts,
            limits,
            check_choice("empty_data", empty_data, _config.EMPTY_DATA),
        )
        self._redactor = make_redactor(redact_profiles)
        self._concurrency = expect("pacing", pacing, Pacing).concurrency
        if session is not None:
            expect("session", session, aiohttp.ClientSession)
        own = session is None
        route = _config.resolve_route(proxy, ca, environment, url=url, allow_http=allow_http, own_session=own)
        if route.proxy is not None and route.proxy.authorization is not None:
            self._token.redact_also(SecretText(route.proxy.authorization.removeprefix("Basic ")))
        observer = Observer(on_event)
        self._shared = SharedParts(
            Transport(yarl.URL(url), self._token if auth == "header" else None, session, route),
            Pacer(pacing, observer=observer),
            observer,
        )
        self._pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()
        self._fetcher = make_fetcher(self._token, self._auth, self._options, self._shared)
        self._shared.clients.add(self)
        self._closed = False

    def with_options(
        self,
        *,
        list_id: int | None = None,
        window: WindowRule | Literal["unchanged"] = "unchanged",
        border: Literal["overlap", "exact"] | None = None,
        order: Literal["newest", "oldest"] | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        empty_data: Literal["error", "empty"] | None = None,
    ) -> HistoryClient:
        """Return a cheap copy with other options; what is left out stays as it is.

        It shares session, pacing, budget and hook; closing it leaves the original open.

        Args:
            list_id: Another database.
            window: Another rule; "unchanged" leaves it as it is, since `None` has a meaning of its own.
            border: Another border.
            order: Another order.
            retry: Another retry policy.
            timeouts: Other timeouts.
            limits: Other limits.
            empty_data: Another meaning of a `data` of null.

        Returns:
            Another client, which is closed with this one.

        Raises:
            ConfigurationError: A value is wrong.

        Example:
            >>> client.with_options(order="oldest", window=31)
            HistoryClient('http://127.0.0.1:...', list_id=20, window=31, border='overlap', order='oldest')
        """
        changes: dict[str, Any] = {
            "list_id": None if list_id is None else _config.resolve_list_id(list_id, {}),
            "border": None if border is None else check_choice("border", border, Border),
            "order": None if order is None else check_choice("order", order, Order),
            "retry": retry,
            "timeouts": timeouts,
            "limits": limits,
            "empty_data": None if empty_data is None else check_choice("empty_data", empty_data, _config.EMPTY_DATA),
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        if not (isinstance(window, str) and window == "unchanged"):
            changes["window"] = window
        copy = object.__new__(HistoryClient)
        copy.__dict__.update(self.__dict__)
        copy._copy = True
        copy._options = attrs.evolve(self._options, **changes)
        copy._pools = weakref.WeakSet()
        copy._fetcher = make_fetcher(copy._token, copy._auth, copy._options, copy._shared)
        self._shared.clients.add(copy)
        return copy

    def history(
        self,
        profile: Profile,
        date_from: Day | None = None,
        date_to: Day | None = None,
        *,
        on_error: OnError = "raise",
        strict: bool = False,
        deadline: float | None = None,
    ) -> HistoryStream[Event]:
        """Return one profile's history, as an asynchronous iterator of events.

        Args:
            profile: Whose history.
            date_from: The first day, a `datetime.date` or "YYYY-MM-DD"; `None` leaves the start to the API.
            date_to: The last day, inclusive, likewise.
            on_error: "raise" ends the stream with the error of the first window that is given up; "collect" goes on
                and lists it in `stream.failures`.
            strict: Whether a row that cannot be read fails its window; else it is listed in `stream.quarantined`.
            deadline: Seconds from the first step after which `DeadlineExceeded` is raised; `None` for no limit.

        Returns:
            A stream; nothing is sent before its first step.

        Raises:
            ConfigurationError: An argument is wrong. Nothing was sent.

        Example:
            >>> async for event in client.history(profile, "2024-11-01", "2024-11-30"):
            ...     print(event.datetime.date(), event.action)
            2024-11-21 telegram_bot_deliv
            2024-11-21 telegram_bot_send
            2024-11-14 form_load
        """
        reader = self._reader(
            (expect("profile", profile, Profile),),
            date_from,
            date_to,
            on_error,
            single=True,
            strict=strict,
            deadline=deadline,
        )
        return HistoryStream(reader, reader.rows())

    def histories(
        self,
        profiles: Profiles,
        date_from: Day | None = None,
        date_to: Day | None = None,
        *,
        on_error: OnError = "raise",
        strict: bool = False,
        deadline: float | None = None,
    ) -> HistoryStream[tuple[Profile, Event]]:
        """Return the histories of many profiles, as an asynchronous iterator of pairs of a profile and an event.

        The events of one profile come in order; profiles come in completion order.

        Args:
            profiles: An iterable or asynchronous iterable, read only as fast as the histories are fetched.
            date_from: The first day, a `datetime.date` or "YYYY-MM-DD"; `None` leaves the start to the API.
            date_to: The last day, inclusive, likewise.
            on_error: "raise" ends the stream with the error of the first window that is given up; "collect" goes on
                and lists it in `stream.failures`, so that a dead profile costs no other anything.
            strict: Whether a row that cannot be read fails its window; else it is listed in `stream.quarantined`.
            deadline: Seconds from the first step after which `DeadlineExceeded` is raised; `None` for no limit.

        Returns:
            A stream; nothing is sent before its first step.

        Raises:
            ConfigurationError: An argument is wrong. Nothing was sent.

        Example:
            >>> async with client.histories(profiles, on_error="collect") as stream:
            ...     pairs = [pair async for pair in stream]
            >>> len(pairs), stream.failures, stream.stats.profiles_done
            (39, [], 3)
        """
        if isinstance(profiles, (str, bytes, Profile)) or not isinstance(profiles, (Iterable, AsyncIterable)):
            raise ConfigurationError(f"profiles is an iterable of Profile values, not {type(profiles).__name__}")
        reader = self._reader(profiles, date_from, date_to, on_error, single=False, strict=strict, deadline=deadline)
        return HistoryStream(reader, reader.pairs())

    async def aclose(self) -> None:
        """End all streams, and close the session if it was made here; safe to call twice.

        A copy made by `with_options` ends only its own streams, and closes the session only as the last one there is.

        Example:
            >>> other = HistoryClient()
            >>> await other.aclose()
            >>> other.history(profile)
            Traceback (most recent call last):
            UsageError: this client is closed; make a new one
        """
        if not self._shared.transport.closed:
            self._shared.transport.check_loop()
        self._closed = True
        self._shared.clients.discard(self)
        runs = list(self._pools if self._copy else self._shared.pools)
        for run in runs:
            run.check_task()
        try:
            await asyncio.gather(*(run.stop() for run in runs))
        finally:
            if not self._copy or not self._shared.clients:
                await self._shared.transport.aclose()

    async def __aenter__(self) -> Self:
        self._check_open()
        self._shared.transport.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> NoReturn:
        raise UsageError('a client is asynchronous; use "async with"')

    def __exit__(self, *_: object) -> None: ...

    def __copy__(self) -> HistoryClient:
        return self.with_options()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client holds the token and an open session, so it is neither pickled nor deep-copied; make one where it "
            "is needed, or take a copy with with_options()"
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_fetcher"):
            return "HistoryClient(...)"
        url, options = self._shared.transport.url, self._options
        return (
            f"HistoryClient({str(url.origin())!r}, list_id={options.list_id}, window={options.window!r}, "
            f"border={options.border.value!r}, order={options.order.value!r})"
        )

    def __del__(self) -> None:
        if not self._closed and not self._copy and self._shared.transport.unclosed:
            warnings.warn(f"{self!r} was not closed; use async with, or await aclose()", ResourceWarning, stacklevel=1)

    def _reader(
        self,
        profiles: Profiles,
        date_from: Day | None,
        date_to: Day | None,
        on_error: OnError,
        *,
        single: bool,
        strict: bool,
        deadline: float | None,
    ) -> Reader[Event]:
        self._check_open()
        check_choice("on_error", on_error, ("raise", "collect"))
        check_flag("strict", strict)
        check_number("deadline", deadline, "seconds", optional=True)
        asked = parse_window(date_from, date_to)
        make_planner(self._options)(asked)

        def make_unit(profile: object) -> Unit:
            if not isinstance(profile, Profile):
                raise ConfigurationError(
                    f"profiles are Profile values, such as Profile.email(...), not {type(profile).__name__}"
                )
            return Unit(profile, asked)

        return self._reader_of(self._start(profiles, make_unit, deadline), on_error, single=single, strict=strict)

    def read_units(self, units: Units, probe: Unit | None = None) -> Reader[Event]:
        """Return what a job reads from: units of its own choice instead of one range for all profiles.

        Args:
            units: An iterable or asynchronous iterable, read only as fast as they are fetched.
            probe: A unit that was fetched before. It is asked for if all of `units` fail, to tell a server that is
                down from units that nobody can fetch; `None` if none is known.

        Returns:
            The views of a stream of these units.
        """
        if probe is not None:
            self._fetcher.suggest_probe(self._make_units(_check_unit)(probe))
        return self._reader_of(self._start(units, _check_unit, None), "collect", single=False, strict=False)

    @property
    def pacing_state(self) -> PacingState:
        """Return how this client sends just now: requests in flight, how many may be, and the next probe."""
        return self._shared.pacer.state

    @property
    def redacts_profiles(self) -> bool:
        """Tell whether texts show a hash instead of what identifies a profile."""
        return self._redactor is not None

    @property
    def pace(self) -> PacingState:
        """Return `pacing_state`, by its old name."""
        warn_deprecated("HistoryClient.pace", "HistoryClient.pacing_state")
        return self.pacing_state

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Return how this client asks: what a job writes into its plan, and what must be the same when it goes on."""
        options = self._options
        return {
            "url": str(self._shared.transport.url),
            "list_id": options.list_id,
            "window": options.window,
            "border": options.border.value,
            "order": options.order.value,
        }

    @property
    def terms(self) -> dict[str, Any]:
        """Return `fingerprint`, by its old name."""
        warn_deprecated("HistoryClient.terms", "HistoryClient.fingerprint")
        return self.fingerprint

    def reader(self, units: Units) -> Reader[Event]:
        """Return `read_units(units)`, by its old name."""
        warn_deprecated("HistoryClient.reader", "HistoryClient.read_units")
        return self.read_units(units)

    def _start(self, wanted: Profiles | Units, make_unit: Callable[[Any], Unit], deadline: float | None) -> WorkerPool:
        self._check_open()
        pool = make_pool(
            wanted,
            self._make_units(make_unit),
            self._fetcher,
            self._options,
            self._shared,
            concurrency=self._concurrency,
            deadline=deadline,
        )
        self._pools.add(pool)
        self._shared.pools.add(pool)
        return pool

    def _make_units(self, make_unit: Callable[[Any], Unit]) -> Callable[[Any], Unit]:
        return make_unit if self._redactor is None else self._redactor.wrap(make_unit)

    def _reader_of(self, run: WorkerPool, on_error: OnError, *, single: bool, strict: bool) -> Reader[Event]:
        border, order = self._options.border, self._options.order
        return Reader(run, EVENTS, single, border, order, on_error, strict, redacts=self.redacts_profiles)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this client is closed; make a new one")


def _check_unit(unit: object) -> Unit:
    if not isinstance(unit, Unit):
        raise ConfigurationError(f"units are Unit values, not {type(unit).__name__}")
    return unit
