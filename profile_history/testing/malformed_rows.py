"""What a fault makes of the rows of an answer: too many, too few, wrong or odd ones. No I/O."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable
from typing import Any

from profile_history.testing.api import rows_of
from profile_history.testing.attempt import Meeting
from profile_history.testing.fault_plan import Chance
from profile_history.testing.faults import Fault
from profile_history.testing.histories import Row

Spoiler = Callable[[Meeting, Chance, list[Row]], list[bytes]]

_FAR = 10
_MOST_REPEATED = 10
_NEIGHBOURS = 100

# Each a key and what stands behind it, as JSON.
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


def spoil_rows(meeting: Meeting, fault: Fault | None, rows: list[Row]) -> list[bytes]:
    """The rows as they are sent.

    Args:
        meeting: The attempt.
        fault: What is done to the rows; None for nothing.
        rows: Those that a good answer has.
    """
    if fault is None:
        return _texts(rows)
    return _SPOILERS[fault](meeting, meeting.chance(fault), rows)


def _texts(rows: list[Row]) -> list[bytes]:
    return [row.json for row in rows]


def _outside(meeting: Meeting, chance: Chance, rows: list[Row]) -> list[bytes]:
    fields = _model(meeting, chance, rows)[1]
    texts = _texts(rows)
    if meeting.asked.date_to is not None:
        day = meeting.asked.date_to + dt.timedelta(days=_FAR)
        texts.insert(0, _row(fields, "datetime", f'"{day}T12:00:00Z"'))
    if meeting.asked.date_from is not None:
        day = meeting.asked.date_from - dt.timedelta(days=_FAR)
        texts.append(_row(fields, "datetime", f'"{day}T12:00:00Z"'))
    return texts


def _repeated(_: Meeting, chance: Chance, rows: list[Row]) -> list[bytes]:
    texts = _texts(rows)
    start = chance.between(0, len(texts) - 1)
    some = texts[start : start + chance.between(1, _MOST_REPEATED)]
    return texts[:start] + some + texts[start:]


def _unsorted(_: Meeting, chance: Chance, rows: list[Row]) -> list[bytes]:
    texts = _texts(rows)
    chance.random.shuffle(texts)
    return texts


def _capped(meeting: Meeting, _: Chance, rows: list[Row]) -> list[bytes]:
    return _texts(rows)[: meeting.settings(Fault.ROW_CAP).row_cap]


def _grown(meeting: Meeting, _: Chance, rows: list[Row]) -> list[bytes]:
    fields = rows[0].fields if rows else _made_up(meeting)
    return [_row(fields, "action", '"import_api"')] * meeting.attempt + _texts(rows)


def _of_another(meeting: Meeting, _: Chance, rows: list[Row]) -> list[bytes]:
    histories, behaviour = meeting.histories, meeting.behaviour
    first = -1 if meeting.number is None else meeting.number
    others = [(first + step) % histories.profiles for step in range(1, min(_NEIGHBOURS, histories.profiles))]
    on_those_days = (rows_of(histories, behaviour, other, meeting.asked) for other in others)
    on_any_day = (list(histories.rows(other, behaviour.rows)) for other in others)
    return _texts(next(filter(None, itertools.chain(on_those_days, on_any_day)), rows))


def _with_unknown_fields(_: Meeting, __: Chance, rows: list[Row]) -> list[bytes]:
    return [text[:-1] + _NEWS for text in _texts(rows)]


def _odd_datetime(meeting: Meeting, chance: Chance, rows: list[Row]) -> list[bytes]:
    day = str(_model(meeting, chance, rows)[1]["datetime"])[:10]
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
    return _one_more("datetime", forms)(meeting, chance, rows)


def _incomplete(meeting: Meeting, chance: Chance, rows: list[Row]) -> list[bytes]:
    place, fields = _model(meeting, chance, rows)
    lacking = chance.one_of((("action",), ("datetime",), tuple(fields)))
    return _inserted(rows, place, json.dumps({key: fields[key] for key in fields if key not in lacking}).encode())


def _no_row(meeting: Meeting, chance: Chance, rows: list[Row]) -> list[bytes]:
    return _inserted(rows, _model(meeting, chance, rows)[0], chance.one_of(_NO_ROWS))


def _one_more(key: str, forms: tuple[str, ...]) -> Spoiler:
    return _one_more_of(tuple((key, form) for form in forms))


def _one_more_of(forms: tuple[tuple[str, str], ...]) -> Spoiler:
    def spoil(meeting: Meeting, chance: Chance, rows: list[Row]) -> list[bytes]:
        place, fields = _model(meeting, chance, rows)
        return _inserted(rows, place, _row(fields, *chance.one_of(forms)))

    return spoil


def _model(meeting: Meeting, chance: Chance, rows: list[Row]) -> tuple[int, dict[str, Any]]:
    if not rows:
        return 0, _made_up(meeting)
    place = chance.between(0, len(rows) - 1)
    return place, dict(rows[place].fields)


def _made_up(meeting: Meeting) -> dict[str, Any]:
    asked, histories = meeting.asked, meeting.histories
    day = asked.date_from or asked.date_to or histories.last_day
    return {"action": "import_api", "count": 1, "datetime": f"{day}T12:00:00Z", "list_id": histories.list_id}


def _inserted(rows: list[Row], place: int, text: bytes) -> list[bytes]:
    texts = _texts(rows)
    texts.insert(place, text)
    return texts


def _row(fields: Any, key: str, value: str) -> bytes:
    rest = {name: fields[name] for name in fields if name != key}
    return f'{json.dumps(rest)[:-1]},"{key}":{value}}}'.encode()


_SPOILERS: dict[Fault, Spoiler] = {
    Fault.ROWS_OUTSIDE: _outside,
    Fault.REPEATED_ROWS: _repeated,
    Fault.UNSORTED: _unsorted,
    Fault.ROW_CAP: _capped,
    Fault.CHANGED_HISTORY: _grown,
    Fault.OTHER_PROFILE: _of_another,
    Fault.UNKNOWN_FIELDS: _with_unknown_fields,
    Fault.UNKNOWN_ACTION: _one_more("action", ('"hologram_send"',)),
    Fault.ODD_TYPES: _one_more_of(_ODD_TYPES),
    Fault.ODD_DATETIMES: _odd_datetime,
    Fault.MISSING_FIELDS: _incomplete,
    Fault.NO_ROW: _no_row,
    Fault.HUGE_INTEGER: _one_more("count", ("9" * 4301,)),
    Fault.BIG_NUMBERS: _one_more("count", _BIG_NUMBERS),
    Fault.POISON_TEXT: _one_more("campaign_name", _POISON),
}
