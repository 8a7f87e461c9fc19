"""Every fault does on the wire what its description says, by the bytes that a client sees."""

import bz2
import datetime as dt
import gzip
import json
import lzma
import re
import sys
import zlib
from collections import Counter
from email.utils import parsedate_to_datetime

import aiohttp
import attrs
import brotli
import pytest
from support.fault_exchanges import (  # noqa: F401 (fixtures)
    EOF_LINE,
    PATIENCE,
    QUICK,
    TOKEN,
    cut,
    exchange,
    good,
    meet,
    nothing,
    of,
    says,
    server,
    truth,
)

from profile_history._protocol.requests import PATH
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer
from profile_history.testing.faults import Stage

FORMS = range(16)
# Those that have one form only, which takes its time.
UNIFORM = {Fault.ENDLESS_CONTINUE, Fault.EMPTY_GZIP_MEMBERS, Fault.HUGE_BODY}


def one_more(seen):
    """The row that is in the response and not in a good one."""
    rows, rest = list(seen.rows), good(seen.server)
    assert len(rows) == len(rest) + 1
    place = next((place for place, row in enumerate(rest) if repr(rows[place]) != repr(row)), len(rest))
    extra = rows.pop(place)
    assert rows == rest
    return extra


def throttled(seen):
    return (seen.status, seen.code) == (429, 429)


def lacks(key):
    def check(seen):
        whole = {"data": good(seen.server), "error": 0, "error_text": "Successful operation"}
        return seen.json == {name: whole[name] for name in whole if name != key}

    return check


def page_of(status):
    return lambda seen: seen.page and seen.status == status


def api_says(code):
    return lambda seen: (seen.status, seen.code) == (code, code)


def redirect(status):
    return lambda seen: (
        seen.page and seen.status == status and seen.headers["Location"].startswith("http://elsewhere.invalid/")
    )


def unpacked(seen):
    return gzip.decompress(seen.body) == bare(seen.server)


def bare(server):
    """The bytes of the good response's body."""
    rows = json.dumps(good(server)).replace(", ", ",").replace(": ", ":")
    return b'{"data":%b,"error":0,"error_text":"Successful operation"}' % rows.encode()


def an_odd_status(seen):
    match seen.status:
        case 200:
            return seen.whole and seen.body == b""
        case 204 | 304:
            return seen.body == b"" and "Content-Length" not in seen.headers
        case 206:
            return seen.whole and bare(seen.server).startswith(seen.body) and seen.body.endswith(b"}") is False
    return seen.status == 999 and seen.json["data"] == good(seen.server)


def half_unpacked(seen):
    assert seen.whole
    if seen.headers["Content-Encoding"] == "br":
        text = brotli.Decompressor().process(seen.body)
    else:
        reader = zlib.decompressobj(wbits=31)
        text = reader.decompress(seen.body)
        assert not reader.eof
    return bare(seen.server).startswith(text) and len(text) < len(bare(seen.server))


def a_bomb(seen):
    text = gzip.decompress(seen.body)
    return seen.whole and len(seen.body) < 10_000 and len(text) > 2**21 and text.strip() == bare(seen.server)


def deep(seen):
    return seen.whole and b"[" * 100_000 + b"]" * 100_000 in seen.body


def an_odd_date(seen):
    then, now = (parsedate_to_datetime(seen.headers[name]) for name in ("Retry-After", "Date"))
    assert abs((now - dt.datetime.now(dt.UTC)).days) > 365
    return throttled(seen) and then - now == dt.timedelta(seconds=3)


def a_bare_date(seen):
    assert "Date" not in seen.headers
    text = seen.headers["Retry-After"]
    then = dt.datetime(*parsedate_to_datetime(text).timetuple()[:6], tzinfo=dt.UTC)
    return throttled(seen) and 2 <= (then - dt.datetime.now(dt.UTC)).total_seconds() <= 4


def a_page_of_nginx(status):
    return lambda seen: (
        page_of(status)(seen)
        and seen.headers["Server"].startswith("nginx/")
        and f"<title>{status} ".encode() in seen.body
    )


def garbage(seen):
    return throttled(seen) and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", seen.headers["Retry-After"], re.ASCII)


