"""The hook that passes the observations of a client on to the metrics and the spans."""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider, get_tracer

from profile_history.observing import (
    AttemptEnded,
    AttemptStarted,
    CircuitClosed,
    CircuitOpened,
    Observation,
    WindowDone,
    WindowDropped,
)
from profile_history.otel.metrics import Metrics
from profile_history.otel.spans import WindowSpans
from profile_history.version import __version__

_SCOPE = "profile_history"


class Telemetry:
    """A hook for `HistoryClient(on_event=...)` that tells OpenTelemetry; clients may share one.

    Each window becomes a span `profile_history.window` of kind INTERNAL, from when it is taken up, its wait for a turn
    to send included, to its last response. Its parent is the span that was current where the stream was first read. It
    is current while its requests are sent, so the spans of single requests, as an instrumentation of aiohttp makes
    them, are its children. Requests that only probe whether the server is back belong to no window.

    Attributes `profile_history.window.*`: `request_id`, `attempts`, `rows`, `bytes`, where they are known `date_from`
    and `date_to`, and `dropped` where the window was "split" into shorter ones or "cancelled". As the semantic
    conventions of OpenTelemetry name them: `server.address`, `server.port`, and `http.request.resend_count` where there
    was more than one attempt. Each failed attempt that was followed by another is an event `profile_history.retry` at
    the time of the failure. A window that was given up has the status ERROR. What failed has `error.type`, and
    `http.response.status_code` where there was one.

    Metrics, all of them `profile_history.` and:

    - `attempts`, {attempt}: requests ended; `profile_history.attempt.outcome` is "ok", "failed" (then with
      `error.type`), or "abandoned": it was cancelled, or there was no room for its response;
    - `active_attempts`, {attempt}: requests in flight;
    - `retries`, {retry}: requests that were not the first for their window;
    - `throttles`, {throttle}: responses that said there are too many requests;
    - `rows`, {row}: rows of verified responses, those of other days than the wanted ones included;
    - `window.duration`, s: a histogram of the spans' lengths; with `error.type` where a window was given up;
    - `circuit.openings`, {opening}: how often the server was seen to fail for everyone; until 1.0 also as
      `gate.openings`;
    - `open_circuits`, {circuit}: clients that wait for such a server; one that is closed meanwhile stays counted; until
      1.0 also as `open_gates`.

    Metadata only: no profile, no token, and no text of the server becomes an attribute.

    Example:
        A client has one hook. To have another beside this one, call both from a function:

        >>> from profile_history.otel import Telemetry
        >>> telemetry, seen = Telemetry(), []
        >>> def hook(observation):
        ...     telemetry(observation)
        ...     seen.append(type(observation).__name__)
        >>> async with server.client(on_event=hook) as client:
        ...     events = await client.history(profile).collect()
        >>> seen
        ['AttemptStarted', 'AttemptEnded', 'WindowDone']

    Args:
        tracer_provider: Makes the tracer; the global one by default, which may also be set later.
        meter_provider: Makes the meter; likewise.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._spans = WindowSpans(get_tracer(_SCOPE, __version__, tracer_provider))
        self._metrics = Metrics(get_meter(_SCOPE, __version__, meter_provider))

    def __call__(self, observation: Observation) -> None:
        """Record one observation, on the event loop of the client that made it."""
        match observation:
            case AttemptStarted():
                self._metrics.attempt_started(observation)
                self._spans.attempt_started(observation)
            case AttemptEnded():
                self._metrics.attempt_ended(observation)
                self._spans.attempt_ended(observation)
            case WindowDone():
                self._metrics.window_done(observation)
                self._spans.window_done(observation)
            case WindowDropped():
                self._spans.window_dropped(observation)
            case CircuitOpened():
                self._metrics.circuit_opened()
            case CircuitClosed():
                self._metrics.circuit_closed()
