"""What becomes of any row in a file: it comes out as it went in, or is refused with a reason."""

import csv
import io
import json
import re
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.odd_rows import ANY_TEXT, DOCUMENTED, ROWS, TAME, WILD, odd_rows
from support.sink_files import text_of
from support.sink_ledger import FakeLedger, fill, pieces_of, unit_of

from profile_history.errors import ConfigurationError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.csv_file import CsvSink
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.parquet import ParquetSink
from profile_history.sinks.unit_rows import Refused, UnitRows

NASTY = st.sampled_from(["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "=1", "+", "-", "@", "'=1", "\0=1", "a\0", '"', ""])
TEXTS = NASTY | st.text(st.sampled_from('=+-@\t\r\n\0",;\ud83d\ude00 aж='), max_size=6).filter(
    lambda text: text.encode("utf-8", "ignore").decode() == text
)
NAMES = ("email", "xxh", "smid", "channel", "campaign_name", "message_name", "action", "event_id")
MOST = 2**63 - 1


@st.composite
def spellings(draw):
    """A row as bytes: any spelling of JSON, and some that are none."""
    row = draw(st.one_of(DOCUMENTED, ROWS, odd_rows(WILD, ANY_TEXT)))
    text = json.dumps(row, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2])))
    data = text.encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        data = (
            data.replace(b"\n", b"\r\n")
            .replace(rb"\u0000", b"\0")
            .replace(rb"\n", draw(st.sampled_from([b"\n", rb"\n"])))
        )
    return data


def lines_of(units, name="history.ndjson"):
    """What stands in a file of some units, line by line, and what was refused."""
    with tempfile.TemporaryDirectory() as directory:
        sink, ledger = NdjsonSink(Path(directory) / name), FakeLedger()
        sink.open(ledger, new=True)
        batch = ledger.batch(units)
        refused = sink.check(batch)
        fill(sink, ledger, batch)
        assert list(sink.verify()) == []
        partial = Path(directory) / f"{name}.partial"
        return partial.read_bytes().splitlines(keepends=True) if partial.exists() else [], refused


@given(rows=st.lists(spellings(), max_size=5), profile=ANY_TEXT)
@example(rows=[b'{"a":1}'], profile="custom:\ud800")
def test_a_row_stands_on_one_line_unchanged_or_is_refused(rows, profile):
    """Only a line break between its tokens becomes a blank, and a control character in a text its escape."""
    lines, refused = lines_of([UnitRows(1, profile, raw=rows)])
    assert all(one.reason and one.raw == rows[one.row_offset] for one in refused)
    places = {one.row_offset for one in refused}
    kept = [row for place, row in enumerate(rows) if place not in places]
    assert len(lines) == len(kept)
    for line, row in zip(lines, kept, strict=True):
        escaped = re.sub(rb'"(?:[^"\\]|\\.)*"', lambda text: re.sub(rb"[\0-\x1f]", as_escape, text[0]), row)
        assert line.endswith(b',"event":' + re.sub(rb"[\r\n]", b" ", escaped) + b"}\n")
        read = json.loads(line)
        assert repr(read) == repr({"profile": profile, "event": json.loads(row, strict=False)})


def as_escape(control):
    return b"\\u%04x" % ord(control[0])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"a":"\xff"}', "no UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "no UTF-8"),
        (b'{"a":"\n"}', None),
        (b'{"a":"\\\\\t"}', None),
        (b'{"a\x00":1}', None),
        (b'{"a":\x0c1}', "between its tokens"),
        (b'{\r\n\t"a" : "\\n\\u0000\\""}\n', None),
        (b'{"a":9223372036854775807,"b":"\\ud800"}', None),
    ],
)
def test_the_reason_says_why_a_row_cannot_stand_on_a_line(row, reason):
    """And its neighbours stay."""
    good = b'{"a":1}'
    lines, refused = lines_of([UnitRows(3, "p", raw=[good, row, good])])
    assert [(one.unit, one.row_offset, one.raw) for one in refused] == ([(3, 1, row)] if reason else [])
    assert all(reason in one.reason for one in refused)
    assert len(lines) == 3 - len(refused)


def rows_of(texts):
    """Rows with some texts in their columns, as the server writes them."""
    return [
        json.dumps(
            dict(zip(NAMES, row, strict=False)) | {"datetime": "2024-01-31T12:00:00Z", "message_id": MOST}
        ).encode()
        for row in texts
    ]


def cells_of(units, **options):
    """The cells of a CSV file of some units, and the file."""
    with tempfile.TemporaryDirectory() as directory:
        sink, ledger = CsvSink(Path(directory) / "history.csv", **options), FakeLedger()
        sink.open(ledger, new=True)
        fill(sink, ledger, ledger.batch(units))
        assert list(sink.verify()) == []
        text = text_of(Path(directory) / "history.csv.partial") if ledger.known else ""
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True)), text


def columns_of(units):
    return SinkBatch(1, units).table.to_pylist()


def written(value):
    """A value as a cell of CSV that keeps everything."""
    if value is None:
        return ""
    return f"{value:%Y-%m-%d %H:%M:%S.%f}" if hasattr(value, "year") else str(value)


def defused(text):
    text = text.replace("\0", "\ufffd")
    return f"'{text}" if text[:1] in set("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") else text