def outside(seen):
    first, *rows, last = seen.rows
    assert rows == good(seen.server)
    return (first["datetime"], last["datetime"]) == ("2024-09-11T12:00:00Z", "2023-02-19T12:00:00Z")


def repeated(seen):
    twice = Counter(map(str, seen.rows)) - Counter(map(str, good(seen.server)))
    return twice.total() > 0 and list(dict.fromkeys(map(str, seen.rows))) == list(
        dict.fromkeys(map(str, good(seen.server)))
    )


def shuffled(seen):
    return sorted(map(str, seen.rows)) == sorted(map(str, good(seen.server))) and not truth(seen)


def of_another(seen):
    return seen.rows == good(seen.server, 2) != []


def with_news(seen):
    return all("brand_new" in row and row | own == row for row, own in zip(seen.rows, good(seen.server), strict=True))


def with_a_poisoned_row(seen):
    return seen.raw.count(b'"campaign_name":') == 1 == len(seen.rows) - len(good(seen.server))


def with_something_else(seen):
    odd = [row for row in seen.rows if not isinstance(row, dict)]
    return len(odd) == 1 and [row for row in seen.rows if isinstance(row, dict)] == good(seen.server)


def with_a_huge_integer(seen):
    assert seen.whole
    return len(re.findall(rb'"count":9{4301}\}', seen.body)) == 1


def with_a_big_number(seen):
    return seen.whole and len(re.findall(rb'"count":(-?\d{19,}|1e400|NaN|-?Infinity)\}', seen.body)) == 1


def with_an_odd_date(seen):
    extra = one_more(seen)
    return not re.fullmatch(r"20\d\d-\d\d-\d\dT[01]\d:\d\d:[0-5]\dZ", str(extra["datetime"]))


def with_an_odd_type(seen):
    model = good(seen.server)[0] | {"message_id": 1, "campaign_id": 1}
    extra = one_more(seen)
    return any(type(extra[key]) is not type(model[key]) for key in extra)


def incomplete(seen):
    return not {"action", "datetime"} <= set(one_more(seen))


def echoed(seen):
    text = seen.json["error_text"]
    return seen.code == 500 and len(text) > 1_000_000 and text.endswith(TOKEN) and "\x1b[31m" in text


def in_a_header(seen):
    return any(value == TOKEN for _, value in seen.fields) and truth(seen)


def chunked_twice(seen):
    chunks, rest = seen.chunks
    assert seen.headers["Transfer-Encoding"] == "chunked"
    return rest == b"" and b"".join(chunks) == bare(seen.server) and "Content-Length" in seen.headers


def without_end(seen):
    chunks, rest = seen.chunks
    return rest == b"" and chunks[-1] != b"" and b"".join(chunks) == bare(seen.server)


def with_a_bad_chunk(seen):
    chunks, rest = seen.chunks
    size = rest.partition(b"\r\n")[0]
    return bare(seen.server).startswith(b"".join(chunks)) and not re.fullmatch(rb"[0-9a-f]{1,16}", size)


def two_lengths(seen):
    lengths = [int(value) for name, value in seen.fields if name == "Content-Length"]
    return len(set(lengths)) == 2 and len(seen.body) in lengths and seen.body == bare(seen.server)


def huge(seen):
    chunks, rest = seen.chunks
    text = b"".join(chunks)
    return rest == b"" and len(text) > 2**21 and text.strip() == bare(seen.server)


def junk(seen):
    return seen.whole and seen.body.startswith(bare(seen.server)) and len(seen.body) > len(bare(seen.server))


def badly_coded(seen):
    with pytest.raises(UnicodeDecodeError):
        seen.body.decode()
    return seen.whole and seen.body.decode(errors="ignore").replace("(", "") == bare(seen.server).decode()


def mislabelled(seen):
    return seen.headers.get("Content-Type") != "application/json" and truth(seen)


def asked_to_go_on(seen):
    lines = seen.raw.split(EOF_LINE)
    return len(lines) > 10 and set(lines[:-1]) == {b"HTTP/1.1 100 Continue"} and seen.end == "open"


