"""The embedded server speaks the documented API over synthetic histories, and logs what it is asked."""

import asyncio
import contextlib
import datetime as dt
import gzip
import itertools
import socket
import statistics
import threading
from collections import Counter
from email.utils import parsedate_to_datetime
from importlib.metadata import entry_points

import aiohttp
import pytest
from support.history_servers import DELAY, DELAY_SEEN, TOKEN, ask, page, server  # noqa: F401 (fixtures)

from profile_history import Profile
from profile_history.matching import Matching
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer, LoggedRequest, Unfolding
from profile_history.testing.histories import to_events

HISTORIES = HistoryServer(profiles=300).histories
MIDNIGHT, LAST_SECOND = dt.time(), dt.time(23, 59, 59)


async def until(condition):
    """Wait for a condition, five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def labelled(time):
    """The first profile with a row at that time of the day, and the row."""
    rows = ((number, row) for number in range(HISTORIES.profiles) for row in HISTORIES.rows(number, "seed"))
    return next((number, row) for number, row in rows if row.label.time() == time)


class TestApi:
    async def test_a_good_request_is_answered_with_the_documented_envelope(self, server):
        """Success is HTTP 200 with JSON of `data`, `error` 0 and the vendor's sentence."""
        reply = await ask(server)
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.json == {"data": reply.rows, "error": 0, "error_text": "Successful operation"}
        assert Counter(map(str, reply.rows)) == Counter(str(row.fields) for row in HISTORIES.rows(1, "seed"))

    async def test_a_seed_row_has_the_documented_keys(self, server):
        """A row that is a message has the eight keys of the seed page, one that is none lacks the two of a message."""
        whole = {"action", "count", "datetime", "email", "list_id", "message_id", "xxh", "campaign_id"}
        assert {frozenset(row) for row in (await ask(server)).rows} == {
            frozenset(whole),
            frozenset(whole - {"message_id", "campaign_id"}),
        }

    @pytest.mark.parametrize(
        "credentials",
        [{}, {"token": None, "headers": {"Authorization": f"Bearer {TOKEN}"}}],
        ids=["body", "header"],
    )
    async def test_the_token_may_be_in_the_body_or_in_the_header(self, server, credentials):
        """Both documented places for the token let a request in."""
        assert (await ask(server, **credentials)).rows

    @pytest.mark.parametrize("errors", ["status", "200"])
    @pytest.mark.parametrize(
        ("code", "change"),
        [
            (401, {"token": None}),
            (403, {"token": "wrong"}),
            (403, {"token": None, "headers": {"Authorization": "Bearer wrong"}}),
            (403, {"token": None, "headers": {"Authorization": TOKEN}}),
            (403, {"list_id": 21}),
            (403, {"list_id": None}),
            (400, {"format": "xml"}),
            (400, {"content": ""}),
            (400, {"content": "{"}),
            (400, {"content": "[]"}),
            (400, {"content": b"\xff"}),
            (400, {"date_from": "2024-13-01"}),
            (400, {"date_from": "01.02.2024"}),
            (400, {"date_to": 20240101}),
            (400, {"date_from": "2024-02-01", "date_to": "2024-01-31"}),
            (400, {"matching": "name"}),
            (400, {"matching": ["email"]}),
            (400, {"email": None}),
            (400, {"matching": "phone"}),
            (400, {"matching": "push_sub", "provider": "android-firebase"}),
            (400, {"matching": "custom", "field_value": 1}),
            (400, {"matching": "email_phone", "email": None}),
            (400, {"matching": None, "xxh": "not hexadecimal!"}),
        ],
        ids=str,
    )
    async def test_what_is_wrong_is_reported_as_the_api_does(self, server, errors, code, change):
        """An error is in the envelope, without `data`; by setting its number is the HTTP status too, or that is 200."""
        server.behaviour = Behaviour(errors=errors)
        reply = await ask(server, **change)
        assert reply.status == (code if errors == "status" else 200)
        assert reply.json["error"] == code
        assert reply.json["error_text"]
        assert "data" not in reply.json

    async def test_another_path_is_a_page_and_another_method_is_refused(self, server):
        """A wrong path is answered by the web server with HTML, a GET with 405."""
        lost, got = await ask(server, path="/api/v1.1/subscribers/history"), await ask(server, method="GET")
        assert (lost.status, lost.headers["Content-Type"], lost.body[:6]) == (404, "text/html", b"<html>")
        assert (got.status, got.json["error"]) == (405, 405)

    @pytest.mark.parametrize("matching", Matching)
    async def test_every_matching_mode_finds_the_same_profile(self, server, matching):
        """Whichever way a profile is named, its rows are the same."""
        named = {"email": None, "matching": None, **server.profile(17, matching).body()}
        assert (await ask(server, **named)).rows == (await ask(server, email="user17@example.com")).rows != []

    @pytest.mark.parametrize("matching", Matching)
    async def test_a_profile_beyond_the_last_is_unknown_in_every_mode(self, server, matching):
        """Nobody is found behind the last number, and that is no error by default."""
        assert (
            await ask(server, **{"email": None, "matching": None, **server.profile(300, matching).body()})
        ).rows == []

    @pytest.mark.parametrize("matching", ["email_phone", "email_phone_sub"])
    @pytest.mark.parametrize(
        ("email", "phone", "found"),
        [
            ("user1@example.com", None, True),
            (None, "+7900000000001", True),
            ("user1@example.com", "+7900000000001", True),
            ("user1@example.com", "+7900000000002", False),
        ],
    )
    async def test_an_email_or_a_phone_is_enough_and_both_must_agree(self, server, matching, email, phone, found):
        """One of the two names the profile; two that name different ones name nobody."""
        rows = (await ask(server, matching=matching, email=email, phone=phone)).rows
        assert rows == ((await ask(server)).rows if found else [])

    @pytest.mark.parametrize(
        "body",
        [
            {"email": "nobody@example.com"},
            {"email": "user1@elsewhere.org"},
            {"matching": "phone", "phone": "+7900"},
            {"matching": "profile_id", "profile_id": "0" * 24},
            {"matching": "custom", "field_name": "SHOE_SIZE", "field_value": 1},
            {"matching": "push_sub", "provider": "Firefox", "subscription_id": "sub-1"},
        ],
        ids=str,
    )
    async def test_an_unknown_profile_is_empty_or_an_error(self, server, body):
        """What the real server does with a profile nobody knows is a setting."""
        empty = await ask(server, **body)
        server.behaviour = Behaviour(unknown_profile="error")
        refused = await ask(server, **body)
        assert (empty.rows, refused.status, refused.json["error"]) == ([], 404, 404)

    async def test_a_million_profiles_cost_nothing_until_asked(self):
        """The last of a million is answered at once."""
        async with HistoryServer(profiles=1_000_000) as server:
            assert (await ask(server, email="user999999@example.com")).rows


