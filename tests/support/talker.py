"""A WebSocket backend, and a client that has one conversation with it, straight or through something.

async with talking() as talker:
    told = await conversation(f"ws://127.0.0.1:{port}/room", offer=["echo"], end="backend")
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from waiting import eventually

Close = tuple[int | None, str | None]
ECHO = Subprotocol("echo")


@dataclass(slots=True, kw_only=True)
class Talker:
    """Echoes; `bye` has it close with 4000 and a reason, a path under `/no/` has it refuse with that status.

    ``path``, ``asked``: target and fields of the latest handshake. ``ended``: how the last one on each path did.
    """

    url: str = ""
    path: str = ""
    asked: Headers = field(default_factory=Headers)
    ended: dict[str, Close] = field(default_factory=dict)

    def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """Take down what was asked, and refuse what is to be refused."""
        self.path, self.asked = request.path, request.headers
        _, no, status = request.path.partition("/no/")
        return socket.respond(HTTPStatus(int(status)), "not you") if no else None

    async def talk(self, socket: ServerConnection) -> None:
        """One conversation."""
        assert socket.request is not None
        try:
            async for message in socket:
                if message == "bye":
                    await socket.close(4000, "so long")
                await socket.send(message)
        except ConnectionClosed:
            pass
        self.ended[socket.request.path] = (socket.close_code, socket.close_reason)

    async def end(self) -> Close:
        """How the conversation ended whose handshake was the latest."""
        path = self.path
        await eventually(lambda: path in self.ended, what=f"an end of the conversation at {path}")
        return self.ended.pop(path)


@asynccontextmanager
async def talking() -> AsyncIterator[Talker]:
    """One that listens on a port of its own until the block ends."""
    talker = Talker()
    async with serve(
        talker.talk, "127.0.0.1", 0, select_subprotocol=_echo_if_offered, process_request=talker.admit
    ) as server:
        talker.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield talker


def _echo_if_offered(_socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Of who offers none, websockets' own choice would demand one."""
    return ECHO if ECHO in offered else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What a client saw of one: the status of a refusal, or the rest."""

    refused: int | None = None
    subprotocol: str | None = None
    echoes: tuple[str | bytes, ...] = ()
    ended: Close | None = None


TEXTS = ("snow \u2603", "", "x" * 100_000)
BINARY = (b"\x00\xff", b"")


async def conversation(
    url: str,
    *,
    offer: Sequence[str] = ("echo",),
    sayings: Sequence[str | bytes] = (*TEXTS, *BINARY),
    end: str = "client",
) -> Conversation:
    """Say this and that, and have it ended by this side (4001, `enough`) or, with ``end="backend"``, by the other."""
    try:
        async with connect(url, subprotocols=[Subprotocol(each) for each in offer], proxy=None) as socket:
            echoes: list[str | bytes] = []
            try:
                for saying in sayings:
                    await socket.send(saying)
                    echoes.append(await socket.recv())
                await (socket.send("bye") if end == "backend" else socket.close(4001, "enough"))
            except ConnectionClosed:
                pass
            await socket.wait_closed()
            ended = (socket.close_code, socket.close_reason)
            return Conversation(subprotocol=socket.subprotocol, echoes=tuple(echoes), ended=ended)
    except InvalidStatus as refused:
        return Conversation(refused=refused.response.status_code)
