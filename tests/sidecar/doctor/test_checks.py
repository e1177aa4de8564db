"""The checks, each by a table: what is found of which facts, and how bad it is."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from sidecar.contract.config import Config, parse
from sidecar.doctor import Finding, all_findings
from sidecar.doctor.checks.backends import connections, doubled_fields, probes
from sidecar.doctor.checks.config import exposure, files, proxies, stopping, timing
from sidecar.doctor.checks.running import backends, endpoints, latency, monitors, one_system, reloads, workers
from sidecar.doctor.checks.store import access, clock, memory, role
from sidecar.doctor.facts import Answer, Asked, BackendFacts, Facts, MachineFacts, StoreFacts
from sidecar.status import BackendStatus, PoolStatus, Status, WorkerStatus

Check = Callable[[Facts], Iterator[Finding]]
NOW = 1_763_900_000_000
LOCAL = StoreFacts(shown="unix:///store.sock")
REMOTE: dict[str, Any] = {"shown": "rediss://h", "is_local": False, "is_encrypted": True, "user": "sidebeat"}
MINE = "user sidebeat on ~sidebeat:* +@all"


def backend_status(**changes: Any) -> BackendStatus:
    known: dict[str, Any] = {
        "url": "http://10.0.0.1:80", "state": "healthy", "reason": "HTTP 200", "since": None, "admin": "ready",
        "weight": 1.0, "probe_ms": None, "ttfb_ms": None, "ok_streak": 1, "fail_streak": 0, "ejected_ms": 0,
        "ramp_ms": 0, "inflight": 0, "rps": 0.0, "error_ratio": None, "asked": None, "asked_by": None, "pending": None,
    }  # fmt: skip
    return BackendStatus(**known | changes)


def worker_status(**changes: Any) -> WorkerStatus:
    known: dict[str, Any] = {
        "host": "web-1", "instance": "i", "slot": 0, "pid": 7, "incarnation": "x", "applied_epoch": NOW - 9_000,
        "view_age_ms": 200, "draining": False, "age_ms": 100,
    }  # fmt: skip
    return WorkerStatus(**known | changes)


def pool_status(**changes: Any) -> PoolStatus:
    known: dict[str, Any] = {
        "epoch": NOW - 9_000, "age_ms": 300, "store_id": "s", "leader": "web-1:1:a", "config_hash": None,
        "problem": None, "suspect": None, "backends": {"a": backend_status()}, "workers": [worker_status()],
    }  # fmt: skip
    return PoolStatus(**known | changes)


def facts(pools: Mapping[str, PoolStatus] | None = None, **changes: Any) -> Facts:
    status = Status(namespace="default", now_ms=NOW, pools={"api": pool_status()} if pools is None else pools)
    known: dict[str, Any] = {"status": status, "store": LOCAL}
    return Facts(**known | changes)


def config(listen: Mapping[str, Any] | None = None, **pool: Any) -> Config:
    return parse({"pools": {"api": {"backends": ["http://10.0.0.1:80"], **pool}}, "listen": dict(listen or {})}, {})


def asked(config: Config, asked: Asked) -> Facts:
    (member,) = config.pools["api"].members
    one = BackendFacts(pool="api", backend=member, check=config.pools["api"].health_check, asked=asked)
    return facts(config=config, backends=(one,))


def answered(status: int, *fields: tuple[str, str], **health_check: Any) -> Facts:
    return asked(config(health_check=health_check), Asked(answer=Answer(status=status, fields=fields)))


def resting(*fields: tuple[str, str], closed_after_s: float | None) -> Facts:
    answer = Answer(status=200, fields=fields)
    return asked(config(), Asked(answer=answer, closed_after_s=closed_after_s, watched_s=4.5))


def pool(**changes: Any) -> Facts:
    return facts({"api": pool_status(**changes)})


def one_backend(**changes: Any) -> Facts:
    return pool(backends={"a": backend_status(**changes), "b": backend_status()})


def remote(**changes: Any) -> Facts:
    return facts(store=StoreFacts(**REMOTE | changes))


def timed(probe_ms: float | None = None, rps: float = 2.0, **p99_ms: float) -> Facts:
    return pool(
        backends={name: backend_status(p99_ms=each, probe_ms=probe_ms, rps=rps) for name, each in p99_ms.items()}
    )


TABLE: list[tuple[Check, Facts, str, str]] = [
    (probes, answered(200, path="/h"), "ok", "1 backends answer as"),
    (probes, answered(405, path="/h", method="HEAD"), "fail", "HEAD /h is answered 405 (an app"),
    (probes, answered(405, method="HEAD"), "warn", "HEAD / is answered 405 (an app"),
    (probes, answered(307, ("location", "/h/"), path="/h"), "warn", "GET /h is answered 307, to /h/"),
    (probes, answered(500, path="/h"), "fail", "GET /h is answered 500, not 200-399"),
    (probes, answered(404), "warn", "answered 404, which passes since no path is configured"),
    (probes, asked(config(), Asked(trouble="connection refused")), "fail", "api/10.0.0.1:80: connection refused"),
    (probes, asked(config(health_check={"type": "tcp"}), Asked(answer=Answer(status=0))), "ok", "1 backends"),
    (connections, resting(closed_after_s=None), "ok", "rested for 4.5 s"),
    (connections, resting(closed_after_s=2.0), "warn", "closes connections that rested for 2.0 s"),
    (connections, resting(closed_after_s=4.2), "ok", "no backend closed"),
    (connections, resting(("keep-alive", "timeout=2"), closed_after_s=2.0), "ok", "no backend closed"),
    (connections, resting(("connection", "close"), closed_after_s=0.0), "warn", "closes after each answer"),
    (doubled_fields, answered(200, ("date", "x"), ("server", "y")), "ok", "come once at most"),
    (doubled_fields, answered(200, ("date", "x"), ("date", "x")), "warn", "has Date 2 times"),
    (doubled_fields, facts(through={"api": Asked(answer=Answer(status=200, fields=(("server", "a"),) * 3))}), "warn",
     "api, through us: the response has Server 3 times"),
    (role, facts(), "ok", "unix:///store.sock answers"),
    (role, facts({}, store=StoreFacts(shown="x", trouble="x cannot be read")), "fail", "x cannot be read"),
    (role, facts(store=StoreFacts(shown="x", role="slave")), "fail", "x is a replica"),
    (clock, facts(store=StoreFacts(shown="x", skew_s=0.002)), "ok", "2 ms apart"),
    (clock, facts(store=StoreFacts(shown="x", skew_s=-90.0)), "warn", "90.0 s behind"),
    (memory, facts(store=StoreFacts(shown="x", policy="noeviction", max_bytes=100, used_bytes=5)), "ok", "nothing of"),
    (memory, facts(store=StoreFacts(shown="x", policy="volatile-lru", max_bytes=100, used_bytes=5)), "ok", "nothing"),
    (memory, facts(store=StoreFacts(shown="x", policy="allkeys-lru", max_bytes=100)), "fail", "may evict the view"),
    (memory, facts(store=StoreFacts(shown="x", policy="allkeys-lru", max_bytes=0)), "warn", "may evict the view"),
    (memory, facts(store=StoreFacts(shown="x", policy="volatile-ttl", max_bytes=9)), "warn", "may evict leases"),
    (memory, facts(store=StoreFacts(shown="x", policy="noeviction", max_bytes=100, used_bytes=95)), "fail", "95%"),
    (access, facts(), "ok", "on this machine only"),
    (access, remote(rules=MINE), "ok", "keep others out"),
    (access, remote(is_open=True, user="default"), "fail", "asks for no password"),
    (access, remote(is_encrypted=False), "warn", "pass in clear"),
    (access, remote(user="default", rules="user default on ~* +@all"), "warn", "the user default"),
    (access, remote(user="default", rules=None), "warn", "the user default"),
    (timing, facts(config=config()), "ok", "within 4.1 s"),
    (timing, facts(config=config(health_check={"timeout_s": 10.0})), "warn", "down only after 31.1 s"),
    (stopping, facts(config=config()), "ok", "up to 28.5 s; whoever"),
    (stopping, facts(config=config(), machine=MachineFacts(kill_after=("Docker", 10.0))), "warn", "Docker kills"),
    (stopping, facts(config=config(), machine=MachineFacts(kill_after=("systemd", 90.0))), "ok", "systemd waits"),
    (files, facts(config=config(), machine=MachineFacts(open_files=65_536)), "ok", "some 32736 requests"),
    (files, facts(config=config(), machine=MachineFacts(open_files=1_024)), "warn", "about 480 requests"),
    (files, facts(config=config(connections={"max_connections": 9_000}), machine=MachineFacts(open_files=8_192)),
     "fail", "lets it need 18064"),
    (proxies, facts(config=config()), "ok", "nobody else may say"),
    (proxies, facts(config=config({"trusted_proxies": ["10.0.0.0/8"]})), "ok", "1 networks"),
    (proxies, facts(config=config({"trusted_proxies": ["0.0.0.0/0"]})), "warn", "every client may say"),
    (proxies, facts(config=config({"trusted_proxies": ["::/0"], "bind": "0.0.0.0:80"})), "fail", "every client"),
    (exposure, facts(config=config()), "ok", "on this machine only"),
    (exposure, facts(config=config({"admin": "0.0.0.0:9901"})), "warn", "whoever reaches it reads"),
    (exposure, facts(config=config({"console": "10.0.0.1:9900"})), "warn", "passes in clear"),
    (monitors, facts(), "ok", "web-1:1:a leads"),
    (monitors, facts({}), "fail", "no pool was ever published"),
    (monitors, pool(leader=None, age_ms=9_000), "fail", "api: no monitor leads, one was heard from 9 s ago"),
    (monitors, pool(problem="no monitor has published it yet"), "fail", "has published it yet"),
    (monitors, pool(suspect="half of it"), "warn", "mistrusts its own probes: half of it"),
    (workers, facts(), "ok", "1 reports"),
    (workers, pool(workers=[]), "fail", "api: no worker reports"),
    (workers, pool(workers=[worker_status(view_age_ms=None)]), "fail", "has no view that counts"),
    (workers, pool(workers=[worker_status(view_age_ms=31_000)]), "fail", "has no view that counts"),
    (workers, pool(workers=[worker_status(view_age_ms=8_000)]), "warn", "a view of 8 s ago"),
    (workers, pool(workers=[worker_status(applied_epoch=NOW - 9_999)]), "warn", "has not applied the view"),
    (workers, pool(epoch=NOW - 900, workers=[worker_status()]), "ok", "1 reports"),
    (backends, one_backend(), "ok", "all 2 take traffic"),
    (backends, one_backend(state="unhealthy", reason="refused\x1b"), "fail", "api/a is down: refused\ufffd"),
    (backends, one_backend(state="degraded"), "warn", "api/a is degraded"),
    (backends, one_backend(admin="drain", asked_by="ada"), "warn", "api/a is in drain by ada"),
    (backends, one_backend(ejected_on=("web-1:i",)), "warn", "ejected on web-1:i"),
    (backends, pool(backends={"a": backend_status(state="unhealthy")}), "fail", "none of its backends takes traffic"),
    (latency, timed(a=30.0, b=10.0, c=12.0), "warn", "api/a is the slowest of its pool: a p99 of 30.0 ms"),
    (latency, timed(a=30.0, b=20.0), "ok", "no backend is much slower"),
    (latency, timed(a=30.0, b=10.0, probe_ms=1.0), "warn", "its probe is not (1.0 ms)"),
    (latency, timed(a=30.0, b=10.0, probe_ms=25.0), "warn", "so is its probe (25.0 ms)"),
    (one_system, facts(store_ids={"api": ("s", "s")}), "ok", "by one system"),
    (one_system, facts(store_ids={"api": ("s", "t")}), "warn", "changed its identity"),
    (one_system, facts({"api": pool_status(config_hash="other")}, config=config()), "warn", "not those"),
    (endpoints, facts(endpoints={"admin :1/readyz": Asked(answer=Answer(status=200))}), "ok", "answers 200"),
    (endpoints, facts(endpoints={"admin :1/readyz": Asked(answer=Answer(status=503), body="no")}), "fail", "503: no"),
    (endpoints, facts(endpoints={"admin :1/readyz": Asked(trouble="connection refused")}), "fail", "refused"),
    (endpoints, facts(endpoints={"console :1/livez": Asked(trouble="connection refused")}), "warn", "refused"),
    (reloads, facts(machine=MachineFacts(refusals={"worker (pid 1)": "pools: none"})), "warn", "pools: none"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "known", "level", "seen"), TABLE)
def test_it_is_found(check: Check, known: Facts, level: str, seen: str):
    found = [finding for finding in check(known) if seen in finding.seen]
    assert [finding.level for finding in found] == [level], list(check(known))
    assert all(bool(finding.fix) == (finding.level != "ok") for finding in check(known))


def test_the_fix_of_a_redirect_is_where_it_leads():
    (finding,) = probes(answered(307, ("location", "http://10.0.0.1/h/"), path="/h"))
    assert finding.fix.startswith("set pools.api.health_check.path to /h/, or ")


@pytest.mark.parametrize(("known", "worst"), [(facts(), "ok"), (pool(workers=[]), "fail")])
def test_of_a_system_without_a_config_the_rest_is_checked(known: Facts, worst: str):
    levels = [finding.level for finding in all_findings(known)]
    assert levels
    assert max(levels, key=["ok", "warn", "fail"].index) == worst


def test_of_a_pool_without_traffic_nothing_is_said_of_its_latency():
    assert list(latency(facts())) == []


def test_of_a_few_requests_nobody_tells_who_is_slow():
    assert list(latency(timed(a=30.0, b=10.0, rps=1.9))) == []


def test_a_finding_is_said_to_programs_in_full():
    (finding,) = role(facts())
    assert finding.as_json() == {"level": "ok", "check": "store", "seen": "unix:///store.sock answers", "fix": ""}


def test_of_a_store_that_tells_nothing_nothing_else_is_said():
    found = all_findings(facts({}, store=StoreFacts(shown="x", trouble="x cannot be read")))
    assert [finding.check for finding in found] == ["store"]
