"""Responses made to hurt: they expand without end, nest without end, or come all at once; none of them gets far."""

import asyncio
import functools
import gc
import importlib
import json
import sys
import time
import zlib
from pathlib import Path

import pytest
from support.codings import ZSTANDARD, ZSTD, needs_brotli, needs_zstd, pack
from support.paths import SUPPORT
from support.raw_server import head, raw_server
from support.virtual_clock import run_virtually

from profile_history import DecodeError, HistoryClient, HistoryError, Limits, Pacing, Profile, RetryPolicy
from profile_history._sending.memory_budget import MemoryBudget

MIB = 2**20
GIB = 2**30
SMALL = b'{"data":[],"error":0,"error_text":"Successful operation"}'
# Bytes; a brotli stream may ask for a window of 16 MiB, whatever the cap, and a zstd frame for one of 8.
BROTLI_WINDOW = 24 * MIB
ZSTD_WINDOW = 12 * MIB
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory the Linux way")


@functools.cache
def one_member():
    """A gzip of 1 MB, blank for 1 GiB and then a good response, right to its checksum."""
    blank = b" " * MIB
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(blank) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    checksum = 0
    for _ in range(GIB // MIB):
        checksum = zlib.crc32(blank, checksum)
    checksum = zlib.crc32(SMALL, checksum)
    size = (GIB + len(SMALL)) % 2**32
    begin, end = b"\x1f\x8b\x08\0\0\0\0\0\0\xff", checksum.to_bytes(4, "little") + size.to_bytes(4, "little")
    return begin + block * (GIB // MIB) + packer.compress(SMALL) + packer.flush() + end


def member(body):
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@functools.cache
def many_members():
    """The same, in a thousand members of 1 MiB."""
    return member(b" " * MIB) * (GIB // MIB) + member(SMALL)


@functools.cache
def one_brotli():
    """The same in brotli, with the largest window there is: less than 1 kB."""
    packer = importlib.import_module("brotli").Compressor(quality=5, lgwin=24)
    blank = b" " * MIB
    return b"".join(packer.process(blank) for _ in range(GIB // MIB)) + packer.process(SMALL) + packer.finish()


@functools.cache
def one_zstd():
    """The same in a frame of zstd, with the largest window that HTTP allows: some 40 kB."""
    library = importlib.import_module(ZSTD)
    packer = library.ZstdCompressor(options={library.CompressionParameter.window_log: 23})
    blank = b" " * MIB
    return b"".join(packer.compress(blank) for _ in range(GIB // MIB)) + packer.compress(SMALL) + packer.flush()


async def bombed(encoding, bomb, cap):
    """What became of a process of its own that asked for the bomb."""

    async def answer(request, writer):
        packed = "bomb" in request["email"]
        body = bomb if packed else SMALL
        writer.write(head(f"Content-Length: {len(body)}", *([f"Content-Encoding: {encoding}"] * packed)) + body)
        await writer.drain()

    async with raw_server(answer) as url:
        script = SUPPORT / "bombed.py"
        child = await asyncio.create_subprocess_exec(
            sys.executable, script, url, str(cap), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    return json.loads(out)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("cap", [64 * MIB, 8 * MIB], ids=["64 MiB", "8 MiB"])
@pytest.mark.parametrize(
    ("encoding", "make", "extra"),
    [
        pytest.param("gzip", one_member, 0, id="gzip"),
        pytest.param("gzip", many_members, 0, id="gzip members"),
        pytest.param("br", one_brotli, BROTLI_WINDOW, id="br", marks=needs_brotli),
        pytest.param("zstd", one_zstd, ZSTD_WINDOW, id="zstd", marks=needs_zstd),
    ],
)
async def test_a_bomb_of_a_gibibyte_costs_less_than_a_second_and_twice_the_cap(encoding, make, extra, cap, capsys):
    """It is refused as soon as the cap is passed; the thousandfold rest is never unpacked."""
    bomb = make()
    assert len(bomb) < 1.1 * MIB
    result = await bombed(encoding, bomb, cap)

    assert result["error"] == "ResponseTooLarge"
    assert result["seconds"] < 3
    assert result["growth"] <= 2 * cap + extra
    show(
        capsys,
        f"{len(bomb):,} bytes of {encoding} for 1 GiB, cap {cap // MIB} MiB: refused after {result['seconds']:.3f} s, "
        f"growth {result['growth'] / MIB:.1f} MiB = {result['growth'] / cap:.2f} caps",
    )


@needs_proc
@pytest.mark.parametrize("encoding", ["gzip", ZSTANDARD])
async def test_a_hundred_thousand_empty_members_are_no_burden(encoding):
    """They are 1 or 2 MB that unpack to nothing; a history they are not."""
    result = await bombed(encoding, pack(encoding, b"") * 100_000, 64 * MIB)

    assert result["error"] == "DecodeError"
    assert result["seconds"] < 3
    assert result["growth"] < 16 * MIB


def good_row(day):
    return (
        f'{{"action":"open","count":1,"datetime":"2024-05-{day:02}T10:00:00Z","email":"a@example.com",'
        f'"list_id":20,"message_id":5,"xxh":"0000000000000001"}}'
    )


def odd_row(key, value):
    return (
        f'{{"action":"click","{key}":{value},"datetime":"2024-05-05T10:00:00Z","email":"a@example.com",'
        f'"list_id":20,"xxh":"0000000000000001"}}'
    )


DEEP = 100_000
# The value, and whether the response is refused for it.
ODD = {
    "a list 100,000 deep": ("[" * DEEP + "]" * DEEP, True),
    "an object 100,000 deep": ('{"a":' * DEEP + "1" + "}" * DEEP, True),
    "4,301 digits": ("9" * 4301, False),
    "minus 4,301 digits": ("-" + "9" * 4301, False),
    "200,000 digits": ("9" * 200_000, False),
    "2**63": (str(2**63), False),
    "2**64": (str(2**64), False),
    "-2**63-1": (str(-(2**63) - 1), False),
    "1e400": ("1e400", False),
    "-1e400": ("-1e400", False),
    "1e999999999": ("1e999999999", False),
    "NaN": ("NaN", False),
    "Infinity": ("Infinity", False),
    "-Infinity": ("-Infinity", False),
    "1e-400": ("1e-400", False),
    "5,000 decimals": ("0." + "1" * 5000, False),
}
MANY = 1_000_000  # bytes


class Holding:
    """The longest time that the loop's thread was at work without a turn of the loop, in seconds of that thread."""

    def __init__(self):
        self.longest = 0.0

    async def measure(self):
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now


def freeze_old_garbage():
    """Keep the collector from looking through what is there: that is the machine's time, and not the client's."""
    gc.collect()
    gc.freeze()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "many"),
    [
        ("message_id", True),
        ("unknown", False),
        pytest.param("message_id", False, marks=pytest.mark.full),
        pytest.param("unknown", True, marks=pytest.mark.full),
    ],
)
async def test_odd_values_cost_their_field_at_most_and_never_the_loop(key, many, capsys):
    """Among good rows, once or in 1 MB; no crash, and the loop is held for less than 50 ms."""
    worst = {}
    for name, (value, refused) in ODD.items():
        row = odd_row(key, value)
        odd = max(1, MANY // len(row) // 2) if many else 1
        rows = [good_row(1), *[good_row(2), row] * odd, good_row(3)]
        body = f'{{"data":[{",".join(rows)}],"error":0,"error_text":""}}'.encode()
        holding = Holding()
        freeze_old_garbage()
        events, apart, error = await fetched(body, holding)
        worst[name] = 1000 * holding.longest
        if refused:
            assert isinstance(error, DecodeError)
        else:
            assert (error, events, apart) == (None, len(rows), 0), name
    slowest = max(worst, key=worst.__getitem__)
    assert worst[slowest] < 50, worst
    show(capsys, f"{len(ODD)} odd values of {key}, {'many' if many else 'one'}: {worst[slowest]:.1f} ms for {slowest}")


async def fetched(body, holding):
    async def answer(request, writer):
        writer.write(head(f"Content-Length: {len(body)}"))
        for place in range(0, len(body), 2**16):
            writer.write(body[place : place + 2**16])
            await writer.drain()

    async with (
        raw_server(answer) as url,
        HistoryClient(url, token="a-token", list_id=20, retry=RetryPolicy(attempts=1, passes=1), window=None) as client,
    ):
        stream = client.history(Profile.email("a@example.com"))
        measuring = asyncio.create_task(holding.measure())
        try:
            return len(await stream.collect()), len(stream.quarantined), None
        except HistoryError as error:
            return 0, 0, error
        finally:
            measuring.cancel()


ANSWER, LIMIT = 20 * MIB, 64 * MIB
FAT_ROWS = 320


class Watched(MemoryBudget):
    """Remembers the most that was ever in use."""

    most = 0

    @property
    def used(self):
        return self.__dict__["used"]

    @used.setter
    def used(self, size):
        self.__dict__["used"] = size
        self.most = max(self.most, size)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [0, 1], ids=["in step", "one after another"])
@pytest.mark.parametrize("answers", [16, pytest.param(64, marks=pytest.mark.full)])
def test_answers_in_flight_never_exceed_their_limit_by_more_than_one(answers, apart, capsys):
    """Sixteen at once of 20 MiB each, where 64 MiB are allowed, for a slow consumer; each event arrives once.

    What finds no room is asked for again, but not again and again.
    """
    most, attempts = run_virtually(at_once(answers, apart))
    show(
        capsys,
        f"limit {LIMIT // MIB} MiB, answers of {ANSWER // MIB} MiB: {most / MIB:.1f} MiB at most; "
        f"{attempts} attempts for {answers} windows",
    )
    assert LIMIT - ANSWER < most <= LIMIT + 1.05 * ANSWER
    assert answers <= attempts <= 3 * answers


async def at_once(answers, apart):
    """The most bytes that were held, and the number of attempts; the responses begin some seconds `apart`."""
    padding = "x" * (ANSWER // FAT_ROWS)

    async def answer(request, writer):
        number = request["email"].split("@")[0]
        rows = [
            f'{{"action":"open","count":{place},"datetime":"2024-05-01T10:00:00Z","email":"{number}","pad":"{padding}"}}'
            for place in range(FAT_ROWS)
        ]
        body = f'{{"data":[{",".join(rows)}],"error":0,"error_text":""}}'.encode()
        await asyncio.sleep(apart * (int(number) % 16))
        writer.write(head(f"Content-Length: {len(body)}"))
        for place in range(0, len(body), 2**17):
            writer.write(body[place : place + 2**17])
            await writer.drain()

    async with (
        raw_server(answer) as url,
        HistoryClient(
            url,
            token="a-token",
            list_id=20,
            window=None,
            pacing=Pacing(concurrency=16, adaptive=False),
            limits=Limits(in_flight=LIMIT),
        ) as client,
    ):
        # The peak between two events is seen by no hook.
        memory = client._core.shared.memory
        memory.__class__ = Watched
        received = {}
        stream = client.histories([Profile.email(f"{number}@example.com") for number in range(answers)])
        async with stream.windows() as windows:
            async for result in windows:
                assert result.profile not in received
                received[result.profile] = [event.count for event in result.events]
                del result
                await asyncio.sleep(5)
        assert memory.used == 0

    assert len(received) == answers
    assert all(sorted(counts) == list(range(FAT_ROWS)) for counts in received.values())
    return memory.most, stream.stats.attempts


def show(capsys, text):
    with capsys.disabled():
        print(f"\n{text}", end="")
