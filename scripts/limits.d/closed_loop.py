"""Clients that ask again as soon as they are answered."""

import asyncio
import time
from collections import Counter

REQUEST = b"GET / HTTP/1.1\r\nHost: limits\r\n\r\n"


async def saturate(port: int, clients: int, seconds: float) -> Counter[str]:
    """So many of them, each with a connection of its own: how often they were answered with which status."""
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(_ask_on(port, end, statuses))
    return statuses


async def _ask_on(port: int, end: float, statuses: Counter[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.monotonic() < end:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            [length] = [
                line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            ]
            await reader.readexactly(int(length))
            statuses[head.split(b" ", 2)[1].decode()] += 1
    finally:
        writer.close()
