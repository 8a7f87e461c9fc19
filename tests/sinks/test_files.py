"""Sinks of files: what a job brings is read back by the formats' own tools, and what is not the job's stays."""

import os

import attrs
import pyarrow.parquet as pq
import pytest
from support.sink_files import (
    DATASETS,
    HISTORIES,
    SINGLE,
    files_in,
    known_files,
    lane_of,
    plan_of,
    read_back,
    sink_at,
    text_of,
    truth_of,
)
from support.sink_ledger import FINISH, FakeJob, FakeLedger, fill, finish, real_units

from profile_history.errors import ConfigurationError
from profile_history.sinks import csv_file, parquet, parquet_file
from profile_history.sinks.arrow_table import FIRST_SCHEMA
from profile_history.sinks.base import SinkError
from profile_history.sinks.disk import DISK
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.parquet import ParquetSink

EVERY = pytest.mark.parametrize("kind", [*SINGLE, *DATASETS])
EACH = pytest.mark.parametrize("kind", ["history.ndjson", "history.csv", "month"])


def units(kind, first, last, most=3):
    return real_units(HISTORIES, lane_of(kind), first, last, most=most)


def opened(directory, kind, ledger, **options):
    sink = sink_at(directory, kind, **options)
    assert sink.open(ledger, new=not ledger.last_batch) == ledger.last_batch
    return sink


def filled(directory, kind, **options):
    """A sink with two batches that are not in their final form, and its ledger."""
    ledger = FakeLedger()
    sink = opened(directory, kind, ledger, **options)
    fill(sink, ledger, ledger.batch(units(kind, 0, 4)))
    fill(sink, ledger, ledger.batch(units(kind, 4, 8)))
    return sink, ledger


@EVERY
def test_what_a_job_brings_is_there_and_what_it_replaced_is_not(kind, tmp_path):
    """Over two runs, with units whose rows are replaced by others, or by none."""
    plan = plan_of(lane_of(kind))
    job = FakeJob(plan)
    job.run(sink_at(tmp_path, kind), DISK)
    assert read_back(tmp_path, kind) == truth_of(plan)
    assert files_in(tmp_path) == known_files(job.ledger, kind)
    sink = sink_at(tmp_path, kind)
    assert sink.open(job.ledger, new=False) == job.ledger.last_batch
    assert list(sink.verify()) == []
    assert sink.finish() is None


@EVERY
def test_a_job_without_rows_leaves_no_file(kind, tmp_path):
    """Nor does one whose rows were all replaced by none, before or after they had their final form."""
    for first, second in (((), ()), ((1, 2), (5,)), ((), (1, 2, 5))):
        few = units(kind, 0, 2), units(kind, 4, 5)
        filling = [] if (first, second) == ((), ()) else [(few[0], ())]
        plan = [
            *filling,
            *([([], first)] if first else []),
            FINISH,
            *([(few[1], ())] if second else []),
            ([], second),
            FINISH,
        ]
        job = FakeJob(plan)
        job.run(sink_at(tmp_path, kind), DISK)
        assert files_in(tmp_path) == []
        assert list(job.ledger.parts()) == []


@EVERY
def test_the_same_place_has_the_same_text(kind, tmp_path):
    """The text is part of the plan of a job."""
    assert sink_at(tmp_path / "x" / ".." / "x", kind).url == sink_at(tmp_path / "x" / ".." / "x", kind).url
    assert sink_at(tmp_path / ".", kind).url == sink_at(tmp_path, kind).url


# What is not the job's


@EACH
def test_a_new_job_touches_nothing_that_is_there(kind, tmp_path):
    """Neither a finished output, nor one that another job has begun."""
    sink, ledger = filled(tmp_path, kind)
    for _ in range(2):
        before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
        with pytest.raises(ConfigurationError, match=r"(move it away|empty it), or choose another"):
            sink_at(tmp_path, kind).open(FakeLedger(), new=True)
        assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before
        finish(sink, ledger)


