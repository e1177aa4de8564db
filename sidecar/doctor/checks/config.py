"""The config, against the machine that it runs on and against itself."""

from collections.abc import Iterable, Iterator

from sidecar.contract.config import Config, HealthCheck
from sidecar.contract.config.listen import Socket
from sidecar.contract.model import Address
from sidecar.doctor.facts import Facts
from sidecar.doctor.finding import Finding, fail, ok, or_else, warn

SLOW_S = 15.0
"""Longer than that, most clients have given up before a backend that hangs is out (a proxy's usual patience)."""
FEW_FILES = 4_096
"""Two for each request under way; 1,024 is what a shell gives by default."""
OWN_FILES = 64
"""What a worker opens beside connections: sockets, the board, the store, logs."""
REST_S = 2.0
"""After the workers: the master, the monitor and the store."""


def timing(facts: Facts) -> Iterator[Finding]:
    """How long a backend that hangs, and answers nothing, is still asked."""
    if facts.config is None:
        return
    times = {name: hanging_s(pool.health_check) for name, pool in facts.config.pools.items()}
    found = (
        warn(
            "timing", f"a backend of {name} that hangs is down only after {took_s:.1f} s",
            f"lower timeout_s, interval_s or fall of pools.{name}.health_check",
        )
        for name, took_s in times.items()
        if took_s > SLOW_S
    )  # fmt: skip
    longest = max(times.values())
    yield from or_else(found, ok("timing", f"a backend that hangs is down within {longest:.1f} s"))


def hanging_s(check: HealthCheck) -> float:
    """From a backend's last answer to the verdict: the rest until the next probe, then ``fall`` that time out."""
    return (
        check.interval_s * 1.1 + check.timeout_s + (check.fall - 1) * max(check.fast_interval_s * 1.1, check.timeout_s)
    )


def stopping(facts: Facts) -> Iterator[Finding]:
    """Whether whoever stops us waits until we have drained."""
    if facts.config is None:
        return
    ours_s = facts.config.listen.graceful_timeout_s + REST_S
    if facts.machine.kill_after is None:
        yield ok("stopping", f"a drain takes up to {ours_s:g} s; whoever stops us has to wait for as long")
        return
    who, default_s = facts.machine.kill_after
    if ours_s > default_s:
        seen = f"a drain takes up to {ours_s:g} s, and {who} kills after {default_s:g} s unless told otherwise"
        yield warn("stopping", seen, f"{_GRACE[who].format(ours_s + 1)}, or lower listen.drain_timeout_s")
    else:
        yield ok("stopping", f"a drain takes up to {ours_s:g} s, and {who} waits for {default_s:g} s")


_GRACE = {
    "Kubernetes": "terminationGracePeriodSeconds: {:.0f}",
    "Docker": "stop_grace_period: {:.0f}s (or docker stop -t)",
    "systemd": "TimeoutStopSec={:.0f}",
}


def files(facts: Facts) -> Iterator[Finding]:
    """Whether a worker may open as many files as it needs for its connections."""
    limit, config = facts.machine.open_files, facts.config
    if limit is None:
        return
    fix = "LimitNOFILE=65536 (systemd), ulimits: nofile (compose) or `ulimit -n 65536`"
    needed = OWN_FILES + 2 * _most_connections(config) if config else 0
    workers = config.listen.workers if config else 1
    if needed > limit:
        seen = f"a worker may open {limit} files, and max_connections lets it need {needed}"
        yield fail("files", seen, f"{fix}, or lower max_connections")
    elif limit < FEW_FILES:
        seen = f"a worker may open {limit} files: about {(limit - OWN_FILES) // 2} requests at a time, {workers} times"
        yield warn("files", seen, fix)
    else:
        yield ok(
            "files",
            f"each of {workers} workers may open {limit} files: some {(limit - OWN_FILES) // 2} requests at a time",
        )


def _most_connections(config: Config) -> int:
    """Of one worker to all backends, where there is a limit."""
    return sum(pool.connections.max_connections * len(pool.members) for pool in config.pools.values())


def proxies(facts: Facts) -> Iterator[Finding]:
    """Whether anybody may say who a client is."""
    if facts.config is None:
        return
    listen = facts.config.listen
    trusting = [str(network) for network in listen.trusted_proxies if network.prefixlen == 0]
    if trusting:
        level = fail if _beyond(listen.public_sockets) else warn
        seen = f"listen.trusted_proxies has {', '.join(trusting)}: every client may say that it is another one"
        yield level("trust", seen, "name the networks of your load balancers only")
    else:
        count = len(listen.trusted_proxies)
        yield ok(
            "trust", f"{count} networks may say who a client is" if count else "nobody else may say who a client is"
        )


def exposure(facts: Facts) -> Iterator[Finding]:
    """Whether what is ours alone is open to others."""
    if facts.config is None:
        return
    listen = facts.config.listen
    found = []
    if _beyond([listen.admin_socket]):
        seen = f"listen.admin is {listen.admin}: whoever reaches it reads metrics and backends"
        found.append(warn("exposure", seen, "bind it to loopback or unix:PATH, or keep others out by a firewall"))
    if facts.config.console.enabled and _beyond([listen.console_socket]):
        seen = f"listen.console is {listen.console}: its token passes in clear"
        found.append(warn("exposure", seen, "bind it to loopback and go there by SSH, or put TLS in front"))
    yield from or_else(found, ok("exposure", "admin and console are on this machine only"))


def _beyond(sockets: Iterable[Socket]) -> bool:
    """Whether one of them can be reached from another machine."""
    return not all(Address(tls=False, host=socket.host, path=socket.path).is_local for socket in sockets)
