"""Synthetic histories: the history of profile n under a seed is a pure function, so a million cost nothing until asked.

They hold what is hard about real ones: equal rows, several rows in one second, rows on both sides of midnight, rows
that are no messages and lack fields, a few profiles with a hundred times the rows of the others, and some with none.
"""

from __future__ import annotations

import datetime as dt
import functools
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs
import msgspec

from profile_history.actions import Action
from profile_history.errors import ConfigurationError
from profile_history.events import Event
from profile_history.matching import Matching
from profile_history.profiles import Profile

Shape = Literal["seed", "newer"]

_MASK = 2**64 - 1
_ODD = 0x9E3779B97F4A7C15
_INVERSE = pow(_ODD, -1, 2**64)
_ID_PREFIX = "66f66973"
_PROVIDER = "android-firebase"
_FIELD = "CRM_ID"
_REMEMBERED = 4096
_MOST_TOUCHES = 1500

# What follows a message that was sent, per channel: delivered, opened or read, clicked.
_JOURNEYS: tuple[tuple[str, str, str | None, str], ...] = (
    ("send", "deliv", "open", "click"),
    ("send", "deliv", "read", "click"),
    ("send_sms", "deliv_sms", None, "click_sms"),
    ("send_push", "deliv_push", "open_push", "click_push"),
    ("telegram_bot_send", "telegram_bot_deliv", None, "telegram_bot_click"),
    ("whatsapp_send", "whatsapp_deliv", "whatsapp_read", "whatsapp_click"),
    ("viber_send", "viber_deliv", "viber_read", "viber_click"),
)
_ARRIVALS = ("import_manual", "import_api", "import_file", "import_form", "import_push", "import_popup")
_ASIDES = (
    "segs_add",
    "segs_remove",
    "pixel_open",
    "promocode_attach",
    "promocode_activate",
    "rel_attach",
    "form_load",
    "form_post",
    "form_abandon",
    "offence",
    "suppress",
    "unsub_api",
)


@attrs.frozen
class Row:
    """One row as the server knows it.

    Attributes:
        label: Its `datetime`, without the zone letter.
        fields: Its keys and values.
        json: The same as the server writes it.
    """

    label: dt.datetime
    fields: Mapping[str, Any]
    json: bytes


@attrs.frozen
class Histories:
    """The histories of `profiles` profiles under one seed, over the days from `first_day` to `last_day`."""

    profiles: int
    seed: int
    list_id: int
    first_day: dt.date
    last_day: dt.date

    def profile(self, number: int, matching: Matching | str = Matching.XXH) -> Profile:
        """Return a profile, named by a matching mode.

        Args:
            number: Its number, counted from 0.
            matching: The mode.
        """
        email, phone = f"user{number}@example.com", f"+7900{number:09d}"
        match Matching(matching):
            case Matching.XXH:
                return Profile.xxh(self.xxh(number))
            case Matching.EMAIL | Matching.EMAIL_PROFILE | Matching.EMAIL_SUB as mode:
                return Profile(mode, email=email)
            case Matching.PHONE | Matching.PHONE_SUB as mode:
                return Profile(mode, phone=phone)
            case Matching.PROFILE_ID:
                return Profile.profile_id(f"{_ID_PREFIX}{number:016x}")
            case Matching.PUSH_SUB:
                return Profile.push_sub(_PROVIDER, f"sub-{number}")
            case Matching.CUSTOM | Matching.CUSTOM_SUB as mode:
                return Profile(mode, field_name=_FIELD, field_value=number)
            case mode:
                return Profile(mode, email=email, phone=phone)

    def find(self, body: Mapping[str, Any]) -> int | None:
        """Return the number of the profile that a request body names, `None` if there is none.

        Raises:
            ConfigurationError: The body lacks what its matching mode needs.
        """
        mode = Matching(body.get("matching", "xxh" if "xxh" in body else "email"))
        needed = dict(self.profile(0, mode).fields)
        given = {name: body[name] for name in needed if name in body}
        either = mode in (Matching.EMAIL_PHONE, Matching.EMAIL_PHONE_SUB)
        if not given or (len(given) < len(needed) and not either):
            raise ConfigurationError(f"{mode} needs {', '.join(needed)}")
        for number in self._candidates(given):
            known = dict(self.profile(number, mode).fields)
            if 0 <= number < self.profiles and all(str(known[name]) == str(given[name]) for name in given):
                return number
        return None

    def rows(self, number: int, shape: Shape) -> tuple[Row, ...]:
        """Return all rows of a profile, oldest first; rows of the same moment in an order of their own.

        Args:
            number: The profile's number.
            shape: How the rows look.
        """
        return _build_rows(self, number, shape)

    def xxh(self, number: int) -> str:
        """Return the XXH of a profile, from which `find` computes the number again."""
        return f"{(number + self.seed) * _ODD & _MASK:016x}"

    def _candidates(self, given: Mapping[str, Any]) -> Iterator[int]:
        for value in given.values():
            text = str(value)
            digits = "".join(filter(str.isdecimal, text))
            if "xxh" in given and len(text) == 16:
                yield (int(text, 16) * _INVERSE - self.seed) & _MASK
            elif "profile_id" in given and text.startswith(_ID_PREFIX):
                yield int(text[len(_ID_PREFIX) :], 16)
            elif digits:
                yield int(digits.removeprefix("7900") or -1 if text.startswith("+") else digits)


