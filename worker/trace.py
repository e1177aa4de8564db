"""A span for each forwarded request, by the OpenTelemetry SDK; imported only where there are to be spans.

Where a span is recorded, the backend is told of it as its parent (W3C Trace Context). Where none is, ``traceparent``
and ``tracestate`` pass as they came, like any other field. Names and attributes are those of the semantic conventions
for HTTP servers (1.23), and ours for what those have no word for.
"""

import re
import time
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.access import Ended, Entry
from worker.headers import Peer
from worker.http1 import RequestHead
from worker.route import path_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span as SdkSpan
    from opentelemetry.trace import Tracer as SdkTracer

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
"""What a span may be named after (RFC 9110 §9, 5789, and the QUERY draft); any other method is ``HTTP``."""
_CONTEXT = re.compile(rb"\r\n((?i:traceparent|tracestate)):[ \t]*+([^\r]*+)")
_PARENT = re.compile(rb"\r\n(?i:traceparent):[^\r]*+")
_PARENT_AND_STATE = re.compile(rb"\r\n(?i:traceparent|tracestate):[^\r]*+")
_PORT = re.compile(r"(.*[^:\]]|\[.*\]):(\d+)")
_propagator = TraceContextTextMapPropagator()


class Tracer:
    """Begins spans."""

    def __init__(self, tracer: "SdkTracer") -> None:
        self._tracer = tracer

    def begin(self, head: RequestHead, peer: Peer, client: bytes) -> "Span | None":
        """A request has come from this client; None where it is not recorded."""
        context, is_known = _context_of(head.fields)
        method = head.method.decode()
        is_usual = method in _METHODS
        began_ns = time.time_ns()
        span = self._tracer.start_span(
            method if is_usual else "HTTP",
            context=context,
            kind=SpanKind.SERVER,
            attributes=_said_of(head, peer, client, method if is_usual else "_OTHER"),
            start_time=began_ns,
        )
        if not span.is_recording():
            return None
        return Span(span, began_ns, _with_parent(head, span, is_known=is_known))


class Span:
    """A request that is recorded; ``head`` is the one to send."""

    __slots__ = ("_began", "_began_ns", "_span", "head")

    def __init__(self, span: "SdkSpan", began_ns: int, head: RequestHead) -> None:
        """``began_ns`` is when it did, just now (unix time)."""
        self._span = span
        self._began = time.monotonic()
        self._began_ns = began_ns
        self.head = head

    def end(self, entry: Entry) -> None:
        """It is over, and this is what became of it."""
        span = self._span
        for number, each in enumerate(entry.tried, 1):
            self._attempt(number, each.backend, each.at, {"error.type": each.failure})
        if entry.backend:
            took_s = entry.duration_s if entry.ttfb_s is None else entry.ttfb_s
            why = {"error.type": entry.failure} if entry.failure else {}
            self._attempt(entry.attempts, entry.backend, self._began + took_s, why)
        span.set_attributes(_outcome(entry))
        if entry.status >= 500 or entry.ended is Ended.CUT:
            span.set_status(StatusCode.ERROR)
        span.end(self._unix_ns(self._began + entry.duration_s))

    def _attempt(self, number: int, backend: str, at: float, why: dict[str, str]) -> None:
        """A backend was asked, and this is when that was decided."""
        self._span.add_event(
            "attempt", {"sidebeat.attempt": number, "sidebeat.backend": backend, **why}, self._unix_ns(at)
        )

    def _unix_ns(self, at: float) -> int:
        """A point in monotonic time as the span has it."""
        return self._began_ns + int((at - self._began) * 1e9)


def _context_of(fields: bytes) -> tuple[Context, bool]:
    """What the request says it is part of, and whether it says so: more than one parent is none."""
    found = _CONTEXT.findall(fields)
    parents = [value for name, value in found if name.lower() == b"traceparent"]
    states = [value.strip(b" \t") for name, value in found if name.lower() == b"tracestate"]
    carrier = {"tracestate": b",".join(states).decode("latin-1")}
    if len(parents) == 1:
        carrier["traceparent"] = parents[0].strip(b" \t").decode("latin-1")
    context = _propagator.extract(carrier, Context())
    return context, get_current_span(context).get_span_context().is_valid


def _with_parent(head: RequestHead, span: "SdkSpan", *, is_known: bool) -> RequestHead:
    """The head that names the span as the parent; the state of a trace that could not be read goes with that (§4.3)."""
    its = span.get_span_context()
    theirs = (_PARENT if is_known else _PARENT_AND_STATE).sub(b"", head.fields)
    changed = copy(head)  # the head as it came is what the connection compares the next one with
    changed.fields = theirs + b"\r\ntraceparent: 00-%032x-%016x-%02x" % (its.trace_id, its.span_id, its.trace_flags)
    return changed


def _said_of(head: RequestHead, peer: Peer, client: bytes, method: str) -> Mapping[str, str | int]:
    """What is known at the beginning, which a sampler may go by. No query: that is where secrets are."""
    host = head.host.decode("latin-1")
    found = _PORT.fullmatch(host)
    said: dict[str, str | int] = {
        "http.request.method": method,
        "url.path": path_of(head.target).decode("latin-1"),
        "url.scheme": peer.scheme.decode(),
        "server.address": found[1] if found else host,
        "client.address": client.decode("latin-1"),
        "network.peer.address": peer.address.decode("latin-1"),
        "network.protocol.version": f"1.{head.version}",
    }
    if found:
        said["server.port"] = int(found[2])
    if method == "_OTHER":
        said["http.request.method_original"] = head.method.decode()
    return said


def _outcome(entry: Entry) -> Mapping[str, str | int]:
    """What is known at the end."""
    said: dict[str, str | int] = {
        "http.request.body.size": entry.bytes_up,
        "http.response.body.size": entry.bytes_down,
        "sidebeat.pool": entry.pool,
        "sidebeat.attempts": entry.attempts,
        "sidebeat.ended": str(entry.ended),
    }
    if entry.ttfb_s is not None or entry.failure:
        said["http.response.status_code"] = entry.status
    if entry.backend:
        said["sidebeat.backend"] = entry.backend
    if error := entry.failure or (str(entry.status) if entry.status >= 500 else ""):
        said["error.type"] = error
    if entry.messages is not None:
        said["sidebeat.messages"] = entry.messages
    return said