@EACH
def test_files_of_others_stay(kind, tmp_path):
    """Whatever they are called, and whatever the job does beside them."""
    strangers = [".history.ndjson.tmp", ".other.csv.3.tmp", "history.ndjson.bak", "part-00000001-1.parquet", "notes"]
    strangers += ["lake/notes", "lake/part-1.parquet", "lake/day=2024-01-01/part-00000001-1.parquet", "lake/x/.a.tmp"]
    sink, ledger = filled(tmp_path, kind)
    for name in strangers:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    sink = opened(tmp_path, kind, ledger)
    finish(sink, ledger)
    opened(tmp_path, kind, ledger)
    assert all((tmp_path / name).read_text() == "mine" for name in strangers)


@EACH
def test_what_the_books_do_not_know_goes_at_the_next_start(kind, tmp_path):
    """A batch that was written and not noted, and a final form that was prepared and not noted."""
    sink, ledger = filled(tmp_path, kind, **({"part_bytes": 2**40} if kind in DATASETS else {}))
    fill(sink, ledger, ledger.batch(units(kind, 2, 3, most=1)))
    before = files_in(tmp_path)
    sink.write(ledger.batch(units(kind, 8, 12)))
    opened(tmp_path, kind, ledger).finish()
    assert files_in(tmp_path) != before
    sink = opened(tmp_path, kind, ledger)
    assert files_in(tmp_path) == before == known_files(ledger, kind)
    assert list(sink.verify()) == []


@pytest.mark.parametrize("kind", ["history.ndjson", "history.csv.gz"])
def test_a_final_file_that_somebody_changed_is_not_built_upon(kind, tmp_path):
    """Longer, shorter, gone, or there where there should be none."""
    sink, ledger = filled(tmp_path, kind)
    path = tmp_path / kind
    path.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="somebody changed it"):
        opened(tmp_path, kind, ledger)
    with pytest.raises(SinkError, match="move it away"):
        finish(sink, ledger)
    assert path.read_bytes() == b"mine"
    path.unlink()
    finish(sink, ledger)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigurationError, match="somebody changed it"):
        opened(tmp_path, kind, ledger)
    path.unlink()
    with pytest.raises(ConfigurationError, match="is not there, and by the ledger it has"):
        opened(tmp_path, kind, ledger)


@pytest.mark.parametrize("emptied", [(), (1, 2)])
def test_no_stranger_is_replaced_or_deleted_at_the_end(emptied, tmp_path):
    """Where somebody put a file under the final name meanwhile, whether rows are left for it or not."""
    ledger = FakeLedger()
    sink = opened(tmp_path, "history.ndjson", ledger)
    fill(sink, ledger, ledger.batch(units("history.ndjson", 0, 2)))
    fill(sink, ledger, ledger.batch([], emptied))
    assert bool(list(ledger.units())) is not bool(emptied)
    (tmp_path / "history.ndjson").write_text("mine")
    with pytest.raises(SinkError, match="move it away"):
        finish(sink, ledger)
    assert (tmp_path / "history.ndjson").read_text() == "mine"
    (tmp_path / "history.ndjson").unlink()
    finish(sink, ledger)
    assert files_in(tmp_path) == known_files(ledger, "history.ndjson")


@EACH
def test_missing_rows_are_reported_at_the_start(kind, tmp_path):
    """A file that is shorter than the ledger says, or gone."""
    _, ledger = filled(tmp_path, kind)
    path = tmp_path / known_files(ledger, kind)[0]
    for spoil in (lambda: path.write_bytes(path.read_bytes()[:-1]), path.unlink):
        spoil()
        with pytest.raises(SinkError, match=r"put (it|the file) back"):
            opened(tmp_path, kind, ledger)


