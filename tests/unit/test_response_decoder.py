"""One verified response becomes rows in order, whichever way they are handed out, however long it is."""

import datetime as dt
import json
import math
from itertools import chain, pairwise
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import DecodeError, ResponseError, Window
from profile_history._decoding import response_decoder
from profile_history._decoding.event_decoder import EVENTS
from profile_history._decoding.raw_decoder import RAW
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._decoding.row_decoder import RowDecoder
from profile_history._decoding.timestamps import read_datetime
from profile_history._protocol.chunking import verify_chunk
from profile_history._protocol.envelope import Rows
from profile_history.windows import Order

DAY = dt.date(2024, 3, 10)
MIDNIGHT = dt.datetime.combine(DAY, dt.time())
BOTH_ORDERS = pytest.mark.parametrize("order", Order)
BOTH_DECODERS = pytest.mark.parametrize("row_decoder", [EVENTS, RAW], ids=["events", "raw"])
BOTH_SIZES = pytest.mark.parametrize("large", [0, math.inf], ids=["large", "small"])

MOMENTS = st.builds(
    lambda minutes, zone, fraction: f"{MIDNIGHT + dt.timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}{fraction}{zone}",
    st.integers(-2000, 2000),
    st.sampled_from(["Z", "Z", "Z", "+03:00", ""]),
    st.sampled_from(["", "", ".5", ".999999", ".9999999"]),
)
LABELS = st.one_of(MOMENTS, MOMENTS, st.sampled_from(["soon", None, 7]))


def row(label, number=0, **others):
    return json.dumps({"action": "send", "datetime": label, "message_id": number, **others}).encode()


def response(texts, cuts=()):
    """Return rows as the server sent them, split into chunks at some places."""
    ends = [0, *sorted(cuts), len(texts)]
    chunks = [verify_chunk(b",".join(texts[first:last])) for first, last in pairwise(ends) if last > first]
    return Rows(chunks, sum(map(len, texts)))


def unpacked(rows, row_decoder=EVENTS, *, window=Window(), order=Order.NEWEST, owner="", strict=False, quarantine=None):
    """Decode a response, and yield what is handed out batch by batch."""
    apart = quarantine if quarantine is not None else []
    return ResponseDecoder(row_decoder, window, order, owner, strict, apart.append).decode(rows)


def numbers(batches):
    """Return the message numbers of rows or of events."""
    items = chain.from_iterable(batches)
    return [json.loads(item)["message_id"] if isinstance(item, bytes) else item.message_id for item in items]


@BOTH_ORDERS
@BOTH_DECODERS
@given(data=st.data())
def test_an_answer_comes_out_the_same_whether_it_counts_as_long_or_not(row_decoder, order, data):
    """Kept by its labelled day, sorted by its label, ties in the server's order; what has no label is quarantined."""
    labels = data.draw(st.lists(LABELS, max_size=20))
    if data.draw(st.booleans()):
        labels.sort(key=str, reverse=data.draw(st.booleans()))
    texts = [row(label, number) for number, label in enumerate(labels)]
    rows = response(texts, data.draw(st.lists(st.integers(0, len(texts)), max_size=5)))
    window = data.draw(st.sampled_from([Window(), Window(DAY, DAY), Window(None, DAY)]))

    came, apart = {}, {}
    for large in (0, math.inf):
        apart[large] = []
        with mock.patch.object(response_decoder, "LARGE", large):
            came[large] = numbers(unpacked(rows, row_decoder, window=window, order=order, quarantine=apart[large]))

    def moment(number):
        return read_datetime(labels[number]).replace(tzinfo=None)

    readable = [number for number, label in enumerate(labels) if label not in ("soon", None, 7)]
    inside = [number for number in readable if window.holds(moment(number).date())]
    assert came[0] == came[math.inf] == sorted(inside, key=moment, reverse=order is Order.NEWEST)
    for rows_apart in apart.values():
        assert sorted(item.raw for item in rows_apart) == sorted(
            texts[number] for number in range(len(labels)) if number not in readable
        )


@BOTH_SIZES
@BOTH_DECODERS
@pytest.mark.parametrize("zone", ["", "Z", "+03:00"])
@pytest.mark.parametrize("digits", [6, 7, 9])
def test_no_label_is_rounded_into_the_next_day(zone, digits, row_decoder, large, monkeypatch):
    """Whatever its zone, with which it is as long as another of fewer digits."""
    monkeypatch.setattr(response_decoder, "LARGE", large)
    rows = response([row(f"2024-03-10T23:59:59.{'9' * digits}{zone}")])
    assert numbers(unpacked(rows, row_decoder, window=Window(DAY, DAY))) == [0]


def counting(row_decoder, read):
    """Return a decoder that notes each chunk that it reads."""

    def note(text):
        read.append(text)
        return row_decoder.decode_strict(text)

    return RowDecoder(note, row_decoder.decode_lenient)


