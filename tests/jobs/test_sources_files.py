"""NDJSON, compressed files, and streams as profiles."""

import gzip
import io
import json
import os
import threading

import pytest
import zstandard
from support.source_lines import JANE, TWO, file, from_bytes, profiles  # noqa: F401 (a fixture)
from support.written_profiles import JOHN, PROFILES, XXH

from profile_history import ConfigurationError, Profile
from profile_history.jobs.sources import (
    NdjsonSource,
    SourceError,
    TextSource,
    source_of,
)

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
