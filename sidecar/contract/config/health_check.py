"""How the monitor probes the backends of a pool: what it asks, what it takes for well, and how often."""

import re
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sidecar.contract.config.section import Seconds, Section

ProbeType = Literal["http", "tcp", "tls", "websocket", "sse"]

_FITS: dict[str, frozenset[str]] = {
    "method": frozenset({"http"}),
    "path": frozenset({"http", "websocket", "sse"}),
    "host": frozenset({"http", "websocket", "sse"}),
    "headers": frozenset({"http", "websocket", "sse"}),
    "expected_statuses": frozenset({"http"}),
    "expected_body": frozenset({"http"}),
}
"""The types that each key says something to."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 §5.6.2, for a field's name."""
_VALUE = re.compile(r"[!-~]([ \t!-~]*[!-~])?|")
_OURS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
"""They frame the request, and are not for the config to say; nor is ``Sec-WebSocket-*``."""


class HealthCheck(Section):
    """How the monitor probes. A probe never overlaps itself: the next starts at max(start + interval, end).

    ``http`` sends a request and judges the answer; ``tcp`` connects; ``tls`` shakes hands, and tells when the
    certificate expires; ``websocket`` opens one at ``path``; ``sse`` waits for the first event of a stream.
    ``timeout_s`` is for all of a probe. ``headers`` go out beside ours, or in the place of those with the same name;
    ``host`` is the Host field, for backends that serve several names. ``expected_body`` must be in the first 64 KiB of
    the answer. ``down_interval_s`` counts while a backend is down and no probe of it passes; default: ``interval_s``.
    """

    type: ProbeType = "http"
    method: str = Field(default="GET", pattern=r"^[A-Z]+$")
    path: str = Field(default="/", pattern=r"^/[!-~]*$")
    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:\[\]-]+$", max_length=255)
    headers: dict[str, str] = Field(default={}, max_length=32)
    interval_s: Seconds = 1.0
    timeout_s: Seconds = 1.0
    fall: int = Field(default=3, ge=1, le=100)
    rise: int = Field(default=2, ge=1, le=100)
    fast_interval_s: Seconds = 0.25
    down_interval_s: Seconds | None = None
    expected_statuses: str = "200-399"
    expected_body: str | None = Field(default=None, min_length=1, max_length=4_096)

    @field_validator(*_FITS)
    @classmethod
    def _fits_the_type(cls, value: object, info: ValidationInfo) -> object:
        kind = info.data.get("type")
        if kind is not None and kind not in _FITS[info.field_name or ""]:
            raise ValueError(f"a probe of type {kind} has no {info.field_name}")
        return value

    @field_validator("method")
    @classmethod
    def _no_tunnel(cls, method: str) -> str:
        if method == "CONNECT":
            raise ValueError("a CONNECT asks for a tunnel, not for an answer")
        return method

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        seen: set[str] = set()
        for name, value in headers.items():
            lower = name.lower()
            if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError(f"{name!r} is not a field that can be sent: token characters, and printable ASCII")
            if lower == "host":
                raise ValueError("the Host field has a key of its own: host")
            if lower in _OURS or lower.startswith("sec-websocket-"):
                raise ValueError(f"{name!r} is set by the probe itself")
            if lower in seen:
                raise ValueError(f"{name!r} stands twice")
            seen.add(lower)
        return headers

    @field_validator("expected_statuses")
    @classmethod
    def _readable_statuses(cls, text: str) -> str:
        _status_ranges(text)
        return text

    @field_validator("expected_body")
    @classmethod
    def _has_a_body(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and info.data.get("method") == "HEAD":
            raise ValueError("the answer to HEAD has no body")
        return text

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if self.fast_interval_s > self.interval_s:
            if "fast_interval_s" in self.model_fields_set:
                raise ValueError(
                    f"fast_interval_s {self.fast_interval_s:g} is longer than interval_s {self.interval_s:g}"
                )
            object.__setattr__(self, "fast_interval_s", self.interval_s)
        return self

    @property
    def is_lenient(self) -> bool:
        """Whether any answer below 500 passes: many FastAPI apps have no ``/``, and nobody said what to expect."""
        return self.model_fields_set.isdisjoint({"path", "expected_statuses", "expected_body"})

    @property
    def status_ranges(self) -> list[tuple[int, int]]:
        """The statuses that pass, as closed ranges."""
        return [(100, 499)] if self.is_lenient else _status_ranges(self.expected_statuses)


def _status_ranges(text: str) -> list[tuple[int, int]]:
    ranges = []
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*([1-5]\d\d)(?:-([1-5]\d\d))?\s*", part)):
            raise ValueError(f"{part.strip()!r} is not a status like 204 or a range like 200-399")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise ValueError(f"the range {part.strip()} is empty")
        ranges.append((low, high))
    return ranges
