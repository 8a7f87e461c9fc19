"""Spans and metrics by OpenTelemetry: they tell what happened, and nothing about whom."""

import asyncio
import contextlib
import contextvars
import itertools
import json
import random
import sys
import time

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from support.recording import Recording, own, recording, run_apart  # noqa: F401 (one is a fixture)
from support.virtual_clock import run_virtually

from profile_history import (
    AuthenticationError,
    HistoryError,
    Matching,
    Pacing,
    Timeouts,
    errors,
)
from profile_history.observing import (
    AttemptEnded,
    AttemptStarted,
    CircuitClosed,
    CircuitOpened,
    WindowDone,
)
from profile_history.otel import Telemetry
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

SECOND = 1_000_000_000
CANARY = "canary-7f3a9c"
ATTRIBUTES = {
    "profile_history.window.request_id",
    "profile_history.window.attempts",
    "profile_history.window.rows",
    "profile_history.window.bytes",
    "http.request.resend_count",
    "server.address",
    "server.port",
    "profile_history.window.date_from",
    "profile_history.window.date_to",
    "profile_history.attempt.number",
    "profile_history.attempt.duration",
    "profile_history.attempt.outcome",
    "http.response.status_code",
    "error.type",
}


async def test_each_window_is_a_span_that_says_what_it_took(server, swift, recording):
    """Against the log of the server: request ids, attempts, rows and days."""
    server.faults = FaultPlan(script=[Fault.ERROR_503], profiles={1, 2})
    async with server.client(retry=swift, on_event=recording.telemetry, window=100, border="exact") as client:
        stream = client.histories(server.profiles()[:5], "2023-01-01", "2023-12-31")
        await stream.collect()
    spans = recording.windows()
    logged = {}
    for request in server.log:
        logged.setdefault(request.request_id, []).append(request)

    assert len(spans) == stream.stats.windows == 5 * 4
    assert {own(span, "request_id") for span in spans} == set(logged)
    for span in spans:
        requests = logged[own(span, "request_id")]
        assert own(span, "attempts") == len(requests)
        assert own(span, "rows") == requests[-1].rows
        assert (own(span, "date_from"), own(span, "date_to")) == (requests[-1].date_from, requests[-1].date_to)
        assert (span.kind, span.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
        assert len(span.events) == len(requests) - 1
        assert span.attributes.get("http.request.resend_count", 0) == len(requests) - 1
        assert span.attributes["server.address"] == "127.0.0.1"
        assert server.url.endswith(f":{span.attributes['server.port']}")
        assert "error.type" not in span.attributes
    assert sum(own(span, "bytes") for span in spans) == stream.stats.bytes


async def test_open_ends_have_no_attributes(server, recording):
    """There is nothing to say about them."""
    async with server.client(on_event=recording.telemetry) as client:
        await client.history(server.profile(1)).collect()
    (span,) = recording.windows()
    assert not {"profile_history.window.date_from", "profile_history.window.date_to"} & set(span.attributes)


async def test_the_parent_is_the_span_in_which_the_stream_is_read(server, swift, recording):
    """Each of two streams at once has its own, also for windows that are retried; without one, windows are roots."""
    server.faults = FaultPlan(script=[Fault.RESET_IN_BODY, Fault.ERROR_500], profiles={1, 11, 12})

    async def job(client, name, profiles):
        with recording.tracer.start_as_current_span(name) as parent:
            await client.histories(profiles).collect()
        return parent.get_span_context()

    async with server.client(retry=swift, on_event=recording.telemetry) as client:
        jobs = job(client, "one", server.profiles()[:10]), job(client, "two", server.profiles()[10:])
        parents = await asyncio.gather(*jobs)
        children = [(span.context.trace_id, span.parent.span_id) for span in recording.windows()]
        await client.history(server.profile(1)).collect()

    one, two = [(parent.trace_id, parent.span_id) for parent in parents]
    assert sorted(children) == sorted([one] * 10 + [two] * 20)
    assert recording.windows()[-1].parent is None


def test_the_hook_runs_in_the_context_in_which_the_stream_is_read():
    """What the parents rest on: every observation of a window sees the consumer's variables."""
    variable = contextvars.ContextVar("variable", default="outside")
    seen = set()

    async def fetch():
        async with (
            HistoryServer(profiles=30, faults=FaultPlan.even(0.5)) as server,
            server.client(on_event=lambda _: seen.add(variable.get())) as client,
        ):
            variable.set("inside")

            async def source():
                for profile in server.profiles():
                    variable.set("in the source")
                    yield profile
                    variable.set("in the source again")

            async with client.histories(source()) as stream:
                async for _ in stream:
                    variable.set("in the consumer")

    run_virtually(fetch())
    assert seen == {"inside"}


async def test_the_window_that_ends_a_stream_has_a_span_and_a_log_line_as_well(recording, caplog):
    """A refused token is worth a red mark."""
    async with HistoryServer() as server, server.client(token="wrong", on_event=recording.telemetry) as client:
        with pytest.raises(AuthenticationError):
            await client.history(server.profile(1)).collect()
    (span,) = recording.windows()
    assert span.status.status_code is StatusCode.ERROR
    assert "given up after 1 attempts: AuthenticationError" in caplog.text


def test_the_times_of_a_span_are_those_of_its_attempts():
    """On the clock of the loop, exactly: the span covers the attempts, and its events are where these failed."""
    recording, told = Recording(), []

    def hook(observation):
        told.append((asyncio.get_running_loop().time(), observation))
        recording.telemetry(observation)

    async def fetch():
        faults = FaultPlan(script=[Fault.ERROR_503, Fault.RESET_IN_BODY])
        behaviour = Behaviour(latency=0.5)
        async with (
            HistoryServer(profiles=4, behaviour=behaviour, faults=faults) as server,
            server.client(on_event=hook, pacing=Pacing(concurrency=2)) as client,
        ):
            await client.histories(server.profiles()).collect()

    run_virtually(fetch())
    assert len(recording.windows()) == 4
    for span in recording.windows():
        mine = [(at, one) for at, one in told if getattr(one, "request_id", None) == own(span, "request_id")]
        (done_at, done) = next((at, one) for at, one in mine if isinstance(one, WindowDone))
        started = [at for at, one in mine if isinstance(one, AttemptStarted)]
        failed = [at for at, one in mine if isinstance(one, AttemptEnded) and one.error]

        def before_the_end(nanoseconds, end=span.end_time):
            return (end - nanoseconds) / SECOND

        assert before_the_end(span.start_time) == pytest.approx(done.seconds, abs=1e-8)
        assert before_the_end(span.start_time) >= done_at - min(started) - 1e-8
        events = [before_the_end(event.timestamp) for event in span.events]
        assert events == pytest.approx([done_at - at for at in failed], abs=1e-8)
        assert len(events) == 2
        moments = [span.start_time, *(event.timestamp for event in span.events), span.end_time]
        assert all(earlier < later for earlier, later in itertools.pairwise(moments))
        first, second = (dict(event.attributes) for event in span.events)
        assert first.pop("profile_history.attempt.duration") == pytest.approx(0.5, abs=0.01)
        assert second.pop("profile_history.attempt.duration") == pytest.approx(0.5, abs=0.01)
        assert first == {
            "profile_history.attempt.number": 1,
            "error.type": "ApiError",
            "http.response.status_code": 503,
        }
        assert second["profile_history.attempt.number"] == 2
        assert "http.response.status_code" not in second


async def test_the_times_are_times_of_the_day(server, recording):
    """Between before and after, on the wall clock."""
    before = time.time_ns()
    async with server.client(on_event=recording.telemetry) as client:
        await client.histories(server.profiles()).collect()
    after = time.time_ns()
    assert all(before <= span.start_time < span.end_time <= after for span in recording.windows())


@pytest.mark.slow
def test_the_sums_are_those_of_the_streams():
    """Over two clients that share one, with all faults that pass, and one that does not."""
    recording = Recording()

    async def fetch():
        faults = FaultPlan.even(0.4) | FaultPlan(rates={Fault.ERROR_400: 1.0}, streak=None, profiles={1})
        async with HistoryServer(profiles=30, faults=faults) as server:
            options = {"on_event": recording.telemetry, "window": 200}
            async with server.client(**options) as first, server.client(**options) as second:
                days = "2023-01-01", "2024-12-31"
                clients = first, second, second
                streams = [client.histories(server.profiles(), *days, on_error="collect") for client in clients]
                await asyncio.gather(*(stream.collect() for stream in streams))
                return streams

    streams = run_virtually(fetch())

    def total(name):
        return sum(getattr(stream.stats, name) for stream in streams)

    assert recording.sum("attempts") == total("attempts") > total("requests")
    assert recording.sum("retries") == total("retries") > 0
    assert recording.sum("throttles") == total("throttled") > 0
    assert recording.sum("active_attempts") == 0
    assert recording.sum("attempts", outcome="ok") == total("windows_ok") + total("windows_empty")
    assert recording.sum("attempts", outcome="abandoned") == 0
    assert recording.sum("rows") == sum(own(span, "rows") for span in recording.windows()) > 0
    durations = recording.points("window.duration")
    assert sum(point.count for point in durations) == len(recording.windows()) == total("windows")
    assert 0.1 in durations[0].explicit_bounds


async def test_a_window_given_up_is_an_error_on_span_and_metrics(server, swift, recording):
    """With its type and status, and without a description, which could only be the server's words."""
    server.faults = FaultPlan(rates={Fault.ERROR_400: 1.0}, streak=None, profiles={1})
    async with server.client(retry=swift, on_event=recording.telemetry) as client:
        await client.histories(server.profiles()[:3], on_error="collect").collect()
    spans = {span.attributes.get("error.type"): span for span in recording.windows()}

    assert set(spans) == {None, "ApiError"}
    assert spans["ApiError"].status.status_code is StatusCode.ERROR
    assert spans["ApiError"].status.description is None
    assert spans["ApiError"].attributes["http.response.status_code"] == 400
    assert not spans["ApiError"].events
    counts = {point.attributes.get("error.type"): point.count for point in recording.points("window.duration")}
    assert counts == {None: 2, "ApiError": 1}
    assert recording.sum("attempts", outcome="failed") == 1


async def test_an_attempt_that_the_server_throttles_is_counted(server, swift, recording):
    """As one that failed, and as a throttle."""
    server.faults = FaultPlan(script=[Fault.THROTTLED_WITH_RETRY_AFTER], retry_after=0, profiles={1})
    async with server.client(retry=swift, on_event=recording.telemetry) as client:
        await client.histories(server.profiles()[:3]).collect()
    assert recording.sum("throttles") == recording.sum("attempts", outcome="failed") == 1


async def test_nothing_is_on_its_way_after_a_cancellation(server, recording):
    """While the server is silent there is; then it is abandoned, and the spans say so."""
    server.behaviour = Behaviour(latency=60)
    async with server.client(on_event=recording.telemetry) as client:
        reading = asyncio.create_task(client.histories(server.profiles()).collect())
        while recording.sum("active_attempts") < 4:
            await asyncio.sleep(0.001)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert recording.sum("active_attempts") == 0
    assert recording.sum("attempts", outcome="abandoned") == recording.sum("attempts") == 4
    assert [own(span, "dropped") for span in recording.windows()] == ["cancelled"] * 4


@pytest.mark.parametrize("fault", [Fault.ERROR_403, Fault.REDIRECT_307])
async def test_nothing_is_on_its_way_after_an_error_that_ends_the_stream(server, recording, fault):
    """Whatever was cancelled with it."""
    server.faults = FaultPlan(rates={fault: 1.0}, streak=None, profiles={5})
    async with server.client(on_event=recording.telemetry) as client:
        with pytest.raises(HistoryError):
            await client.histories(server.profiles()).collect()
    assert recording.sum("attempts", outcome="failed") == 1
    assert recording.sum("active_attempts") == 0


async def test_nothing_is_on_its_way_after_cancellations_at_any_moment(server, swift, recording):
    """The attempts are those of the streams all the same."""
    draw = random.Random(5)
    server.faults = FaultPlan.even(0.2, retry_after=0, stall=0.02, slow=0.002)
    streams = []
    async with server.client(retry=swift, timeouts=Timeouts(read=0.5), on_event=recording.telemetry) as client:
        for _ in range(100):
            streams.append(client.histories(server.profiles()))
            reading = asyncio.create_task(streams[-1].collect())
            await asyncio.sleep(draw.random() * 0.01)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
    assert recording.sum("active_attempts") == 0
    assert recording.sum("attempts") == sum(stream.stats.attempts for stream in streams)
    assert recording.sum("retries") == sum(stream.stats.retries for stream in streams)
    assert recording.sum("throttles") == sum(stream.stats.throttled for stream in streams)


@pytest.mark.parametrize("auth", ["body", "header"])
def test_nothing_exported_says_whose_history_it_is(auth):
    """No profile, by whatever it is named, no token and no text of the server, also where that echoes the token."""
    recording = Recording()

    async def fetch():
        faults = FaultPlan.even(0.3) | FaultPlan(script=[Fault.ECHOED_TOKEN, Fault.TOKEN_IN_HEADER], profiles={4})
        async with (
            HistoryServer(profiles=5, token=CANARY, faults=faults) as server,
            server.client(auth=auth, on_event=recording.telemetry) as client,
        ):
            profiles = [profile for matching in Matching for profile in server.profiles(matching)]
            with recording.tracer.start_as_current_span("job"):
                await client.histories(profiles, "2023-01-01", "2024-12-31", on_error="collect").collect()
            return len(profiles), {request.request_id for request in server.log}

    profiles, request_ids = run_virtually(fetch())
    pairs = recording.attributes()
    texts = {value for _, value in pairs if isinstance(value, str)} - request_ids

    assert len(recording.windows()) == profiles
    assert {key for key, _ in pairs} == ATTRIBUTES
    assert texts - {"2023-01-01", "2024-12-31", "ok", "failed", "127.0.0.1"} <= set(dir(errors))
    assert all(isinstance(value, str | int | float) for _, value in pairs)
    assert all(span.status.description is None for span in recording.windows())
    assert CANARY not in json.dumps([span.to_json() for span in recording.windows()])


def test_an_outage_is_seen_while_it_lasts():
    """The circuit opens once, and is closed in the end; the names of 0.5 say the same until 1.0."""
    recording, open_circuits = Recording(), []

    def hook(observation):
        recording.telemetry(observation)
        if isinstance(observation, CircuitOpened | CircuitClosed):
            open_circuits.append((recording.sum("open_circuits"), recording.sum("open_gates")))

    async def fetch():
        async with (
            HistoryServer(profiles=30, faults=FaultPlan(script=[Fault.ERROR_503], profiles=range(12))) as server,
            server.client(on_event=hook) as client,
        ):
            stream = client.histories(server.profiles())
            await stream.collect()
            return stream.stats

    stats = run_virtually(fetch())
    assert open_circuits == [(1, 1), (0, 0)]
    assert recording.sum("circuit.openings") == recording.sum("gate.openings") == 1
    assert recording.sum("attempts") == stats.attempts
    assert recording.sum("retries") == stats.retries


async def test_without_an_sdk_the_histories_are_the_same(server, swift):
    """Nothing is recorded, and nothing fails."""
    server.faults = FaultPlan(script=[Fault.ERROR_503])
    async with server.client(retry=swift, on_event=Telemetry()) as client:
        profile = server.profile(1)
        assert await client.history(profile).collect() == server.truth(profile)


def forget(monkeypatch):
    """As if the wing were not imported yet."""
    for name in [name for name in sys.modules if name.startswith("profile_history.otel")]:
        monkeypatch.delitem(sys.modules, name)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    """The extra, by its name."""
    forget(monkeypatch)
    for name in [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r'pip install "profile-history\[otel\]"'):
        import profile_history.otel  # noqa: F401


def test_another_missing_module_is_not_blamed_on_the_library(monkeypatch):
    """It is raised as it is."""
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "profile_history.observing", None)
    with pytest.raises(ModuleNotFoundError, match=r"profile_history\.observing"):
        import profile_history.otel  # noqa: F401


