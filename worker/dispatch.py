"""From a request's head to the exchange that serves it, or to the reason why nobody does."""

from worker.exchange import Exchange
from worker.failure import Failure, Refused
from worker.headers import Peer, is_last_hop, keep_upgrades, loops
from worker.hedge import Hedged, may_hedge
from worker.http1 import RequestHead
from worker.lane import Lane, Service
from worker.recount import EXPLAIN, Recount, Timed, TimedHedged
from worker.route import Destination, Router, split_target

Way = tuple[bytes | None, bytes, Destination]
Kinds = tuple[type[Exchange], type[Exchange]]
"""What an exchange is, and what one that may be hedged."""
PLAIN: Kinds = (Exchange, Hedged)


def exchange_for(
    service: Service, head: RequestHead, *, peer: Peer, downstream: Lane, kinds: Kinds = PLAIN
) -> Exchange:
    """The exchange that a request's head asks for, not yet started; of one of these kinds.

    Raises:
        Refused: nobody serves it here.
    """
    special = head.special
    if special and EXPLAIN in special and kinds is PLAIN and service.may_see(special[EXPLAIN]):
        return _recounted(service, head, peer, downstream)
    authority, target, destination = way_of(service, head)
    kind = kinds[destination.hedge and may_hedge(head)]
    pool, observer = service.pools[destination.pool], service.observer
    if observer is None:
        return kind(service, pool, destination, head, target, authority, peer, downstream)
    if not observer.is_tracing:
        exchange = kind(service, pool, destination, head, target, authority, peer, downstream)
        exchange.observer = observer
        return exchange
    tap = observer.tap(head, peer, downstream, service.clock())
    exchange = kind(service, pool, destination, tap.head, target, authority, peer, tap)
    tap.exchange, exchange.tap = exchange, tap
    return exchange


def _recounted(service: Service, head: RequestHead, peer: Peer, downstream: Lane) -> Exchange:
    """The same for somebody who may see how the answer came about."""
    recount = Recount(service, downstream)
    try:
        exchange = exchange_for(service, head, peer=peer, downstream=recount, kinds=(Timed, TimedHedged))
    except Refused as refused:
        refused.said = recount.said(refused.failure, str(refused))
        raise
    assert isinstance(exchange, Timed)  # noqa: S101 - of these kinds it is
    recount.follow(exchange)
    return exchange


def way_of(service: Service, head: RequestHead) -> Way:
    """The authority that the target named, if any; the target in origin form; and where it goes.

    Raises:
        Refused: nobody serves it here.
    """
    check_forwardable(service, head)
    only = service.router.only
    if only is not None and head.target.startswith(b"/"):
        authority, target, destination = None, head.target, only
    else:
        authority, target, destination = _routed(service.router, head)
    if destination.upgrade is not None and b"upgrade" in head.special:
        keep_upgrades(head, destination.upgrade)
    return authority, target, destination


def note_refusal(service: Service, head: RequestHead, peer: Peer, failure: Failure) -> None:
    """Tell of a request that never became an exchange; ``NO_HEAD`` where there was no reading it."""
    if service.observer is not None:
        service.observer.turned_away(head, peer, failure)


def check_forwardable(service: Service, head: RequestHead) -> None:
    """Let a request pass that a proxy may pass on, wherever it goes.

    Raises:
        Refused: it may not be.
    """
    if head.method in (b"TRACE", b"CONNECT"):
        raise Refused(Failure.METHOD_REFUSED, "TRACE and CONNECT are not forwarded")
    special = head.special
    if special and b"via" in special and loops(head, service.via):
        raise Refused(Failure.LOOP, "our own pseudonym in Via")
    if special and b"max-forwards" in special and is_last_hop(head):
        raise Refused(Failure.LAST_HOP, "Max-Forwards is 0")  # RFC 9110 §7.6.2: it is for us to answer
    if 0 < service.listen.max_body_bytes < head.length:
        raise Refused(Failure.BODY_TOO_LARGE, "Content-Length over max_body_bytes")


def _routed(router: Router, head: RequestHead) -> Way:
    if head.target == b"*" and head.method != b"OPTIONS":
        raise Refused(Failure.BAD_REQUEST, "asterisk-form is for OPTIONS alone")  # RFC 9112 §3.2.4
    authority, path, query = split_target(head.target, head.method)
    if authority is not None:
        head.host = authority
    destination = router.find(head.method, head.host, path)
    if destination is None:
        raise Refused(Failure.NO_ROUTE, "no route matches")
    return authority, (path.removeprefix(destination.strip) or b"/") + query, destination
