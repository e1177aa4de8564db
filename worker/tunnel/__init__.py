"""What a client's connection and a backend's become once the backend has switched protocols."""

from worker.tunnel.choose import tunnel_for
from worker.tunnel.pipe import Passage, Tunnel
from worker.tunnel.websocket import WebSocketTunnel

__all__ = ["Passage", "Tunnel", "WebSocketTunnel", "tunnel_for"]
