"""One line in `Event` is all that a new field needs: decoders, flat rows and the columns of all outputs follow."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import profile_history
from profile_history import Event
from profile_history._decoding import flat_decoder
from profile_history._decoding.record_batches import SCHEMA
from profile_history.events import FIELDS, FieldKind
from profile_history.sinks.sql_tables import COLUMNS

LAST_LINE = "    # The last one, behind which nothing is added.\n"
NEW_FIELDS = {
    "mood": ("Word", "good"),
    "score": ("Integer", 7),
    "note": ("Text", "a note"),
    "device": ("Object", {"os": "x"}),
    "tags": ("Array", ["a", "b"]),
}
PROGRAM = """
import json, sys
from profile_history import unstructure
from profile_history._decoding.event_decoder import EVENTS
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.arrow_decoder import decode_columns
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._protocol.chunking import verify_chunk
from profile_history._protocol.envelope import Rows
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.sql_tables import COLUMNS
from profile_history.sinks.unit_rows import UnitRows
from profile_history.windows import Order, Window

names, raw = sys.argv[1].split(), sys.argv[2].encode()
[strict], [lenient] = EVENTS.decode_strict(raw).rows, EVENTS.decode_lenient(raw).rows
assert strict == lenient
assert not strict.extra
assert EVENTS.decode_strict(b'{"unknown":1,' + raw[1:]) is None
[flat] = FLAT.decode_lenient(raw).rows
assert all(hasattr(flat, name) for name in names)
assert set(names) < set(COLUMNS)
decoder = ResponseDecoder(FLAT, Window(), Order.NEWEST, "", True, None)
slices = [one for one in decode_columns(decoder, Rows([verify_chunk(raw)], len(raw))) if len(one)]
[columns] = SinkBatch(1, [UnitRows(1, "xxh:1", (), slices)]).table.to_pylist()
print(json.dumps([[getattr(strict, name), unstructure(strict)[name], columns[name]] for name in names]))
"""


def test_a_new_field_is_one_line(tmp_path):
    """A line of each kind is added to a copy of the package; what imports it finds the fields wherever rows go."""
    package = shutil.copytree(
        Path(profile_history.__file__).parent,
        tmp_path / "profile_history",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    events = package / "events.py"
    text = events.read_text()
    assert text.count(LAST_LINE) == 1
    lines = [f"    {name}: {alias} | None = None\n" for name, (alias, _) in NEW_FIELDS.items()]
    events.write_text(text.replace(LAST_LINE, "".join([*lines, LAST_LINE])))
    values = {name: value for name, (_, value) in NEW_FIELDS.items()}
    row = {"action": "click", "datetime": "2024-05-01T12:00:00Z", **values}
    command = [sys.executable, "-c", PROGRAM, " ".join(NEW_FIELDS), json.dumps(row)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (alias, value), (attribute, member, column) in zip(NEW_FIELDS.values(), json.loads(done.stdout), strict=True):
        assert attribute == member == (json.loads(column) if alias in ("Object", "Array") else column) == value


def test_every_list_has_the_fields_in_the_order_of_the_event():
    """Those of the structs are positions, so they have to agree."""
    names = [field.name for field in FIELDS]
    assert list(Event.__struct_fields__) == list(flat_decoder.FlatRow.__struct_fields__) == names
    short = flat_decoder.ShortRow.__struct_fields__
    assert list(short) == names[: len(short)]
    assert [name for name in SCHEMA.names if name not in ("profile", "utc_offset")] == names
    assert set(names) < set(COLUMNS)


def test_every_field_is_described():
    """In the class that users read."""
    described = Event.__doc__.partition("Attributes:")[2]
    assert [field.name for field in FIELDS if f"        {field.name}: " not in described] == []


def test_only_what_has_no_hash_is_left_out_of_an_events_hash():
    """Two events that differ in a nested value have the same hash, and are not equal."""
    nested = {field.name for field in FIELDS if field.kind.nested}
    assert nested == {"subscription", "subscriptions", "fields", "extra"}
    assert {field.name for field in FIELDS if field.kind is FieldKind.WORD} == {"action", "channel"}