@EACH
def test_a_prepared_form_that_is_gone_is_reported(kind, tmp_path):
    """Publishing does not pretend."""
    sink, ledger = filled(tmp_path, kind)
    fill(sink, ledger, ledger.batch(units(kind, 2, 3, most=1)))
    receipt = sink.finish()
    for path in tmp_path.rglob(".*.tmp"):
        path.unlink()
    with pytest.raises(SinkError, match="is missing; put it back"):
        sink.publish(receipt)


@EACH
@pytest.mark.parametrize("replaced", [True, False], ids=["rewritten", "renamed"])
@pytest.mark.parametrize("spoil", ["changed", "longer", "shorter", "link"])
def test_what_is_published_is_compared_with_the_ledger_first(kind, replaced, spoil, tmp_path):
    """Whoever changed the prepared file: nothing is renamed, and when it is as it was, the job goes on."""
    sink, ledger = filled(tmp_path, kind)
    if replaced:
        fill(sink, ledger, ledger.batch(units(kind, 2, 3, most=1)))
    receipt = sink.finish()
    # The last one, before which all others are compared.
    path = max([*tmp_path.rglob(".*.tmp")] or tmp_path.rglob("*.partial"))
    whole = path.read_bytes()
    other = tmp_path / "other"
    match spoil:
        case "changed":
            path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        case "longer":
            path.write_bytes(whole + b"x")
        case "shorter":
            path.write_bytes(whole[:-1])
        case "link":
            path.rename(other)
            path.symlink_to(other)
    before = files_in(tmp_path)
    message = "is not what was written|bytes, and by the ledger it has|it is a link, which is not followed"
    with pytest.raises(SinkError, match=message):
        sink.publish(receipt)
    assert files_in(tmp_path) == before
    path.unlink()
    path.write_bytes(whole)
    sink.publish(receipt)
    sink.publish(receipt)
    ledger.apply(receipt, compacts_on_finish=sink.compacts_on_finish)
    sink.drop(receipt)
    assert list(sink.verify()) == []


@EACH
def test_what_is_published_already_is_compared_too(kind, tmp_path):
    """A run that died behind the renaming does not know, and somebody may have changed the file since."""
    sink, _ = filled(tmp_path, kind)
    receipt = sink.finish()
    sink.publish(receipt)
    path = tmp_path / ("lake" if kind in DATASETS else "") / receipt.added[0].name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SinkError, match="is not what was written"):
        sink_at(tmp_path, kind).publish(receipt)


def test_no_stranger_among_the_parts_is_overwritten(tmp_path):
    """Neither by a batch nor by what is put together at the end."""
    sink, ledger = filled(tmp_path, "none")
    for name, work in (
        ("part-00000003-3.parquet", lambda: fill(sink, ledger, ledger.batch(units("none", 8, 9)))),
        ("part-00000001-2.parquet", lambda: finish(sink, ledger)),
    ):
        stranger = tmp_path / "lake" / name
        stranger.write_text("mine")
        with pytest.raises(SinkError, match="is there already, and is not this job's; move it away"):
            work()
        assert stranger.read_text() == "mine"
        stranger.unlink()
        (tmp_path / "lake" / f".{name}.tmp").unlink()


@EACH
def test_publishing_and_dropping_again_is_harmless(kind, tmp_path):
    """A run that died after it had published does not know."""
    for most in (3, 1):
        directory = tmp_path / str(most)
        sink, ledger = filled(directory, kind)
        if most == 1:
            fill(sink, ledger, ledger.batch(units(kind, 2, 3, most=1)))
        receipt = sink.finish()
        sink.publish(receipt)
        content = {name: (directory / name).read_bytes() for name in files_in(directory)}
        sink.publish(receipt)
        assert {name: (directory / name).read_bytes() for name in files_in(directory)} == content
        ledger.apply(receipt, compacts_on_finish=sink.compacts_on_finish)
        sink.drop(receipt)
        sink.drop(receipt)
        sink.close()
        assert files_in(directory) == known_files(ledger, kind)


# What verifying finds


