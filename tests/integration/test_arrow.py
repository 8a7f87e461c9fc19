"""Record batches: the same rows as the events, in columns, and nothing lost, doubled or changed."""

import asyncio
import builtins
import datetime as dt
import importlib
import json
import sys
import threading
from collections import Counter
from unittest import mock

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrow_rows import (
    BOTH_ORDERS,
    BOTH_SHAPES,
    DAY,
    FIRST,
    LAST,
    MOMENTS,
    NEIGHBOURS,
    bytes_of,
    expected,
    gathered,
    response,
    row,
    row_of,
    rows_of,
    tabled,
    unpacking,
)
from support.change_responses import poison
from support.odd_rows import DOCUMENTED, ROWS, TAME, WILD, odd_rows

import profile_history
from profile_history import (
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    Limits,
    Pacing,
    ResponseError,
    RetryPolicy,
    TruncatedResponse,
    UsageError,
    Window,
    arrow,
)
from profile_history._aio import in_thread
from profile_history._decoding import arrow_decoder, flat_decoder, record_batches
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history.testing import Behaviour, Fault, FaultPlan
from profile_history.windows import Order

# The rows


@pytest.mark.slow
@given(data=st.data())
def test_the_columns_hold_what_the_events_say(data):
    """Documented, odd and unknown keys, numbers as text, any zone; what is unreadable is quarantined as ever."""
    some = data.draw(st.lists(st.one_of(DOCUMENTED, ROWS, odd_rows(TAME, st.text(max_size=8)), WILD), max_size=8))
    texts = [json.dumps(one, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "replace") for one in some]
    rows = response(texts, data.draw(st.lists(st.integers(0, len(texts)), max_size=3)))
    order, apart, known = data.draw(st.sampled_from(Order)), [], []
    assert tabled(rows, apart=apart, order=order) == expected(rows, apart=known, order=order)
    assert apart == known


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize(
    ("members", "name", "text"),
    [
        ('"subscription":{ "a" : 1.50,"\\u0061":"\\u0416" }', "subscription", '{ "a" : 1.50,"\\u0061":"\\u0416" }'),
        ('"subscriptions":[1e2,\n[]]', "subscriptions", "[1e2,\n[]]"),
        ('"fields":{"a":1e400}', "fields", '{"a":1e400}'),
        ('"fields":{"ж":"\\ud83d\\ude00"}', "fields", '{"ж":"\\ud83d\\ude00"}'),
        ('"fields":null', "fields", None),
        ('"new":1.50,"newer":{ "a":[] }', "extra", '{"new":1.50,"newer":{ "a":[] }}'),
        ('"subscription":[1, 2]', "extra", '{"subscription":[1, 2]}'),
        ('"subscriptions":"x"', "extra", '{"subscriptions":"x"}'),
        ('"extra":null', "extra", '{"extra":null}'),
        ('"extra":"x"', "extra", '{"extra":"x"}'),
        ('"new":1,"fields":{ "a":1.0 }', "fields", '{ "a":1.0 }'),
        ('"fields":{"a":"\\ud800"}', "fields", '{"a": "\\ud800"}'),
        ('"fields":{"a":"\x01"}', "fields", '{"a": "\\u0001"}'),
        ('"\\ud800":1.50', "extra", '{"\\ud800": 1.5}'),
        ('"fields":{ "a":1.50 },"smid":"\\ud800"', "fields", '{ "a":1.50 }'),
    ],
)
def test_nested_values_are_the_text_that_the_server_wrote(members, name, text, neighbour):
    """Whatever stands beside the row; only what is no strict JSON is written anew."""
    texts = [b'{"action":"open","datetime":"2024-03-11T12:00:00Z",%b}' % members.encode(), neighbour]
    [batch] = gathered(arrow.decode_columns(unpacking(FLAT), response(list(filter(None, texts)))))
    assert batch.column(name)[0].as_py() == text


