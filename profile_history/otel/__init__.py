"""Traces and metrics of what a client does, by OpenTelemetry; needs the extra `otel`.

    from profile_history.otel import Telemetry

    async with HistoryClient(..., on_event=Telemetry()) as client:
        ...

Only the API of OpenTelemetry is used: where the application sets up no SDK, nothing is recorded.
"""

try:
    from profile_history.otel.telemetry import Telemetry
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        'profile_history.otel needs the OpenTelemetry API: python -m pip install "profile-history[otel]"'
    ) from error

__all__ = ["Telemetry"]