@EACH
def test_verifying_finds_what_differs(kind, tmp_path):
    """A changed byte, a longer or missing file, rows or units that the ledger count otherwise."""
    sink, ledger = filled(tmp_path, kind)
    path = tmp_path / known_files(ledger, kind)[0]
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert "is not what was written" in " ".join(sink.verify())
    path.write_bytes(whole + b"x")
    assert "bytes, and by the ledger it has" in " ".join(sink.verify())
    path.unlink()
    assert "is not there, and by the ledger it has" in " ".join(sink.verify())
    path.write_bytes(whole)
    ledger.known[0] = attrs.evolve(ledger.known[0], rows=7)
    assert any("rows, and the ledger counts 7" in line for line in sink.verify())


@EACH
def test_verifying_compares_with_the_units(kind, tmp_path):
    """Unit by unit, and in files of lines by what stands in each stretch."""
    sink, ledger = filled(tmp_path, kind)
    known = ledger.live.pop(min(ledger.live))
    said = list(sink.verify())
    assert len(said) == 1
    assert (
        "has 12 rows, and the units of the ledger have 9" in said[0]
        or said[0] == "unit 1 has 3 rows here and none in the ledger"
    )
    ledger.live[known.unit] = attrs.evolve(known, rows=known.rows + 1)
    ledger.live[1000] = known
    assert "unit 1000 has no rows here and 3 in the ledger" in list(sink.verify())
    del ledger.live[1000]
    ledger.live[known.unit] = known
    assert list(sink.verify()) == []
    ledger.checksums[known.unit] += 1
    assert list(sink.verify()) == ["unit 1 has other values here than were stored"]
    ledger.checksums[known.unit] = None
    assert list(sink.verify()) == []


@EACH
def test_verifying_opens_without_writing_anything(kind, tmp_path):
    """Not even what a run that was killed has left is cleared away; the working file may go on behind what is known."""
    sink, ledger = filled(tmp_path, kind)
    sink.write(ledger.batch(units(kind, 8, 12)))
    (tmp_path / ".history.ndjson.3.tmp").touch()
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    for path in (*tmp_path.rglob("*"), tmp_path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    reader = sink_at(tmp_path, kind)
    assert reader.open_to_read(ledger) == 2
    said = list(reader.verify())
    if kind in DATASETS:
        assert len(said) > 0
        assert all("who reads the directory reads it: a run that was killed has left it" in one for one in said)
    else:
        assert said == []
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


def test_files_in_a_dataset_that_a_reader_would_take_for_its_own_are_named(tmp_path):
    """Whatever they are called; hidden ones, and those that are no Parquet, are not."""
    sink, ledger = filled(tmp_path, "none")
    lake = tmp_path / "lake"
    part = (lake / known_files(ledger, "none")[0].removeprefix("lake/")).read_bytes()
    strays = ["copy.parquet", "x/deeper.PARQUET", "noextension", "other.pq"]
    for name in (*strays, ".hidden.parquet", "_metadata", "_x/part.parquet"):
        (lake / name).parent.mkdir(exist_ok=True)
        (lake / name).write_bytes(part)
    (lake / "notes.txt").write_text("notes")
    (lake / "linked").symlink_to(lake / "x")
    os.mkfifo(lake / "fifo")
    said = list(sink.verify())
    assert sorted(one.partition(" is not in the ledger")[0] for one in said) == sorted(
        str(lake / name) for name in (*strays, "linked")
    )


@pytest.mark.parametrize("kind", ["history.csv", "history.csv.gz", "history.csv.zst"])
def test_a_changed_heading_is_noticed(kind, tmp_path):
    """It stands before what the ledger has checksums of."""
    sink, ledger = filled(tmp_path, kind)
    path = tmp_path / f"{kind}.partial"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"profile", b"profiel", 1) if kind == "history.csv" else b"XX" + data[2:])
    assert list(sink.verify()) == [f"the heading of {path} is not what was written"]
    with pytest.raises(SinkError, match=r"the heading of .* is not what was written; put the file back"):
        opened(tmp_path, kind, ledger)
    with pytest.raises(SinkError, match=r"the heading of .* is not what was written; put the file back"):
        sink.publish(sink.finish())


