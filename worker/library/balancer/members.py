"""From what a balancer is given to the config of its pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.config.pools import Policy
from sidecar.contract.model import Backend

PATIENCE_S = 60.0
"""What a pool waits for a connection and for a head; calls have deadlines of their own, which come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A backend under the id that its verdicts have, what its users call it, and its limit; None: it has none."""

    id: str
    host: str
    backend: Backend
    max_requests: int | None


def config_of(members: Sequence[Member], policy: Policy, window_s: float) -> PoolConfig | None:
    """The pool's config; None where nobody may be sent anything: every limit is 0.

    ``fastest`` keeps the original's word for one failure, one error: only the policies of ours try elsewhere.
    """
    backends = [_table(member) for member in members if member.max_requests is None or member.max_requests > 0]
    if not backends:
        return None
    content: dict[str, Any] = {
        "backends": backends,
        "scope": "host",  # says only what is allowed to stand together
        "max_requests_window_s": window_s,
        "timeouts": {"connect_s": PATIENCE_S, "response_headers_s": PATIENCE_S},
        "balancing": {"policy": policy},
    }
    if policy == "fastest":
        content["retry"] = {"num_retries": 0, "connect_retries": 0}
    return PoolConfig.model_validate(content)


def _table(member: Member) -> Mapping[str, object]:
    backend = member.backend
    return {
        "id": member.id,
        "url": backend.url,
        "weight": backend.weight,
        "backup": backend.backup,
        "zone": backend.zone,
        "max_inflight": backend.max_inflight,
        "max_requests": member.max_requests,
    }
