"""Probes that ask nothing: somebody accepts (``tcp``), and can say who it is (``tls``)."""

from sidecar.probe.dial import Dial
from sidecar.probe.result import Progress
from sidecar.verdict import Evidence


class TcpExchange:
    """Well is who accepts a connection."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    async def __call__(self, progress: Progress) -> None:
        """Connect."""
        await self._dial(progress)
        progress.found(Evidence(passed=True, answered=True, reason="connected"))


class TlsExchange:
    """Well is who finishes a TLS handshake with a certificate that the TLS table trusts."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    async def __call__(self, progress: Progress) -> None:
        """Connect and shake hands."""
        await self._dial(progress)
        progress.ttfb_ms = progress.elapsed_ms()
        days = progress.expires_days
        expiry = "" if days is None else f", certificate {_expiry(days)}"
        progress.found(Evidence(passed=True, answered=True, reason=f"TLS{expiry}"))


def _expiry(days: int) -> str:
    if days < 0:
        return f"expired {-days} day{'s' * (days != -1)} ago"
    return f"expires in {days} day{'s' * (days != 1)}"
