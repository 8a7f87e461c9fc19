"""The profiles of a job are read from files, streams, queries and memory: each line is a profile, or has a reason."""

import csv
import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import zstandard
from support.source_lines import JANE, TWO, file, from_bytes, outcome, parquet, profiles, refusal  # noqa: F401 (a fixture)
from support.written_profiles import JOHN, PROFILES

from profile_history import ConfigurationError, Matching, Profile
from profile_history.jobs.sources import (
    CsvSource,
    Line,
    MemorySource,
    NdjsonSource,
    ParquetSource,
    TextSource,
    source_of,
)
from profile_history.jobs.sources.base import reject_line
from profile_history.jobs.sources.files import LINE_LIMIT

# --- text


def test_a_text_holds_one_value_a_line():
    """Blank lines are passed over; blanks around a value, and a byte order mark, are dropped."""
    content = f"\ufeff{JOHN}\r\n\n  \t\n\ufeff\n  {JANE}\u00a0\n\ufeff{JOHN}".encode()
    assert from_bytes(TextSource, content, "email") == [(1, TWO[0]), (5, TWO[1]), (6, TWO[0])]


def test_there_are_no_comments_in_a_text():
    """An address may begin with #, and a line that was meant as a comment is listed."""
    content = b"#a@b.c\n# exported today\n#5\n"
    assert from_bytes(TextSource, content, "email") == [
        (1, Profile.email("#a@b.c")),
        (2, "email is an address such as john@example.com, not '# exported today'"),
        (3, "email is an address such as john@example.com, not '#5'"),
    ]
    assert profiles(TextSource(io.BytesIO(b"#5"), "custom:tag")) == [Profile.custom("tag", "#5")]


MESSY = [
    (f"\u200b{JOHN}\u200e", TWO[0]),
    (f'"{JOHN}"', TWO[0]),
    (f"“{JOHN}”", TWO[0]),
    (f"<{JOHN}>", TWO[0]),
    (f"mailto:{JOHN}", TWO[0]),
    (f"{JOHN};", f"email ends with ';', which is no part of it: '{JOHN};'"),
    (f"{JOHN},", f"email ends with ',', which is no part of it: '{JOHN},'"),
    (f"John <{JOHN}>", f"email is an address such as john@example.com, not 'John <{JOHN}>'"),
    ("john", "email is an address such as john@example.com, not 'john'"),
    (f"{JOHN}\u2028x", f"email holds a control character or half of a surrogate pair: '{JOHN}\\u2028x'"),
]


def test_every_kind_of_source_cleans_and_refuses_alike(tmp_path, file):
    """What a spreadsheet leaves around a value is dropped, and what cannot be right is listed with its line."""
    values, wanted = zip(*MESSY, strict=True)
    numbered = list(enumerate(wanted, 1))
    assert from_bytes(TextSource, "\n".join(values).encode(), "email") == numbered
    assert from_bytes(NdjsonSource, "\n".join(map(json.dumps, values)).encode(), "email") == numbered
    objects = [json.dumps({"matching": "email", "email": value}) for value in values]
    assert from_bytes(NdjsonSource, "\n".join(objects).encode()) == numbered
    printed = [json.dumps({"profile": f"email:{value}"}) for value in values]
    assert from_bytes(NdjsonSource, "\n".join(printed).encode()) == numbered
    path = parquet(tmp_path / "list.parquet", email=list(values))
    assert outcome(source_of(path, matching="email")) == numbered
    base = tmp_path / "crm.duckdb"
    with duckdb.connect(base) as connection:
        connection.execute("CREATE TABLE people AS SELECT unnest(?) AS email", [list(values)])
    assert outcome(source_of(str(base), matching="email", query="SELECT email FROM people")) == numbered
    text = io.StringIO()
    csv.writer(text).writerows([["n", "email"], *enumerate(values)])
    found = from_bytes(CsvSource, text.getvalue().encode(), "email")
    assert [profile for _, profile in found if isinstance(profile, Profile)] == TWO[:1] * 5
    assert [(number - 1, reason[:60]) for number, reason in found[5:]] == [
        (n, reason[:60]) for n, reason in numbered[5:]
    ]


