"""Rows to events: two decoders that agree, and a place for every row that is none."""

import datetime as dt
import json

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.odd_rows import (
    ANY_TEXT,
    BAD_MOMENTS,
    DIGITS,
    DOCUMENTED,
    ROWS,
    TAME,
    WILD,
    chunk_of,
    event_of,
    odd_rows,
    row_with,
)

from profile_history import Action, Event
from profile_history._decoding.event_decoder import EVENTS, decode_lenient, decode_strict, unstructure
from profile_history._decoding.json_members import Unrepresentable, load_row, split_members
from profile_history._decoding.raw_decoder import RAW
from profile_history._decoding.timestamps import read_datetime


@given(
    rows=st.lists(DOCUMENTED, min_size=1, max_size=4),
    ensure_ascii=st.booleans(),
    database=st.sampled_from(["list_id", "db_id"]),
)
def test_both_lanes_read_documented_rows_alike(rows, ensure_ascii, database):
    """Rows as documented take the strict decoder, and the lenient decoder makes equal events of them."""
    renamed = [{database if key == "list_id" else key: value for key, value in row.items()} for row in rows]
    chunk = chunk_of(renamed, ensure_ascii)
    batch = decode_strict(chunk)
    assert batch == decode_lenient(chunk)
    assert [event.action for event in batch.rows] == [row["action"].strip() for row in rows]
    assert [event.list_id for event in batch.rows] == [row.get("list_id") for row in rows]


@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_digits_beyond_microseconds_are_cut_whichever_lane_reads_them(rows):
    """The strict decoder would round them, and leaves them to the lenient one."""
    chunk = chunk_of(rows)
    assert EVENTS.decode(chunk) == decode_lenient(chunk)