class TestBehaviour:
    @pytest.mark.parametrize(("date_to", "until_next_day"), [("inclusive", 0), ("exclusive", 1)])
    async def test_the_last_day_belongs_to_the_answer_or_does_not(self, server, date_to, until_next_day):
        """An exclusive `date_to` has to be the day after the last one wanted."""
        number, row = labelled(LAST_SECOND)
        day = row.label.date()
        server.behaviour = Behaviour(date_to=date_to)
        bounds = {"email": f"user{number}@example.com", "date_from": str(day)}
        same_day = (await ask(server, **bounds, date_to=str(day))).rows
        next_day = (await ask(server, **bounds, date_to=str(day + dt.timedelta(days=until_next_day)))).rows
        assert bool(same_day) is (date_to == "inclusive")
        assert next_day == [r.fields for r in HISTORIES.rows(number, "seed")[::-1] if r.label.date() == day]

    @pytest.mark.parametrize(
        ("offset", "time", "days"),
        [(3, LAST_SECOND, 1), (0.5, LAST_SECOND, 1), (-3, MIDNIGHT, -1), (3, MIDNIGHT, 0), (-3, LAST_SECOND, 0)],
    )
    async def test_an_offset_moves_rows_to_the_neighbouring_day(self, server, offset, time, days):
        """A clock that is ahead counts a late row to the next day, one behind an early row to the day before."""
        number, row = labelled(time)
        server.behaviour = Behaviour(offset=offset)

        async def on(day):
            asked = {"date_from": str(day), "date_to": str(day)}
            return (await ask(server, email=f"user{number}@example.com", **asked)).rows

        own = row.label.date()
        assert row.fields in await on(own + dt.timedelta(days=days))
        assert (row.fields in await on(own)) is (days == 0)

    async def test_rows_come_in_the_order_of_the_setting(self, server):
        """Newest first, oldest first, or in an order that is neither, and the same rows each time."""
        answers = {}
        for order in ("newest", "oldest", "unsorted"):
            server.behaviour = Behaviour(order=order)
            answers[order] = (await ask(server, email="user17@example.com")).rows
        labels = {order: [row["datetime"] for row in rows] for order, rows in answers.items()}
        assert labels["newest"] == sorted(labels["newest"], reverse=True)
        assert labels["oldest"] == sorted(labels["oldest"]) != labels["newest"]
        assert labels["unsorted"] not in (labels["newest"], labels["oldest"])
        assert (await ask(server, email="user17@example.com")).rows == answers["unsorted"]
        assert len({tuple(sorted(map(str, rows))) for rows in answers.values()}) == 1

    async def test_newer_rows_are_seed_rows_and_more(self, server):
        """A newer install says the same with milliseconds, ids, names and subscriptions, several times as long."""
        seed = await ask(server)
        server.behaviour = Behaviour(rows="newer")
        newer = await ask(server)
        more = {"profile_id", "event_id", "channel", "subscriptions"}
        message = more | {"smid", "campaign_name", "message_name", "subscription"}
        for old, new in zip(seed.rows, newer.rows, strict=True):
            assert {**new, "datetime": f"{new['datetime'][:19]}Z"} == {**new, **old}
            assert new["datetime"][19] == "."
            assert set(new) - set(old) == (message if "message_id" in old else more)
        assert len({row["event_id"] for row in newer.rows}) == len(newer.rows)
        assert len(newer.body) > 3 * len(seed.body)

    async def test_a_row_cap_cuts_the_end_of_an_answer(self, server):
        """The rows beyond the cap are silently not there."""
        whole = (await ask(server)).rows
        server.behaviour = Behaviour(row_cap=5)
        assert (await ask(server)).rows == whole[:5] != whole

    async def test_the_date_is_that_of_the_servers_own_clock(self, server):
        """Or no response has one, as behind some gateways."""
        assert abs((parsedate_to_datetime((await ask(server)).headers["Date"]) - dt.datetime.now(dt.UTC)).days) <= 1
        zone = dt.timezone(dt.timedelta(hours=3))
        server.behaviour = Behaviour(clock=lambda: dt.datetime(1994, 11, 6, 11, 49, 37, tzinfo=zone))
        assert (await ask(server)).headers["Date"] == "Sun, 06 Nov 1994 08:49:37 GMT"
        server.behaviour = Behaviour(date_header=False)
        assert "Date" not in (await ask(server)).headers

    async def test_histories_unfold_with_the_servers_clock(self, server):
        """What lies ahead is not known yet, some rows come late, and some are deleted; the truth goes along."""
        whole, profile = (await ask(server)).rows, Profile.email("user1@example.com")
        first, last = whole[-1]["datetime"], whole[0]["datetime"]
        seen, gone = [], 0
        for days in range(-1, 800):
            moment = dt.datetime.fromisoformat(first) + dt.timedelta(days=days)
            server.behaviour = Behaviour(clock=lambda now=moment: now, unfolding=Unfolding(late=0.5, deleted=0.3))
            found = server.truth(profile)
            if days % 50 == 0:
                assert len((await ask(server)).rows) == len(found)
            assert all(event.datetime <= moment for event in found)
            known = Counter(map(str, found))
            gone += (seen[-1] - known).total() if seen else 0
            seen.append(known)
        assert seen[0].total() == 0
        assert moment > dt.datetime.fromisoformat(last) + dt.timedelta(days=2)
        everything = Counter(str(event) for event in to_events(server.histories.rows(1, "seed")))
        assert seen[-1] < everything
        assert 0 < gone < everything.total()
        prompt = Unfolding(late=0.0, deleted=0.0)
        server.behaviour = Behaviour(clock=lambda: moment, unfolding=prompt)
        assert (await ask(server)).rows == whole

    async def test_answers_are_compressed_for_those_who_accept_it(self, server):
        """With gzip on, Content-Encoding says so; a client that did not ask for it gets plain bytes."""
        plain = await ask(server)
        server.behaviour = Behaviour(gzip=True)
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            packed = await ask(server, session=session)
        refused = await ask(server, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body == refused.body
        assert "Content-Encoding" not in refused.headers

    async def test_latency_is_the_least_an_answer_takes(self, server):
        """Each response is held back for the set time."""
        server.behaviour = Behaviour(latency=DELAY)
        began = asyncio.get_running_loop().time()
        await ask(server)
        assert asyncio.get_running_loop().time() - began >= DELAY_SEEN

    async def test_more_requests_than_the_capacity_are_throttled(self, server):
        """With room for one, the second is answered 429 until the first has gone."""
        server.behaviour, server.faults = Behaviour(capacity=1), FaultPlan.always(Fault.STALL, profiles=[2])
        first = asyncio.create_task(ask(server, email="user2@example.com"))
        await until(lambda: server.injected[Fault.STALL])
        second = await ask(server)
        first.cancel()
        await asyncio.wait([first])
        async with asyncio.timeout(5):
            while (third := await ask(server)).status == 429:
                pass
        assert (second.status, second.json["error"]) == (429, 429)
        assert third.rows


class TestHistories:
    def test_a_history_is_a_pure_function_of_seed_and_number(self):
        """Two servers agree whatever was asked before; another seed makes another history."""
        one, same, other = (HistoryServer(profiles=40, seed=seed).histories for seed in (3, 3, 4))
        backwards = [same.rows(number, "newer") for number in reversed(range(40))][::-1]
        assert [one.rows(number, "newer") for number in range(40)] == backwards
        assert [one.rows(number, "newer") for number in range(40)] != [
            other.rows(number, "newer") for number in range(40)
        ]

    def test_the_histories_hold_what_is_hard_about_real_ones(self):
        """Equal rows, crowded seconds, both sides of midnight, rows that are no messages, and all sizes of profiles."""
        histories = [HISTORIES.rows(number, "seed") for number in range(300)]
        rows = list(itertools.chain.from_iterable(histories))
        times = Counter(row.label.time() for row in rows)
        sizes = sorted(map(len, histories))
        assert any(max(Counter(row.json for row in history).values(), default=0) > 1 for history in histories)
        assert any(
            one.label == two.label and one.json != two.json
            for history in histories
            for one, two in itertools.pairwise(history)
        )
        assert times[MIDNIGHT] > 10
        assert times[LAST_SECOND] > 10
        assert 0 < sum("message_id" not in row.fields for row in rows) < len(rows) / 2
        assert sizes[0] == 0
        assert sizes[-1] >= 20 * statistics.median(sizes)

    def test_every_row_lies_in_the_days_of_the_server(self):
        """A journey that would run past the last day ends with it."""
        server = HistoryServer(profiles=300, first_day=dt.date(2024, 2, 28), last_day=dt.date(2024, 3, 1))
        days = {row.label.date() for number in range(300) for row in server.histories.rows(number, "seed")}
        assert days == {dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(2024, 3, 1)}

    @pytest.mark.parametrize(
        "behaviour",
        [
            Behaviour(),
            Behaviour(rows="newer"),
            Behaviour(date_to="exclusive"),
            Behaviour(offset=11),
            Behaviour(offset=-11, date_to="exclusive"),
            Behaviour(gzip=True),
        ],
        ids=["plain", "newer", "exclusive", "ahead", "behind-exclusive", "gzip"],
    )
    @pytest.mark.parametrize(
        "days",
        [(), ("2023-05-01", "2024-04-30"), (dt.date(2024, 2, 29), "2024-02-29"), ("2024-06-01", None)],
        ids=str,
    )
    async def test_the_truth_is_what_a_client_fetches(self, server, behaviour, days):
        """For whole histories, ranges, single days and open ends, whatever the server makes of the bounds."""
        server.behaviour = behaviour
        profiles = server.profiles("email")[:60]
        received = {profile: [] for profile in profiles}
        async with server.client() as client, client.histories(profiles, *days) as stream:
            async for profile, event in stream:
                received[profile].append(event)
        assert received == {profile: server.truth(profile, *days) for profile in profiles}

    def test_the_truth_about_a_profile_nobody_knows_is_nothing(self):
        """An unknown profile has no events."""
        assert HistoryServer().truth(Profile.email("nobody@example.com")) == []

    def test_the_profiles_are_listed_in_any_matching_mode(self):
        """There are as many as asked for, in the order of their numbers."""
        listed = HistoryServer(profiles=3).profiles("email_sub")
        assert listed == [Profile.email_sub(f"user{number}@example.com") for number in range(3)]


class TestLog:
    async def test_a_request_is_logged_as_the_server_saw_it(self, server):
        """Who was asked for, when, with which id, by whom, how authorised, and with what outcome."""
        days = {"date_from": "2024-01-01", "date_to": "2024-06-30"}
        rows = (await ask(server, **days, headers={"X-Request-ID": "r-1", "User-Agent": "tests"})).rows
        seen = LoggedRequest(1, "email", *days.values(), "r-1", "tests", "body", None, 200, len(rows))
        assert list(server.log) == [seen]

    async def test_the_request_id_and_agent_of_a_client_arrive(self, server):
        """The product's client names itself and each request."""
        async with server.client() as client:
            await client.history(server.profile(1)).collect()
        (entry,) = server.log
        assert (entry.profile, entry.matching, entry.auth, entry.status) == (1, "xxh", "body", 200)
        assert len(entry.request_id) == 32
        assert entry.user_agent.startswith("profile-history/")

    async def test_refusals_and_faults_are_logged_with_their_outcome(self, server):
        """A refusal has its status, an unknown profile no number, and a cut connection no status."""
        server.faults = FaultPlan.always(Fault.RESET_BEFORE_RESPONSE, profiles=[2])
        await ask(server, token=None)
        await ask(server, email="nobody@example.com")
        with pytest.raises(aiohttp.ClientError):
            await ask(server, email="user2@example.com")
        outcome = [(entry.profile, entry.auth, entry.fault, entry.status) for entry in server.log]
        assert outcome == [
            (None, "none", None, 401),
            (None, "body", None, 200),
            (2, "body", Fault.RESET_BEFORE_RESPONSE, None),
        ]

    async def test_the_mode_that_a_request_leaves_out_is_logged_as_the_one_it_means(self, server):
        """A body with neither `matching` nor `xxh` is searched by email, and the log says so."""
        assert (await ask(server, matching=None)).rows
        assert server.log[-1].matching == "email"

    async def test_the_token_is_never_in_the_log(self, server):
        """Wherever the token was, right or wrong, the log holds the place and not the value."""
        await ask(server)
        await ask(server, token=None, headers={"Authorization": f"Bearer {TOKEN}"})
        await ask(server, token=f"{TOKEN}-wrong")
        assert [entry.auth for entry in server.log] == ["body", "header", "body"]
        assert TOKEN not in repr(server.log)
        assert TOKEN not in repr(server)


def mine(history_server):
    """What a synchronous program gets when it runs the client by itself."""

    async def fetch():
        async with history_server.client() as client:
            return await client.history(history_server.profile(1)).collect()

    return asyncio.run(fetch())


class TestLife:
    def test_the_fixture_serves_a_synchronous_test(self, history_server):
        """A plain test needs nothing but the fixture's name; the server is new and runs in a thread."""
        assert not history_server.log
        assert mine(history_server) == history_server.truth(history_server.profile(1)) != []
        assert len(history_server.log) == 1

    def test_the_fixture_is_installed_with_the_package(self):
        """Pytest finds the plugin by its entry point."""
        assert entry_points(group="pytest11")["profile_history"].value == "profile_history.testing.plugin"

    def test_a_plain_with_runs_it_in_a_thread_that_ends_with_the_block(self):
        """After the block the address is silent and the thread has gone."""
        before = set(threading.enumerate())
        with HistoryServer() as server:
            assert [thread.name for thread in set(threading.enumerate()) - before] == ["history-server"]
            assert mine(server)
        assert set(threading.enumerate()) == before
        with pytest.raises(aiohttp.ClientConnectorError):
            asyncio.run(ask(server))

    async def test_an_async_with_runs_it_on_the_loop_and_again_at_the_same_address(self):
        """A server that was stopped, even twice, can be started again."""
        server, threads = HistoryServer(), threading.active_count()
        async with server:
            url, rows = server.url, (await ask(server)).rows
            assert threading.active_count() == threads
        await server.stop()
        async with server:
            assert (server.url, (await ask(server)).rows) == (url, rows)

    @pytest.mark.parametrize("threaded", [False, True])
    async def test_it_stops_at_once_with_a_stalled_request_under_way(self, threaded):
        """The stalled client sees its connection end; the server does not stall for the minute that it would have."""
        server = HistoryServer(faults=FaultPlan.always(Fault.STALL))
        await asyncio.to_thread(server.__enter__) if threaded else await server.__aenter__()
        stalled = asyncio.create_task(ask(server))
        await until(lambda: server.injected[Fault.STALL])
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(server.__exit__) if threaded else await server.__aexit__()
        assert asyncio.get_running_loop().time() - began < 5
        with pytest.raises(aiohttp.ClientError):
            await stalled

    @pytest.mark.parametrize("end", ["stop", "pause"])
    async def test_connections_that_are_accepted_as_it_ends_are_ended(self, end):
        """Whichever turn of the event loop a client comes in, it sees its connection closed, and not left open."""
        for turns in range(8):
            async with HistoryServer() as server:
                clients = [socket.socket() for _ in range(3)]
                for client in clients:
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", int(server.url.rpartition(":")[2])))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await getattr(server, end)()
                for client in clients:
                    client.settimeout(1)
                    with client, contextlib.suppress(ConnectionError):
                        assert client.recv(1) == b""

    def test_a_port_in_use_is_an_error_that_leaves_no_thread(self):
        """A server that cannot listen says so, and what it began is undone."""
        with HistoryServer() as first:
            before = set(threading.enumerate())
            port = int(first.url.rpartition(":")[2])
            with pytest.raises(OSError, match="in use"):
                HistoryServer(port=port).__enter__()
            assert set(threading.enumerate()) == before