@pytest.mark.parametrize("value", [" a ", "a\u00a0", "\u200ba", '"a"', "a;", "5.0", "7.9E+10", "mailto:a@b.c", "#a"])
def test_the_value_of_a_custom_field_is_taken_as_it_stands(tmp_path, value):
    """Blanks included: nobody knows what is part of it."""
    wanted = [Profile.custom("tag", value)]
    assert wanted[0].body()["field_value"] == value
    assert profiles(TextSource(io.BytesIO(f"{value}\r\n".encode()), "custom:tag")) == wanted
    assert profiles(TextSource(io.BytesIO(f"tag={value}".encode()), "custom")) == wanted
    assert profiles(NdjsonSource(io.BytesIO(json.dumps(value).encode()), "custom:tag")) == wanted
    assert profiles(ParquetSource(parquet(tmp_path / "l.parquet", tag=[value]), "custom:tag")) == wanted
    quoted = value.replace('"', '""')
    assert profiles(CsvSource(io.BytesIO(f'n,tag\n1,"{quoted}"\n'.encode()), "custom:tag")) == wanted
    by_row = f'matching,value\n custom:tag ,"{quoted}"\n'.encode()
    assert profiles(CsvSource(io.BytesIO(by_row))) == wanted


def test_whole_floats_decimals_and_padded_text_read_like_those_of_a_text(tmp_path, postgres):
    """A table that a float column has made of numbers names the same profiles."""
    number = 79991234567
    wanted = [Profile.phone(str(number))]
    for column in ([float(number), None], [Decimal(number), None], pa.array([number, None], pa.int64())):
        (found, missing) = outcome(source_of(parquet(tmp_path / "list.parquet", phone=column), matching="phone"))
        assert (found, missing) == ((1, wanted[0]), (2, "phone is empty; pass a value"))
    assert profiles(TextSource(io.BytesIO(b"79991234567.0\n"), "phone")) == wanted
    assert profiles(CsvSource(io.BytesIO(b"phone,n\n79991234567.0,\n"), "phone")) == wanted
    assert profiles(NdjsonSource(io.BytesIO(b'{"phone": 79991234567.0}'), "phone")) == wanted
    nothing = source_of(parquet(tmp_path / "l.parquet", phone=[float("nan")], email=[JOHN]), matching="email_phone")
    assert profiles(nothing) == [Profile.email_phone(JOHN)]
    query = (
        f"SELECT {number}::double precision AS phone, '{JOHN}'::char(40) AS email, {10**19}::numeric(20,0) AS id, "
        "'a'::char(3) AS padded, 5::numeric AS five, '\\x30303132'::bytea AS raw"
    )

    def only(mode, column=None):
        (profile,) = profiles(source_of(postgres.dsn, matching=mode, column=column, query=query))
        return profile

    assert only("phone") == wanted[0]
    assert only("email") == TWO[0]
    assert only("profile_id", "id") == Profile.profile_id(str(10**19))
    assert only("profile_id", "raw") == Profile.profile_id("0012")
    assert only("custom:tag", "padded") == Profile.custom("tag", "a  ")
    assert only("custom:tag", "five") == Profile.custom("tag", 5)


def test_text_that_cannot_be_stored_is_a_bad_entry_that_can():
    """Half of a surrogate pair, and bytes that are no UTF-8, are shown as escapes."""
    half = [Line(1, None, "x \\ud83d", '["\\ud83d@x.ru", null]')]
    assert [reject_line(1, ["\ud83d@x.ru", None], "x \ud83d")] == half
    content = b'"\\ud83d@x.ru"\n"j\xff@x.ru"\n'
    for line in NdjsonSource(io.BytesIO(content), "email").lines():
        assert line.profile is None
        assert (line.reason + line.text).encode()
    for line in CsvSource(io.BytesIO(b"email,n\nj\xff@x.ru,\nx,\xff\n"), "email").lines():
        assert line.profile is None
        assert (line.reason + line.text).encode()


def test_a_bad_line_is_listed_and_the_others_are_read():
    """With its number, its reason and its text, of which 500 characters are kept at most."""
    content = b"\n".join([JOHN.encode(), b"john", b"j\xe9\xff@example.com", b"\xe2\x98\x83" * 600, JANE.encode()])
    lines = list(TextSource(io.BytesIO(content), "email").lines())
    assert lines[0] == Line(1, TWO[0], None, "")
    assert lines[1] == Line(2, None, "email is an address such as john@example.com, not 'john'", "john")
    assert lines[2] == Line(3, None, "the line is no UTF-8", "j\\xe9\\xff@example.com")
    assert lines[3].text == "\u2603" * 500
    assert lines[3].reason.startswith("email is an address such as john@example.com, not '\u2603")
    assert len(lines[3].reason) <= 500
    assert lines[4].profile == TWO[1]


