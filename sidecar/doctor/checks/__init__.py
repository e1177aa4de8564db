"""The checks: each a pure function from the facts to findings, and one that says that all is well where it is."""

from collections.abc import Callable, Iterator

from sidecar.doctor.checks.backends import connections, doubled_fields, probes
from sidecar.doctor.checks.config import exposure, files, proxies, stopping, timing
from sidecar.doctor.checks.running import backends, endpoints, latency, monitors, one_system, reloads, workers
from sidecar.doctor.checks.store import access, clock, memory, role
from sidecar.doctor.facts import Facts
from sidecar.doctor.finding import Finding

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    monitors, workers, backends, latency, one_system, endpoints, reloads,
    probes, connections, doubled_fields,
    role, clock, memory, access,
    timing, stopping, files, proxies, exposure,
)  # fmt: skip


def all_findings(facts: Facts) -> list[Finding]:
    """What all of them find, in their order."""
    return [finding for check in CHECKS for finding in check(facts)]
