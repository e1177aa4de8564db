"""What each place says of one running system, as facts that can be held against each other.

told = {"redis": await of_store(store, keys), "status": of_status(record), "workers": of_workers(samples), ...}
assert disagreements(told) == {}

A fact is of a backend, or of the pool where its name is empty. A place tells no fact that it does not know.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from exposed import Samples
from sidecar.contract.keys import PoolKeys

Fact = tuple[str, str]
Facts = dict[Fact, object]

FIGURES = ("rps", "error_ratio", "share", "p50_ms", "p99_ms")
"""What the monitor makes of the traffic, by the names that the hash and the records have in common."""
PLACES: dict[str, set[str]] = {
    "state": {"redis", "view", "status", "explain", "workers", "monitor"},
    "reason": {"redis", "view", "status", "explain"},
    "admin": {"redis", "view", "status", "explain"},
    "weight": {"redis", "view", "status", "explain"},
    "in flight": {"redis", "reports", "status", "explain", "workers", "monitor"},
    "requests": {"reports", "monitor"},
    "responses": {"reports", "workers", "monitor"},
    "failures": {"reports", "workers", "monitor"},
    "first bytes": {"reports", "workers", "monitor"},
    "ejected here": {"reports", "status", "explain", "workers"},
    "places": {"redis", "status", "explain"},
    "leased": {"redis", "status"},
    "epoch": {"redis", "view", "status", "explain", "workers", "monitor"},
    "workers": {"reports", "status", "workers", "monitor"},
    "who works": {"reports", "status"},
    "tunnels": {"reports", "status", "workers"},
    "leader": {"redis", "status", "monitor"},
    **{name: {"redis", "status"} for name in FIGURES},
}
"""Who tells what, at least; "status" also stands for `top` and the console, which are held against it whole."""


def disagreements(told: Mapping[str, Facts]) -> dict[Fact, dict[str, object]]:
    """Every fact of which two places say something else, with what each of them says."""
    by_fact: dict[Fact, dict[str, object]] = defaultdict(dict)
    for place, facts in told.items():
        for fact, value in facts.items():
            by_fact[fact][place] = value
    return {fact: said for fact, said in by_fact.items() if _differ([*said.values()])}


def _differ(values: list[object]) -> bool:
    return any(value != values[0] for value in values)


def untold(told: Mapping[str, Facts]) -> set[tuple[str, str]]:
    """Which of the places that ought to tell a fact do not tell it of any backend."""
    return {
        (what, place)
        for what, places in PLACES.items()
        for place in places
        if not any(name == what for _, name in told[place])
    }


def steady(told: Mapping[str, Facts], later: Mapping[str, Facts]) -> dict[str, Facts]:
    """What is told, without what those who are asked again say otherwise by then."""
    moved = {fact for place, facts in later.items() for fact, value in facts.items() if told[place].get(fact) != value}
    return {place: {fact: value for fact, value in facts.items() if fact not in moved} for place, facts in told.items()}


async def of_store(store: Any, keys: PoolKeys) -> dict[str, Facts]:
    """The keys as `redis-cli` shows them: the hashes of the monitor, its view, and the reports of the workers.

    In few round trips: on a busy machine the monitor would else always have told anew before all is read.
    """
    own = store.pipeline(transaction=False)
    own.get(keys.view).hget(keys.beat, "epoch").hget(keys.leader, "owner").zrange(keys.workers, 0, -1).time()
    raw, epoch, owner, members, (now_s, _) = await own.execute()
    view = json.loads(raw)
    names = [*view["backends"]]
    each = store.pipeline(transaction=False)
    for key in (*map(keys.backend, names), *map(keys.share, names), *map(keys.worker, members)):
        each.hgetall(key)
    found = await each.execute()
    hashes, shares = found[: len(names)], dict(zip(names, found[len(names) :], strict=False))
    redis: Facts = {("", "epoch"): int(epoch or 0), ("", "leader"): bool(owner)}
    for name, fields in zip(names, hashes, strict=True):
        redis |= _of_hash(name, fields)
    redis |= await _limits(store, keys, {name: share for name, share in shares.items() if share}, now_s)
    reports = [fields for fields in found[2 * len(names) :] if fields]
    return {"redis": redis, "view": _of_view(view), "reports": _of_reports(reports)}


def _of_hash(name: str, fields: Mapping[str, str]) -> Facts:
    facts: Facts = {(name, what): fields[what] for what in ("state", "reason", "admin")}
    facts |= {(name, "weight"): float(fields["weight"]), (name, "in flight"): int(fields["inflight"])}
    return facts | {(name, what): float(fields[what]) if fields[what] else None for what in FIGURES}


async def _limits(store: Any, keys: PoolKeys, shares: Mapping[str, Mapping[str, str]], now_s: int) -> Facts:
    asked = store.pipeline(transaction=False)
    for name, share in shares.items():
        asked.get(keys.quota(name, now_s * 1_000 // int(share["window_ms"])))
    facts: Facts = {}
    for (name, share), leased in zip(shares.items(), await asked.execute(), strict=True):
        facts[name, "places"] = sum(json.loads(told)["granted"] for member, told in share.items() if ":" in member)
        facts[name, "leased"] = int(leased or 0)
    return facts


def _of_view(view: Mapping[str, Any]) -> Facts:
    facts: Facts = {("", "epoch"): view["epoch"]}
    for name, verdict in view["backends"].items():
        facts |= {(name, what): verdict[what] for what in ("state", "reason", "admin", "weight")}
    return facts


def _of_reports(hashes: list[dict[str, str]]) -> Facts:
    facts: Facts = {
        ("", "workers"): len(hashes),
        ("", "who works"): {(int(each["pid"]), int(each["applied_epoch"])) for each in hashes},
        ("", "tunnels"): sum(json.loads(each["under_way"])["tunnels"] for each in hashes),
    }
    tallies = [(field.partition(":")[2], json.loads(text)) for each in hashes for field, text in _tallies(each)]
    for name in {name for name, _ in tallies}:
        own = [tally for each, tally in tallies if each == name]
        facts |= {(name, _WORDS[field]): sum(tally[field] for tally in own) for field in _WORDS}
        facts[name, "ejected here"] = any(tally["ejected_ms"] for tally in own)
        if counted := [tally["first_bytes"] for tally in own if tally["first_bytes"]]:
            facts[name, "first bytes"] = tuple(map(sum, zip(*counted, strict=True)))
    return facts


_WORDS = {"inflight": "in flight", "requests": "requests", "responses": "responses", "failures": "failures"}


def _tallies(fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((field, text) for field, text in fields.items() if field.startswith("backend:"))


def of_status(pool: Mapping[str, Any]) -> Facts:
    """One pool of the record of `status --json`, `top --json` or the console."""
    workers = pool["workers"]
    facts: Facts = {
        ("", "epoch"): pool["epoch"],
        ("", "leader"): pool["leader"] is not None,
        ("", "workers"): len(workers),
        ("", "who works"): {(each["pid"], each["applied_epoch"]) for each in workers},
        ("", "tunnels"): sum(each["under_way"]["tunnels"] for each in workers),
    }
    for name, backend in pool["backends"].items():
        facts |= {(name, what): backend[what] for what in ("state", "reason", "admin", "weight", *FIGURES)}
        facts |= {(name, "in flight"): backend["inflight"], (name, "ejected here"): bool(backend["ejected_on"])}
        if limits := backend["limits"]:
            facts |= {(name, "places"): sum(limits["places"].values()), (name, "leased"): limits["requests"]}
    return facts


def of_explain(record: Mapping[str, Any]) -> Facts:
    """The record of `explain --json`; it is one worker's, but what all of a host share."""
    facts: Facts = {("", "epoch"): record["view"]["epoch"]}
    for backend in record["backends"]:
        name = backend["id"]
        facts |= {(name, what): backend[what] for what in ("state", "reason", "admin", "weight")}
        facts |= {(name, "in flight"): backend["inflight"]}
        facts |= {(name, "ejected here"): backend["cause"].startswith("ejected on this host")}
        if backend["places"] is not None:
            facts[name, "places"] = backend["places"]
    return facts


