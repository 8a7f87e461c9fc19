"""CSV files as profiles: which character cuts them, which columns count, and what makes a row a bad one."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.source_lines import JANE, TWO, file, from_bytes, profiles, refusal  # noqa: F401 (a fixture)
from support.written_profiles import JOHN, PHONE, XXH

from profile_history import Profile
from profile_history.jobs.sources import (
    CsvSource,
    NdjsonSource,
    TextSource,
)
from profile_history.jobs.sources.files import LINE_LIMIT


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