@pytest.mark.parametrize(
    ("label", "moment", "offset"),
    [
        ("2024-03-10T23:59:59.9999999Z", "2024-03-10T23:59:59.999999", 0),
        ("2024-03-10T01:00:00.5+03:00", "2024-03-10T01:00:00.500000", 10800),
        ("2024-03-10T01:00:00-11:30", "2024-03-10T01:00:00", -41400),
        ("2024-03-10T01:00:00", "2024-03-10T01:00:00", None),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00", 0),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00", 0),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999", 0),
    ],
)
@pytest.mark.parametrize("others", [[], ["2020-01-01T00:00:00+05:00", "2020-01-01T00:00:00"]])
def test_a_moment_is_what_the_label_says_and_its_zone_stands_beside_it(label, moment, offset, others):
    """Cut to microseconds, never moved to another zone, alone and among labels of other zones."""
    rows = tabled(response(bytes_of(*map(row, [label, *others]))))
    assert (dt.datetime.fromisoformat(moment), offset) in [(one["datetime"], one["utc_offset"]) for one in rows]
    assert len(rows) == 1 + len(others)


def test_a_database_may_go_by_its_other_name():
    """In short rows and in long ones, and beside others."""
    some = [{**row(number=1), "db_id": 7}, {**row(number=2), "db_id": 8, "smid": "s"}]
    assert [one["list_id"] for one in tabled(response(bytes_of(*some)))] == [7, 8]
    assert [one["list_id"] for one in tabled(response(bytes_of(*some, row(list_id=9))))] == [7, 8, 9]


# The order and the days


@BOTH_ORDERS
@given(data=st.data())
def test_the_rows_come_in_the_order_of_the_events(order, data):
    """Sorted either way by the server or not at all, in any chunks, with ties, and of the window's days only."""
    labels = data.draw(st.lists(MOMENTS, max_size=20))
    match data.draw(st.sampled_from(["newest", "oldest", "any"])):
        case "newest":
            labels.sort(reverse=True)
        case "oldest":
            labels.sort()
    rows = response(
        bytes_of(*(row(label, number) for number, label in enumerate(labels))),
        data.draw(st.lists(st.integers(0, len(labels)), max_size=5)),
    )
    window = data.draw(st.sampled_from([Window(), Window(DAY, DAY), Window(None, DAY)]))
    with mock.patch.object(arrow_decoder, "ROWS_PER_SLICE", data.draw(st.integers(1, 10))):
        assert tabled(rows, window=window, order=order) == expected(rows, window=window, order=order)


@BOTH_ORDERS
def test_sorted_answers_need_not_be_read_row_by_row(order, monkeypatch):
    """Whichever way the server sorts, as long as no two chunks share a moment."""
    monkeypatch.setattr(ResponseDecoder, "decode", lambda *_: pytest.fail("it was read row by row"))
    labels = [f"2024-03-{day:02}T12:00:00Z" for day in range(1, 31)]
    for server in (labels, labels[::-1]):
        some = [row(label, number) for number, label in enumerate(server)]
        came = tabled(response(bytes_of(*some), cuts=[3, 10, 20]), order=order)
        assert [one["datetime"].day for one in came] == sorted(range(1, 31), reverse=order is Order.NEWEST)


def test_nothing_comes_of_an_answer_without_rows():
    """Nor of one without rows of the window's days."""
    assert tabled(response([])) == []
    assert tabled(response(bytes_of(row(), row())), window=Window(DAY + dt.timedelta(1))) == []


@pytest.mark.parametrize("others", [{}, {"new": 1}])
def test_an_answer_of_another_profile_is_refused(others):
    """Read either way; rows that say not whose they are, or are the owner's, are taken."""
    stranger, own = row(profile_id="ab", **others), row(profile_id="CD", **others)
    with pytest.raises(ResponseError, match="another profile_id"):
        tabled(response(bytes_of(stranger)), owner="cd")
    assert len(tabled(response(bytes_of(stranger, own)), owner="cd")) == 2
    assert len(tabled(response(bytes_of(row(**others))), owner="cd")) == 1