def of_workers(samples: Samples) -> Facts:
    """The metrics on the admin socket, of all workers of a host."""
    facts = _of_samples(samples, "sidebeat_", first_bytes="upstream_first_byte_seconds")
    facts["", "workers"] = sum(value for _, value in _family(samples, "sidebeat_workers"))
    facts["", "epoch"] = _only(samples, "sidebeat_view_epoch")
    facts["", "tunnels"] = sum(value for _, value in _family(samples, "sidebeat_tunnels"))
    for labels, value in _family(samples, "sidebeat_ejected"):
        facts[labels["backend"], "ejected here"] = bool(value)
    for labels, value in _family(samples, "sidebeat_upstream_failures_total"):
        facts[labels["backend"], "failures"] = value
    for labels, value in _family(samples, "sidebeat_requests_total"):
        fact = labels["backend"], "responses"
        facts[fact] = float(str(facts.get(fact, 0))) + value
    return facts


def of_monitor(samples: Samples) -> Facts:
    """The metrics on the console, of the fleet."""
    facts = _of_samples(samples, "sidebeat_fleet_", first_bytes="first_byte_seconds")
    facts["", "workers"] = _only(samples, "sidebeat_workers_fresh")
    facts["", "epoch"] = _only(samples, "sidebeat_fleet_view_epoch")
    facts["", "leader"] = bool(_only(samples, "sidebeat_leader"))
    for what in ("requests", "responses", "failures"):
        for labels, value in _family(samples, f"sidebeat_fleet_{what}_total"):
            facts[labels["backend"], what] = value
    for labels, value in _family(samples, "sidebeat_fleet_requests_per_second"):
        facts[labels["backend"], "rps"] = round(value, 1)
    for labels, value in _family(samples, "sidebeat_fleet_error_ratio"):
        facts[labels["backend"], "error_ratio"] = round(value, 3)
    return facts


def _of_samples(samples: Samples, prefix: str, *, first_bytes: str) -> Facts:
    """What both kinds of metrics have, under names of their own."""
    facts: Facts = {}
    for labels, value in _family(samples, f"{prefix}backend_state"):
        if value:
            facts[labels["backend"], "state"] = labels["state"]
    for labels, value in _family(samples, f"{prefix}inflight"):
        facts[labels["backend"], "in flight"] = value
    for name in {labels["backend"] for labels, _ in _family(samples, f"{prefix}inflight")}:
        found = _family(samples, f"{prefix}{first_bytes}_bucket")
        sums = [
            value for _, value in sorted((float(each["le"]), value) for each, value in found if each["backend"] == name)
        ]
        facts[name, "first bytes"] = tuple(after - before for before, after in zip([0.0, *sums], sums, strict=False))
    return facts


def _family(samples: Samples, name: str) -> list[tuple[dict[str, str], float]]:
    return [(dict(labels), value) for (each, labels), value in samples.items() if each == name]


def _only(samples: Samples, name: str) -> float:
    """Raises LookupError while there is none: a monitor that has heard of no worker yet tells nothing of them."""
    values = [value for _, value in _family(samples, name)]
    return values[0]
