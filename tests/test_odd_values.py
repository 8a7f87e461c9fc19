"""A value that cannot be held costs its own field, in every lane and sink, and never the row."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_arrow import NAMES, NESTED, OWNER, PLAIN, answer, gathered, row_of, unpacking

from profile_history import arrow
from profile_history._decoding import record_batches
from profile_history._decoding.event_decoder import EVENTS
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.json_members import member_texts
from profile_history._decoding.raw_decoder import RAW

EDGES = [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]
NUMBERS = """
0 -0 -0.0 1.0 1.50 1e3 1e17 1e300 1e400 -1e400 1e-400 1e99999999999999999999 9007199254740993.0 9223372036854775808.0
NaN Infinity -Infinity true false null {} []
"""
TEXTS = r"""
"" "a" "12" "1e400" "9223372036854775808" "{}" "\ud83d" "\ude00\ud83d" "\uD83D\uDE00" "\u0000" "\u002c" "}],{[\"\\"
"""
LEAVES = st.sampled_from([*map(str, EDGES), "9" * 4301, *NUMBERS.split(), *TEXTS.split(), '"\x01\n"', '"жё\x7f\u2028"'])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda some: f"[{' , '.join(some)}]")
        | st.tuples(st.sampled_from(["a", r"\ud83d", r"\u0061"]), inner).map(lambda pair: '{{ "{}":{} }}'.format(*pair))
    ),
    max_leaves=4,
)
FIELDS = (*PLAIN, *NAMES, *NESTED)
KEYS = st.sampled_from([*FIELDS, "db_id", "extra", "new", r"c\u006funt", r"\ud83d", ""])
ACTIONS = st.tuples(st.just("action"), st.sampled_from([r'"\ud83d"', r'"\u0000"', '"\x01"', '"жё"']))
MEMBERS = st.lists(st.tuples(KEYS, VALUES) | ACTIONS, max_size=5)
LABEL = [("action", '"open"'), ("datetime", '"2024-03-10T12:00:00Z"')]


def spelled(members, indent=""):
    """A row with these members, as the server writes them."""
    lines = ['{}"{}" :{}'.format(indent, *member) for member in (*LABEL, *members)]
    return f"{{{','.join(lines)}\n}}".encode()


def tabled(texts):
    """The rows of an answer as the Arrow lane has them, and what it set apart."""
    apart = []
    batches = gathered(arrow.tabled(unpacking(FLAT, apart), answer(texts)))
    return pa.Table.from_batches(batches, record_batches.SCHEMA).to_pylist(), apart


def as_row(event, raw, came):
    """An event as a row of the table, where a nested value with too large a number may stay in its column."""
    row = row_of(OWNER, event)
    for name, opening in (("subscription", "{"), ("subscriptions", "["), ("fields", "{")):
        text = member_texts(raw).get(name, "")
        if text.startswith(opening) and row[name] is None and came[name] is not None:
            assert "NaN" not in text
            assert "Infinity" not in text
            row[name] = row["extra"][name]
            row["extra"] = {key: value for key, value in row["extra"].items() if key != name} or None
    return row


@given(some=st.lists(st.builds(spelled, MEMBERS, st.sampled_from(["", "\n\t "])), min_size=1, max_size=4))
def test_a_row_that_says_what_and_when_is_in_every_lane_whatever_else_it_holds(some):
    """The lanes agree on each field and on what is null, and every key is in its field or in `extra`."""
    chunk = b",".join(some)
    assert RAW.read(chunk).items == some
    events = EVENTS.read(chunk)
    came, apart = tabled(some)
    assert (events.quarantined, apart, len(events.items), len(came)) == ([], [], len(some), len(some))
    for raw, event, row in zip(some, events.items, came, strict=True):
        for name, wanted in as_row(event, raw, row).items():
            is_json = name in (*NESTED, "extra") and not isinstance(wanted, str) and row[name] is not None
            assert repr(json.loads(row[name]) if is_json else row[name]) == repr(wanted), name
        for key, text in member_texts(raw).items():
            field = "list_id" if key == "db_id" else key
            there = key in event.extra or (field in FIELDS and getattr(event, field) is not None)
            assert there or key in ("action", "datetime") or (text == "null" and field in FIELDS), key


ODD = [
    (f'"message_id":{2**64 - 1}', "message_id", '{"message_id":"18446744073709551615"}'),
    ('"new":1e400', "email", '{"new":"1e400"}'),
    (r'"campaign_name":"\ud83d"', "campaign_name", r'{"campaign_name": "\"\\ud83d\""}'),
    (f'"new":{2**64},"count":{2**63}', "count", f'{{"new":{2**64},"count":"{2**63}"}}'),
    ('"new":1.50,"fields":{"a":NaN}', "fields", r'{"new": 1.5, "fields": "{\"a\":NaN}"}'),
    ('"new":"1e400","count":NaN', "count", '{"new": "1e400", "count": "NaN"}'),
]


@pytest.mark.parametrize(("members", "name", "extra"), ODD)
@pytest.mark.parametrize("neighbours", [[], [spelled([("email", r'"\ud83d"')])], [spelled([("smid", '"a"')])]])
def test_a_value_that_its_column_cannot_hold_is_null_there_and_stands_in_extra(members, name, extra, neighbours):
    """As text in JSON, beside what the server wrote."""
    row = b'{"action":"open","datetime":"2024-03-11T12:00:00Z",%b}' % members.encode()
    came, apart = tabled([row, *neighbours])
    assert (len(came), apart) == (1 + len(neighbours), [])
    assert (came[0][name], came[0]["extra"]) == (None, extra)


@pytest.mark.parametrize("row", [b'{"new":1e400}', b'{"datetime":NaN}', b'{"datetime":7}', b"[NaN]", b"NaN", b"7"])
def test_a_row_that_does_not_say_when_is_set_apart_in_every_lane(row):
    """Its neighbours stay."""
    good = spelled([("count", "NaN")])
    for lane in (RAW, EVENTS, FLAT):
        batch = lane.read(b",".join([good, row, good]))
        assert (len(batch.items), [(one.raw, one.place) for one in batch.quarantined]) == (2, [(row, 1)])
