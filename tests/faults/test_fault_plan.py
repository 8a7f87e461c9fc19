"""Several faults at one attempt, plans that are combined, outages, and what is left of connections."""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.fault_exchanges import TOKEN, Tap, cut, exchange, meet, nothing, of, port_of, says, server, truth, until  # noqa: F401 (fixtures)
from support.history_servers import DELAY, DELAY_SEEN

from profile_history import Window
from profile_history._protocol.requests import PATH
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer, listener
from profile_history.testing.api import ApiResponse
from profile_history.testing.attempt import Attempt
from profile_history.testing.delivery import deliver, reset_connection
from profile_history.testing.faults import Stage, sort_by_stage


class TestTogether:
    async def test_faults_of_several_stages_meet_one_attempt(self, server):
        """Each spoils its own part of the response."""
        began = asyncio.get_running_loop().time()
        faults = (Fault.SLOW_FIRST_BYTE, Fault.HTML_PAGE, Fault.LONG_HEADER_LINE, Fault.TRUNCATED_BODY)
        seen = await meet(server, *faults, slow=DELAY)
        assert asyncio.get_running_loop().time() - began >= DELAY_SEEN
        assert (seen.status, seen.headers["Content-Type"], len(seen.headers["X-Long"])) == (200, "text/html", 20_000)
        assert 0 < len(seen.body) < int(seen.headers["Content-Length"])
        [entry] = server.log
        stages = [Fault.HTML_PAGE, Fault.LONG_HEADER_LINE, Fault.SLOW_FIRST_BYTE, Fault.TRUNCATED_BODY]
        assert entry.faults == tuple(stages)
        assert entry.fault is Fault.HTML_PAGE
        assert server.injected == Counter(stages)

    async def test_an_error_comes_byte_by_byte(self, server):
        """What is said and how it is delivered are independent."""
        seen = await meet(server, Fault.SLOW_LORIS, Fault.API_ERROR, api_error=440)
        assert (seen.status, seen.code) == (200, 440)

    @pytest.mark.parametrize("rows", of(Stage.ROWS))
    async def test_one_fault_of_every_stage(self, server, rows):
        """All that comes before the delivery can be spoiled at once, and nothing breaks in the server."""
        others = (Stage.RESPONSE, Stage.TEXT, Stage.HEADERS, Stage.ENCODING, Stage.DELAY)
        for place in range(len(of(Stage.RESPONSE))):
            faults = (rows, *(of(stage)[place % len(of(stage))] for stage in others))
            seen = await meet(server, *faults, slow=0.0, bomb=2**20)
            assert seen.status is not None
            assert server.log[-1].faults == faults

    @pytest.mark.parametrize("delivery", of(Stage.DELIVERY))
    @pytest.mark.parametrize("answer", [Fault.ODD_STATUS, Fault.TOP_LEVEL_NULL, Fault.REDIRECT_308])
    async def test_any_answer_can_be_delivered_in_any_way(self, server, answer, delivery):
        """Also one with a body of four bytes, or without any."""
        for form in range(5):
            await meet(server, answer, delivery, variant=form, bomb=2**16)
            assert server.log[-1].faults == (answer, delivery)

    @pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.DELAY])
    def test_two_of_one_stage_contradict_each_other(self, stage):
        """The plan says so when it is built, and names both."""
        pair = of(stage)[:2]
        message = f"{pair[0]} and {pair[1]} contradict each other: both spoil the {stage.value}"
        for build in (
            lambda: FaultPlan(script=[None, pair]),
            lambda: FaultPlan(rates={tuple(pair): 0.5}),
            lambda: FaultPlan.always(*pair),
        ):
            with pytest.raises(ValueError, match=message):
                build()

    @pytest.mark.parametrize("kind", [tuple, list, set, frozenset])
    def test_several_are_written_as_a_tuple_or_set_and_read_in_the_order_of_stages(self, kind):
        """One alone in a tuple is that one, and none at all is None."""
        both = (Fault.STALL, Fault.THROTTLED)
        plan = FaultPlan(script=[kind(both), kind(both[:1]), kind(())])
        assert [plan.draw(1, "..", attempt) for attempt in range(3)] == [both[::-1], Fault.STALL, None]

    def test_faults_drawn_by_rate_may_be_several(self):
        """A key of the rates is a fault, or a tuple of them."""
        pair = (Fault.THROTTLED, Fault.SLOW_LORIS)
        plan = FaultPlan(rates={pair: 0.5, Fault.STALL: 0.5})
        drawn = Counter(plan.draw(number, "..", 0) for number in range(400))
        assert set(drawn) == {pair, Fault.STALL}
        assert min(drawn.values()) > 140

    def test_an_unknown_fault_is_refused(self):
        """A typing error does not pass as no fault."""
        with pytest.raises(ValueError, match="stal"):
            FaultPlan(script=["stal"])


