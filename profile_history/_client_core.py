"""The inside of a client, which is the same for all its verbs: options, the parts that send, and the open streams."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from profile_history._assembly import SharedParts, make_fetcher, make_planner, make_pool
from profile_history._checks import check_choice, check_flag, check_number
from profile_history._config import ClientOptions
from profile_history._decoding.event_decoder import EVENTS
from profile_history._redaction import Redactor
from profile_history._scheduling.reader import Reader
from profile_history._scheduling.worker_pool import Profiles, Units, WorkerPool
from profile_history._secrets import Token
from profile_history._sending.fetcher import Fetcher
from profile_history.errors import ConfigurationError
from profile_history.events import Event
from profile_history.profiles import Profile
from profile_history.results import OnError
from profile_history.units import Unit
from profile_history.windows import Window


@attrs.define(eq=False, repr=False)
class ClientCore:
    """The options of a client, the parts that send for it, and the streams that it has open.

    Attributes:
        token: The API token.
        auth: Where the token goes.
        options: How the client asks.
        shared: What it shares with its copies.
        redactor: Makes the texts of profiles unreadable, `None` if they are to be read.
        is_copy: Whether it was made of another one, which then closes what they share.
        closed: Whether it has ended.
        fetcher: Sends single windows.
    """

    token: Token
    auth: Literal["body", "header"]
    options: ClientOptions
    shared: SharedParts
    redactor: Redactor | None
    is_copy: bool = False
    closed: bool = False
    fetcher: Fetcher = attrs.field(init=False)
    _pools: weakref.WeakSet[WorkerPool] = attrs.field(factory=weakref.WeakSet, init=False)

    def __attrs_post_init__(self) -> None:
        self.fetcher = make_fetcher(self.token, self.auth, self.options, self.shared)
        self.shared.cores.add(self)

    def copy(self, changes: Mapping[str, Any]) -> ClientCore:
        """Return a copy with some other options, which shares the parts that send.

        Args:
            changes: The options by their names.

        Raises:
            ConfigurationError: A value is wrong.
        """
        return attrs.evolve(self, options=attrs.evolve(self.options, **changes), is_copy=True)

    @property
    def unclosed(self) -> bool:
        """Tell whether connections are left open by a client that nobody closes any more."""
        return not self.closed and not self.is_copy and self.shared.transport.unclosed

    async def aclose(self) -> None:
        """End the streams, and close the session unless copies go on with it; safe to call twice."""
        shared = self.shared
        if not shared.transport.closed:
            shared.transport.check_loop()
        self.closed = True
        shared.cores.discard(self)
        pools = list(self._pools if self.is_copy else shared.pools)
        for pool in pools:
            pool.check_task()
        try:
            await asyncio.gather(*(pool.stop() for pool in pools))
        finally:
            if not self.is_copy or not shared.cores:
                await shared.transport.aclose()

    def read_profiles(
        self,
        profiles: Profiles,
        days: Window,
        on_error: OnError,
        *,
        single: bool,
        strict: bool,
        deadline: float | None,
    ) -> Reader[Event]:
        """Return the views of a stream of the same days of some profiles.

        Args:
            profiles: Whose histories.
            days: Which days.
            on_error: What a window does that is given up.
            single: Whether there is one profile, so that it need not be told with each row.
            strict: Whether a row that cannot be read fails its window.
            deadline: Seconds from the first step after which the stream ends; `None` for no limit.

        Raises:
            ConfigurationError: A value is wrong.
        """
        check_choice("on_error", on_error, ("raise", "collect"))
        check_flag("strict", strict)
        check_number("deadline", deadline, "seconds", optional=True)
        make_planner(self.options)(days)

        def make_unit(profile: object) -> Unit:
            if not isinstance(profile, Profile):
                raise ConfigurationError(
                    f"profiles are Profile values, such as Profile.email(...), not {type(profile).__name__}"
                )
            return Unit(profile, days)

        return self._read(profiles, make_unit, deadline, on_error, single=single, strict=strict)

    def read_units(self, units: Units, probe: Unit | None) -> Reader[Event]:
        """Return the views of a stream of profiles with days of their own.

        Args:
            units: The profiles and days.
            probe: One that was fetched before; `None` if none is known.
        """
        if probe is not None:
            self.fetcher.suggest_probe(self._redact(_check_unit)(probe))
        return self._read(units, _check_unit, None, "collect", single=False, strict=False)

    def _read(
        self,
        wanted: Profiles | Units,
        make_unit: Callable[[Any], Unit],
        deadline: float | None,
        on_error: OnError,
        *,
        single: bool,
        strict: bool,
    ) -> Reader[Event]:
        options, shared = self.options, self.shared
        pool = make_pool(wanted, self._redact(make_unit), self.fetcher, options, shared, deadline=deadline)
        self._pools.add(pool)
        shared.pools.add(pool)
        redacts = self.redactor is not None
        return Reader(pool, EVENTS, single, options.border, options.order, on_error, strict, redacts=redacts)

    def _redact(self, make_unit: Callable[[Any], Unit]) -> Callable[[Any], Unit]:
        return make_unit if self.redactor is None else self.redactor.wrap(make_unit)


def _check_unit(unit: object) -> Unit:
    if not isinstance(unit, Unit):
        raise ConfigurationError(f"units are Unit values, not {type(unit).__name__}")
    return unit
