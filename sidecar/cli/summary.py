"""A config in a few lines, as `sidebeat check` shows it: what is in force, defaults included."""

from collections.abc import Iterator

from sidecar.contract.config import Config, HealthCheck, Pool, Route
from sidecar.contract.whereabouts import without_password


def summary(config: Config) -> Iterator[str]:
    """Listening addresses, store, pools and routes."""
    listen, store = config.listen, config.store
    yield f"proxy    {', '.join(listen.binds_as_written)}; {_count(listen.workers, 'worker')}"
    yield f"admin    {listen.admin}"
    yield f"console  {listen.console if config.console.enabled else 'off'}"
    url = without_password(store.url) if store.url else "a private one that `sidebeat up` starts"
    yield f"store    {url}; namespace {store.namespace}, host {store.host}"
    for name, pool in config.pools.items():
        yield f"pool     {config.key_name(name)}: {_pool(pool)}"
    for route in config.effective_routes:
        yield f"route    {_route(route)} -> {route.pool}"


def _pool(pool: Pool) -> str:
    check = pool.health_check
    members = ", ".join(f"{backend.id} (backup)" if backend.backup else backend.id for backend in pool.members)
    return f"{members}; {_question(check)} each {check.interval_s:g} s, {pool.balancing.policy}"


def _question(check: HealthCheck) -> str:
    match check.type:
        case "http":
            return f"{check.method} {check.path}"
        case "websocket" | "sse":
            return f"{check.type} {check.path}"
        case "tcp" | "tls":
            return check.type


def _route(route: Route) -> str:
    methods = f"{','.join(route.methods)} " if route.methods else ""
    return f"{methods}{route.host or ''}{route.path_prefix}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
