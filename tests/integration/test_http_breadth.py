"""What servers and proxies say in other words than most, and what is accepted of it; with either parser of aiohttp."""

import asyncio
import contextlib
import gzip
import importlib
import json
import zlib

import aiohttp
import pytest
from support.codings import BROTLI, ZSTANDARD, ZSTD, needs_zstd, pack
from support.scripts import LAX, LIMIT, Script, attempt, http, last, raw_server, saying, send

from profile_history import (
    AuthenticationError,
    DecodeError,
    HistoryClient,
    Profile,
    ResponseError,
    ResponseTooLarge,
    RetryPolicy,
    UnexpectedPage,
)
from profile_history._sending.content_decoder import find_decoder
from profile_history._sending.repeated_length import unify_lengths
from profile_history._sending.transport import MOST_HEADER_LINES, Transport
from profile_history.errors import TruncatedResponse

BODY = b'{"data":[],"error":0,"error_text":"Successful operation"}'
PACKED = gzip.compress(BODY, mtime=0)
ONCE = RetryPolicy(attempts=1, passes=1)
QUICK = RetryPolicy(base=0.001)
PROFILE = Profile.email("a@x.com")


def in_chunks(body, *headers, size=7):
    """A response whose body comes in chunks."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces(body, size))
    lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers, "", ""]
    return "\r\n".join(lines).encode() + chunks + b"0\r\n\r\n"


def pieces(body, size):
    return [body[place : place + size] for place in range(0, len(body), size)]


def client_of(server, retry=ONCE):
    """A client of a server that has no other."""
    return HistoryClient(str(server.url), token="secret", list_id=1, retry=retry)


def dribbled(response, size=5):
    """The response in packets of a few bytes."""

    async def turn(reader, writer):
        for part in pieces(response, size):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return turn


async def body_of(response, **options):
    """The body that a client gets of a response."""
    async with Script(rest=response) as server:
        reply = await attempt(server.url, **options)
    return b"".join([reply.body, *reply.rest])


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([f"X-Long: {'a' * 65_000}"], id="one line"),
        pytest.param([f"Set-Cookie: {number}={'a' * 100}" for number in range(550)], id="many lines"),
        pytest.param([f"X-Long-{number}: {'a' * 15_000}" for number in range(4)], id="some long lines"),
        pytest.param([f"Set-Cookie: {number:04}={'a' * 16}" for number in range(1900)], id="1,900 short lines"),
    ],
)
async def test_headers_of_64_kib_are_accepted(headers):
    """Whether they are few or many, and in a session of the caller as well."""
    assert 60_000 < sum(map(len, headers)) < 2**16
    assert await body_of(http(BODY, *headers)) == BODY
    async with aiohttp.ClientSession() as own:
        assert await body_of(http(BODY, *headers), session=own) == BODY


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "GZIP", "X-Gzip"])
@pytest.mark.parametrize("frame", [http, in_chunks])
async def test_gzip_is_known_by_both_of_its_names(label, frame):
    """RFC 9110, 8.4.1.3."""
    assert await body_of(frame(PACKED, f"Content-Encoding: {label}")) == BODY


@pytest.mark.parametrize("label", ["gzip,", ", gzip", "identity, gzip", "gzip , identity", "x-gzip,,"])
async def test_a_list_of_one_coding_is_that_coding(label):
    """RFC 9110, 5.6.1; "identity" is none, and empty members are to be ignored."""
    assert await body_of(http(PACKED, f"Content-Encoding: {label}")) == BODY
    for label_of_none in (label.replace("x-gzip", "").replace("gzip", ""), "identity,"):
        assert await body_of(http(BODY, f"Content-Encoding: {label_of_none}")) == BODY


@pytest.mark.parametrize("label", [None, "identity", "utf-8 "])
async def test_gzip_that_no_header_names_is_an_error_that_says_so(label):
    """As is what was compressed twice and says so once."""
    headers = [] if label is None else [f"Content-Encoding: {label}"]
    for response in (http(PACKED, *headers), http(gzip.compress(PACKED), "Content-Encoding: gzip")):
        async with Script(rest=response) as server, client_of(server) as client:
            with pytest.raises(DecodeError, match="compressed"):
                await client.history(PROFILE).collect()


@pytest.mark.parametrize("status", [403, 404, 413])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "compress"])
async def test_a_page_that_cannot_be_decompressed_is_a_page(status, coding):
    """Its status says what became of the request; why its body says nothing stands beside it."""
    response = http(b"\x01\x02<title>no</title>", f"Content-Encoding: {coding}", "Server: edge", status=status)
    async with Script(rest=response) as server, client_of(server) as client:
        with pytest.raises(UnexpectedPage, match=rf"HTTP {status} \(the body is .*, Server: edge\)") as caught:
            await client.history(PROFILE).collect()
        assert (caught.value.title, len(server.requests)) == (None, 1)


async def test_an_error_that_is_cut_is_asked_for_again():
    """It may be the API's own word, so it is not taken for a page."""
    whole = b'{"error":401,"error_text":"no"}'
    cut_short = http(gzip.compress(whole)[:-9], "Content-Encoding: gzip", status=401)
    async with Script(cut_short, rest=http(whole, status=401)) as server, client_of(server, QUICK) as client:
        with pytest.raises(AuthenticationError):
            await client.history(PROFILE).collect()
        assert len(server.requests) == 2