@pytest.mark.parametrize("kind", [TextSource, NdjsonSource])
def test_an_endless_line_is_one_bad_line(kind):
    """It is not held as a whole, and what follows it has its right number."""
    content = b'"' + b"x" * (2 * LINE_LIMIT) + b'"\n' + b"\n" + json.dumps(JOHN).encode() + b"\n"
    lines = list(kind(io.BytesIO(content), "custom:name").lines())
    assert lines[0].reason == "the line is longer than 1048576 bytes"
    assert len(lines[0].text) == 500
    assert [line.number for line in lines] == [1, 3]


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_every_matching_mode_is_read_from_text(profile):
    """As `Profile.parse` reads it; a text cannot tell 5 from "5"."""
    mode, _, value = str(profile).partition(":")
    assert list(map(str, profiles(TextSource(io.BytesIO(value.encode()), mode)))) == [str(profile)]


def test_the_values_of_one_custom_field_need_not_name_it():
    """The mode names it once, for text, NDJSON, CSV and tables."""
    wanted = [Profile.custom("CRM_ID", "a=b"), Profile.custom("CRM_ID", "5")]
    assert profiles(TextSource(io.BytesIO(b"a=b\n5"), "custom:CRM_ID")) == wanted
    assert profiles(NdjsonSource(io.BytesIO(b'"a=b"\n"5"'), "custom:CRM_ID")) == wanted
    assert profiles(CsvSource(io.BytesIO(b"x,crm_id\n1,a=b\n2,5"), "custom:CRM_ID")) == wanted
    assert profiles(TextSource(io.BytesIO(b"5"), "custom_sub:tag")) == [Profile.custom_sub("tag", "5")]
    for wrong in ("email:x", "custom:", "fax"):
        with pytest.raises(ConfigurationError, match=f"no matching mode '{wrong}'"):
            TextSource("-", wrong)


# --- memory


def test_profiles_from_memory_are_what_they_are():
    """A list can be read again, an iterator cannot, and what is no profile is a bad entry."""
    source = MemorySource([*TWO, JOHN])
    assert source.repeatable
    assert not MemorySource(iter(TWO)).repeatable
    for _ in range(2):
        *lines, wrong = source.lines()
        assert lines == [Line(1, TWO[0]), Line(2, TWO[1])]
        assert wrong.number == 3
        assert wrong.reason.startswith("it is no Profile; build it with Profile.email")
        assert wrong.text == f'["{JOHN}"]'
    assert (source.url, MemorySource([], "crm of today").url) == ("memory", "crm of today")


# --- which source


def test_the_name_of_a_file_tells_its_format(file):
    """In any case of letters, packed or not; a format that is given wins."""
    csv, json_lines = f"a\temail\n1\t{JOHN}\n", json.dumps(TWO[0].body())
    for name, content in {
        "list": JOHN,
        "list.TXT": JOHN,
        "list.csv": csv,
        "list.TSV": csv,
        "list.ndjson": json_lines,
        "list.jsonl": json_lines,
        "list.csv.gz": gzip.compress(csv.encode()),
        "list.jsonl.zst": zstandard.compress(json_lines.encode()),
    }.items():
        assert profiles(source_of(file(name, content), matching="email")) == TWO[:1], name
    assert profiles(source_of(file("list.2026", JOHN), matching="email", format="text")) == TWO[:1]
    assert profiles(source_of(file("list.tsv", f"email;a\n{JOHN};1"), matching="email", format="csv", delimiter=";"))


