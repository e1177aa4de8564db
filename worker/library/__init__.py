"""The drop-in API: the names of fastapi-reverse-proxy on this engine, and what they could not do before."""

from worker.library.balancer import LoadBalancer
from worker.library.checker import HealthChecker
from worker.library.client import Proxy, ProxyClient, close_httpx_client, create_httpx_client, get_httpx_client
from worker.library.mounted import Gateway
from worker.library.problems import GatewayError
from worker.library.proxying import proxy_pass
from worker.library.sockets import GatewaySocketError, proxy_pass_websocket

__all__ = [
    "Gateway",
    "GatewayError",
    "GatewaySocketError",
    "HealthChecker",
    "LoadBalancer",
    "Proxy",
    "ProxyClient",
    "close_httpx_client",
    "create_httpx_client",
    "get_httpx_client",
    "proxy_pass",
    "proxy_pass_websocket",
]
