"""One probe of a backend, made as the monitor makes it."""

from sidecar.contract.config import BackendTable, HealthCheck, UpstreamTLS
from sidecar.probe import Prober, ProbeResult

SYSTEM_TRUST = UpstreamTLS()


async def probe(url: str, tls: UpstreamTLS = SYSTEM_TRUST, /, **check: object) -> ProbeResult:
    """Probe, and again while it does not count. The deadline is far away, unless the check says otherwise."""
    settings = HealthCheck.model_validate({"timeout_s": 20.0, **check})
    async with Prober() as prober:
        once = prober.probe(BackendTable(url=url).backend(), settings, tls)
        while (result := await once()).is_void:
            pass
        return result
