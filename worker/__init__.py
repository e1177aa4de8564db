"""The workers' side: follow the view, pick a backend, exchange, report.

Every worker process reads the view that the monitor publishes and forwards traffic on it: HTTP, event streams and
tunnels. No request ever waits for Redis.

For apps of one's own, the names of ``worker.library`` are here, too: ``from worker import Proxy, proxy_pass``. They
are loaded when they are asked for, since FastAPI and httpx take 300 ms (measured) that no worker of ours needs.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.library import (
        Gateway,
        GatewayError,
        GatewaySocketError,
        HealthChecker,
        LoadBalancer,
        Proxy,
        ProxyClient,
        close_httpx_client,
        create_httpx_client,
        get_httpx_client,
        proxy_pass,
        proxy_pass_websocket,
    )

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


def __getattr__(name: str) -> object:
    """A name of the library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from worker import library

    found: object = getattr(library, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The library's names, loaded or not."""
    return sorted({*globals(), *__all__})
