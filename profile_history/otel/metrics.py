"""The instruments, and what each observation adds to them."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from profile_history.errors import RateLimited
from profile_history.observing import AttemptEnded, AttemptStarted, WindowDone

_OUTCOME = "profile_history.attempt.outcome"
_OK = {_OUTCOME: "ok"}
_ABANDONED = {_OUTCOME: "abandoned"}

# The default ones are made for milliseconds.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """Keeps the metrics of all clients that share a `Telemetry`.

    Args:
        meter: Makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._attempts = meter.create_counter("profile_history.attempts", "{attempt}", "Requests ended.")
        self._active = meter.create_up_down_counter(
            "profile_history.active_attempts", "{attempt}", "Requests on their way."
        )
        self._retries = meter.create_counter(
            "profile_history.retries", "{retry}", "Requests that were not the first for their window."
        )
        self._throttles = meter.create_counter(
            "profile_history.throttles", "{throttle}", "Answers that said there are too many requests."
        )
        self._rows = meter.create_counter("profile_history.rows", "{row}", "Rows of verified answers.")
        self._durations = meter.create_histogram(
            "profile_history.window.duration",
            "s",
            "From a window's first request to its last answer.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._openings = meter.create_counter(
            "profile_history.gate.openings",
            "{opening}",
            "How often the server was seen to fail for everyone.",
        )
        self._open_gates = meter.create_up_down_counter(
            "profile_history.open_gates", "{gate}", "Clients that wait for a server that fails for everyone."
        )

    def attempt_started(self, started: AttemptStarted) -> None:
        """One more is on its way."""
        self._active.add(1)
        if started.attempt > 1:
            self._retries.add(1)

    def attempt_ended(self, ended: AttemptEnded) -> None:
        """One fewer is on its way."""
        self._active.add(-1)
        if ended.error is not None:
            self._attempts.add(1, {_OUTCOME: "failed", "error.type": type(ended.error).__name__})
            if isinstance(ended.error, RateLimited):
                self._throttles.add(1)
        else:
            self._attempts.add(1, _OK if ended.bytes else _ABANDONED)

    def window_done(self, done: WindowDone) -> None:
        """A window was fetched, or given up."""
        if done.error is None:
            self._rows.add(done.rows)
            self._durations.record(done.seconds)
        else:
            self._durations.record(done.seconds, {"error.type": type(done.error).__name__})

    def gate_opened(self) -> None:
        """A client waits."""
        self._openings.add(1)
        self._open_gates.add(1)

    def gate_closed(self) -> None:
        """A client goes on."""
        self._open_gates.add(-1)
