"""A span for each probe, by the real SDK with an exporter in memory."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from backend import Backend, answers
from sidecar.contract.config import HealthCheck, UpstreamTLS, parse
from sidecar.probe import Prober


async def test_each_probe_is_a_span(backend: Backend):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    [member] = parse({"pools": {"api": {"backends": [backend.url]}}}, {}).pools["api"].members
    async with Prober(provider.get_tracer("test")) as prober:
        probe = prober.probe(member, HealthCheck(path="/health?secret", timeout_s=20.0), UpstreamTLS())
        assert (await probe()).passed
        backend.handler = answers(status=503)
        assert not (await probe()).passed
    well, ill = exporter.get_finished_spans()
    assert (well.name, well.kind, well.status.status_code) == ("probe", SpanKind.CLIENT, StatusCode.UNSET)
    assert well.attributes is not None
    assert well.attributes["sidebeat.backend"] == member.id
    assert (well.attributes["url.path"], well.attributes["http.response.status_code"]) == ("/health", 200)
    assert ill.attributes is not None
    assert (ill.status.status_code, ill.attributes["error.type"]) == (StatusCode.ERROR, "503")
    assert [request.header("traceparent") for request in backend.requests] == [None, None]
    provider.shutdown()
