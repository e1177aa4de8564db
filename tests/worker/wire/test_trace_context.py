"""W3C Trace Context through every lane: untouched unless we record, and then with our span as the parent."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backend import Backend
from lanes import Lane, StartLane
from raw_client import fetch
from waiting import eventually
from worker.observe import Observer

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIELDS = [("Host", "a"), ("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "c=3")]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def traced(lane: Lane, provider: TracerProvider) -> Lane:
    lane.runtime.observer = Observer(provider)
    return lane


async def test_the_context_passes_untouched_where_nothing_is_recorded(lane: Lane, backend: Backend):
    await fetch(lane.port, headers=FIELDS)
    request = backend.requests[0]
    assert request.all("traceparent") == [PARENT.encode()]
    assert request.all("tracestate") == [b"a=1", b"b=2"]
    assert request.all("baggage") == [b"c=3"]


async def test_no_context_is_made_up_where_nothing_is_recorded(lane: Lane, backend: Backend):
    await fetch(lane.port)
    assert backend.requests[0].header("traceparent") is None


async def test_the_backend_sees_our_span_as_its_parent(
    lane: Lane, backend: Backend, provider: TracerProvider, exporter: InMemorySpanExporter
):
    traced(lane, provider)
    await fetch(lane.port, headers=FIELDS)
    await eventually(lambda: len(exporter.get_finished_spans()) == 1)
    [span] = exporter.get_finished_spans()
    _, trace_id, _, flags = PARENT.split("-")
    request = backend.requests[0]
    assert request.all("traceparent") == [f"00-{trace_id}-{span.context.span_id:016x}-{flags}".encode()]
    assert request.all("tracestate") == [b"a=1", b"b=2"]
    assert span.attributes is not None
    assert span.attributes["sidebeat.backend"] == f"127.0.0.1:{backend.port}"


async def test_every_attempt_bears_the_same_span(
    start_lane: StartLane, backend: Backend, bad: Backend, provider: TracerProvider, exporter: InMemorySpanExporter
):
    bad.refuse()
    lane = traced(await start_lane(bad.url, backend.url), provider)
    for _ in range(2):
        await fetch(lane.port, headers=FIELDS)
    await eventually(lambda: len(exporter.get_finished_spans()) == 2)
    spans = exporter.get_finished_spans()
    assert sorted(len(span.events) for span in spans) == [1, 2]
    parents = {request.all("traceparent")[0].split(b"-")[2].decode() for request in backend.requests}
    assert parents == {f"{span.context.span_id:016x}" for span in spans}
