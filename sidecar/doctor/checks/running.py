"""The parts that run: whether they are there, and know the same."""

from collections.abc import Iterator
from dataclasses import replace

from sidecar.contract.latency import MIN_SAMPLES
from sidecar.contract.recent import WINDOW_S
from sidecar.doctor.facts import Asked, Facts
from sidecar.doctor.finding import Finding, fail, ok, or_else, warn
from sidecar.status import BackendStatus, PoolStatus, printable
from sidecar.status.records import FRESH_MS
from sidecar.status.traffic import is_slow_to_probes, slowest, takes_traffic
from sidecar.status.words import milliseconds

LOST_MS = 30_000
"""A worker does not go by a view that is older than this (worker.view)."""
BUSY_RPS = MIN_SAMPLES / WINDOW_S
"""With fewer requests a second, what a backend took of late is chance: one connection that had to be made."""


def monitors(facts: Facts) -> Iterator[Finding]:
    """Whether somebody probes, and is believed."""
    if facts.store.trouble:
        return
    if not facts.status.pools:
        seen = f"no pool was ever published in the namespace {facts.status.namespace!r}"
        yield fail("monitor", seen, "start `sidebeat up` or `sidebeat monitor`, or name the right --namespace")
        return
    found = (each for name, pool in facts.status.pools.items() for each in _of_monitor(name, pool))
    leaders = sorted({pool.leader for pool in facts.status.pools.values() if pool.leader})
    yield from or_else(found, ok("monitor", f"{', '.join(map(printable, leaders))} leads, and was heard from lately"))


def _of_monitor(name: str, pool: PoolStatus) -> Iterator[Finding]:
    if pool.problem:
        yield fail("monitor", f"{name}: {printable(pool.problem)}", "start a monitor: it writes the view anew")
    elif pool.leader is None or pool.is_silent:
        heard = "never" if pool.age_ms is None else f"{pool.age_ms / 1000:.0f} s ago"
        seen = f"{name}: no monitor leads, one was heard from {heard}: workers route on what they see themselves"
        yield fail("monitor", seen, "start `sidebeat monitor -c FILE`; its log says why the last one ended")
    if pool.suspect:
        seen = f"{name}: the monitor mistrusts its own probes: {printable(pool.suspect)}"
        yield warn("monitor", seen, "look at the network between the monitor and the backends")


def workers(facts: Facts) -> Iterator[Finding]:
    """Whether workers report, and route on the view of now. Epochs are close to unix ms of their publication."""
    now = facts.status.now_ms
    found = (each for name, pool in facts.status.pools.items() for each in _of_workers(name, pool, now))
    count = sum(len(pool.workers) for pool in facts.status.pools.values())
    if facts.status.pools:
        yield from or_else(found, ok("workers", f"{count} report{'s' if count == 1 else ''}, all on the view of now"))


def _of_workers(name: str, pool: PoolStatus, now_ms: int) -> Iterator[Finding]:
    if not pool.workers:
        yield fail(
            "workers", f"{name}: no worker reports", "start `sidebeat worker -c FILE` with the same store and namespace"
        )
    for each in pool.workers:
        who = printable(f"{name}: worker {each.host}:{each.instance}:{each.slot} (pid {each.pid})")
        fix = "look for `store-down` in its log: it cannot hear the store"
        if each.view_age_ms is None or each.view_age_ms > LOST_MS:
            yield fail("workers", f"{who} has no view that counts", fix)
        elif each.view_age_ms > FRESH_MS and not pool.is_silent:
            yield warn("workers", f"{who} routes on a view of {each.view_age_ms / 1000:.0f} s ago", fix)
        elif each.applied_epoch < (pool.epoch or 0) < now_ms - FRESH_MS:
            yield warn(
                "workers", f"{who} has not applied the view of epoch {pool.epoch}, but {each.applied_epoch}", fix
            )


def backends(facts: Facts) -> Iterator[Finding]:
    """Whether the backends take traffic, and if not, on whose word."""
    named = {
        f"{name}/{each}": found for name, pool in facts.status.pools.items() for each, found in pool.backends.items()
    }
    found = [each for name, backend in named.items() for each in _of_backend(printable(name), backend)]
    empty = [
        fail("backends", f"{name}: none of its backends takes traffic: everybody gets those that failed least recently",
             "mend one of them, or `sidebeat ready POOL/BACKEND`")
        for name, pool in facts.status.pools.items()
        if pool.backends and not any(takes_traffic(each) for each in pool.backends.values())
    ]  # fmt: skip
    if named:
        yield from or_else([*empty, *found], ok("backends", f"all {len(named)} take traffic"))