def test_strict_refuses_a_row_that_cannot_be_read():
    """With its place in the response."""
    with pytest.raises(DecodeError) as caught:
        tabled(response(bytes_of(row(), {}), cuts=[1]), strict=True)
    assert caught.value.path == "$.data[1]"


def test_rows_that_are_nested_too_deeply_for_the_stack_fail_their_window(monkeypatch):
    """As in the other decoders."""

    def deep(_):
        raise RecursionError

    monkeypatch.setattr(profile_history._decoding.flat_decoder, "split_rows", deep)
    with pytest.raises(DecodeError, match="nested too deeply"):
        FLAT.decode_lenient(b"{}")


def test_an_event_that_cannot_be_written_as_json_is_set_apart(monkeypatch):
    """Where its nested values are too deep for that."""

    def deep(_):
        raise RecursionError

    monkeypatch.setattr(json, "dumps", deep)
    [apart] = FLAT.decode_lenient(
        b'{"action":"send","datetime":"2024-03-10T12:00:00Z","fields":{"a":"\\ud800"}}'
    ).quarantined
    assert apart.reason == "RecursionError"


# The batches


@given(lengths=st.lists(st.integers(1, 7), max_size=12), most=st.integers(1, 10))
def test_batches_are_full_but_for_the_last(lengths, most):
    """Rows of profiles share a batch or are cut, in order."""
    slices, number = [], 0
    for length in lengths:
        some = [row(number=number + place, email=None if place % 2 else "a") for place in range(length)]
        slices += filter(len, arrow.decode_columns(unpacking(FLAT), response(bytes_of(*some))))
        number += length
    batches = gathered(slices, most)
    assert [one["message_id"] for one in rows_of(*batches)] == list(range(number))
    assert all(batch.num_rows == most for batch in batches[:-1])
    assert all(0 < batch.num_rows <= most for batch in batches[-1:])
    for batch in batches:
        batch.validate(full=True)


def test_a_batch_of_many_bytes_ends_early(monkeypatch):
    """Putting it together would hold the loop."""
    monkeypatch.setattr(record_batches, "MOST_BYTES", 10_000)
    some = [row(email=f"{number}" * 1000) for number in range(9)]
    slices = [part for one in some for part in arrow.decode_columns(unpacking(FLAT), response(bytes_of(one)))]
    lengths = [batch.num_rows for batch in gathered(slices * 5)]
    assert len(lengths) > 1
    assert sum(lengths) == 45


@BOTH_SHAPES
@pytest.mark.parametrize("window", ["auto", 31])
@pytest.mark.parametrize("size", [1, 100, 65_536])
async def test_batches_hold_all_events_of_many_profiles(server, shape, window, size):
    """Each profile's in order; several windows share a batch, and a long one fills many."""
    server.behaviour = Behaviour(rows=shape)
    profiles = server.profiles()[:10]
    async with server.client(window=window) as client, client.histories(profiles, FIRST, LAST).batches(size) as stream:
        batches = [batch async for batch in stream]
    received = {}
    for one in rows_of(*batches):
        received.setdefault(one["profile"], []).append(one)
    truth = {str(profile): [row_of(profile, event) for event in server.truth(profile)] for profile in profiles}
    assert received == {profile: rows for profile, rows in truth.items() if rows}
    assert all(batch.schema == arrow.SCHEMA for batch in batches)
    assert all(batch.num_rows == size for batch in batches[:-1])
    assert stream.stats.events == sum(map(len, truth.values()))
    assert stream.stats.windows == stream.stats.requests


@BOTH_SHAPES
async def test_faults_on_the_way_change_nothing(server, shape):
    """Nothing is lost or doubled."""
    faults = (Fault.ERROR_500, Fault.RESET_BEFORE_RESPONSE, Fault.TRUNCATED_BODY)
    server.behaviour = Behaviour(rows=shape)
    server.faults = FaultPlan(seed=1, rates=dict.fromkeys(faults, 0.1))
    async with server.client(retry=RetryPolicy(base=0.01, cap=0.05)) as client:
        batches = await client.histories(server.profiles(), FIRST, LAST).batches().collect()
    assert server.injected.total() > 5
    truth = [repr(row_of(profile, event)) for profile in server.profiles() for event in server.truth(profile)]
    assert Counter(map(repr, rows_of(*batches))) == Counter(truth)


