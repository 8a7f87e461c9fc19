"""The command `serve`: the embedded server in the foreground."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from profile_history.cli.event_loop import run
from profile_history.cli.limit_option import parse_limiter
from profile_history.errors import ConfigurationError
from profile_history.testing import Behaviour, FaultPlan, HistoryServer

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s)")


def _parse_duration(text: str) -> float:
    parts = _DURATION.fullmatch(text)
    if parts is None:
        raise ConfigurationError(f"a duration is a number with ms or s, such as 20ms, not {text!r}")
    return float(parts[1]) / (1000 if parts[2] == "ms" else 1)


def serve(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    profiles: Annotated[int, Parameter(validator=Number(gte=0))] = 1000,
    seed: int = 7,
    faults: Literal["none", "light", "heavy"] = "none",
    latency: str = "0ms",
    rows: Literal["seed", "newer"] = "seed",
    order: Literal["newest", "oldest", "unsorted"] = "newest",
    date_to: Annotated[Literal["inclusive", "exclusive"], Parameter(name="--date-to")] = "inclusive",
    offset: float = 0.0,
    row_cap: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    capacity: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    limit: Annotated[list[str] | None, Parameter(negative="")] = None,
    gzip: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Serve synthetic histories on 127.0.0.1 until interrupted.

    The first line on stdout is the base URL. The token is `loopback-token`, the list_id 20.

    Args:
        port: The port; 0 for a free one.
        profiles: How many profiles there are.
        seed: Makes the histories and the faults.
        faults: How many requests fail on purpose: none, a tenth, or three tenths.
        latency: How long each response takes, such as 20ms or 1.5s.
        rows: The eight documented keys, or the larger rows of newer installs.
        order: The order of the rows in a response.
        date_to: Whether the last day is part of the response.
        offset: Hours by which the clock that reads the dates is ahead of the labels on the rows.
        row_cap: Cut responses after this many rows.
        capacity: Respond with 429 when more requests than this are in flight.
        limit: Limit the requests as a proxy does, such as token-bucket:50,burst=5 or concurrency:3,status=503; may be
            given several times. docs/testing.md has the kinds.
        gzip: Compress the responses.
    """
    behaviour = Behaviour(
        date_to=date_to,
        offset=offset,
        order=order,
        rows=rows,
        row_cap=row_cap,
        gzip=gzip,
        latency=_parse_duration(latency),
        capacity=capacity,
    )
    plan = FaultPlan.named(faults, seed=seed)
    if limit:
        plan |= FaultPlan(limiters=[parse_limiter(word) for word in limit])
    server = HistoryServer(profiles=profiles, seed=seed, behaviour=behaviour, faults=plan, port=port)
    run(_serve(server, port))


async def _serve(server: HistoryServer, port: int) -> None:
    try:
        await server.start()
    except OSError as error:
        raise ConfigurationError(f"port {port} cannot be listened on: {os.strerror(error.errno or 0)}") from None
    try:
        print(server.url, flush=True)
        print(
            f"serving {server.histories.profiles} profiles; try: PROFILE_HISTORY_URL={server.url} "
            f"PROFILE_HISTORY_TOKEN={server.token} PROFILE_HISTORY_LIST_ID={server.list_id} "
            f"profile-history fetch --matching email user0@example.com",
            file=sys.stderr,
        )
        await asyncio.Event().wait()
    finally:
        await server.stop()
