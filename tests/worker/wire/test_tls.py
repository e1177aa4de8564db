"""Backends behind TLS: verified, named, and cut off visibly (RFC 9112 §9.8, RFC 9525)."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lanes import Lane, StartLane
from raw_client import RawClient, fetch
from waiting import eventually
from wire import TruncatedError, encode_head

Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

if shutil.which("openssl") is None:
    pytest.skip("there is no openssl to make certificates with", allow_module_level=True)


@dataclass(frozen=True, slots=True)
class Papers:
    """A certificate for ``backend.test`` and 127.0.0.1, which is its own authority, and its key."""

    cert: Path
    key: Path


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("tls")
    papers = Papers(folder / "cert.pem", folder / "key.pem")
    names = "subjectAltName=DNS:backend.test,IP:127.0.0.1"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=backend.test"
    files = ["-addext", names, "-keyout", str(papers.key), "-out", str(papers.cert)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return papers


@dataclass(slots=True)
class Secure:
    """A TLS backend: what it was asked for by name, the client's certificate, and how many connections came."""

    port: int = 0
    names: list[str | None] = field(default_factory=list)
    protocols: list[str | None] = field(default_factory=list)
    peers: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


async def says_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One answer to each request that ends with an empty line."""
    while (await reader.readuntil(b"\r\n\r\n")) != b"":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@asynccontextmanager
async def secure(papers: Papers, reply: Reply = says_ok, *, wants_client: bool = False) -> AsyncIterator[Secure]:
    backend = Secure()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(papers.cert, papers.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _socket, name, _context: backend.names.append(name)
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(papers.cert)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("ssl_object")
        backend.protocols.append(connection.selected_alpn_protocol())
        backend.peers.append(connection.getpeercert())
        try:
            await reply(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        backend.port = server.sockets[0].getsockname()[1]
        yield backend


async def test_a_verified_backend_is_used_again_and_again(start_lane: StartLane, papers: Papers):
    async with secure(papers) as backend:
        lane = await start_lane(backend.url, tls={"ca": str(papers.cert)})
        for _ in range(3):
            assert (await fetch(lane.port)).body == b"ok"
        assert backend.protocols == ["http/1.1"]  # ALPN, though it would rather speak HTTP/2
        await lane.runtime.aclose()


async def test_a_backend_is_asked_for_by_its_name(start_lane: StartLane, papers: Papers):
    async with secure(papers) as backend:
        lane = await start_lane(backend.url, tls={"ca": str(papers.cert), "server_name": "backend.test"})
        assert (await fetch(lane.port)).status == 200
        assert backend.names == ["backend.test"]
        await lane.runtime.aclose()


@pytest.mark.parametrize("tls", [{}, {"server_name": "other.test"}], ids=["unknown authority", "wrong name"])
async def test_a_backend_that_cannot_prove_its_name_gets_nothing(
    start_lane: StartLane, papers: Papers, tls: dict[str, str]
):
    async with secure(papers) as backend:
        if tls:
            tls = {**tls, "ca": str(papers.cert)}
        lane = await start_lane(backend.url, tls=tls)
        response = await fetch(lane.port, method="POST", body=b"secret")
        assert (response.status, response.header("x-sidebeat-error")) == (502, b"tls_failed")
        assert not backend.protocols  # no handshake came to its end


async def test_verification_can_be_switched_off(start_lane: StartLane, papers: Papers):
    async with secure(papers) as backend:
        lane = await start_lane(backend.url, tls={"verify": False})
        assert (await fetch(lane.port)).status == 200
        await lane.runtime.aclose()


async def test_a_client_certificate_is_shown(start_lane: StartLane, papers: Papers):
    mine = {"ca": str(papers.cert), "cert": str(papers.cert), "key": str(papers.key)}
    async with secure(papers, wants_client=True) as backend:
        lane = await start_lane(backend.url, tls=mine)
        assert (await fetch(lane.port)).status == 200
        assert backend.peers[0]
        await lane.runtime.aclose()


async def test_a_backend_without_tls_is_502(start_lane: StartLane, papers: Papers):
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        lane = await start_lane(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", tls={"verify": False})
        response = await fetch(lane.port)
        assert (response.status, response.header("x-sidebeat-error")) == (502, b"tls_failed")


async def test_a_handshake_that_hangs_is_504(start_lane: StartLane):
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        lane = await start_lane(url, timeouts={"connect_s": 0.2}, retry={"connect_retries": 0})
        response = await fetch(lane.port)
        assert (response.status, response.header("x-sidebeat-error")) == (504, b"connect_timeout")


async def test_a_big_body_passes_both_ways(start_lane: StartLane, papers: Papers):
    size = 5_000_000

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(size)
        writer.write(encode_head("HTTP/1.1 200 OK", [("Content-Length", str(size))]) + body)
        await writer.drain()
        await reader.read()

    async with secure(papers, mirror) as backend:
        lane = await start_lane(backend.url, tls={"ca": str(papers.cert)})
        body = bytes(range(250)) * (size // 250)
        assert (await fetch(lane.port, method="POST", body=body, within=20)).body == body
        await lane.runtime.aclose()


async def test_a_body_that_ends_with_the_connection_is_cut_where_tls_did_not_end_rfc9112_9_8(
    start_lane: StartLane, papers: Papers
):
    """Anybody on the way can end TCP; only the backend can say in TLS that this was all."""
    clean = True

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await writer.drain()
        if not clean:
            raw = writer.get_extra_info("socket").dup()
            raw.shutdown(2)  # TCP's FIN without TLS's close_notify
            raw.close()

    async with secure(papers, stream) as backend:
        lane = await start_lane(backend.url, tls={"ca": str(papers.cert)})
        assert (await fetch(lane.port)).body == b"hello"
        clean = False
        with pytest.raises((TruncatedError, ConnectionError)):
            await fetch(lane.port)


async def test_a_tunnel_over_tls_ends_without_blame(start_lane: StartLane, papers: Papers):
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        writer.write(await reader.readexactly(5) + b", bye")

    async with secure(papers, switch) as backend:
        lane = await start_lane(backend.url, tls={"ca": str(papers.cert)})
        lane.needs("upgrade")
        assert await through(lane) == b"hello, bye"
        await lane.quiet()
        assert lane.counted(backend.port).failures == 0


async def test_a_client_that_ends_its_half_of_a_tunnel_over_tls_ends_it_all(start_lane: StartLane, papers: Papers):
    """TLS has no half of a connection; the backend has to learn of the end somehow."""
    ended = asyncio.Event()

    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        assert await reader.read() == b"hello"
        ended.set()

    async with secure(papers, switch) as backend:
        lane = await start_lane(backend.url, tls={"ca": str(papers.cert)})
        lane.needs("upgrade")
        assert await through(lane, half_close=True) == b""
        await eventually(ended.is_set)


async def through(lane: Lane, *, half_close: bool = False) -> bytes:
    """What comes back for ``hello`` through a tunnel, to its end."""
    async with RawClient(lane.port) as client:
        await client.send(encode_head("GET / HTTP/1.1", [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "x")]))
        await client.read_head()
        await client.send(b"hello")
        if half_close:
            client.half_close()
        return await client.read_until_close()
