"""What is written down about requests, and in which words."""

from typing import Literal

from pydantic import Field

from sidecar.contract.config.section import Ratio, Section

STREAMS = {"stdout": 1, "stderr": 2}
"""What is no path, and its descriptor."""


class Log(Section):
    """``access``: a line for each proxied request, at its end; ``sample`` is the part of them that gets one.

    A server error and an answer that its client did not get are logged whatever the sample. ``file``: where these lines
    go, ``stdout``, ``stderr`` or a path; opened again at SIGUSR1. ``format``: of all other lines, which go to stderr.
    """

    access: Literal["off", "json", "logfmt", "common"] = "off"
    sample: Ratio = 1.0
    file: str = Field(default="stdout", min_length=1)
    format: Literal["logfmt", "json"] = "logfmt"


class Tracing(Section):
    """Spans of requests and probes, exported as the OpenTelemetry SDK's own variables (``OTEL_…``) say.

    ``enabled``: None traces where those variables name an exporter or where it is, and the SDK is installed.
    ``service``: the name of the service in spans; OTEL_SERVICE_NAME comes first.
    """

    enabled: bool | None = None
    service: str = Field(default="sidebeat", min_length=1)
