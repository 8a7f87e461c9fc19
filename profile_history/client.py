"""The client: its options, and the two verbs `history` and `histories`."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self

import aiohttp
import yarl

from profile_history import _config
from profile_history._assembly import make_shared_parts
from profile_history._checks import check_choice, expect
from profile_history._client_core import ClientCore
from profile_history._config import ClientOptions
from profile_history._deprecated import warn_deprecated
from profile_history._redaction import make_redactor
from profile_history._scheduling.reader import Reader
from profile_history._scheduling.worker_pool import Profiles, Units
from profile_history._secrets import SecretText
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
from profile_history.windows import Day, parse_window


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
        known_token = _config.resolve_token(token, token_file, environment)
        url = _config.resolve_endpoint(base_url, environment, allow_http=allow_http)
        check_choice("auth", auth, ("body", "header"))
        database = _config.resolve_list_id(list_id, environment)
        options = ClientOptions(database, window, border, order, retry, timeouts, limits, empty_data)
        redactor = make_redactor(redact_profiles)
        expect("pacing", pacing, Pacing)
        if session is not None:
            expect("session", session, aiohttp.ClientSession)
        own = session is None
        route = _config.resolve_route(proxy, ca, environment, url=url, allow_http=allow_http, own_session=own)
        if route.proxy is not None and route.proxy.authorization is not None:
            known_token.redact_also(SecretText(route.proxy.authorization.removeprefix("Basic ")))
        transport = Transport(yarl.URL(url), known_token if auth == "header" else None, session, route)
        shared = make_shared_parts(transport, pacing, Observer(on_event))
        self._core = ClientCore(known_token, auth, options, shared, redactor)

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
        given: dict[str, Any] = {
            "list_id": list_id,
            "border": border,
            "order": order,
            "retry": retry,
            "timeouts": timeouts,
            "limits": limits,
            "empty_data": empty_data,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if not (isinstance(window, str) and window == "unchanged"):
            changes["window"] = window
        copy = object.__new__(HistoryClient)
        copy._core = self._core.copy(changes)
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
        one = (expect("profile", profile, Profile),)
        days = parse_window(date_from, date_to)
        reader = self._open_core.read_profiles(one, days, on_error, single=True, strict=strict, deadline=deadline)
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
        days = parse_window(date_from, date_to)
        reader = self._open_core.read_profiles(profiles, days, on_error, single=False, strict=strict, deadline=deadline)
        return HistoryStream(reader, reader.pairs())

    def read_units(self, units: Units, probe: Unit | None = None) -> Reader[Event]:
        """Return what a job reads from: units of its own choice instead of one range for all profiles.

        Args:
            units: An iterable or asynchronous iterable, read only as fast as they are fetched.
            probe: A unit that was fetched before. It is asked for if all of `units` fail, to tell a server that is
                down from units that nobody can fetch; `None` if none is known.

        Returns:
            The views of a stream of these units.
        """
        return self._open_core.read_units(units, probe)

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
        await self._core.aclose()

    async def __aenter__(self) -> Self:
        self._open_core.shared.transport.enter()
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
        if not hasattr(self, "_core"):
            return "HistoryClient(...)"
        url, options = self._core.shared.transport.url, self._core.options
        return (
            f"HistoryClient({str(url.origin())!r}, list_id={options.list_id}, window={options.window!r}, "
            f"border={options.border.value!r}, order={options.order.value!r})"
        )

    def __del__(self) -> None:
        if hasattr(self, "_core") and self._core.unclosed:
            warnings.warn(f"{self!r} was not closed; use async with, or await aclose()", ResourceWarning, stacklevel=1)

    @property
    def pacing_state(self) -> PacingState:
        """Return how this client sends just now: requests in flight, how many may be, and the next probe."""
        return self._core.shared.pacer.state

    @property
    def redacts_profiles(self) -> bool:
        """Tell whether texts show a hash instead of what identifies a profile."""
        return self._core.redactor is not None

    @property
    def pace(self) -> PacingState:
        """Return `pacing_state`, by its old name."""
        warn_deprecated("HistoryClient.pace", "HistoryClient.pacing_state")
        return self.pacing_state

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Return how this client asks: what a job writes into its plan, and what must be the same when it goes on."""
        options = self._core.options
        return {
            "url": str(self._core.shared.transport.url),
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

    @property
    def _open_core(self) -> ClientCore:
        # Where `__init__` did not come to its end, there is none.
        core: ClientCore | None = getattr(self, "_core", None)
        if core is None or core.closed:
            raise UsageError("this client is closed; make a new one")
        return core
