"""The rows that a fault makes of good ones: too many, too few, wrong or odd ones. No I/O."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable
from typing import Any

from profile_history.testing.api import select_rows
from profile_history.testing.attempt import Attempt
from profile_history.testing.fault_plan import Chance
from profile_history.testing.faults import Fault
from profile_history.testing.histories import Row

Spoiler = Callable[[Attempt, Chance, list[Row]], list[bytes]]

_FAR = 10
_MOST_REPEATED = 10
_NEIGHBOURS = 100

# A key each, and its value as JSON.
_ODD_TYPES = (
    ("count", '"1"'),
    ("count", "true"),
    ("count", '""'),
    ("count", "null"),
    ("count", "1.5"),
    ("list_id", "[]"),
    ("campaign_id", "{}"),
    ("message_id", '"7"'),
    ("email", "7"),
    ("xxh", "null"),
    ("action", "7"),
)
_BIG_NUMBERS = (str(2**63), str(2**64), str(-(2**63) - 1), "1e400", "NaN", "Infinity", "-Infinity")
_POISON = (
    r'"\ud800"',
    r'"\u0000"',
    '"\x00"',
    r'"\r\n"',
    '"\r\n"',
    '"\x01\x1b[31m"',
    r'"\u001b]0;title\u0007"',
    r'"\u202e"',
    '"=1+1"',
)
_NO_ROWS = (b"null", b"7", b'"row"', b"[]", b"true")
_NEWS = b',"brand_new":{"deep":[1,null]},"":"","another_new":1.5}'


def spoil_rows(attempt: Attempt, fault: Fault | None, rows: list[Row]) -> list[bytes]:
    """Return the rows as they are sent.

    Args:
        attempt: The attempt.
        fault: What is done to the rows; `None` for nothing.
        rows: The rows of a good response.
    """
    if fault is None:
        return _encode_rows(rows)
    return _SPOILERS[fault](attempt, attempt.chance(fault), rows)


def _encode_rows(rows: list[Row]) -> list[bytes]:
    return [row.json for row in rows]


def _add_rows_outside(attempt: Attempt, chance: Chance, rows: list[Row]) -> list[bytes]:
    fields = _choose_model(attempt, chance, rows)[1]
    texts = _encode_rows(rows)
    if attempt.asked.date_to is not None:
        day = attempt.asked.date_to + dt.timedelta(days=_FAR)
        texts.insert(0, _encode_with(fields, "datetime", f'"{day}T12:00:00Z"'))
    if attempt.asked.date_from is not None:
        day = attempt.asked.date_from - dt.timedelta(days=_FAR)
        texts.append(_encode_with(fields, "datetime", f'"{day}T12:00:00Z"'))
    return texts


def _repeat_some(_: Attempt, chance: Chance, rows: list[Row]) -> list[bytes]:
    texts = _encode_rows(rows)
    start = chance.between(0, len(texts) - 1)
    some = texts[start : start + chance.between(1, _MOST_REPEATED)]
    return texts[:start] + some + texts[start:]


def _shuffle(_: Attempt, chance: Chance, rows: list[Row]) -> list[bytes]:
    texts = _encode_rows(rows)
    chance.random.shuffle(texts)
    return texts


def _cut(attempt: Attempt, _: Chance, rows: list[Row]) -> list[bytes]:
    return _encode_rows(rows)[: attempt.settings(Fault.ROW_CAP).row_cap]


def _grow(attempt: Attempt, _: Chance, rows: list[Row]) -> list[bytes]:
    fields = rows[0].fields if rows else _make_up_fields(attempt)
    return [_encode_with(fields, "action", '"import_api"')] * attempt.index + _encode_rows(rows)


def _take_from_another(attempt: Attempt, _: Chance, rows: list[Row]) -> list[bytes]:
    histories, behaviour = attempt.histories, attempt.behaviour
    first = -1 if attempt.profile is None else attempt.profile
    others = [(first + step) % histories.profiles for step in range(1, min(_NEIGHBOURS, histories.profiles))]
    on_those_days = (select_rows(histories, behaviour, other, attempt.asked) for other in others)
    on_any_day = (list(histories.rows(other, behaviour.rows)) for other in others)
    return _encode_rows(next(filter(None, itertools.chain(on_those_days, on_any_day)), rows))


def _add_unknown_fields(_: Attempt, __: Chance, rows: list[Row]) -> list[bytes]:
    return [text[:-1] + _NEWS for text in _encode_rows(rows)]


def _add_odd_datetime(attempt: Attempt, chance: Chance, rows: list[Row]) -> list[bytes]:
    day = str(_choose_model(attempt, chance, rows)[1]["datetime"])[:10]
    epoch = int(dt.datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
    forms = (
        f'"{day}T23:59:60Z"',
        f'"{day}T24:00:00Z"',
        f"{epoch}",
        f"{epoch * 1000}",
        f'"{epoch}"',
        "-1",
        '"9999-12-31T23:59:59Z"',
        '"0001-01-01T00:00:00Z"',
        '"0000-00-00T00:00:00Z"',
        f'"{day}"',
        f'"{day} 12:00:00"',
        f'"{day}T12:00:00"',
        f'"{day}T12:00:00+03:00"',
        '""',
    )
    return _make_adder("datetime", forms)(attempt, chance, rows)


def _add_incomplete(attempt: Attempt, chance: Chance, rows: list[Row]) -> list[bytes]:
    place, fields = _choose_model(attempt, chance, rows)
    lacking = chance.one_of((("action",), ("datetime",), tuple(fields)))
    return _insert(rows, place, json.dumps({key: fields[key] for key in fields if key not in lacking}).encode())


def _add_non_row(attempt: Attempt, chance: Chance, rows: list[Row]) -> list[bytes]:
    return _insert(rows, _choose_model(attempt, chance, rows)[0], chance.one_of(_NO_ROWS))


def _make_adder(key: str, forms: tuple[str, ...]) -> Spoiler:
    return _make_adder_of(tuple((key, form) for form in forms))


def _make_adder_of(forms: tuple[tuple[str, str], ...]) -> Spoiler:
    def spoil(attempt: Attempt, chance: Chance, rows: list[Row]) -> list[bytes]:
        place, fields = _choose_model(attempt, chance, rows)
        return _insert(rows, place, _encode_with(fields, *chance.one_of(forms)))

    return spoil


def _choose_model(attempt: Attempt, chance: Chance, rows: list[Row]) -> tuple[int, dict[str, Any]]:
    if not rows:
        return 0, _make_up_fields(attempt)
    place = chance.between(0, len(rows) - 1)
    return place, dict(rows[place].fields)


def _make_up_fields(attempt: Attempt) -> dict[str, Any]:
    asked, histories = attempt.asked, attempt.histories
    day = asked.date_from or asked.date_to or histories.last_day
    return {"action": "import_api", "count": 1, "datetime": f"{day}T12:00:00Z", "list_id": histories.list_id}


def _insert(rows: list[Row], place: int, text: bytes) -> list[bytes]:
    texts = _encode_rows(rows)
    texts.insert(place, text)
    return texts


def _encode_with(fields: Any, key: str, value: str) -> bytes:
    rest = {name: fields[name] for name in fields if name != key}
    return f'{json.dumps(rest)[:-1]},"{key}":{value}}}'.encode()


_SPOILERS: dict[Fault, Spoiler] = {
    Fault.ROWS_OUTSIDE: _add_rows_outside,
    Fault.REPEATED_ROWS: _repeat_some,
    Fault.UNSORTED: _shuffle,
    Fault.ROW_CAP: _cut,
    Fault.CHANGED_HISTORY: _grow,
    Fault.OTHER_PROFILE: _take_from_another,
    Fault.UNKNOWN_FIELDS: _add_unknown_fields,
    Fault.UNKNOWN_ACTION: _make_adder("action", ('"hologram_send"',)),
    Fault.ODD_TYPES: _make_adder_of(_ODD_TYPES),
    Fault.ODD_DATETIMES: _add_odd_datetime,
    Fault.MISSING_FIELDS: _add_incomplete,
    Fault.NO_ROW: _add_non_row,
    Fault.HUGE_INTEGER: _make_adder("count", ("9" * 4301,)),
    Fault.BIG_NUMBERS: _make_adder("count", _BIG_NUMBERS),
    Fault.POISON_TEXT: _make_adder("campaign_name", _POISON),
}