class TestCombined:
    @staticmethod
    def draws(plan):
        return [plan.draw(number, window, attempt) for number in range(300) for window in "ab" for attempt in (0, 1)]

    def test_each_part_draws_as_it_would_alone(self):
        """And the two do so independently of each other, under one seed even."""
        slow, errors = FaultPlan(rates={Fault.SLOW_LORIS: 0.5}), FaultPlan(rates={Fault.ERROR_500: 0.5})
        both = self.draws(slow | errors)
        assert [Fault.SLOW_LORIS in sort_by_stage(drawn) for drawn in both] == [bool(one) for one in self.draws(slow)]
        assert [Fault.ERROR_500 in sort_by_stage(drawn) for drawn in both] == [bool(one) for one in self.draws(errors)]
        counts = Counter(map(sort_by_stage, both))
        assert len(counts) == 4
        assert all(abs(count - 300) < 5 * (1200 * 0.25 * 0.75) ** 0.5 for count in counts.values())

    def test_the_left_part_wins_a_stage(self):
        """Of two faults of one stage that of the left plan stands."""
        left, right = FaultPlan.always(Fault.ERROR_500), FaultPlan.always(Fault.THROTTLED, Fault.SLOW_LORIS)
        assert (left | right).draw(1, "..", 0) == (Fault.ERROR_500, Fault.SLOW_LORIS)
        assert (right | left).draw(1, "..", 0) == (Fault.THROTTLED, Fault.SLOW_LORIS)

    def test_combining_is_associative_and_none_is_neutral(self):
        """The parts of parts are parts."""
        a, b, c = (FaultPlan(rates={fault: 0.3}) for fault in (Fault.STALL, Fault.BOM, Fault.ERROR_500))
        assert (a | b) | c == a | (b | c)
        assert self.draws(a | FaultPlan()) == self.draws(a)

    def test_scripts_profiles_and_streaks_are_the_parts_own(self):
        """Each part hits its own profiles, for as long as its own script and streak say."""
        plan = FaultPlan(script=[None, Fault.STALL], profiles=[1]) | FaultPlan(rates={Fault.BOM: 1.0}, streak=3)
        drawn = [[plan.draw(number, "..", attempt) for attempt in range(4)] for number in (1, 2)]
        assert drawn[0] == [Fault.BOM, (Fault.BOM, Fault.STALL), Fault.BOM, None]
        assert drawn[1] == [Fault.BOM, Fault.BOM, Fault.BOM, None]

    async def test_each_fault_obeys_the_settings_of_its_part(self, server):
        """The seconds, numbers and forms of a plan are its own, in company too."""
        server.faults = (
            FaultPlan(script=[Fault.API_ERROR], api_error=440, drip=9.0)
            | FaultPlan(script=[Fault.SLOW_LORIS], api_error=441, drip=0.0)
            | FaultPlan(script=[Fault.ROW_CAP, Fault.ROW_CAP], row_cap=2)
        )
        assert (await exchange(server)).code == 440
        assert len((await exchange(server)).rows) == 2
        assert truth(await exchange(server))

    async def test_a_script_is_played_to_its_end_beside_a_shorter_one(self, server):
        """A fault-free attempt does not begin it again."""
        server.faults = FaultPlan(script=[None, None, Fault.ERROR_500]) | FaultPlan(script=[None])
        assert [(await exchange(server)).status for _ in range(4)] == [200, 200, 500, 200]


