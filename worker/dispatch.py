"""From a request's head to the exchange that serves it, or to the reason why nobody does."""

from worker.exchange import Exchange
from worker.failure import Failure, Refused
from worker.headers import Peer, is_last_hop, keep_upgrades, loops
from worker.hedge import Hedged, may_hedge
from worker.http1 import RequestHead
from worker.lane import Downstream, Service
from worker.route import Destination, Router, split_target


def exchange_for(service: Service, head: RequestHead, *, peer: Peer, downstream: Downstream) -> Exchange:
    """The exchange that a request's head asks for, not yet started.

    Raises:
        Refused: nobody serves it here.
    """
    if head.method in (b"TRACE", b"CONNECT"):
        raise Refused(Failure.METHOD_REFUSED, "TRACE and CONNECT are not forwarded")
    if b"via" in head.special and loops(head, service.via):
        raise Refused(Failure.LOOP, "our own pseudonym in Via")
    if b"max-forwards" in head.special and is_last_hop(head):
        raise Refused(Failure.LAST_HOP, "Max-Forwards is 0")  # RFC 9110 §7.6.2: it is for us to answer
    if 0 < service.listen.max_body_bytes < head.length:
        raise Refused(Failure.BODY_TOO_LARGE, "Content-Length over max_body_bytes")
    authority, target = None, head.target
    destination = service.router.only if target.startswith(b"/") else None
    if destination is None:
        authority, target, destination = _routed(service.router, head)
    if b"upgrade" in head.special and destination.upgrade is not None:
        keep_upgrades(head, destination.upgrade)
    kind = Hedged if destination.hedge and may_hedge(head) else Exchange
    return kind(service, service.pools[destination.pool], destination, head, target, authority, peer, downstream)


def _routed(router: Router, head: RequestHead) -> tuple[bytes | None, bytes, Destination]:
    """The authority that the target named, if any; the target in origin form; and where it goes."""
    if head.target == b"*" and head.method != b"OPTIONS":
        raise Refused(Failure.BAD_REQUEST, "asterisk-form is for OPTIONS alone")  # RFC 9112 §3.2.4
    authority, path, query = split_target(head.target, head.method)
    if authority is not None:
        head.host = authority
    destination = router.find(head.method, head.host, path)
    if destination is None:
        raise Refused(Failure.NO_ROUTE, "no route matches")
    return authority, (path.removeprefix(destination.strip) or b"/") + query, destination
