"""The same program twice, on the real package and on ours, in front of the same backends."""

import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from backend import Backend, Connection, Handler, Request, answers, answers_chunked, resets, stalls
from lanes import settled
from raw_client import fetch
from seeds import NAME, OURS, PAIRS, Pair, Served, served
from talker import Talker, talking
from waiting import eventually

HERE = Path(__file__).parent
HELLO = gzip.compress(b"hello" * 1000, mtime=0)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def echo(request: Request, connection: Connection) -> None:
    kind = request.header("content-type") or b"none"
    await connection.respond(headers=[("X-Was", kind), ("X-Method", request.method)], body=request.body)


async def no_head(request: Request, connection: Connection) -> None:
    """As any FastAPI app that has ``@app.get`` for it."""
    await connection.respond(405 if request.method == b"HEAD" else 200)


PATHS: dict[bytes, Handler] = {
    b"/small": answers(headers=[("Content-Type", "text/plain"), ("X-From", "backend")], body=b"hello"),
    b"/echo": echo,
    b"/cookies": answers(headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")], body=b"hello"),
    b"/gzip": answers(headers=[("Content-Encoding", "gzip"), ("Content-Type", "text/plain")], body=HELLO),
    b"/none": answers(204),
    b"/moved": answers(302, [("Location", "/small")]),
    b"/missing": answers(404, body=b"no such thing"),
    b"/broken": answers(503, [("Retry-After", "7")], b"we are broken"),
    b"/chunked": answers_chunked(b"hel", b"lo", headers=[("Content-Type", "text/event-stream")]),
    b"/private": answers(headers=[("Connection", "X-Private"), ("X-Private", "of this hop")]),
    b"/no-head": no_head,
    b"/silent": stalls(),
    b"/reset": resets(),
}


async def by_path(request: Request, connection: Connection) -> None:
    await PATHS.get(request.target.partition(b"?")[0], answers(body=b"any"))(request, connection)


@pytest.fixture(scope="module")
async def backend() -> AsyncIterator[Backend]:
    async with Backend(by_path) as backend:
        yield backend


@pytest.fixture(scope="module")
async def other() -> AsyncIterator[Backend]:
    async with Backend(by_path) as backend:
        yield backend


@pytest.fixture(scope="module")
async def talker() -> AsyncIterator[Talker]:
    async with talking() as talker:
        yield talker


@pytest.fixture(scope="module", params=PAIRS, ids=["-".join(each) for each in PAIRS])
def programs(
    request: pytest.FixtureRequest,
    backend: Backend,
    other: Backend,
    talker: Talker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Both are started at once, since most of a start is imports."""
    version, server = request.param
    env = {"BACKEND": backend.url, "OTHER": other.url, "TALKER": talker.url}
    program = HERE / f"written_for_{version.replace('.', '_')}.py"
    with ExitStack() as stack:
        real, ours = (
            stack.enter_context(
                served(program, server, tmp_path_factory.mktemp(name), version=version, imports=name, env=env)
            )
            for name in (NAME, OURS)
        )
        yield Pair(version=version, server=server, real=real, ours=ours)


@pytest.fixture(scope="module")
async def pair(programs: Pair, backend: Backend) -> Pair:
    """Both serve, and their first health checks are over: a new one would begin a quota anew."""
    for each in (programs.real, programs.ours):
        await eventually(partial(serves, each), within=20, what=partial(getattr, each.program, "output"))
        assert each.program.status is None, each.program.output
    await settled(lambda: len(backend.requests))
    return programs


async def serves(it: Served) -> bool:
    """Whether it does, or never will."""
    return it.program.status is not None or (await fetch(it.port, "/small")).status == 200
