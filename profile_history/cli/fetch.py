"""The command `fetch`: histories to stdout or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console

from profile_history.cli import event_text
from profile_history.cli.client_options import ConnectionOptions, RequestOptions, make_client
from profile_history.cli.event_loop import run
from profile_history.cli.fetch_run import FetchRun, FetchTally
from profile_history.cli.progress import ServerHealth
from profile_history.errors import ConfigurationError
from profile_history.matching import Matching
from profile_history.profiles import Profile
from profile_history.windows import Order, parse_window


def fetch(
    values: Annotated[list[str], cyclopts.Parameter(name="VALUE", negative="")],
    /,
    *,
    matching: Annotated[Matching, cyclopts.Parameter(name_transform=str.lower)],
    from_: Annotated[str | None, cyclopts.Parameter(name="--from")] = None,
    to: str | None = None,
    format_: Annotated[event_text.EventFormat, cyclopts.Parameter(name="--format")] = "table",
    output: Path | None = None,
    overwrite: Annotated[bool, cyclopts.Parameter(negative="")] = False,
    deadline: float | None = None,
    connection: ConnectionOptions = ConnectionOptions(),
    request: RequestOptions = RequestOptions(),
) -> int:
    """Fetch the histories of one or more profiles.

    Events go to stdout or a file; progress and errors go to stderr.

    Args:
        values: The profiles, in the words of the matching mode: an address, a phone number, an id,
            PROVIDER:SUBSCRIPTION_ID for push_sub, FIELD_NAME=FIELD_VALUE for custom, EMAIL,PHONE for email_phone. A
            single - reads them from stdin, one per line.
        matching: How the API finds the profiles.
        from_: The first day, YYYY-MM-DD; left out, the API decides.
        to: The last day, inclusive; left out, the API decides.
        format_: Aligned columns, or one JSON object per line.
        output: Write the events to this file.
        overwrite: Replace the file if it is there.
        deadline: Seconds after which to give up.
        connection: How the server is reached.
        request: What is asked of the server.
    """
    profiles = _profiles(matching, values, redacts=connection.redact_profiles)
    health = ServerHealth(connection.patience)
    client = make_client(connection, request, health.observe)
    stream = client.histories(profiles, from_, to, on_error="collect", deadline=deadline).windows()
    tally = FetchTally(parse_window(from_, to), Order(request.order or "newest"))
    fetch_run = FetchRun(client, stream, len(profiles), tally, format_, Console(stderr=True), health)
    return run(fetch_run.write_to(output, overwrite=overwrite))


def _profiles(matching: Matching, values: list[str], *, redacts: bool) -> list[Profile]:
    """Return the profiles, each read as a line of a job's source is."""
    from profile_history.jobs.sources.columns import Mode

    mode = Mode(matching)
    if values != ["-"]:
        named = [(f"VALUE {number}", value) for number, value in enumerate(values, 1)]
    else:
        named = [(f"line {number} of stdin", line) for number, line in enumerate(_lines(), 1) if line.strip()]
    profiles = []
    for where, text in named:
        try:
            profiles.append(mode.profile(text))
        except ConfigurationError as error:
            # It quotes what was refused.
            reason = "names no profile; why, is told without --redact-profiles" if redacts else str(error)
            raise ConfigurationError(f"{where}: {reason}") from None
    return profiles


def _lines() -> list[str]:
    try:
        return [line.removesuffix("\n").removeprefix("\ufeff") for line in sys.stdin]
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"stdin is no text in {sys.stdin.encoding}; convert it, for example with iconv"
        ) from None
