"""A steady load of GETs that remembers how each one went.

async with Load(port, "/healthz") as load:
    ...
load.assert_unharmed()
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from raw_client import RawClient, Response, fetch
from wire import TruncatedError

GIVE_UP_S = 20.0
LEAST = 10
"""Answers on either kind of connection, below which a load proves nothing: a fifth of a second of it."""
CLOSES = (("host", "test"), ("connection", "close"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One GET that went well: when it began (monotonic), and which backend answered."""

    began: float
    kept_alive: bool
    backend: str


class Load:
    """So many GETs a second, each started when it is due, however long the others take.

    Every other one has a connection of its own; the rest share those that are kept alive. Whatever is not a 200 with
    the whole answer of a demo backend is a failure.
    """

    def __init__(self, port: int, target: str, *, per_second: float = 50.0) -> None:
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self._port = port
        self._target = target
        self._per_second = per_second
        self._began = 0.0
        self._at_rest: list[RawClient] = []
        self._tasks = asyncio.TaskGroup()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._began = time.monotonic()
        self._pacer = self._tasks.create_task(self._pace())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pacer.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._stack.aclose()

    def shares(self, *, since: float = 0.0) -> Counter[str]:
        """How many each backend answered of those that began since."""
        return Counter(answer.backend for answer in self.answers if answer.began >= since)

    def assert_unharmed(self) -> None:
        """It ran on both kinds of connections, and nothing went wrong."""
        assert not self.failures, "\n".join([f"{len(self.failures)} failures:", *self.failures[:20]])
        for kept_alive in (True, False):
            answered = sum(answer.kept_alive is kept_alive for answer in self.answers)
            assert answered >= LEAST, f"only {answered} with kept_alive={kept_alive}"

    async def _pace(self) -> None:
        number = 0
        while True:
            self._tasks.create_task(self._get(kept_alive=number % 2 == 0))
            number += 1
            await asyncio.sleep(self._began + number / self._per_second - time.monotonic())

    async def _get(self, *, kept_alive: bool) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(GIVE_UP_S):
                response = await (self._on_kept_connection() if kept_alive else self._on_own_connection())
            assert response.status == 200, f"{response.status} {response.header('x-sidebeat-error')!r}"
            backend = json.loads(response.body)["backend"]
        except (OSError, TruncatedError, AssertionError, ValueError, LookupError) as error:
            how = "kept alive" if kept_alive else "own connection"
            after = f"at {began - self._began:.2f} s, after {time.monotonic() - began:.3f} s"
            self.failures.append(f"{after} ({how}): {type(error).__name__}: {error}")
        else:
            self.answers.append(Answer(began=began, kept_alive=kept_alive, backend=backend))

    async def _on_own_connection(self) -> Response:
        return await fetch(self._port, self._target, headers=CLOSES, within=GIVE_UP_S)

    async def _on_kept_connection(self) -> Response:
        if self._at_rest:
            client = self._at_rest.pop()
        else:
            client = await self._stack.enter_async_context(RawClient(self._port))
        await client.request("GET", self._target)
        response = await client.read_response(within=GIVE_UP_S)
        if response.header("connection") != b"close":
            self._at_rest.append(client)
        return response
