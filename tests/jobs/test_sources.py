"""The profiles of a job are read from files, streams, queries and memory: each line is a profile, or has a reason."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
import uuid
from decimal import Decimal
from pathlib import Path
from unittest import mock

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.written_profiles import JOHN, PHONE, PROFILES, XXH

from profile_history import ConfigurationError, Matching, Profile
from profile_history.jobs.sources import (
    CsvSource,
    Line,
    MemorySource,
    NdjsonSource,
    ParquetSource,
    PostgresSource,
    SourceError,
    TextSource,
    source_of,
)
from profile_history.jobs.sources import parquet as parquet_source
from profile_history.jobs.sources.base import reject_line
from profile_history.jobs.sources.files import LINE_LIMIT

JANE = "jane@example.com"
TWO = [Profile.email(JOHN), Profile.email(JANE)]


def profiles(source):
    """The profiles of a source that has no bad line."""
    lines = list(source.lines())
    assert [line.reason for line in lines if line.reason] == []
    return [line.profile for line in lines]


def outcome(source):
    """Each line's number, and its profile or its reason."""
    return [(line.number, line.profile or line.reason) for line in source.lines()]


def from_bytes(kind, content, *options, **more):
    """What a source of some kind makes of bytes."""
    return outcome(kind(io.BytesIO(content), *options, **more))


def refusal(*arguments, error=ConfigurationError, **options):
    """The message with which `source_of` refuses its arguments."""
    with pytest.raises(error) as refused:
        source_of(*arguments, **options)
    return str(refused.value)


