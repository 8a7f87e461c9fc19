"""Rows with values that Python, or a column, cannot hold."""

import pyarrow as pa
from hypothesis import strategies as st
from support.arrow_rows import NAMES, NESTED, OWNER, PLAIN, gathered, response, row_of, unpacking

from profile_history import arrow
from profile_history._decoding import record_batches
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.json_members import split_members

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
    """Return a row with these members, as a server may write them."""
    lines = ['{}"{}" :{}'.format(indent, *member) for member in (*LABEL, *members)]
    return f"{{{','.join(lines)}\n}}".encode()


def tabled(texts):
    """Return the rows of a response as the Arrow decoder has them, and what it quarantined."""
    apart = []
    batches = gathered(arrow.decode_columns(unpacking(FLAT, apart), response(texts)))
    return pa.Table.from_batches(batches, record_batches.SCHEMA).to_pylist(), apart


def as_row(event, raw, came):
    """Return an event as a row of the table; a nested value with too large a number may stay in its column."""
    row = row_of(OWNER, event)
    for name, opening in (("subscription", "{"), ("subscriptions", "["), ("fields", "{")):
        text = split_members(raw).get(name, "")
        if text.startswith(opening) and row[name] is None and came[name] is not None:
            assert "NaN" not in text
            assert "Infinity" not in text
            row[name] = row["extra"][name]
            row["extra"] = {key: value for key, value in row["extra"].items() if key != name} or None
    return row


ODD = [
    (f'"message_id":{2**64 - 1}', "message_id", '{"message_id":"18446744073709551615"}'),
    ('"new":1e400', "email", '{"new":"1e400"}'),
    (r'"campaign_name":"\ud83d"', "campaign_name", r'{"campaign_name": "\"\\ud83d\""}'),
    (f'"new":{2**64},"count":{2**63}', "count", f'{{"new":{2**64},"count":"{2**63}"}}'),
    ('"new":1.50,"fields":{"a":NaN}', "fields", r'{"new": 1.5, "fields": "{\"a\":NaN}"}'),
    ('"new":"1e400","count":NaN', "count", '{"new": "1e400", "count": "NaN"}'),
]