@BOTH_DECODERS
@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("servers", Order)
def test_a_long_answer_is_read_chunk_by_chunk_as_it_is_handed_out(row_decoder, order, servers, monkeypatch):
    """Whichever way the server sorts, what was made of one chunk is all that is held besides the bytes."""
    monkeypatch.setattr(response_decoder, "LARGE", 0)
    days = [f"2024-03-{day:02d}T10:00:00Z" for day in range(1, 21)]
    texts = [row(label, number) for number, label in enumerate(sorted(days, reverse=servers is Order.NEWEST))]
    read = []
    batches = filter(None, unpacked(response(texts, range(0, 20, 4)), counting(row_decoder, read), order=order))
    for number, _ in enumerate(batches, 1):
        assert len(read) == number
    assert len(read) == 5


@BOTH_DECODERS
def test_a_shuffled_long_answer_is_still_put_in_order(row_decoder, monkeypatch):
    """It takes more memory, since its chunks have to be merged."""
    monkeypatch.setattr(response_decoder, "LARGE", 0)
    texts = [row(f"2024-03-{1 + 7 * number % 20:02d}T10:00:00Z", 1 + 7 * number % 20) for number in range(20)]
    assert numbers(unpacked(response(texts, range(0, 20, 3)), row_decoder)) == list(range(20, 0, -1))


@BOTH_SIZES
@BOTH_DECODERS
def test_an_answer_of_somebody_elses_rows_gives_none_of_them(row_decoder, large, monkeypatch):
    """A cache on the way that mixes responses up is found out before the first row."""
    monkeypatch.setattr(response_decoder, "LARGE", large)
    rows = response([row("2024-03-10T10:00:00Z", number, profile_id="theirs") for number in range(10)], [3, 6])
    came = []
    with pytest.raises(ResponseError, match="another profile_id"):
        came += filter(None, unpacked(rows, row_decoder, owner="ours"))
    assert came == []
    assert len(numbers(unpacked(rows, row_decoder, owner="THEIRS"))) == 10


@BOTH_SIZES
def test_an_unreadable_row_of_a_long_answer_is_refused_before_the_first_row_where_that_is_asked_for(large, monkeypatch):
    """`strict` holds for long responses as well, and says which row it was."""
    monkeypatch.setattr(response_decoder, "LARGE", large)
    texts = [row("2024-03-10T10:00:00Z", number) for number in range(9)] + [b'{"datetime":"2024-03-10T09:00:00Z"}']
    came = []
    with pytest.raises(DecodeError, match="action is missing") as caught:
        came += filter(None, unpacked(response(texts, [4]), strict=True))
    assert caught.value.path == "$.data[9]"
    assert came == []


@BOTH_SIZES
def test_a_row_without_an_action_is_set_apart_as_an_event_and_passed_on_as_it_is(large, monkeypatch):
    """Raw rows need a label and nothing else."""
    monkeypatch.setattr(response_decoder, "LARGE", large)
    texts = [row("2024-03-10T10:00:00Z", 1), b'{"datetime":"2024-03-10T09:00:00Z","message_id":2}']
    apart = []
    assert numbers(unpacked(response(texts), EVENTS, quarantine=apart)) == [1]
    assert [item.raw for item in apart] == texts[1:]
    assert numbers(unpacked(response(texts), RAW)) == [1, 2]


@BOTH_SIZES
def test_an_unreadable_row_of_another_day_is_no_concern_of_the_window(large, monkeypatch):
    """Else it would be reported by each of the windows whose responses overlap."""
    monkeypatch.setattr(response_decoder, "LARGE", large)
    texts = [b'{"datetime":"2024-03-11T00:00:00Z"}', b'{"datetime":"2024-03-10T23:59:59Z"}']
    apart = []
    assert numbers(unpacked(response(texts, [1]), EVENTS, window=Window(DAY, DAY), quarantine=apart)) == []
    assert [item.raw for item in apart] == texts[1:]


@given(st.lists(st.builds(row, LABELS, st.integers(0, 9)), max_size=8))
def test_raw_rows_are_the_servers_bytes_and_none_is_lost(texts):
    """Each is handed out or quarantined, untouched."""
    batch = RAW.decode(b",".join(texts))
    assert sorted(batch.rows + [item.raw for item in batch.quarantined]) == sorted(texts)
    labels = [json.loads(item)["datetime"] for item in batch.rows]
    assert [stamp.datetime for stamp in batch.keys] == list(map(read_datetime, labels))


@pytest.mark.parametrize(
    "spelled",
    [
        b'{ "datetime" : "2024-03-10T10:00:00Z",\n "x":"\xc3\xa9" }',
        b'{"datetime":"2024-03-10T10:00:00Z","x":"\\ud800"}',
    ],
)
def test_spaces_lines_and_lone_surrogates_stay_as_they_are(spelled):
    """What the server wrote is what is handed on."""
    assert RAW.decode(spelled).rows == [spelled]