@pytest.mark.parametrize("padding", [1, 2, 511, 70_000])
@pytest.mark.parametrize("frame", [http, in_chunks])
async def test_zeros_behind_gzip_are_padding(padding, frame):
    """In the same packet as the end of the member, or in later ones."""
    response = frame(PACKED + bytes(padding), "Content-Encoding: gzip")
    assert await body_of(response) == BODY
    if padding < 1000:
        assert await body_of(dribbled(response)) == BODY


@pytest.mark.parametrize("between", [b"", bytes(8)], ids=["at once", "after padding"])
async def test_gzip_members_one_after_the_other_are_one_body(between):
    """RFC 1952, 2.2."""
    members = between.join(gzip.compress(part) for part in pieces(BODY, 9))
    assert await body_of(http(members, "Content-Encoding: gzip")) == BODY
    assert await body_of(dribbled(http(members, "Content-Encoding: gzip"), 3)) == BODY


async def test_empty_gzip_members_are_skipped_but_not_without_end():
    """Each costs time and counts towards no limit of bytes."""
    empty = gzip.compress(b"")
    assert await body_of(http(empty * 1000 + PACKED + empty * 1000, "Content-Encoding: gzip")) == BODY
    with pytest.raises(DecodeError, match="more than 1024 empty gzip members"):
        await body_of(http(empty * 1100 + PACKED, "Content-Encoding: gzip"))


async def test_deflate_is_taken_with_its_head_and_without():
    """Servers send both under that name."""
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    for body in (zlib.compress(BODY), bare.compress(BODY) + bare.flush()):
        assert await body_of(http(body, "Content-Encoding: deflate")) == BODY
        assert await body_of(dribbled(http(body, "Content-Encoding: deflate"), 1)) == BODY


@pytest.fixture
def zstd():
    """The library that aiohttp decompresses zstd with."""
    return importlib.import_module(ZSTD)


@needs_zstd
async def test_zstd_frames_one_after_the_other_are_one_body(zstd):
    """RFC 8878, 3.1; frames to be skipped hold nothing of it."""
    skipped = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    frames = skipped.join(map(zstd.compress, pieces(BODY, 9)))
    assert await body_of(http(frames, "Content-Encoding: zstd")) == BODY
    assert await body_of(dribbled(http(frames + skipped, "Content-Encoding: zstd"), 3)) == BODY


@needs_zstd
async def test_empty_zstd_frames_are_skipped_but_not_without_end(zstd):
    """Each costs as much time as a page of text, and yields nothing that a limit would count."""
    empty, packed = zstd.compress(b""), zstd.compress(BODY)
    assert await body_of(http(empty * 1000 + packed + empty * 1000, "Content-Encoding: zstd")) == BODY
    # Between any two of them others can work.
    assert len(list(find_decoder("zstd").decode(empty * 1000))) >= 1000
    with pytest.raises(DecodeError, match="more than 1024 empty zstd frames"):
        await body_of(http(empty * 1100 + packed, "Content-Encoding: zstd"))


