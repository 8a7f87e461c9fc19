"""A response cut short is never taken for a whole one, wherever it is cut and however it is framed."""

import asyncio
import contextlib
import datetime as dt
import json
from collections import Counter, deque

import msgspec
import pytest
import yarl
from support.codings import BROTLI, ZSTANDARD, needs_brotli, needs_zstd, pack
from support.raw_server import head, raw_server

from profile_history import HistoryError, Timeouts
from profile_history._aio import CooperativeRunner
from profile_history._protocol.chunking import split_rows
from profile_history._protocol.requests import PATH
from profile_history._protocol.responses import verify_response
from profile_history._secrets import SecretBytes, Token
from profile_history._sending.transport import Transport
from profile_history.errors import Kind

TOKEN = Token("a-token")


def row(number):
    fields = {"action": "open", "count": number, "datetime": f"2024-05-0{number}T10:00:00Z", "email": "ж]}@example.com"}
    return {**fields, "list_id": 20, "message_id": 10**number, "xxh": f"{number:016x}"}


ROWS = [row(number) for number in range(1, 5)]
BODY = msgspec.json.encode({"data": ROWS, "error": 0, "error_text": "Successful operation"})
# With keys before and behind, blanks, and all that looks like an end in the middle.
UNUSUAL = b'\n{ "error_text" : "]}",\n"data" : [ %b ] ,\r\n "more": {"data": []}, "error":0 }' % b" , ".join(
    map(msgspec.json.encode, ROWS[:2])
)


def with_length(body, *lines):
    return head(f"Content-Length: {len(body)}", *lines) + body


def in_chunks(body, *lines):
    """Return a response in chunks of 50 bytes."""
    chunks = (body[place : place + 50] for place in range(0, len(body), 50))
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head("Transfer-Encoding: chunked", *lines) + framed + b"0\r\n\r\n"


def to_the_close(body, *lines):
    return head("Connection: close", *lines) + body


def cut_on_the_wire(encoding, frame, body):
    """Return the whole HTTP response up to each of its bytes; the last is the whole."""
    whole = framed(encoding, frame, pack(encoding, body))
    return [whole[:size] for size in range(len(whole) + 1)]


def cut_inside(encoding, frame, body):
    """Return the compressed body up to each of its bytes, in framing that says that this is all of it."""
    whole = pack(encoding, body)
    return [framed(encoding, frame, whole[:size]) for size in range(len(whole) + 1)]


def framed(encoding, frame, body):
    return frame(body, *([f"Content-Encoding: {encoding}"] if encoding else []))


def assert_whole(rows, body):
    """Check that all rows of a body are there."""
    assert rows.size == len(body)
    texts = [text for chunk in rows.chunks for text in split_rows(chunk.text)]
    assert list(map(json.loads, texts)) == json.loads(body)["data"]


@contextlib.asynccontextmanager
async def asking(response):
    """Yield a function that asks a raw server for a response, and returns its rows or why it was refused."""
    async with raw_server(response) as url:
        transport = Transport(yarl.URL(url + PATH), None, None)

        async def ask():
            try:
                reply = await transport.send(
                    SecretBytes(b"{}"), "an-id", Timeouts(read=5), 10**6, grow=lambda size: None, fresh=True
                )
                return await CooperativeRunner().run(verify_response(reply, TOKEN, dt.datetime.now))
            except HistoryError as error:
                return error

        try:
            yield ask
        finally:
            await transport.aclose()


@pytest.mark.parametrize(
    "body",
    [pytest.param(BODY, id="as documented"), pytest.param(UNUSUAL, id="unusual", marks=pytest.mark.full)],
)
@pytest.mark.parametrize("frame", [with_length, in_chunks, to_the_close])
@pytest.mark.parametrize(
    ("encoding", "cut"),
    [
        pytest.param("", cut_on_the_wire, id="plain"),
        pytest.param("gzip", cut_on_the_wire, id="gzip"),
        pytest.param("gzip", cut_inside, id="gzip, cut inside"),
        pytest.param("deflate", cut_on_the_wire, id="deflate", marks=pytest.mark.slow),
        pytest.param("deflate", cut_inside, id="deflate, cut inside", marks=pytest.mark.slow),
        pytest.param("br", cut_on_the_wire, id="br", marks=needs_brotli),
        pytest.param("br", cut_inside, id="br, cut inside", marks=needs_brotli),
        pytest.param("zstd", cut_on_the_wire, id="zstd", marks=needs_zstd),
        pytest.param("zstd", cut_inside, id="zstd, cut inside", marks=needs_zstd),
    ],
)
async def test_an_answer_cut_at_any_byte_is_no_success(encoding, cut, frame, body, capsys):
    """The connection is closed after each of its bytes in turn; only with the last is it accepted.

    Each failure is one that is tried again. Neither gzip nor zstd is whole before its last byte.
    """
    responses = deque(cut(encoding, frame, body))
    last = len(responses) - 1
    failures = Counter()

    async def response(request, writer):
        writer.write(responses.popleft())
        await writer.drain()

    async with asking(response) as ask:
        for place in range(last):
            match await ask():
                case HistoryError(kind=Kind.TRANSIENT | Kind.AMBIGUOUS, fatal=False) as error:
                    failures[type(error).__name__] += 1
                case other:
                    pytest.fail(f"{place} bytes came to {other!r}")
        whole = await ask()

    assert_whole(whole, body)
    assert failures.total() == last > 150
    assert failures["TruncatedResponse"] > 0
    with capsys.disabled():
        print(f"\n{last} offsets: 0 accepted cut, {dict(failures)}", end="")


@pytest.mark.parametrize("body", [BODY, UNUSUAL], ids=["as documented", "unusual"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("encoding", ["", "gzip", BROTLI, ZSTANDARD])
async def test_the_same_answer_in_small_pieces_is_accepted(encoding, size, body):
    """However its bytes are spread over segments and chunks."""

    async def response(request, writer):
        whole = framed(encoding, in_chunks, pack(encoding, body))
        for place in range(0, len(whole), size):
            writer.write(whole[place : place + size])
            await asyncio.sleep(0)

    async with asking(response) as ask:
        rows = await ask()

    assert_whole(rows, body)
