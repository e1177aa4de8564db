"""One probe of one backend, against backends that answer, refuse, hang and lie."""

import asyncio
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from backend import Backend, Connection, Handler, Request, answers, answers_chunked, resets, sends, stalls
from sidecar.contract.config import BackendTable, HealthCheck, UpstreamTLS
from sidecar.probe import MAX_BODY_BYTES, Prober, ProbeResult, tls_context
from waiting import eventually, free_port

LENIENT = "HTTP 404 (any answer below 500 passes: no path is configured)"


SYSTEM_TRUST = UpstreamTLS()


async def probe(url: str, tls: UpstreamTLS = SYSTEM_TRUST, /, **check: object) -> ProbeResult:
    settings = HealthCheck.model_validate({"timeout_s": 0.3, **check})
    async with Prober() as prober:
        return await prober.http_probe(BackendTable(url=url).backend(), settings, tls)()


async def test_an_answer_is_told_with_its_times(backend: Backend):
    result = await probe(backend.url)
    assert (result.passed, result.reason, result.status, result.refused) == (True, "HTTP 200", 200, False)
    assert result.connect_ms is not None
    assert result.ttfb_ms is not None
    assert 0 < result.connect_ms <= result.ttfb_ms <= result.total_ms


async def test_it_sends_one_plain_request_on_a_connection_of_its_own(backend: Backend):
    for _ in range(2):
        await probe(backend.url, method="OPTIONS", path="/a/../b//c?d=%7E")
    assert backend.connections_total == 2
    request = backend.requests[-1]
    assert (request.method, request.target) == (b"OPTIONS", b"/a/../b//c?d=%7E")
    assert request.header("host") == f"127.0.0.1:{backend.port}".encode()
    assert request.header("connection") == b"close"
    assert {name.lower() for name, _ in request.headers} == {b"host", b"user-agent", b"accept", b"connection"}


async def test_a_prober_closes_each_connection_and_keeps_no_cookie(backend: Backend):
    backend.handler = answers(headers=[("set-cookie", "seen=1"), ("connection", "keep-alive")])
    async with Prober() as prober:
        again = prober.http_probe(BackendTable(url=backend.url).backend(), HealthCheck(), UpstreamTLS())
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
    assert result.connect_ms is result.ttfb_ms is result.status is None


async def test_a_name_with_two_addresses_is_refused_when_both_refuse(backend: Backend):
    backend.refuse()
    result = await probe(f"http://localhost:{backend.port}")
    assert (result.reason, result.refused) == ("connection refused", True)


async def test_a_name_that_nobody_knows_is_named():
    result = await probe("http://nowhere.invalid:80", timeout_s=5.0)
    assert (result.passed, result.reason, result.refused) == (False, "the name nowhere.invalid is not known", False)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (resets(), "connection reset"),
        (resets(HEAD[:20]), "connection reset"),
        (sends(b""), "connection closed without an answer"),
        (sends(HEAD + b"half"), "HTTP 200, but its body broke off"),
        (stalls(), "no answer within 0.3 s"),
    ],
    ids=["reset", "reset in the head", "closed", "closed in the body", "silent"],
)
async def test_what_went_wrong_is_said_in_words(backend: Backend, handler: Handler, reason: str):
    backend.handler = handler
    result = await probe(backend.url)
    assert (result.passed, result.reason, result.refused) == (False, reason, False)


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
    started = time.monotonic()
    result = await probe(backend.url)
    assert time.monotonic() - started < 1.0
    assert (result.passed, result.reason) == (False, "HTTP 200, but its body did not end within 0.3 s")
    assert result.ttfb_ms is not None


async def test_an_endless_body_is_not_waited_for(backend: Backend):
    async def floods(_request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        while True:
            await connection.chunk(b"x" * MAX_BODY_BYTES)

    backend.handler = floods
    assert (await probe(backend.url, timeout_s=5.0)).passed
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
        once = prober.http_probe(BackendTable(url=backend.url).backend(), HealthCheck(), UpstreamTLS())
        monkeypatch.setattr("httpx.AsyncHTTPTransport.handle_async_request", breaks)
        result = await once()
    assert (result.passed, result.reason) == (False, "LookupError: what is this?")


async def test_a_deadline_that_we_noticed_late_is_not_held_against_the_backend(backend: Backend):
    backend.handler = stalls()

    async def starve() -> None:
        await eventually(lambda: backend.requests)
        time.sleep(0.7)  # noqa: ASYNC251  # what a stopped or starved process is like for its loop

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(starve())
        result = await probe(backend.url)
    assert result.is_void
    assert "the monitor was" in result.reason


async def test_a_cancelled_probe_ends_at_once(backend: Backend):
    backend.handler = stalls()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(probe(backend.url, timeout_s=60.0))
        await eventually(lambda: backend.requests)
        task.cancel()
    assert task.cancelled()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for the name `backend.test`, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=backend.test"),
            *("-addext", "subjectAltName=DNS:backend.test"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


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
        assert (await probe(url, named, timeout_s=5.0)).reason == "HTTP 200"
        assert (await probe(url, UpstreamTLS(verify=False), timeout_s=5.0)).reason == "HTTP 200"
        strange = await probe(url, timeout_s=5.0)
        assert (strange.passed, strange.reason, strange.refused) == (False, "TLS: self-signed certificate", False)
        misnamed = await probe(url, UpstreamTLS(ca=str(cert)), timeout_s=5.0)
        assert misnamed.reason.startswith("TLS: ip address mismatch")


async def test_https_to_a_backend_without_tls_says_so(backend: Backend):
    backend.handler = answers()
    result = await probe(backend.url.replace("http:", "https:"))
    assert not result.passed


def test_a_missing_authority_file_is_an_error_at_once(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        tls_context(UpstreamTLS(ca=str(tmp_path / "ca.pem")))
