"""The programmable backend and the raw client, against each other."""

import asyncio
import gc
import socket
from pathlib import Path

import pytest

from backend import Backend, Connection, Request, answers, answers_chunked, resets, sends, stalls
from raw_client import RawClient, fetch
from waiting import eventually
from wire import TruncatedError


async def test_a_response_comes_with_its_headers_in_order_and_case(backend: Backend):
    backend.handler = answers(201, [("Set-Cookie", "a=1"), ("X-Odd", b"\xff"), ("set-cookie", "b=2")], b"hello")
    response = await fetch(backend.port)
    assert (response.status, response.body) == (201, b"hello")
    assert response.headers[:3] == [(b"Set-Cookie", b"a=1"), (b"X-Odd", b"\xff"), (b"set-cookie", b"b=2")]
    assert response.all("set-cookie") == [b"a=1", b"b=2"]


async def test_a_request_is_recorded_as_it_came(backend: Backend):
    sent = b"POST /a%2Fb/../c?q HTTP/1.1\r\nhOST: x\r\nA: 1\r\na: 2\r\nContent-Length: 3\r\n\r\nabc"
    async with RawClient(backend.port) as client:
        await client.send(sent)
        await client.read_response()
    (request,) = backend.requests
    assert request.raw == sent
    assert (request.method, request.target, request.body) == (b"POST", b"/a%2Fb/../c?q", b"abc")
    assert request.headers == [(b"hOST", b"x"), (b"A", b"1"), (b"a", b"2"), (b"Content-Length", b"3")]


async def test_chunks_and_trailers_go_both_ways(backend: Backend):
    backend.handler = answers_chunked(b"one", b"two", trailers=[("X-Sum", "6")])
    async with RawClient(backend.port) as client:
        await client.send(
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n"
        )
        response = await client.read_response()
    assert (response.body, response.trailers) == (b"onetwo", [(b"X-Sum", b"6")])
    assert (backend.requests[0].body, backend.requests[0].trailers) == (b"abc", [(b"T", b"1")])


async def test_a_connection_serves_one_request_after_another(backend: Backend):
    async with RawClient(backend.port) as client:
        for _ in range(3):
            await client.request("HEAD")
            response = await client.read_response(method="HEAD")
            assert response.header("content-length") == b"2"
    assert (backend.connections_total, len(backend.requests)) == (1, 3)
    await eventually(lambda: backend.connections_open == 0)


async def test_a_handler_may_answer_before_the_body_is_there():
    async def early(request: Request, connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await connection.respond(413, body=b"")
        assert not request.complete
        connection.close()

    async with Backend(early, reads_bodies=False) as backend, RawClient(backend.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        response = await client.read_response()
        assert ([early.status for early in response.informational], response.status) == ([103], 413)


async def test_expect_is_answered_before_the_body_is_read(backend: Backend):
    async with RawClient(backend.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.send(b"ok")
        assert (await client.read_response()).status == 200


async def test_a_refusing_backend_keeps_its_port_and_its_open_connections(backend: Backend):
    port = backend.port
    async with RawClient(port) as client:
        backend.refuse()
        with pytest.raises(ConnectionRefusedError):
            await fetch(port)
        await client.request()
        assert (await client.read_response()).status == 200
    await backend.accept()
    assert (backend.port, (await fetch(port)).status) == (port, 200)


async def test_a_unix_socket_refuses_and_accepts_again(tmp_path: Path):
    path = tmp_path / "b.sock"
    async with Backend(path=path) as backend:
        assert (await fetch(path)).status == 200
        backend.refuse()
        with pytest.raises(ConnectionRefusedError):
            await fetch(path)
        await backend.accept()
        assert (await fetch(path)).status == 200
    assert not path.exists()


async def test_a_cut_response_is_seen_as_truncated(backend: Backend):
    backend.handler = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    with pytest.raises(TruncatedError) as error:
        await fetch(backend.port)
    assert error.value.got == b"half"


async def test_a_reset_is_a_reset(backend: Backend):
    backend.handler = resets()
    with pytest.raises(ConnectionResetError):
        await fetch(backend.port)


async def test_a_stalled_request_ends_with_the_limit_and_the_backend(backend: Backend):
    backend.handler = stalls()
    with pytest.raises(TimeoutError):
        await fetch(backend.port, within=0.05)
    await eventually(lambda: backend.requests[0].complete)


async def test_a_client_that_aborts_is_seen_to_be_gone():
    gone = asyncio.Event()

    async def watch(_request: Request, connection: Connection) -> None:
        await connection.gone()
        gone.set()

    async with Backend(watch) as backend, RawClient(backend.port) as client:
        await client.request()
        await eventually(lambda: backend.requests)
        client.abort()
        await eventually(gone.is_set)
        await eventually(lambda: backend.connections_open == 0)


async def test_half_a_close_leaves_the_other_half(backend: Backend):
    async with RawClient(backend.port) as client:
        await client.request(headers=[("connection", "close")])
        client.half_close()
        assert (await client.read_until_close()).endswith(b"ok")


async def test_a_reader_that_pauses_makes_the_sender_wait():
    size = 32 * 2**20  # more than both sockets' buffers hold

    async def pour(_request: Request, connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await connection.send(bytes(65536))
        poured.set()

    poured = asyncio.Event()
    async with Backend(pour) as backend, RawClient(backend.port) as client:
        client.pause_reading()
        await client.request()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(poured.wait(), 0.2)
        client.resume_reading()
        assert len((await client.read_response()).body) == size


async def test_what_a_handler_raises_fails_the_test():
    async def wrong(_request: Request, _connection: Connection) -> None:
        raise LookupError("the test's own mistake")

    async def meet_it() -> None:
        async with Backend(wrong) as backend:
            with pytest.raises(TruncatedError):
                await fetch(backend.port)

    with pytest.raises(ExceptionGroup) as group:
        await meet_it()
    assert group.group_contains(LookupError)


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_comes_at_the_end_is_left_to_nobody(turns: int):
    """What is left open is a warning, hence a failure, in whatever test garbage is collected in next."""

    async def end_soon_after(client: socket.socket) -> None:
        async with Backend() as backend:
            client.connect(("127.0.0.1", backend.port))
            for _ in range(turns):
                await asyncio.sleep(0)

    with socket.socket() as client:
        asyncio.run(end_soon_after(client))
    gc.collect()
