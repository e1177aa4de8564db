"""A request as it is about to be sent: made of the client's and of what the caller changes."""

import re
from dataclasses import dataclass

from starlette.requests import Request

from sidecar.contract.config import Listen
from worker.failure import Failure, Refused
from worker.gateway.scope import head_from, is_framed
from worker.headers import Peer
from worker.http1 import RequestHead
from worker.library.call import Changes, Pair
from worker.library.target import Target, request_target
from worker.library.upload import upload_of
from worker.route import Destination

_FRAMING_VERSIONS = ("1.1", "1.0")
"""Where a request says whether a body follows."""
_HOST = re.compile(r"[0-9a-zA-Z\-._~!$&'()*+;=%\[\]:]+")
_TO_BACKEND = Destination(pool="", strip=b"", host_header="upstream")
_AS_GIVEN = Destination(pool="", strip=b"", host_header="preserve")


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


def draft_of(request: Request, changes: Changes, target: Target, known: Peer, *, announce: bool = False) -> Draft:
    """What is to be sent for this request.

    Args:
        request: the client's.
        changes: what the caller changes of it.
        target: where it goes.
        known: who sent it.
        announce: a body follows, of any length, which its fields do not say.
    """
    scope = request.scope
    body = b"" if changes.drops_body else changes.override_body
    fields = authorized(changes.fields(scope, known, keep_framing=body is None), target)
    if announce:
        fields.append((b"transfer-encoding", b"chunked"))
    if scope["http_version"] not in _FRAMING_VERSIONS and not any(name == b"host" for name, _ in fields):
        fields.append((b"host", b""))  # which HTTP/1.1 has to have; the backend reads another
    return Draft(
        method=(changes.method or scope["method"]).encode(),
        target=request_target(scope, target.base, changes.path, forward_query=changes.forward_query),
        fields=fields,
        version=b"0" if scope["http_version"] == "1.0" else b"1",
        body=body,
        host=changes.override_host,
    )


def authorized(fields: list[Pair], target: Target) -> list[Pair]:
    """These fields, with what the backend's URL says of who we are in place of the client's own."""
    if not target.authorization:
        return fields
    kept = [pair for pair in fields if pair[0].lower() != b"authorization"]
    return [*kept, (b"authorization", target.authorization)]


async def is_unannounced(request: Request, changes: Changes) -> bool:
    """Whether a body of the client's is to go along of which its fields say nothing; it has begun to come, then.

    HTTP/2 and later need not say that one follows.
    """
    if request.scope["http_version"] in _FRAMING_VERSIONS or is_framed(request.scope):
        return False
    return not changes.drops_body and changes.override_body is None and await upload_of(request).has_body()


def way_to(host: str | None) -> tuple[Destination, bytes | None]:
    """How heads change on their way, and what Host is to say; None: the backend's name.

    Raises:
        Refused: it is no host.
    """
    if not host:
        return _TO_BACKEND, None
    if not _HOST.fullmatch(host):
        raise Refused(Failure.BAD_REQUEST, "bad Host")
    return _AS_GIVEN, host.encode()
