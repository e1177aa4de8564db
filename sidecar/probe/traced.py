"""A span for each probe, by the OpenTelemetry SDK; imported only where there are to be spans.

The backend is not told: who samples by the parent would record every look at its health.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, StatusCode
from typing_extensions import override

from sidecar.contract.config import HealthCheck
from sidecar.contract.model import Backend
from sidecar.probe.result import ProbeResult
from sidecar.probe.timed import Exchange, TimedProbe

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class TracedProbe(TimedProbe):
    """A probe that is recorded each time."""

    def __init__(self, exchange: Exchange, backend: Backend, check: HealthCheck, tracer: "Tracer") -> None:
        super().__init__(exchange, backend.address, check.timeout_s)
        self._tracer = tracer
        self._about = _about(backend, check)

    @override
    async def __call__(self) -> ProbeResult:
        span = self._tracer.start_span("probe", kind=SpanKind.CLIENT, attributes=self._about)
        try:
            result = await super().__call__()
            span.set_attributes(_outcome(result))
            if not result.passed:
                span.set_status(StatusCode.ERROR, result.reason)
        finally:
            span.end()
        return result


def _about(backend: Backend, check: HealthCheck) -> Mapping[str, str | int]:
    address = backend.address
    said: dict[str, str | int] = {
        "sidebeat.backend": backend.id,
        "sidebeat.probe.type": check.type,
        "server.address": address.path or address.host,
    }
    if address.port:
        said["server.port"] = address.port
    if check.type == "http":
        said |= {"http.request.method": check.method, "url.path": check.path.partition("?")[0]}
    return said


def _outcome(result: ProbeResult) -> Mapping[str, str | int | bool]:
    said: dict[str, str | int | bool] = {
        "sidebeat.probe.passed": result.passed,
        "sidebeat.probe.reason": result.reason,
    }
    if result.status is not None:
        said["http.response.status_code"] = result.status
    if not result.passed:
        unanswered = "refused" if result.refused else "no_answer"  # as sidebeat_probe_results_total has it
        said["error.type"] = str(result.status) if result.answered and result.status else unanswered
    return said
