"""Checksums of units: the same in whatever order rows are read, and another one whatever is changed."""

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sink_ledger import FakeLedger, unit_of

from profile_history.arrow import SCHEMA
from profile_history.sinks.arrow_table import FIRST_SCHEMA
from profile_history.sinks.base import SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import UnitTally, digests_of, to_signed, unit_checksums
from profile_history.sinks.row_text import READ_COLUMNS, lines_of, split_quoted, table_of_rows
from profile_history.sinks.unit_rows import Stored, UnitRows

LINES = st.lists(st.binary(max_size=5), max_size=8)
TEXTS = st.none() | st.text(max_size=4) | st.sampled_from([",", '"', "\n", '",\n"', "\r\n", ",,,", "0", ""])
VALUES = {pa.int64(): st.none() | st.integers(-(2**63), 2**63 - 1), pa.int32(): st.none() | st.integers(-99, 99)}
MOMENTS = st.none() | st.datetimes()
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            field.name: VALUES.get(field.type, MOMENTS if pa.types.is_timestamp(field.type) else TEXTS)
            for field in SCHEMA
        }
    ),
    min_size=1,
    max_size=4,
)


def checksum_of(lines):
    return unit_checksums([UnitRows(1, "a", raw=lines)], lines)[1]


@given(LINES, st.randoms())
def test_the_order_of_reading_does_not_matter(lines, chance):
    """And the checksum has 64 bits with a sign, as a database stores them."""
    shuffled = list(lines)
    chance.shuffle(shuffled)
    assert checksum_of(shuffled) == checksum_of(lines) == to_signed(sum(digests_of(lines)))
    assert -(2**63) <= checksum_of(lines) < 2**63


@given(LINES, LINES)
def test_other_rows_have_another_checksum(ours, theirs):
    """Rows that are added, deleted, changed or doubled."""
    assert (checksum_of(ours) == checksum_of(theirs)) == (sorted(ours) == sorted(theirs))


@given(ROWS, ROWS)
def test_other_values_make_other_lines(ours, theirs):
    """Whatever quotes, commas and line breaks are in them; null is no empty text, and no zero."""
    ours, theirs = (pa.Table.from_pylist(rows, SCHEMA) for rows in (ours, theirs))
    assert (sorted(lines_of(ours)) == sorted(lines_of(theirs))) == (
        sorted(map(repr, ours.to_pylist())) == sorted(map(repr, theirs.to_pylist()))
    )


@given(ROWS)
def test_the_lines_of_what_is_stored_are_those_of_what_is_read(rows):
    """As plain text instead of dictionaries, in tuples, and in chunks."""
    table = pa.Table.from_pylist([{**row, "unit": 7, "row": place} for place, row in enumerate(rows)], _with_unit())
    read = table_of_rows(READ_COLUMNS, [tuple(row[name] for name in READ_COLUMNS) for row in table.to_pylist()])
    assert lines_of(read) == lines_of(table)
    assert lines_of(pa.concat_tables([table, table])) == 2 * lines_of(table)
    assert lines_of(table.drop_columns(["row"])) != lines_of(table)
    none = table.set_column(table.column_names.index("row"), "row", pa.nulls(len(table), pa.int64()))
    assert lines_of(none) == lines_of(table.drop_columns(["row"]))


def _with_unit():
    return FIRST_SCHEMA.append(pa.field("row", pa.int64()))


def test_columns_that_are_null_at_the_end_leave_no_trace():
    """So a column that is added one day changes no checksum of what is there."""
    table = pa.Table.from_pylist([{"profile": "a", "action": "b", "email": ","}], SCHEMA)
    assert lines_of(table) == [b',"a","b",,,,","']


def test_no_rows_have_no_lines():
    """As of a table that nobody has filled."""
    assert lines_of(table_of_rows(READ_COLUMNS, [])) == []


def test_a_value_that_its_column_cannot_have_is_named():
    """Somebody has changed the table."""
    with pytest.raises(SinkError, match="the column unit holds what this program has not written"):
        table_of_rows(["unit"], [("one",)])


@given(st.lists(TEXTS.filter(bool), min_size=1))
def test_rows_within_quotes_are_not_torn(texts):
    """However many lines one has."""
    rows = [b'"%b"\n' % text.replace('"', '""').encode("utf-8", "replace") for text in texts]
    assert split_quoted(b"".join(rows)) == rows


def test_a_text_of_many_lines_is_split_in_no_time():
    """A stranger may have typed it."""
    rows = [b'"%b"\n' % (b"\n" * 300_000), b"1\n"]
    assert split_quoted(b"".join(rows)) == rows


# What differs from a ledger

COUNTS = st.dictionaries(st.integers(0, 9), st.integers(1, 3))


def ledger_of(counts, checksums=None):
    live = {unit: Stored(unit, 1, 0, rows) for unit, rows in counts.items()}
    return FakeLedger(live=live, checksums=checksums or {})


@given(COUNTS, COUNTS)
def test_every_difference_is_said_once(ours, theirs):
    """A sentence per unit that differs, in order, whether rows were counted or read."""
    expected = [unit for unit in range(10) if ours.get(unit) != theirs.get(unit)]
    counted, read = UnitTally(ledger_of(theirs)), UnitTally(ledger_of(theirs, dict.fromkeys(theirs, 0)))
    for unit, rows in ours.items():
        counted.count(unit, rows)
        read.add([unit] * rows, [0] * rows)
    assert counted.knows_content is False
    assert read.knows_content is bool(theirs)
    for tally in (counted, read):
        assert [int(sentence.split()[1]) for sentence in tally.differences()] == expected
        assert list(tally.differences(but=theirs)) == [
            f"unit {unit} has {rows} rows here and none in the ledger"
            for unit, rows in sorted(ours.items())
            if unit not in theirs
        ]


def test_units_that_nobody_can_have_meant_cost_no_memory():
    """Somebody may have written any number into the table."""
    tally = UnitTally(ledger_of({1: 2}))
    tally.add([2**62, -5, 1, 1], [0, 0, 0, 0])
    tally.count(2**61, 3)
    assert list(tally.differences()) == [
        "unit -5 has 1 rows here and none in the ledger",
        f"unit {2**61} has 3 rows here and none in the ledger",
        f"unit {2**62} has 1 rows here and none in the ledger",
    ]


def test_only_so_many_units_are_named():
    """And how many more there are."""
    tally = UnitTally(ledger_of(dict.fromkeys(range(1, 501), 1)))
    said = list(tally.differences())
    assert len(said) == 101
    assert said[-1] == "400 more units differ"


def test_a_checksum_that_does_not_fit_is_a_difference_and_an_unknown_one_is_none():
    """Units are compared one by one."""
    texts = [b'{"action":"send","datetime":"2024-03-10T12:00:00Z"}'] * 3
    units = [unit_of(number, "email:a@b.c", texts, "arrow") for number in (1, 2, 3)]
    lines = lines_of(SinkBatch(1, units).table)
    checksums = unit_checksums(units, lines)
    assert checksums[1] == checksums[2]
    tally = UnitTally(ledger_of(dict.fromkeys((1, 2, 3), 3), {1: checksums[1], 2: checksums[2] + 1, 3: None}))
    numbers = [unit.unit for unit in units for _ in texts]
    rows = list(zip(numbers, digests_of(lines), strict=True))
    random.Random(1).shuffle(rows)
    tally.add(*zip(*rows, strict=True))
    assert list(tally.differences()) == ["unit 2 has other values here than were stored"]
