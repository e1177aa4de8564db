"""One probe of a backend, made as the monitor makes it."""

from sidecar.contract.config import BackendTable, HealthCheck, UpstreamTLS
from sidecar.probe import Prober, ProbeResult

SYSTEM_TRUST = UpstreamTLS()


async def probe(url: str, tls: UpstreamTLS = SYSTEM_TRUST, /, **check: object) -> ProbeResult:
    """Probe once. The deadline is short, unless the check says otherwise."""
    settings = HealthCheck.model_validate({"timeout_s": 0.3, **check})
    async with Prober() as prober:
        return await prober.probe(BackendTable(url=url).backend(), settings, tls)()