@pytest.fixture
def file(tmp_path):
    """Writes a file and returns its path as text."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


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


# --- CSV


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_csv_file_tells_its_delimiter_by_its_first_line(mark):
    """A comma, a semicolon or a tab; another one can be given."""
    content = f'name{mark}email\n"A, B; C"{mark}{JOHN}\n\nx{mark} {JANE} \n'
    assert from_bytes(CsvSource, content.encode(), "email") == [(2, TWO[0]), (4, TWO[1])]
    given_one = content.replace(mark, "|").encode()
    assert from_bytes(CsvSource, given_one, "email", delimiter="|") == [(2, TWO[0]), (4, TWO[1])]


def test_a_quoted_cell_may_hold_line_breaks_quotes_and_delimiters():
    """A row is numbered by the line where it begins."""
    content = f'note,email\n"one\r\ntwo, ""three""\n",{JOHN}\n,{JANE}\n'.encode()
    assert from_bytes(CsvSource, content, "email") == [(2, TWO[0]), (5, TWO[1])]


def test_a_quote_that_is_never_closed_costs_one_line():
    """Reading goes on with the next line, wherever the mistake was noticed."""
    good = "".join(f"x,p{number}@example.com\n" for number in range(20_000))
    for broken in (f'"x,{JOHN}\n', f'"x"y,{JOHN}\n'):
        found = from_bytes(CsvSource, f"name,email\n{broken}{good}".encode(), "email")
        assert len(found) == 20_001
        assert found[0][1].startswith("the row is no CSV: ")
        assert found[1:] == [(number + 3, Profile.email(f"p{number}@example.com")) for number in range(20_000)]
    at_end = list(CsvSource(io.BytesIO(f'name,email\nx,{JOHN}\n"x,y\nz,{JANE}'.encode()), "email").lines())
    assert [(line.number, line.profile, line.text) for line in at_end] == [
        (2, TWO[0], ""),
        (3, None, '"x,y'),
        (4, TWO[1], ""),
    ]


def test_a_row_of_the_wrong_width_or_beyond_all_measure_is_bad():
    """A cell too many would shift the values into other columns."""
    wide = b'"' + b"\n".join([b"x" * 1000] * 2000) + b'"\n'
    content = f"email,name\n{JOHN}\n{JOHN},a,b\n{JANE},".encode()
    reasons = ["the row has 1 cells, and the first line 2", "the row has 3 cells, and the first line 2"]
    assert from_bytes(CsvSource, content, "email") == [(2, reasons[0]), (3, reasons[1]), (4, TWO[1])]
    found = from_bytes(CsvSource, b"email,name\n" + b"x" * LINE_LIMIT + b"\n" + content[11:], "email")
    assert found[0] == (2, "the row is no CSV: it is longer than 1048576 bytes")
    assert found[-1] == (5, TWO[1])
    assert len(from_bytes(CsvSource, b"email\n" + wide, "email")) == 2000


def test_bytes_that_are_no_utf8_matter_in_the_cell_of_the_value_only():
    """And where they do, the reason says so."""
    content = b"name,email\nJos\xe9," + JOHN.encode() + b"\nx,jos\xe9@example.com\nJos\xe9,john\n"
    assert from_bytes(CsvSource, content, "email") == [
        (2, TWO[0]),
        (3, "the line is no UTF-8"),
        (4, "email is an address such as john@example.com, not 'john'"),
    ]


@pytest.mark.parametrize(
    ("head", "number"),
    [("sep=;\r\n", 3), ('"sep=;"\n', 3), ("SEP=;\n", 3), ("\ufeffsep=;\n", 3), ("sep=;;\n", 3), ("", 2)],
)
def test_a_line_that_names_the_delimiter_is_no_header(head, number):
    """Spreadsheets write it, and read it."""
    content = f"{head}name;e-mail, work\nA, B;{JOHN}\n".encode()
    assert from_bytes(CsvSource, content, "email", "e-mail, work", ";") == [(number, TWO[0])]
    if head:
        assert from_bytes(CsvSource, content, "email", "e-mail, work") == [(number, TWO[0])]


@pytest.mark.parametrize("header", ['\ufeff"email",n', "\u200bEmail\u200e,n", "“email”,n", " 'email' ,n"])
def test_the_names_of_columns_are_cleaned_as_values_are(header):
    """Quotes of a spreadsheet, and marks that nobody sees, do not hide a column."""
    assert from_bytes(CsvSource, f"{header}\n{JOHN},1\n".encode(), "email") == [(2, TWO[0])]


def test_files_that_were_joined_have_their_marks_and_headers_in_the_middle():
    """A byte order mark is dropped there as well, and a header is a line that names no profile."""
    csv_file = f'\ufeff"email",n\n"{JOHN}",1\n'.encode() * 2
    found = from_bytes(CsvSource, csv_file, "email")
    assert (found[0], found[1][0], found[2]) == ((2, TWO[0]), 3, (4, TWO[0]))
    assert profiles(TextSource(io.BytesIO("\ufeff5\n".encode() * 2), "custom:tag")) == [Profile.custom("tag", "5")] * 2
    assert profiles(NdjsonSource(io.BytesIO(f'\ufeff"{JOHN}"\n'.encode() * 2), "email")) == TWO[:1] * 2


def test_a_delimiter_that_is_given_wins_over_what_the_file_says():
    """And a line that names one is passed over all the same."""
    assert from_bytes(CsvSource, f"sep=;\nemail,n\n{JOHN},1\n".encode(), "email", delimiter=",") == [(3, TWO[0])]
    assert from_bytes(CsvSource, f"n\temail\n1\t{JOHN}\n".encode(), "email", delimiter="tab") == [(2, TWO[0])]
    assert from_bytes(CsvSource, f"n\temail\n1\t{JOHN}\n".encode(), "email", delimiter="\\t") == [(2, TWO[0])]
    assert from_bytes(CsvSource, f"n|email\n1|{JOHN}\n".encode(), "email") == [(2, TWO[0])]
    assert from_bytes(CsvSource, f"n,email|x\n1,{JOHN}|2\n".encode(), "email", "email|x")[0][1].startswith("email has")


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        ("email\n1;{};Anna\n", {}, "email holds ';', which no address holds outside of quotes: '1;{};Anna'"),
        (
            "email\n{};Anna\n",
            {},
            "email has no host name behind its '@': '{};Anna'; it holds ';', and the file is cut by",
        ),
        ("n,email\n1,5|{}\n", {}, "the cell holds '|', and the file is cut by ','; if that is wrong, pass --delimiter"),
        (
            "email\n{},Anna\n",
            {},
            "the row has 2 cells, and the first line 1; the file is cut by ','; if that is wrong,",
        ),
        ("x\n5;Anna\n", {"matching": "profile_id"}, "the cell holds ';', and the file is cut by ','; if that is wrong"),
        (
            'n;x\n1;"5,Anna"\n',
            {"matching": "profile_id", "column": "x"},
            "the cell holds ',', and the file is cut by ';'",
        ),
        ("x\n5;Anna\n", {"matching": "custom:tag"}, "the cell holds ';', and the file is cut by ','; if that is wrong"),
        ("x\n5|7999\n", {"matching": "custom:tag"}, "the cell holds '|', and the file is cut by ','; if that is wrong"),
        ("matching,value\nprofile_id,5;Anna\n", {"matching": None}, "the cell holds ';', and the file is cut by ','"),
    ],
)
def test_a_cell_that_holds_what_cuts_other_files_is_a_bad_row(content, options, reason):
    """If the file is cut wrongly, the columns beside it would leave the machine."""
    content = content.replace("{}", JOHN)
    (found,) = from_bytes(CsvSource, content.encode(), **{"matching": "email", **options})
    assert found[0] == 2
    assert reason.replace("{}", JOHN)[:60] in found[1]


def test_several_tags_are_one_value_of_a_custom_field_in_a_file_that_is_surely_cut_right():
    """Since it has several columns, or its delimiter is given."""
    wanted = [(2, Profile.custom_sub("tags", "a,b"))]
    assert from_bytes(CsvSource, b"n;tags\n1;a,b\n", "custom_sub:tags") == wanted
    assert from_bytes(CsvSource, b"tags\na,b\n", "custom_sub:tags", delimiter=";") == wanted
    assert from_bytes(CsvSource, f"x;y\n{JOHN},{PHONE};1\n".encode(), "email_phone", "x") == [
        (2, Profile.email_phone(JOHN, PHONE))
    ]


def test_rows_that_a_quote_takes_in_are_noticed():
    """They are read where an address or a hash tells them for sure, and else listed with the row that took them in."""
    inches = f'n,email\n"5,{JOHN}\n6,{JANE}\n7"",{JOHN}\n8",{JOHN}\n'.encode()
    found = from_bytes(CsvSource, inches, "email")
    assert found[0] == (2, "the quote that opens here takes in line 3, which looks like a row; close the quote")
    assert found[1:] == [(3, TWO[1]), (4, TWO[0]), (5, TWO[0])]
    two = f'email,n\n{JOHN},"A\n{JANE},B"\n'.encode()
    assert [number for number, _ in from_bytes(CsvSource, two, "email")] == [2, 3]
    assert from_bytes(CsvSource, two, "email")[1] == (3, TWO[1])
    ids = b'id,n\n1,"A\n2,B\n3,C"\n4,D\n'
    assert from_bytes(CsvSource, ids, "profile_id", "id") == [
        (2, "the quote that opens here takes in line 3, which looks like a row; close the quote"),
        (5, Profile.profile_id("4")),
    ]
    (row, _) = CsvSource(io.BytesIO(ids), "profile_id", "id").lines()
    assert row.text == '1,"A\n2,B\n3,C"'
    note = f'note,email\n"one\ntwo",{JOHN}\n"Hello, all,\n\nbye",{JANE}\n'.encode()
    assert from_bytes(CsvSource, note, "email") == [(2, TWO[0]), (4, TWO[1])]


def test_each_row_may_name_its_own_matching_mode():
    """In the columns matching and value, in any order, where no mode is given."""
    content = f"value,matching\n{JOHN},email\nCRM_ID=5,custom\n7,custom:age\n{PHONE},fax\n,email\nx,\n".encode()
    found = from_bytes(CsvSource, content)
    assert found[:3] == [(2, TWO[0]), (3, Profile.custom("CRM_ID", "5")), (4, Profile.custom("age", "7"))]
    assert [reason[:40] for _, reason in found[3:]] == [
        "no matching mode 'fax'; there are xxh, e",
        "email is empty; pass a value",
        "no matching mode ''; there are xxh, emai",
    ]
    assert from_bytes(CsvSource, f"matching,who\nemail,{JOHN}\n".encode(), column="who") == [(2, TWO[0])]


@pytest.mark.parametrize(
    ("mode", "columns", "row", "profile"),
    [
        ("email", "phone,EMAIL", f"1,{JOHN}", Profile.email(JOHN)),
        ("email_sub", "phone,email", f"1,{JOHN}", Profile.email_sub(JOHN)),
        ("email_sub", "email_sub,email", f"{JOHN},x", Profile.email_sub(JOHN)),
        ("phone_sub", "phone,email", f"{PHONE},x", Profile.phone_sub(PHONE)),
        ("xxh", "xxh,email", f"{XXH},x", Profile.xxh(XXH)),
        ("profile_id", "who", "66f6", Profile.profile_id("66f6")),
        ("push_sub", "subscription_id,provider", "a:b,Firefox", Profile.push_sub("Firefox", "a:b")),
        ("push_sub", "who", "Firefox:a", Profile.push_sub("Firefox", "a")),
        ("custom", "field_value,field_name", "5,age", Profile.custom("age", "5")),
        ("custom", "who", "age=5", Profile.custom("age", "5")),
        ("email_phone", "x,phone,email", f"1,{PHONE},{JOHN}", Profile.email_phone(JOHN, PHONE)),
        ("email_phone", "phone,email", f",{JOHN}", Profile.email_phone(JOHN)),
        ("email_phone_sub", "phone,email", f"{PHONE},", Profile.email_phone_sub(phone=PHONE)),
    ],
)
def test_the_columns_of_a_mode_are_found_by_their_names(mode, columns, row, profile):
    """By the mode's name, by the API's words for it, or because there is one only."""
    assert profiles(CsvSource(io.BytesIO(f"{columns}\n{row}\n".encode()), mode)) == [profile]


@pytest.mark.parametrize(
    ("content", "options", "complaint"),
    [
        ("a,b\n", {"matching": "email"}, "pass column=, the one that holds the email; the columns are a, b"),
        ("a,b\n", {"matching": "email", "column": "c"}, "no column 'c'; the columns are a, b"),
        ("a,a\n", {"matching": "email", "column": "a"}, "there are 2 columns 'a'; rename all but one"),
        ("matching,b\n", {}, "pass a matching mode, one of xxh, email,"),
        ("value\n", {}, "name it in each row in a column matching, with its value in a column value; the columns are"),
        (f"{JOHN}\n", {"matching": "email"}, f"the first line, '{JOHN}', looks like a profile where the names of"),
        ("", {"matching": "email"}, " is empty; its first line has to name the columns"),
        ("\n\n", {"matching": "email"}, " is empty; its first line has to name the columns"),
        (b"\xef,b\n", {"matching": "email"}, "the names of the columns cannot be read ('utf-8'"),
        (b'"a,b\n\xef', {"matching": "email", "delimiter": ","}, "the names of the columns cannot be read ("),
        (f"email\r{JOHN}\r", {"matching": "email"}, "the names of the columns cannot be read (new-line character"),
        ("email\n", {"matching": "email", "delimiter": "||"}, "a delimiter is one character such as a semicolon, not"),
        ('"a"b\n', {"matching": "email"}, "the names of the columns cannot be read (',' expected"),
        ("e\nx".encode("utf-16"), {"matching": "email"}, "is UTF-16 text; save it as UTF-8"),
        ("id;mail\n", {"matching": "email", "delimiter": ","}, "its only column is 'id;mail'; pass --delimiter ';'"),
        ('"id;mail"\n', {"matching": "custom:x"}, "its only column is 'id;mail'; pass --delimiter ';' if that is"),
        ("id,a;mail\n", {"matching": "email"}, "its first line can be cut by ',' and by ';'; pass --delimiter to say"),
        ("sep=;;\n;\n", {"matching": "email"}, " is empty; its first line has to name the columns"),
        ('""\n', {"matching": "email"}, " is empty; its first line has to name the columns"),
        ("sep=x\n", {"matching": "email"}, "a delimiter is one character such as a semicolon, not 'x'"),
        (f"{'66f66973096b3b454bbbccec'}\n", {"matching": "profile_id"}, "looks like a profile where the names of"),
        ("1024\n", {"matching": "custom:x"}, "looks like a profile where the names of"),
        *(
            (
                "e\n",
                {"matching": "email", "delimiter": mark},
                f"a delimiter is one character such as a semicolon, not {mark!r}",
            )
            for mark in ("a", "1", "@", "+", '"', "\n", "\0", "", "\udcff")
        ),
    ],
)
def test_a_csv_file_with_other_columns_is_refused_before_anything_is_written(file, content, options, complaint):
    """The message names the columns there are, and says what to pass."""
    assert complaint in refusal(file("list.csv", content), **options)


@given(
    rows=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(str.strip), max_size=30
    )
)
def test_what_a_csv_writer_writes_is_read_back(rows):
    """Whatever the values hold."""
    text = io.StringIO()
    csv.writer(text).writerows([["n", "value"], *([n, row] for n, row in enumerate(rows))])
    found = profiles(CsvSource(io.BytesIO(text.getvalue().encode()), "custom:CRM_ID", "value"))
    assert found == [Profile.custom("CRM_ID", row) for row in rows]


# --- NDJSON


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_ndjson_takes_the_words_of_the_api_and_the_printed_form(profile):
    """So what `fetch` wrote, and the body of a request, are sources; other keys are passed over."""
    printed = {"profile": str(profile), "event": {"action": "click"}}
    content = "\n".join(map(json.dumps, [profile.body(), printed])).encode()
    words, text = profiles(NdjsonSource(io.BytesIO(content)))
    assert words == profile
    assert str(text) == str(profile)


def test_ndjson_strings_and_objects_without_a_mode_take_the_one_that_is_given():
    """An object that names its own keeps it."""
    lines = [JOHN, {"email": JANE}, {"matching": "phone", "phone": 79000000000}, {"xxh": XXH}]
    content = b"\xef\xbb\xbf" + "\n\n".join(map(json.dumps, lines)).encode()
    assert from_bytes(NdjsonSource, content, "email") == [
        (1, TWO[0]),
        (3, TWO[1]),
        (5, Profile.phone("79000000000")),
        (7, "email is missing; email takes email"),
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'"john@example.com"', "a string needs a matching mode; pass one, or write an object that names it"),
        (b'{"email": "john@example.com"}', '"matching" is missing; name the mode, such as "matching": "email"'),
        (b"[1]", "a profile is a JSON object or a string"),
        (b'{"profile": 5}', "a profile is a JSON object or a string"),
        (b'{"profile": "john"}', "a profile is written MATCHING:VALUE, such as email:john@example.com, not 'john'"),
        (b'{"matching": "email"', "it is no JSON: "),
        (b'{"xxh": "\xff"}', "it is no UTF-8"),
    ],
)
def test_a_bad_ndjson_line_has_a_reason(raw, reason):
    """And the next one is read."""
    found = from_bytes(NdjsonSource, raw + b'\n{"matching": "email", "email": "john@example.com"}\n')
    assert found[0][1].startswith(reason)
    assert found[1] == (2, TWO[0])


# --- packed files, streams


def zstd(content, pieces=1):
    """The content as zstd frames, one after the other."""
    size = len(content) // pieces + 1
    return b"".join(zstandard.compress(content[at : at + size]) for at in range(0, len(content), size))


MANY = "".join(f"p{number}@example.com\n" for number in range(5000)).encode()


@pytest.mark.parametrize(
    "packed", [gzip.compress(MANY), gzip.compress(MANY[:99]) + gzip.compress(MANY[99:]), zstd(MANY)]
)
def test_packed_files_are_unpacked_whatever_their_name(file, packed):
    """Files and streams, of one or more members."""
    wanted = [Profile.email(f"p{number}@example.com") for number in range(5000)]
    assert profiles(source_of(file("list.txt.gz", packed), matching="email")) == wanted
    assert profiles(source_of(file("list.zst", packed), matching="email")) == wanted
    assert profiles(source_of("-", matching="email", stdin=io.BytesIO(packed))) == wanted


def test_zstd_files_of_many_frames_are_read_to_the_end():
    """As parallel packers write them."""
    assert len(profiles(TextSource(io.BytesIO(zstd(MANY, pieces=7)), "email"))) == 5000
    assert profiles(TextSource(io.BytesIO(zstandard.compress(b"")), "email")) == []


@pytest.mark.parametrize(
    "damaged",
    [
        gzip.compress(MANY)[:-20],
        zstd(MANY)[:-20],
        gzip.compress(MANY)[:2000] + b"\x00" * 99,
        zstd(MANY) + b"garbage",
    ],
)
def test_a_packed_file_that_breaks_off_is_never_taken_for_a_short_one(file, damaged):
    """The end of it is missing, so reading it fails."""
    with pytest.raises(SourceError, match=r"list.txt cannot be read to its end .*; mend or replace it") as failed:
        list(source_of(file("list.txt", damaged), matching="email").lines())
    assert failed.value.fatal


def test_stdin_is_text_unless_another_format_is_asked_for():
    """It is a stream of bytes, which is read once and left open."""
    assert profiles(source_of("-", matching="email", stdin=io.BytesIO(JOHN.encode()))) == TWO[:1]
    csv = f"email\n{JOHN}\n".encode()
    assert profiles(source_of("-", matching="email", format="csv", stdin=io.BytesIO(csv))) == TWO[:1]
    stream = io.BytesIO(json.dumps(TWO[0].body()).encode())
    source = source_of("-", format="ndjson", stdin=stream)
    assert (source.url, source.repeatable) == ("stdin", False)
    assert profiles(source) == TWO[:1]
    assert not stream.closed
    with pytest.raises(ConfigurationError, match="stdin was read already and cannot be read again; pass a file"):
        list(source.lines())


def test_lines_come_as_they_arrive():
    """Whoever types profiles need not type 64 KiB of them."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb", buffering=0) as typist:
        lines = TextSource(stream, "email").lines()
        typist.write(f"{JOHN}\n".encode())
        assert next(lines).profile == TWO[0]
        typist.write(f"{JANE}\n".encode())
        assert next(lines).profile == TWO[1]
        lines.close()
        assert not stream.closed


