"""What the backends say to a request like our probes', and what they do to a connection that rests."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from sidecar.doctor.facts import Answer, BackendFacts, Facts
from sidecar.doctor.finding import Finding, fail, ok, or_else, warn

RESTS_S = 4.0
"""How long a worker lets a connection rest whose backend has not said how long it may (worker.upstream.idle)."""
_TIMEOUT = re.compile(r"(?i)(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,9})")
LONGER = (
    "have it keep connections for longer than our 4 s: `uvicorn --timeout-keep-alive 75`, `gunicorn --keep-alive 75`"
)
ONCE = ("date", "server")
"""Fields that a response has once, if at all (RFC 9110 §6.6.1, §10.2.4)."""


def probes(facts: Facts) -> Iterator[Finding]:
    """Whether the probes ask what the backends answer well."""
    found = (finding for each in facts.backends if (finding := _of_probe(each)) is not None)
    if facts.backends:
        yield from or_else(found, ok("probe", f"{len(facts.backends)} backends answer as their health check expects"))


def _of_probe(each: BackendFacts) -> Finding | None:
    answer = each.asked.answer
    if answer is None:
        fix = f"start what listens at {each.backend.url}, or mend its url"
        return fail("probe", f"{each.name}: {each.asked.trouble}", fix)
    return _of_status(each, answer) if each.check.type == "http" else None


def _of_status(each: BackendFacts, answer: Answer) -> Finding | None:
    check, status = each.check, answer.status
    seen = f"{each.name}: {check.method} {check.path} is answered {status}"
    key = f"pools.{each.pool}.health_check.path"
    if status == 405:
        return _not_allowed(each, seen)
    if 300 <= status <= 399:
        return _redirected(each, answer, seen)
    if not any(low <= status <= high for low, high in check.status_ranges):
        return fail("probe", f"{seen}, not {check.expected_statuses}", f"set {key} to one that says how it is")
    if check.is_lenient and status >= 400:
        return warn("probe", f"{seen}, which passes since no path is configured", f"set {key}")
    return None


def _not_allowed(each: BackendFacts, seen: str) -> Finding:
    """A 405 that passes as any answer below 500 does hides everything but a dead server."""
    fix = 'method = "GET"' if each.check.method != "GET" else "path to one that answers GET"
    why = " (an app's GET route does not answer HEAD by itself)" if each.check.method == "HEAD" else ""
    level = warn if each.check.is_lenient else fail
    return level("probe", f"{seen}{why}", f"set pools.{each.pool}.health_check.{fix}")


def _redirected(each: BackendFacts, answer: Answer, seen: str) -> Finding:
    where = next(iter(answer.values("location")), "nowhere")
    path = urlsplit(where).path or "the one that it leads to"
    return warn(
        "probe", f"{seen}, to {where}: that says nothing of what is behind it",
        f"set pools.{each.pool}.health_check.path to {path}, or expected_statuses to \"200-299\"",
    )  # fmt: skip


def connections(facts: Facts) -> Iterator[Finding]:
    """Whether the backends keep connections for at least as long as we do; nothing is said of what was not watched."""
    found = [finding for each in facts.backends if (finding := _of_connection(each)) is not None]
    watched_s = max((each.asked.watched_s for each in facts.backends), default=0.0)
    if watched_s and not found:
        yield ok("keep-alive", f"no backend closed a connection that rested for {watched_s:g} s")
    yield from found


def _of_connection(each: BackendFacts) -> Finding | None:
    """What it says counts: workers heed it. What it does unsaid, they learn by losing a request now and then."""
    answer, closed_s = each.asked.answer, each.asked.closed_after_s
    if answer is None:
        return None
    if "close" in ",".join(answer.values("connection")).lower():
        return warn("keep-alive", f"{each.name} closes after each answer: every request pays for a connection", LONGER)
    said = _TIMEOUT.search(", ".join(answer.values("keep-alive")))
    if said is not None and int(said[1]) > 1:
        return None
    if closed_s is not None and closed_s < RESTS_S:
        seen = f"{each.name} closes connections that rested for {closed_s:.1f} s, and does not say so"
        return warn("keep-alive", f"{seen}; ours rest for {RESTS_S:g} s, and a request may be lost", LONGER)
    return None


def doubled_fields(facts: Facts) -> Iterator[Finding]:
    """Whether a field comes twice that may come once: some clients refuse such a response."""
    direct = {each.name: each.asked.answer for each in facts.backends}
    ours = {f"{pool}, through us": asked.answer for pool, asked in facts.through.items()}
    answers = {name: answer for name, answer in {**direct, **ours}.items() if answer is not None}
    found = [
        warn(
            "fields", f"{name}: the response has {field.title()} {count} times",
            "have only one of app and server set it: `uvicorn --no-date-header --no-server-header`",
        )
        for name, answer in answers.items()
        for field in ONCE
        if (count := len(answer.values(field))) > 1
    ]  # fmt: skip
    if answers:
        yield from or_else(found, ok("fields", "Date and Server come once at most"))