@needs_zstd
async def test_a_zstd_frame_that_wants_a_larger_window_than_http_allows_is_refused(zstd):
    """RFC 9659: 8 MiB. What it would have kept in memory is counted by no limit."""
    for log, refused in ((23, False), (24, True)):
        packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
        response = http(packer.compress(BODY) + packer.flush(), "Content-Encoding: zstd")
        with pytest.raises(DecodeError, match="not zstd") if refused else contextlib.nullcontext():
            assert await body_of(response) == BODY


@pytest.mark.parametrize("coding", ["gzip", "deflate", BROTLI, ZSTANDARD])
async def test_a_body_longer_than_what_one_step_decodes_is_decoded_whole(coding):
    """Up to the limit, and not a byte beyond it."""
    body = b"[" + b" " * (3 * 2**20) + b"]"
    response = http(pack(coding, body), f"Content-Encoding: {coding}")
    assert await body_of(response, limit=len(body)) == body
    with pytest.raises(ResponseTooLarge, match=f"longer than {len(body) - 1} bytes"):
        await body_of(response, limit=len(body) - 1)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", BROTLI, ZSTANDARD])
@pytest.mark.parametrize(
    "body", [BODY, b"<html>no</html>", PACKED[:-20] + b"damaged" + PACKED[-13:]], ids=["JSON", "a page", "damaged"]
)
async def test_a_body_that_is_not_what_its_encoding_says_is_an_error_that_says_so(coding, body):
    """And no connection that was cut."""
    if coding == "gzip" and body.startswith(b"\x1f"):
        body = body[:-8] + bytes(8)
    with pytest.raises(DecodeError, match=f"the body is not {coding}, as its Content-Encoding says it is"):
        await body_of(http(body, f"Content-Encoding: {coding}"))


async def test_what_follows_gzip_and_is_no_padding_is_an_error():
    """It is no part of the body that anybody could read."""
    with pytest.raises(DecodeError, match="the body is not gzip"):
        await body_of(http(PACKED + b"\0\0more", "Content-Encoding: gzip"))


@pytest.mark.parametrize("coding", ["gzip", "deflate", ZSTANDARD])
async def test_a_compressed_body_that_is_cut_is_a_truncated_response(coding):
    """In perfect framing, where nothing else gives it away."""
    packed = pack(coding, BODY)
    for size in (1, 10, 20, len(packed) - 8, len(packed) - 1):
        with pytest.raises(TruncatedResponse, match="the compressed body stops before its end"):
            await body_of(http(packed[:size], f"Content-Encoding: {coding}"))


async def test_an_empty_body_is_empty_in_any_encoding():
    """It is for the protocol to refuse."""
    for coding in ("gzip", "deflate", "br", "zstd", "identity", "compress"):
        assert await body_of(http(b"", f"Content-Encoding: {coding}")) == b""


@pytest.mark.parametrize("label", ["utf-8", "identity", "none", "identity, none"])
async def test_a_plain_body_under_a_label_that_nobody_knows_is_taken_as_it_is(label):
    """`Content-Encoding: utf-8` is a common mistake."""
    assert await body_of(http(BODY, f"Content-Encoding: {label}")) == BODY


async def test_a_body_that_is_compressed_in_an_unknown_way_is_an_error_that_says_so():
    """The label itself is not quoted, since it may be an echo of the token."""
    with pytest.raises(DecodeError, match="in a way that was not asked for; see its Content-Encoding") as caught:
        await body_of(http(gzip.compress(PACKED), "Content-Encoding: gzip, gzip"))
    assert "gzip" not in str(caught.value)


TWICE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Some: Thing\r\ncontent-length:%d \r\n\r\n" % ((len(BODY),) * 2) + BODY
)
LISTED = b"HTTP/1.1 200 OK\r\nContent-Length: %d, %d\r\n\r\n" % ((len(BODY),) * 2) + BODY
DIFFERENT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize("response", [TWICE, LISTED, INTERIM + TWICE], ids=["twice", "a list", "after another head"])
@pytest.mark.parametrize("packets", [None, 1, 50])
async def test_equal_lengths_count_as_one(response, packets):
    """RFC 9112, 6.3. The first such response is asked for once more, free of charge; after that none is."""
    closing = response.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n")
    turn = response if packets is None else dribbled(closing, packets)
    async with Script(rest=turn) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with HistoryClient(url, token="t", list_id=20, retry=ONCE) as client:
            first = client.history(Profile.email("john@example.com"))
            assert await first.collect() == []
            assert first.stats.attempts == (1 if LAX and response is not LISTED else 2)
            second = client.histories([Profile.email(f"user{number}@example.com") for number in range(10)])
            assert await second.collect() == []
        assert second.stats.attempts == 10


