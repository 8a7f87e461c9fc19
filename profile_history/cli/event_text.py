"""Events as text, and the escapes that make text of others safe for a terminal."""

from __future__ import annotations

import json
import re
from typing import Literal

import msgspec

from profile_history._decoding.event_decoder import unstructure
from profile_history.events import Event
from profile_history.profiles import Profile

EventFormat = Literal["table", "ndjson"]

_COLUMNS = "{:<26} {:<32} {:<24} {:>10} {:>11}  {}\n"
_HEADING = _COLUMNS.format("datetime", "profile", "action", "message_id", "campaign_id", "label")

# Control characters, which steer a terminal; marks of direction, which reorder what it shows; lone surrogates.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_encode = msgspec.json.Encoder().encode


class UnwritableEvent(Exception):
    """An event that has no form in this format."""


def escape(text: str) -> str:
    """Return a text on one line; what would be unseen, or steer the terminal, is escaped as in a Python string."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def format_heading(name: EventFormat) -> str:
    """Return what stands before the first event."""
    return _HEADING if name == "table" else ""


def format_event(name: EventFormat, profile: Profile, event: Event) -> str:
    """Return an event as text, with its end of line.

    Args:
        name: The format.
        profile: Whose event it is.
        event: The event.

    Raises:
        UnwritableEvent: Its values are nested more deeply than can be written.
    """
    return _format_row(profile, event) if name == "table" else _format_json(profile, event)


def _format_row(profile: Profile, event: Event) -> str:
    columns = (
        event.datetime.isoformat(sep=" "),
        profile.text,
        event.action,
        event.message_id if event.message_id is not None else "",
        event.campaign_id if event.campaign_id is not None else "",
        event.action.label(),
    )
    return _COLUMNS.format(*(escape(str(column)) for column in columns))


def _format_json(profile: Profile, event: Event) -> str:
    try:
        return _encode({"profile": profile.text, "event": unstructure(event)}).decode() + "\n"
    except (UnicodeEncodeError, RecursionError):
        pass
    try:
        # Lone surrogates have no UTF-8, but they have an escape; and this goes through deep values in fewer frames.
        return json.dumps({"profile": profile.text, "event": unstructure(event)}, separators=(",", ":")) + "\n"
    except RecursionError:
        raise UnwritableEvent("its values are nested too deeply") from None
