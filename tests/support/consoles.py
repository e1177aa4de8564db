"""A console of a test's own: its application without a socket, or all of it on a port that the system chose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from httpx import ASGITransport, AsyncClient

from sidecar.console.app import create_app
from sidecar.console.look import Look
from sidecar.console.serving import Console
from sidecar.console.setting import Live, Setting
from sidecar.console.stream import Stream
from sidecar.contract.config import Console as Section
from sidecar.contract.config import parse_socket
from waiting import eventually

TOKEN = "a token that a person chose"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def setting(url: str, namespace: str, *, address: str = "127.0.0.1:0", **section: Any) -> Setting:
    """Of a console that shows the pool ``api``."""
    return Setting(
        address=parse_socket(address), url=url, namespace=namespace, host="web-1", owner="web-1:42:abc",
        pools=("api",), section=Section(**section), token=TOKEN, token_file=None,
    )  # fmt: skip


def asking(told: Setting) -> AsyncClient:
    """A client of the application itself; nothing runs its stream."""
    live = Live(told)
    look = Look(live)
    app = create_app(live, Stream(live, look), look)
    return AsyncClient(transport=ASGITransport(app), base_url="http://localhost:9900")


@asynccontextmanager
async def served(told: Setting) -> AsyncIterator[AsyncClient]:
    """A console that is served until the end of the block, and a client of it."""
    console = Console(told)
    where = console.start()
    try:
        async with AsyncClient(base_url=where.url, timeout=10) as client:
            yield client
    finally:
        await console.stop()
        await eventually(lambda: not console.is_alive)