def test_a_pipe_that_has_a_path_is_not_looked_into(tmp_path):
    """As a shell's <(command) has one: what a look would take is gone."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(f"email\n{JOHN}\n".encode(),))
    source = source_of(str(path), matching="email", format="csv")
    assert not source.repeatable
    writer.start()
    assert profiles(source) == TWO[:1]
    writer.join()


# --- Parquet


def parquet(path, **columns):
    """Writes a Parquet file, and returns its path as text."""
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_a_parquet_file_is_read_by_its_columns(tmp_path):
    """Numbers and dictionaries of texts among them; a whole number in a custom field stays one."""
    emails = pa.array([JOHN, None, JANE]).dictionary_encode()
    path = parquet(tmp_path / "list.parquet", email=emails, phone=[1, None, 3], **{"a.b": [1, 2, 3]})
    assert outcome(source_of(path, matching="email")) == [
        (1, TWO[0]),
        (2, "email is empty; pass a value"),
        (3, TWO[1]),
    ]
    assert outcome(source_of(path, matching="email_phone"))[::2] == [
        (1, Profile.email_phone(JOHN, "1")),
        (3, Profile.email_phone(JANE, "3")),
    ]
    assert profiles(source_of(path, matching="custom:age", column="a.b")) == [
        Profile.custom("age", number) for number in (1, 2, 3)
    ]
    assert [line.text for line in source_of(path, matching="email").lines()] == ["", "[null]", ""]


@pytest.mark.parametrize("error", [pa.ArrowInvalid("invalid UTF8"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")])
def test_a_column_that_is_no_utf8_is_read_as_bytes_whatever_the_library_raises(error):
    """Versions of pyarrow may check texts at other moments."""
    column = mock.Mock(to_pylist=mock.Mock(side_effect=error))
    column.cast.return_value = pa.array([JOHN.encode(), b"\xff"])
    assert parquet_source._values_of(column) == [JOHN.encode(), b"\xff"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_in_parquet_that_is_no_utf8_is_one_bad_row(tmp_path, kind):
    """Its neighbours are read."""
    raw = pa.array([JOHN.encode(), b"\xff", JANE.encode()], pa.large_binary() if kind == pa.large_string() else None)
    path = parquet(tmp_path / "list.parquet", email=raw.view(kind))
    assert outcome(source_of(path, matching="email")) == [
        (1, TWO[0]),
        (2, "email is no UTF-8: b'\\xff'"),
        (3, TWO[1]),
    ]


def test_a_parquet_file_that_is_none_or_has_other_columns_is_refused(tmp_path, file):
    """And Parquet cannot be read from a stream."""
    path = parquet(tmp_path / "list.parquet", a=[1], b=[2])
    assert refusal(path, matching="email") == (
        f"{path}: pass column=, the one that holds the email; the columns are a, b"
    )
    assert "cannot be read" in refusal(file("x.parquet", b"PAR1"), matching="email", error=SourceError)
    message = "Parquet and databases cannot be read from a stream; pass the path of a file"
    assert refusal("-", format="parquet", stdin=io.BytesIO()) == message


# --- queries


@pytest.fixture
def database(tmp_path):
    """A DuckDB file with a table of two profiles."""
    path = tmp_path / "crm.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE people (mail VARCHAR, age BIGINT, id UUID)")
        connection.execute("INSERT INTO people VALUES (?, 1, ?), (?, 2, NULL)", [JOHN, uuid.UUID(int=1), JANE])
    return str(path)


def test_a_query_to_a_duckdb_file_gives_profiles(database):
    """By its path or with duckdb: before it; the file is opened for reading only."""
    query = "SELECT mail AS email, age, id FROM people ORDER BY age"
    for text in (database, f"duckdb:{database}"):
        assert profiles(source_of(text, matching="email", query=query)) == TWO
    source = source_of(database, matching="custom:age", column="age", query=query)
    assert profiles(source) == [Profile.custom("age", 1), Profile.custom("age", 2)]
    assert source.url == f"duckdb:{database} (matching custom:age, column age, query {query})"
    assert source.repeatable
    found = outcome(source_of(database, matching="profile_id", column="id", query=query))
    assert found == [(1, Profile.profile_id(str(uuid.UUID(int=1)))), (2, "profile_id is empty; pass a value")]
    (line,) = source_of(database, matching="email", query="SELECT MAP {DATE '2017-01-01': 1} AS email").lines()
    assert line.reason.startswith("email is a text or a whole number, not {")
    assert line.text == '["{datetime.date(2017, 1, 1): 1}"]'


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELECT 1 AS a, 2 AS b", "the columns are a, b"),
        ("SELECT nothing FROM people", "does not take the query: "),
        ("SELEC", "does not take the query: "),
        ("DELETE FROM people", "does not take the query: "),
        ("SELECT * FROM path", "does not take the query: "),
        ("SET threads = 1", "does not take the query: "),
    ],
)
def test_a_wrong_duckdb_query_is_refused(database, query, complaint):
    """The message is the database's own, on one line, or names the columns."""
    message = refusal(database, matching="email", query=query)
    assert complaint in message
    assert "\n" not in message


