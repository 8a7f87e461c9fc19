"""What the API answers to a request, over synthetic histories. No I/O."""

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
from profile_history.windows import Window, asked_window


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@attrs.frozen(kw_only=True)
class Behaviour:
    """What nobody knows of the real server, as settings.

    Attributes:
        date_to: Whether the last day is part of the answer.
        offset: Hours by which the clock that reads the bounds is ahead of the labels on the rows.
        order: The order of the rows.
        rows: "seed" for the eight documented keys, "newer" for the larger rows of newer installs.
        row_cap: The server cuts an answer after this many rows; None for no cap.
        gzip: Whether answers are compressed when the client accepts it.
        latency: Seconds before each answer.
        capacity: More requests at once than this are answered 429; None for no limit.
        errors: "status" gives an error its HTTP status as well, "200" reports it with HTTP 200.
        unknown_profile: Whether a profile nobody knows is "empty" or an "error".
        clock: Says what time it is for the server, as an aware datetime: what its `Date` header names.
        date_header: Whether responses have a `Date` header.
        unfolding: How rows become known as `clock` goes on, some late, and how some are deleted again; None if all
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
class Answer:
    """An answer before it is sent, or spoiled.

    Attributes:
        status: The HTTP status.
        body: Its bytes.
        rows: How many rows are in it.
        content_type: The Content-Type, None for none.
        headers: The other headers, save those of the framing.
        history: The rows it is made of; None where it is an error.
    """

    status: int
    body: bytes
    rows: int = 0
    content_type: str | None = "application/json"
    headers: dict[str, str] = attrs.field(factory=dict)
    history: list[Row] | None = None


def answer(histories: Histories, behaviour: Behaviour, body: dict[str, Any]) -> tuple[int | None, Answer]:
    """The answer to a request that was let in.

    Args:
        histories: What there is to know.
        behaviour: How the server behaves.
        body: The request's fields.

    Returns:
        The number of the profile, None where there is none, and the answer.
    """
    try:
        number = histories.find(body)
        window = asked_window(body.get("date_from"), body.get("date_to"))
    except (ConfigurationError, ValueError) as error:
        return None, error_answer(behaviour, 400, f"Incorrect request: {error}")
    if number is None and behaviour.unknown_profile == "error":
        return None, error_answer(behaviour, 404, "Profile not found")
    rows = [] if number is None else rows_of(histories, behaviour, number, window)
    return number, Answer(200, success([row.json for row in rows]), len(rows), history=rows)


def error_answer(behaviour: Behaviour, code: int, text: str) -> Answer:
    """An error as the API says it, with its HTTP status or with 200."""
    return Answer(200 if behaviour.errors == "200" else code, envelope(code, text))


def envelope(code: int, text: str) -> bytes:
    """The body of an error."""
    return json.dumps({"error": code, "error_text": text}).encode()


def success(rows: list[bytes]) -> bytes:
    """The body of a history."""
    return b'{"data":[%b],"error":0,"error_text":"Successful operation"}' % b",".join(rows)


def known_rows(histories: Histories, behaviour: Behaviour, number: int) -> Sequence[Row]:
    """Return the rows of a profile that the server knows now, oldest first."""
    if behaviour.unfolding is None:
        return histories.rows(number, behaviour.rows)
    return behaviour.unfolding.known(histories, number, behaviour.rows, behaviour.clock())


def rows_of(histories: Histories, behaviour: Behaviour, number: int, window: Window) -> list[Row]:
    """The rows that a request for a profile's days is answered with."""
    ahead = dt.timedelta(hours=behaviour.offset)
    rows = [
        row
        for row in known_rows(histories, behaviour, number)
        if window.holds(day := (row.label + ahead).date())
        and not (behaviour.date_to == "exclusive" and day == window.date_to)
    ]
    if behaviour.order == "unsorted":
        random.Random(number).shuffle(rows)
    elif behaviour.order == "newest":
        rows.sort(key=lambda row: row.label, reverse=True)
    return rows[: behaviour.row_cap]
