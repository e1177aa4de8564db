"""Which kind of tunnel a protocol gets."""

import asyncio
from collections.abc import Callable

from worker.lane import Home
from worker.sockets import probe
from worker.tunnel.pipe import Passage, Tunnel
from worker.tunnel.websocket import WebSocketTunnel


def tunnel_for(
    protocol: bytes,
    service: Home,
    passage: Passage,
    client: asyncio.Transport,
    backend: asyncio.Transport,
    gone: Callable[[Exception | None], None],
) -> Tunnel:
    """Join two transports for a protocol; the others as ``Tunnel`` takes them. TCP looks after both from now on."""
    timeouts = passage.timeouts
    for end in (client, backend):
        probe(end, timeouts.tcp_keepalive_s)
    if protocol.lower() == b"websocket":
        idle_s = timeouts.websocket_idle_timeout_s
        return WebSocketTunnel(service, passage, client, backend, gone, idle_s=idle_s)
    return Tunnel(service, passage, client, backend, gone)