async def refused(server):
    """Tell whether nobody listens."""
    try:
        await exchange(server)
    except ConnectionRefusedError:
        return True
    return False


async def unread(server):
    """The client's end of a connection on which a request is answered, and nobody reads."""
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(server), limit=1)
    body = json.dumps({"token": TOKEN, "list_id": 20, "email": "user1@example.com"})
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    await until(lambda: server.log)
    return writer


async def put_away(writer):
    """Close the client's end, whatever became of the other."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class TestOutage:
    async def test_an_outage_refuses_connections_and_ends_at_the_same_address(self, server):
        """Before and after it all is well."""
        assert truth(await exchange(server))
        url = server.url
        async with server.outage():
            assert await refused(server)
            assert server.url == url
        assert server.url == url
        assert truth(await exchange(server))

    async def test_an_outage_cuts_the_connections_there_are(self, server):
        """Idle ones and those of requests under way are reset, and no handler is left."""
        server.faults = FaultPlan.always(Fault.STALL, profiles=[2])
        loop = asyncio.get_running_loop()
        idle, tap = await loop.create_connection(Tap, "127.0.0.1", port_of(server))
        busy = asyncio.create_task(exchange(server, number=2))
        kept = asyncio.create_task(exchange(server, keep=True))
        await until(lambda: len(server.log) == 2)
        await server.pause()
        # The log cannot tell a handler that has ended from one that never began.
        assert server._busy == 0
        assert (await busy).raw == b""
        assert [await tap.ended, (await busy).end, (await kept).end] == ["reset"] * 3
        idle.close()
        await server.resume()
        assert truth(await exchange(server))

    async def test_an_outage_does_not_wait_for_a_client_that_never_reads(self, server):
        """A connection that is being closed, which cannot be for lack of a reader, is cut as well."""
        server.faults = FaultPlan.always(Fault.HUGE_BODY)
        writer = await unread(server)
        # How much waits to be sent is known to the server's side of the connection only.
        [transport] = server._listener._connections.transports
        await until(transport.get_write_buffer_size)
        transport.close()
        async with asyncio.timeout(2):
            await server.pause()
        await put_away(writer)

    async def test_pausing_and_resuming_twice_is_once(self, server):
        """Either is a no-op where it has been done."""
        await server.pause()
        await server.pause()
        assert await refused(server)
        await server.resume()
        await server.resume()
        assert truth(await exchange(server))

    async def test_a_paused_server_can_be_stopped_and_started(self, server):
        """It is no longer paused then, and the address is the same."""
        await server.pause()
        await server.stop()
        assert await refused(server)
        await server.start()
        assert truth(await exchange(server))

    async def test_a_server_that_does_not_run_has_no_outages(self):
        """Both ends of one are refused."""
        server = HistoryServer()
        for step in (server.pause, server.resume):
            with pytest.raises(RuntimeError, match="the server does not run"):
                await step()

    async def test_a_connection_accepted_at_the_last_moment_is_cut(self, server):
        """A client that was in the door when it closed is put out."""
        transport, tap = await asyncio.get_running_loop().create_connection(Tap, "127.0.0.1", port_of(server))
        # The moment between accepting and closing cannot be met from outside.
        server._listener._connections.refused = True
        _, late_tap = await asyncio.get_running_loop().create_connection(Tap, "127.0.0.1", port_of(server))
        assert await late_tap.ended == "reset"
        server._listener._connections.refused = False
        assert not tap.ended.done()
        transport.abort()
        await tap.ended

    async def test_the_port_is_kept_through_an_outage(self, server):
        """No other server gets it meanwhile."""
        async with server.outage():
            # That nobody gets the port is seen on the socket that holds it.
            assert server._listener._reserved.getsockname()[1] == port_of(server)

    async def test_a_port_that_cannot_be_kept_is_taken_again(self, server, monkeypatch):
        """Where the system does not allow a second socket, the server just listens again."""
        # Stands for a system that does not allow a second socket.
        monkeypatch.setattr(listener, "_TRIES", 0)
        async with server.outage():
            assert server._listener._reserved is None
            assert await refused(server)
        assert truth(await exchange(server))

    async def test_a_port_that_stays_in_use_is_given_up(self, server):
        """Nobody waits forever for it."""
        # A port that stays in use for long is not to be waited for here.
        assert await listener._reserve(port_of(server)) is None

    def test_a_server_in_a_thread_has_outages_in_a_plain_with(self):
        """A synchronous test can rehearse one."""
        with HistoryServer(token=TOKEN) as server:
            with server.outage():
                assert asyncio.run(refused(server))
            assert truth(asyncio.run(exchange(server)))

    def test_a_server_in_a_thread_has_outages_on_any_loop(self):
        """An asynchronous part of the test can, too."""

        async def rehearse(server):
            async with server.outage():
                down = await refused(server)
            return down, truth(await exchange(server))

        with HistoryServer(token=TOKEN) as server:
            assert asyncio.run(rehearse(server)) == (True, True)

    async def test_a_plain_with_on_the_own_loop_says_what_to_write(self, server):
        """It could not wait for anything there."""
        with pytest.raises(RuntimeError, match=r"use `async with server\.outage"), server.outage():
            pass


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


class TestNothingStays:
    @pytest.mark.parametrize(
        "fault",
        [Fault.STALL, Fault.STALL_IN_BODY, Fault.SLOW_LORIS, Fault.ENDLESS_CONTINUE, Fault.HUGE_BODY],
    )
    async def test_a_client_that_leaves_ends_its_handler(self, server, fault):
        """However long the fault would have gone on."""
        server.faults = FaultPlan.always(fault)
        seen = await exchange(server, patience=0.05)
        assert seen.end == "open"
        # A handler that stays is seen by no client.
        await until(lambda: not server._busy and not server._listener._connections.connections)

    def test_no_connection_is_not_cut(self):
        """A client that left during the fault is no error of the server."""
        assert reset_connection(None) is None

    async def test_a_client_that_has_gone_is_no_error(self, server):
        """What cannot be written is not, and the connection is not kept."""

        async def write(_):
            raise ConnectionResetError

        request = SimpleNamespace(method="POST", keep_alive=True, writer=SimpleNamespace(write=write))
        plan, histories = FaultPlan(), server.histories
        attempt = Attempt(plan=plan, asked=Window(), histories=histories, behaviour=Behaviour(), token=TOKEN)
        response = await deliver(request, ApiResponse(200, b"{}"), attempt)
        assert response.keep_alive is False

    @pytest.mark.skipif(sys.platform != "linux", reason="counts open files as Linux lists them")
    @pytest.mark.parametrize("fault", [Fault.STALL_IN_BODY, Fault.ENDLESS_CONTINUE, Fault.HUGE_BODY])
    async def test_a_stop_in_the_middle_leaves_no_task_and_no_socket(self, fault):
        """Not even where the client never reads."""
        await self.stop_in_the_middle(fault)
        tasks, files = len(asyncio.all_tasks()), descriptors()
        await self.stop_in_the_middle(fault)
        await until(lambda: len(asyncio.all_tasks()) == tasks and descriptors() == files)

    @staticmethod
    async def stop_in_the_middle(fault):
        async with HistoryServer(token=TOKEN, faults=FaultPlan.always(fault)) as server:
            writer = await unread(server)
            await asyncio.sleep(0.01)
        await put_away(writer)

    @pytest.mark.parametrize("fault", Fault)
    async def test_the_token_is_never_in_the_log(self, server, fault, caplog):
        """Not even of a fault that echoes it."""
        caplog.set_level("DEBUG")
        await meet(server, fault)
        assert TOKEN not in repr(server.log) + repr(server.faults) + repr(server) + caplog.text