def test_a_duckdb_file_that_is_none_or_is_taken_cannot_be_read(file, database):
    """The message says which file it is."""
    broken = file("x.duckdb", b"not a database")
    assert f"{broken} cannot be read: " in refusal(broken, matching="email", query="SELECT 1", error=SourceError)
    with duckdb.connect(database):
        assert f"{database} cannot be read: " in refusal(database, query="SELECT 1", error=SourceError)


def test_a_query_to_postgresql_gives_profiles(postgres):
    """Through a cursor on the server; ids of type uuid and whole numbers are what they are."""
    postgres.execute("CREATE TABLE IF NOT EXISTS source_people (mail text, age bigint, id uuid)")
    postgres.execute("TRUNCATE source_people")
    postgres.execute(
        "INSERT INTO source_people SELECT 'p' || n || '@example.com', n, NULL FROM generate_series(1, 20000) n"
    )
    query = "SELECT mail AS email, age, id FROM source_people ORDER BY age"
    source = source_of(postgres.dsn, matching="email", query=query)
    assert profiles(source) == [Profile.email(f"p{n}@example.com") for n in range(1, 20001)]
    assert source.repeatable
    assert source.url == f"postgresql://exporter@127.0.0.1:{postgres.port}/postgres (matching email, query {query})"
    assert "sesame" not in repr(source)
    ages = source_of(postgres.dsn + "?connect_timeout=5", matching="custom:age", column="age", query=query).lines()
    assert next(ages) == Line(1, Profile.custom("age", 1))
    ages.close()
    ids = source_of(postgres.dsn, matching="custom", query="SELECT 'id' AS field_name, '%'::text AS field_value;")
    assert profiles(ids) == [Profile.custom("id", "%")]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELECT 1 AS a, 2 AS b", "the columns are a, b"),
        ("SELECT nothing FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELEC", "does not take the query: "),
        ("DELETE FROM x", "does not take the query: "),
    ],
)
def test_a_wrong_postgresql_query_is_refused(postgres, query, complaint):
    """The message is the database's own, on one line, or names the columns."""
    message = refusal(postgres.dsn, matching="email", query=query)
    assert complaint in message
    assert "\n" not in message