def _of_backend(name: str, backend: BackendStatus) -> Iterator[Finding]:
    reason = printable(backend.reason)
    if backend.admin != "ready":
        by = f" by {printable(backend.asked_by)}" if backend.asked_by else ""
        yield warn("backends", f"{name} is in {backend.admin}{by}", f"`sidebeat ready {name}` when it may come back")
    elif backend.state == "unhealthy":
        yield fail(
            "backends", f"{name} is down: {reason}", f"look at {backend.url}; `sidebeat events {name}` says since when"
        )
    elif backend.state != "healthy":
        yield warn("backends", f"{name} is {backend.state}: {reason}", f"look at {backend.url}")
    if backend.ejected_ms or backend.ejected_on:
        where = ", ".join(map(printable, backend.ejected_on)) or "the whole fleet"
        seen = f"{name} is ejected on {where}: requests to it failed, whatever its probes say"
        yield warn("backends", seen, f"look into the log of {backend.url}; `sidebeat top` shows its errors")


def latency(facts: Facts) -> Iterator[Finding]:
    """Whether a backend is much slower than its peers, of late, at what is asked of it; of the busy ones alone."""
    busy = {name: _busy(pool) for name, pool in facts.status.pools.items()}
    named = {name: slow for name, pool in busy.items() if (slow := slowest(pool)) is not None}
    found = [_of_slow(f"{name}/{slow}", busy[name].backends[slow]) for name, slow in named.items()]
    if any(each.p99_ms is not None for pool in busy.values() for each in pool.backends.values()):
        yield from or_else(found, ok("latency", "no backend is much slower than the others of its pool"))


def _busy(pool: PoolStatus) -> PoolStatus:
    """The pool with those of its backends that have enough to do for a quantile."""
    return replace(pool, backends={name: each for name, each in pool.backends.items() if (each.rps or 0.0) >= BUSY_RPS})


def _of_slow(name: str, backend: BackendStatus) -> Finding:
    name, took = printable(name), milliseconds(backend.probe_ms)
    fix = f"`sidebeat drain {name}` takes it out while you look; `sidebeat explain GET URL` says what share it gets now"
    if is_slow_to_probes(backend):
        where, fix = f"so is its probe ({took})", f"look at the machine of {backend.url}, and the way to it; {fix}"
    else:
        where = f"its probe is not ({took})" if took else "its probe is not timed"
        fix = f"look at what requests to {backend.url} wait for, such as a database or places in its own pool; {fix}"
    seen = f"{name} is the slowest of its pool: a p99 of {milliseconds(backend.p99_ms)}, twice the others' or more"
    return warn("latency", f"{seen}; {where}", fix)


def one_system(facts: Facts) -> Iterator[Finding]:
    """Whether the namespace is one system's, and all of it runs on one config."""
    found = [
        warn("namespace", f"{name}: the store changed its identity while we looked ({' -> '.join(ids)})",
             "two clusters publish in one namespace, or the store restarts: give each its own store.namespace")
        for name, ids in facts.store_ids.items()
        if len(set(ids)) > 1
    ]  # fmt: skip
    config = facts.config
    for written, pool in config.pools.items() if config else ():
        published = facts.status.pools.get(config.key_name(written)) if config else None
        if published is not None and published.config_hash not in (None, pool.hash):
            seen = f"{written}: its backends in the file are not those that the monitor publishes"
            found.append(warn("namespace", seen, "`sidebeat reload`, here and where the monitor runs"))
    if facts.status.pools:
        yield from or_else(
            found, ok("namespace", f"{facts.status.namespace} is published by one system, on one config")
        )


def endpoints(facts: Facts) -> Iterator[Finding]:
    """Whether our own addresses answer."""
    for name, asked in facts.endpoints.items():
        yield _of_endpoint(name, asked)


def _of_endpoint(name: str, asked: Asked) -> Finding:
    if asked.answer is None:
        fix = "start it, or mend the address; the console is served by the monitor that leads"
        return (warn if name.startswith("console") else fail)("endpoints", f"{name}: {asked.trouble}", fix)
    if asked.answer.status >= 400:
        seen = f"{name} answers {asked.answer.status}: {printable(asked.body[:200])}"
        return fail("endpoints", seen, "what it says is what keeps traffic away")
    return ok("endpoints", f"{name} answers {asked.answer.status}")


def reloads(facts: Facts) -> Iterator[Finding]:
    """Whether what was last read of the file is in force."""
    for who, refusal in facts.machine.refusals.items():
        yield warn(
            "reload", f"{who} refused the last reload: {refusal}", "mend the file, `sidebeat check`, `sidebeat reload`"
        )
