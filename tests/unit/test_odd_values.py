"""A value that cannot be held costs its own field, in every decoder and sink, and never the row."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrow_rows import NESTED
from support.odd_members import FIELDS, MEMBERS, ODD, as_row, spelled, tabled

from profile_history._decoding.event_decoder import EVENTS
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.json_members import split_members
from profile_history._decoding.raw_decoder import RAW


@given(some=st.lists(st.builds(spelled, MEMBERS, st.sampled_from(["", "\n\t "])), min_size=1, max_size=4))
def test_a_row_that_says_what_and_when_is_in_every_lane_whatever_else_it_holds(some):
    """The decoders agree on each field and on what is null, and every key is in its field or in `extra`."""
    chunk = b",".join(some)
    assert RAW.decode(chunk).rows == some
    events = EVENTS.decode(chunk)
    came, apart = tabled(some)
    assert (events.quarantined, apart, len(events.rows), len(came)) == ([], [], len(some), len(some))
    for raw, event, row in zip(some, events.rows, came, strict=True):
        for name, wanted in as_row(event, raw, row).items():
            is_json = name in (*NESTED, "extra") and not isinstance(wanted, str) and row[name] is not None
            assert repr(json.loads(row[name]) if is_json else row[name]) == repr(wanted), name
        for key, text in split_members(raw).items():
            field = "list_id" if key == "db_id" else key
            there = key in event.extra or (field in FIELDS and getattr(event, field) is not None)
            assert there or key in ("action", "datetime") or (text == "null" and field in FIELDS), key


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
    for row_decoder in (RAW, EVENTS, FLAT):
        batch = row_decoder.decode(b",".join([good, row, good]))
        assert (len(batch.rows), [(one.raw, one.place) for one in batch.quarantined]) == (2, [(row, 1)])
