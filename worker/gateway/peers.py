"""Who sent a request, by its scope. Kept, since the same few clients and proxies send most requests."""

from worker.gateway.scope import Scope
from worker.headers import Peer, is_trusted
from worker.lane import Service

MAX_PEERS = 1_024
HTTP_SCHEMES = {"ws": "http", "wss": "https"}
"""What X-Forwarded-Proto says of a WebSocket, which is asked for by HTTP; the direct lane says it too."""


class Peers:
    """Those who sent the last requests."""

    __slots__ = ("_known", "_listen", "_real_ip", "_service", "_trusts_all")

    def __init__(self, service: Service, *, trusts_all: bool = False, real_ip: bool = False) -> None:
        """``service`` says whom we trust, unless it is everybody; ``real_ip`` is as ``Peer`` takes it."""
        self._service = service
        self._trusts_all = trusts_all
        self._real_ip = real_ip
        self._listen = service.listen
        self._known: dict[tuple[str, int, str, bool], Peer] = {}

    def of(self, scope: Scope) -> Peer:
        """Who sent this one."""
        client, server = scope.get("client"), scope.get("server")
        scheme: str = scope.get("scheme", "http")
        port = (server[1] or 0) if server else 0
        is_told = client is not None and not client[1]  # no port: uvicorn has it from X-Forwarded-For
        who = (client[0] if client else "", port, HTTP_SCHEMES.get(scheme, scheme), is_told)
        if self._listen is not self._service.listen:  # a reload may have changed whom we trust
            self._listen = self._service.listen
            self._known.clear()
        peer = self._known.get(who)
        if peer is None:
            if len(self._known) >= MAX_PEERS:
                self._known.clear()
            address, port, scheme, is_told = who
            trusted = self._trusts_all or is_trusted(address, self._listen.trusted_proxies)
            peer = self._known[who] = Peer(
                address=address, port=port, scheme=scheme, trusted=trusted, is_told=is_told, real_ip=self._real_ip
            )
        return peer
