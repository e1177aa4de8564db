"""A request that nobody sent, followed from its head to the backend that would get it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from sidecar.contract.config import Pool as PoolConfig
from worker.dispatch import Way, way_of
from worker.explain.changes import Change, changes
from worker.explain.routes import RouteReading, read_routes
from worker.explain.rules import Affinity, Rules, affinity_of, rules_of
from worker.explain.standpoint import Standpoint, ViewReading, standpoint_of, view_of
from worker.failure import STATUS, Failure, Refused
from worker.headers import Peer, is_trusted
from worker.hedge import may_hedge
from worker.http1 import RequestHead, read_request
from worker.lane import Lane
from worker.limits import LimitedPool
from worker.pick import Odds
from worker.pool import Pool
from worker.recount import Timed
from worker.route import split_target
from worker.runtime import Runtime
from worker.survey import Prospect, Stand, odds_of, prospect_of, reason_of_tier, stands_of

_NOBODY = cast("Lane", None)
"""Whose request it is: an exchange that is never started answers to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as somebody describes it.

    ``url`` may be a path alone. ``headers`` are lines like ``Name: value``; without a Host among them it is the URL's,
    else ``localhost``. ``client`` is the address that it would come from.
    """

    method: str
    url: str
    headers: Sequence[str] = ()
    client: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The answer of our own that it would get."""

    failure: str
    status: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who would get it. ``tier`` and ``reason`` say where the candidates come from.

    ``decided_by``: "policy", "affinity" (a cookie), "canary" (a backend whose ejection is over has to be tried) or
    "nobody". ``draws``: from how many picks the probabilities were estimated; 0: they are exact. ``waiting`` requests
    of this host have found no place yet.
    """

    pool: str
    policy: str
    tier: str
    reason: str
    decided_by: str
    draws: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """What ``backend`` would see: its request line, and every field that is not as it came."""

    backend: str
    request_line: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All of it; what a refused request never comes to is None or empty."""

    worker: Standpoint
    method: str
    url: str
    host: str
    client: str
    trusted: bool
    refused: Refusal | None = None
    routes: tuple[RouteReading, ...] = ()
    choice: Choice | None = None
    backends: tuple[Stand, ...] = ()
    affinity: Affinity | None = None
    forwarded: Forwarded | None = None
    rules: Rules | None = None
    view: ViewReading | None = None


async def explain(runtime: Runtime, question: Question) -> Explanation:
    """What this worker would do with it now. The draws are counted beside the loop, which has requests to serve.

    Raises:
        Refused: it cannot be read as a request.
    """
    head = _head_of(question, runtime)
    trusted = is_trusted(question.client, runtime.listen.trusted_proxies)
    told = Explanation(
        worker=standpoint_of(runtime),
        method=question.method,
        url=question.url,
        host=head.host.decode("latin-1"),
        client=question.client,
        trusted=trusted,
    )
    routes = read_routes(runtime.router, head)
    try:
        way = way_of(runtime, head)
    except Refused as refused:
        failure = refused.failure
        refusal = Refusal(failure=failure.text, status=STATUS[failure], why=str(refused))
        return replace(told, refused=refusal, routes=routes if failure is Failure.NO_ROUTE else ())
    return await _follow(runtime, replace(told, routes=routes), head, way)


async def _follow(runtime: Runtime, told: Explanation, head: RequestHead, way: Way) -> Explanation:
    """The rest of it for a request that has a pool."""
    authority, target, destination = way
    pool, config, now = runtime.pools[destination.pool], runtime.config.pools[destination.pool], runtime.clock()
    peer = Peer(address=told.client, port=_port(runtime), trusted=told.trusted)
    exchange = Timed(runtime, pool, destination, head, target, authority, peer, _NOBODY)
    prospect = prospect_of(pool, exchange.wish, now, safe=exchange.is_safe)
    odds = await asyncio.to_thread(odds_of, pool, prospect, now)
    backends = await asyncio.to_thread(stands_of, pool, prospect, odds, now)
    has_anybody = bool(pool.selection.candidates)
    return replace(
        told,
        refused=None if has_anybody else _refusal(Failure.NO_BACKEND),
        choice=_choice(pool, config.balancing.policy, prospect, odds, now),
        backends=backends,
        affinity=affinity_of(pool, config, exchange.wish, now),
        forwarded=_forwarded(exchange, config, head, backends) if has_anybody else None,
        rules=rules_of(exchange, config, told.method, now, hedges=destination.hedge and may_hedge(head)),
        view=view_of(pool, now),
    )


def _head_of(question: Question, runtime: Runtime) -> RequestHead:
    """The head as it would have come; there is no body.

    Raises:
        Refused: it is none, or more than one.
    """
    method = question.method.encode("latin-1", "replace")
    authority, path, query = split_target(question.url.encode("latin-1", "replace"), method)
    lines = [line.encode("latin-1", "replace") for line in question.headers]
    if not any(line.lower().startswith(b"host:") for line in lines):
        lines.insert(0, b"Host: " + (authority or b"localhost"))
    data = b"\r\n".join((b"%b %b%b HTTP/1.1" % (method, path, query), *lines, b"", b""))
    head = read_request(data, runtime.listen.max_header_bytes, runtime.listen.max_headers)
    if head is None or head.size != len(data) or head.fields.count(b"\r\n") != len(lines):
        raise Refused(Failure.BAD_REQUEST, "it is not one request")
    return head


def _port(runtime: Runtime) -> int:
    return next((each.port for each in runtime.listen.public_sockets if each.port), 0)


def _refusal(failure: Failure) -> Refusal:
    return Refusal(failure=failure.text, status=STATUS[failure], why="no backend may be picked")


def _choice(pool: Pool, policy: str, prospect: Prospect, odds: Odds, now: float) -> Choice:
    selection = pool.selection
    return Choice(
        pool=pool.name,
        policy=policy,
        tier=selection.tier,
        reason=reason_of_tier(selection.tier, pool.knowledge.freshness(now)),
        decided_by=prospect.by,
        draws=odds.draws,
        waiting=pool.waiting if isinstance(pool, LimitedPool) else 0,
    )


def _forwarded(exchange: Timed, config: PoolConfig, head: RequestHead, backends: Sequence[Stand]) -> Forwarded:
    """As the likeliest backend would see it."""
    likeliest = max(backends, key=lambda each: (each.probability, each.eligible))
    message = exchange.message(next(each for each in config.members if each.id == likeliest.id))
    return Forwarded(
        backend=likeliest.id,
        request_line=message.partition(b"\r\n")[0].decode("latin-1"),
        changes=changes(head, message),
    )