@EACH
def test_a_job_that_was_begun_and_has_stored_nothing_is_opened_again(kind, tmp_path):
    """There are no columns yet to go on with."""
    sink = sink_at(tmp_path, kind)
    for new in (True, False):
        assert sink.open(FakeLedger(), new=new) == 0
    assert list(sink.verify()) == []


def test_a_final_file_that_the_ledger_does_not_know_is_named(tmp_path):
    """While the rows stand in the working file."""
    sink, _ = filled(tmp_path, "history.ndjson")
    (tmp_path / "history.ndjson").touch()
    assert list(sink.verify()) == [f"{tmp_path}/history.ndjson is there, and the ledger knows nothing of it"]


@pytest.mark.parametrize("kind", ["history.csv", "history.csv.gz", "none", "month"])
def test_files_that_were_begun_without_the_number_of_the_row_go_on_without(kind, tmp_path, monkeypatch):
    """Such as those of version 0.4.0; in the end all rows stand in the same columns."""
    plan = plan_of("arrow")
    job = FakeJob(plan[:2])
    # There is no other way to files of that version, which knew no column `row`.
    with monkeypatch.context() as older:
        older.setattr(csv_file, "FULL_SCHEMA", FIRST_SCHEMA)
        older.setattr(parquet_file, "FULL_SCHEMA", FIRST_SCHEMA)
        # Stands for the version that had fewer columns.
        older.setattr(parquet.ParquetSink, "_table", lambda self, batch: batch.table.select(FIRST_SCHEMA.names))
        older.setattr(parquet.ParquetSink, "_columns", (FIRST_SCHEMA,))
        job.run(sink_at(tmp_path, kind), DISK)
    job.plan = plan
    job.run(sink_at(tmp_path, kind), DISK)
    assert read_back(tmp_path, kind) == truth_of(plan)
    if kind in DATASETS:
        columns = {tuple(pq.read_schema(path).names) for path in (tmp_path / "lake").rglob("*.parquet")}
        assert columns == {tuple(FIRST_SCHEMA.names)}
    else:
        assert text_of(tmp_path / kind).splitlines()[0] == ",".join(f'"{name}"' for name in FIRST_SCHEMA.names)
    sink = sink_at(tmp_path, kind)
    sink.open(job.ledger, new=False)
    assert list(sink.verify()) == []


def test_a_changed_byte_is_not_carried_into_the_final_file(tmp_path):
    """What is copied is compared with its checksum."""
    sink, ledger = filled(tmp_path, "history.ndjson")
    fill(sink, ledger, ledger.batch(units("history.ndjson", 2, 3, most=1)))
    path = tmp_path / "history.ndjson.partial"
    path.write_bytes(path.read_bytes().replace(b"2024", b"2025", 1))
    with pytest.raises(SinkError, match="is not what was written"):
        sink.finish()


def test_a_path_that_names_no_file_is_refused():
    """Nothing was written."""
    with pytest.raises(ConfigurationError, match="names no file"):
        NdjsonSink("/")


# Datasets


@pytest.mark.parametrize("partition", DATASETS)
def test_rows_are_in_the_directory_of_their_partition(partition, tmp_path):
    """By what their label says, or by a checksum of the profile."""
    sink, _ = filled(tmp_path, partition)
    names = files_in(tmp_path / "lake")
    owners = {}
    for name in names:
        for row in pq.ParquetFile(tmp_path / "lake" / name).read().to_pylist():
            directory = name.rpartition("/")[0]
            label = row["datetime"].date().isoformat()
            if partition == "hash:3":
                assert owners.setdefault(row["profile"], directory) == directory
                assert directory in {"bucket=0", "bucket=1", "bucket=2"}
            else:
                assert directory == {"none": "", "month": f"month={label[:7]}", "day": f"day={label}"}[partition]
    assert sink.url.endswith("lake/" if partition == "none" else f"lake/?partition={partition}")


