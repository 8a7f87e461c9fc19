"""Rows as documented, and rows with anything in any field."""

import json

from hypothesis import strategies as st

from profile_history import Action
from profile_history._decoding.event_decoder import EVENTS

INT64 = st.integers(-(2**63), 2**63 - 1)


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)


def json_values(text, floats):
    leaves = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | INT64 | floats | text
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=5
    )


TAME = json_values(st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False))


WILD = json_values(ANY_TEXT, st.floats()) | st.integers(1, 50).map(lambda depth: json.loads("[" * depth + "]" * depth))


def datetimes(most_digits):
    """Return timestamps in the usual form, with up to so many digits of a second."""
    moments = st.builds(
        lambda moment, digits, fraction, zone: f"{moment:%H:%M:%S}{'.' if digits else ''}{fraction[:digits]}{zone}",
        st.times(),
        st.integers(0, most_digits),
        st.text("0123456789", min_size=9, max_size=9),
        st.sampled_from(["Z", "", "+03:00", "-11:30", "+00:00"]),
    )
    return st.builds(lambda day, moment: f"{day.isoformat()}T{moment}", st.dates(), moments)


ACTIONS = st.sampled_from(list(Action)).map(str) | st.text(min_size=1).filter(str.strip)


REQUIRED = {"action": ACTIONS, "datetime": datetimes(9)}


OPTIONAL = {
    **dict.fromkeys(("count", "list_id", "message_id", "campaign_id"), st.none() | INT64),
    **dict.fromkeys(("email", "xxh", "profile_id", "event_id", "smid"), st.none() | st.text()),
    **dict.fromkeys(("channel", "campaign_name", "message_name"), st.none() | st.text()),
    **dict.fromkeys(("subscription", "fields"), st.none() | st.dictionaries(st.text(), TAME, max_size=3)),
    "subscriptions": st.none() | st.lists(TAME, max_size=3),
}


ROWS = st.fixed_dictionaries(REQUIRED, optional=OPTIONAL)


DOCUMENTED = st.fixed_dictionaries(REQUIRED | {"datetime": datetimes(6)}, optional=OPTIONAL)


def odd_rows(values, text):
    """Return rows with anything in any field, among them fields nobody knows."""
    names = st.sampled_from([*REQUIRED, *OPTIONAL, "db_id", "extra"]) | text
    changes = st.dictionaries(names, values, max_size=4)
    return st.builds(lambda row, changed: row | changed, ROWS, changes)


def chunk_of(rows, ensure_ascii=True):
    return ",".join(json.dumps(row, ensure_ascii=ensure_ascii) for row in rows).encode()


def row_with(members=""):
    return b'{"action":"click","datetime":"2017-04-05T07:48:44Z"%b}' % ("," + members if members else "").encode()


def event_of(members):
    (event,) = EVENTS.decode(row_with(members)).rows
    return event


DIGITS = "9" * 4301


BAD_MOMENTS = """
yesterday|2017-04-05|07:48:44Z|1491378524|2017-04-05T07:48Z|05.04.2017 07:48:44|2017-04-05T07:48:44 MSK
2017-13-05T07:48:44Z|2017-02-29T07:48:44Z|0000-01-01T00:00:00Z|9999-12-31T24:00:00Z|2017-04-05T25:00:00Z
2017-04-05T24:00:01Z|2017-04-05T24:00:60Z|2017-04-05T24:01:00Z|2017-04-05T07:60:00Z|2017-04-05T07:48:61Z
2017-04-05T07:48:60+24:00|2017-04-05T07:48:44+99:00|2017-04-05T07:48:44ZZ|2017-04-05T07:48:44.|٢٠١٧-04-05T07:48:44Z
"""