@pytest.mark.skipif(LAX, reason="the parser written in Python overlooks the second length")
async def test_different_lengths_are_refused_as_before():
    """Nobody knows which is right; the one free attempt is all that it costs more."""
    async with Script(rest=last(DIFFERENT)) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with HistoryClient(url, token="t", list_id=20, retry=ONCE) as client:
            stream = client.history(Profile.email("john@example.com"))
            with pytest.raises(ResponseError, match="no proper HTTP") as caught:
                await stream.collect()
    assert (stream.stats.attempts, caught.value.stale_connection) == (2, False)


@pytest.mark.skipif(LAX, reason="the parser written in Python takes equal lengths by itself")
async def test_a_session_of_the_caller_is_not_meddled_with():
    """What it refuses is refused."""
    async with Script(rest=last(TWICE)) as server, aiohttp.ClientSession() as own:
        with pytest.raises(ResponseError, match="no proper HTTP") as caught:
            await attempt(server.url, session=own)
    assert not caught.value.stale_connection


@pytest.mark.skipif(LAX, reason="the parser written in Python takes equal lengths by itself")
async def test_equal_lengths_are_accepted_on_either_kind_of_connection():
    """One that was made before they were met costs a resend of its own."""
    async with Script(http(b"{}"), http(b"{}"), rest=TWICE) as server:
        transport = Transport(server.url, None, None)
        for fresh in (False, True):
            assert (await send(transport, fresh=fresh)).body == b"{}"
        for fresh in (True, False):
            with pytest.raises(ResponseError) as caught:
                await send(transport, fresh=fresh)
            assert caught.value.stale_connection
            assert (await send(transport, fresh=True)).body == BODY
            assert (await send(transport, fresh=fresh)).body == BODY
        await transport.aclose()


@pytest.mark.parametrize(
    ("head", "unified"),
    [
        (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n", b"Content-Length: 2\r\n\r\n"),
        (b"A: b\r\nCONTENT-LENGTH:2,  2 , 2\r\nC: d\r\n\r\n", b"A: b\r\nContent-Length: 2\r\nC: d\r\n\r\n"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", None),
        (b"Content-Length: 2, 02\r\n\r\n", None),
        (b"X-Content-Length: 2\r\nX: Content-Length: 2\r\n\r\n", None),
        (b"Content-Length: 2\nContent-Length: 2\n\n", b"Content-Length: 2\r\n\n"),
    ],
)
def test_only_equal_lengths_are_unified(head, unified):
    """All else stays as it is, for the parser to judge."""
    status = b"HTTP/1.1 200 OK\r\n"
    assert unify_lengths(status + head) == status + (head if unified is None else unified)


async def test_a_head_without_an_end_is_not_kept_for_ever():
    """The parser gets it, and refuses it."""

    async def endless(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Many: a\r\n" * 1000)
            await writer.drain()

    async with Script(LISTED, LISTED, rest=endless) as server:
        transport = Transport(server.url, None, None)
        with pytest.raises(ResponseError):
            await send(transport)
        assert (await send(transport)).body == BODY
        with pytest.raises(ResponseError, match="no proper HTTP"):
            await send(transport)
        await transport.aclose()


async def test_headers_beyond_the_limits_are_refused():
    """They could take any amount of memory."""
    for headers in ([f"X-Long: {'a' * 70_000}"], [f"X-{number}: a" for number in range(MOST_HEADER_LINES + 10)]):
        async with raw_server(saying(http(BODY, *headers))) as url:
            with pytest.raises(ResponseError, match="no proper HTTP: its headers are too long"):
                await attempt(url)


def test_the_limit_of_these_tests_holds_their_bodies():
    """A body that is cut off would be another failure."""
    assert len(BODY) < LIMIT
    assert json.loads(BODY)["error"] == 0