@pytest.mark.parametrize("partition", ["year", "hash:0", "hash:", "hash:10001", ""])
def test_an_unknown_partitioning_is_refused(partition, tmp_path):
    """The message says which there are."""
    with pytest.raises(ConfigurationError, match="none, month, day or hash:N"):
        ParquetSink(tmp_path, partition=partition)


def test_a_dataset_is_no_file(tmp_path):
    """And the file stays."""
    (tmp_path / "lake").write_text("mine")
    with pytest.raises(ConfigurationError, match="is a file"):
        sink_at(tmp_path, "none").open(FakeLedger(), new=True)


def test_small_files_are_put_together_up_to_a_size(tmp_path):
    """Big ones are left alone, and so are neighbours that would be too big together."""
    ledger = FakeLedger()
    sink = opened(tmp_path, "none", ledger)
    for number in range(6):
        fill(sink, ledger, ledger.batch(units("none", 2 * number, 2 * number + 2)))
    small = max(part.size for part in ledger.parts())
    sink = opened(tmp_path, "none", ledger, part_bytes=int(2.5 * small))
    finish(sink, ledger)
    ranges = [(part.first, part.last) for part in ledger.parts()]
    assert ranges == [(1, 2), (3, 4), (5, 6)]
    sink = opened(tmp_path, "none", ledger, part_bytes=2 * small)
    assert sink.finish() is None
    sink = opened(tmp_path, "none", ledger)
    finish(sink, ledger)
    [part] = ledger.parts()
    assert (part.first, part.last, files_in(tmp_path)) == (1, 6, ["lake/part-00000001-7.parquet"])
    fill(sink, ledger, ledger.batch(units("none", 0, 1, most=1)))
    assert files_in(tmp_path) == ["lake/part-00000001-8.parquet", "lake/part-00000007-7.parquet"]
    assert list(sink.verify()) == []


def test_rows_stand_in_big_row_groups_with_dictionaries(tmp_path):
    """However small the batches were that they came in."""
    ledger = FakeLedger()
    sink = opened(tmp_path, "none", ledger)
    for number in range(4):
        fill(sink, ledger, ledger.batch(units("none", 4 * number, 4 * number + 4)))
    finish(sink, ledger)
    [part] = ledger.parts()
    footer = pq.ParquetFile(tmp_path / "lake" / part.name).metadata
    assert (footer.num_row_groups, footer.num_rows) == (1, part.rows)
    column = footer.row_group(0).column(0)
    assert (column.compression, column.has_dictionary_page) == ("ZSTD", True)


@pytest.mark.parametrize(("name", "most"), [("_GROUP_ROWS", 8), ("_GROUP_BYTES", 1)])
def test_a_row_group_has_a_size_at_most(name, most, tmp_path, monkeypatch):
    """So that putting files together needs no more memory, however large they are."""
    # Private sizes, so that small files take several row groups.
    monkeypatch.setattr(parquet_file, "_ROWS_AT_ONCE", 4)
    monkeypatch.setattr(parquet_file, name, most)
    monkeypatch.setattr(parquet_file, "_CHUNK", 100)
    sink, ledger = filled(tmp_path, "none")
    before = read_back(tmp_path, "none")
    finish(sink, ledger)
    [part] = ledger.parts()
    footer = pq.ParquetFile(tmp_path / "lake" / part.name).metadata
    groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    assert len(groups) > 1
    assert max(groups) <= 8
    assert read_back(tmp_path, "none") == before
    assert list(sink.verify()) == []


def test_a_file_that_is_no_parquet_any_more_is_reported(tmp_path):
    """Of the right size, but spoilt."""
    sink, ledger = filled(tmp_path, "none")
    path = tmp_path / known_files(ledger, "none")[0]
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(SinkError, match="is no whole Parquet file"):
        sink.write(ledger.batch(units("none", 0, 1)))
