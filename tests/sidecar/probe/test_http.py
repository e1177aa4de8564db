"""Probes by an HTTP request, and what holds for all of them: against backends that answer, refuse, hang and lie."""

import asyncio
import ssl
import time
from pathlib import Path

import httpcore
import pytest

from backend import Backend, Connection, Handler, Request, answers, answers_chunked, resets, sends, stalls
from probing import SYSTEM_TRUST, probe
from sidecar.contract.config import BackendTable, HealthCheck, UpstreamTLS
from sidecar.contract.model import Health, parse_address
from sidecar.probe import Prober, in_words, tls_context
from sidecar.probe.http import MAX_BODY_BYTES
from waiting import eventually, free_port

LENIENT = "HTTP 404 (any answer below 500 passes: no path is configured)"


async def test_an_answer_is_told_with_its_times(backend: Backend):
    result = await probe(backend.url)
    assert (result.passed, result.reason, result.status, result.refused) == (True, "HTTP 200", 200, False)
    assert result.connect_ms is not None
    assert result.ttfb_ms is not None
    assert 0 < result.connect_ms <= result.ttfb_ms <= result.total_ms
    assert abs(time.monotonic() - result.began) < 60.0


async def test_it_sends_one_plain_request_on_a_connection_of_its_own(backend: Backend):
    for _ in range(2):
        await probe(backend.url, method="OPTIONS", path="/a/../b//c?d=%7E")
    assert backend.connections_total == 2
    request = backend.requests[-1]
    assert (request.method, request.target) == (b"OPTIONS", b"/a/../b//c?d=%7E")
    assert request.header("host") == f"127.0.0.1:{backend.port}".encode()
    assert request.header("connection") == b"close"
    assert {name.lower() for name, _ in request.headers} == {b"host", b"user-agent", b"accept", b"connection"}


async def test_the_config_may_say_what_is_asked(backend: Backend):
    await probe(backend.url, host="api.test:81", headers={"user-agent": "ours", "Authorization": "Bearer x"})
    request = backend.requests[0]
    assert [request.all(name) for name in ("host", "user-agent")] == [[b"api.test:81"], [b"ours"]]
    assert request.header("authorization") == b"Bearer x"


@pytest.mark.parametrize(
    ("body", "passed", "reason"),
    [
        (b"all is well", True, "HTTP 200"),
        (b"all is ill", False, "HTTP 200, but 'well' is not in its body"),
        (b"x" * MAX_BODY_BYTES + b"well", False, "HTTP 200, but 'well' is not in its body"),
    ],
    ids=["there", "not there", "too late"],
)
async def test_a_body_may_be_expected(backend: Backend, body: bytes, passed: bool, reason: str):
    backend.handler = answers(body=body)
    result = await probe(backend.url, expected_body="well")
    assert (result.passed, result.reason, result.answered) == (passed, reason, True)


async def test_what_the_backend_says_of_itself_is_heeded(backend: Backend):
    backend.handler = answers(headers=[("X-Health-State", "Degraded"), ("x-health-weight", "50")])
    result = await probe(backend.url)
    assert (result.passed, result.reason) == (True, "HTTP 200, the backend says degraded")
    assert (result.advertised, result.advertised_weight) == (Health.DEGRADED, 0.5)


async def test_a_prober_closes_each_connection_and_keeps_no_cookie(backend: Backend):
    backend.handler = answers(headers=[("set-cookie", "seen=1"), ("connection", "keep-alive")])
    async with Prober() as prober:
        check = HealthCheck(timeout_s=20.0)
        again = prober.probe(BackendTable(url=backend.url).backend(), check, UpstreamTLS())
        await again()
        await again()
        await eventually(lambda: backend.connections_open == 0)
    assert backend.requests[-1].header("cookie") is None


@pytest.mark.parametrize(
    ("check", "status", "passed", "reason"),
    [
        ({}, 204, True, "HTTP 204"),
        ({}, 404, True, LENIENT),
        ({}, 500, False, "HTTP 500"),
        ({"path": "/up"}, 302, True, "HTTP 302"),
        ({"path": "/up"}, 404, False, "HTTP 404, not 200-399"),
        ({"expected_statuses": "200,404"}, 404, True, "HTTP 404"),
        ({"expected_statuses": "200,404"}, 204, False, "HTTP 204, not 200,404"),
    ],
)
async def test_the_status_decides(backend: Backend, check: dict[str, object], status: int, passed: bool, reason: str):
    backend.handler = answers(status)
    result = await probe(backend.url, SYSTEM_TRUST, **check)
    assert (result.passed, result.reason, result.status) == (passed, reason, status)


async def test_a_redirect_is_an_answer_and_is_not_followed(backend: Backend):
    backend.handler = answers(301, [("location", f"{backend.url}/elsewhere")])
    assert (await probe(backend.url)).status == 301
    assert len(backend.requests) == 1


async def test_the_environment_does_not_matter(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await probe(backend.url)).passed


async def test_a_refused_connection_is_told_from_other_failures(backend: Backend):
    backend.refuse()
    result = await probe(backend.url)
    assert (result.passed, result.reason, result.refused) == (False, "connection refused", True)
    assert result.failed_in_transport
    assert result.connect_ms is result.ttfb_ms is result.status is None


async def test_a_name_with_two_addresses_is_refused_when_both_refuse(backend: Backend):
    backend.refuse()
    result = await probe(f"http://localhost:{backend.port}")
    assert (result.reason, result.refused) == ("connection refused", True)


