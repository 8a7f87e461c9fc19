"""What OpenTelemetry is told, kept for tests."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from profile_history.otel import Telemetry


class Recording:
    """A `Telemetry`, and all that it exports."""

    def __init__(self):
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.traces = TracerProvider(shutdown_on_exit=False)
        self.traces.add_span_processor(SimpleSpanProcessor(self._exporter))
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.traces.get_tracer("test")
        self.telemetry = Telemetry(self.traces, meters)

    def windows(self):
        return [span for span in self._exporter.get_finished_spans() if span.name == "profile_history.window"]

    def metrics(self):
        """The exported metrics by their names."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name):
        """The points of one metric."""
        metric = self.metrics().get(f"profile_history.{name}")
        return list(metric.data.data_points) if metric else []

    def sum(self, name, **attributes):
        """The sum of the points that have these attributes."""
        return sum(
            point.value
            for point in self.points(name)
            if all(point.attributes.get(f"profile_history.attempt.{key}") == attributes[key] for key in attributes)
        )

    def attributes(self):
        """All attributes there are, as pairs."""
        spans = self._exporter.get_finished_spans()
        events = [event for span in spans for event in span.events]
        points = [point for metric in self.metrics().values() for point in metric.data.data_points]
        return [pair for one in (*spans, *events, *points) for pair in one.attributes.items()]


@pytest.fixture
def recording():
    return Recording()


def own(span, name):
    return span.attributes.get(f"profile_history.window.{name}")


def run_apart(code):
    """The output of code in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