def decoded_by(encodings):
    return lambda seen: encodings[seen.headers["Content-Encoding"]](seen.body) == bare(seen.server)


CHECKS = {
    Fault.ROWS_OUTSIDE: outside,
    Fault.REPEATED_ROWS: repeated,
    Fault.UNSORTED: shuffled,
    Fault.ROW_CAP: lambda seen: seen.rows == good(seen.server)[:4],
    Fault.CHANGED_HISTORY: truth,
    Fault.OTHER_PROFILE: of_another,
    Fault.UNKNOWN_FIELDS: with_news,
    Fault.UNKNOWN_ACTION: lambda seen: one_more(seen)["action"] == "hologram_send",
    Fault.ODD_TYPES: with_an_odd_type,
    Fault.ODD_DATETIMES: with_an_odd_date,
    Fault.MISSING_FIELDS: incomplete,
    Fault.NO_ROW: with_something_else,
    Fault.HUGE_INTEGER: with_a_huge_integer,
    Fault.BIG_NUMBERS: with_a_big_number,
    Fault.POISON_TEXT: with_a_poisoned_row,
    Fault.THROTTLED: lambda seen: throttled(seen) and "Retry-After" not in seen.headers,
    Fault.THROTTLED_WITH_RETRY_AFTER: lambda seen: throttled(seen) and seen.headers["Retry-After"] == "3",
    Fault.RETRY_AFTER_DATE: an_odd_date,
    Fault.RETRY_AFTER_FRACTION: lambda seen: throttled(seen) and seen.headers["Retry-After"] == "3.5",
    Fault.RETRY_AFTER_BARE_DATE: a_bare_date,
    Fault.RETRY_AFTER_GARBAGE: garbage,
    Fault.RETRY_AFTER_HUGE: lambda seen: throttled(seen) and int(seen.headers["Retry-After"]) >= 3600,
    **{getattr(Fault, f"ERROR_{code}"): api_says(code) for code in (400, 401, 402, 403, 500)},
    **{
        getattr(Fault, f"ERROR_{status}"): page_of(status)
        for status in (404, 405, 408, 409, 413, 422, 425, 502, 503, 504)
    },
    **{getattr(Fault, f"PAGE_{status}"): a_page_of_nginx(status) for status in (401, 403, 407, 501, 511)},
    Fault.ERROR_503_WITH_RETRY_AFTER: lambda seen: page_of(503)(seen) and seen.headers["Retry-After"] == "3",
    Fault.GATEWAY_ERROR: lambda seen: seen.page and seen.status in range(520, 525),
    **{getattr(Fault, f"REDIRECT_{status}"): redirect(status) for status in (301, 302, 303, 307, 308)},
    Fault.HTML_PAGE: page_of(200),
    Fault.ODD_STATUS: an_odd_status,
    Fault.API_ERROR: lambda seen: (seen.status, seen.code) == (200, 500),
    Fault.ANY_API_ERROR: lambda seen: seen.status == 200 and seen.code != 0,
    Fault.ECHOED_TOKEN: echoed,
    Fault.ERROR_WITH_ROWS: says(error=500, error_text="Internal error"),
    Fault.ERROR_MISSING: lacks("error"),
    Fault.ERROR_NULL: says(error=None),
    Fault.ERROR_AS_TEXT: says(error="0"),
    Fault.ERROR_AS_FLOAT: lambda seen: says(error=0.0)(seen) and b'"error":0.0' in seen.body,
    Fault.ERROR_FALSE: lambda seen: says(error=False)(seen) and b'"error":false' in seen.body,
    Fault.DATA_MISSING: lacks("data"),
    Fault.DATA_NULL: says(data=None),
    Fault.DATA_OBJECT: lambda seen: says(data={"rows": good(seen.server)})(seen),
    Fault.DUPLICATE_KEYS: lambda seen: truth(seen) and seen.body.startswith(b'{"error":1,'),
    Fault.TOP_LEVEL_LIST: lambda seen: seen.json == good(seen.server),
    Fault.TOP_LEVEL_NULL: lambda seen: seen.whole and seen.body == b"null",
    Fault.DEEP_JSON: deep,
    Fault.BOM: lambda seen: seen.whole and seen.body == b"\xef\xbb\xbf" + bare(seen.server),
    Fault.BAD_UTF8: badly_coded,
    Fault.TRAILING_JUNK: junk,
    Fault.WRONG_CONTENT_TYPE: mislabelled,
    Fault.LONG_HEADER_LINE: lambda seen: len(seen.headers["X-Long"]) == 20_000 and truth(seen),
    Fault.MANY_HEADERS: lambda seen: len(seen.headers) >= 500 and truth(seen),
    Fault.TOKEN_IN_HEADER: in_a_header,
    Fault.TRUNCATED_GZIP: half_unpacked,
    Fault.GZIP_BOMB: a_bomb,
    Fault.CHAINED_GZIP: decoded_by({"gzip, gzip": lambda body: gzip.decompress(gzip.decompress(body))}),
    Fault.UNKNOWN_ENCODING: decoded_by({"bzip2": bz2.decompress, "xz": lzma.decompress}),
    Fault.EMPTY_GZIP_MEMBERS: lambda seen: len(seen.body) > 200_000 and unpacked(seen),
    Fault.SLOW_FIRST_BYTE: truth,
    Fault.STALE_CONNECTION: nothing("closed"),
    Fault.CLOSE_BEFORE_RESPONSE: nothing("closed"),
    Fault.RESET_BEFORE_RESPONSE: nothing("reset"),
    Fault.RESET_IN_BODY: lambda seen: cut(seen) and seen.end == "reset",
    Fault.TRUNCATED_BODY: lambda seen: cut(seen) and seen.end == "closed",
    Fault.CLOSE_DELIMITED_CUT: lambda seen: (
        "Content-Length" not in seen.headers
        and "Transfer-Encoding" not in seen.headers
        and bare(seen.server).startswith(seen.body)
        and 0 < len(seen.body) < len(bare(seen.server))
        and seen.end == "closed"
    ),
    Fault.CHUNKED_WITHOUT_END: without_end,
    Fault.CONTENT_LENGTH_TOO_LONG: lambda seen: cut(seen) and seen.body == bare(seen.server),
    Fault.CONTENT_LENGTH_TOO_SHORT: lambda seen: (
        seen.body == bare(seen.server) and 0 < int(seen.headers["Content-Length"]) < len(seen.body)
    ),
    Fault.DUPLICATE_CONTENT_LENGTH: two_lengths,
    Fault.LENGTH_AND_CHUNKED: chunked_twice,
    Fault.BAD_CHUNK_SIZE: with_a_bad_chunk,
    Fault.UNSOLICITED_RESPONSE: lambda seen: (
        seen.body.startswith(bare(seen.server) + b"HTTP/1.1 200 OK\r\n") and b'{"data":[],"error":0' in seen.body
    ),
    Fault.STALL: nothing("reset"),
    Fault.STALL_IN_BODY: lambda seen: cut(seen) and seen.end == "reset",
    Fault.HUGE_BODY: huge,
    Fault.SLOW_LORIS: truth,
    Fault.ENDLESS_CONTINUE: asked_to_go_on,
    Fault.SSH_BANNER: lambda seen: seen.raw[:5] in (b"SSH-2", b"220 m", b"J\x00\x00\x00\n") and seen.end == "closed",
    Fault.TLS_BYTES: lambda seen: seen.raw[:2] in (b"\x15\x03", b"\x16\x03") and seen.end == "closed",
}


