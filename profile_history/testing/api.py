"""The API as functions: from a request over synthetic histories to its response. No I/O."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs

from profile_history.errors import ConfigurationError
from profile_history.testing.histories import Histories, Row, Shape
from profile_history.testing.late_rows import Unfolding
from profile_history.windows import Window, parse_window


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@attrs.frozen(kw_only=True)
class Behaviour:
    """Settings for all that nobody knows of the real server.

    Example:
        >>> from profile_history.testing import Behaviour, HistoryServer
        >>> behaviour = Behaviour(rows="newer", date_to="exclusive", gzip=True)
        >>> server = HistoryServer(profiles=10, behaviour=behaviour)
        >>> server.behaviour.row_cap is None
        True

    Attributes:
        date_to: Whether the last day is part of the response.
        offset: Hours by which the clock that reads the bounds is ahead of the labels on the rows.
        order: The order of the rows.
        rows: "seed" for the eight documented keys, "newer" for the larger rows of newer installs.
        row_cap: The server cuts a response after this many rows; `None` for no cap.
        gzip: Whether responses are compressed when the client accepts it.
        latency: Seconds before each response.
        capacity: With more requests than this in flight, the response is 429; `None` for no limit.
        errors: "status" gives an error its HTTP status as well, "200" reports it with HTTP 200.
        unknown_profile: Whether the response to a profile that nobody knows is "empty" or an "error".
        clock: Says what time it is for the server, as an aware datetime: what its `Date` header names.
        date_header: Whether responses have a `Date` header.
        unfolding: How rows become known as `clock` goes on, some late, and how some are deleted again; `None` if all
            rows are known at any time.
    """

    date_to: Literal["inclusive", "exclusive"] = "inclusive"
    offset: float = 0.0
    order: Literal["newest", "oldest", "unsorted"] = "newest"
    rows: Shape = "seed"
    row_cap: int | None = None
    gzip: bool = False
    latency: float = 0.0
    capacity: int | None = None
    errors: Literal["status", "200"] = "status"
    unknown_profile: Literal["empty", "error"] = "empty"
    clock: Callable[[], dt.datetime] = _now
    date_header: bool = True
    unfolding: Unfolding | None = None


@attrs.define
class ApiResponse:
    """A response before a fault spoils it, and before it is sent.

    Attributes:
        status: The HTTP status.
        body: Its bytes.
        rows: How many rows are in it.
        content_type: The Content-Type, `None` if there is none.
        headers: The other headers, except those that say how long the body is.
        history: The rows it is made of; `None` if it is an error.
    """

    status: int
    body: bytes
    rows: int = 0
    content_type: str | None = "application/json"
    headers: dict[str, str] = attrs.field(factory=dict)
    history: list[Row] | None = None


def respond(histories: Histories, behaviour: Behaviour, body: dict[str, Any]) -> tuple[int | None, ApiResponse]:
    """Respond to a request that was let in.

    Args:
        histories: What there is to know.
        behaviour: How the server behaves.
        body: The request's fields.

    Returns:
        The number of the profile, `None` if there is no such profile, and the response.
    """
    try:
        number = histories.find(body)
        window = parse_window(body.get("date_from"), body.get("date_to"))
    except (ConfigurationError, ValueError) as error:
        return None, make_error(behaviour, 400, f"Incorrect request: {error}")
    if number is None and behaviour.unknown_profile == "error":
        return None, make_error(behaviour, 404, "Profile not found")
    rows = [] if number is None else select_rows(histories, behaviour, number, window)
    return number, ApiResponse(200, encode_rows([row.json for row in rows]), len(rows), history=rows)


def make_error(behaviour: Behaviour, code: int, text: str) -> ApiResponse:
    """Return an error as the API says it, with its HTTP status or with 200.

    Args:
        behaviour: How the server behaves.
        code: The `error`, which is the HTTP status as well.
        text: The `error_text`.
    """
    return ApiResponse(200 if behaviour.errors == "200" else code, encode_error(code, text))


def make_page(status: int, text: str) -> ApiResponse:
    """Return an error as a web server or a proxy says it, which knows nothing of the API.

    Args:
        status: The HTTP status.
        text: The heading of the page.
    """
    return ApiResponse(status, f"<html><h1>{text}</h1></html>".encode(), content_type="text/html")


def encode_error(code: int, text: str) -> bytes:
    """Return the body of an error.

    Args:
        code: The `error`.
        text: The `error_text`.
    """
    return json.dumps({"error": code, "error_text": text}).encode()


def encode_rows(rows: list[bytes]) -> bytes:
    """Return the body of a history, whose rows are JSON objects."""
    return b'{"data":[%b],"error":0,"error_text":"Successful operation"}' % b",".join(rows)


def list_known_rows(histories: Histories, behaviour: Behaviour, number: int) -> Sequence[Row]:
    """Return the rows of a profile that the server knows now, oldest first.

    Args:
        histories: What there is to know.
        behaviour: How the server behaves.
        number: The profile's number.
    """
    if behaviour.unfolding is None:
        return histories.rows(number, behaviour.rows)
    return behaviour.unfolding.known(histories, number, behaviour.rows, behaviour.clock())


def select_rows(histories: Histories, behaviour: Behaviour, number: int, window: Window) -> list[Row]:
    """Return the rows of the response to a request for some days of a profile.

    Args:
        histories: What there is to know.
        behaviour: How the server behaves.
        number: The profile's number.
        window: The days, as the request has them.
    """
    ahead = dt.timedelta(hours=behaviour.offset)
    rows = [
        row
        for row in list_known_rows(histories, behaviour, number)
        if window.holds(day := (row.label + ahead).date())
        and not (behaviour.date_to == "exclusive" and day == window.date_to)
    ]
    if behaviour.order == "unsorted":
        random.Random(number).shuffle(rows)
    elif behaviour.order == "newest":
        rows.sort(key=lambda row: row.label, reverse=True)
    return rows[: behaviour.row_cap]
