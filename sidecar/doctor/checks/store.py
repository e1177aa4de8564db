"""The store: who may do what there, what it forgets, and whose time it keeps."""

from collections.abc import Iterator

from sidecar.doctor.facts import Facts
from sidecar.doctor.finding import Finding, fail, ok, or_else, warn

SKEW_S = 1.0
"""Within a second of each other, clocks agree for people; nothing but the times shown to them depends on it."""
NEARLY_FULL = 0.9
HASTY = ("volatile-ttl", "volatile-random")
"""They may take what expires soonest: leases. The others that are volatile take history first, which nobody reads."""
ACL = (
    "ACL SETUSER sidebeat on >PASSWORD resetkeys ~sidebeat:* resetchannels &sidebeat:* +@all -@admin -@dangerous"
    " +info +keys, and redis://sidebeat:PASSWORD@… as store.url"
)


def role(facts: Facts) -> Iterator[Finding]:
    """Whether it is one that can be written to."""
    store = facts.store
    if store.trouble:
        fix = "start it, or mend store.url; until then workers route on what they know, and on what they see"
        yield fail("store", store.trouble, fix)
    elif store.role == "slave":
        yield fail("store", f"{store.shown} is a replica: nobody can publish there", "name the primary in store.url")
    else:
        yield ok("store", f"{store.shown} answers")


def clock(facts: Facts) -> Iterator[Finding]:
    """Whether what is shown as a time is one here, too."""
    skew_s = facts.store.skew_s
    if facts.store.trouble:
        return
    if abs(skew_s) > SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        seen = (
            f"the store's clock is {abs(skew_s):.1f} s {side} this machine's: times of events do not fit those of logs"
        )
        yield warn("clock", seen, "run NTP (chrony, systemd-timesyncd) on both machines")
    else:
        yield ok("clock", f"the store's clock and this machine's are {abs(skew_s) * 1000:.0f} ms apart")


def memory(facts: Facts) -> Iterator[Finding]:
    """Whether the store may forget what it was told."""
    store = facts.store
    if store.policy is None:
        return
    yield from or_else(_evictions(facts), ok("memory", f"nothing of ours is evicted (maxmemory-policy {store.policy})"))
    if store.max_bytes and store.used_bytes is not None and store.used_bytes > NEARLY_FULL * store.max_bytes:
        seen = f"{store.used_bytes / store.max_bytes:.0%} of maxmemory is used: soon nothing can be written"
        yield fail("memory", seen, "raise maxmemory, or give sidebeat a store of its own")


def _evictions(facts: Facts) -> Iterator[Finding]:
    policy, is_bounded = facts.store.policy or "", bool(facts.store.max_bytes)
    fix = "CONFIG SET maxmemory-policy noeviction, or give sidebeat a store of its own"
    if policy.startswith("allkeys"):
        level = fail if is_bounded else warn
        yield level("memory", f"maxmemory-policy {policy} may evict the view and the operator's orders", fix)
    elif policy in HASTY and is_bounded:
        yield warn("memory", f"maxmemory-policy {policy} may evict leases and workers' reports first", fix)


def access(facts: Facts) -> Iterator[Finding]:
    """Who else gets in, beyond this machine."""
    store = facts.store
    if store.trouble:
        return
    if store.is_local:
        yield ok("access", "the store is reached on this machine only")
        return
    yield from or_else(_openings(facts), ok("access", f"a password, TLS and the user {store.user!r} keep others out"))


def _openings(facts: Facts) -> Iterator[Finding]:
    store = facts.store
    if store.is_open:
        yield fail("access", "the store asks for no password: whoever reaches it can take every backend down", ACL)
    if not store.is_encrypted:
        yield warn("access", "passwords and views pass in clear", "use rediss:// (TLS), or have the network be private")
    if not store.is_open and store.user == "default" and _may_all(store.rules):
        yield warn("access", "we are the user default, who may do everything there", ACL)


def _may_all(rules: str | None) -> bool:
    return rules is None or "+@all" in rules.split()
