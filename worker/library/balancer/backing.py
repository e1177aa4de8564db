"""When a balancer's requests go through a pool of the engine's, and what that pool is made of just then."""

from collections.abc import Mapping, Sequence
from typing import get_args

from sidecar.contract.config.pools import Policy
from worker.board.membership import membership
from worker.library.balancer.members import Member, config_of
from worker.library.balancer.plain import Limits
from worker.library.balancer.pooled import Pooled
from worker.library.checker import HealthChecker
from worker.library.checker.targets import Watched, origin_of, read_targets
from worker.library.target import target_of

WINDOW_S = 10.0
"""In which limits count where no checker has an interval; a checker's own default."""


class Backing:
    """The pool of a balancer, if it needs one; another for other limits, and where a view has other ids.

    It does for every policy of ours. For the original's rule, only where something is counted that others have to
    know of: limits that siblings or a fleet share, and requests under way.

    Raises:
        ValueError: no such policy, or an address that cannot be read, or has a path.
    """

    def __init__(self, servers: Sequence[str] | HealthChecker, policy: Policy, limits: Limits) -> None:
        if policy not in get_args(Policy):
            raise ValueError(f"policy is one of {', '.join(get_args(Policy))}, not {policy!r}")
        self._policy = policy
        self._checker = servers if isinstance(servers, HealthChecker) else None
        self._watched = _watched(servers, policy)
        self._window_s = WINDOW_S if self._checker is None else self._checker.interval
        self._pooled: Pooled | None = None
        self._ids: Mapping[str, str] | None = None
        self.use(limits)

    def use(self, limits: Limits) -> None:
        """These hold from now on."""
        self._limits = limits
        self._has_limits = any(limit is not None for limit in limits.values())
        self._has_places = any(one.backend.max_inflight for one in self._watched.values())
        self._renew()

    @property
    def is_needed(self) -> bool:
        """Whether requests go through the pool."""
        if self._policy != "fastest" or self._has_places:
            return True
        if self._checker is None or not self._has_limits:
            return False
        return self._checker.is_following or membership() is not None

    @property
    def pooled(self) -> Pooled | None:
        """The pool; None where nobody may be sent anything: by the original's rule, where all are down."""
        if self._policy == "fastest" and self._checker is not None and not self._checker.get_healthy_targets():
            return None
        if self._ids is None:
            self._ids = self._known_ids()
            self._pooled = self._make(self._ids)
        return self._pooled

    def heard(self) -> None:
        """There is news of the backends."""
        if self._ids is not None and self._ids != self._known_ids():
            self._renew()
        elif self._pooled is not None:
            self._pooled.heard()

    def _renew(self) -> None:
        """Have another one made when it is needed next."""
        pooled, self._pooled, self._ids = self._pooled, None, None
        if pooled is not None:
            pooled.drop()

    def _known_ids(self) -> Mapping[str, str]:
        """By which their verdicts have them, by host."""
        ids = {} if self._checker is None else self._checker.sight.ids
        return {host: ids.get(one.backend.id, one.backend.id) for host, one in self._watched.items()}

    def _make(self, ids: Mapping[str, str]) -> Pooled | None:
        members = [
            Member(id=ids[host], host=host, backend=one.backend, max_requests=self._limits.get(host))
            for host, one in self._watched.items()
        ]
        config = config_of(members, self._policy, self._window_s)
        if config is None:
            return None
        sight = None if self._checker is None else self._checker.sight
        return Pooled(config, {member.id: member.host for member in members}, sight)


def _watched(servers: Sequence[str] | HealthChecker, policy: Policy) -> dict[str, Watched]:
    """The backends by what users call them; none where nobody will ask."""
    if isinstance(servers, HealthChecker):
        return servers.watched
    if policy == "fastest":
        return {}
    for server in servers:
        if target_of(server).base:
            raise ValueError(f"{server!r} may not have a path: a policy may ask any of them for any request")
    named = {origin_of(server): server for server in servers}
    return {named[one.host]: one for one in read_targets(servers, "/")}