async def test_a_row_set_apart_is_listed_with_all_that_is_known_of_it(server, monkeypatch):
    """Its profile, window, reason and bytes; the others flow, and strict makes it an error."""
    raw, profile = b'{"action":"","datetime":"2024-06-01T10:00:00Z"}', server.profile(1)
    poison(monkeypatch, [raw])
    async with server.client() as client:
        async with client.history(profile, FIRST, LAST).batches() as stream:
            came = rows_of(*[batch async for batch in stream])
        [apart] = stream.quarantined
        assert (apart.profile, str(apart.window), apart.raw) == (profile, f"{FIRST}..{LAST}", raw)
        assert apart.reason == "action is blank"
        assert len(came) == len(server.truth(profile)) == stream.stats.events
        assert stream.stats.quarantined == 1
        with pytest.raises(DecodeError):
            await client.history(profile, FIRST, LAST, strict=True).batches().collect()


async def test_what_was_complete_before_an_error_is_handed_out_before_it_is_raised(server):
    """With `on_error="raise"`; the failed window is named."""
    server.token, token, received = server.token, server.token, []
    first, second = server.profile(1), server.profile(2)

    async def source():
        yield first
        while not server.log:
            await asyncio.sleep(0)
        server.token = "another"
        yield second

    async with server.client(token=token, pacing=Pacing(concurrency=1)) as client:
        stream = client.histories(source()).batches()
        with pytest.raises(AuthenticationError):
            async for batch in stream:
                received += rows_of(batch)
        with pytest.raises(UsageError):
            await stream.collect()
    assert received == [row_of(first, event) for event in server.truth(first)]


async def test_a_window_that_fails_costs_no_other_anything(server):
    """With `on_error="collect"` it is listed, and the others come."""
    busy = max(server.profiles(), key=lambda profile: len(server.truth(profile)))
    rows = len(server.truth(busy))
    async with server.client(window=None, limits=Limits(row_cap=rows)) as client:
        stream = client.histories(server.profiles(), on_error="collect").batches()
        came = rows_of(*await stream.collect())
    assert {failure.profile for failure in stream.failures} >= {busy}
    assert all(isinstance(failure.error, TruncatedResponse) for failure in stream.failures)
    failed = {failure.profile for failure in stream.failures}
    assert len(came) == sum(len(server.truth(profile)) for profile in server.profiles() if profile not in failed)


@pytest.mark.parametrize("rows", [0, -1, 1.5, "10", None, True])
async def test_a_batch_has_a_positive_number_of_rows(server, rows):
    """Anything else is refused before anything is sent."""
    async with server.client() as client:
        with pytest.raises(ConfigurationError, match="rows takes a whole number of rows, 1 or more"):
            client.history(server.profile(1)).batches(rows=rows)
    assert not server.log


async def test_a_stream_is_read_as_events_or_as_batches_and_not_as_both(server):
    """They are two views of one run."""
    async with server.client() as client:
        stream = client.history(server.profile(1))
        await stream.to_arrow()
        with pytest.raises(UsageError):
            await stream.collect()


async def test_a_break_leaves_no_task(server):
    """And the stream is over."""
    async with server.client(window=31) as client:
        async with client.histories(server.profiles(), FIRST, LAST).batches(10) as stream:
            async for _ in stream:
                break
        assert not [task for task in asyncio.all_tasks() if "profile_history" in task.get_coro().cr_code.co_filename]
        with pytest.raises(UsageError):
            await anext(stream)


# Tables and frames


