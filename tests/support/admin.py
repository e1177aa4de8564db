"""What our own endpoints look at, without a worker around it; and how they are asked.

runtime = StandIn()
response = await get(create_app(runtime, lambda: NOW), "/readyz")
"""

from typing import Any

import httpx
from fastapi import FastAPI

from sidecar.contract.config import parse
from sidecar.contract.model import Admin, Verdict, View
from worker.board import Places, Writer, board_for
from worker.view import Knowledge, Selection, candidates

NOW = 1000.0


class StandIn:
    """A host with two pools, of which `api` has two backends. Whoever answers has no slot, and need not have one."""

    def __init__(self) -> None:
        content: dict[str, Any] = {
            "pools": {
                "api": {"backends": ["http://127.0.0.1:8081", {"url": "http://127.0.0.1:8082", "id": "b"}]},
                "spare": {"backends": ["http://127.0.0.1:8083"]},
            },
            "routes": [{"pool": "api"}],
        }
        self.config = parse(content, {})
        self.board = board_for(self.config)
        places = Places(self.board, None)
        self.seats = {name: places.seats(name, pool) for name, pool in self.config.pools.items()}
        self.knowledge = {pool: Knowledge() for pool in self.config.pools}

    def selection(self, pool: str) -> Selection:
        """Worked out anew each time."""
        rows = self.seats[pool].rows
        return candidates(self.config.pools[pool].members, rows, self.knowledge[pool], NOW)

    def take_out(self, pool: str) -> None:
        """Have the operator drain all of a pool."""
        members = self.config.pools[pool].members
        verdicts = {backend.id: Verdict(id=backend.id, url=backend.url, admin=Admin.DRAIN) for backend in members}
        self.knowledge[pool].offer(View(epoch=7, backends=verdicts), NOW, 0)

    def worker(self, **marks: bool) -> Writer:
        """One more of this host."""
        writer = self.board.writer(self.board.claim())
        writer.mark(**marks)
        return writer


async def get(app: FastAPI, path: str, **headers: str) -> httpx.Response:
    """What the app answers."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        return await client.get(path, headers=headers)
