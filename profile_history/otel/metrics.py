"""The instruments, and the amount that each observation adds to them."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from profile_history.errors import RateLimited
from profile_history.observing import AttemptEnded, AttemptStarted, WindowDone

_OUTCOME = "profile_history.attempt.outcome"
_OK = {_OUTCOME: "ok"}
_ABANDONED = {_OUTCOME: "abandoned"}

# Bounds of buckets from 10 ms to 10 min; the default ones of OpenTelemetry are made for milliseconds.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """The metrics of all clients that share a `Telemetry`.

    Args:
        meter: Makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._attempts = meter.create_counter("profile_history.attempts", "{attempt}", "Requests ended.")
        self._active = meter.create_up_down_counter(
            "profile_history.active_attempts", "{attempt}", "Requests in flight."
        )
        self._retries = meter.create_counter(
            "profile_history.retries", "{retry}", "Requests that were not the first for their window."
        )
        self._throttles = meter.create_counter(
            "profile_history.throttles", "{throttle}", "Responses that said there are too many requests."
        )
        self._rows = meter.create_counter("profile_history.rows", "{row}", "Rows of verified responses.")
        self._durations = meter.create_histogram(
            "profile_history.window.duration",
            "s",
            "From a window's first request to its last response.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        # The names with "gate" are those of 0.5, on which dashboards rest; they go in 1.0.
        self._openings = [
            meter.create_counter(name, "{opening}", "How often the server was seen to fail for everyone.")
            for name in ("profile_history.circuit.openings", "profile_history.gate.openings")
        ]
        self._open_circuits = [
            meter.create_up_down_counter(name, unit, "Clients that wait for a server that fails for everyone.")
            for name, unit in (("profile_history.open_circuits", "{circuit}"), ("profile_history.open_gates", "{gate}"))
        ]

    def attempt_started(self, started: AttemptStarted) -> None:
        """Count one more request in flight."""
        self._active.add(1)
        if started.attempt > 1:
            self._retries.add(1)

    def attempt_ended(self, ended: AttemptEnded) -> None:
        """Count one request less in flight, and how it ended."""
        self._active.add(-1)
        if ended.error is not None:
            self._attempts.add(1, {_OUTCOME: "failed", "error.type": type(ended.error).__name__})
            if isinstance(ended.error, RateLimited):
                self._throttles.add(1)
        else:
            self._attempts.add(1, _OK if ended.bytes else _ABANDONED)

    def window_done(self, done: WindowDone) -> None:
        """Count the rows of a window that was fetched, and record how long it took, also if it was given up."""
        if done.error is None:
            self._rows.add(done.rows)
            self._durations.record(done.seconds)
        else:
            self._durations.record(done.seconds, {"error.type": type(done.error).__name__})

    def circuit_opened(self) -> None:
        """Count an outage, and one more client that waits."""
        for openings in self._openings:
            openings.add(1)
        for waiting in self._open_circuits:
            waiting.add(1)

    def circuit_closed(self) -> None:
        """Count one client less that waits."""
        for waiting in self._open_circuits:
            waiting.add(-1)
