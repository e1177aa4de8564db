"""What a request through a program comes to: what backends got of it and what the client got, less each hop's own.

    real, ours = [await effect(port, CASES["HEAD"], [backend]) for port in ports]
    assert not differences(real, ours)

Fields are compared as sets: a proxy may put them in another order, and may say more than what it was written for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backend import Backend, Fields
from raw_client import fetch
from wire import Headers

FieldSet = frozenset[tuple[bytes, bytes]]

BROWSER = (
    ("Host", "site.example"),
    ("User-Agent", "test"),
    ("Accept", "text/plain"),
    ("Accept-Encoding", "identity"),
    ("Cookie", "a=1; b=2"),
    ("X-Mixed", "Case, and more"),
)
OF_EACH_HOP = {b"connection", b"content-length", b"date", b"keep-alive", b"server", b"transfer-encoding"}
MADE_UP = {(b"accept", b"*/*"), (b"cache-control", b"no-cache")}
MADE_UP_PREFIXES = (b"python-httpx/", b"gzip, deflate")
"""What the real ones add, or their HTTP client, where nobody asked for it."""
CLIENT = {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip"}
"""Who the client is: ours says it to backends where nobody in front did. So does 0.2.0, 0.4.0 does not."""
NEW = {b"via", b"x-sidebeat-error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request, how often it is made, and the versions whose programs know it."""

    target: str
    method: str = "GET"
    headers: Fields = BROWSER
    body: bytes = b""
    times: int = 1
    versions: frozenset[str] = frozenset({"0.2.0", "0.4.0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a backend, given by its place among all, got."""

    backend: int
    method: bytes
    target: bytes
    fields: FieldSet
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one request came to."""

    asked: Sequence[Received]
    status: int
    fields: FieldSet
    body: bytes


OLD, YOUNG = frozenset({"0.2.0"}), frozenset({"0.4.0"})
CASES = {
    "a page": Case(target="/small"),
    "a query": Case(target="/small?a=1&b=2&a=3&c="),
    "a client that says next to nothing": Case(target="/small", headers=[("Host", "a")]),
    "HEAD": Case(target="/small", method="HEAD"),
    "POST": Case(target="/echo", method="POST", headers=[*BROWSER, ("Content-Type", "text/x")], body=b"x" * 100_000),
    "PUT": Case(target="/echo?a", method="PUT", body=b"hello"),
    "PATCH": Case(target="/echo", method="PATCH", body=b"hello"),
    "DELETE": Case(target="/echo", method="DELETE"),
    "204": Case(target="/none"),
    "a redirect, for the client to follow": Case(target="/moved"),
    "404": Case(target="/missing"),
    "503": Case(target="/broken"),
    "chunks": Case(target="/chunked"),
    "the client, used by hand": Case(target="/own/client"),
    "the checker": Case(target="/own/status"),
    "failover": Case(target="/own/failover"),
    "by health": Case(target="/health/small?a=1", times=3),
    "override_headers, override_body, method": Case(target="/own/overrides", method="POST", body=b"x", versions=OLD),
    "forward_query=False, additional_headers": Case(target="/own/added?not=this", versions=OLD),
    "an error caught": Case(target="/own/caught", versions=OLD),
    "a path with a query": Case(target="/own/query?second=2", versions=OLD),
    "in turns": Case(target="/turns/small", times=5, versions=OLD),
    "until the quota is used": Case(target="/quota/small", times=4, versions=OLD),
    "override_body=dict": Case(target="/own/dict", method="POST", versions=YOUNG),
    "override_body=list": Case(target="/own/list", method="POST", versions=YOUNG),
    "override_body=str": Case(target="/own/text", method="POST", versions=YOUNG),
    "override_host": Case(target="/own/host", versions=YOUNG),
    "a client of the user's own": Case(target="/mounted/echo?a=1", method="POST", body=b"x" * 9_999, versions=YOUNG),
    "nobody there": Case(target="/own/nobody", versions=YOUNG),
    "nobody answers": Case(target="/own/silent", versions=YOUNG),
}
"""What a program written for the real package may be asked, by what it tries."""


async def effect(port: int, case: Case, backends: Sequence[Backend]) -> Effect:
    """Make the request once; the backends have nobody else to serve meanwhile."""
    for backend in backends:
        backend.requests.clear()
    response = await fetch(port, case.target, method=case.method, headers=case.headers, body=case.body)
    asked = [
        Received(
            backend=number,
            method=request.method,
            target=request.target,
            fields=end_to_end(request.headers),
            body=request.body,
        )
        for number, backend in enumerate(backends)
        for request in backend.requests
    ]
    return Effect(asked=asked, status=response.status, fields=end_to_end(response.headers), body=response.body)


def end_to_end(headers: Headers) -> FieldSet:
    """The fields that a program is to hand on, names in lower case."""
    lower = {(name.lower(), value) for name, value in headers if not value.startswith(MADE_UP_PREFIXES)}
    return frozenset((name, value) for name, value in lower - MADE_UP if name not in OF_EACH_HOP)


def differences(real: Effect, ours: Effect) -> list[str]:
    """What is not as it was; empty when all of it is."""
    return [*_of_the_answer(real, ours), *_of_what_was_asked(real.asked, ours.asked)]


def _of_the_answer(real: Effect, ours: Effect) -> Iterator[str]:
    if (real.status, real.body) != (ours.status, ours.body):
        yield f"answered {ours.status} {ours.body[:99]!r} for {real.status} {real.body[:99]!r}"
    yield from _of_fields("answered", real.fields, ours.fields, NEW)


def _of_what_was_asked(real: Sequence[Received], ours: Sequence[Received]) -> Iterator[str]:
    if len(real) != len(ours):
        yield f"asked {len(ours)} times for {len(real)}"
    for theirs, mine in zip(real, ours, strict=False):
        for name in ("backend", "method", "target", "body"):
            if (was := getattr(theirs, name)) != (got := getattr(mine, name)):
                yield f"{name} {got!r:.99} for {was!r:.99}"
        yield from _of_fields("asked", theirs.fields, mine.fields, NEW | CLIENT)


def _of_fields(where: str, real: FieldSet, ours: FieldSet, may_be_new: set[bytes]) -> Iterator[str]:
    if missing := real - ours:
        yield f"{where} without {sorted(missing)}"
    if added := {(name, value) for name, value in ours - real if name not in may_be_new}:
        yield f"{where} with {sorted(added)}"
