"""The options of a client that several commands share, and the client they make."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import attrs
import yarl
from cyclopts import Group, Parameter

from profile_history import _config
from profile_history.cli.signals import stopper
from profile_history.client import HistoryClient
from profile_history.errors import ConfigurationError
from profile_history.options import Pacing, RetryPolicy, WindowRule

_GROUP = Group("Client", sort_key=10)


@Parameter(name="*", group=_GROUP)
@attrs.frozen
class ConnectionOptions:
    """Options that say how a server is reached; they may change while a job waits.

    Attributes:
        url: Scheme and host of the platform.
        token_file: The file that holds the token. Nobody but its owner or root may be able to write it, and nobody else
            read it if it is yours.
        auth: Where the token goes.
        concurrency: The most requests in flight at once.
        rate: The most requests that start in any one second; no limit by default.
        patience: Seconds to wait for a server that fails for every request, or that asks to be left alone.
        allow_http: Allow plain http to a host that is not this machine.
        proxy: The URL of an HTTP proxy, without a password: PROFILE_HISTORY_PROXY may hold one. "direct" is no proxy.
        ca: A PEM file of certificates to trust besides the system's, such as that of a private CA.
        redact_profiles: Show a hash instead of what identifies a profile in all that goes to stderr; it is another one
            with each run.
        empty_data: What a `data` of null means in a response without an error: a failure, or no events (empty).
    """

    url: str | None = None
    token_file: Path | None = None
    auth: Literal["body", "header"] = "body"
    concurrency: int = 16
    rate: float | None = None
    patience: float = 900.0
    allow_http: Annotated[bool, Parameter(negative="")] = False
    proxy: str | None = None
    ca: Path | None = None
    redact_profiles: Annotated[bool, Parameter(negative="")] = False
    empty_data: Literal["error", "empty"] = "error"

    def with_default_url(self, url: str, *, ledger_first: bool = False) -> Self:
        """Return the same options, with the address in the plan of a job if none was given.

        Args:
            url: The address in the plan.
            ledger_first: Whether it takes precedence over the one in the environment.
        """
        given = self.url if ledger_first else self.url or os.environ.get(_config.URL)
        return attrs.evolve(self, url=given or url)

    def overrules_environment(self) -> bool:
        """Return whether the environment names another address than these options, or none that is fit to be used."""
        if not os.environ.get(_config.URL):
            return False
        try:
            ours, theirs = (
                yarl.URL(_config.resolve_endpoint(url, _config.Environment(), allow_http=True))
                for url in (self.url, None)
            )
        except ConfigurationError:
            return True
        # Compared as a client keeps them: hosts in lower case.
        return ours != theirs

    def to_words(self) -> str:
        """Return the words that have to be typed again to reach the server the same way, with a blank before them."""
        usual = ConnectionOptions()
        given = [
            f" --{field.name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(str(value))}")
            for field in attrs.fields(ConnectionOptions)
            if field.name != "url" and (value := getattr(self, field.name)) != getattr(usual, field.name)
        ]
        return "".join(given)


@Parameter(name="*", group=_GROUP)
@attrs.frozen
class RequestOptions:
    """Options that say what is asked of the server, and how.

    Attributes:
        list_id: The database.
        window: A number of days per request, "none" for one request per profile, or "auto", which is the default.
        border: Ask for a few days more and keep the wanted ones (overlap, the default), or ask for the days as they
            are.
        order: Which end of each history comes first; newest is the default.
    """

    list_id: int | None = None
    window: str | None = None
    border: Literal["overlap", "exact"] | None = None
    order: Literal["newest", "oldest"] | None = None

    @classmethod
    def from_terms(cls, terms: Mapping[str, Any]) -> Self:
        """Return the options that the plan of a job says."""
        rule = terms["window"]
        return cls(terms["list_id"], "none" if rule is None else str(rule), terms["border"], terms["order"])

    def with_defaults(self, terms: Mapping[str, Any]) -> Self:
        """Return the same options, completed by those that the plan of a job says."""
        planned = RequestOptions.from_terms(terms)
        list_id = None if _config.LIST_ID in os.environ else planned.list_id
        return attrs.evolve(
            self,
            list_id=list_id if self.list_id is None else self.list_id,
            window=self.window or planned.window,
            border=self.border or planned.border,
            order=self.order or planned.order,
        )


def make_client(
    connection: ConnectionOptions, request: RequestOptions, on_event: Callable[[Any], object]
) -> HistoryClient:
    """Return a client with these options; a person may be asked for the token on the terminal.

    Args:
        connection: How the server is reached.
        request: What is asked of it.
        on_event: The client's hook.

    Raises:
        ConfigurationError: An option is missing or wrong.
    """
    _require("--url", connection.url, _config.URL)
    _config.resolve_endpoint(connection.url, _config.Environment(), allow_http=connection.allow_http)
    _require("--list-id", request.list_id, _config.LIST_ID)
    retry = RetryPolicy(patience=connection.patience)
    return HistoryClient(
        connection.url,
        token=None if connection.token_file else _read_token(),
        token_file=connection.token_file,
        list_id=request.list_id,
        auth=connection.auth,
        window=_parse_window(request.window or "auto"),
        border=request.border or "overlap",
        order=request.order or "newest",
        retry=retry,
        pacing=Pacing(concurrency=connection.concurrency, requests_per_second=connection.rate),
        empty_data=connection.empty_data,
        redact_profiles=connection.redact_profiles,
        allow_http=connection.allow_http,
        proxy=connection.proxy,
        ca=connection.ca,
        on_event=on_event,
    )


def _read_token() -> str | None:
    if _config.TOKEN in os.environ or _config.TOKEN_FILE in os.environ or not sys.stdin.isatty():
        _require("--token-file", None, _config.TOKEN_FILE, _config.TOKEN)
        return None
    with stopper:
        # The terminal has to show again what is typed, whatever ends this.
        return getpass.getpass("API token: ")


def _require(option: str, value: object, *variables: str) -> None:
    if value is None and not any(variable in os.environ for variable in variables):
        raise ConfigurationError(f"{option} is missing; pass it, or set {' or '.join(variables)}")


def _parse_window(text: str) -> WindowRule:
    if text == "none":
        return None
    if text.isdecimal():
        return int(text)
    if text != "auto":
        raise ConfigurationError(f'--window is "auto", a number of days, or "none", not {text!r}')
    return "auto"
