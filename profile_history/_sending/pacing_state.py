"""The pace of a client as its user sees it."""

from __future__ import annotations

import attrs


@attrs.frozen
class PacingState:
    """The pace at which a client sends just now.

    Attributes:
        in_flight: How many requests are in flight.
        limit: How many may be in flight.
        next_probe: Seconds until the next probe of a server that is down, 0 while a probe is in flight; `None` while
            the server is up.
        rate: How many may start per second by what was learned of the server; `None` while no such rate holds it.
        reason: What the server holds the client at, as "held at 29 requests/s by the server"; "" if it holds it at
            nothing, or less than the client's own settings.
    """

    in_flight: int
    limit: int
    next_probe: float | None
    rate: float | None = None
    reason: str = ""