def test_the_core_imports_no_opentelemetry_and_the_wing_no_sdk():
    """Who does not use it does not pay for it."""
    show = "print(*(name for name in sys.modules if name.startswith('opentelemetry')))"
    assert not run_apart(f"import sys, profile_history; {show}").split()
    loaded = run_apart(f"import sys, profile_history.otel; profile_history.otel.Telemetry(); {show}").split()
    assert "opentelemetry.trace" in loaded
    assert not [name for name in loaded if name.startswith("opentelemetry.sdk")]


GLOBAL = """
import asyncio
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from profile_history.otel import Telemetry
from profile_history.testing import HistoryServer

telemetry = Telemetry()
exporter, reader, traces = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
traces.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(traces)
metrics.set_meter_provider(MeterProvider([reader]))

async def fetch():
    async with HistoryServer(profiles=3) as server, server.client(on_event=telemetry) as client:
        await client.histories(server.profiles()).collect()

asyncio.run(fetch())
scope = reader.get_metrics_data().resource_metrics[0].scope_metrics[0]
spans = exporter.get_finished_spans()
print(len(spans), spans[0].instrumentation_scope.name, spans[0].instrumentation_scope.version, scope.scope.name)
"""


@pytest.mark.slow
def test_by_default_the_global_providers_are_used_also_where_they_are_set_later():
    """Applications often set them up after their clients."""
    from profile_history import __version__

    assert run_apart(GLOBAL).split() == ["3", "profile_history", __version__, "profile_history"]
