"""Traces and metrics of what a client does, by OpenTelemetry; needs the extra `otel`.

    from profile_history.otel import Telemetry

    async with HistoryClient(..., on_event=Telemetry()) as client:
        ...

Only the API of OpenTelemetry is used: where the application sets up no SDK, nothing is recorded.
"""

from profile_history._extras import missing_extra

try:
    from profile_history.otel.telemetry import Telemetry
except ModuleNotFoundError as _error:
    if (_error.name or "").split(".")[0] != "opentelemetry":
        raise
    raise missing_extra("profile_history.otel needs the OpenTelemetry API", "otel") from _error

__all__ = ["Telemetry"]
