"""A request as it is about to be sent: made of the client's and of what the caller changes."""

from dataclasses import dataclass
from functools import lru_cache

from starlette.requests import Request

from sidecar.contract.config import Listen
from worker.gateway.scope import head_from, is_framed
from worker.http1 import RequestHead
from worker.library.call import Changes, Pair
from worker.library.target import request_target
from worker.route import Destination

_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE"})
"""Over HTTP/2 a body need not announce itself: with these methods one may come."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """Fields are in their order, Host as the client said it; ``host`` is what it is to say, None: the backend's name.

    ``body`` is all of it, None where the client's own is passed on.
    """

    method: bytes
    target: bytes
    fields: list[Pair]
    version: bytes
    body: bytes | None
    host: str | None

    def head(self, listen: Listen) -> RequestHead:
        """The head that the engine sends.

        Raises:
            Refused: it is none, or says more than one request would.
        """
        return head_from(self.method, self.target, self.version, self.fields, listen)


def draft_of(request: Request, changes: Changes, base: bytes) -> Draft:
    """What is to be sent for this request; ``base`` comes before every path."""
    scope = request.scope
    body = b"" if changes.drops_body else changes.override_body
    fields = changes.fields(scope, keep_framing=body is None)
    method = (changes.method or scope["method"]).encode()
    if scope["http_version"] not in ("1.0", "1.1"):
        _complete(fields, has_body=body is None and method in _WITH_BODY and not is_framed(scope))
    return Draft(
        method=method,
        target=request_target(scope, base, changes.path, forward_query=changes.forward_query),
        fields=fields,
        version=b"0" if scope["http_version"] == "1.0" else b"1",
        body=body,
        host=changes.override_host,
    )


def _complete(fields: list[Pair], *, has_body: bool) -> None:
    """Add what a request of HTTP/1.1 has and one of later versions need not have."""
    if has_body:
        fields.append((b"transfer-encoding", b"chunked"))
    if not any(name == b"host" for name, _ in fields):
        fields.append((b"host", b""))


@lru_cache(maxsize=1_024)
def destination_to(host: str | None) -> Destination:
    """How heads change on their way; ``host`` is what Host is to say, None: the backend's name."""
    return Destination(pool="", strip=b"", host_header=host or "upstream")