@BOTH_SHAPES
async def test_a_table_is_all_batches(server, shape):
    """With one dictionary a column; of nothing comes an empty one."""
    server.behaviour = Behaviour(rows=shape)
    async with server.client() as client:
        table = await client.histories(server.profiles()).to_arrow()
        assert table.schema == arrow.SCHEMA
        table.validate(full=True)
        truth = [repr(row_of(profile, event)) for profile in server.profiles() for event in server.truth(profile)]
        assert Counter(map(repr, rows_of(*table.to_batches()))) == Counter(truth)
        empty = await client.histories([]).to_arrow()
    assert (empty.schema, empty.num_rows) == (arrow.SCHEMA, 0)


@BOTH_SHAPES
async def test_frames_hold_the_same(server, shape):
    """Of polars and of pandas, which keep what Arrow knows of types and of what is missing."""
    server.behaviour = Behaviour(rows=shape)
    profile = server.profile(1)
    async with server.client() as client:
        table = await client.history(profile).to_arrow()
        of_polars = await client.history(profile).to_polars()
        of_pandas = await client.history(profile).to_pandas()
    assert of_polars.to_dicts() == table.to_pylist()
    assert of_polars.schema["datetime"] == pl.Datetime("us")
    assert of_polars.schema["action"] == pl.Categorical
    assert isinstance(of_pandas, pd.DataFrame)
    assert of_pandas["datetime"].dtype == pd.ArrowDtype(pa.timestamp("us"))
    assert isinstance(of_pandas["action"].dtype, pd.CategoricalDtype)
    for name in table.column_names:
        assert [None if pd.isna(value) else value for value in of_pandas[name]] == table[name].to_pylist()


@pytest.mark.parametrize("name", ["polars", "pandas"])
async def test_a_frame_needs_its_library(server, monkeypatch, name):
    """Nothing is sent without it."""
    monkeypatch.setitem(sys.modules, name, None)
    async with server.client() as client:
        with pytest.raises(ImportError, match=rf"to_{name}\(\) needs {name}: python -m pip install {name}"):
            await getattr(client.history(server.profile(1)), f"to_{name}")()
    assert not server.log


async def test_an_error_inside_of_a_library_is_shown_as_it_is(server, monkeypatch):
    """Another module that is missing is not mistaken for the library."""

    def broken(_):
        raise ModuleNotFoundError("No module named 'dateutil'", name="dateutil")

    monkeypatch.setattr(importlib, "import_module", broken)
    async with server.client() as client:
        with pytest.raises(ModuleNotFoundError, match="dateutil"):
            await client.history(server.profile(1)).to_pandas()


@pytest.mark.parametrize(
    ("missing", "message"),
    [("pyarrow", r'pip install "profile-history\[arrow\]"'), ("dateutil", "No module named 'dateutil'")],
)
async def test_batches_need_pyarrow(server, monkeypatch, missing, message):
    """The error names the extra, and comes before anything is sent."""
    for package, name in ((profile_history, "arrow"), (profile_history._decoding, "record_batches")):
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}")
        monkeypatch.delattr(package, name)
    import_any = builtins.__import__

    def import_but(name, *others, **named):
        if name.split(".")[0] == "pyarrow":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return import_any(name, *others, **named)

    monkeypatch.setattr(builtins, "__import__", import_but)
    async with server.client() as client:
        with pytest.raises(ImportError, match=message):
            client.history(server.profile(1)).batches()
    assert not server.log


async def test_a_cancellation_waits_for_the_thread():
    """So that none is left at work; a second cancellation changes nothing."""
    began, go = threading.Event(), threading.Event()

    def work():
        began.set()
        go.wait(10)

    task = asyncio.create_task(in_thread(work))
    while not began.is_set():
        await asyncio.sleep(0)
    for _ in range(2):
        task.cancel()
        await asyncio.wait((task,), timeout=0.01)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_row_whose_keys_are_no_utf8_has_no_members_whatever_the_library_raises():
    """Versions of msgspec differ in the error; the row is then read as the standard library reads it."""
    assert flat_decoder.load_members(b'{"\xff": 1}') is None
    assert flat_decoder.load_members(b'{"a": NaN}') is None
