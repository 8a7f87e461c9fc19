"""The command `fetch`: histories to stdout or a file."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from rich.console import Console

from profile_history import settings
from profile_history.cli import formats
from profile_history.cli.display import Health
from profile_history.cli.downloading import Download, Tally
from profile_history.cli.running import run
from profile_history.client import HistoryClient
from profile_history.errors import ConfigurationError
from profile_history.options import Pacing, RetryPolicy
from profile_history.profiles import Matching, Profile
from profile_history.walking import WindowRule
from profile_history.windows import Order, asked_window


def fetch(
    values: Annotated[list[str], cyclopts.Parameter(name="VALUE", negative="")],
    /,
    *,
    matching: Annotated[Matching, cyclopts.Parameter(name_transform=str.lower)],
    from_: Annotated[str | None, cyclopts.Parameter(name="--from")] = None,
    to: str | None = None,
    format_: Annotated[formats.Name, cyclopts.Parameter(name="--format")] = "table",
    output: Path | None = None,
    overwrite: Annotated[bool, cyclopts.Parameter(negative="")] = False,
    url: str | None = None,
    list_id: int | None = None,
    token_file: Path | None = None,
    auth: Literal["body", "header"] = "body",
    window: str = "auto",
    border: Literal["overlap", "exact"] = "overlap",
    order: Literal["newest", "oldest"] = "newest",
    concurrency: int = 16,
    patience: float = 900.0,
    deadline: float | None = None,
    allow_http: Annotated[bool, cyclopts.Parameter(negative="")] = False,
) -> int:
    """Fetch the histories of one or more profiles.

    Events go to stdout or a file; progress and errors go to stderr.

    Parameters
    ----------
    values
        The profiles, in the words of the matching mode: an address, a phone number, an id, PROVIDER:SUBSCRIPTION_ID
        for push_sub, FIELD_NAME=FIELD_VALUE for custom, EMAIL,PHONE for email_phone. A single - reads them from stdin,
        one a line.
    matching
        How the API finds the profiles.
    from_
        The first day, YYYY-MM-DD; left out, the API decides.
    to
        The last day, inclusive; left out, the API decides.
    format_
        Aligned columns, or one JSON object a line.
    output
        Write the events to this file.
    overwrite
        Replace the file if it is there.
    url
        Scheme and host of the platform.
    list_id
        The database.
    token_file
        The file that holds the token; only its owner may be able to read it.
    auth
        Where the token goes.
    window
        "auto", a number of days a request, or "none" for one request a profile.
    border
        Ask for a few days more and keep the wanted ones, or ask for the days as they are.
    order
        Which end of each history comes first.
    concurrency
        The most requests on their way at once.
    patience
        Seconds to wait for a server that fails for every request, or that asks to be left alone.
    deadline
        Seconds after which to give up.
    allow_http
        Allow plain http to a host that is not this machine.
    """
    profiles = [Profile.parse(matching, value) for value in _values(values)]
    _demand("--url", url, settings.URL)
    settings.endpoint(url, settings.Environment(), allow_http=allow_http)
    _demand("--list-id", list_id, settings.LIST_ID)
    retry = RetryPolicy(patience=patience)
    health = Health(patience)
    client = HistoryClient(
        url,
        token=_token(token_file),
        list_id=list_id,
        auth=auth,
        window=_window(window),
        border=border,
        order=order,
        retry=retry,
        pacing=Pacing(concurrency=concurrency),
        allow_http=allow_http,
        on_event=health.note,
    )
    stream = client.histories(profiles, from_, to, on_error="collect", deadline=deadline).windows()
    tally = Tally(asked_window(from_, to), Order(order))
    download = Download(client, stream, len(profiles), tally, format_, Console(stderr=True), health)
    return run(download.to(output, overwrite=overwrite))


def _values(values: list[str]) -> list[str]:
    if values != ["-"]:
        return values
    try:
        return [line.strip() for line in sys.stdin if line.strip()]
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"stdin is no text in {sys.stdin.encoding}; convert it, for example with iconv"
        ) from None


def _token(file: Path | None) -> str | None:
    if file is not None:
        return settings.token_from_file(file).reveal()
    if settings.TOKEN in os.environ or settings.TOKEN_FILE in os.environ or not sys.stdin.isatty():
        _demand("--token-file", None, settings.TOKEN_FILE, settings.TOKEN)
        return None
    return getpass.getpass("API token: ")


def _demand(option: str, value: object, *variables: str) -> None:
    if value is None and not any(variable in os.environ for variable in variables):
        raise ConfigurationError(f"{option} is missing; pass it, or set {' or '.join(variables)}")


def _window(text: str) -> WindowRule:
    if text == "none":
        return None
    if text.isdecimal():
        return int(text)
    if text != "auto":
        raise ConfigurationError(f'--window is "auto", a number of days, or "none", not {text!r}')
    return "auto"
