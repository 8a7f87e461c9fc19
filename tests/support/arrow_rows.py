"""Rows by way of columns and by way of events, for the tests that compare them."""

import datetime as dt
import json
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from profile_history import (
    Profile,
    Window,
    arrow,
)
from profile_history._decoding import record_batches
from profile_history._decoding.event_decoder import EVENTS
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.record_batches import BatchAssembler
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._protocol.chunking import verify_chunk
from profile_history._protocol.envelope import Rows
from profile_history.windows import Order

FIRST, LAST = "2023-01-01", "2024-12-31"


DAY = dt.date(2024, 3, 10)


OWNER = Profile.email("john@example.com")


PLAIN = ("count", "email", "list_id", "message_id", "xxh", "campaign_id", "profile_id", "event_id", "smid", "channel")


NAMES = ("campaign_name", "message_name")


NESTED = ("subscription", "subscriptions", "fields")


BOTH_ORDERS = pytest.mark.parametrize("order", Order)


BOTH_SHAPES = pytest.mark.parametrize("shape", ["seed", "newer"])


def row_of(profile, event):
    """Return an event as a row of the table."""
    offset = event.datetime.utcoffset()
    return {
        "profile": str(profile),
        "action": str(event.action),
        "datetime": event.datetime.replace(tzinfo=None),
        "utc_offset": None if offset is None else int(offset.total_seconds()),
        **{name: getattr(event, name) for name in (*PLAIN, *NAMES, *NESTED)},
        "extra": dict(event.extra) or None,
    }


def rows_of(*batches):
    """Return the rows of some batches, their JSON parsed."""
    rows = pa.Table.from_batches(batches, record_batches.SCHEMA).to_pylist()
    for row in rows:
        row |= {name: None if row[name] is None else json.loads(row[name]) for name in (*NESTED, "extra")}
    return rows


def response(texts, cuts=()):
    """Return rows as the server sent them, split into chunks at some places."""
    ends = [0, *sorted(cuts), len(texts)]
    chunks = [verify_chunk(b",".join(texts[first:last])) for first, last in pairwise(ends) if last > first]
    return Rows(chunks, sum(map(len, texts)))


def unpacking(row_decoder, apart=None, *, window=Window(), order=Order.NEWEST, owner="", strict=False):
    return ResponseDecoder(row_decoder, window, order, owner, strict, (apart if apart is not None else []).append)


def gathered(slices, most=1_000_000):
    """Return the batches that are put together of parts of one profile's rows."""
    assembler = BatchAssembler(most)
    steps = [one for part in slices if len(part) for one in assembler.add(str(OWNER), part)]
    return [finished(one) for one in (*steps, *assembler.flush())]


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def tabled(rows, **options):
    """Return the rows of a response by way of columns."""
    return rows_of(*gathered(arrow.decode_columns(unpacking(FLAT, **options), rows)))


def expected(rows, **options):
    """Return the rows of a response by way of events."""
    return [row_of(OWNER, event) for batch in unpacking(EVENTS, **options).decode(rows) for event in batch]


def bytes_of(*rows):
    return [json.dumps(row).encode() for row in rows]


def row(label="2024-03-10T12:00:00Z", number=0, **others):
    return {"action": "send", "datetime": label, "message_id": number, **others}


NEIGHBOURS = [b"", b'{"action":"send","datetime":"2024-03-10T12:00:00Z","new":1}', b'{"action":"send"}']


MOMENTS = st.builds(
    lambda minutes, zone: (
        f"{dt.datetime.combine(DAY, dt.time()) + dt.timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}{zone}"
    ),
    st.integers(-2000, 2000),
    st.sampled_from(["Z"] * 20 + ["+03:00", ""]),
)
