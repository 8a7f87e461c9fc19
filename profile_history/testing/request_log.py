"""The server's record of a request. No I/O."""

from __future__ import annotations

import attrs

from profile_history.testing.faults import Fault


def _alone(entry: LoggedRequest) -> tuple[Fault, ...]:
    return () if entry.fault is None else (entry.fault,)


@attrs.frozen
class LoggedRequest:
    """One request as the server saw it; the token is not in it.

    Attributes:
        profile: The profile's number, `None` if there is no such profile.
        matching: The matching mode.
        date_from: The `date_from` as it was sent, `None` if it was left out.
        date_to: The `date_to`, likewise.
        request_id: The `X-Request-ID`.
        user_agent: The `User-Agent`.
        auth: Where the token was.
        fault: What was done to it on purpose; the first where that is several things.
        status: The HTTP status, `None` if the connection was cut.
        rows: How many rows the response had.
        faults: All that was done to it on purpose, in the order of their stages.
    """

    profile: int | None
    matching: str
    date_from: str | None
    date_to: str | None
    request_id: str | None
    user_agent: str | None
    auth: str
    fault: Fault | None
    status: int | None
    rows: int
    faults: tuple[Fault, ...] = attrs.field(default=attrs.Factory(_alone, takes_self=True))
