"""The span of a window is current while its requests are sent, and ends however the window ends."""

import asyncio
import contextlib
import json
import time
from collections import Counter

import aiohttp
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler
from support.recording import Recording, own, recording, run_apart  # noqa: F401 (one is a fixture)
from support.virtual_clock import run_virtually

from profile_history import ConnectionFailed, Profile, Window
from profile_history.observing import AttemptEnded, AttemptStarted, WindowDone, WindowDropped
from profile_history.otel import Telemetry, spans
from profile_history.testing import Fault, FaultPlan, HistoryServer

SECOND = 1_000_000_000


def test_spans_of_windows_of_which_nobody_tells_the_end_do_not_pile_up(recording, monkeypatch):
    """As where an event loop is closed under them: the oldest are ended when there are too many."""
    monkeypatch.setattr(spans, "MOST_WINDOWS", 5)

    async def tell():
        for number in range(8):
            recording.telemetry(AttemptStarted(Profile.xxh("0eb51aefd919f90a"), Window(), f"id {number}", 1))

    asyncio.run(tell())
    assert [own(span, "request_id") for span in recording.windows()] == ["id 0", "id 1", "id 2"]


async def test_a_window_that_found_no_room_goes_on_in_the_same_span(recording):
    """Its response was abandoned, and it was no failure."""
    profile = Profile.xxh("0eb51aefd919f90a")
    for number in (1, 2):
        recording.telemetry(AttemptStarted(profile, Window(), "an id", number))
        recording.telemetry(AttemptEnded(profile, Window(), "an id", number, 0.1, 0, None))
    recording.telemetry(WindowDone(profile, Window(), "an id", 2, 1.0, 5, 50, None))
    (span,) = recording.windows()
    assert not span.events
    assert span.attributes["http.request.resend_count"] == 1


async def test_a_window_that_is_split_ends_its_span_and_its_halves_have_their_own(recording):
    """Each says what became of it."""
    faults = FaultPlan(rates={Fault.ERROR_504: 1.0}, streak=1)
    async with (
        HistoryServer(profiles=1, faults=faults) as server,
        server.client(on_event=recording.telemetry) as client,
    ):
        stream = client.history(server.profile(0), "2024-01-01", "2024-01-08")
        await stream.collect()
    became = Counter(own(span, "dropped") for span in recording.windows())
    assert became == {"split": stream.stats.windows_split, None: stream.stats.windows}
    assert stream.stats.windows_split > 0


def test_a_window_that_waits_for_another_pass_when_its_stream_ends_has_its_span_ended():
    """Wherever it waits: in the queue, or for its turn."""
    recording = Recording()

    async def fetch():
        faults = FaultPlan(rates={Fault.ERROR_500: 1.0}, streak=None, profiles=range(1, 40))
        async with HistoryServer(profiles=40, faults=faults) as server, server.client(on_event=told) as client:
            stream = client.histories(server.profiles(), on_error="collect")
            reading = asyncio.create_task(stream.collect())
            await asyncio.sleep(20)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            await stream.aclose()

    begun, ended = set(), []

    def told(observation):
        recording.telemetry(observation)
        if isinstance(observation, AttemptStarted) and not observation.request_id.startswith("probe-"):
            begun.add(observation.request_id)
        if isinstance(observation, WindowDone | WindowDropped):
            ended.append(observation.request_id)

    run_virtually(fetch())
    finished = [own(span, "request_id") for span in recording.windows()]
    assert begun <= set(finished)
    assert len(finished) == len(set(finished)) == len(ended) > 1
    assert "cancelled" in {own(span, "dropped") for span in recording.windows()}


class SlowSampler(StaticSampler):
    """A sampler that takes its time."""

    def should_sample(self, *words, **options):
        time.sleep(0.05)
        return super().should_sample(*words, **options)


async def test_a_span_lasts_until_its_window_is_done_however_long_it_took_to_make():
    """A sampler, or a busy machine, may take its time before the span is there."""
    exporter = InMemorySpanExporter()
    traces = TracerProvider(SlowSampler(Decision.RECORD_AND_SAMPLE), shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry, profile = Telemetry(traces), Profile.xxh("0eb51aefd919f90a")
    telemetry(AttemptStarted(profile, Window(), "an id", 1))
    telemetry(WindowDone(profile, Window(), "an id", 1, 0.1, 5, 50, None))
    (span,) = exporter.get_finished_spans()
    assert span.end_time == pytest.approx(time.time_ns(), abs=SECOND / 50)


async def test_a_window_that_was_never_sent_has_a_span_too(recording):
    """A server that is down for as long as anybody waits is an error of the window, without an attempt."""
    window = Window()

    async def tell():
        error = ConnectionFailed("...")
        recording.telemetry(WindowDone(Profile.xxh("0eb51aefd919f90a"), window, "an id", 0, 2.0, 0, 0, error))

    await tell()
    (span,) = recording.windows()
    assert span.end_time - span.start_time == pytest.approx(2 * SECOND, abs=SECOND / 100)
    assert (span.attributes["error.type"], own(span, "attempts")) == ("ConnectionFailed", 0)


async def test_the_span_of_a_window_is_current_while_its_requests_are_sent(server, swift, recording):
    """And only then: what instruments aiohttp finds it, also for a retry; the consumer and the hook do not."""
    server.faults = FaultPlan(script=[Fault.ERROR_503, Fault.ERROR_500], profiles={1, 2})
    seen = []

    async def note(session, ctx, params):
        seen.append((params.headers["X-Request-ID"], trace.get_current_span().get_span_context().span_id))

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(note)
    async with (
        aiohttp.ClientSession(trace_configs=[tracing]) as session,
        server.client(retry=swift, session=session, on_event=recording.telemetry) as client,
    ):
        with recording.tracer.start_as_current_span("job") as job:
            async for _ in client.histories(server.profiles()):
                assert trace.get_current_span() is job
    ids = {own(span, "request_id"): span.context.span_id for span in recording.windows()}
    assert len(ids) == len(server.profiles())
    assert len(seen) == len(server.log) > len(ids)
    assert all(ids[request_id] == span for request_id, span in seen)


@pytest.mark.slow
def test_the_requests_that_are_instrumented_are_children_of_their_windows():
    """By the instrumentation that OpenTelemetry has for aiohttp, in a client that made its session itself."""
    pytest.importorskip("opentelemetry.instrumentation.aiohttp_client")
    names = json.loads(run_apart(INSTRUMENTED))
    assert set(names) == {"job", "profile_history.window", "POST"}
    assert names["profile_history.window"] == ["job"] * 3
    assert names["POST"] == ["profile_history.window"] * 6


INSTRUMENTED = """
import asyncio, json
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from profile_history import RetryPolicy
from profile_history.otel import Telemetry
from profile_history.testing import Fault, FaultPlan, HistoryServer

exporter, traces = InMemorySpanExporter(), TracerProvider()
traces.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(traces)
AioHttpClientInstrumentor().instrument()

async def fetch():
    faults = FaultPlan(script=[Fault.ERROR_503])
    retry = RetryPolicy(base=0.001, cap=0.002)
    async with (
        HistoryServer(profiles=3, faults=faults) as server,
        server.client(on_event=Telemetry(), retry=retry) as client,
    ):
        with trace.get_tracer("test").start_as_current_span("job"):
            await client.histories(server.profiles()).collect()

asyncio.run(fetch())
spans = exporter.get_finished_spans()
names = {span.context.span_id: span.name for span in spans}
parents = {}
for span in spans:
    parents.setdefault(span.name, []).append(names[span.parent.span_id] if span.parent else None)
print(json.dumps(parents))
"""