@pytest.mark.parametrize(
    "label",
    [
        '"datetime":"2017-12-31T23:59:59.9999999Z"',
        '"datetime" : "2017-12-31T23:59:59.999999999+00:00"',
        '"datetime":"2017-12-31T23:59:59.\\u0039999999Z"',
        '"datetime":"2017-12-31T23:59:59\\u002e9999999Z"',
        '"d\\u0061tetime":"2017-12-31T23:59:59.9999999Z"',
    ],
)
def test_no_spelling_of_a_label_is_rounded_into_the_next_day(label):
    """Not even with letters, digits or dots that are escaped without need."""
    row = b'{"action":"click",%b}' % label.encode()
    (event,) = EVENTS.decode(row).rows
    assert event.datetime == dt.datetime(2017, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    assert RAW.decode(row).keys[0].datetime == event.datetime


@given(row=odd_rows(WILD, ANY_TEXT) | WILD)
def test_no_row_is_lost_and_none_can_crash(row):
    """Whatever a row holds, it becomes an event or is quarantined with a reason and its own bytes."""
    chunk = chunk_of([row])
    batch = EVENTS.decode(chunk)
    assert len(batch.rows) + len(batch.quarantined) == 1
    for apart in batch.quarantined:
        assert apart.reason
        assert (apart.raw, apart.place) == (chunk, 0)


@given(rows=st.lists(ROWS | odd_rows(WILD, ANY_TEXT) | WILD, max_size=5))
def test_a_rows_fate_does_not_depend_on_its_neighbours(rows):
    """A list of rows decodes to what its rows decode to alone, in the same order and places."""
    batch = EVENTS.decode(chunk_of(rows))
    alone = [EVENTS.decode(chunk_of([row])) for row in rows]
    assert batch.rows == [event for one in alone for event in one.rows]
    assert batch.quarantined == [
        attrs.evolve(apart, place=place) for place, one in enumerate(alone) for apart in one.quarantined
    ]


@given(row=odd_rows(TAME, st.text(max_size=8)))
def test_an_event_survives_being_written_and_read_again(row):
    """What `unstructure` writes as JSON decodes to an equal event, and holds nothing that was absent."""
    for event in EVENTS.decode(chunk_of([row])).rows:
        plain = unstructure(event)
        assert EVENTS.decode(msgspec.json.encode(plain)).rows == [event]
        assert all(plain[key] is not None for key in plain.keys() - event.extra.keys())


def test_an_event_is_written_under_the_apis_own_keys():
    """Absent values are left out, unknown keys come back beside the others, and the datetime is text."""
    event = event_of('"db_id":20,"email":null,"subscription":{"a":[1]},"new":{"b":null},"count":"x"')
    assert unstructure(event) == {
        "action": "click",
        "datetime": "2017-04-05T07:48:44+00:00",
        "list_id": 20,
        "subscription": {"a": [1]},
        "new": {"b": None},
        "count": "x",
    }


@pytest.mark.parametrize(
    ("members", "known", "extra"),
    [
        ("", {}, {}),
        ('"new":1,"newer":null', {}, {"new": 1, "newer": None}),
        ('"extra":{"a":1}', {}, {"extra": {"a": 1}}),
        ('"email":null,"count":null,"fields":null', {}, {}),
        ('"email":""', {"email": ""}, {}),
        ('"count":"12"', {"count": 12}, {}),
        ('"count":" -12 "', {"count": -12}, {}),
        ('"count":1.0', {"count": 1}, {}),
        ('"count":1e2', {"count": 100}, {}),
        ('"count":1.5', {}, {"count": 1.5}),
        ('"count":true', {}, {"count": True}),
        ('"count":""', {}, {"count": ""}),
        ('"count":"1.0"', {}, {"count": "1.0"}),
        ('"count":"٣"', {}, {"count": "٣"}),
        ('"count":[1]', {}, {"count": [1]}),
        ('"count":9223372036854775807', {"count": 2**63 - 1}, {}),
        ('"count":-9223372036854775808', {"count": -(2**63)}, {}),
        ('"email":5', {"email": "5"}, {}),
        ('"smid":1.5', {"smid": "1.5"}, {}),
        ('"email":true', {}, {"email": True}),
        ('"email":{"a":1}', {}, {"email": {"a": 1}}),
        ('"subscription":[]', {}, {"subscription": []}),
        ('"subscriptions":{}', {}, {"subscriptions": {}}),
        ('"fields":"x"', {}, {"fields": "x"}),
        ('"list_id":20', {"list_id": 20}, {}),
        ('"db_id":20', {"list_id": 20}, {}),
        ('"db_id":"20"', {"list_id": 20}, {}),
        ('"list_id":20,"db_id":30', {"list_id": 20}, {"db_id": 30}),
        ('"list_id":null,"db_id":30', {"list_id": 30}, {}),
        ('"list_id":"x","db_id":30', {}, {"list_id": "x", "db_id": 30}),
        ('"db_id":"x"', {}, {"db_id": "x"}),
        ('"db_id":null', {}, {}),
    ],
)
def test_each_value_goes_to_its_field_or_to_extra(members, known, extra):
    """Numbers may be text, nulls are absent, and what fits no field survives under its own key."""
    plain = Event(Action.CLICK, dt.datetime(2017, 4, 5, 7, 48, 44, tzinfo=dt.UTC))
    event = event_of(members)
    assert event == attrs.evolve(plain, **known, extra=extra)
    assert not any(isinstance(value, (bool, float)) for value in attrs.asdict(event, recurse=False).values())


@pytest.mark.parametrize(
    ("members", "known", "extra"),
    [
        ('"message_id":18446744073709551615', {}, {"message_id": "18446744073709551615"}),
        ('"new":1e400', {}, {"new": "1e400"}),
        ('"campaign_name":"\\ud83d"', {}, {"campaign_name": '"\\ud83d"'}),
        ('"count":9223372036854775808', {}, {"count": "9223372036854775808"}),
        ('"list_id":-9223372036854775809', {}, {"list_id": "-9223372036854775809"}),
        ('"db_id":9223372036854775808', {}, {"db_id": "9223372036854775808"}),
        ('"list_id":1e400,"db_id":30', {}, {"list_id": "1e400", "db_id": 30}),
        ('"message_id":"18446744073709551616"', {}, {"message_id": "18446744073709551616"}),
        ('"campaign_id":1E+300', {}, {"campaign_id": "1E+300"}),
        ('"campaign_id":1e17', {"campaign_id": 10**17}, {}),
        ('"campaign_id":9007199254740993.0', {"campaign_id": 2**53 + 1}, {}),
        ('"campaign_id":-9.223372036854775808e18', {"campaign_id": -(2**63)}, {}),
        ('"campaign_id":9223372036854775808.0', {}, {"campaign_id": "9223372036854775808.0"}),
        ('"campaign_id":9007199254740993.5', {}, {"campaign_id": "9007199254740993.5"}),
        ('"count":1e-400', {}, {"count": "1e-400"}),
        ('"count":1e-99999999999999999999', {}, {"count": "1e-99999999999999999999"}),
        ('"count":0e99', {"count": 0}, {}),
        ('"count":-0.0', {"count": 0}, {}),
        ('"count":NaN,"new":-Infinity', {}, {"count": "NaN", "new": "-Infinity"}),
        ('"email":1e400,"smid":-Infinity', {}, {"email": "1e400", "smid": "-Infinity"}),
        (
            f'"email":{DIGITS},"count":{DIGITS},"new":-{DIGITS}',
            {},
            {"email": DIGITS, "count": DIGITS, "new": f"-{DIGITS}"},
        ),
        (f'"email":{2**64}', {"email": str(2**64)}, {}),
        (f'"new":{2**64}', {}, {"new": 2**64}),
        ('"new":[1, 1e400],"newer":[1, 1e300]', {}, {"new": "[1, 1e400]", "newer": [1, 1e300]}),
        ('"fields":{"a":1e400}', {}, {"fields": '{"a":1e400}'}),
        ('"fields":{ "a" : [ NaN ] },"count":1', {"count": 1}, {"fields": '{ "a" : [ NaN ] }'}),
        (f'"subscription":{{"id":{2**64}}}', {"subscription": {"id": 2**64}}, {}),
        ('"subscriptions":[{"a":"}],\\"{["},1e400]', {}, {"subscriptions": '[{"a":"}],\\"{["},1e400]'}),
        (
            '"campaign_name":"\\uDE00\\uD83D","email":"\\ud83d\\ude00"',
            {"email": "\U0001f600"},
            {"campaign_name": '"\\uDE00\\uD83D"'},
        ),
        ('"new":"\\ud83d","fields":{"a":"\\ud83d"}', {"fields": {"a": "\ud83d"}}, {"new": "\ud83d"}),
        ('"\\ud83d":1e400,"":NaN', {}, {"\ud83d": "1e400", "": "NaN"}),
        ('"c\\u006funt" : 1e400 , "new" : "a\n" ', {}, {"count": "1e400", "new": "a\n"}),
        ('"count":1e400,"count":2,"new":3,"new":1e400', {"count": 2}, {"new": "1e400"}),
        ('"count":1e400,"count":null', {}, {}),
        ('"extra":1e400', {}, {"extra": "1e400"}),
    ],
)
def test_a_value_that_its_field_cannot_hold_costs_the_field_and_stands_in_extra(members, known, extra):
    """As the row's own JSON; what JSON and Python hold well stays a value, and the row stays."""
    plain = Event(Action.CLICK, dt.datetime(2017, 4, 5, 7, 48, 44, tzinfo=dt.UTC))
    event = event_of(members)
    assert event == attrs.evolve(plain, **known, extra=extra)
    assert {key: type(value) for key, value in event.extra.items()} == {k: type(value) for k, value in extra.items()}
    assert RAW.decode(row_with(members)).rows == [row_with(members)]


@pytest.mark.parametrize("text", ['"half \\ud83d"', '"\\uDE00\\uD83D"'])
def test_an_action_that_cannot_be_held_goes_by_its_json(text):
    """A row needs one, and keeps what it says."""
    (event,) = EVENTS.decode(b'{"action":%b,"datetime":"2017-04-05T07:48:44Z"}' % text.encode()).rows
    assert event == Event(Action(text), dt.datetime(2017, 4, 5, 7, 48, 44, tzinfo=dt.UTC))
    assert not event.action.known


@pytest.mark.parametrize(("depth", "fits"), [(10, True), (100_000, False)])
def test_a_value_that_is_nested_too_deeply_for_the_stack_costs_its_key(depth, fits):
    """Its text takes none."""
    deep = "[" * depth + "]" * depth
    row = load_row(row_with(f'"new":{deep},"fields":{{"a":{deep}}},"count":1'))
    assert row["new"] == (json.loads(deep) if fits else Unrepresentable(deep))
    assert row["fields"] == ({"a": json.loads(deep)} if fits else Unrepresentable(f'{{"a":{deep}}}'))
    assert (row["count"], row["action"]) == (1, "click")


@given(row=st.dictionaries(ANY_TEXT, WILD, max_size=4), indent=st.sampled_from([None, 0, 3]), ascii_=st.booleans())
def test_each_key_of_a_row_has_its_own_text(row, indent, ascii_):
    """However it is spelled."""
    raw = json.dumps(row, indent=indent, ensure_ascii=ascii_).encode("utf-8", "replace")
    texts = split_members(raw)
    assert repr({key: json.loads(text) for key, text in texts.items()}) == repr(json.loads(raw))
    assert all(text == text.strip() for text in texts.values())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"null", "object"),
        (b'"text"', "object"),
        (b"[]", "object"),
        (b"7", "object"),
        (b"{}", "action is missing"),
        (b'{"datetime":"2017-04-05T07:48:44Z"}', "action is missing"),
        (b'{"action":null,"datetime":"2017-04-05T07:48:44Z"}', "action is missing"),
        (b'{"action":5,"datetime":"2017-04-05T07:48:44Z"}', "action is no text"),
        (b'{"action":" ","datetime":"2017-04-05T07:48:44Z"}', "action is blank"),
        (b'{"action":"","datetime":"2017-04-05T07:48:44Z"}', "action is blank"),
        (b'{"action":"click"}', "datetime is missing"),
        (b'{"action":"click","datetime":null}', "datetime is missing"),
        (b'{"action":"click","datetime":""}', "datetime is blank"),
        (b'{"action":"click","datetime":"today"}', "datetime is no moment"),
        (b'{"action":"click","datetime":" "}', "datetime is blank"),
        (b'{"action":"click","datetime":1491378524}', "datetime is no text"),
        (b'{"action":"click","datetime":[]}', "datetime is no text"),
        (b'{"action":"click","datetime":{}}', "datetime is no text"),
        (b'{"action":"click","datetime":[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0]}', "datetime is no text"),
        (b'{"action":NaN,"datetime":"2017-04-05T07:48:44Z"}', "action is no text"),
        (b'{"action":"click","datetime":1e400}', "datetime is no text"),
        (b'{"action":"click","datetime":"2017-04-05T07:48:44Z\\udc00"}', "datetime is no moment"),
        (b"NaN", "object"),
        (b"[1e400]", "object"),
    ],
)
def test_a_row_that_cannot_be_read_is_set_apart_alone(row, reason):
    """It keeps its reason, bytes and place, and its neighbours flow."""
    good = row_with()
    batch = EVENTS.decode(b",".join([good, row, good]))
    (apart,) = batch.quarantined
    assert reason in apart.reason
    assert (apart.raw, apart.place) == (row, 1)
    assert batch.rows == EVENTS.decode(good).rows * 2


