"""Spans, by the OpenTelemetry SDK: whether they are wanted, and where they go.

The SDK is an extra, and it takes a tenth of a second to import: it is looked at only where somebody wants spans. What
is exported, how and how much of it, is said in the variables that all of its users know (``OTEL_…``).
"""

import importlib.util
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING

from sidecar.contract.config import ConfigError, Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

INSTALL = "install sidebeat[otel]"
FLUSH_S = 1.0
"""What a process that ends gives a collector to take its last spans: a master waits half a second more."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def has_sdk() -> bool:
    """Whether the SDK is installed; imports nothing of it."""
    try:
        return importlib.util.find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


def is_wanted(tracing: Tracing, environ: Mapping[str, str]) -> bool:
    """Whether to trace: as configured, else where the variables say so and the SDK is there."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if tracing.enabled is not None:
        return tracing.enabled
    exporter = environ.get("OTEL_TRACES_EXPORTER", "")
    is_said = exporter != "none" if exporter else any(environ.get(name) for name in _ENDPOINTS)
    return is_said and has_sdk()


def provider_for(tracing: Tracing, environ: Mapping[str, str]) -> "TracerProvider | None":
    """What makes the spans of this process, None where none are wanted. Call it after the last fork: it has a thread.

    Raises:
        ConfigError: they are wanted, and a package for that is missing.
    """
    if not is_wanted(tracing, environ):
        return None
    if not has_sdk():
        raise ConfigError([f"tracing.enabled: the OpenTelemetry SDK is missing: {INSTALL}"])
    exporters = [_exporter(name, environ) for name in environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")]
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):  # the variables name none
        resource = resource.merge(Resource({SERVICE_NAME: tracing.service}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    return provider


def tracer_of(provider: "TracerProvider") -> "Tracer":
    """What spans are made with, under our name."""
    return provider.get_tracer("sidebeat", version("sidebeat"))


def shut_down(provider: "TracerProvider") -> None:
    """Export what is left, for ``FLUSH_S`` at most: a collector that is away must not keep us from ending."""
    ending = threading.Thread(target=provider.shutdown, daemon=True)
    ending.start()
    ending.join(FLUSH_S)


def _exporter(name: str, environ: Mapping[str, str]) -> "Callable[[], SpanExporter]":
    wanted = name.strip()
    if wanted == "otlp":
        protocol = next((environ[each] for each in _PROTOCOLS if environ.get(each)), "http/protobuf")
        wanted = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    for found in entry_points(group="opentelemetry_traces_exporter", name=wanted):
        made: Callable[[], SpanExporter] = found.load()
        return made
    raise ConfigError([f"tracing.enabled: there is no exporter {wanted!r}: {INSTALL}, or the package that has it"])
