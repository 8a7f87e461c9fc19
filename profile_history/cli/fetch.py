"""The command `fetch`: histories to stdout or a file."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, TextIO

import cyclopts
import msgspec
from rich.console import Console

from profile_history import settings
from profile_history.cli import exits
from profile_history.cli.display import complain, shown
from profile_history.cli.running import run
from profile_history.client import HistoryClient
from profile_history.decoding import unstructure
from profile_history.errors import ConfigurationError
from profile_history.events import Event
from profile_history.options import Pacing
from profile_history.profiles import Matching, Profile
from profile_history.walking import WindowRule

_COLUMNS = "{:<26} {:<32} {:<24} {:>10} {:>11}  {}"
_HEADINGS = ("datetime", "profile", "action", "message_id", "campaign_id", "label")


def fetch(
    values: Annotated[list[str], cyclopts.Parameter(name="VALUE", negative="")],
    /,
    *,
    matching: Annotated[Matching, cyclopts.Parameter(name_transform=str.lower)],
    from_: Annotated[str | None, cyclopts.Parameter(name="--from")] = None,
    to: str | None = None,
    format_: Annotated[Literal["table", "ndjson"], cyclopts.Parameter(name="--format")] = "table",
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
    deadline
        Seconds after which to give up.
    allow_http
        Allow plain http to a host that is not this machine.
    """
    profiles = [Profile.parse(matching, value) for value in _values(values)]
    _demand("--url", url, settings.URL)
    settings.endpoint(url, os.environ, allow_http=allow_http)
    _demand("--list-id", list_id, settings.LIST_ID)
    client = HistoryClient(
        url,
        token=_token(token_file),
        list_id=list_id,
        auth=auth,
        window=_window(window),
        border=border,
        order=order,
        pacing=Pacing(concurrency=concurrency),
        allow_http=allow_http,
    )
    stream = client.histories(profiles, from_, to, on_error="collect", deadline=deadline)
    screen = Console(stderr=True)

    async def work() -> int:
        with _opened(output, overwrite=overwrite) as file:
            write = _writer(format_, file)
            async with client, stream, shown(stream.stats, len(profiles), screen):
                async for profile, event in stream:
                    write(profile, event)
        for row in stream.quarantined:
            complain(screen, f"unreadable row: {row.reason} [profile {row.profile}, window {row.window}]")
        for failure in stream.failures:
            complain(screen, f"failed: {failure.error}")
        return exits.SOME_FAILED if stream.failures else exits.DONE

    try:
        return run(work())
    except KeyboardInterrupt:
        stats = stream.stats
        complain(screen, f"interrupted: {stats.profiles_done} of {len(profiles)} profiles are complete")
        raise


def _values(values: list[str]) -> list[str]:
    if values != ["-"]:
        return values
    return [line.strip() for line in sys.stdin if line.strip()]


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


@contextlib.contextmanager
def _opened(path: Path | None, *, overwrite: bool) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    if path.exists() and not overwrite:
        raise ConfigurationError(f"{path} is there already; pass --overwrite to replace it")
    part = path.with_name(f"{path.name}.part")
    try:
        file = part.open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigurationError(f"{part} cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
    except BaseException:
        if part.stat().st_size:
            print(f"profile-history: what arrived is in {part}", file=sys.stderr)
        else:
            part.unlink()
        raise
    part.replace(path)


def _writer(format_: str, file: TextIO) -> Callable[[Profile, Event], None]:
    if format_ == "ndjson":
        encode = msgspec.json.Encoder().encode

        def write_line(profile: Profile, event: Event) -> None:
            file.write(encode({"profile": str(profile), "event": unstructure(event)}).decode() + "\n")

        return write_line

    headings = [_HEADINGS]

    def write_row(profile: Profile, event: Event) -> None:
        while headings:
            print(_COLUMNS.format(*headings.pop()), file=file)
        columns = (
            event.datetime.isoformat(sep=" "),
            str(profile),
            event.action,
            event.message_id if event.message_id is not None else "",
            event.campaign_id if event.campaign_id is not None else "",
            event.action.label(),
        )
        print(_COLUMNS.format(*map(str, columns)), file=file)

    return write_row