@pytest.mark.parametrize(
    ("row", "moment"),
    [
        (b'{"datetime":"2017-04-05T07:48:44Z"}', dt.datetime(2017, 4, 5, 7, 48, 44, tzinfo=dt.UTC)),
        (
            b'{"action":7,"datetime":"2017-04-05 07:48:44,5 z"}',
            dt.datetime(2017, 4, 5, 7, 48, 44, 500_000, tzinfo=dt.UTC),
        ),
        (
            b'{"action":7,"new":NaN,"datetime":"2017-04-05T07:48:44Z"}',
            dt.datetime(2017, 4, 5, 7, 48, 44, tzinfo=dt.UTC),
        ),
        (b'{"datetime":"yesterday"}', None),
        (b'{"datetime":7}', None),
        (b"{}", None),
        (b"[]", None),
        (b"NaN", None),
    ],
)
def test_a_row_set_apart_is_dated_where_that_much_can_be_read(row, moment):
    """Its day decides which window reports it."""
    assert EVENTS.decode(row).quarantined[0].datetime == moment


@pytest.mark.parametrize("zone", ["Z", "z", " Z", "+03:00", "+0300", "+03", "-11:30", "-1130", ""])
@pytest.mark.parametrize("digits", range(10))
@pytest.mark.parametrize("separator", ["T", "t", " "])
def test_a_second_is_cut_to_microseconds_in_every_spelling(zone, digits, separator):
    """Zero to nine digits are cut, never rounded, so that the last moment of a day stays on it."""
    fraction = "." + "9" * digits if digits else ""
    moment = read_datetime(f"2017-12-31{separator}23:59:59{fraction}{zone}")
    cut = ("9" * digits)[:6].ljust(6, "0")
    assert moment.replace(tzinfo=None).isoformat(timespec="microseconds") == f"2017-12-31T23:59:59.{cut}"
    offsets = {"+03:00": 180, "+0300": 180, "+03": 180, "-11:30": -690, "-1130": -690, "": None}
    minutes = offsets.get(zone, 0)
    assert moment.utcoffset() == (None if minutes is None else dt.timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        (" 2017-04-05T07:48:44Z\n", "2017-04-05T07:48:44+00:00"),
        ("2017-04-05T07:48:44,25Z", "2017-04-05T07:48:44.250000+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("2016-12-31T23:59:60.5", "2017-01-01T00:00:00.500000"),
        ("2016-06-30T12:30:60+03", "2016-06-30T12:31:00+03:00"),
        ("2016-12-31T24:00:00Z", "2017-01-01T00:00:00+00:00"),
        ("2016-02-29t24:00:00+0300", "2016-03-01T00:00:00+03:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_unusual_moments_are_read_as_labelled(text, iso):
    """Blanks, commas, leap seconds, the hour 24 and the calendar's ends have one meaning each."""
    assert read_datetime(text).isoformat() == iso


@pytest.mark.parametrize(
    "text", ["", " ", "2017-04-05T07:48:44\ud800", *BAD_MOMENTS.strip().replace("\n", "|").split("|")]
)
def test_what_is_no_moment_is_a_value_error(text):
    """Days, hours and zones that do not exist are refused, and nothing else than a ValueError is raised."""
    with pytest.raises(ValueError, match="datetime"):
        read_datetime(text)
