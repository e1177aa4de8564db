"""Spans of requests, by the real SDK with an exporter in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from worker.access import Ended, Entry, Tried
from worker.headers import Peer
from worker.http1 import RequestHead, read_request
from worker.trace import Tracer

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT[:-1] + "0"
PEER = Peer(address="192.0.2.1", port=80, trusted=False)


def head_of(
    *fields: str, method: str = "GET", target: str = "/a?b=secret", host: str = "shop.example:8000"
) -> RequestHead:
    lines = "".join(f"\r\n{field}" for field in (f"Host: {host}", *fields))
    head = read_request(f"{method} {target} HTTP/1.1{lines}\r\n\r\n".encode(), 65_536, 100)
    assert head is not None
    return head


def entry_of(head: RequestHead, **changes: Any) -> Entry:
    usual = Entry(0.0, head, b"192.0.2.7", 200, 5, 13, 0.02, 0.01, "api", "b1", (), "", Ended.COMPLETE, None)
    return usual._replace(**changes)


class Traced:
    """A tracer, and what it has exported."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False, **options)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = Tracer(self._provider.get_tracer("test"))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def record(self, head: RequestHead, **changes: Any) -> ReadableSpan:
        span = self.tracer.begin(head, PEER, b"192.0.2.7")
        assert span is not None
        span.end(entry_of(span.head, **changes))
        return self.spans[-1]

    def close(self) -> None:
        self._provider.shutdown()


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.close()


def test_a_span_says_what_the_conventions_ask_for(traced: Traced):
    span = traced.record(head_of())
    assert (span.name, span.kind) == ("GET", SpanKind.SERVER)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "url.path": "/a",
        "url.scheme": "http",
        "server.address": "shop.example",
        "server.port": 8000,
        "client.address": "192.0.2.7",
        "network.peer.address": "192.0.2.1",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.request.body.size": 5,
        "http.response.body.size": 13,
        "sidebeat.pool": "api",
        "sidebeat.backend": "b1",
        "sidebeat.attempts": 1,
        "sidebeat.ended": "complete",
    }


def test_a_span_lasts_as_long_as_the_request(traced: Traced):
    span = traced.record(head_of(), duration_s=2.5)
    assert span.start_time is not None
    assert span.end_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("changes", "error", "status"),
    [
        ({"status": 404}, None, StatusCode.UNSET),
        ({"status": 500}, "500", StatusCode.ERROR),
        ({"status": 502, "failure": "connect_refused"}, "connect_refused", StatusCode.ERROR),
        ({"ended": Ended.CUT, "failure": "response_cut_short"}, "response_cut_short", StatusCode.ERROR),
        ({"status": 499, "ended": Ended.CLIENT_GONE}, None, StatusCode.UNSET),
    ],
)
def test_an_error_is_ours_or_the_backends(
    traced: Traced, changes: dict[str, Any], error: str | None, status: StatusCode
):
    span = traced.record(head_of(), **changes)
    assert (span.attributes or {}).get("error.type") == error
    assert span.status.status_code is status


def test_attempts_are_events(traced: Traced):
    span = traced.record(head_of(), backend="b2", tried=(Tried("b1", "connect_refused", 0.0),))
    assert [dict(event.attributes or {}) for event in span.events] == [
        {"sidebeat.attempt": 1, "sidebeat.backend": "b1", "error.type": "connect_refused"},
        {"sidebeat.attempt": 2, "sidebeat.backend": "b2"},
    ]


def test_the_backend_is_told_of_our_span_and_we_hear_of_the_clients(traced: Traced):
    came = head_of(f"Traceparent: {PARENT}", "tracestate: a=1,b=2", "X-Last: 1")
    before = came.fields
    span = traced.tracer.begin(came, PEER, b"")
    assert span is not None
    span.end(entry_of(span.head))
    [recorded] = traced.spans
    assert recorded.parent is not None
    assert f"{recorded.parent.span_id:016x}" == PARENT.split("-")[2]
    assert f"{recorded.context.trace_id:032x}" == PARENT.split("-")[1]
    ours = f"\r\ntraceparent: 00-{PARENT.split('-')[1]}-{recorded.context.span_id:016x}-01".encode()
    assert span.head.fields == b"\r\nHost: shop.example:8000\r\ntracestate: a=1,b=2\r\nX-Last: 1" + ours
    assert came.fields == before


@pytest.mark.parametrize("fields", [(), (f"traceparent: {PARENT}",) * 2, ("traceparent: nonsense", "tracestate: a=1")])
def test_a_trace_of_our_own_begins_where_there_is_none_to_be_part_of(traced: Traced, fields: tuple[str, ...]):
    span = traced.tracer.begin(head_of(*fields), PEER, b"")
    assert span is not None
    span.end(entry_of(span.head))
    assert traced.spans[0].parent is None
    assert span.head.fields.count(b"traceparent: ") == 1
    assert b"tracestate" not in span.head.fields


def test_what_is_not_recorded_passes_as_it_came():
    traced = Traced(sampler=ParentBased(ALWAYS_OFF))
    for fields in ((), (f"traceparent: {UNSAMPLED}", "tracestate: a=1")):
        assert traced.tracer.begin(head_of(*fields), PEER, b"") is None
    assert not traced.spans
    traced.close()


def test_a_method_that_nobody_knows_names_no_span(traced: Traced):
    span = traced.record(head_of(method="BREW"))
    assert span.name == "HTTP"
    assert span.attributes is not None
    assert (span.attributes["http.request.method"], span.attributes["http.request.method_original"]) == (
        "_OTHER",
        "BREW",
    )


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [("a", "a", None), ("[::1]:80", "[::1]", 80), ("[::1]", "[::1]", None), ("a:", "a:", None)],
)
def test_the_servers_name_is_the_one_that_was_asked_for(traced: Traced, host: str, address: str, port: int | None):
    attributes = traced.record(head_of(host=host)).attributes or {}
    assert (attributes["server.address"], attributes.get("server.port")) == (address, port)