@given(texts=st.lists(st.lists(TEXTS, min_size=len(NAMES), max_size=len(NAMES)), min_size=1, max_size=4))
def test_no_text_becomes_a_formula(texts):
    """Other texts and all numbers stay as they are."""
    units = [unit_of(1, "=profile", rows_of(texts), "arrow")]
    units = [unit for unit in units if len(unit)]
    for row, known in zip(cells_of(units)[0], columns_of(units) if units else [], strict=True):
        for name, value in known.items():
            assert row[name] == (defused(value) if isinstance(value, str) else written(value))
        assert row["message_id"] == str(MOST)


@pytest.mark.parametrize("first", "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
def test_each_first_character_of_a_formula_is_defused(first):
    """Also behind a line end, which a spreadsheet may skip."""
    text = f"{first}=1+1"
    assert [row["profile"] for row in cells_of([unit_of(1, text, rows_of([["x"] * len(NAMES)]), "arrow")])[0]] == [
        f"'{text}"
    ]


@given(data=st.data())
def test_csv_that_keeps_formulas_loses_nothing_but_null(data):
    """Read by another library, cell by cell."""
    rows = data.draw(st.lists(st.one_of(DOCUMENTED, ROWS, odd_rows(TAME, TEXTS)), max_size=5))
    texts = [json.dumps(row).encode() for row in rows]
    units = [unit_of(5, "p", texts, "arrow")] if pieces_of(texts)[0] else []
    if not units:
        return
    known = columns_of(units)
    assert [row["unit"] for row in known] == [5] * len(known)
    read = cells_of(units, formulas="keep")[0]
    assert len(read) == len(known)
    for cells, row in zip(read, known, strict=True):
        # strftime writes early years differently from one system to the next.
        assert {name: value for name, value in cells.items() if name != "datetime"} == {
            name: written(value) for name, value in row.items() if name != "datetime"
        }
        assert cells["datetime"] == row["datetime"].isoformat(" ", "microseconds")


def test_null_and_empty_text_are_two_things_in_csv():
    """Null is a cell without quotes."""
    rows = [b'{"action":"send","datetime":"2024-01-31T12:00:00Z","email":""}']
    rows += [b'{"action":"send","datetime":"2024-01-31T11:00:00Z","email":null,"smid":"x"}']
    _, text = cells_of([unit_of(1, "p", rows, "arrow")])
    lines = text.splitlines()
    assert lines[0].startswith('"profile","action","datetime","utc_offset","count","email",')
    assert lines[1].startswith('"p","send",2024-01-31 12:00:00.000000,0,,"",')
    assert lines[2].startswith('"p","send",2024-01-31 11:00:00.000000,0,,,')


def test_an_unknown_way_with_formulas_is_refused(tmp_path):
    """The message says which there are."""
    with pytest.raises(ConfigurationError, match="formulas is one of defuse, keep, not 'x'"):
        CsvSink(tmp_path / "history.csv", formulas="x")


@pytest.mark.slow
@given(data=st.data(), partition=st.sampled_from(["none", "month", "day", "hash:2"]))
def test_parquet_holds_every_row_that_has_columns(data, partition):
    """Whatever is in it, in whatever year."""
    rows = data.draw(st.lists(st.one_of(DOCUMENTED, ROWS, odd_rows(TAME, TEXTS), odd_rows(WILD, ANY_TEXT)), max_size=5))
    texts = [json.dumps(row).encode() for row in rows]
    units = [unit_of(5, "p\0ж", texts, "arrow"), unit_of(7, "q", texts, "arrow")] if pieces_of(texts)[0] else []
    with tempfile.TemporaryDirectory() as directory:
        sink, ledger = ParquetSink(directory, partition=partition), FakeLedger()
        sink.open(ledger, new=True)
        batch = ledger.batch(units)
        assert sink.check(batch) == []
        fill(sink, ledger, batch)
        assert list(sink.verify()) == []
        read = [row for path in Path(directory).rglob("*.parquet") for row in pq.ParquetFile(path).read().to_pylist()]
    assert sorted(map(repr, read)) == sorted(map(repr, columns_of(units) if units else []))


@given(texts=st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3), max_size=3), data=st.data())
def test_a_batch_without_some_rows_holds_all_others(texts, data):
    """In either format, and the units keep their order."""
    rows = [
        [b'{"action":"send","datetime":"2024-01-31T12:00:00Z","smid":%b}' % json.dumps(t).encode() for t in some]
        for some in texts
    ]
    places = data.draw(st.sets(st.tuples(st.integers(1, 3), st.integers(0, 2))))
    refused = [
        Refused(unit, place, "why", b"") for unit, place in places if unit <= len(rows) and place < len(rows[unit - 1])
    ]
    kept = [
        [row for place, row in enumerate(some) if (number, place) not in places] for number, some in enumerate(rows, 1)
    ]
    raw = SinkBatch(1, [unit_of(number, "p", some, "raw") for number, some in enumerate(rows, 1)]).without(refused)
    assert [(unit.unit, list(unit.raw)) for unit in raw.units] == [(n, some) for n, some in enumerate(kept, 1) if some]
    halves = [
        unit_of(n, "p", some[:1], "arrow").column_slices + unit_of(n, "p", some[1:], "arrow").column_slices
        for n, some in enumerate(rows, 1)
    ]
    batch = SinkBatch(1, [UnitRows(number, "p", column_slices=some) for number, some in enumerate(halves, 1)]).without(
        refused
    )
    known = [(number, json.loads(row)["smid"]) for number, some in enumerate(kept, 1) for row in some]
    assert batch.rows == raw.rows == len(known)
    if known:
        assert [(row["unit"], row["smid"]) for row in batch.table.to_pylist()] == known