class TestMembers:
    @pytest.mark.parametrize("fault", Fault)
    async def test_a_fault_does_on_the_wire_what_it_says(self, server, fault):
        """In each of its forms, the bytes that arrive are those of its description."""
        for form in [0] if fault in UNIFORM else FORMS:
            seen = await meet(server, fault, variant=form)
            assert CHECKS[fault](seen), (form, seen.end, seen.raw[:1000], seen.raw[-200:])
            assert server.log[-1].faults == (fault,) == (server.log[-1].fault,)
        assert set(server.injected) == {fault}

    @pytest.mark.parametrize("fault", Fault)
    async def test_the_same_seed_sends_the_same_bytes(self, server, fault):
        """Which form is taken and where a body is cut follow from the seed, the profile, the window and the attempt."""

        async def bytes_of(seed):
            raw = (await meet(server, fault, seed=seed)).raw
            return re.sub(rb"\r\nDate: [^\r]*", b"", raw)

        first, again = await bytes_of(3), await bytes_of(3)
        if fault is Fault.ENDLESS_CONTINUE:
            first, again = first[:200], again[:200]
        assert first == again

    @pytest.mark.parametrize(
        "fault",
        [
            Fault.RESET_IN_BODY,
            Fault.TRUNCATED_BODY,
            Fault.TRUNCATED_GZIP,
            Fault.BAD_UTF8,
            Fault.UNSORTED,
            Fault.RETRY_AFTER_GARBAGE,
            Fault.ODD_DATETIMES,
            Fault.ANY_API_ERROR,
        ],
    )
    async def test_other_seeds_and_attempts_take_other_forms(self, server, fault):
        """What is left to chance differs between seeds, and between the attempts of one seed."""
        seeds = {(await meet(server, fault, seed=seed)).body for seed in range(8)}
        headers = {str((await meet(server, fault, seed=seed)).headers.get("Retry-After")) for seed in range(8)}
        assert len(seeds | headers) > 4
        server.faults = attrs.evolve(FaultPlan.always(fault), **QUICK)
        attempts = {(seen := await exchange(server)).body + seen.head[-80:] for _ in range(8)}
        assert len(attempts) > 2

    def test_each_fault_is_described_and_belongs_to_a_stage(self):
        """The table of faults is complete and says no sentence twice."""
        described = [fault.description for fault in Fault]
        assert len(set(described)) == len(described)
        assert all(text.endswith(".") for text in described)
        assert {fault.stage for fault in Fault} == set(Stage)
        assert all(Fault(fault.value) is fault is Fault[fault.value.upper()] for fault in Fault)

    def test_the_transient_faults_are_some_of_all(self):
        """They are listed once each, in the order of the table."""
        assert [fault for fault in Fault if fault in Fault.transient()] == list(Fault.transient())
        assert Fault.STALL in Fault.transient()
        assert Fault.ERROR_401 not in Fault.transient()

    @pytest.mark.parametrize("fault", of(Stage.ROWS))
    async def test_a_profile_without_rows_and_an_open_window_are_met_as_well(self, server, fault):
        """Where there is nothing to spoil a row is made up, or the response stays as it is."""
        empty = next(number for number in range(30) if not server.histories.rows(number, "seed"))
        for form in FORMS:
            seen = await meet(server, fault, variant=form, number=empty, days=False)
            if fault not in (Fault.HUGE_INTEGER, Fault.BIG_NUMBERS):
                assert len(seen.rows) <= 1 or fault is Fault.OTHER_PROFILE
            assert seen.whole

    @pytest.mark.parametrize("fault", [Fault.UNSORTED, Fault.ERROR_NULL, Fault.ROWS_OUTSIDE])
    async def test_an_error_has_no_rows_to_spoil(self, server, fault):
        """A profile that nobody knows stays an error, or is answered as the fault says, with no rows."""
        server.behaviour = Behaviour(unknown_profile="error")
        seen = await meet(server, fault, number=99)
        assert seen.json["error"] == (None if fault is Fault.ERROR_NULL else 404)

    async def test_an_unknown_profile_gets_the_rows_of_a_known_one(self, server):
        """The mix-up of profiles strikes those that nobody knows as well."""
        assert (await meet(server, Fault.OTHER_PROFILE, number=99)).rows == good(server, 0)

    async def test_a_lone_profile_is_never_mixed_up(self):
        """Where there is no other profile, its own rows come."""
        async with HistoryServer(profiles=1, token=TOKEN) as alone:
            assert (await meet(alone, Fault.OTHER_PROFILE, number=0)).rows == good(alone, 0)

    async def test_a_history_grows_by_a_row_an_attempt(self, server):
        """The first attempt sees the history as it is, the third two rows more."""
        server.faults = FaultPlan.always(Fault.CHANGED_HISTORY)
        counts = [len((await exchange(server)).rows) for _ in range(3)]
        assert counts == [len(good(server)) + more for more in range(3)]

    async def test_an_attempt_in_another_order_differs_from_the_one_before(self, server):
        """Rows that are not sorted are not sorted the same way twice."""
        server.faults = FaultPlan.always(Fault.UNSORTED)
        first, second = (await exchange(server)).rows, (await exchange(server)).rows
        assert first != second
        assert sorted(map(str, first)) == sorted(map(str, second))

    async def test_only_a_used_connection_goes_stale(self, server):
        """On a new one the response is good, and nothing counts as injected."""
        seen = await meet(server)
        server.faults = FaultPlan.always(Fault.STALE_CONNECTION)
        assert truth(await exchange(server))
        assert truth(seen)
        assert not server.injected
        assert server.log[-1].faults == ()

    @pytest.mark.parametrize(("accept", "encodings"), [("gzip", {"gzip"}), ("gzip, br", {"gzip", "br"})])
    async def test_brotli_is_cut_as_well_for_those_who_accept_it(self, server, accept, encodings):
        """The seed chooses among what the client takes."""
        seen = [await meet(server, Fault.TRUNCATED_GZIP, seed=seed, accept=accept) for seed in range(12)]
        assert {one.headers["Content-Encoding"] for one in seen} == encodings
        assert all(map(half_unpacked, seen))

    async def test_without_brotli_gzip_is_cut(self, server, monkeypatch):
        """The package is not needed."""
        monkeypatch.setitem(sys.modules, "brotli", None)
        seen = await meet(server, Fault.TRUNCATED_GZIP, variant=1, accept="gzip, br")
        assert seen.headers["Content-Encoding"] == "gzip"
        assert half_unpacked(seen)

    async def test_the_default_bomb_is_a_gibibyte_in_a_megabyte(self, server):
        """What travels is small, and making it costs the server next to nothing."""
        seen = await meet(server, Fault.GZIP_BOMB, bomb=FaultPlan().bomb)
        assert seen.whole
        assert 500_000 < len(seen.body) < 2_000_000
        member = len(gzip.compress(b" " * 2**20, mtime=0))
        assert len(seen.body) // member == 1024

    async def test_a_redirect_points_where_the_plan_says(self, server):
        """A test can redirect to a server of its own, and see that nothing arrives there."""
        seen = await meet(server, Fault.REDIRECT_307, location="http://127.0.0.1:9/x")
        assert seen.headers["Location"] == "http://127.0.0.1:9/x"

    async def test_a_slow_body_comes_byte_by_byte(self, server):
        """A fast client sees the body grow, a single byte in each pause."""
        server.faults = FaultPlan(script=[Fault.SLOW_LORIS], drip=0.02)
        seen = await exchange(server, patience=PATIENCE)
        assert seen.end == "open"
        assert 1 <= len(seen.body) <= 10
        assert bare(server).startswith(seen.body)

    async def test_errors_said_with_200_stay_so(self, server):
        """The setting that reports all of the API's errors with HTTP 200 counts for faults too."""
        server.behaviour = Behaviour(errors="200")
        seen = await meet(server, Fault.ERROR_401)
        assert (seen.status, seen.code) == (200, 401)

    async def test_a_head_request_and_an_old_client_are_answered_properly(self, server):
        """No body where none may be, and the connection is kept where that was asked for."""
        head = await exchange(server, method="HEAD")
        assert (head.status, head.body, head.end) == (405, b"", "closed")
        kept = await exchange(server, keep=True, patience=PATIENCE)
        assert (kept.end, kept.headers["Connection"]) == ("open", "keep-alive")


async def test_the_client_of_aiohttp_meets_the_same(server):
    """A whole session sees what a raw socket sees."""
    server.faults = FaultPlan(script=[Fault.TRUNCATED_BODY, (Fault.THROTTLED, Fault.BOM)])
    body = {"token": TOKEN, "list_id": 20, "email": "user1@example.com"}
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientPayloadError):
            await (await session.post(server.url + PATH, json=body)).read()
        async with session.post(server.url + PATH, json=body) as response:
            assert response.status == 429
            assert (await response.read()).startswith(b"\xef\xbb\xbf")
        async with session.post(server.url + PATH, json=body) as response:
            assert (await response.json())["error"] == 0
