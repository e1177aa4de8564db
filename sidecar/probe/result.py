"""What a probe found and what it took, and how far it is while it is under way."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidecar.verdict import Evidence

MAX_REASON_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult(Evidence):
    """What a probe found, and what it took. None: it failed before that point, or there is no such point.

    ``began`` is when it started, in monotonic seconds. ``connect_ms`` ends with the connection (before a TLS
    handshake), ``ttfb_ms`` with the response head or, for a ``tls`` probe, with the handshake, ``total_ms`` with the
    finding. ``expires_days`` is how many whole days the certificate is valid for, below 0 once it is not. Where
    ``is_void`` it says nothing of the backend, since we were late ourselves.
    """

    total_ms: float
    began: float = 0.0
    is_void: bool = False
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    status: int | None = None
    expires_days: int | None = None

    @property
    def failed_in_transport(self) -> bool:
        """Whether it failed without an answer: the fault may be the backend's, or of all that lies between."""
        return not (self.passed or self.answered or self.is_void)


class Closable(Protocol):
    """A connection, as far as its end matters."""

    async def aclose(self) -> None:
        """End it."""


@dataclass(slots=True)
class Progress:
    """How far a probe got; times are milliseconds from its start.

    ``finding`` is the end of it: what comes after is manners. ``missing`` says in words what is waited for.
    """

    began: float = field(default_factory=time.monotonic)
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    status: int | None = None
    expires_days: int | None = None
    connection: Closable | None = None
    missing: str = "no connection"
    finding: Evidence | None = None
    error: Exception | None = None
    found_ms: float | None = None

    def elapsed_ms(self) -> float:
        """From its start until now."""
        return (time.monotonic() - self.began) * 1000

    def connected(self, connection: Closable) -> None:
        """Somebody accepted us; whoever runs the probe closes it."""
        self.connect_ms, self.connection = self.elapsed_ms(), connection
        self.missing = "no answer"

    def answered(self, status: int, missing: str) -> None:
        """The head of a response came; ``missing`` is what has to follow it."""
        self.ttfb_ms, self.status = self.elapsed_ms(), status
        self.missing = f"HTTP {status}, but {missing}"

    def found(self, finding: Evidence) -> None:
        """The probe knows."""
        self.finding, self.found_ms = finding, self.elapsed_ms()

    async def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore at each step."""
        if name in ("connection.connect_tcp.complete", "connection.connect_unix_socket.complete"):
            self.connected(info["return_value"])

    def result(self, evidence: Evidence, *, is_void: bool = False) -> ProbeResult:
        """The evidence with the figures beside it. Once a status came, the backend has answered."""
        return ProbeResult(
            passed=evidence.passed,
            reason=" ".join(evidence.reason.split())[:MAX_REASON_CHARS],
            refused=evidence.refused,
            answered=evidence.answered or self.status is not None,
            advertised=evidence.advertised,
            advertised_weight=evidence.advertised_weight,
            began=self.began,
            is_void=is_void,
            total_ms=self.elapsed_ms() if self.found_ms is None else self.found_ms,
            connect_ms=self.connect_ms,
            ttfb_ms=self.ttfb_ms,
            status=self.status,
            expires_days=self.expires_days,
        )