def to_events(rows: Iterable[Row]) -> list[Event]:
    """Return rows as events, newest first; those of the same moment keep their order."""
    return [
        Event(
            **{
                **row.fields,
                "action": Action(row.fields["action"]),
                "datetime": row.label.replace(tzinfo=dt.UTC),
            }
        )
        for row in sorted(rows, key=lambda row: row.label, reverse=True)
    ]


@functools.lru_cache(maxsize=_REMEMBERED)
def _build_rows(histories: Histories, number: int, shape: Shape) -> tuple[Row, ...]:
    draw = random.Random(f"{histories.seed}/{number}")
    moments = sorted(_draw_moments(histories, draw), key=lambda moment: moment[0])
    email = f"user{number}@example.com"
    rows: list[Row] = []
    for label, action, message in moments:
        fields: dict[str, Any] = {"action": action, "count": 1, "datetime": _format_label(label, shape), "email": email}
        fields["list_id"] = histories.list_id
        if message is not None:
            fields |= {"message_id": message, "campaign_id": message // 4 + 1}
        fields["xxh"] = histories.xxh(number)
        if shape == "newer":
            fields |= _make_newer_fields(number, len(rows), action, message)
        rows.append(
            Row(label if shape == "newer" else label.replace(microsecond=0), fields, msgspec.json.encode(fields))
        )
    return tuple(rows)


def _draw_moments(histories: Histories, draw: random.Random) -> Iterator[tuple[dt.datetime, str, int | None]]:
    if draw.random() < 0.05:
        return
    start = dt.datetime.combine(histories.first_day, dt.time())
    days = (histories.last_day - histories.first_day).days + 1

    def moment() -> dt.datetime:
        midnight = start + dt.timedelta(days=draw.randrange(days))
        place = draw.random()
        if place < 0.1:
            return midnight
        if place < 0.2:
            return midnight + dt.timedelta(days=1, microseconds=-1000)
        return midnight + dt.timedelta(milliseconds=draw.randrange(24 * 60 * 60 * 1000))

    end = start + dt.timedelta(days=days)
    yield moment(), draw.choice(_ARRIVALS), None
    for _ in range(min(_MOST_TOUCHES, int(draw.paretovariate(1.1) * 4))):
        at = moment()
        if draw.random() < 0.2:
            yield at, draw.choice(_ASIDES), None
            continue
        message = draw.randrange(1, 400)
        for action, pause in _draw_journey(draw):
            at += dt.timedelta(seconds=pause)
            if at < end:
                yield at, action, message


def _draw_journey(draw: random.Random) -> Iterator[tuple[str, int]]:
    sent, delivered, opened, clicked = draw.choice(_JOURNEYS)
    yield sent, 0
    if draw.random() < 0.9:
        yield delivered, draw.randrange(0, 90)
        if opened is not None and draw.random() < 0.4:
            yield opened, draw.randrange(0, 20_000)
        if draw.random() < 0.2:
            yield clicked, draw.randrange(0, 90)
            if draw.random() < 0.5:
                yield clicked, 0


def _format_label(label: dt.datetime, shape: Shape) -> str:
    return label.isoformat(timespec="milliseconds" if shape == "newer" else "seconds") + "Z"


def _make_newer_fields(number: int, place: int, action: str, message: int | None) -> dict[str, Any]:
    subscription = {
        "resource_id": 7,
        "resource_name": "Shop",
        "channel": "email",
        "email": f"user{number}@example.com",
        "priority": 0,
        "status": "subscribed",
        "custom_fields": {},
        "cats": ["news", "sales"],
    }
    row: dict[str, Any] = {
        "profile_id": f"{_ID_PREFIX}{number:016x}",
        "event_id": f"{number:012x}{place:012x}",
        "channel": Action(action).channel.value,
        "subscriptions": [subscription, {**subscription, "resource_id": 8, "channel": "push"}],
    }
    if message is not None:
        row |= {
            "smid": f"{number:x}-{message:x}",
            "campaign_name": f"Campaign {message // 4 + 1}",
            "message_name": f"Message {message}",
            "subscription": subscription,
        }
    return row
