"""Rows as lines: a block per window, a line per row, whatever the server's layout, and no value changed."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.change_responses import change_responses
from support.odd_members import MEMBERS, spelled

from profile_history import HistoryClient, Limits, Profile, RetryPolicy, TruncatedResponse, UsageError
from profile_history._decoding.ndjson_lines import encode_lines
from profile_history.cli import main
from profile_history.jobs import HistoryJob
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

FIRST, LAST = "2023-01-01", "2024-12-31"
LAYOUTS = {
    "compact": lambda body: body,
    "indented": lambda body: json.dumps(json.loads(body), indent=4, ensure_ascii=False).encode(),
    "tabs and CRLF": lambda body: json.dumps(json.loads(body), indent="\t").encode().replace(b"\n", b"\r\n"),
}


@pytest.fixture
async def server():
    async with HistoryServer(profiles=30) as server:
        yield server


@pytest.fixture(params=LAYOUTS)
def layout(request, monkeypatch):
    """Lay out the JSON of every server in each way in turn."""
    change_responses(monkeypatch, LAYOUTS[request.param])


def rows_in(blocks):
    """Return the rows of each profile, read line by line."""
    found = {}
    for block in blocks:
        assert type(block) is bytes
        assert block.endswith(b"\n")
        for line in block[:-1].split(b"\n"):
            assert b"\r" not in line
            one = json.loads(line)
            assert list(one) == ["profile", "event"]
            found.setdefault(one["profile"], []).append(one["event"])
    return found


@pytest.mark.parametrize("shape", ["seed", "newer"])
@pytest.mark.parametrize("window", ["auto", 61])
async def test_a_block_holds_the_rows_of_one_window_in_order(server, layout, shape, window):
    """A line each, as `raw` has them; a window without rows has no block."""
    server.behaviour = Behaviour(rows=shape)
    async with server.client(window=window) as client:
        for profile in server.profiles()[:8]:
            rows = [json.loads(row) async for row in client.history(profile, FIRST, LAST).raw()]
            async with client.history(profile, FIRST, LAST).ndjson() as stream:
                blocks = [block async for block in stream]
            assert rows_in(blocks) == ({str(profile): rows} if rows else {})
            assert (len(blocks), stream.stats.events) == (stream.stats.windows_ok, len(rows))
            days = [
                {line["event"]["datetime"][:10] for line in map(json.loads, block.splitlines())} for block in blocks
            ]
            assert len(set().union(*days)) == sum(map(len, days))


async def test_blocks_of_many_profiles_are_whole_under_faults(server, layout):
    """Written one after another they are a file of lines."""
    faults = (Fault.ERROR_500, Fault.RESET_BEFORE_RESPONSE, Fault.TRUNCATED_BODY)
    server.faults = FaultPlan(seed=1, rates=dict.fromkeys(faults, 0.1))
    async with server.client(retry=RetryPolicy(base=0.01, cap=0.05)) as client:
        found = rows_in([b"".join(await client.histories(server.profiles(), FIRST, LAST).ndjson().collect())])
    assert server.injected.total() > 5
    counts = {str(profile): len(events) for profile in server.profiles() if (events := server.truth(profile))}
    assert {profile: len(rows) for profile, rows in found.items()} == counts


ROWS = {
    b'{\n "action": "open",\r\n\t"datetime": "2024-06-01T10:00:00Z", "n": 1e400, "m": [%d,\n-0.0]}' % (2**64 - 1): None,
    b'{"action":"open","datetime":"2024-05-31T10:00:00Z","a":1.50,\n"a":1.50,"text":"\\n \xe2\x80\xa8 \\ud83d"}': None,
    b'{"action":"open","datetime":"2024-05-30T10:00:00Z","text":"a\n\tb","n":NaN}': (b"a\n\tb", b"a\\u000a\\u0009b"),
}


async def test_no_value_is_changed(server, monkeypatch):
    """Neither a number nor a key that is there twice; a control character in a text is escaped."""
    change_responses(monkeypatch, lambda _: b'{"data":[%b],"error":0,"error_text":""}' % b",\n".join(ROWS))
    profile = Profile.custom("CRM_ID", 'quote " and é')
    async with server.client() as client:
        [block] = await client.history(profile, FIRST, LAST).ndjson().collect()
        assert await client.history(profile, FIRST, LAST).raw().collect() == list(ROWS)
    opening = '{"profile":"custom:CRM_ID=quote \\" and é","event":'.encode()
    for line, (row, fitted) in zip(block.splitlines(keepends=True), ROWS.items(), strict=True):
        on_one_line = row.replace(*fitted) if fitted else row.replace(b"\n", b" ").replace(b"\r", b" ")
        assert line == opening + on_one_line + b"}\n"


@given(rows=st.lists(st.builds(spelled, MEMBERS, st.sampled_from(["", "\n\t ", "\r\n"])), max_size=4))
def test_a_line_says_what_its_row_says(rows):
    """Whatever is in it."""
    lines = encode_lines("email:a@example.com", rows).split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        pairs = [
            json.loads(text, strict=False, parse_int=str, parse_float=str, object_pairs_hook=list)
            for text in (line, row)
        ]
        assert pairs[0] == [("profile", "email:a@example.com"), ("event", pairs[1])]


async def test_a_window_that_fails_is_listed_or_raised(server):
    """As with `raw`: the others come either way, as far as they were complete."""
    rows = max(len(server.truth(profile)) for profile in server.profiles())
    async with server.client(window=None, limits=Limits(row_cap=rows)) as client:
        stream = client.histories(server.profiles(), on_error="collect").ndjson()
        found = rows_in(await stream.collect())
        assert {str(failure.profile) for failure in stream.failures}.isdisjoint(found)
        assert stream.failures
        assert all(isinstance(failure.error, TruncatedResponse) for failure in stream.failures)
        assert sum(map(len, found.values())) == stream.stats.events
        with pytest.raises(TruncatedResponse):
            await client.histories(server.profiles()).ndjson().collect()


async def test_a_break_leaves_no_task_and_a_stream_is_read_in_one_way(server):
    """And every view leads to any other."""
    profile = server.profile(1)
    async with server.client(window=31) as client:
        async with client.histories(server.profiles(), FIRST, LAST).ndjson() as stream:
            async for _ in stream:
                break
        assert not [task for task in asyncio.all_tasks() if "running" in task.get_coro().cr_code.co_filename]
        stream = client.history(profile, FIRST, LAST)
        blocks = await stream.windows().ndjson().collect()
        with pytest.raises(UsageError):
            await stream.collect()
        assert len(await client.history(profile, FIRST, LAST).ndjson().raw().collect()) == sum(
            block.count(b"\n") for block in blocks
        )


async def test_a_job_and_a_fetch_write_a_line_per_row_too(layout, tmp_path, capsys, monkeypatch):
    """Whatever the server's layout."""
    with HistoryServer(profiles=6) as server:
        async with HistoryClient(server.url, token=server.token, list_id=server.list_id) as client:
            path = str(tmp_path / "history.ndjson")
            job = HistoryJob(client, server.profiles(), path, ledger=tmp_path / "l", date_from=FIRST, date_to=LAST)
            async for _ in job.run():
                pass
            blocks = await client.histories(server.profiles(), FIRST, LAST).ndjson().collect()
        written = (tmp_path / "history.ndjson").read_bytes()
        assert sorted(written.splitlines()) == sorted(b"".join(blocks).splitlines())
        for name, value in (("URL", server.url), ("TOKEN", server.token), ("LIST_ID", str(server.list_id))):
            monkeypatch.setenv(f"PROFILE_HISTORY_{name}", value)
        values = [profile.fields[0][1] for profile in server.profiles()]
        words = ["fetch", "--matching", "xxh", "--from", FIRST, "--to", LAST, "--format", "ndjson", *values]
        assert await asyncio.to_thread(main, words) == 0
        assert len(rows_in([capsys.readouterr().out.encode()])) == len(rows_in([written]))


async def test_a_long_window_does_not_hold_the_loop(server, monkeypatch):
    """Its block grows chunk by chunk, and the loop turns in between."""
    row = b'{\n  "action": "open",\n  "datetime": "2024-05-31T10:00:00Z",\n  "text": "%b"\n}' % (b"x" * 400)
    change_responses(monkeypatch, lambda _: b'{"data":[%b],"error":0,"error_text":""}' % b",\n".join([row] * 20_000))
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with server.client() as client:
        stream = client.history(server.profile(1), FIRST, LAST).ndjson()
        async with stream:
            counting = asyncio.create_task(count())
            block = await anext(stream)
            counting.cancel()
    assert block.count(b"\n") == 20_000
    assert turns > 100