async def test_a_name_that_nobody_knows_is_named():
    result = await probe("http://nowhere.invalid:80")
    assert (result.passed, result.reason, result.refused) == (False, "the name nowhere.invalid is not known", False)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (resets(), "connection reset"),
        (resets(HEAD[:20]), "connection reset"),
        (sends(b""), "connection closed without an answer"),
        (stalls(), "no answer within 0.5 s"),
    ],
    ids=["reset", "reset in the head", "closed", "silent"],
)
async def test_what_went_wrong_is_said_in_words(backend: Backend, handler: Handler, reason: str):
    backend.handler = handler
    result = await probe(backend.url, timeout_s=0.5)
    assert (result.passed, result.reason, result.refused) == (False, reason, False)
    assert result.failed_in_transport


def test_a_time_that_is_over_is_said_in_the_same_words_each_time():
    late = TimeoutError()
    late.__cause__ = asyncio.CancelledError("Cancelled via cancel scope 7f53c1331ee0")
    error = httpcore.ReadTimeout(late)
    error.__cause__ = late
    assert in_words(error, parse_address("http://h:80")) == "timed out"


async def test_a_body_that_breaks_off_is_a_failed_answer(backend: Backend):
    backend.handler = sends(HEAD + b"half")
    result = await probe(backend.url)
    assert (result.passed, result.reason, result.answered) == (False, "HTTP 200, but its body broke off", True)


async def test_an_answered_status_is_no_failure_of_the_transport(backend: Backend):
    backend.handler = answers(503)
    result = await probe(backend.url)
    assert (result.passed, result.answered, result.failed_in_transport) == (False, True, False)


async def test_what_is_not_http_is_said_to_be_so(backend: Backend):
    backend.handler = sends(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")
    result = await probe(backend.url)
    assert not result.passed
    assert result.reason.startswith("not an HTTP answer")


async def drips(_request: Request, connection: Connection) -> None:
    """A byte every 50 ms, for ever: each operation is in time, the whole is not."""
    await connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await connection.chunk(b".")
        await asyncio.sleep(0.05)


async def test_one_deadline_covers_the_whole_probe(backend: Backend):
    backend.handler = drips
    result = await probe(backend.url, timeout_s=0.5)
    assert (result.passed, result.reason) == (False, "HTTP 200, but its body did not end within 0.5 s")
    assert result.answered
    assert result.ttfb_ms is not None


async def test_an_endless_body_is_not_waited_for(backend: Backend):
    async def floods(_request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        while True:
            await connection.chunk(b"x" * MAX_BODY_BYTES)

    backend.handler = floods
    assert (await probe(backend.url)).passed
    await eventually(lambda: backend.connections_open == 0)


async def test_a_body_in_chunks_is_read(backend: Backend):
    backend.handler = answers_chunked(b"a", b"b")
    assert (await probe(backend.url)).passed


async def test_a_unix_socket_is_probed(tmp_path: Path):
    async with Backend(path=tmp_path / "app.sock") as backend:
        assert (await probe(backend.url)).passed
        assert backend.requests[0].header("host") == b"localhost"
        backend.refuse()
        assert (await probe(backend.url)).refused


async def test_a_missing_socket_is_like_a_refused_connection(tmp_path: Path):
    result = await probe(f"unix:{tmp_path}/none.sock")
    assert (result.passed, result.reason, result.refused) == (False, f"no socket at {tmp_path}/none.sock", True)


async def test_an_unexpected_error_is_a_failed_probe_with_its_name(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    async def breaks(*_: object) -> None:
        raise LookupError("what is this?")

    async with Prober() as prober:
        once = prober.probe(BackendTable(url=backend.url).backend(), HealthCheck(timeout_s=20.0), UpstreamTLS())
        monkeypatch.setattr("httpcore.AsyncConnectionPool.handle_async_request", breaks)
        result = await once()
    assert (result.passed, result.reason) == (False, "LookupError: what is this?")


async def test_a_deadline_that_we_noticed_late_is_not_held_against_the_backend(backend: Backend):
    backend.handler = stalls()

    async def starve() -> None:
        await eventually(lambda: backend.requests)
        time.sleep(0.7)  # noqa: ASYNC251  # what a stopped or starved process is like for its loop

    async with Prober() as prober, asyncio.TaskGroup() as tasks:
        tasks.create_task(starve())
        check = HealthCheck(timeout_s=0.3)
        result = await prober.probe(BackendTable(url=backend.url).backend(), check, UpstreamTLS())()
    assert result.is_void
    assert not result.failed_in_transport
    assert "the monitor was" in result.reason


async def test_a_cancelled_probe_ends_at_once(backend: Backend):
    backend.handler = stalls()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(probe(backend.url, timeout_s=60.0))
        await eventually(lambda: backend.requests)
        task.cancel()
    assert task.cancelled()


async def answer_securely(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    writer.close()


async def test_https_is_trusted_as_the_tls_table_says(certificate: tuple[Path, Path]):
    cert, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(answer_securely, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        named = UpstreamTLS(ca=str(cert), server_name="backend.test")
        trusted = await probe(url, named)
        assert (trusted.reason, trusted.expires_days) == ("HTTP 200", 0)
        assert (await probe(url, UpstreamTLS(verify=False))).reason == "HTTP 200"
        strange = await probe(url)
        assert (strange.passed, strange.reason, strange.refused) == (False, "TLS: self-signed certificate", False)
        misnamed = await probe(url, UpstreamTLS(ca=str(cert)))
        assert misnamed.reason.startswith("TLS: ip address mismatch")


async def test_https_to_a_backend_without_tls_says_so():
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        result = await probe(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (result.passed, result.reason, result.refused) == (False, "TLS: wrong version number", False)


def test_a_missing_authority_file_is_an_error_at_once(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        tls_context(UpstreamTLS(ca=str(tmp_path / "ca.pem")))