def test_a_postgresql_database_that_does_not_answer_cannot_be_read(postgres):
    """Nor with a wrong password, and the message holds neither the wrong nor the right one."""
    away = f"postgresql://u:hush@127.0.0.1:{postgres.port}/postgres"
    message = refusal(away, matching="email", query="SELECT 1", error=SourceError)
    assert message.startswith(f"postgresql://u@127.0.0.1:{postgres.port}/postgres cannot be read: ")
    assert "hush" not in message
    source = source_of(postgres.dsn, matching="email", query="SELECT n::text AS a FROM generate_series(1, 20000) n")
    lines = source.lines()
    next(lines)
    backends = "FROM pg_stat_activity WHERE query LIKE 'FETCH%profile_history_source%'"
    assert postgres.execute(f"SELECT pg_terminate_backend(pid) {backends}") == [(True,)]
    with pytest.raises(SourceError, match="cannot be read: "):
        list(lines)


@pytest.mark.parametrize(
    "password", ["a%zzhush", "hu\udcffsh", "hu@sh", "hu/sh@", "hu?sh", "hush]", "[hush", "hu#sh", "1/hush"]
)
def test_no_mistake_in_the_address_of_a_database_shows_its_password(password):
    """Nor the part of it that a careless reader takes for the name of the host."""
    dsn = f"postgresql://user:{password}@host.invalid/base"
    try:
        shown = PostgresSource(dsn, "SELECT 1", "email").url
    except ConfigurationError as error:
        shown = str(error)
    assert "sh" not in shown.replace("should", "")


def test_the_settings_of_a_database_are_part_of_its_place_but_for_secrets():
    """Another search path may mean other profiles."""
    dsn = "postgres://h1:1,h2:2/base?options=-csearch_path%3Dcrm&sslpassword=hush"
    place = "postgresql://h1:1,h2:2/base?options=-csearch_path=crm"
    assert PostgresSource(dsn, "SELECT 1").url == f"{place} (query SELECT 1)"
    assert PostgresSource("postgresql://", "SELECT 1").url == "postgresql:/// (query SELECT 1)"


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
