"""Probes that only connect, or only shake hands."""

import asyncio
import ssl
from pathlib import Path

import pytest

from backend import Backend
from probing import probe
from rude import unresponsive
from sidecar.contract.config import UpstreamTLS
from waiting import eventually


async def hears_nobody(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks TLS, and nothing inside it."""
    writer.close()


async def test_tcp_passes_where_somebody_accepts(backend: Backend):
    result = await probe(backend.url, type="tcp")
    assert (result.passed, result.reason, result.answered, result.ttfb_ms) == (True, "connected", True, None)
    assert result.connect_ms is not None
    assert 0 < result.connect_ms <= result.total_ms
    await eventually(lambda: backend.connections_total and not backend.connections_open)
    assert backend.requests == []
    backend.refuse()
    result = await probe(backend.url, type="tcp")
    assert (result.reason, result.refused, result.failed_in_transport) == ("connection refused", True, True)


async def test_tcp_knows_unix_sockets(tmp_path: Path):
    async with Backend(path=tmp_path / "app.sock") as backend:
        assert (await probe(backend.url, type="tcp")).passed
        await eventually(lambda: backend.connections_total and not backend.connections_open)
    assert (await probe(backend.url, type="tcp")).reason == f"no socket at {tmp_path}/app.sock"


async def test_a_name_with_two_addresses_is_refused_when_both_refuse(backend: Backend):
    backend.refuse()
    result = await probe(f"http://localhost:{backend.port}", type="tcp")
    assert (result.reason, result.refused) == ("connection refused", True)


async def test_who_lets_nobody_connect_is_given_up_at_the_deadline():
    with unresponsive() as url:
        result = await probe(url, type="tcp", timeout_s=0.1)
    assert (result.reason, result.answered, result.connect_ms) == ("no connection within 0.1 s", False, None)


async def test_tls_tells_when_the_certificate_expires(certificate: tuple[Path, Path]):
    cert, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(hears_nobody, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for tls in (UpstreamTLS(ca=str(cert), server_name="backend.test"), UpstreamTLS(verify=False)):
            result = await probe(url, tls, type="tls")
            assert (result.passed, result.answered, result.expires_days) == (True, True, 0)
            assert result.reason == "TLS, certificate expires in 0 days"
            assert result.connect_ms is not None
            assert result.ttfb_ms is not None
            assert 0 < result.connect_ms < result.ttfb_ms <= result.total_ms
        strange = await probe(url, type="tls")
        assert (strange.reason, strange.failed_in_transport) == ("TLS: self-signed certificate", True)


async def test_who_does_not_speak_tls_is_waited_for_until_the_deadline():
    async def keeps_quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(keeps_quiet, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await probe(url, UpstreamTLS(verify=False), type="tls", timeout_s=0.5)
    assert (result.reason, result.failed_in_transport) == ("no TLS handshake within 0.5 s", True)
    assert result.connect_ms is not None


@pytest.mark.parametrize("kind", ["tcp", "websocket", "sse"])
async def test_a_refused_connection_counts_the_same_for_every_type(backend: Backend, kind: str):
    backend.refuse()
    result = await probe(backend.url, type=kind)
    assert (result.reason, result.refused) == ("connection refused", True)