def test_the_url_of_a_file_says_how_it_is_read(file, monkeypatch):
    """It is the same from every directory, and another one where other profiles would be read."""
    path = file("list.csv", "a,b\n")
    monkeypatch.chdir(Path(path).parent)
    wanted = f"{path} (matching email, column b, delimiter ',')"
    for text in (path, "list.csv", "./list.csv"):
        assert source_of(text, matching=Matching.EMAIL, column="b", delimiter=",").url == wanted
    assert TextSource(path, "custom:x").url == f"{path} (matching custom:x)"
    assert ParquetSource(path, "email").url == f"{path} (matching email)"
    assert NdjsonSource(path).url == path
    assert NdjsonSource(path).repeatable
    assert TextSource(path, "email").repeatable


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("list", {}, "text needs a matching mode (--matching on the command line), one of xxh, email,"),
        ("list", {"matching": "fax"}, "no matching mode 'fax'"),
        ("list", {"matching": "email", "column": "a"}, "text takes no column; leave it out"),
        ("list", {"matching": "email", "delimiter": ";"}, "text takes no delimiter; leave it out"),
        ("list", {"matching": "email", "query": "SELECT 1"}, "a file takes no query; leave it out"),
        ("list", {"format": "ndjson", "column": "a"}, "ndjson takes no column; leave it out"),
        ("list", {"format": "xml"}, "no format 'xml'; there are text, csv, ndjson, parquet"),
        ("list.xlsx", {"matching": "email"}, "no format is known for .xlsx; name the file .txt, .text, .list, .csv,"),
        ("none.csv", {"matching": "email"}, "none.csv cannot be read (No such file or directory); pass the path of"),
        (".", {"matching": "email"}, "is a directory; pass one of its files"),
        ("none.duckdb", {"query": "SELECT 1"}, "none.duckdb cannot be read (No such file or directory)"),
        ("none.duckdb", {}, "a database needs a query; pass a SELECT whose rows are the profiles"),
        ("none.duckdb", {"query": "SELECT 1", "format": "csv"}, "a database takes no format; leave it out"),
        ("none.parquet", {"matching": "email"}, "none.parquet cannot be read (No such file or directory)"),
        ("list", {"matching": "custom:\udcff"}, "matching is no UTF-8: 'custom:\\udcff'; pass another one"),
        ("list", {"matching": "custom:a=b"}, "field_name holds '=', which ends it where profiles are written as text"),
        ("list.csv", {"matching": "email", "column": "\udcff"}, "column is no UTF-8: '\\udcff'; pass another one"),
        ("no\udcff.duckdb", {"query": "SELECT 1"}, "the path of the DuckDB file is no UTF-8: "),
        ("no\udcff.duckdb", {"query": "\udcff"}, "query is no UTF-8: '\\udcff'; pass another one"),
    ],
)
def test_what_cannot_be_read_as_asked_for_is_refused_at_once(tmp_path, name, options, complaint):
    """The message says what to pass, or to leave out."""
    for there in ("list", "list.xlsx", "no\udcff.duckdb"):
        (tmp_path / there).touch()
    assert complaint in refusal(str(tmp_path / name), **options)


@pytest.mark.parametrize("name", ["list", "list.ndjson", "list.csv"])
def test_utf16_is_refused_at_once(file, name):
    """It is what some editors mean by Unicode, and each line of it would be a bad one."""
    assert "is UTF-16 text; save it as UTF-8" in refusal(file(name, JOHN.encode("utf-16")), matching="email")


def test_stdin_has_to_be_there():
    """A program without one says so."""
    assert refusal("-", matching="email") == "- means stdin, and there is none; pass stdin=, a stream of bytes"


def test_a_file_that_may_not_be_read_is_refused(file, monkeypatch):
    """The message says why, and what to look at."""

    def closed(*_):
        raise PermissionError(13, "Permission denied")

    path = file("list.txt", JOHN)
    monkeypatch.setattr(Path, "open", closed)
    message = refusal(path, matching="email")
    assert message == f"{path} cannot be read (Permission denied); look at its permissions"


@pytest.mark.parametrize(
    ("library", "extra", "name", "options"),
    [
        ("pyarrow", "arrow", "list.parquet", {}),
        ("duckdb", "duckdb", "list.duckdb", {"query": "SELECT 1"}),
        ("psycopg", "postgres", "postgresql://host/base", {"query": "SELECT 1"}),
        ("zstandard", "zstd", "list.csv.zst", {}),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(file, monkeypatch, library, extra, name, options):
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, library, None)
    text = name if ":" in name else file(name, zstandard.compress(b"email\n"))
    message = refusal(text, matching="email", **options)
    assert message.endswith(f'python -m pip install "profile-history[{extra}]"')


@pytest.mark.slow
def test_importing_the_sources_imports_no_optional_library():
    """Who reads a text file pays for no database."""
    code = "import sys, profile_history.jobs.sources; print(*(name.split('.')[0] for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & {"pyarrow", "duckdb", "psycopg", "zstandard"}


# --- memory stays flat


def peak(source):
    """The most bytes that Python held while a source was read."""
    tracemalloc.start()
    count = sum(1 for _ in source.lines())
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return count, held


@pytest.mark.slow
def test_a_long_file_takes_no_more_memory_than_a_short_one(file):
    """300,000 lines as 30,000."""
    peaks = []
    for size in (30_000, 300_000):
        content = "".join(f"{number:016x}\n" for number in range(size))
        count, held = peak(source_of(file(f"{size}.txt.gz", gzip.compress(content.encode(), 1)), matching="xxh"))
        assert count == size
        peaks.append(held)
    assert peaks[1] - peaks[0] < 1_000_000


def test_a_path_with_the_character_0_names_no_file():
    """The system would refuse it with an error of its own."""
    with pytest.raises(ConfigurationError, match="is no path of a file: it holds the character 0"):
        source_of("a\0b.csv", matching="email")
